//! Sections in a format of their own, followed only to find where they end.

use crate::stream::cut::{Cut, Stop};
use crate::stream::error::StreamErrorKind;

/// Bytes of an entry in a hash page table.
const HASH_PTE: u64 = 16;

const ATTRIBUTES_EOS: u64 = 0x01;
const ATTRIBUTES_MORE: u64 = 0x02;
const ATTRIBUTES_DONE: u64 = 0x08;

/// The reader's place in such a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Iterative {
    /// `spapr/htab`, before its header.
    HashTable,
    /// `spapr/htab`, before a chunk.
    HashTableChunk,
    /// `s390-storage_attributes`.
    Attributes,
    /// Anything else: its end is found by the footer.
    Unknown,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IterativeStep {
    Next(Iterative),
    /// Skip so many bytes, which mean nothing here.
    Skip(Iterative, u64),
    End,
}

impl Iterative {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "spapr/htab" => Iterative::HashTable,
            "s390-storage_attributes" => Iterative::Attributes,
            _ => Iterative::Unknown,
        }
    }

    /// `footer` is how the section's footer would look.
    pub(super) fn step(self, cut: &mut Cut<'_>, footer: [u8; 5]) -> Result<IterativeStep, Stop> {
        Ok(match self {
            // No hash table (-1), or its size at the start; a zero opens a round of chunks.
            Iterative::HashTable => match cut.u32()? {
                0 => IterativeStep::Next(Iterative::HashTableChunk),
                _ => IterativeStep::End,
            },
            Iterative::HashTableChunk => {
                let (index, valid, invalid) = (cut.u32()?, cut.u16()?, cut.u16()?);
                if (index, valid, invalid) == (0, 0, 0) {
                    IterativeStep::End
                } else {
                    IterativeStep::Skip(Iterative::HashTableChunk, u64::from(valid) * HASH_PTE)
                }
            }
            Iterative::Attributes => match cut.u64()? & 0xfff {
                ATTRIBUTES_EOS => IterativeStep::End,
                ATTRIBUTES_MORE => IterativeStep::Skip(Iterative::Attributes, cut.u64()?),
                // Some releases send no end behind it.
                ATTRIBUTES_DONE if cut.peek_up_to(5)? == footer => IterativeStep::End,
                ATTRIBUTES_DONE => IterativeStep::Next(Iterative::Attributes),
                flags => {
                    return Err(cut.fail_back(
                        8,
                        StreamErrorKind::Iterative {
                            section: "s390-storage_attributes",
                            expected: "one of the flags 1, 2 and 8",
                            found: format!("0x{flags:x}"),
                        },
                    ));
                }
            },
            Iterative::Unknown => IterativeStep::End,
        })
    }
}
