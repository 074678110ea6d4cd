//! The report of one run. Every output format ([`render`]) is a reader of it.
//!
//! The types are the report format `migcompat-report-1`; other programs rely on it, so
//! keys are added, never renamed or left out. `report-schema.json` beside `Cargo.toml` describes it.

mod accelerator;
pub(crate) mod baseline;
mod baseline_status;
pub mod bisection;
mod case;
mod case_notices;
mod cause;
mod coverage;
mod finding;
mod guest;
pub(crate) mod identity;
mod linux;
pub mod map;
mod memory;
mod notice;
mod owner;
mod policy;
pub(crate) mod read;
pub mod render;
mod sought;
mod swept;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{BuildRef, CaseName, ConfinedBuild, Rule};

pub use accelerator::{AcceleratorUsed, PassedOver};
pub use baseline::{Baseline, BaselineCounts, Past, PastKind};
pub use baseline_status::BaselineStatus;
pub(crate) use case::FailsAlone;
pub use case::{
    Case, Change, ChangedByLoad, Control, LeftOut, Leg, Outcome, OwnAddresses, PassesWith,
    Repeated, Split, StateChecked, StateDiff, WithoutCapability,
};
pub(crate) use case_notices::notices_of;
pub use cause::{Cause, FailureKind, LegSide, Message, Phase, Waiting};
pub use coverage::{
    BadCoverage, Coverage, CoverageCounts, CoveredField, CoveredSection, CoveredSubsection,
    Described, DirectionCoverage, Kinds, Reached, RequiredCoverage, RequiredState, Shortfall,
};
pub(crate) use finding::is_lone;
pub use finding::{
    ChangeKey, Changed, Code, Confirmation, ContextLine, Evidence, FieldKey, Finding, Level,
    LoneType, Shape, Source, SourceField,
};
pub use guest::{
    Advice, Blamed, GuestAnswer, GuestFile, GuestFormat, GuestLine, GuestReason, Omission,
    Treatment,
};
pub(crate) use identity::{AD_HOC, TOGETHER};
pub use linux::{DrivenReport, LinuxReport, VirtioReport};
pub use memory::{CaseTier, FlakeRate, Memory, MemoryLabel, RunRecord, Tier};
pub(crate) use notice::by_reason;
pub use notice::{Notice, NoticeKind};
pub use owner::Owner;
pub use policy::{Gate, LevelOverride, LevelOverrides, Policy};
pub use sought::Sought;
pub use swept::{Grafted, ShardRef, Swept};
pub use verdict::Verdict;

/// Everything that one run found out; every output format is a reader of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The format's name, [`REPORT_SCHEMA`].
    pub schema: String,
    /// The program that wrote the report.
    pub tool: Tool,
    /// The build that guests come from.
    pub old: BuildRef,
    /// The build that they move to, and back from.
    pub new: BuildRef,
    /// The part of a run that this is; a whole run has none.
    pub shard: Option<ShardRef>,
    /// The machine type, where one was asked for or the dumps name one.
    pub machine: Option<String>,
    /// The answer.
    pub verdict: Verdict,
    /// The signal that ended the run before it was done, as `SIGTERM`: the report has what was known by then, as it was
    /// before lists, controls and evidence that came later, and is untested.
    pub interrupted: Option<String>,
    /// The policy that the verdict was drawn by.
    #[serde(default)]
    pub policy: Policy,
    /// Differences between the builds, errors first.
    pub findings: Vec<Finding>,
    /// Migrations; a dump comparison has none.
    pub cases: Vec<Case>,
    /// The machines of a sweep, with the device types that there were to try.
    #[serde(default)]
    pub swept: Vec<Swept>,
    /// The part of the state known to the builds that was sent, where that was counted.
    pub coverage: Option<Coverage>,
    /// The part of what both builds really sent that their dumps describe.
    pub described: Option<Described>,
    /// The accelerator that guests were moved with, by architecture; a dump comparison has none.
    #[serde(default)]
    pub accelerators: Vec<AcceleratorUsed>,
    /// The barriers around the processes of each build that guests were started in.
    #[serde(default)]
    pub confinement: Vec<ConfinedBuild>,
    /// The user's own guest, where the run was about one.
    pub guest: Option<GuestFile>,
    /// Evidence that could not be had.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// When the run began, and by what it tested.
    pub run: Option<RunRecord>,
    /// The earlier report that this one was held against.
    pub baseline: Option<Baseline>,
    /// Breaks by the people to tell of them, where a file says who they are.
    #[serde(default)]
    pub owners: Vec<Owner>,
    /// Counts of the findings and cases.
    pub summary: Summary,
    /// The meaning of the rules that occur in findings and cases, by id.
    pub rules: BTreeMap<Rule, RuleText>,
}

/// The program that wrote a report.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    /// This program.
    pub fn this() -> Self {
        Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Counts of a report's findings and cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Findings that no list allows, by level.
    pub errors: usize,
    /// Warnings that no list allows.
    pub warnings: usize,
    /// Notes that no list allows.
    pub notes: usize,
    /// Findings of any level that a list or an option allows.
    pub allowed: usize,
    /// Number of migrations that were asked for.
    pub cases: usize,
    /// The number of them that passed.
    pub passed: usize,
}

