//! The guests that work while they are migrated, and the checks that their work arrived whole.
//!
//! There are two kinds: [`linux`], with drivers for the machine's devices, and tiny ones of our own, which are described
//! here.
//!
//! A tiny guest rewrites every page of a region over and over, in order, each time with the number of
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
//!    region they name, check it. Source and destination of one migration give the same progress.
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
mod excerpt;
mod fault;
mod guest;
pub(crate) mod linux;
mod memory;

pub(crate) use console::{SerialEvent, SerialLog};
pub(crate) use fault::WorkloadError;
pub use guest::{Guest, guest, guests};
pub(crate) use memory::{Header, check_region};

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use linux::{Interfaces, LinuxGuest};

/// The guest that works in a machine while it is moved.
#[derive(Debug, Clone)]
pub enum Workload {
    /// A bare-metal program of our own, which needs no device.
    Tiny(&'static Guest),
    /// Linux with the drivers of the machine's devices.
    Linux(Arc<LinuxGuest>),
}

impl Workload {
    /// Returns the memory that the machine has to have, in MiB.
    pub fn min_memory_mib(&self) -> u32 {
        match self {
            Workload::Tiny(guest) => guest.min_memory_mib,
            Workload::Linux(guest) => guest.memory_mib(),
        }
    }

    /// Returns the number of processors that the machine has.
    pub(crate) fn processors(&self) -> u32 {
        match self {
            Workload::Tiny(_) => 1,
            Workload::Linux(guest) => guest.processors(),
        }
    }

    /// Returns the options that make QEMU start the guest from the files in a folder.
    pub fn attach_args(&self, folder: &Path) -> Vec<OsString> {
        match self {
            Workload::Tiny(guest) => guest.attach_args(&folder.join(guest.file_name)),
            Workload::Linux(guest) => guest.attach_args(folder),
        }
    }

    /// Returns the arguments that plug in the devices, with the backends that the guest needs.
    pub(crate) fn device_args(
        &self,
        args: &[String],
        interfaces: &Interfaces,
        folder: &Path,
    ) -> Vec<String> {
        match self {
            Workload::Tiny(_) => args.to_vec(),
            Workload::Linux(guest) => guest.device_args(args, interfaces, folder),
        }
    }

    /// Returns the options that connect the guest's console to the chardev of this name.
    ///
    /// `-serial` means the right device everywhere: the first 16550 or PL011, the SCLP console on s390x,
    /// the first `spapr-vty` on ppc64.
    pub fn serial_args(chardev: &str) -> Vec<OsString> {
        vec!["-serial".into(), format!("chardev:{chardev}").into()]
    }

    /// Writes the files that the arguments name.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn prepare(&self, device_args: &[String], folder: &Path) -> io::Result<()> {
        match self {
            Workload::Tiny(guest) => std::fs::write(folder.join(guest.file_name), guest.image),
            Workload::Linux(guest) => guest.prepare(device_args, folder),
        }
    }

    /// Returns an empty log of the guest's console.
    pub(crate) fn log(&self) -> SerialLog {
        match self {
            Workload::Tiny(_) => SerialLog::new(),
            Workload::Linux(_) => SerialLog::of_linux(),
        }
    }

    /// Returns the tiny guest, whose memory can be read.
    pub(crate) fn tiny(&self) -> Option<&'static Guest> {
        match self {
            Workload::Tiny(guest) => Some(guest),
            Workload::Linux(_) => None,
        }
    }

    pub(crate) fn linux(&self) -> Option<&LinuxGuest> {
        match self {
            Workload::Tiny(_) => None,
            Workload::Linux(guest) => Some(guest),
        }
    }

    /// Returns how many heartbeats show at least, at the end of a route, that the guest goes on: a build that dies
    /// soon after its guest went on is not to pass now and then.
    pub(crate) fn heartbeats_at_the_end(&self) -> u32 {
        match self {
            Workload::Tiny(_) => 4,
            // Each is a round with every device, and takes long enough.
            Workload::Linux(_) => 1,
        }
    }
}

/// The ABI between guest and host that is read here.
const ABI_VERSION: u32 = 1;
