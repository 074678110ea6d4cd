//! The accelerator that guests were moved with.

use serde::{Deserialize, Serialize};

use crate::model::Accelerator;
use crate::report::{Notice, NoticeKind};

/// The accelerator of the guests of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorUsed {
    /// The architecture, as QEMU names it.
    pub architecture: String,
    /// The accelerator, on both sides.
    pub accelerator: Accelerator,
    /// Those that were preferred and could not be used.
    pub passed_over: Vec<PassedOver>,
}

impl AcceleratorUsed {
    /// Returns a notice for each that could not be used.
    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> {
        self.passed_over.iter().map(|of| {
            let why = format!("{}: {}", of.build, of.reason);
            NoticeKind::AcceleratorPassedOver.about(of.accelerator.to_string(), why)
        })
    }
}

/// An accelerator that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// The build that it was tried with, as the user wrote it.
    pub build: String,
    /// The reason, where possible in the build's own words.
    pub reason: String,
}
