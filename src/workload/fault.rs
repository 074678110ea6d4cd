//! The faults of a guest that was moved.

use thiserror::Error;

use crate::workload::ABI_VERSION;

/// The part of a page that a guest checks before it overwrites it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Check {
    /// The magic of a page.
    #[error("magic")]
    Magic,
    /// A page's own number.
    #[error("page number")]
    Index,
    /// The pass at a page's beginning.
    #[error("pass at the beginning")]
    Head,
    /// Pass and number mixed, in the middle of a page.
    #[error("mix in the middle")]
    Middle,
    /// The pass at a page's end.
    #[error("pass at the end")]
    Tail,
    /// The header's count of written pages, against the CPU's registers.
    #[error("header's progress")]
    Progress,
    /// A number that this version does not know.
    #[error("check {0}")]
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

/// A change in memory that a guest found and did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("page {page}: the {check} is {got:#x}, not {want:#x}")]
pub struct Mismatch {
    pub check: Check,
    /// The page that the guest was about to write, or for [`Check::Progress`] had just written.
    pub page: u64,
    /// The 64 bits that had to be there, as the guest's CPU loads them.
    pub want: u64,
    /// The 64 bits that were there.
    pub got: u64,
}

/// A fault in a guest's memory or on its console.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkloadError {
    #[error("{what} needs {need} bytes, only {have} were read")]
    Short {
        what: &'static str,
        need: usize,
        have: usize,
    },
    /// The guest has not started yet, or its header page is lost.
    #[error("the workload header is missing: memory begins with {}", .found.escape_ascii())]
    NoHeader { found: [u8; 8] },
    #[error("the workload header has ABI version bytes {found:02x?}, which are not {ABI_VERSION}")]
    Abi { found: [u8; 4] },
    #[error("the workload header cannot be true: {what} is {value:#x}")]
    Header { what: &'static str, value: u64 },
    #[error("the guest found {count} change(s) in its memory, the first in {first}")]
    Guest { count: u64, first: Mismatch },
    #[error("the header counts {heartbeats} heartbeats where {passes} passes make {want}")]
    Heartbeats {
        heartbeats: u64,
        passes: u64,
        want: u64,
    },
    #[error("page {page} is not a page of the region: it begins with {}", .found.escape_ascii())]
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
    #[error("the header counts {header} heartbeats, the console's last one is {}", .serial.map_or_else(|| "missing".to_owned(), |number| number.to_string()))]
    Console { header: u64, serial: Option<u32> },
}
