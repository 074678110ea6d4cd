//! The known issues: names that changed, breaks that upstream chose, values that no guest misses.
//!
//! The shipped lists of them are `rename-lists/*.toml`; `--lists DIR` adds a folder of the same form.
//! An entry holds between the releases that it names and nowhere else; where a build's version is not
//! known, as for a dump file, it is taken to hold. A lookup returns the entry that answered
//! ([`Match`]): a caller that needs to know which entries serve collects them.

mod error;
mod failure;
mod load;
mod migration;
mod review;
mod scope;
mod shown;
mod state;

use std::fmt;
use std::path::PathBuf;

use rustc_hash::FxHashSet;
use serde::Deserialize;

use crate::model::{Date, Direction, MachineNames, Pattern, Rule, Version};

pub(crate) use error::ListError;
pub(crate) use failure::KnownFailure;
pub(crate) use load::FILL_IN;
pub(crate) use review::review;
pub use scope::Scope;
pub(crate) use shown::Shown;
pub(crate) use state::{StateNames, Volatile};

/// An entry's file and line, by which it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An entry that answers a question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'k> {
    pub entry: &'k Place,
    /// The reason, with its source where a report quotes that.
    pub reason: String,
}

impl<'k> Match<'k> {
    fn sourced(entry: &'k Place, reason: &str, source: &str) -> Match<'k> {
        Match {
            entry,
            reason: format!("{reason} ({source})"),
        }
    }
}

/// The order of two builds around a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The old build is before it, the new one has it.
    InOrder,
    /// The reverse order: the user named the newer build first.
    Swapped,
    /// A version is not known.
    Perhaps,
    No,
}

impl Holds {
    /// Returns how the versions of two builds relate to a change in the release `by`.
    pub(crate) fn of(by: Version, old: Option<Version>, new: Option<Version>) -> Holds {
        // Distributions carry changes back into point releases, so only the release counts.
        let before = |v: Version| (v.major, v.minor) < (by.major, by.minor);
        match (old, new) {
            (Some(old), Some(new)) => match (before(old), before(new)) {
                (true, false) => Holds::InOrder,
                (false, true) => Holds::Swapped,
                _ => Holds::No,
            },
            _ => Holds::Perhaps,
        }
    }

    /// Tells whether a change is what an entry means, by how it looks in either order.
    fn fits(self, in_order: impl Fn() -> bool, swapped: impl Fn() -> bool) -> bool {
        match self {
            Holds::InOrder => in_order(),
            Holds::Swapped => swapped(),
            Holds::Perhaps => in_order() || swapped(),
            Holds::No => false,
        }
    }
}

/// The kind of thing that an entry renames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renamed {
    /// A QOM type whose vmsd name stayed.
    Section,
    /// A vmsd name.
    Description,
    #[default]
    Field,
}

/// A name that changed while the bytes stayed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// It is that of the table of the list.
    #[serde(skip)]
    pub what: Renamed,
    /// QOM type, where the entry is limited to one.
    pub section: Option<String>,
    /// The innermost description that holds the field, or the one that the renamed types share.
    pub description: Option<String>,
    pub old: String,
    pub new: String,
    /// The last release known to be as before.
    pub after: Option<Version>,
    /// The first release that has the change.
    pub by: Version,
    /// A field of this name that prints another size and is the same on the wire.
    pub size_change: Option<String>,
    pub source: String,
    pub reason: String,
    #[serde(skip)]
    pub place: Place,
}

/// A break that upstream chose.
#[derive(Debug, Clone)]
pub struct Break {
    pub section: String,
    pub rule: Rule,
    /// Names from the vmsd name down; a finding at or below it matches.
    pub path: Vec<String>,
    /// Both when absent.
    pub direction: Option<Direction>,
    pub machines: MachineNames,
    /// No other machine can have the device, so that the break is moot everywhere else.
    pub only_there: bool,
    /// The first release that has the change.
    pub by: Version,
    pub reason: String,
    pub commit: Option<String>,
    /// The entry means to allow every finding of the rule in the section.
    pub whole_section: bool,
    pub place: Place,
}

