//! A stopped guest's memory: its header page and the region it works on.

use std::cmp::Ordering;

use crate::workload::ABI_VERSION;
use crate::workload::fault::{Check, Mismatch, WorkloadError};

const MAGIC: &[u8; 8] = b"MIGCOMP1";
const PAGE_MAGIC: &[u8; 8] = b"MIGPAGE1";
/// All guests write pages of 4 KiB, whatever the architecture's MMU prefers: it is off.
pub(crate) const PAGE_SIZE: u32 = 4096;
/// No guest's region comes near it; a header that says more is damaged, not big.
const MAX_REGION: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
}

impl Endian {
    fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }
}

/// The `N` bytes at `offset`, if there are so many.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// A guest's header page.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 8 | ASCII `MIGCOMP1`, stored once the region is ready |
/// | 8 | 4 | ABI version, 1: also shows the byte order of all fields, which is the guest's |
/// | 12 | 4 | page size, in bytes |
/// | 16 | 8 | guest-physical address of the region |
/// | 24 | 8 | pages in the region |
/// | 32 | 8 | progress: pages written since the start |
/// | 40 | 8 | heartbeats: lines begun on the console |
/// | 48 | 8 | errors: mismatches found |
/// | 56 | 8 | passes per heartbeat |
/// | 64 | 32 | the first mismatch: check, page, want, got (8 bytes each) |
/// | 96 | 8 | ASCII name of the guest, zero padded |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Guest-physical address of the region.
    pub region: u64,
    /// Bytes in a page.
    pub page_size: u32,
    /// Pages in the region.
    pub pages: u64,
    /// Pages written since the start, over all passes. One word, stored at once, so that a stop between
    /// any two instructions finds it right.
    pub progress: u64,
    /// Heartbeats begun: the line of the last one may not have left the guest completely.
    pub heartbeats: u64,
    /// Mismatches that the guest has found.
    pub errors: u64,
    pub passes_per_heartbeat: u64,
    /// The first of [`Header::errors`].
    pub first_error: Option<Mismatch>,
    /// The guest's name for itself, as in [`Guest::arch`](crate::workload::Guest::arch).
    pub arch: String,
    endian: Endian,
}

impl Header {
    /// Reads a header page, the bytes at [`Guest::header`](crate::workload::Guest) of a stopped guest.
    ///
    /// # Errors
    /// [`WorkloadError::Short`], [`WorkloadError::NoHeader`], [`WorkloadError::Abi`], and
    /// [`WorkloadError::Header`] where a field has a value that no guest stores.
    pub fn parse(bytes: &[u8]) -> Result<Self, WorkloadError> {
        const NEED: usize = 104;
        let short = || WorkloadError::Short {
            what: "the workload header",
            need: NEED,
            have: bytes.len(),
        };
        let magic: [u8; 8] = bytes_at(bytes, 0).ok_or_else(short)?;
        if magic != *MAGIC {
            return Err(WorkloadError::NoHeader { found: magic });
        }
        let abi: [u8; 4] = bytes_at(bytes, 8).ok_or_else(short)?;
        let endian = if abi == ABI_VERSION.to_le_bytes() {
            Endian::Little
        } else if abi == ABI_VERSION.to_be_bytes() {
            Endian::Big
        } else {
            return Err(WorkloadError::Abi { found: abi });
        };
        let word = |offset| {
            bytes_at(bytes, offset)
                .map(|b| endian.u64(b))
                .ok_or_else(short)
        };
        let page_size: [u8; 4] = bytes_at(bytes, 12).ok_or_else(short)?;
        let page_size = match endian {
            Endian::Little => u32::from_le_bytes(page_size),
            Endian::Big => u32::from_be_bytes(page_size),
        };
        let name: [u8; 8] = bytes_at(bytes, 96).ok_or_else(short)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();

        let first = Mismatch {
            check: Check::from(word(64)?),
            page: word(72)?,
            want: word(80)?,
            got: word(88)?,
        };
        let header = Self {
            region: word(16)?,
            page_size,
            pages: word(24)?,
            progress: word(32)?,
            heartbeats: word(40)?,
            errors: word(48)?,
            passes_per_heartbeat: word(56)?,
            first_error: (first.check != Check::Unknown(0)).then_some(first),
            arch: String::from_utf8_lossy(name).into_owned(),
            endian,
        };
        header.plausible()?;
        Ok(header)
    }

