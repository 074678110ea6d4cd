//! What earlier runs say of a case, and by what it was tested.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The meaning of a result beside the earlier ones of its case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryLabel {
    /// It fails, and passed with an earlier new build.
    Regression,
    /// It fails, and never passed from this old build, or a list knows it.
    Known,
    /// It passes, and failed before.
    Fixed,
    /// The same builds pass and fail.
    Flaky,
    /// The builds are the same, and what tests them has changed: not QEMU's fault.
    Harness,
    /// It fails, and was never tried from this old build.
    New,
}

impl fmt::Display for MemoryLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            MemoryLabel::Regression => "regression",
            MemoryLabel::Known => "known",
            MemoryLabel::Fixed => "fixed",
            MemoryLabel::Flaky => "flaky",
            MemoryLabel::Harness => "harness",
            MemoryLabel::New => "new",
        })
    }
}

/// What earlier runs say of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The meaning of the result.
    pub label: MemoryLabel,
    /// A sentence with the evidence.
    pub evidence: String,
    /// The number of earlier runs that were looked at.
    pub runs: usize,
    /// Of a flaky case, how often it fails.
    pub rate: Option<FlakeRate>,
}

/// The failures among the tries of a case that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlakeRate {
    /// Tries that failed.
    pub failed: u32,
    /// All tries.
    pub of: u32,
    /// Passes in a row after which it is believable that it is gone: a flake of this rate makes them less
    /// often than once in a thousand times.
    pub passes_needed: u32,
}

/// When a run began, and by what it tested: the facts that are no part of the builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The moment at which it began, in UTC: `2027-03-31T12:00:00Z`.
    pub started: String,
    /// The name of the computer.
    pub host: String,
    /// A hash of all lists that it used.
    pub lists: String,
    /// A hash of all device sets that it could use.
    pub device_sets: String,
    /// A hash of the old build's program, or of the script that starts it; unknown for a dump.
    pub old_hash: Option<String>,
    /// A hash of the new build's program.
    pub new_hash: Option<String>,
}

impl RunRecord {
    /// Returns the moment at which the run began, if it can be read.
    pub(crate) fn started(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.started).ok()
    }
}
