//! The guests that work while they are migrated, and the checks that their work arrived whole.
//!
//! A guest rewrites every page of a region over and over, in order, each time with the number of the
//! pass, and checks before it writes a page that the page still holds the pass before. It says on the
//! serial port how far it is ([`SerialLog`]), and keeps a header page that says where the region is
//! and how many pages it has written ([`Header`]). So memory and header of a stopped guest have to
//! agree to the page ([`check_region`]), whichever build it was stopped in.
//!
//! `guests/README.md` describes the guests themselves, with the layout that this file reads.
//!
//! # How to use it
//! 1. Start the source with [`Guest::attach_args`] and [`Guest::serial_args`]; a destination gets the
//!    same ones. Connect the serial port before the guest runs: bytes without a reader are lost.
//! 2. Feed [`SerialLog`] with what the source's port says; once [`SerialLog::last_beat`] is not `None`
//!    the guest works.
//! 3. Whenever the guest is stopped (source after the migration, destination before `cont`), save
//!    [`Guest::HEADER_SIZE`] bytes at [`Guest::header`] with QMP's `pmemsave`, parse them, save the
//!    region they name, check it. Source and destination of one migration give the same [`Progress`].
//! 4. Feed the rest of the source's serial bytes, then the destination's, into the same log: a line
//!    may begin in one build and end in the other. [`SerialLog::check_against`] compares it with the
//!    header.
//!
//! # A trap
//! QEMU 5.2 and 7.2 lose writes of a TCG guest when a migration goes over memory more than once while the
//! guest runs: `cpu_physical_memory_sync_dirty_bitmap` clears dirty bits without telling the TCG TLB, so
//! a later write to a page whose entry is still there goes unnoticed. (Seen with both as the source,
//! also from a build to itself; 10.0's does tell the TLB, and 10.0 and 11.1 lose nothing.) These guests
//! find it at once, as [`WorkloadError::StaleHeader`]. It says nothing about compatibility; a
//! `downtime-limit` that lets the first round be the last one, or a guest that is stopped before it is
//! migrated, avoids it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use thiserror::Error;

/// The ABI between guest and host that this file reads.
const ABI_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"MIGCOMP1";
const PAGE_MAGIC: &[u8; 8] = b"MIGPAGE1";
/// All guests write pages of 4 KiB, whatever the architecture's MMU prefers: it is off.
const PAGE_SIZE: u32 = 4096;
/// No guest's region comes near it; a header that says more is damaged, not big.
const MAX_REGION: u64 = 1 << 30;
/// An unfinished line is kept up to here: the guests' own lines are under 100 bytes, and firmware may
/// write without end.
const MAX_LINE: usize = 4096;

/// A guest and how QEMU takes it.
#[derive(Debug)]
pub struct Guest {
    /// The name that the guest says of itself: `x86`, `aarch64`, `s390x`, `ppc64` or `riscv64`.
    pub arch: &'static str,
    /// What goes into the file that QEMU is given.
    pub image: &'static [u8],
    /// A name for that file. An option ROM's base name is visible to the guest in `fw_cfg`, so source
    /// and destination use the same.
    pub file_name: &'static str,
    /// Guest-physical address of the header page. The region follows it; ask the header where.
    pub header: u64,
    /// The least memory that the machine has to have, in MiB.
    pub min_memory_mib: u32,
    /// The options that take the image, before its path.
    attach: &'static [&'static str],
    /// The same for a start after the firmware, where that is another way than `attach`.
    attach_after_firmware: Option<&'static [&'static str]>,
    /// `-option-rom` reads an option list, where a comma in a path has to be doubled.
    commas_doubled: bool,
}

impl Guest {
    /// Bytes to read at [`Guest::header`].
    pub const HEADER_SIZE: usize = PAGE_SIZE as usize;

    /// The options that make QEMU start this guest from `image`, a file that holds [`Guest::image`].
    ///
    /// They add no device and work beside `-nodefaults` and any set of devices.
    #[must_use]
    pub fn attach_args(&self, image: &Path) -> Vec<OsString> {
        self.args(self.attach, image)
    }

