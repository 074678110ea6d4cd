//! Earlier results that a run is held against.

use std::path::PathBuf;

use crate::api::error::{Error, Problem};
use crate::report::baseline::{Sought, hold_against};
use crate::report::read::{Input, read};
use crate::report::{Gate, Policy, Report};
use crate::rules::known_issues;
use crate::rules::known_issues::KnownIssues;

/// Earlier results that a run is held against, and which breaks then count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// A report in JSON, plain, `.gz` or `.zst`: every finding and case says how it stands to it.
    pub baseline: Option<PathBuf>,
    /// The breaks that count.
    pub gate: Gate,
}

impl Memory {
    /// Nothing that was before.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Sets the report that the run is held against.
    pub fn baseline(mut self, report: impl Into<PathBuf>) -> Memory {
        self.baseline = Some(report.into());
        self
    }

    /// Sets the breaks that count.
    pub fn gate(mut self, gate: Gate) -> Memory {
        self.gate = gate;
        self
    }
}

/// Earlier results that were read before a run began.
pub(crate) struct Recalled {
    baseline: Option<Input>,
    gate: Gate,
}

impl Recalled {
    /// Reads what a run is to be held against.
    ///
    /// # Errors
    /// A file is no report, or the breaks that count cannot be told without one.
    pub(crate) fn read(memory: &Memory) -> Result<Recalled, Error> {
        if memory.gate == Gate::New && memory.baseline.is_none() {
            return Err(Problem::NoBaseline.into());
        }
        Ok(Recalled {
            baseline: memory.baseline.as_deref().map(read).transpose()?,
            gate: memory.gate,
        })
    }

    /// Holds a report against what was before, and draws its verdict. Of the lists, it says which entries
    /// are out of date.
    pub(crate) fn judge(
        self,
        mut report: Report,
        policy: Policy,
        sought: &Sought,
        lists: Option<&KnownIssues>,
    ) -> Report {
        if let Some(lists) = lists {
            report
                .notices
                .extend(known_issues::review(lists, &report, sought));
        }
        if let Some(baseline) = &self.baseline {
            hold_against(&mut report, &baseline.report, &baseline.origin, sought);
        }
        report.judged_by(Policy {
            gate: self.gate,
            ..policy
        })
    }
}
