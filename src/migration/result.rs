//! What came of one pass of a guest through the builds of a case.

use std::collections::BTreeSet;

use crate::migration::checks::state::Seen;
use crate::migration::endpoint::buses::Buses;
use crate::qemu::StartError;
use crate::report::{Cause, Leg, Outcome, StateDiff};

/// How much of the end of a build's error output a report quotes, in characters.
const QUOTED: usize = 2000;

/// One pass through the builds.
#[derive(Debug, Clone)]
pub(crate) struct RunResult {
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub legs: Vec<Leg>,
    pub source_stderr: String,
    pub destination_stderr: String,
    /// Transcripts and the like, by file name.
    pub files: Vec<(String, String)>,
    /// What builds said that did not start, by their labels.
    pub refusals: Vec<(String, String)>,
    pub state: Seen,
    /// All that is wrong is that values differ; `state` says which.
    pub values_differ: bool,
    /// All that did not arrive, by the names of sections and of blocks of memory, where the guest came
    /// through and everything was looked at.
    pub wrong: Option<BTreeSet<String>>,
    /// Id of the device on a root bus whose section failed.
    pub suspect: Option<String>,
    /// Where the recipe wants it, and both builds started.
    pub buses: Option<Surveyed>,
}

/// What both builds have to plug a device into, or why that is not known.
pub(crate) type Surveyed = Result<Buses, String>;

impl RunResult {
    pub fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Pass | Outcome::Skip)
    }

    /// Whether this control, from a build to itself, fails in a way that says that a failure between
    /// the builds is not theirs. A control whose values alone differ does so only for the same ones.
    pub fn accounts_for(&self, between: &RunResult) -> bool {
        if !self.failed() {
            return false;
        }
        if !self.values_differ {
            return true;
        }
        let name = |diff: &StateDiff| (diff.section.clone(), diff.field.clone());
        let here: BTreeSet<_> = self.state.diffs.iter().map(name).collect();
        between.values_differ
            && between
                .state
                .diffs
                .iter()
                .map(name)
                .all(|d| here.contains(&d))
    }

    /// Whether both end the same way, at the same place.
    pub fn fails_like(&self, other: &RunResult) -> bool {
        let place = |attempt: &RunResult| {
            let cause = attempt.cause.as_ref()?;
            Some((cause.section.clone(), cause.field.clone()))
        };
        self.outcome == other.outcome && place(self) == place(other)
    }

    pub(crate) fn refused(errors: &[StartError]) -> RunResult {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let refusal = |error: &StartError| (error.label.clone(), error.reason());
        RunResult {
            refusals: errors.iter().map(refusal).collect(),
            // One is enough for a reader.
            ..RunResult::skip(words.into_iter().next().unwrap_or_default())
        }
    }

    /// A destination that does not start in a later leg.
    pub(crate) fn stillborn(index: usize, error: &StartError, legs: Vec<Leg>) -> RunResult {
        RunResult {
            outcome: Outcome::Crash,
            cause: Some(Cause {
                message: format!(
                    "the destination of leg {} does not start, as its build did before: {}: {}",
                    index + 1,
                    error.label,
                    error.problem
                ),
                ..Cause::default()
            }),
            legs,
            source_stderr: String::new(),
            destination_stderr: tail(&error.stderr),
            files: vec![("destination.stderr".to_owned(), error.stderr.clone())],
            ..RunResult::skip(String::new())
        }
    }

    pub(crate) fn skip(message: String) -> RunResult {
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        let message = lines.join(" ");
        RunResult {
            outcome: Outcome::Skip,
            cause: Some(Cause {
                message,
                ..Cause::default()
            }),
            legs: Vec::new(),
            source_stderr: String::new(),
            destination_stderr: String::new(),
            files: Vec::new(),
            refusals: Vec::new(),
            state: Seen::default(),
            values_differ: false,
            wrong: None,
            suspect: None,
            buses: None,
        }
    }

    /// Every leg passed.
    pub(crate) fn passed(legs: Vec<Leg>, state: Seen) -> RunResult {
        RunResult {
            outcome: Outcome::Pass,
            cause: None,
            legs,
            state,
            ..RunResult::skip(String::new())
        }
    }
}

/// The end of what a build said.
pub(crate) fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(QUOTED);
    text.chars().skip(skip).collect()
}