    /// The options that start the guest only after firmware has initialised the devices.
    ///
    /// On x86 that is what [`Guest::attach_args`] does anyway. On ppc64 it costs some seconds of SLOF under
    /// TCG, and firmware text on the serial port before the guest's first line. `None` where the guest
    /// has no firmware to start from.
    #[must_use]
    pub fn attach_args_after_firmware(&self, image: &Path) -> Option<Vec<OsString>> {
        self.attach_after_firmware
            .map(|options| self.args(options, image))
    }

    fn args(&self, options: &[&str], image: &Path) -> Vec<OsString> {
        let path = if self.commas_doubled {
            double_commas(image.as_os_str())
        } else {
            image.as_os_str().to_owned()
        };
        let mut args: Vec<OsString> = options.iter().map(OsString::from).collect();
        args.push(path);
        args
    }

    /// The options that connect the guest's console to the chardev called `chardev`.
    ///
    /// `-serial` means the right device everywhere: the first 16550 or PL011, the SCLP console on s390x,
    /// the first `spapr-vty` on ppc64.
    #[must_use]
    pub fn serial_args(&self, chardev: &str) -> Vec<OsString> {
        vec!["-serial".into(), format!("chardev:{chardev}").into()]
    }
}

fn double_commas(path: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    for &byte in path.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

static GUESTS: [Guest; 5] = [
    Guest {
        arch: "x86",
        image: include_bytes!("../../guests/x86/guest.bin"),
        file_name: "migcompat-x86.rom",
        header: 0x20_0000,
        min_memory_mib: 32,
        attach: &["-option-rom"],
        attach_after_firmware: Some(&["-option-rom"]),
        commas_doubled: true,
    },
    Guest {
        arch: "aarch64",
        image: include_bytes!("../../guests/aarch64/guest.bin"),
        file_name: "migcompat-aarch64.bin",
        header: 0x4020_0000,
        min_memory_mib: 32,
        attach: &["-kernel"],
        attach_after_firmware: None,
        commas_doubled: false,
    },
    Guest {
        arch: "s390x",
        image: include_bytes!("../../guests/s390x/guest.bin"),
        file_name: "migcompat-s390x.bin",
        header: 0x20_0000,
        min_memory_mib: 32,
        attach: &["-kernel"],
        attach_after_firmware: None,
        commas_doubled: false,
    },
    Guest {
        arch: "ppc64",
        image: include_bytes!("../../guests/ppc64/guest.bin"),
        file_name: "migcompat-ppc64.bin",
        header: 0x100_0000,
        min_memory_mib: 256,
        attach: &["-bios"],
        attach_after_firmware: Some(&["-kernel"]),
        commas_doubled: false,
    },
    Guest {
        arch: "riscv64",
        image: include_bytes!("../../guests/riscv64/guest.bin"),
        file_name: "migcompat-riscv64.bin",
        header: 0x8020_0000,
        min_memory_mib: 32,
        attach: &["-bios", "none", "-kernel"],
        attach_after_firmware: None,
        commas_doubled: false,
    },
];

/// The guest for a QEMU target, by the name in `qemu-system-NAME` (`x86_64`, `i386`, `aarch64`, `s390x`,
/// `ppc64`, `riscv64`) or by [`Guest::arch`].
#[must_use]
pub fn guest(arch: &str) -> Option<&'static Guest> {
    let name = match arch {
        "x86_64" | "i386" => "x86",
        other => other,
    };
    GUESTS.iter().find(|guest| guest.arch == name)
}

/// All guests.
#[must_use]
pub fn guests() -> &'static [Guest] {
    &GUESTS
}

/// What a guest checks before it overwrites it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The magic of a page.
    Magic,
    /// A page's own number.
    Index,
    /// The pass at a page's beginning.
    Head,
    /// Pass and number mixed, in the middle of a page.
    Middle,
    /// The pass at a page's end.
    Tail,
    /// The header's count of written pages, against the CPU's registers.
    Progress,
    /// A number that this version does not know.
    Unknown(u64),
}

