//! Parsing of the reason why a build does not start: the device and the ROM that its error output
//! names.

use crate::qemu::output::{complaints, reason, without_program};

/// Returns the id of the device that an error output names as the reason: `e1000` of
/// `-device e1000,id=e1000: ...`.
pub(crate) fn named_device(stderr: &str) -> Option<&str> {
    let mut parts = reason(stderr)?.split([',', ':', ' ']);
    parts.find_map(|part| part.strip_prefix("id="))
}

/// Returns the file of the ROM that a build complains about, without its folder and its ending: `vgabios`
/// of `'/usr/share/x/vgabios.bin'`. QEMU 10.0 writes it in other quotes.
pub(crate) fn missing_rom(stderr: &str) -> Option<&str> {
    complaints(stderr).find_map(|line| {
        let mut quoted = line.split(['\'', '"']).skip(1).step_by(2);
        quoted.find_map(|word| {
            let file = word.rsplit('/').next()?;
            file.strip_suffix(".bin").or(file.strip_suffix(".rom"))
        })
    })
}

/// The words of the C library for what a host may have again a moment later: memory, processes, descriptors, room on a
/// disk, and a program that nobody writes into.
const LACKING: [&str; 6] = [
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "Too many open files",
    "No space left on device",
    "Text file busy",
    "Out of memory",
];

/// The words of GLib for memory that it does not get. Once a stream is read, its size may be from there.
const NOT_ALLOCATED: &str = "failed to allocate ";

/// Returns the line in which a build complains of what the host lacks, if that is its last complaint: of others before it did
/// not die.
pub(crate) fn lacking(stderr: &str) -> Option<&str> {
    let is_such = |line: &&str| LACKING.iter().any(|words| line.contains(words));
    let last = complaints(stderr).last();
    last.filter(is_such).map(without_program)
}

/// Tells whether a build that did not start complains of what the host lacks.
pub(crate) fn lacks_resources(stderr: &str) -> bool {
    let is_such = |line: &str| {
        let mut words = LACKING.iter().chain([&NOT_ALLOCATED]);
        words.any(|words| line.contains(words))
    };
    complaints(stderr).any(is_such)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_names_the_device_that_it_refuses() {
        let one = "q: -device pxb,id=any-pxb: it cannot be here\n";
        let warned = "q: warning: -device a,id=a: old\nq: -device b,bus=x,id=b: no";
        for (stderr, device) in [
            (one, Some("any-pxb")),
            (warned, Some("b")),
            ("q: no machine\n", None),
            ("", None),
        ] {
            assert_eq!(named_device(stderr), device, "{stderr}");
        }
    }

    #[test]
    fn what_a_host_lacks_is_told_from_what_a_build_refuses() {
        for (stderr, lacks) in [
            (
                "q: cannot set up guest memory 'pc.ram': Cannot allocate memory\n",
                true,
            ),
            (
                "qemu_thread_create: Resource temporarily unavailable\n",
                true,
            ),
            ("sh: 1: ./qemu-system-x86_64: Text file busy\n", true),
            (
                "q: GLib: gmem.c:177: failed to allocate 53248 bytes\n",
                true,
            ),
            ("q: -device a,id=a: Parameter 'b' expects uint8_t\n", false),
            ("q: warning: Too many open files\n", false),
            ("", false),
        ] {
            assert_eq!(lacks_resources(stderr), lacks, "{stderr}");
        }
    }

    #[test]
    fn a_build_dies_of_its_last_complaint() {
        let lacks = "qemu-system-x86_64: qemu_thread_create: Resource temporarily unavailable\n";
        let died = "qemu-system-x86_64: ../hw/x.c:1: f: Assertion `a' failed.\n";
        let of = |lines: &[&str]| lacking(&lines.concat()).map(str::to_owned);
        let words = "qemu_thread_create: Resource temporarily unavailable";
        assert_eq!(of(&[lacks]).as_deref(), Some(words));
        assert_eq!(of(&[died, lacks]).as_deref(), Some(words));
        assert_eq!(
            of(&[lacks, "q: warning: hub 0 is not connected\n"]).as_deref(),
            Some(words)
        );
        assert_eq!(of(&[lacks, died]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_build_names_the_rom_that_it_does_not_find() {
        let option = "q: Could not open option rom 'vgabios.bin': No such file or directory";
        let file = "q: failed to find romfile 'efi-e1000e.rom'";
        let later = "q: failed to find romfile \"efi-virtio.rom\"";
        let path = "q: could not open '/usr/share/x/vgabios-ramfb.bin'";
        for (stderr, rom) in [
            (option, Some("vgabios")),
            (file, Some("efi-e1000e")),
            (later, Some("efi-virtio")),
            (path, Some("vgabios-ramfb")),
            ("q: warning: 'old.rom'\nq: no 'a' and no 'b.bin'", Some("b")),
            ("q: could not open 'disk.img'", None),
            ("", None),
        ] {
            assert_eq!(missing_rom(stderr), rom, "{stderr}");
        }
    }
}
