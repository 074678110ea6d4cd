//! The relation of a finding or a case to an earlier report.

use serde::{Deserialize, Serialize};

use crate::model::display_as_serialized;

/// The relation of a finding or a case to the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaselineStatus {
    /// The baseline does not have it, or has it as less than it is now.
    New,
    /// The baseline has it too.
    Same,
    /// The baseline has it; it was looked for, and is not there any more.
    Fixed,
    /// The baseline has it; this run did not look for it.
    Gone,
}

impl BaselineStatus {
    /// Returns the meaning of the word.
    pub fn explanation(self) -> &'static str {
        match self {
            BaselineStatus::New => "the baseline does not have it",
            BaselineStatus::Same => "as in the baseline",
            BaselineStatus::Fixed => "in the baseline, and not there any more",
            BaselineStatus::Gone => "in the baseline, and not looked for in this run",
        }
    }
}

display_as_serialized!(BaselineStatus);