impl From<u64> for Check {
    fn from(kind: u64) -> Self {
        match kind {
            1 => Self::Magic,
            2 => Self::Index,
            3 => Self::Head,
            4 => Self::Middle,
            5 => Self::Tail,
            6 => Self::Progress,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("magic"),
            Self::Index => f.write_str("page number"),
            Self::Head => f.write_str("pass at the beginning"),
            Self::Middle => f.write_str("mix in the middle"),
            Self::Tail => f.write_str("pass at the end"),
            Self::Progress => f.write_str("header's progress"),
            Self::Unknown(kind) => write!(f, "check {kind}"),
        }
    }
}

/// Something that a guest found changed behind its back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    pub check: Check,
    /// The page that the guest was about to write, or for [`Check::Progress`] had just written.
    pub page: u64,
    /// The 64 bits that had to be there, as the guest's CPU loads them.
    pub want: u64,
    /// The 64 bits that were there.
    pub got: u64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "page {}: the {} is {:#x}, not {:#x}",
            self.page, self.check, self.got, self.want
        )
    }
}

/// Why a guest's memory or console is not what an intact guest leaves.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkloadError {
    #[error("{what} needs {need} bytes, only {have} were read")]
    Short {
        what: &'static str,
        need: usize,
        have: usize,
    },
    /// The guest has not started yet, or its header page is lost.
    #[error("there is no workload header: it begins with {}", .found.escape_ascii())]
    NoHeader { found: [u8; 8] },
    #[error("the workload header has ABI version bytes {found:02x?}, which are not {ABI_VERSION}")]
    Abi { found: [u8; 4] },
    #[error("the workload header cannot be true: {what} is {value:#x}")]
    Header { what: &'static str, value: u64 },
    #[error("the guest found {count} change(s) in its memory, the first in {first}")]
    Guest { count: u64, first: Mismatch },
    #[error("the header counts {beats} beats where {passes} passes make {want}")]
    Beats { beats: u64, passes: u64, want: u64 },
    #[error("page {page} is no page of the region: it begins with {}", .found.escape_ascii())]
    NoPage { page: u64, found: [u8; 8] },
    #[error("page {page} holds page {found}")]
    Misplaced { page: u64, found: u64 },
    #[error(
        "page {page} is torn: pass {head} at its beginning, {middle} in the middle, {tail} at its end"
    )]
    Torn {
        page: u64,
        head: u64,
        middle: u64,
        tail: u64,
    },
    #[error("page {page} is stale: it holds pass {got}, the header says {want}")]
    Stale { page: u64, want: u64, got: u64 },
    /// The page is newer than the header knows: it is the header that is stale.
    #[error("the header is stale: it says that page {page} holds pass {want}, and it holds {got}")]
    StaleHeader { page: u64, want: u64, got: u64 },
    /// The lines on the console are not those that the header counts.
    #[error("the header counts {header} beats, the console's last one is {}", .serial.map_or_else(|| "missing".to_owned(), |beat| beat.to_string()))]
    Console { header: u64, serial: Option<u32> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endian {
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
/// | 8 | 4 | ABI version, 1: also tells the byte order of all fields, which is the guest's |
/// | 12 | 4 | page size, in bytes |
/// | 16 | 8 | guest-physical address of the region |
/// | 24 | 8 | pages in the region |
/// | 32 | 8 | progress: pages written since the start |
/// | 40 | 8 | beats: lines begun on the console |
/// | 48 | 8 | errors: mismatches found |
/// | 56 | 8 | passes per beat |
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
    /// Beats begun: the line of the last one may not have left the guest completely.
    pub beats: u64,
    /// Mismatches that the guest has found.
    pub errors: u64,
    pub passes_per_beat: u64,
    /// The first of [`Header::errors`].
    pub first_error: Option<Mismatch>,
    /// The guest's name for itself, as in [`Guest::arch`].
    pub arch: String,
    endian: Endian,
}

impl Header {
    /// Reads a header page, the bytes at [`Guest::header`] of a stopped guest.
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
            beats: word(40)?,
            errors: word(48)?,
            passes_per_beat: word(56)?,
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
        if self.passes_per_beat == 0 {
            return refuse("the number of passes per beat", 0);
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

/// How far an intact guest is. The same on both sides of a migration, and never less afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// Complete passes over the region.
    pub passes: u64,
    /// Pages written of the pass that is under way.
    pub page: u64,
    /// Beats begun on the console.
    pub beats: u64,
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
/// What the guest found itself comes first, since it repairs what it reports; then the first page
/// that is wrong.
pub fn check_region(header: &Header, region: &[u8]) -> Result<Progress, WorkloadError> {
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
    let want = done / header.passes_per_beat.max(1);
    // A stop may fall between the last page of a pass and its beat.
    let pending = current == 0 && done.is_multiple_of(header.passes_per_beat.max(1));
    if header.beats != want && !(pending && header.beats.checked_add(1) == Some(want)) {
        return Err(WorkloadError::Beats {
            beats: header.beats,
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
        check_page(header.endian, page, bytes, done, current).map_err(|problem| match problem {
            PageProblem::Short => short(need),
            PageProblem::Wrong(error) => error,
        })?;
    }

    Ok(Progress {
        passes: done,
        page: current,
        beats: header.beats,
    })
}

enum PageProblem {
    Short,
    Wrong(WorkloadError),
}

fn check_page(
    endian: Endian,
    page: u64,
    bytes: &[u8],
    done: u64,
    current: u64,
) -> Result<(), PageProblem> {
    let wrong = |error| Err(PageProblem::Wrong(error));
    let word = |offset| {
        bytes_at(bytes, offset)
            .map(|b| endian.u64(b))
            .ok_or(PageProblem::Short)
    };
    let magic: [u8; 8] = bytes_at(bytes, 0).ok_or(PageProblem::Short)?;
    if magic != *PAGE_MAGIC {
        return wrong(WorkloadError::NoPage { page, found: magic });
    }
    let found = word(8)?;
    if found != page {
        return wrong(WorkloadError::Misplaced { page, found });
    }
    let head = word(16)?;
    let middle = !word(2048)? ^ page << 32;
    let tail = word(4088)?;

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
        return wrong(WorkloadError::Torn {
            page,
            head,
            middle,
            tail,
        });
    }
    let want = if page < current { next } else { done };
    match head.cmp(&want) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => wrong(WorkloadError::Stale {
            page,
            want,
            got: head,
        }),
        std::cmp::Ordering::Greater => wrong(WorkloadError::StaleHeader {
            page,
            want,
            got: head,
        }),
    }
}

/// What a line on a guest's console means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialEvent {
    /// `S migcompat ARCH 1`: the guest works from now on.
    Started { arch: String },
    /// The same again: the machine was reset.
    Restarted { arch: String },
    /// The beat that was due.
    Beat(u32),
    /// A beat that was said before: the guest runs twice, or was set back.
    Repeated { want: u32, got: u32 },
    /// Beats before this one never came.
    Skipped { want: u32, got: u32 },
    /// The guest found its memory changed.
    Guest(Mismatch),
    /// A line that no guest writes: lost or mixed bytes. Escaped to ASCII.
    Garbage(String),
}

impl SerialEvent {
    /// Whether an intact guest, migrated well, can cause this.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Started { .. } | Self::Beat(_))
    }
}

/// A guest's console, across all builds that it runs in.
///
/// Whatever comes before the guest's first line is the firmware's and is passed over. From there on
/// every byte counts.
#[derive(Debug, Clone, Default)]
pub struct SerialLog {
    line: Vec<u8>,
    overlong: bool,
    started: bool,
    last: Option<u32>,
}

impl SerialLog {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, cut anywhere, and returns what the lines that they end mean.
    ///
    /// Bytes of a destination follow those of its source in the same log.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SerialEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let overlong = std::mem::take(&mut self.overlong);
                events.extend(self.line(&line, overlong));
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            } else {
                self.overlong = true;
            }
        }
        events
    }

    /// The last beat that came completely; 1 is the first one.
    #[must_use]
    pub fn last_beat(&self) -> Option<u32> {
        self.last
    }

    /// Whether the guest has said its first line.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// Compares with the header of the same guest, which is stopped, and all of whose serial bytes
    /// have been fed.
    ///
    /// # Errors
    /// [`WorkloadError::Console`] if the last line is neither the header's last beat nor, since that
    /// one may be on its way, the one before it.
    pub fn check_against(&self, header: &Header) -> Result<(), WorkloadError> {
        let said = u64::from(self.last.unwrap_or(0));
        // The console has the low 32 bits alone.
        let counted = header.beats & u64::from(u32::MAX);
        let before = header.beats.wrapping_sub(1) & u64::from(u32::MAX);
        if said == counted || (header.beats != 0 && said == before) {
            Ok(())
        } else {
            Err(WorkloadError::Console {
                header: header.beats,
                serial: self.last,
            })
        }
    }

    fn line(&mut self, line: &[u8], overlong: bool) -> Option<SerialEvent> {
        if !self.started {
            let arch = start_line(line)?;
            self.started = true;
            return Some(SerialEvent::Started { arch });
        }
        if overlong {
            return Some(garbage(line));
        }
        if let Some(got) = beat_line(line) {
            let want = self.last.unwrap_or(0).wrapping_add(1);
            // Go on from here, so that one loss is one event.
            self.last = Some(got);
            return Some(if got == want {
                SerialEvent::Beat(got)
            } else if got.wrapping_sub(want) < 1 << 31 {
                SerialEvent::Skipped { want, got }
            } else {
                SerialEvent::Repeated { want, got }
            });
        }
        if let Some(mismatch) = error_line(line) {
            return Some(SerialEvent::Guest(mismatch));
        }
        // After a reset the firmware may speak first, and the lines before this one were garbage.
        if let Some(arch) = start_line(line) {
            self.last = None;
            return Some(SerialEvent::Restarted { arch });
        }
        Some(garbage(line))
    }
}