/// A migration that upstream chose to have refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The section's name in the stream, with or without the device's address before it.
    pub section: String,
    /// The field as the cause of a case names it; any when absent.
    pub field: Option<String>,
    /// The direction of the leg that failed; both when absent.
    pub direction: Option<Direction>,
    pub machines: MachineNames,
    /// The last release known to be as before.
    pub after: Option<Version>,
    /// The first release that has the change.
    pub by: Version,
    /// It need not fail every time.
    #[serde(default)]
    pub intermittent: bool,
    pub source: String,
    pub reason: String,
    #[serde(skip)]
    pub place: Place,
}

/// The answer of a run-time test for every machine type that both builds know, or the fate of a
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sent {
    Never,
    Always,
    /// The value is unused: sent or not, no build that reads it makes use of it.
    Unused,
}

/// A run-time test whose answer is known, because a compat property of the machine type gives it; or a
/// field that is padding in one of the builds and without a meaning in the other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// QOM type, where the entry is limited to one.
    pub section: Option<String>,
    pub description: String,
    /// Fields or subsections that hang on the test.
    pub items: Vec<String>,
    pub sent: Sent,
    /// The last release known to be as before.
    pub after: Option<Version>,
    /// The first release that has the change.
    pub by: Version,
    pub source: String,
    pub reason: String,
    #[serde(skip)]
    pub place: Place,
}

/// Device types that some machines cannot have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    pub machines: MachineNames,
    /// QOM types.
    pub types: Vec<Pattern>,
    pub source: String,
    pub reason: String,
    #[serde(skip)]
    pub place: Place,
}

/// Properties that differ between builds without any bearing on a migration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unrelated {
    /// QOM types.
    pub types: Vec<Pattern>,
    /// Names of properties.
    pub names: Vec<Pattern>,
    /// Pairs of values that mean the same, as JSON; without any, every difference is meant.
    #[serde(default)]
    pub same: Vec<[String; 2]>,
    pub reason: String,
}

/// The entries of all lists that were read.
#[derive(Debug, Clone, Default)]
pub struct KnownIssues {
    pub absent: Vec<Absent>,
    pub unrelated: Vec<Unrelated>,
    pub renames: Vec<Rename>,
    pub conditions: Vec<Condition>,
    pub breaks: Vec<Break>,
    pub volatile: Vec<Volatile>,
    pub migrations: Vec<Refused>,
    pub(crate) failures: Vec<KnownFailure>,
    /// The day on which entries have expired or not.
    pub today: Date,
    /// Names in entries about fields, old and new.
    fields: FxHashSet<String>,
    /// The number of `breaks` that are shipped, which come first.
    shipped_breaks: usize,
    /// The number of `migrations` that are.
    shipped_migrations: usize,
    /// Folders of the user's own that hold no list.
    empty_folders: Vec<PathBuf>,
    /// A hash of the user's own files, in their order.
    own: Option<u64>,
    /// A hash of all files, in their order.
    all: u64,
}

impl KnownIssues {
    /// Returns a fingerprint of the content of the user's own lists, wherever they are; `None` without
    /// any.
    pub fn fingerprint(&self) -> Option<String> {
        self.own.map(|hash| format!("{hash:016x}"))
    }

    /// Returns a fingerprint of the content of all lists.
    pub(crate) fn digest(&self) -> String {
        format!("{:016x}", self.all)
    }

    /// Tells quickly whether any entry about fields has this name.
    pub fn mentions_field(&self, name: &str) -> bool {
        self.fields.contains(name)
    }

    /// Returns why a difference between these values of a property, as JSON, is of no interest. A side
    /// without the property has no value.
    pub fn unrelated(
        &self,
        type_name: &str,
        property: &str,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Option<&str> {
        let same = |pairs: &[[String; 2]]| {
            pairs.is_empty()
                || pairs.iter().any(|[a, b]| {
                    let (a, b) = (Some(a.as_str()), Some(b.as_str()));
                    (a, b) == (old, new) || (b, a) == (old, new)
                })
        };
        self.unrelated
            .iter()
            .find(|entry| {
                Pattern::any(&entry.types, type_name)
                    && Pattern::any(&entry.names, property)
                    && same(&entry.same)
            })
            .map(|entry| entry.reason.as_str())
    }
}
