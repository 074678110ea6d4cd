//! Whose ROM it is that a build did not find. Its message names the file and no device, and QEMU names
//! option ROMs like the devices that they are for: `vgabios.bin`, `efi-e1000e.rom`, `pxe-virtio.rom`.

use std::cmp::Reverse;

/// Fewer letters in common say nothing.
const LEAST: usize = 3;

/// Which of these device types a message about a missing ROM may be about: the one whose name is most like
/// the file's, and the shortest of those.
pub(crate) fn whose<'d, T: Ord>(
    message: &str,
    drivers: impl IntoIterator<Item = (T, &'d str)>,
) -> Option<T> {
    let rom = missing(message)?;
    let like = drivers
        .into_iter()
        .filter_map(|(of, driver)| Some((likeness(rom, driver)?, Reverse(driver.len()), of)));
    like.max().map(|(.., of)| of)
}

/// The file, without its ending, that a message is about.
fn missing(message: &str) -> Option<&str> {
    let mut quoted = message.split('\'').skip(1).step_by(2);
    quoted.find_map(|word| {
        let name = word.rsplit('/').next()?;
        name.strip_suffix(".bin").or(name.strip_suffix(".rom"))
    })
}

/// How much a ROM's name has of a device type's: the longest run of letters that both have. `None` where
/// that says nothing.
fn likeness(rom: &str, driver: &str) -> Option<usize> {
    let driver = driver.to_ascii_lowercase();
    let starts = driver.char_indices().map(|(at, _)| &driver[at..]);
    let longest = starts.map(|rest| {
        let mut ends = (0..=rest.len()).rev();
        ends.find(|&end| rest.get(..end).is_some_and(|part| rom.contains(part)))
            .unwrap_or(0)
    });
    longest.max().filter(|&longest| longest >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_rom_is_most_like_the_device_that_it_is_for() {
        for (says, of) in [
            (
                "the source says: Could not open option rom 'vgabios.bin': No such file or directory",
                Some("isa-vga"),
            ),
            ("failed to find romfile 'efi-e1000e.rom'", Some("e1000e")),
            ("could not load PC BIOS 'sgabios.bin'", Some("sga")),
            (
                "could not open '/usr/share/x/vgabios-ramfb.bin'",
                Some("ramfb"),
            ),
            ("could not open 'q.bin'", None),
            ("Could not open 'disk.img'", None),
        ] {
            let drivers = ["e1000", "e1000e", "isa-vga", "sga", "ramfb", "ne2k_isa"];
            assert_eq!(
                whose(says, drivers.map(|driver| (driver, driver))),
                of,
                "{says}"
            );
        }
    }
}