fn garbage(line: &[u8]) -> SerialEvent {
    let shown = line.get(..200).unwrap_or(line);
    SerialEvent::Garbage(shown.escape_ascii().to_string())
}

/// `S migcompat ARCH 1`, also after other text in the same line: firmware may leave its cursor anywhere.
fn start_line(line: &[u8]) -> Option<String> {
    const START: &[u8] = b"S migcompat ";
    let at = line.windows(START.len()).position(|w| w == START)?;
    let rest = str::from_utf8(line.get(at + START.len()..)?).ok()?;
    let (arch, version) = rest.split_once(' ')?;
    let known = guests().iter().any(|guest| guest.arch == arch);
    (known && version == "1").then(|| arch.to_owned())
}

/// `B` and eight hexadecimal digits.
fn beat_line(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"B ")?;
    u32::try_from(hex(digits, 8)?).ok()
}

/// `E kind=8 page=8 want=16 got=16`, the numbers as so many hexadecimal digits.
fn error_line(line: &[u8]) -> Option<Mismatch> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    if words.next()? != "E" {
        return None;
    }
    let mut field = |name: &str, digits| {
        let value = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
        hex(value.as_bytes(), digits)
    };
    let mismatch = Mismatch {
        check: Check::from(field("kind", 8)?),
        page: field("page", 8)?,
        want: field("want", 16)?,
        got: field("got", 16)?,
    };
    words.next().is_none().then_some(mismatch)
}

