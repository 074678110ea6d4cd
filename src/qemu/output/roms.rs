//! Parsing of `info roms`: the files that were put into a machine's memory before anything ran.

/// The command that prints them.
pub(crate) const QUESTION: &str = "info roms";

/// A file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rom<'t> {
    pub address: u64,
    /// Its name without a folder.
    pub file: &'t str,
}

/// Returns the files by the lines of a machine's answer; one that devices read by another way has no address.
pub(crate) fn roms(text: &str) -> impl Iterator<Item = Rom<'_>> {
    text.lines().filter_map(|line| {
        let (address, rest) = line.trim().strip_prefix("addr=")?.split_once(' ')?;
        let (_, name) = rest.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        Some(Rom {
            address: u64::from_str_radix(address, 16).ok()?,
            file: name.rsplit('/').next().unwrap_or(name),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_memory_have_their_address() {
        let text = "fw=genroms/kvmvapic.bin size=0x002400 name=\"kvmvapic.bin\"\r\n\
            addr=00000000fffe0000 size=0x020000 mem=ram name=\"bios-microvm.bin\"\r\n\
            addr=fff00000 size=0x0b2708 mem=rom name=\"/usr/share/qemu/openbios-ppc ELF program header segment 0\"\r\n\
            /rom@etc/acpi/rsdp size=0x001000 name=\"etc/acpi/rsdp\"\r\n\
            addr=what size=0x1 mem=ram name=\"x\"\r\n";
        let found: Vec<(u64, &str)> = roms(text).map(|rom| (rom.address, rom.file)).collect();
        let elf = "openbios-ppc ELF program header segment 0";
        assert_eq!(
            found,
            [(0xfffe_0000, "bios-microvm.bin"), (0xfff0_0000, elf)]
        );
    }
}
