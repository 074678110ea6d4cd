//! Device sets: the devices to plug into a guest, as data, and the command line that does it.
//!
//! A set is a TOML file (`device-sets/README.md` describes it). Composing one for a pair of builds
//! gives arguments that are the same for source and destination, and for every device that
//! is not among them the reason.

mod compose;
mod device;
mod drivers;
mod fallback;
mod given;
mod load;
mod reason;
mod set;
pub(crate) mod shipped;

use std::path::PathBuf;

pub(crate) use compose::ListedProperties;
pub(crate) use compose::{Composition, Exclusion};
pub use compose::{Known, Target};
pub(crate) use device::Device;
pub(crate) use drivers::Driver;
pub use drivers::Drivers;
pub(crate) use fallback::FallBack;
pub use reason::Reason;
pub use set::DeviceSet;
pub(crate) use set::LeftOut;

use device::{Form, Value};

/// A device set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("cannot read the device set {}: {source}", file.display())]
    Io {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the device set {} is a folder: a set is one file, for instance {}/mine.toml",
        file.display(),
        file.display()
    )]
    Folder { file: PathBuf },
    #[error("{file}:{line}: {reason}")]
    Malformed {
        file: String,
        line: usize,
        reason: String,
    },
    #[error(
        "there is no device set `{wanted}`; there are {known}, each with a --device-set of its own"
    )]
    UnknownSet { wanted: String, known: String },
    #[error("device set {set} has no device `{wanted}`")]
    UnknownDevice { set: String, wanted: String },
    #[error("--device {argument}: {reason}")]
    Argument { argument: String, reason: String },
}

#[cfg(test)]
mod tests;
