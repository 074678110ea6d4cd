//! The RAM section: followed page by page, kept nowhere.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::stream::cut::{Cut, Stop};
use crate::stream::error::StreamErrorKind;
use crate::stream::tree::{Ram, RamBlock};

const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const HOOK: u64 = 0x80;
const COMPRESS_PAGE: u64 = 0x100;
const MULTIFD_FLUSH: u64 = 0x200;

/// The page size of nearly every target.
pub(crate) const USUAL_PAGE_SIZE: u32 = 4096;
/// Others that QEMU's targets have, tried on the first page that is sent in full.
const PAGE_SIZES: [u32; 6] = [USUAL_PAGE_SIZE, 8192, 16384, 65536, 2048, 1024];
const LARGEST_PAGE: u32 = 65536;
/// The smallest page of a target (Arm before version 7 and M-profile): flags stay below it.
const SMALLEST_PAGE: u32 = 1024;

/// The form in which the stream sends a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page<'a> {
    Bytes(&'a [u8]),
    /// Every byte is this one, nearly always zero.
    Filled(u8),
    /// Changes to the page as last sent, in XBZRLE encoding.
    Delta(&'a [u8]),
    /// The page packed with zlib (QEMU before 9.1, capability `compress`).
    Packed(&'a [u8]),
}

/// A visitor of guest memory as it passes; nothing of it is kept otherwise. `()` ignores it.
pub trait RamVisitor {
    /// Takes the list of blocks, once, before the first page.
    fn blocks(&mut self, blocks: &[RamBlock]) {
        let _ = blocks;
    }

    /// A page at `address` within `block`. A page may come again, and the last one counts.
    fn page(&mut self, block: &str, address: u64, page: Page<'_>) {
        let _ = (block, address, page);
    }
}

impl RamVisitor for () {}

#[derive(Debug)]
pub(crate) struct RamReader {
    /// Known from the configuration or the caller.
    page_size: Option<u32>,
    pub ignore_shared: bool,
    pub postcopy_advised: bool,
    /// Pages lie at fixed places of the file (`mapped-ram`).
    pub mapped: bool,
    names: FxHashMap<Arc<str>, usize>,
    /// The block of the last page.
    current: Option<usize>,
    /// Bytes of blocks that the list still has to name.
    unnamed: u64,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RamStep {
    More,
    End,
    /// A block of the list was named whose pages follow in the file, after a bitmap of those that are there.
    Mapped(MappedBlock),
}

/// `MappedRamHeader` of QEMU's `migration/ram.c`, and the end of the pages: places in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MappedBlock {
    bitmap: u64,
    pages: u64,
    page_count: u64,
    end: u64,
}

impl MappedBlock {
    /// Returns the bytes to skip from here to the end of the pages.
    pub(super) fn pages_after(self, here: u64) -> Option<MappedPages> {
        let bits = self.page_count.div_ceil(8);
        let to_bitmap = self.bitmap.checked_sub(here)?;
        self.pages.checked_sub(self.bitmap.checked_add(bits)?)?;
        Some(MappedPages {
            to_bitmap,
            bitmap: bits,
            rest: self.end.checked_sub(self.bitmap + bits)?,
        })
    }
}

/// Bytes that lie between a RAM block of the list and the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MappedPages {
    to_bitmap: u64,
    bitmap: u64,
    rest: u64,
}

impl MappedPages {
    /// Skips the available bytes and counts the pages in them; returns the bytes.
    pub(super) fn pass(&mut self, cut: &mut Cut<'_>, ram: &mut Ram) -> usize {
        let mut take = |left: &mut u64| {
            let bytes = cut.take_up_to(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
            bytes
        };
        let mut used = take(&mut self.to_bitmap).len();
        if self.to_bitmap == 0 {
            let bits = take(&mut self.bitmap);
            ram.pages += bits
                .iter()
                .map(|byte| u64::from(byte.count_ones()))
                .sum::<u64>();
            used += bits.len();
        }
        if self.to_bitmap == 0 && self.bitmap == 0 {
            used += take(&mut self.rest).len();
        }
        used
    }

    pub(super) fn is_over(&self) -> bool {
        self.to_bitmap == 0 && self.bitmap == 0 && self.rest == 0
    }
}

impl RamReader {
    pub(super) fn new(page_size: Option<u32>) -> Self {
        RamReader {
            page_size,
            ignore_shared: false,
            postcopy_advised: false,
            mapped: false,
            names: FxHashMap::default(),
            current: None,
            unnamed: 0,
        }
    }

    pub(super) fn page_size(&self) -> u32 {
        self.page_size.unwrap_or(USUAL_PAGE_SIZE)
    }

    pub(super) fn set_page_size(&mut self, size: u32) {
        self.page_size.get_or_insert(size);
    }

    /// One record: a block of the list, a page or a mark.
    pub(super) fn step<V: RamVisitor>(
        &mut self,
        cut: &mut Cut<'_>,
        ram: &mut Ram,
        visitor: &mut V,
    ) -> Result<RamStep, Stop> {
        if self.unnamed > 0 {
            let mapped = self.block(cut, ram)?;
            if self.unnamed == 0 {
                visitor.blocks(&ram.blocks);
            }
            return Ok(mapped.map_or(RamStep::More, RamStep::Mapped));
        }
        let header = cut.u64()?;
        let mask = u64::from(self.page_size.unwrap_or(SMALLEST_PAGE)) - 1;
        let (address, flags) = (header & !mask, header & mask);
        if self.page_size.is_none() && !address.is_multiple_of(USUAL_PAGE_SIZE.into()) {
            // Pages come in their order: the first such address is that of the second page.
            self.page_size = Some(1 << address.trailing_zeros());
        }
        match flags & !CONTINUE {
            MEM_SIZE => {
                // A second list, after a failed attempt, takes the place of the first.
                ram.blocks.clear();
                self.names.clear();
                self.current = None;
                self.unnamed = address;
            }
            form @ (ZERO | PAGE | XBZRLE | COMPRESS_PAGE) => {
                let at = self.name(flags, cut)?;
                let page = self.page(form, cut)?;
                let block = &ram.blocks[at];
                if address >= block.length {
                    return Err(cut.fail_start(StreamErrorKind::RamAddress {
                        name: block.name.to_string(),
                        address,
                        length: block.length,
                    }));
                }
                self.current = Some(at);
                match page {
                    Page::Filled(_) => ram.fills += 1,
                    Page::Bytes(_) => ram.pages += 1,
                    Page::Packed(_) => {
                        ram.pages += 1;
                        ram.packed += 1;
                    }
                    Page::Delta(_) => ram.deltas += 1,
                }
                visitor.page(&block.name, address, page);
            }
            MULTIFD_FLUSH => ram.multifd = true,
            EOS => return Ok(RamStep::End),
            HOOK => {
                return Err(cut.fail_back(
                    8,
                    StreamErrorKind::Unsupported {
                        what: "a stream of an RDMA migration",
                        why: "its pages go past the stream",
                    },
                ));
            }
            _ => {
                return Err(cut.fail_back(
                    8,
                    StreamErrorKind::RamFlags {
                        flags,
                        page_size: self.page_size(),
                    },
                ));
            }
        }
        Ok(RamStep::More)
    }

    fn block(&mut self, cut: &mut Cut<'_>, ram: &mut Ram) -> Result<Option<MappedBlock>, Stop> {
        let name = cut.name("a RAM block")?;
        let length = cut.u64()?;
        if self.ignore_shared {
            cut.u64()?; // its address in guest memory
        } else if self.postcopy_advised {
            // With postcopy, a block of huge pages is followed by their size. Nothing else at this
            // place is a large power of two: a name starts with its length, which is not zero, and
            // a page record has flags.
            let next = cut.peek_u64()?;
            if next.is_power_of_two() && (4096..1 << 40).contains(&next) {
                cut.u64()?;
            }
        }
        let mapped = match self.mapped {
            true => Some(mapped_block(cut, length)?),
            false => None,
        };
        if length > self.unnamed {
            return Err(cut.fail(StreamErrorKind::Length {
                what: "a RAM block",
                found: length,
                most: self.unnamed,
            }));
        }
        self.unnamed -= length;
        let name: Arc<str> = name.into();
        self.names.insert(name.clone(), ram.blocks.len());
        ram.blocks.push(RamBlock { name, length });
        Ok(mapped)
    }

    /// Returns the block that a page belongs to.
    fn name(&mut self, flags: u64, cut: &mut Cut<'_>) -> Result<usize, Stop> {
        if flags & CONTINUE != 0 {
            return self
                .current
                .ok_or_else(|| cut.fail_back(8, StreamErrorKind::RamContinues));
        }
        let name = cut.name("a RAM block")?;
        match self.names.get(name) {
            Some(&block) => Ok(block),
            None => Err(cut.fail(StreamErrorKind::RamBlock {
                name: name.to_owned(),
            })),
        }
    }

    /// Reads a page that is sent in this form.
    #[inline]
    fn page<'a>(&mut self, form: u64, cut: &mut Cut<'a>) -> Result<Page<'a>, Stop> {
        Ok(match form {
            ZERO => Page::Filled(cut.u8()?),
            PAGE => {
                if self.page_size.is_none() {
                    self.page_size = Some(guess_page_size(cut)?);
                }
                Page::Bytes(cut.take(self.page_size() as usize)?)
            }
            XBZRLE => {
                let found = cut.u8()?;
                if found != 1 {
                    let expected = "the XBZRLE encoding 0x01";
                    return Err(cut.fail_back(1, StreamErrorKind::Record { expected, found }));
                }
                let length = cut.u16()?;
                Page::Delta(self.packed(cut, length.into(), "an XBZRLE page")?)
            }
            // COMPRESS_PAGE: no other form comes here.
            _ => {
                let length = cut.u32()?;
                Page::Packed(self.packed(cut, length.into(), "a packed page")?)
            }
        })
    }

    fn packed<'a>(
        &self,
        cut: &mut Cut<'a>,
        length: u64,
        what: &'static str,
    ) -> Result<&'a [u8], Stop> {
        // zlib may make a page that does not compress a little larger.
        let most = u64::from(self.page_size()) + 1024;
        if length > most {
            return Err(cut.fail(StreamErrorKind::Length {
                what,
                found: length,
                most,
            }));
        }
        cut.take(length as usize)
    }
}

