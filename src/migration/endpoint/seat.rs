//! The place from which the devices of a machine can be driven, and how.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::driver::Waiting;
use crate::qemu::machine;
use crate::qemu::machine::Map;

/// The driver from outside of the devices of a machine that never runs.
#[derive(Debug, Clone, Copy)]
pub struct Driving {
    /// The family of the machine's type.
    pub(crate) family: &'static str,
    pub(crate) map: &'static Map,
}

impl Driving {
    /// Returns how the devices of a machine are driven, if it is known where they are.
    pub(crate) fn of(machine: &str, arch: &str) -> Option<Driving> {
        let profile = machine::profile(machine, Some(arch))?;
        Some(Driving {
            family: &profile.family,
            map: profile.map.as_ref()?,
        })
    }
}

/// The socket by which a machine that is being started will be driven.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) driving: Driving,
    pub(super) waiting: Waiting,
}

impl Seat {
    /// Listens in a folder.
    ///
    /// # Errors
    /// No socket can be made there.
    pub(crate) fn in_folder(driving: Driving, folder: &Path, index: usize) -> io::Result<Seat> {
        let waiting = Waiting::on(folder.join(format!("q{index}")))?;
        Ok(Seat { driving, waiting })
    }

    /// Returns the options that have a build connect to it.
    pub(crate) fn args(&self) -> impl Iterator<Item = OsString> + use<> {
        self.waiting.args().into_iter().map(OsString::from)
    }
}
