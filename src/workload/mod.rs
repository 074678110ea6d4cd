//! The guests that work while they are migrated, and the checks that their work arrived whole.
//!
//! A guest rewrites every page of a region over and over, in order, each time with the number of
//! the pass, and checks before it writes a page that the page still holds the pass before. It
//! prints its progress on the serial port ([`SerialLog`]), and keeps a header page that says where
//! the region is and how many pages it has written ([`Header`]). So memory and header of a stopped
//! guest have to agree to the page ([`check_region`]), whichever build it was stopped in.
//!
//! `guests/README.md` describes the guests themselves, with the layout that this file reads.
//!
//! # How to use it
//! 1. Start the source with [`Guest::attach_args`] and [`Guest::serial_args`]; a destination gets the
//!    same ones. Connect the serial port before the guest runs: bytes without a reader are lost.
//! 2. Feed [`SerialLog`] with what the source's port prints; once [`SerialLog::last_heartbeat`] is not `None`
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
//! also from a build to itself; 10.0's does inform the TLB, and 10.0 and 11.1 lose nothing.) These
//! guests find it at once, as [`WorkloadError::StaleHeader`]. It says nothing about compatibility;
//! a `downtime-limit` that lets the first round be the last one, or a guest that is stopped before
//! it is migrated, avoids it.

mod console;
mod fault;
mod guest;
mod memory;

pub(crate) use console::{SerialEvent, SerialLog};
pub(crate) use fault::WorkloadError;
pub use guest::{Guest, guest, guests};
pub(crate) use memory::Header;
pub(crate) use memory::{Progress, check_region};

/// The ABI between guest and host that is read here.
const ABI_VERSION: u32 = 1;
