//! The addresses that a process uses, to recognise one of them in what it writes.

use std::fs;
use std::ops::Range;

use memchr::memchr_iter;

/// Bytes of an address.
const WIDTH: usize = size_of::<u64>();

/// The mapped addresses of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AddressSpace {
    /// In rising order, and none next to another.
    ranges: Vec<Range<u64>>,
}

/// A way in which numbers have an address in them. A buffer has it as the host does, and is not looked at: where nobody
/// wrote to it, it has what was in that memory before, which nobody reads either.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// One number of 64 bits.
    Whole,
    /// Two of 32 bits, the lower half first, as a little-endian host has them in memory.
    Halves,
}

impl Form {
    const ALL: [Form; 2] = [Form::Whole, Form::Halves];

    /// Returns the place in the address of its byte for bits 40 to 47, the highest that processes use.
    fn place_of_highest(self) -> usize {
        match self {
            Form::Whole => 2,
            Form::Halves => 6,
        }
    }

    fn read(self, bytes: [u8; WIDTH]) -> u64 {
        match self {
            Form::Whole => u64::from_be_bytes(bytes),
            Form::Halves => u64::from_be_bytes(bytes).rotate_left(32),
        }
    }
}

impl AddressSpace {
    /// Returns that of a process; `None` of one that the system does not show, as in another container.
    pub(crate) fn of(pid: i32) -> Option<AddressSpace> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        Some(AddressSpace::from_maps(&maps))
    }

    /// Reads `/proc/PID/maps`: `7f30d2bd4000-7f30d2bd6000 rw-p 00000000 00:00 0`.
    fn from_maps(maps: &str) -> AddressSpace {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        for line in maps.lines() {
            let mut words = line.split(' ');
            let range = words.next().and_then(|range| {
                let (start, end) = range.split_once('-')?;
                Some(number(start)?..number(end)?)
            });
            // Nothing is at addresses that are only reserved.
            if words
                .next()
                .is_some_and(|permissions| permissions.starts_with("---"))
            {
                continue;
            }
            match (ranges.last_mut(), range) {
                (Some(last), Some(next)) if last.end == next.start => last.end = next.end,
                (_, next) => ranges.extend(next),
            }
        }
        AddressSpace { ranges }
    }

    fn contains(&self, address: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let below = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        below.is_some_and(|range| range.contains(&address))
    }

    /// Returns the values of the highest byte that addresses have. Those without one are small enough to be something else.
    fn highest_bytes(&self) -> Vec<u8> {
        let of = |range: &Range<u64>| (range.start >> 40)..=(range.end.saturating_sub(1) >> 40);
        let values = self.ranges.iter().flat_map(of);
        let mut bytes: Vec<u8> = values.filter_map(|value| value.try_into().ok()).collect();
        bytes.retain(|&byte| byte != 0);
        bytes.dedup();
        bytes
    }

    /// Tells whether the numbers of a stream, which are big-endian, have one of the addresses in them. Addresses begin at
    /// random: a constant is none of them.
    pub(crate) fn is_seen_in(&self, bytes: &[u8]) -> bool {
        let highest = self.highest_bytes().into_iter();
        let mut places = highest.flat_map(|byte| memchr_iter(byte, bytes));
        places.any(|place| {
            Form::ALL.into_iter().any(|form| {
                let start = place.checked_sub(form.place_of_highest());
                let address = start.and_then(|start| bytes.get(start..)?.first_chunk::<WIDTH>());
                address.is_some_and(|&address| self.contains(form.read(address)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d1a2c00000-55d1a2d00000 r--p 00000000 08:01 123   /usr/bin/qemu system
55d1a2d00000-55d1a2e00000 r-xp 00100000 08:01 123   /usr/bin/qemu system
7f30d2bd4000-7f30d2bd6000 rw-p 00000000 00:00 0
7f30d2bd6000-7f30d6bd4000 ---p 00000000 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]
";

    #[test]
    fn an_address_is_found_in_whatever_form_it_is_written() {
        let space = AddressSpace::from_maps(MAPS);
        assert_eq!(space.ranges.len(), 3);
        let (code, data, between) = (0x55d1_a2d0_0010_u64, 0x7f30_d2bd_5ff8, 0x7f30_d2bd_6000);
        let halves = |address: u64| [address as u32, (address >> 32) as u32].map(u32::to_be_bytes);
        for (address, is_seen) in [
            (code, true),
            (data, true),
            (between, false),
            (0x5000, false),
        ] {
            let forms = [
                address.to_be_bytes(),
                halves(address).concat().try_into().expect("8 bytes"),
            ];
            for form in forms {
                // Between other fields, and at either end.
                for bytes in [[&[1, 0x7f, 0], &form[..], &[0x55]].concat(), form.to_vec()] {
                    assert_eq!(
                        space.is_seen_in(&bytes),
                        is_seen,
                        "{address:x} in {bytes:x?}"
                    );
                }
                // A part of one is none.
                assert!(!space.is_seen_in(&form[1..]));
            }
            if is_seen {
                assert!(!space.is_seen_in(&address.to_le_bytes()));
            }
        }
    }

    #[test]
    fn a_process_has_the_addresses_of_its_own_data() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let space = AddressSpace::of(pid).expect("it is ours");
        let data = Box::new(1);
        let address = std::ptr::from_ref(&*data).expose_provenance() as u64;
        assert!(space.is_seen_in(&address.to_be_bytes()));
        assert!(!space.is_seen_in(&[0; 64]));
        assert!(!space.is_seen_in(b"VGABIOS 0x7fU"));
        assert_eq!(AddressSpace::of(i32::MAX), None);
    }
}