/// Exactly so many lower-case hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u64> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: u64 = 8;
    const PER_BEAT: u64 = 2;

    fn put(endian: Endian, bytes: &mut [u8], offset: usize, value: u64) {
        let value = match endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        };
        bytes[offset..offset + 8].copy_from_slice(&value);
    }

    /// What an intact guest leaves that has written so many pages.
    fn memory(endian: Endian, progress: u64) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![0; Guest::HEADER_SIZE];
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
        put(endian, &mut header, 40, progress / PAGES / PER_BEAT);
        put(endian, &mut header, 56, PER_BEAT);
        header[96..99].copy_from_slice(b"x86");

        let mut region = vec![0; 4096 * PAGES as usize];
        for page in 0..PAGES {
            let pass = progress / PAGES + u64::from(page < progress % PAGES);
            write_page(endian, &mut region, page, pass);
        }
        (header, region)
    }

    fn write_page(endian: Endian, region: &mut [u8], page: u64, pass: u64) {
        let bytes = &mut region[4096 * page as usize..][..4096];
        bytes[..8].copy_from_slice(PAGE_MAGIC);
        put(endian, bytes, 8, page);
        put(endian, bytes, 16, pass);
        put(endian, bytes, 2048, !(pass ^ page << 32));
        put(endian, bytes, 4088, pass);
    }

    fn check(header: &[u8], region: &[u8]) -> Result<Progress, WorkloadError> {
        check_region(&Header::parse(header)?, region)
    }

    const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];

    #[test]
    fn an_intact_guest_passes_wherever_it_stops() {
        for endian in BOTH {
            for progress in 0..5 * PAGES {
                let (header, region) = memory(endian, progress);
                assert_eq!(
                    check(&header, &region),
                    Ok(Progress {
                        passes: progress / PAGES,
                        page: progress % PAGES,
                        beats: progress / PAGES / PER_BEAT,
                    })
                );
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
        let endian = Endian::Little;
        let (header, region) = memory(endian, 3 * PAGES + 5);

        let mut lost = region.clone();
        lost[4096 * 6..4096 * 7].fill(0);
        assert_eq!(
            check(&header, &lost),
            Err(WorkloadError::NoPage {
                page: 6,
                found: [0; 8]
            })
        );

        let mut misplaced = region.clone();
        misplaced.copy_within(4096 * 2..4096 * 3, 4096 * 3);
        assert_eq!(
            check(&header, &misplaced),
            Err(WorkloadError::Misplaced { page: 3, found: 2 })
        );

        let mut stale = region.clone();
        write_page(endian, &mut stale, 1, 3);
        assert_eq!(
            check(&header, &stale),
            Err(WorkloadError::Stale {
                page: 1,
                want: 4,
                got: 3
            })
        );

        let mut torn = region.clone();
        put(endian, &mut torn, 4096 + 4088, 3);
        assert_eq!(
            check(&header, &torn),
            Err(WorkloadError::Torn {
                page: 1,
                head: 4,
                middle: 4,
                tail: 3
            })
        );

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
    fn beats_follow_the_passes() {
        let endian = Endian::Big;
        // Pass 4 is complete, its beat may be due; a page later it is not any more.
        for (progress, beats, good) in [
            (4 * PAGES, 2, true),
            (4 * PAGES, 1, true),
            (4 * PAGES, 0, false),
            (4 * PAGES, 3, false),
            (4 * PAGES + 1, 1, false),
            (5 * PAGES, 1, false),
            (0, u64::MAX, false),
        ] {
            let (mut header, region) = memory(endian, progress);
            put(endian, &mut header, 40, beats);
            assert_eq!(check(&header, &region).is_ok(), good, "{progress} {beats}");
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

    fn started() -> SerialLog {
        let mut log = SerialLog::new();
        log.feed(b"S migcompat x86 1\nB 00000001\n");
        log
    }

    #[test]
    fn a_line_may_be_cut_anywhere() {
        let text = b"SLOF\r\nBooting S migcompat ppc64 1\nB 00000001\nB 00000002\n";
        for cut in 0..=text.len() {
            let mut log = SerialLog::new();
            let mut events = log.feed(&text[..cut]);
            events.extend(log.feed(&text[cut..]));
            assert_eq!(
                events,
                [
                    SerialEvent::Started {
                        arch: "ppc64".to_owned()
                    },
                    SerialEvent::Beat(1),
                    SerialEvent::Beat(2)
                ]
            );
        }
    }

    #[test]
    fn firmware_may_say_anything_first() {
        let mut log = SerialLog::new();
        assert_eq!(log.feed(b"B 00000007\nE oops\n\x1b[2J\xff\n"), []);
        assert_eq!(log.feed(&[b'x'; 3 * MAX_LINE]), []);
        assert_eq!(log.feed(b"\nS migcompat vax 1\n"), []);
        assert!(!log.started());
        assert_eq!(log.feed(b"S migcompat s390x 1\n").len(), 1);
        assert!(log.started());
        assert_eq!(log.last_beat(), None);
    }

    #[test]
    fn repeated_and_skipped_beats_are_told_once() {
        let mut log = started();
        assert_eq!(
            log.feed(b"B 00000002\nB 00000002\nB 00000003\nB 00000006\nB 00000007\n"),
            [
                SerialEvent::Beat(2),
                SerialEvent::Repeated { want: 3, got: 2 },
                SerialEvent::Beat(3),
                SerialEvent::Skipped { want: 4, got: 6 },
                SerialEvent::Beat(7),
            ]
        );
    }

    #[test]
    fn the_counter_wraps() {
        let mut log = started();
        log.last = Some(u32::MAX - 1);
        assert_eq!(
            log.feed(b"B ffffffff\nB 00000000\n"),
            [SerialEvent::Beat(u32::MAX), SerialEvent::Beat(0)]
        );
    }

    #[test]
    fn broken_lines_are_garbage() {
        for line in [
            "",
            "B 0000002",
            "B 000000022",
            "B 0000000G",
            "B 0000000A",
            " B 00000002",
            "B 00000002\r",
            "B 000B 00000002",
            "E kind=00000001",
            "E kind=00000001 page=00000001 want=0000000000000001 got=0000000000000002 ",
        ] {
            let mut log = started();
            let events = log.feed(format!("{line}\n").as_bytes());
            assert!(
                matches!(events[..], [SerialEvent::Garbage(_)]),
                "{line:?}: {events:?}"
            );
        }
        let mut log = started();
        let events = log.feed(&[&[b'B'; 2 * MAX_LINE][..], b"\n"].concat());
        assert!(matches!(events[..], [SerialEvent::Garbage(_)]));
    }

    #[test]
    fn the_guests_own_report_is_read() {
        let mut log = started();
        assert_eq!(
            log.feed(b"E kind=00000006 page=000003df want=00000000001367df got=0102030405060708\n"),
            [SerialEvent::Guest(Mismatch {
                check: Check::Progress,
                page: 0x3df,
                want: 0x1367df,
                got: 0x0102_0304_0506_0708,
            })]
        );
    }

    #[test]
    fn a_reset_is_no_continuation() {
        let mut log = started();
        assert_eq!(
            log.feed(b"SeaBIOS S migcompat x86 1\nB 00000001\n"),
            [
                SerialEvent::Restarted {
                    arch: "x86".to_owned()
                },
                SerialEvent::Beat(1)
            ]
        );
    }

    #[test]
    fn the_console_agrees_with_the_header() {
        let (header, _) = memory(Endian::Little, 4 * PAGES);
        let header = Header::parse(&header).expect("an intact header");
        assert_eq!(header.beats, 2);
        let mut log = SerialLog::new();
        assert!(log.check_against(&header).is_err());
        log.feed(b"S migcompat x86 1\nB 00000001\nB 0000");
        assert_eq!(log.check_against(&header), Ok(()));
        log.feed(b"0002\n");
        assert_eq!(log.check_against(&header), Ok(()));
        log.feed(b"B 00000003\n");
        assert_eq!(
            log.check_against(&header).map_err(|e| e.to_string()),
            Err("the header counts 2 beats, the console's last one is 3".to_owned())
        );
    }

    #[test]
    fn targets_have_their_guests() {
        for (target, arch) in [
            ("x86_64", "x86"),
            ("i386", "x86"),
            ("aarch64", "aarch64"),
            ("s390x", "s390x"),
            ("ppc64", "ppc64"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(guest(target).map(|guest| guest.arch), Some(arch));
        }
        assert!(guest("m68k").is_none());
    }

    #[test]
    fn a_comma_in_an_option_list_is_doubled() {
        let path = Path::new("/a,b/guest");
        let args = |arch| guest(arch).map(|guest| guest.attach_args(path));
        assert_eq!(
            args("i386"),
            Some(vec!["-option-rom".into(), "/a,,b/guest".into()])
        );
        assert_eq!(
            args("riscv64"),
            Some(vec![
                "-bios".into(),
                "none".into(),
                "-kernel".into(),
                "/a,b/guest".into()
            ])
        );
    }
}
