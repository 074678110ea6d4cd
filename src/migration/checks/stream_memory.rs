//! Guest memory as streams carry it. A machine that never runs has the same memory in what it sends
//! and in what its destination saves again, so that nothing has to be read from either side.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::migration::checks::pages;
use crate::migration::checks::pages::{PAGE_SIZE, PageDifference, PlacedPage, Places, ZEROS};
use crate::migration::endpoint::commands::{MemoryDeviceData, QueryMemoryDevices};
use crate::migration::endpoint::vm::Vm;
use crate::stream::{Page, RamBlock, RamVisitor};

/// A hash of every page that was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamMemory {
    blocks: Vec<Block>,
    names: FxHashMap<Arc<str>, usize>,
    /// Bytes of a page, as far as one was sent in full.
    page_size: Option<u64>,
    /// Memory devices of which the guest has a part: a build sends that alone (`ram_init_bitmaps` in QEMU's
    /// `migration/ram.c`).
    parts: Vec<Part>,
    /// Something was sent that is no page as the guest has it.
    partial: bool,
}

/// Memory of which a guest has a part only.
#[derive(Debug, Clone)]
struct Part {
    /// The path of the object that it is.
    object: String,
    /// The bytes that the guest has not.
    unplugged: u64,
}

impl Part {
    /// Makes one of a memory device, if its guest can have more of it.
    fn of(device: MemoryDeviceData) -> Option<Part> {
        let unplugged = device.max_size?.checked_sub(device.size)?;
        Some(Part {
            object: device.memdev,
            unplugged,
        })
    }

    /// Tells whether a block is its own: its name ends with the object's, behind the place of the device
    /// (`vmstate_register_ram` in QEMU's `migration/savevm.c`) or the path of the object.
    fn is(&self, block: &Block) -> bool {
        self.object.rsplit('/').next() == block.name.rsplit('/').next()
    }
}

#[derive(Debug, Clone, Default)]
struct Block {
    name: Arc<str>,
    length: u64,
    /// Addresses in the block and hashes of the pages that were sent in the order of their addresses: nearly all of them.
    pages: Vec<(u64, u64)>,
    /// Hashes of the others, by address.
    late: FxHashMap<u64, u64>,
}

impl Block {
    fn set(&mut self, address: u64, hash: u64) {
        if self.pages.last().is_none_or(|&(last, _)| last < address) {
            self.pages.push((address, hash));
        } else if let Ok(index) = self.index(address) {
            self.pages[index].1 = hash;
        } else {
            self.late.insert(address, hash);
        }
    }

    fn index(&self, address: u64) -> Result<usize, usize> {
        self.pages.binary_search_by_key(&address, |&(at, _)| at)
    }