/// Reads the header of a mapped block of this length.
fn mapped_block(cut: &mut Cut<'_>, length: u64) -> Result<MappedBlock, Stop> {
    let version = cut.u32()?;
    if version != 1 {
        return Err(cut.fail_back(
            4,
            StreamErrorKind::Unsupported {
                what: "a mapped RAM block",
                why: "only version 1 of its header is known",
            },
        ));
    }
    let page_size = cut.u64()?;
    let (bitmap, pages) = (cut.u64()?, cut.u64()?);
    let placed = page_size
        .is_power_of_two()
        .then(|| pages.checked_add(length));
    let Some(end) = placed.flatten() else {
        return Err(cut.fail_start(StreamErrorKind::Unsupported {
            what: "the header of a mapped RAM block",
            why: "its sizes make no sense",
        }));
    };
    Ok(MappedBlock {
        bitmap,
        pages,
        page_count: length.div_ceil(page_size),
        end,
    })
}

/// The size of the page that starts here, from whether a record could follow it.
fn guess_page_size(cut: &Cut<'_>) -> Result<u32, Stop> {
    let rest = cut.peek_up_to(LARGEST_PAGE as usize + 8)?;
    let follows = |size: u32| {
        let at = size as usize;
        let Some(bytes) = rest.get(at..at + 8) else {
            return false;
        };
        let header = bytes.iter().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        let flags = header & (u64::from(size) - 1) & !CONTINUE;
        matches!(
            flags,
            ZERO | PAGE | EOS | XBZRLE | COMPRESS_PAGE | MULTIFD_FLUSH
        ) && header >> 48 == 0
    };
    Ok(PAGE_SIZES
        .into_iter()
        .find(|&size| follows(size))
        .unwrap_or(USUAL_PAGE_SIZE))
}
