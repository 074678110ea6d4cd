//! The user's own guest, as a file describes it: the options of a QEMU, of which those that decide on
//! compatibility are kept, and those that belong to the host are replaced by something of the same kind
//! that touches nothing.
//!
//! Nothing here opens, starts or reaches anything: text comes in, and a [`GuestSpec`] goes out. Its arguments are
//! made of a fixed list of options; a name or a value of the file gets among them only where it is known to mean
//! something to the guest alone. Anything else is left out, with the reason.

mod block;
mod board;
mod composer;
mod config;
mod confine;
mod cpu;
mod defined;
mod device;
mod domain;
mod error;
mod given;
mod lacking;
mod lines;
mod memory;
mod object;
mod options;
mod opts;
mod read;
mod shell;
mod tpm;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::devices::DeviceSet;
use crate::model::Accelerator;
use crate::report::GuestFile;

pub(crate) use composer::FlashSizes;
pub(crate) use confine::{Leak, confine, confine_words};
pub(crate) use error::ReadError;
pub(crate) use lacking::{Lacking, What};

/// The most bytes that a description may have: a command line is some kilobytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// A guest that can be started in any build without touching the host.
#[derive(Debug, Clone)]
pub(crate) struct GuestSpec {
    /// The end of `qemu-system-ARCH`, where the file names a program.
    pub arch: Option<String>,
    /// The machine type, where the file names one.
    pub machine: Option<String>,
    /// Everything but the devices.
    pub board: Board,
    /// The devices, which can be left out one by one.
    pub devices: DeviceSet,
    /// The parts of the description that the guest has not as they were given.
    pub lacks: Vec<Lacking>,
    /// Each option of the file, and what became of it.
    pub report: GuestFile,
}

/// The machine of a guest without the devices that are plugged into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// Options of the machine, `acpi=off` for instance.
    pub machine_options: Vec<String>,
    /// The CPU model with its flags.
    pub cpu: Option<String>,
    /// The accelerator that the guest has run under, where the file names it.
    pub accelerator: Option<Accelerator>,
    /// The CPU of the host with its flags, where that is asked for: KVM alone has it.
    pub host_cpu: Option<String>,
    /// The machine has the devices that QEMU adds unless `-nodefaults` is given.
    pub has_defaults: bool,
    /// Its PCI cards have their boot code on processors that do not run it, too.
    pub boot_code: bool,
    /// Memory, processors, backends and all that is not a device.
    pub args: Vec<String>,
    /// Memory in bytes; 0 where the file does not say it.
    pub memory: u64,
    /// Network backends that stand for interfaces of the host, by their ids, with the pairs of queues of each.
    pub interfaces: BTreeMap<String, u16>,
    /// The chardev of its first serial port, where it has one. The arguments do not define it.
    pub console: Option<String>,
    /// The reason why the workload guest cannot run in it, if it cannot.
    pub idle: Option<Idle>,
}

/// The reason why a guest is moved as it is after reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Idle {
    #[error("its firmware is replaced by an empty one")]
    Firmware,
    #[error("all of its memory is compared while it works, and there are more than {} MiB of it", MOST_WORKING_MEMORY >> 20)]
    Memory,
    #[error("the guest that was asked for takes at least {mib} MiB of memory")]
    LittleMemory { mib: u32 },
}

/// The most memory of a guest that works while it is moved: both sides' is read after each leg.
pub(crate) const MOST_WORKING_MEMORY: u64 = 1 << 30;

impl GuestSpec {
    /// Reads a description of a guest.
    ///
    /// # Errors
    /// It is too long, is no text, or is no command line of QEMU.
    pub(crate) fn read(bytes: &[u8]) -> Result<GuestSpec, ReadError> {
        GuestSpec::with_flash(bytes, FlashSizes::default())
    }

    /// Reads a description of a guest whose flash devices are known to have so many bytes.
    ///
    /// # Errors
    /// As for [`GuestSpec::read`].
    pub(crate) fn with_flash(bytes: &[u8], flash: FlashSizes) -> Result<GuestSpec, ReadError> {
        let read = read::read(bytes)?;
        Ok(options::compose(read, flash))
    }
}
