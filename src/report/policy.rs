//! The policy by which a run is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Rule;

/// The findings that count against two builds, and the required coverage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Warnings count as errors do.
    pub strict: bool,
    /// The least percentage of sections that guests have to send; with less, nothing is compatible.
    pub required_coverage: Option<u8>,
    /// Rules with another level than their own.
    pub levels: LevelOverrides,
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
