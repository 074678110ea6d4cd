//! Comparing guest memory page by page: a hash of each, and what differs between two guests.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a page of nearly every target.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// The value that stands for the hash of a page of zeros, which one build sends and another leaves
/// out.
pub(crate) const ZEROS: u64 = 0;

/// Hashes a page.
pub(crate) fn hash(page: &[u8]) -> u64 {
    // Every byte is zero if the first one is and each equals the next: a comparison of slices is quick in any profile.
    let is_zero = match page.split_first() {
        Some((first, rest)) => *first == 0 && *rest == page[..rest.len()],
        None => true,
    };
    if is_zero { ZEROS } else { xxh3_64(page) }
}

/// Pages that are not the same in two guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageDifference {
    pub differing: usize,
    pub of: u64,
    pub first: FirstPage,
    /// The blocks of memory that they are in, by the build's names. Where the guest's address space was
    /// compared, the one of the first page alone.
    pub blocks: Vec<String>,
    /// All of them, in the order in which they were compared.
    pub pages: Vec<PlacedPage>,
}

/// A page by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlacedPage {
    /// The block of memory by the build's name; empty where that is not known.
    pub block: String,
    /// The offset in bytes from the start of the block, or of the guest's address space where that
    /// was compared.
    pub at: u64,
}

/// The place of the first page that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstPage {
    /// The offset in the first of the blocks.
    InBlock(u64),
    /// The address, as the guest's CPUs see it.
    AtAddress(u64),
}

impl PageDifference {
    /// Returns the difference without the pages that are left out. `None` if no other page differs.
    pub(crate) fn without(mut self, left_out: impl Fn(&PlacedPage) -> bool) -> Option<Self> {
        self.pages.retain(|page| !left_out(page));
        let first = self.pages.first()?;
        self.differing = self.pages.len();
        self.first = match self.first {
            FirstPage::InBlock(_) => FirstPage::InBlock(first.at),
            FirstPage::AtAddress(_) => FirstPage::AtAddress(first.at),
        };
        let mut blocks: Vec<String> = Vec::new();
        for page in &self.pages {
            if !page.block.is_empty() && !blocks.contains(&page.block) {
                blocks.push(page.block.clone());
            }
        }
        if matches!(self.first, FirstPage::AtAddress(_)) {
            blocks.retain(|block| *block == first.block);
        }
        self.blocks = blocks;
        Some(self)
    }
}

impl fmt::Display for PageDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageDifference { differing, of, .. } = self;
        write!(
            f,
            "{differing} of {of} pages of memory differ, the first at "
        )?;
        match (&self.first, self.blocks.first()) {
            (FirstPage::InBlock(offset), Some(block)) => write!(f, "{offset:#x} of {block}"),
            (FirstPage::AtAddress(address), Some(block)) => write!(f, "{address:#x}, in {block}"),
            (FirstPage::InBlock(at) | FirstPage::AtAddress(at), None) => write!(f, "{at:#x}"),
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
            differing: 3,
            of: 32,
            first: FirstPage::InBlock(0x1000),
            blocks: vec!["a".to_owned(), "b".to_owned()],
            pages: vec![page("a", 0x1000), page("b", 0x2000), page("b", 0x3000)],
        };
        let rest = all.clone().without(|page| page.block == "a");
        assert_eq!(
            rest.map(|rest| rest.to_string()).as_deref(),
            Some("2 of 32 pages of memory differ, the first at 0x2000 of b")
        );
        let rest = all.clone().without(|page| page.at == 0x2000);
        assert_eq!(rest.map(|rest| rest.blocks), Some(all.blocks.clone()));
        assert_eq!(all.without(|_| true), None);
    }
}