    fn hash(&self, address: u64) -> Option<u64> {
        match self.index(address) {
            Ok(index) => Some(self.pages[index].1),
            Err(_) => self.late.get(&address).copied(),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = u64> {
        let in_order = self.pages.iter().map(|&(address, _)| address);
        in_order.chain(self.late.keys().copied())
    }

    /// Returns the addresses of the pages that another one has with other contents, in their order. A page that was not
    /// sent is zeros.
    fn differing(&self, other: &Block) -> Vec<u64> {
        if self.pages == other.pages && self.late == other.late {
            return Vec::new();
        }
        let hash = |block: &Block, at| block.hash(at).unwrap_or(ZEROS);
        let added = other.addresses().filter(|&at| self.hash(at).is_none());
        let mut differ: Vec<u64> = (self.addresses().chain(added))
            .filter(|&at| hash(self, at) != hash(other, at))
            .collect();
        differ.sort_unstable();
        differ
    }
}

impl RamVisitor for StreamMemory {
    fn blocks(&mut self, blocks: &[RamBlock]) {
        let names = blocks.iter().map(|block| block.name.clone());
        self.names = names.zip(0..).collect();
        let empty = |block: &RamBlock| Block {
            name: block.name.clone(),
            length: block.length,
            ..Block::default()
        };
        self.blocks = blocks.iter().map(empty).collect();
    }

    fn page(&mut self, block: &str, address: u64, page: Page<'_>) {
        if self.partial {
            // Nothing can make it whole any more.
            return;
        }
        let known = self.names.get(block);
        let Some(block) = known.and_then(|&index| self.blocks.get_mut(index)) else {
            self.partial = true;
            return;
        };
        let hash = match page {
            Page::Filled(0) => ZEROS,
            Page::Bytes(bytes) => {
                self.page_size = Some(bytes.len() as u64);
                pages::hash(bytes)
            }
            Page::Filled(_) | Page::Delta(_) | Page::Packed(_) => {
                self.partial = true;
                return;
            }
        };
        block.set(address, hash);
    }
}

impl StreamMemory {
    /// Makes one for the pages that a machine sends. A guest that works writes while it is sent:
    /// its memory is read from both sides, and its pages are not used here.
    pub(crate) async fn sent_by(vm: &Vm) -> StreamMemory {
        if vm.works_while_sent() {
            return StreamMemory {
                partial: true,
                ..StreamMemory::default()
            };
        }
        // Where the question is refused, memory that was not sent is read from both sides.
        let devices = vm.execute(QueryMemoryDevices {}).await.unwrap_or_default();
        StreamMemory::with_devices(devices.into_iter().map(|device| device.data))
    }

    fn with_devices(devices: impl Iterator<Item = MemoryDeviceData>) -> StreamMemory {
        StreamMemory {
            parts: devices.filter_map(Part::of).collect(),
            ..StreamMemory::default()
        }
    }

    /// Tells whether every page that the guest has was in the stream, as the guest has it.
    pub(crate) fn is_whole(&self) -> bool {
        let size = self.page_size.unwrap_or(PAGE_SIZE);
        let sent = |block: &Block| {
            let part = self.parts.iter().find(|part| part.is(block));
            let unplugged = part.map_or(0, |part| part.unplugged);
            let needed = block.length.saturating_sub(unplugged).div_ceil(size);
            (block.pages.len() + block.late.len()) as u64 >= needed
        };
        !self.partial && !self.blocks.is_empty() && self.blocks.iter().all(sent)
    }

    /// Compares with what arrived on the destination. Blocks that it alone has are its own.
    pub(crate) fn difference(&self, arrived: &StreamMemory) -> Option<PageDifference> {
        let mut pages = Vec::new();
        let none = Block::default();
        for sent in &self.blocks {
            let index = arrived.names.get(&sent.name);
            let block = index.and_then(|&index| arrived.blocks.get(index));
            let differ = sent.differing(block.unwrap_or(&none));
            pages.extend(differ.into_iter().map(|at| PlacedPage {
                block: sent.name.to_string(),
                at,
            }));
        }
        let length: u64 = self.blocks.iter().map(|block| block.length).sum();
        let size = self.page_size.or(arrived.page_size).unwrap_or(PAGE_SIZE);
        (!pages.is_empty()).then_some(PageDifference {
            of: length / size,
            places: Places::InBlocks,
            pages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(blocks: &[(&str, &[(u64, u8)])]) -> StreamMemory {
        let mut memory = StreamMemory::default();
        let list = blocks.iter().map(|(name, _)| RamBlock {
            name: (*name).into(),
            length: 0x10000,
        });
        memory.blocks(&list.collect::<Vec<_>>());
        for (name, pages) in blocks {
            for &(address, byte) in *pages {
                memory.page(name, address, Page::Bytes(&[byte; 4096]));
            }
        }
        memory
    }

    fn sentence(sent: &StreamMemory, arrived: &StreamMemory) -> Option<String> {
        sent.difference(arrived).map(|found| found.to_string())
    }

    #[test]
    fn a_page_counts_as_it_was_last_and_zeros_need_not_be_sent() {
        let mut sent = memory(&[("pc.ram", &[(0, 1), (0x1000, 0), (0x2000, 5), (0x3000, 7)])]);
        sent.page("pc.ram", 0, Page::Bytes(&[2; 4096]));
        sent.page("pc.ram", 0x2000, Page::Filled(0));
        let arrived = memory(&[("pc.ram", &[(0, 2), (0x3000, 7)])]);
        assert!(!sent.is_whole(), "most pages were not sent");
        for page in 4..16 {
            sent.page("pc.ram", page * 4096, Page::Filled(0));
        }
        assert!(sent.is_whole());
        assert_eq!(sentence(&sent, &arrived), None);
        assert_eq!(sentence(&arrived, &sent), None);
    }

    #[test]
    fn what_changed_vanished_or_turned_up_is_reported_with_the_first_place() {
        let sent = memory(&[("a", &[(0x3000, 1), (0x5000, 1)]), ("b", &[(0, 1)])]);
        let both = [("a", &[(0x3000, 1), (0x5000, 2)][..]), ("b", &[])];
        let moved = [("a", &[(0x1000, 1), (0x3000, 1)][..]), ("b", &[(0, 1)])];
        let lone = [("a", &[(0x3000, 1), (0x5000, 1)][..])];
        for (arrived, differing, first) in [
            (&both[..], 2, "0x5000 of a"),
            (&moved, 2, "0x1000 of a"),
            (&lone, 1, "0x0 of b"),
        ] {
            let found = sentence(&sent, &memory(arrived)).expect("a difference");
            let pages = format!("{differing} of 32 pages of memory differ");
            assert_eq!(found, format!("{pages}, the first at {first}"));
        }
    }

    #[test]
    fn pages_may_come_in_any_order() {
        let pages = [(0, 1), (0x1000, 2), (0x2000, 3), (0x3000, 4)];
        let [first, second, third, fourth] = pages;
        let in_order = memory(&[("a", &pages)]);
        let mixed = memory(&[("a", &[third, first, (0x1000, 9), fourth, second, third])]);
        assert_eq!(sentence(&in_order, &mixed), None);
        assert_eq!(sentence(&mixed, &in_order), None);
        let other = memory(&[("a", &[third, first, fourth, (0x1000, 9)])]);
        for (sent, arrived) in [(&in_order, &other), (&other, &mixed)] {
            assert_eq!(
                sentence(sent, arrived).as_deref(),
                Some("1 of 16 pages of memory differ, the first at 0x1000 of a")
            );
        }
        let mut backwards = memory(&[("a", &[])]);
        for page in (1..16).rev().chain(1..16) {
            backwards.page("a", page * 4096, Page::Filled(0));
            assert!(!backwards.is_whole(), "the first page is not there");
        }
        backwards.page("a", 0, Page::Filled(0));
        assert!(backwards.is_whole());
    }

    #[test]
    fn a_block_of_the_destination_alone_is_its_own() {
        let sent = memory(&[("a", &[(0, 1)])]);
        let arrived = memory(&[("a", &[(0, 1)]), ("own", &[(0, 9)])]);
        assert_eq!(sentence(&sent, &arrived), None);
    }

    #[test]
    fn memory_that_the_guest_has_not_is_not_missing() {
        let device = |memdev: &str, size, max_size| MemoryDeviceData {
            memdev: memdev.into(),
            size,
            max_size,
        };
        let is_whole = |block: &str, devices: &[MemoryDeviceData]| {
            let mut memory = memory(&[(block, &[(0, 1), (0x1000, 2)])]);
            memory.parts = StreamMemory::with_devices(devices.iter().cloned()).parts;
            memory.is_whole()
        };
        let length = Some(0x10000);
        for (block, device, whole) in [
            ("/objects/mem", device("/objects/mem", 0x2000, length), true),
            ("mem", device("/objects/mem", 0x2000, length), true),
            (
                "0000:00:01.0/mem",
                device("/objects/mem", 0x2000, length),
                true,
            ),
            ("mem", device("/objects/mem", 0x3000, length), false),
            ("mem", device("/objects/mem", 0x2000, None), false),
            ("em", device("/objects/mem", 0x2000, length), false),
            ("mem", device("/objects/mem", 0x20000, length), false),
        ] {
            let found = is_whole(block, std::slice::from_ref(&device));
            assert_eq!(found, whole, "{block}, {device:?}");
        }
    }

    #[test]
    fn memory_that_was_sent_in_parts_is_not_whole() {
        assert!(!StreamMemory::default().is_whole());
        let mut packed = memory(&[("a", &[(0, 1)])]);
        packed.page("a", 0, Page::Packed(&[1, 2, 3]));
        assert!(!packed.is_whole());
    }

    /// The first page with anything in it, and where it belongs.
    #[derive(Default)]
    struct First(Option<(String, u64, Vec<u8>)>);

    impl RamVisitor for First {
        fn page(&mut self, block: &str, address: u64, page: Page<'_>) {
            if let (None, Page::Bytes(bytes)) = (&self.0, page)
                && bytes.iter().any(|&byte| byte != 0)
            {
                self.0 = Some((block.to_owned(), address, bytes.to_vec()));
            }
        }
    }

    #[test]
    fn one_byte_of_a_real_stream_is_reported_with_its_block_and_page() {
        use crate::stream::testing::fixture;
        use crate::stream::{Options, read};
        let of = |bytes: &[u8]| read(bytes, Options::default(), StreamMemory::default()).visitor;
        let mut bytes = fixture("10.0.13/x86_64-q35");
        let sent = of(&bytes);
        assert!(sent.is_whole());
        assert_eq!(sentence(&sent, &of(&bytes)), None);
        let first = read(bytes.as_slice(), Options::default(), First::default()).visitor;
        let (block, address, page) = first.0.expect("a page");
        let place = bytes.windows(page.len()).position(|window| window == page);
        bytes[place.expect("there") + 17] ^= 1;
        let found = sent.difference(&of(&bytes)).expect("a difference");
        let at = address;
        assert_eq!(found.pages, [PlacedPage { block, at }]);
        assert_eq!(found.places, Places::InBlocks);
    }
}
