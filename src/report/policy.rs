//! The policy by which a run is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Rule;
use crate::report::{BaselineStatus, Case, Finding};

/// The findings that count against two builds, and the required coverage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Warnings count as errors do.
    pub strict: bool,
    /// The least percentage of sections that guests have to send; with less, nothing is compatible.
    pub required_coverage: Option<u8>,
    /// The breaks that count.
    pub gate: Gate,
    /// Rules with another level than their own.
    pub levels: LevelOverrides,
}

impl Policy {
    /// Tells whether a finding alone makes the pair of builds incompatible.
    pub fn counts_finding(&self, finding: &Finding) -> bool {
        finding.gates(self.strict) && self.gate.lets_through(finding.baseline)
    }

    /// Tells whether a case alone makes the pair of builds incompatible.
    pub fn counts_case(&self, case: &Case) -> bool {
        case.gates() && self.gate.lets_through(case.baseline)
    }
}

/// The breaks that count, of those that no list allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Every one.
    #[default]
    All,
    /// Those that the baseline does not have.
    New,
}

impl Gate {
    /// Tells whether a break of this relation to the baseline counts.
    fn lets_through(self, status: Option<BaselineStatus>) -> bool {
        match self {
            Gate::All => true,
            Gate::New => status == Some(BaselineStatus::New),
        }
    }
}

/// The level that a user gives a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelOverride {
    /// An error.
    Deny,
    /// A warning.
    Warn,
    /// Reported, but not counted.
    Allow,
}

/// Levels of rules that differ from their own.
pub type LevelOverrides = BTreeMap<Rule, LevelOverride>;