    fn plausible(&self) -> Result<(), WorkloadError> {
        let refuse = |what, value| Err(WorkloadError::Header { what, value });
        if self.page_size != PAGE_SIZE {
            return refuse("the page size", self.page_size.into());
        }
        if self.pages == 0 || self.pages > MAX_REGION / u64::from(PAGE_SIZE) {
            return refuse("the number of pages", self.pages);
        }
        if self.region.checked_add(self.region_size()).is_none() {
            return refuse("the region's address", self.region);
        }
        if self.passes_per_heartbeat == 0 {
            return refuse("the number of passes per heartbeat", 0);
        }
        // Both are stored before the guest goes on, in this order.
        if self.errors == 0 && self.first_error.is_some() {
            return refuse("the number of errors", 0);
        }
        Ok(())
    }

    /// Bytes in the region, at most 1 GiB.
    #[must_use]
    pub fn region_size(&self) -> u64 {
        self.pages.saturating_mul(self.page_size.into())
    }

    /// Passes that are complete.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.progress / self.pages.max(1)
    }

    /// The page that is being written now: the ones before it hold pass `passes() + 1`, it and the ones
    /// after it `passes()`.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.progress % self.pages.max(1)
    }
}

/// Checks that header and region of a stopped guest agree: that every page holds exactly the pass
/// that the header says it holds, and that the guest has found nothing itself.
///
/// `region` is [`Header::region_size`] bytes at [`Header::region`].
///
/// A page holds, as 64-bit fields in the guest's byte order: ASCII `MIGPAGE1` (at 0), its number (8), the
/// pass (16), `!(pass ^ number << 32)` (2048), the pass again (4088). They are stored in this order, so
/// the page under way, and no other, may be new at its beginning and old at its end.
///
/// # Errors
/// Returns what the guest found itself first, since it repairs what it reports; then the first page
/// that is wrong.
pub(crate) fn check_region(header: &Header, region: &[u8]) -> Result<(), WorkloadError> {
    if header.errors != 0 {
        return Err(WorkloadError::Guest {
            count: header.errors,
            first: header.first_error.unwrap_or(Mismatch {
                check: Check::Unknown(0),
                page: 0,
                want: 0,
                got: 0,
            }),
        });
    }

    let done = header.passes();
    let current = header.page();
    let want = done / header.passes_per_heartbeat.max(1);
    // A stop may fall between the last page of a pass and its heartbeat.
    let pending = current == 0 && done.is_multiple_of(header.passes_per_heartbeat.max(1));
    if header.heartbeats != want && !(pending && header.heartbeats.checked_add(1) == Some(want)) {
        return Err(WorkloadError::Heartbeats {
            heartbeats: header.heartbeats,
            passes: done,
            want,
        });
    }

    let have = region.len();
    let short = |need| WorkloadError::Short {
        what: "the workload's region",
        need,
        have,
    };
    let need = usize::try_from(header.region_size()).map_err(|_| short(usize::MAX))?;
    let region = region.get(..need).ok_or_else(|| short(need))?;
    for (page, bytes) in (0u64..).zip(region.chunks_exact(PAGE_SIZE as usize)) {
        check_page(header.endian, page, bytes, done, current)?;
    }
    Ok(())
}

