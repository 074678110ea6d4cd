//! The report: what one run found out. Every output format ([`render`]) is a reader of it.
//!
//! What is serialised here is the report format `migcompat-report-1`; other programs rely on it, so
//! keys are added, never renamed or left out. `report-schema.json` beside `Cargo.toml` describes it.

mod case;
mod coverage;
mod finding;
pub mod render;
mod swept;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{BuildRef, Rule};

pub use case::{
    Case, Cause, Change, Control, LeftOut, Leg, Outcome, Repeated, Split, StateChecked, StateDiff,
};
pub use coverage::{
    Coverage, CoverageCounts, CoveredSection, CoveredSubsection, Described, Kinds, Reached,
};
pub use finding::{ChangeKey, Changed, ContextLine, Evidence, FieldKey, Finding, Level, Shape};
pub use swept::{Grafted, ShardRef, Swept};

/// What one run of migcompat found out; every output format is a reader of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub tool: Tool,
    pub old: BuildRef,
    pub new: BuildRef,
    /// Of a whole run, nothing.
    #[serde(default)]
    pub shard: Option<ShardRef>,
    /// The machine type, where one was asked for or the dumps name one.
    pub machine: Option<String>,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Migrations; a dump comparison has none.
    pub cases: Vec<Case>,
    /// Of a sweep, what there was to try on each machine.
    #[serde(default)]
    pub swept: Vec<Swept>,
    pub coverage: Option<Coverage>,
    /// How much of what both builds really sent their dumps describe.
    #[serde(default)]
    pub described: Option<Described>,
    pub summary: Summary,
    /// What the rules mean that occur in the findings, by id.
    pub rules: BTreeMap<Rule, RuleText>,
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Compatible,
    Incompatible,
    Untested,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
}

impl Tool {
    pub fn this() -> Self {
        Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Findings that no list allows, by level.
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    /// Findings of any level that a list or an option allows.
    pub allowed: usize,
    pub cases: usize,
    pub passed: usize,
}

/// What a rule means, for a reader who has the report alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    pub name: String,
    /// What happens when a guest migrates.
    pub effect: String,
    /// What to do about it in QEMU.
    pub fix: String,
}

impl Report {
    /// A report of a comparison: counts the findings and draws the verdict.
    pub fn of_findings(
        old: BuildRef,
        new: BuildRef,
        machine: Option<String>,
        findings: Vec<Finding>,
        rules: BTreeMap<Rule, RuleText>,
        strict: bool,
    ) -> Self {
        Report {
            schema: REPORT_SCHEMA.to_owned(),
            tool: Tool::this(),
            old,
            new,
            shard: None,
            machine,
            verdict: Verdict::Untested,
            findings,
            cases: Vec::new(),
            swept: Vec::new(),
            coverage: None,
            described: None,
            summary: Summary::default(),
            rules,
        }
        .with_cases(Vec::new(), strict)
    }

    /// The same with migrations; counts and verdict are drawn again. A report without any case that
    /// could be run, where some were wanted, is untested.
    pub fn with_cases(mut self, cases: Vec<Case>, strict: bool) -> Self {
        let mut summary = Summary::default();
        for finding in &self.findings {
            match (&finding.allowed_by, finding.level) {
                (Some(_), _) => summary.allowed += 1,
                (None, Level::Error) => summary.errors += 1,
                (None, Level::Warning) => summary.warnings += 1,
                (None, Level::Note) => summary.notes += 1,
            }
        }
        summary.cases = cases.len();
        summary.passed = cases.iter().filter(|c| c.outcome == Outcome::Pass).count();
        let gates = self.findings.iter().any(|f| f.gates(strict)) || cases.iter().any(Case::gates);
        let nothing_ran = !cases.is_empty()
            && cases
                .iter()
                .all(|c| matches!(c.outcome, Outcome::Skip | Outcome::Broken));
        self.verdict = if gates {
            Verdict::Incompatible
        } else if nothing_ran {
            Verdict::Untested
        } else {
            Verdict::Compatible
        };
        self.summary = summary;
        self.cases = cases;
        self
    }

    /// The same with coverage, after the cases. Where less was covered than was asked for, what is
    /// not incompatible is untested: nothing is known to break, and too little is known.
    pub fn with_coverage(mut self, coverage: Coverage) -> Self {
        if self.verdict == Verdict::Compatible && !coverage.is_enough() {
            self.verdict = Verdict::Untested;
        }
        self.coverage = Some(coverage);
        self
    }
}

/// The format's name, written into every report.
pub const REPORT_SCHEMA: &str = "migcompat-report-1";
