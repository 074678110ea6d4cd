//! Guest memory as streams carry it. A machine that never runs has the same memory in what it sends
//! and in what its destination saves again: nothing has to be read from either side for that.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::migration::endpoint::vm::Vm;
use crate::stream::{Page, RamBlock, RamVisitor};

/// The page size of nearly every target.
const USUAL_PAGE_SIZE: u64 = 4096;

/// A hash of every page that passed by.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    blocks: Vec<Block>,
    names: FxHashMap<Arc<str>, usize>,
    /// Bytes of a page, as far as one was sent in full.
    page_size: Option<u64>,
    /// Something passed by that is no page as the guest has it.
    partial: bool,
}

#[derive(Debug, Clone)]
struct Block {
    name: Arc<str>,
    length: u64,
    /// Hashes of the pages that were sent, by address in the block.
    pages: FxHashMap<u64, u64>,
}

/// Stands for the hash of a page of zeros, which one build sends and another leaves out.
const ZEROS: u64 = 0;

impl RamVisitor for Memory {
    fn blocks(&mut self, blocks: &[RamBlock]) {
        let names = blocks.iter().map(|block| block.name.clone());
        self.names = names.zip(0..).collect();
        let empty = |block: &RamBlock| Block {
            name: block.name.clone(),
            length: block.length,
            pages: FxHashMap::default(),
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
                // Without a way out in the middle this is a few instructions.
                let any = bytes.iter().fold(0, |any, &byte| any | byte);
                if any == 0 { ZEROS } else { xxh3_64(bytes) }
            }
            Page::Filled(_) | Page::Delta(_) | Page::Packed(_) => {
                self.partial = true;
                return;
            }
        };
        block.pages.insert(address, hash);
    }
}

/// Pages that are not the same in two streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub message: String,
    /// The blocks that they are in, by their build's names.
    pub blocks: Vec<String>,
}

impl Memory {
    /// Of what a machine sends. A guest that works writes while it is sent: its memory is read from both
    /// sides, and nothing of it is taken here.
    pub(crate) fn of(vm: &Vm) -> Memory {
        Memory {
            partial: vm.works(),
            ..Memory::default()
        }
    }

    /// Whether every page of the guest was in the stream, as the guest has it.
    pub(crate) fn is_whole(&self) -> bool {
        let size = self.page_size.unwrap_or(USUAL_PAGE_SIZE);
        let sent = |block: &Block| block.pages.len() as u64 >= block.length.div_ceil(size);
        !self.partial && !self.blocks.is_empty() && self.blocks.iter().all(sent)
    }

    /// What is not the same on the destination. Blocks that it alone has are its own.
    pub(crate) fn difference(&self, held: &Memory) -> Option<Difference> {
        let mut count = 0;
        let mut first = None;
        let mut blocks = Vec::new();
        for sent in &self.blocks {
            let none = FxHashMap::default();
            let index = held.names.get(&sent.name);
            let there = index.and_then(|&index| held.blocks.get(index));
            let there = there.map_or(&none, |block| &block.pages);
            let of =
                |pages: &FxHashMap<u64, u64>, at: &u64| pages.get(at).copied().unwrap_or(ZEROS);
            let added = there.keys().filter(|at| !sent.pages.contains_key(at));
            let addresses = sent.pages.keys().chain(added).copied();
            let differ = addresses.filter(|at| of(&sent.pages, at) != of(there, at));
            let differ: Vec<u64> = differ.collect();
            count += differ.len();
            if !differ.is_empty() {
                blocks.push(sent.name.to_string());
            }
            let here = differ.into_iter().min();
            first = first.or(here.map(|address| (address, &sent.name)));
        }
        let (address, name) = first?;
        let length: u64 = self.blocks.iter().map(|block| block.length).sum();
        let pages = length / self.page_size.or(held.page_size).unwrap_or(USUAL_PAGE_SIZE);
        Some(Difference {
            message: format!(
                "{count} of {pages} pages of memory differ, the first at {address:#x} of {name}"
            ),
            blocks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(blocks: &[(&str, &[(u64, u8)])]) -> Memory {
        let mut memory = Memory::default();
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

    fn told(sent: &Memory, held: &Memory) -> Option<String> {
        sent.difference(held).map(|found| found.message)
    }

    #[test]
    fn a_page_counts_as_it_was_last_and_zeros_need_not_be_sent() {
        let mut sent = memory(&[("pc.ram", &[(0, 1), (0x1000, 0), (0x2000, 5), (0x3000, 7)])]);
        sent.page("pc.ram", 0, Page::Bytes(&[2; 4096]));
        sent.page("pc.ram", 0x2000, Page::Filled(0));
        let held = memory(&[("pc.ram", &[(0, 2), (0x3000, 7)])]);
        assert!(!sent.is_whole(), "most pages were not sent");
        for page in 4..16 {
            sent.page("pc.ram", page * 4096, Page::Filled(0));
        }
        assert!(sent.is_whole());
        assert_eq!(told(&sent, &held), None);
        assert_eq!(told(&held, &sent), None);
    }

    #[test]
    fn what_changed_vanished_or_turned_up_is_told_with_the_first_place() {
        let sent = memory(&[("a", &[(0x3000, 1), (0x5000, 1)]), ("b", &[(0, 1)])]);
        for (held, expected) in [
            (
                memory(&[("a", &[(0x3000, 1), (0x5000, 2)]), ("b", &[])]),
                "2 of 32 pages of memory differ, the first at 0x5000 of a",
            ),
            (
                memory(&[("a", &[(0x1000, 1), (0x3000, 1)]), ("b", &[(0, 1)])]),
                "2 of 32 pages of memory differ, the first at 0x1000 of a",
            ),
            (
                memory(&[("a", &[(0x3000, 1), (0x5000, 1)])]),
                "1 of 32 pages of memory differ, the first at 0x0 of b",
            ),
        ] {
            assert_eq!(told(&sent, &held).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_block_of_the_destination_alone_is_its_own() {
        let sent = memory(&[("a", &[(0, 1)])]);
        let held = memory(&[("a", &[(0, 1)]), ("own", &[(0, 9)])]);
        assert_eq!(told(&sent, &held), None);
    }

    #[test]
    fn memory_that_went_another_way_is_not_called_whole() {
        assert!(!Memory::default().is_whole());
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
    fn one_byte_of_a_real_stream_is_told_with_its_block_and_page() {
        use crate::stream::testing::fixture;
        use crate::stream::{Options, read};
        let of = |bytes: &[u8]| read(bytes, Options::default(), Memory::default()).visitor;
        let mut bytes = fixture("10.0.13/x86_64-q35");
        let sent = of(&bytes);
        assert!(sent.is_whole());
        assert_eq!(told(&sent, &of(&bytes)), None);
        let first = read(bytes.as_slice(), Options::default(), First::default()).visitor;
        let (block, address, page) = first.0.expect("a page");
        let place = bytes.windows(page.len()).position(|window| window == page);
        bytes[place.expect("there") + 17] ^= 1;
        let found = sent.difference(&of(&bytes)).expect("a difference");
        assert_eq!(found.blocks, std::slice::from_ref(&block));
        assert!(found.message.starts_with("1 of "), "{}", found.message);
        let end = format!("the first at {address:#x} of {block}");
        assert!(found.message.ends_with(&end), "{}", found.message);
    }
}