fn check_page(
    endian: Endian,
    page: u64,
    bytes: &[u8],
    done: u64,
    current: u64,
) -> Result<(), WorkloadError> {
    // A page is whole.
    let at = |offset| bytes_at(bytes, offset).unwrap_or_default();
    let word = |offset| endian.u64(at(offset));
    if at(0) != *PAGE_MAGIC {
        return Err(WorkloadError::NoPage { page, found: at(0) });
    }
    let found = word(8);
    if found != page {
        return Err(WorkloadError::Misplaced { page, found });
    }
    let head = word(16);
    let middle = !word(2048) ^ page << 32;
    let tail = word(4088);

    let next = done.wrapping_add(1);
    if page == current {
        // Head, middle and tail are stored in this order: any prefix of the three may be new.
        let new = [head, middle, tail].map(|pass| pass == next);
        let old = [head, middle, tail].map(|pass| pass == done);
        if (0..=3).any(|n| new[..n].iter().all(|&x| x) && old[n..].iter().all(|&x| x)) {
            return Ok(());
        }
    }
    if head != tail || head != middle {
        return Err(WorkloadError::Torn {
            page,
            head,
            middle,
            tail,
        });
    }
    let want = if page < current { next } else { done };
    let got = head;
    match got.cmp(&want) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(WorkloadError::Stale { page, want, got }),
        Ordering::Greater => Err(WorkloadError::StaleHeader { page, want, got }),
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! Memory as an intact guest leaves it.

    use super::*;

    pub(crate) const PAGES: u64 = 8;
    pub(crate) const PER_HEARTBEAT: u64 = 2;

    pub(crate) fn put(endian: Endian, bytes: &mut [u8], offset: usize, value: u64) {
        let value = match endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        };
        bytes[offset..offset + 8].copy_from_slice(&value);
    }

    /// Makes the memory of an intact guest that has written so many pages.
    pub(crate) fn memory(endian: Endian, progress: u64) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![0; PAGE_SIZE as usize];
        header[..8].copy_from_slice(MAGIC);
        let (abi, page_size) = match endian {
            Endian::Little => (1u32.to_le_bytes(), 4096u32.to_le_bytes()),
            Endian::Big => (1u32.to_be_bytes(), 4096u32.to_be_bytes()),
        };
        header[8..12].copy_from_slice(&abi);
        header[12..16].copy_from_slice(&page_size);
        put(endian, &mut header, 16, 0x20_1000);
        put(endian, &mut header, 24, PAGES);
        put(endian, &mut header, 32, progress);
        put(endian, &mut header, 40, progress / PAGES / PER_HEARTBEAT);
        put(endian, &mut header, 56, PER_HEARTBEAT);
        header[96..99].copy_from_slice(b"x86");

        let mut region = vec![0; 4096 * PAGES as usize];
        for page in 0..PAGES {
            let pass = progress / PAGES + u64::from(page < progress % PAGES);
            write_page(endian, &mut region, page, pass);
        }
        (header, region)
    }

    pub(crate) fn write_page(endian: Endian, region: &mut [u8], page: u64, pass: u64) {
        let bytes = &mut region[4096 * page as usize..][..4096];
        bytes[..8].copy_from_slice(PAGE_MAGIC);
        put(endian, bytes, 8, page);
        put(endian, bytes, 16, pass);
        put(endian, bytes, 2048, !(pass ^ page << 32));
        put(endian, bytes, 4088, pass);
    }
}

#[cfg(test)]
mod tests {
    use super::sample::*;
    use super::*;

    fn check(header: &[u8], region: &[u8]) -> Result<(), WorkloadError> {
        check_region(&Header::parse(header)?, region)
    }

