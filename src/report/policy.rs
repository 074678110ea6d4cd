//! The policy by which a run is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{CaseName, Exclusion, Rule, display_as_serialized};
use crate::report::{
    BaselineStatus, Case, Finding, Memory, MemoryLabel, RequiredCoverage, RequiredState, Tier,
};

/// The findings that count against two builds, and the required coverage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Warnings count as errors do.
    pub strict: bool,
    /// The least percentage of sections that guests have to send; with less, nothing is compatible.
    pub required_coverage: Option<u8>,
    /// The least percentages of what depends on the guest's state.
    pub required_state: RequiredState,
    /// The breaks that count.
    pub gate: Gate,
    /// Rules with another level than their own.
    pub levels: LevelOverrides,
    /// The case that decides alone, whatever the lists make of it.
    pub case: Option<CaseName>,
    /// The cases that are left out on purpose.
    pub exclude: Vec<Exclusion>,
}

impl Policy {
    /// Returns the coverage that is required.
    pub fn required(&self) -> RequiredCoverage {
        RequiredCoverage {
            sections: self.required_coverage,
            state: self.required_state,
        }
    }

    /// Returns why the case of this id is left out, if it is.
    pub fn excluded(&self, id: &str) -> Option<&str> {
        let fitting = self.exclude.iter().find(|exclusion| exclusion.fits(id));
        fitting.map(|exclusion| exclusion.reason.as_str())
    }

    /// Tells whether a finding alone makes the pair of builds incompatible.
    pub fn counts_finding(&self, finding: &Finding) -> bool {
        let let_through = match self.gate {
            _ if self.case.is_some() => false,
            Gate::All => true,
            Gate::New => finding.baseline == Some(BaselineStatus::New),
            Gate::Regression => is_regression(finding.memory.as_ref()),
            Gate::Tier => false,
        };
        let_through && finding.gates(self.strict)
    }

    /// Tells whether a case alone makes the pair of builds incompatible.
    pub fn counts_case(&self, case: &Case) -> bool {
        let let_through = match self.gate {
            Gate::All => true,
            Gate::New => case.baseline == Some(BaselineStatus::New),
            Gate::Regression => is_regression(case.memory.as_ref()),
            Gate::Tier => case.tier.as_ref().is_some_and(|of| of.tier == Tier::Gate),
        };
        let counts = match (&self.case, self.gate) {
            (Some(name), _) => name.as_str() == case.id && case.fails(),
            // What an earlier new build did, the new one has to do.
            (None, Gate::New | Gate::Regression) => case.allowed_by.is_none() && case.fails(),
            (None, Gate::All | Gate::Tier) => case.gates(),
        };
        let_through && counts
    }
}

fn is_regression(memory: Option<&Memory>) -> bool {
    memory.is_some_and(|memory| memory.label == MemoryLabel::Regression)
}

/// The breaks that count, of those that no list allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Every one.
    #[default]
    All,
    /// Those that the baseline does not have.
    New,
    /// Cases that passed with an earlier new build, and findings that were not there with it.
    Regression,
    /// Cases that have passed for so long that they are in the gate tier. Findings have no tier, and do not count.
    Tier,
}

/// The level that a user gives a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelOverride {
    /// An error.
    Deny,
    /// A warning.
    Warn,
    /// Reported, but not counted.
    Allow,
}

display_as_serialized!(LevelOverride);

/// Levels of rules that differ from their own.
pub type LevelOverrides = BTreeMap<Rule, LevelOverride>;