/// The meaning of a rule, for a reader who has the report alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    /// A headline.
    pub name: String,
    /// The effect on a guest that migrates.
    pub effect: String,
    /// The change in QEMU that mends it.
    pub fix: String,
}

impl Report {
    /// A report without any evidence yet; [`Report::judged_by`] completes it.
    pub fn new(old: BuildRef, new: BuildRef, machine: Option<String>) -> Self {
        Report {
            schema: REPORT_SCHEMA.to_owned(),
            tool: Tool::this(),
            old,
            new,
            shard: None,
            machine,
            verdict: Verdict::Untested,
            interrupted: None,
            policy: Policy::default(),
            findings: Vec::new(),
            cases: Vec::new(),
            swept: Vec::new(),
            coverage: None,
            described: None,
            accelerators: Vec::new(),
            confinement: Vec::new(),
            guest: None,
            notices: Vec::new(),
            run: None,
            baseline: None,
            owners: Vec::new(),
            summary: Summary::default(),
            rules: BTreeMap::new(),
        }
    }

    /// Tells whether guests were moved without the state that drivers bring about, of which the builds know more than was
    /// sent.
    pub fn lacks_drivers(&self) -> bool {
        let had_drivers = |case: &Case| {
            let name = case.id.parse::<CaseName>();
            name.is_ok_and(|name| name.is_driven() || name.is_with_linux())
        };
        let has_more = |coverage: &Coverage| {
            let counts = coverage.counts;
            counts.subsections_sent < counts.subsections
                || counts.conditional_fields_sent < counts.conditional_fields
        };
        !self.cases.is_empty()
            && !self.cases.iter().any(had_drivers)
            && self.coverage.as_ref().is_some_and(has_more)
    }

    /// Tells whether the old build is known to be of a newer release than the new one.
    pub(crate) fn is_back_in_time(&self) -> bool {
        matches!((self.old.version, self.new.version), (Some(old), Some(new)) if old > new)
    }

    /// Returns the case of this id.
    pub(crate) fn case(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// Counts the evidence and draws the verdict, by a policy that the report names from then on.
    pub fn judged_by(mut self, policy: Policy) -> Self {
        for finding in &mut self.findings {
            finding.id = identity::FindingId(finding).to_string();
        }
        // Both builds may be one and the same, and a notice is about it once.
        let mut told = BTreeSet::new();
        self.notices.retain(|notice| told.insert(notice.clone()));
        self.summary = Summary::of(&self.findings, &self.cases);
        self.verdict = Verdict::of(&self, &policy);
        if let Some(coverage) = &mut self.coverage {
            coverage.required = policy.required_coverage;
            coverage.required_state = policy.required_state;
        }
        self.policy = policy;
        self
    }
}

impl Summary {
    fn of(findings: &[Finding], cases: &[Case]) -> Summary {
        let mut summary = Summary {
            cases: cases.len(),
            passed: cases.iter().filter(|c| c.outcome == Outcome::Pass).count(),
            ..Summary::default()
        };
        for finding in findings {
            match (&finding.allowed_by, finding.level) {
                (Some(_), _) => summary.allowed += 1,
                (None, Level::Error) => summary.errors += 1,
                (None, Level::Warning) => summary.warnings += 1,
                (None, Level::Note) => summary.notes += 1,
            }
        }
        summary
    }
}

/// The format's name, written into every report.
pub const REPORT_SCHEMA: &str = "migcompat-report-1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;

    #[test]
    fn drivers_are_missed_where_state_was_not_sent_and_none_was_at_work() {
        let coverage = |sent| {
            Coverage::of(vec![CoveredSection {
                section: "am53c974".to_owned(),
                vmsd: "pciespscsi".to_owned(),
                possible: true,
                reached: Reached::Passed,
                reason: None,
                subsections: vec![CoveredSubsection {
                    name: "esp/mid-transfer".to_owned(),
                    sent,
                }],
                conditional_fields: Vec::new(),
                sent_in: Vec::new(),
            }])
        };
        let lacks = |cases: &[&str], sent| {
            let build = testing::build("build");
            let mut report = Report::new(build.clone(), build, None);
            let case = |id: &&str| {
                let id = format!("q35/am53c974/unix/forward{id}");
                Case::untried(id, "q35", "am53c974", "unix", Direction::Forward)
            };
            report.cases = cases.iter().map(case).collect();
            report.coverage = Some(coverage(sent));
            report.lacks_drivers()
        };
        for (cases, sent, expected) in [
            (&[""][..], false, true),
            (&[""], true, false),
            (&["", "/paused"], false, true),
            (&["", "/driven"], false, false),
            (&["", "/linux"], false, false),
            (&[], false, false),
        ] {
            assert_eq!(lacks(cases, sent), expected, "{cases:?}, sent {sent}");
        }
    }
}
