//! A name that a user gave and no build has, with similar ones.

use std::fmt;

/// A name that means nothing to the builds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct UnknownName {
    pub option: &'static str,
    pub wanted: String,
    pub lacking: Lacking,
    /// Similar names that would do, the most similar first.
    pub near: Vec<String>,
}

/// The builds that lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    Old,
    New,
    Both,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownName { option, wanted, .. } = self;
        let who = match self.lacking {
            Lacking::Old => "the old build does not have",
            Lacking::New => "the new build does not have",
            Lacking::Both => "neither build has",
        };
        let kind = match *option {
            "--cpu" => "CPU model",
            _ => "device type",
        };
        write!(f, "{option} {wanted}: {who} such a {kind}")?;
        if !self.near.is_empty() {
            write!(f, "; both have {}", self.near.join(", "))?;
        }
        Ok(())
    }
}
