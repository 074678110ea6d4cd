//! The errors of a build, and whose fault they are.

use crate::qemu::{
    CacheError, DumpError, FetchError, Lacking, NoCommonMachine, SpecError, StartError,
};

/// An error of this module. [`QemuError::is_usage`] separates an argument that is wrong (exit
/// status 2) from a build that could not be tested (125).
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The build cannot be confined, which is required.
    #[error(
        "{label} cannot be confined, as --confine require wants it: {lacking}; --confine auto confines as far as this \
         host can"
    )]
    NotConfined { label: String, lacking: Lacking },
    #[error(transparent)]
    Machine(#[from] Box<NoCommonMachine>),
    /// The builds of a pair.
    #[error("{old} is a build for {old_target} and {new} one for {new_target}")]
    OtherTarget {
        old: String,
        old_target: String,
        new: String,
        new_target: String,
    },
}

impl QemuError {
    /// Tells whether the arguments are to blame: they would be wrong on every machine and with any
    /// build. Everything else means that this pair could not be tested here and now.
    pub fn is_usage(&self) -> bool {
        match self {
            QemuError::Spec(_) | QemuError::OtherTarget { .. } => true,
            QemuError::Cache(error) => error.is_usage(),
            QemuError::Fetch(error) => error.is_usage(),
            QemuError::Machine(error) => error.is_unknown(),
            QemuError::Start(_) | QemuError::Dump(_) | QemuError::NotConfined { .. } => false,
        }
    }
}
