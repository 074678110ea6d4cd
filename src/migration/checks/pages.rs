//! Comparing guest memory page by page: a hash of each, and what differs between two guests.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a page of nearly every target.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// The value that stands for the hash of a page of zeros, which one build sends and another leaves
/// out.
pub(crate) const ZEROS: u64 = 0;

pub(crate) fn hash(page: &[u8]) -> u64 {
    // Every byte is zero if the first one is and each equals the next: a comparison of slices is quick in any profile.
    let is_zero = match page.split_first() {
        Some((first, rest)) => *first == 0 && *rest == page[..rest.len()],
        None => true,
    };
    if is_zero { ZEROS } else { xxh3_64(page) }
}

/// Pages that are not the same in two guests: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageDifference {
    /// The number of all pages.
    pub of: u64,
    pub places: Places,
    /// Those that differ, in the order in which they were compared.
    pub pages: Vec<PlacedPage>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlacedPage {
    /// The block of memory by the build's name; empty where that is not known.
    pub block: String,
    /// The offset in bytes from the start of the block, or of the guest's address space where that
    /// was compared.
    pub at: u64,
}

/// The way in which pages are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// By offsets in blocks of memory.
    InBlocks,
    /// By addresses, as the guest's CPUs see them.
    AtAddresses,
}

impl PageDifference {
    /// Returns the difference without the pages that are left out. `None` if no other page differs.
    pub(crate) fn without(mut self, left_out: impl Fn(&PlacedPage) -> bool) -> Option<Self> {
        self.pages.retain(|page| !left_out(page));
        (!self.pages.is_empty()).then_some(self)
    }

    /// Returns the blocks of memory that the pages are in, by the build's names. Where the guest's address space was
    /// compared, the one of the first page alone.
    pub(crate) fn blocks(&self) -> Vec<&str> {
        let mut blocks: Vec<&str> = Vec::new();
        for block in self.named_blocks() {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        blocks
    }

    pub(crate) fn first_block(&self) -> Option<&str> {
        self.named_blocks().next()
    }

    /// Returns the block of each page that has one.
    fn named_blocks(&self) -> impl Iterator<Item = &str> {
        let listed = match self.places {
            Places::InBlocks => self.pages.len(),
            Places::AtAddresses => 1,
        };
        let blocks = self.pages.iter().take(listed);
        blocks
            .map(|page| page.block.as_str())
            .filter(|block| !block.is_empty())
    }
}

impl fmt::Display for PageDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageDifference { of, places, pages } = self;
        let differing = pages.len();
        write!(
            f,
            "{differing} of {of} pages of memory differ, the first at "
        )?;
        let at = pages.first().map_or(0, |page| page.at);
        match (places, self.first_block()) {
            (Places::InBlocks, Some(block)) => write!(f, "{at:#x} of {block}"),
            (Places::AtAddresses, Some(block)) => write!(f, "{at:#x}, in {block}"),
            (_, None) => write!(f, "{at:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_zeros_have_one_hash_whatever_their_size() {
        assert_eq!(hash(&[]), ZEROS);
        assert_eq!(hash(&[0; 65536]), ZEROS);
        assert_ne!(hash(&[0, 1]), ZEROS);
        assert_ne!(hash(&[1; 4096]), hash(&[2; 4096]));
    }

    #[test]
    fn pages_that_are_left_out_are_told_no_more() {
        let page = |block: &str, at| PlacedPage {
            block: block.to_owned(),
            at,
        };
        let all = PageDifference {
            of: 32,
            places: Places::InBlocks,
            pages: vec![page("a", 0x1000), page("b", 0x2000), page("b", 0x3000)],
        };
        let rest = all.clone().without(|page| page.block == "a");
        assert_eq!(
            rest.map(|rest| rest.to_string()).as_deref(),
            Some("2 of 32 pages of memory differ, the first at 0x2000 of b")
        );
        let rest = all.clone().without(|page| page.at == 0x2000);
        assert_eq!(rest.expect("two pages").blocks(), ["a", "b"]);
        assert_eq!(all.without(|_| true), None);
    }
}
