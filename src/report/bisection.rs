//! The report of a search for the first build that breaks or mends a case.
//!
//! The types are the format `migcompat-bisection-1`; keys are added, never renamed or left out.
//! `bisection-schema.json` beside `Cargo.toml` describes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{CaseName, Version, display_as_serialized};
use crate::report::{Cause, Outcome, Tool};

/// The format's name, written into every report of a search.
pub const BISECTION_SCHEMA: &str = "migcompat-bisection-1";

/// Everything that a search found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bisection {
    /// The format's name, [`BISECTION_SCHEMA`].
    pub schema: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The case.
    pub case: CaseName,
    /// The machine type; nothing where no build could be tested.
    pub machine: Option<String>,
    /// The build that guests come from, and move back to.
    pub old: String,
    /// The builds in their order.
    pub builds: Vec<Candidate>,
    /// The tries, in the order in which they were made.
    pub steps: Vec<Step>,
    /// The answer.
    pub conclusion: Conclusion,
    /// The signal that ended the search before it was done.
    pub interrupted: Option<String>,
}

/// A build that a search may try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The text that the user wrote, or the revision.
    pub label: String,
    /// The first line of what a revision says of itself.
    pub subject: Option<String>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{} ({subject})", self.label),
            None => f.write_str(&self.label),
        }
    }
}

/// The judgement of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// The case passes, as often as it was tried.
    Passes,
    /// The case fails, at least once.
    Fails,
    /// The case could not be tested.
    Untested,
}

display_as_serialized!(Judgement, Place);

/// The reason for which a build is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// It is the first of the list.
    First,
    /// It is the last of the list.
    Last,
    /// It halves what is left.
    Between,
}

/// A build that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The place of the build in the list, from 0.
    pub build: usize,
    /// The reason for which it is tried.
    pub place: Place,
    /// The number of builds that could still be the first when this one was chosen, besides those at the ends.
    pub left: usize,
    /// The version that the build names.
    pub version: Option<Version>,
    /// The judgement of it.
    pub judgement: Judgement,
    /// The outcome of the case in the last try.
    pub outcome: Option<Outcome>,
    /// The reason why it does not pass.
    pub cause: Option<Cause>,
    /// The reason why it could not be tested.
    pub untested: Option<String>,
    /// The number of times that it was tried.
    pub tries: u32,
    /// The number of them that failed.
    pub failed: u32,
    /// The number of passes in a row after which it would be believable that a flaky case passes, where the
    /// history says that it is flaky.
    pub passes_needed: Option<u32>,
    /// The time that it took, builds included, in milliseconds.
    pub elapsed_ms: u64,
}

/// The answer of a search. Places are in the list of builds, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Conclusion {
    /// The case fails from this build on.
    Broke {
        /// The last build before it that was tried and passes.
        before: usize,
        /// The first build that fails. Those between the two could not be tested.
        first: usize,
    },
    /// The case passes from this build on.
    Mended {
        /// The last build before it that was tried and fails.
        before: usize,
        /// The first build that passes.
        first: usize,
    },
    /// Both ends are the same, so that there is nothing to find.
    Unchanged {
        /// The judgement of both.
        judgement: Judgement,
    },
    /// An end could not be tested.
    Untested {
        /// The end.
        build: usize,
    },
    /// The search did not come to its end: if the case changes, it is behind `before`, and with `first` at the latest.
    Unfinished {
        /// The last build that is known to be like the first of the list; else the first one.
        before: usize,
        /// The first build behind it that is known to be otherwise; else the last of the list.
        first: usize,
    },
}

impl Conclusion {
    /// Tells whether one build is found: none that could not be tested stands before it.
    pub fn is_exact(&self) -> bool {
        match *self {
            Conclusion::Broke { before, first } | Conclusion::Mended { before, first } => {
                before + 1 == first
            }
            Conclusion::Unchanged { .. }
            | Conclusion::Untested { .. }
            | Conclusion::Unfinished { .. } => false,
        }
    }
}

impl Bisection {
    /// Returns the try of a build, if it was tried.
    pub fn step(&self, build: usize) -> Option<&Step> {
        self.steps.iter().find(|step| step.build == build)
    }
}
