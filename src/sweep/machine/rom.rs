//! The device that may need a ROM which a build did not find. QEMU names the file and no device,
//! and it names option ROMs like the devices that they are for: `vgabios.bin`, `efi-e1000e.rom`,
//! `pxe-virtio.rom`.

use std::cmp::Reverse;

/// Fewer letters in common say nothing.
const LEAST: usize = 3;

/// Returns the device type that a ROM, named without its ending, is likely for: the one whose name is most
/// like it, and the shortest of those.
pub(crate) fn likely_owner<'d, T: Ord>(
    rom: &str,
    drivers: impl IntoIterator<Item = (T, &'d str)>,
) -> Option<T> {
    let alike = drivers
        .into_iter()
        .filter_map(|(of, driver)| Some((likeness(rom, driver)?, Reverse(driver.len()), of)));
    alike.max().map(|(.., of)| of)
}

/// Measures how much a ROM's name has in common with a device type's, by the longest run of letters
/// that both have. Returns `None` where that says nothing.
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
        for (rom, of) in [
            ("vgabios", Some("isa-vga")),
            ("efi-e1000e", Some("e1000e")),
            ("sgabios", Some("sga")),
            ("vgabios-ramfb", Some("ramfb")),
            ("q", None),
        ] {
            let drivers = ["e1000", "e1000e", "isa-vga", "sga", "ramfb", "ne2k_isa"];
            let named = drivers.map(|driver| (driver, driver));
            assert_eq!(likely_owner(rom, named), of, "{rom}");
        }
    }
}
