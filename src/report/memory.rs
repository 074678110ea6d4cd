//! The evidence of earlier runs about a case, and by what it was tested.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::model::display_as_serialized;
use crate::report::Sought;

/// The meaning of a result beside the earlier ones of its case or finding.
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

impl MemoryLabel {
    /// Returns a number that is the higher, the more a reader has to see it.
    pub(crate) fn urgency(self) -> u8 {
        match self {
            MemoryLabel::Fixed => 0,
            MemoryLabel::Known => 1,
            MemoryLabel::Harness => 2,
            MemoryLabel::Flaky => 3,
            MemoryLabel::New => 4,
            MemoryLabel::Regression => 5,
        }
    }
}

display_as_serialized!(MemoryLabel, Tier);

/// The evidence of earlier runs about a case or a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The meaning of the result.
    pub label: MemoryLabel,
    /// A sentence with the evidence.
    pub evidence: String,
    /// The number of earlier runs that were looked at.
    pub runs: usize,
    /// The rate at which a flaky case fails.
    pub rate: Option<FlakeRate>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label, self.evidence)
    }
}

/// The part that a case has in the verdict of a run with `--gate tier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// It is looked at, and fails no run.
    Observe,
    /// It has passed so often and for so long that its failure fails a run.
    Gate,
}

/// The tier of a case after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseTier {
    /// The tier.
    pub tier: Tier,
    /// The reason for it, where this run has changed it.
    pub changed: Option<String>,
}

impl fmt::Display for CaseTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.changed, self.tier) {
            (None, tier) => write!(f, "{tier}"),
            (Some(reason), Tier::Gate) => write!(f, "gate: promoted, {reason}"),
            (Some(reason), Tier::Observe) => write!(f, "observe: demoted, {reason}"),
        }
    }
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
    /// The moment at which it began, in UTC: `2027-03-31T12:00:00.000Z`.
    pub started: String,
    /// The name of the computer.
    pub host: String,
    /// A hash of all lists that it used.
    pub lists: String,
    /// A hash of all device sets that it could use.
    pub device_sets: String,
    /// A hash of the old build's program and of the options that a script starts it with; unknown for a dump.
    pub old_hash: Option<String>,
    /// The same of the new build.
    pub new_hash: Option<String>,
    /// The differences that it looked for; an earlier version did not say.
    pub sought: Option<Sought>,
    /// The words of its command line, where it had one.
    #[serde(default)]
    pub command: Vec<String>,
    /// The milliseconds from its start to its verdict.
    pub elapsed_ms: Option<u64>,
}

impl RunRecord {
    /// Returns the moment at which the run began, if it can be read.
    pub(crate) fn started(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.started).ok()
    }
}
