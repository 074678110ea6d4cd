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
    // Without an early exit this is a few instructions.
    let any = page.iter().fold(0, |any, &byte| any | byte);
    if any == 0 { ZEROS } else { xxh3_64(page) }
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
}

/// The place of the first page that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstPage {
    /// The offset in the first of the blocks.
    InBlock(u64),
    /// The address, as the guest's CPUs see it.
    AtAddress(u64),
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
    fn a_difference_says_where_the_first_page_is() {
        let difference = |first, blocks: &[&str]| PageDifference {
            differing: 2,
            of: 32,
            first,
            blocks: blocks.iter().map(|block| (*block).to_owned()).collect(),
        };
        for (found, sentence) in [
            (
                difference(FirstPage::InBlock(0x5000), &["a", "b"]),
                "2 of 32 pages of memory differ, the first at 0x5000 of a",
            ),
            (
                difference(FirstPage::AtAddress(0x10_0000), &["pc.ram"]),
                "2 of 32 pages of memory differ, the first at 0x100000, in pc.ram",
            ),
            (
                difference(FirstPage::AtAddress(0), &[]),
                "2 of 32 pages of memory differ, the first at 0x0",
            ),
        ] {
            assert_eq!(found.to_string(), sentence);
        }
    }
}