    const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];

    #[test]
    fn an_intact_guest_passes_wherever_it_stops() {
        for endian in BOTH {
            for progress in 0..5 * PAGES {
                let (header, region) = memory(endian, progress);
                assert_eq!(check(&header, &region), Ok(()));
                let header = Header::parse(&header).expect("a header");
                assert_eq!(header.passes(), progress / PAGES);
                assert_eq!(header.page(), progress % PAGES);
                assert_eq!(header.heartbeats, progress / PAGES / PER_HEARTBEAT);
            }
        }
    }

    #[test]
    fn the_page_under_way_may_be_half_written_and_only_in_order() {
        for endian in BOTH {
            let (header, region) = memory(endian, 3 * PAGES + 5);
            let at = 5 * 4096;
            let middle = !(4 ^ (5u64 << 32));
            for (stores, legal) in [
                (&[16][..], true),
                (&[16, 2048][..], true),
                (&[16, 2048, 4088][..], true),
                (&[2048][..], false),
                (&[4088][..], false),
                (&[16, 4088][..], false),
                (&[2048, 4088][..], false),
            ] {
                let mut half = region.clone();
                for &offset in stores {
                    let value = if offset == 2048 { middle } else { 4 };
                    put(endian, &mut half, at + offset, value);
                }
                assert_eq!(check(&header, &half).is_ok(), legal, "{stores:?}");
            }
        }
    }

    #[test]
    fn every_stamped_bit_counts() {
        for endian in BOTH {
            let (header, region) = memory(endian, 3 * PAGES + 5);
            for page in 0..PAGES as usize {
                for field in [0, 8, 16, 2048, 4088] {
                    for byte in 0..8 {
                        let mut damaged = region.clone();
                        damaged[page * 4096 + field + byte] ^= 0x10;
                        assert!(check(&header, &damaged).is_err(), "{page} {field} {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn damage_is_named() {
        type Damage<'d> = &'d dyn Fn(&mut [u8]);
        let endian = Endian::Little;
        let (header, region) = memory(endian, 3 * PAGES + 5);

        let damages: [(Damage<'_>, WorkloadError); 4] = [
            (
                &|region| region[4096 * 6..4096 * 7].fill(0),
                WorkloadError::NoPage {
                    page: 6,
                    found: [0; 8],
                },
            ),
            (
                &|region| region.copy_within(4096 * 2..4096 * 3, 4096 * 3),
                WorkloadError::Misplaced { page: 3, found: 2 },
            ),
            (
                &|region| write_page(endian, region, 1, 3),
                WorkloadError::Stale {
                    page: 1,
                    want: 4,
                    got: 3,
                },
            ),
            (
                &|region| put(endian, region, 4096 + 4088, 3),
                WorkloadError::Torn {
                    page: 1,
                    head: 4,
                    middle: 4,
                    tail: 3,
                },
            ),
        ];
        for (damage, error) in damages {
            let mut damaged = region.clone();
            damage(&mut damaged);
            assert_eq!(check(&header, &damaged), Err(error));
        }

        let (old, _) = memory(endian, 2 * PAGES + 5);
        assert_eq!(
            check(&old, &region),
            Err(WorkloadError::StaleHeader {
                page: 0,
                want: 3,
                got: 4
            })
        );

        assert_eq!(
            check(&header, &region[..region.len() - 1]),
            Err(WorkloadError::Short {
                what: "the workload's region",
                need: 4096 * 8,
                have: 4096 * 8 - 1
            })
        );
    }

    #[test]
    fn what_the_guest_found_comes_first() {
        for endian in BOTH {
            let (mut header, region) = memory(endian, 3 * PAGES + 5);
            put(endian, &mut header, 48, 2);
            put(endian, &mut header, 64, 5);
            put(endian, &mut header, 72, 7);
            put(endian, &mut header, 80, 3);
            put(endian, &mut header, 88, 2);
            let error = check(&header, &region).expect_err("the header counts errors");
            assert_eq!(
                error.to_string(),
                "the guest found 2 change(s) in its memory, the first in page 7: the pass at the end \
                 is 0x2, not 0x3"
            );
        }
    }

    #[test]
    fn heartbeats_follow_the_passes() {
        let endian = Endian::Big;
        // Pass 4 is complete, its heartbeat may be due; a page later it is not any more.
        for (progress, heartbeats, good) in [
            (4 * PAGES, 2, true),
            (4 * PAGES, 1, true),
            (4 * PAGES, 0, false),
            (4 * PAGES, 3, false),
            (4 * PAGES + 1, 1, false),
            (5 * PAGES, 1, false),
            (0, u64::MAX, false),
        ] {
            let (mut header, region) = memory(endian, progress);
            put(endian, &mut header, 40, heartbeats);
            assert_eq!(
                check(&header, &region).is_ok(),
                good,
                "{progress} {heartbeats}"
            );
        }
    }

    #[test]
    fn a_damaged_header_is_refused() {
        for endian in BOTH {
            let (header, _) = memory(endian, 9);
            assert!(matches!(
                Header::parse(&[0; 4096]),
                Err(WorkloadError::NoHeader { .. })
            ));
            for len in 0..104 {
                assert!(matches!(
                    Header::parse(&header[..len]),
                    Err(WorkloadError::Short { .. })
                ));
            }
            let mut abi = header.clone();
            abi[8..12].fill(2);
            assert!(matches!(
                Header::parse(&abi),
                Err(WorkloadError::Abi { .. })
            ));
            for (offset, value) in [
                (16, u64::MAX),
                (24, 0),
                (24, u64::MAX),
                (24, MAX_REGION / 4096 + 1),
                (56, 0),
                (64, 1),
            ] {
                let mut damaged = header.clone();
                put(endian, &mut damaged, offset, value);
                assert!(
                    matches!(Header::parse(&damaged), Err(WorkloadError::Header { .. })),
                    "{offset} {value:#x}"
                );
            }
        }
    }
}
