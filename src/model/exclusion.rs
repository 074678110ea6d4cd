//! Cases that are left out of a run on purpose.

use serde::{Deserialize, Serialize};

use crate::model::Pattern;

/// Cases that a run leaves out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exclusion {
    /// The ids, with `*` for any text.
    pub cases: String,
    /// The reason, for the report.
    pub reason: String,
}

impl Exclusion {
    /// Leaves out the cases that a pattern fits.
    pub fn new(cases: impl Into<String>, reason: impl Into<String>) -> Exclusion {
        Exclusion {
            cases: cases.into(),
            reason: reason.into(),
        }
    }

    /// Tells whether the case of this id is left out.
    pub fn fits(&self, id: &str) -> bool {
        Pattern::from(&*self.cases).fits(id)
    }
}
