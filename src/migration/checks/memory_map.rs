//! The memory of a guest as its CPUs see it.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::data::regex;

/// A piece of RAM or ROM: `0000000000100000-0000000001ffffff (prio 0, ram): pc.ram @0000000000100000`.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^\s*(?P<from>[0-9a-f]+)-(?P<to>[0-9a-f]+) \(prio [^)]*, (?:ram|rom)\): ?(?P<name>.*?)\s*(?: @.*)?$",
    )
});

/// The command that prints what is at which address.
pub(crate) const FLAT_VIEWS: &str = "info mtree -f";

/// The addresses of what is RAM or ROM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryMap {
    ranges: Vec<Range<u64>>,
    /// Names of the pieces, by the build, whether or not the next one touches it.
    regions: Vec<(Range<u64>, String)>,
}

impl MemoryMap {
    /// Reads the output of [`FLAT_VIEWS`]: the flat view of the address space called `memory`.
    pub(crate) fn from_mtree(text: &str) -> MemoryMap {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut regions = Vec::new();
        let views = text.split("FlatView #").skip(1);
        let system = views.into_iter().find(|view| {
            view.lines()
                .any(|line| line.trim_start().starts_with("AS \"memory\""))
        });
        for line in system.unwrap_or_default().lines() {
            let Some(groups) = LINE.captures(line) else {
                continue;
            };
            let parse = |group: &str| u64::from_str_radix(&groups[group], 16).ok();
            if let (Some(from), Some(to)) = (parse("from"), parse("to"))
                && let Some(end) = to.checked_add(1)
            {
                regions.push((from..end, groups["name"].to_owned()));
                match ranges.last_mut() {
                    Some(last) if last.end == from => last.end = end,
                    _ => ranges.push(from..end),
                }
            }
        }
        MemoryMap { ranges, regions }
    }

    /// Returns the ranges, in rising order.
    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Returns the build's name for the memory at an address.
    pub(crate) fn region(&self, address: u64) -> Option<&str> {
        let there = self.regions.iter().find(|(at, _)| at.contains(&address));
        there.map(|(_, name)| name.as_str())
    }

    /// Returns the ranges that both maps have, with the names of this one.
    pub(crate) fn shared(&self, other: &MemoryMap) -> MemoryMap {
        let mut ranges = Vec::new();
        for a in &self.ranges {
            for b in &other.ranges {
                let (from, to) = (a.start.max(b.start), a.end.min(b.end));
                if from < to {
                    ranges.push(from..to);
                }
            }
        }
        MemoryMap {
            ranges,
            regions: self.regions.clone(),
        }
    }

    /// Returns the number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTREE: &str = "\
FlatView #0
 AS \"I/O\", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS \"memory\", root: system
 AS \"cpu-memory-0\", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000cafff (prio 0, rom): pc.ram @00000000000c0000
  00000000000cb000-0000000001ffffff (prio 0, ram): pc.ram @00000000000cb000
  00000000fff80000-00000000fffbffff (prio 0, ram):  @0000000000080000
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
";

    #[test]
    fn the_map_holds_memory_and_no_devices() {
        let map = MemoryMap::from_mtree(MTREE);
        assert_eq!(
            map.ranges,
            [0..0xa0000, 0xc0000..0x200_0000, 0xfff8_0000..0x1_0000_0000]
        );
        assert_eq!(map.region(0xcb010), Some("pc.ram"));
        // One without a name has an offset all the same.
        assert_eq!(map.region(0xfff8_0000), Some(""));
        assert_eq!(map.region(0xfffc_0000), Some("pc.bios"));
        let smaller = MemoryMap {
            ranges: vec![0x1000..0xd0000, 1 << 40..1 << 41],
            ..MemoryMap::default()
        };
        assert_eq!(
            map.shared(&smaller).ranges,
            [0x1000..0xa0000, 0xc0000..0xd0000]
        );
        assert_eq!(MemoryMap::from_mtree("garbage"), MemoryMap::default());
    }
}
