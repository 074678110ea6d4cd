//! The device types that a sweep found to try, and the part of them that a shard is of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LeftOut, PassesWith};
use crate::model::Direction;

/// What the devices of a machine that does not migrate by itself were tried with, in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grafted {
    /// The direction.
    pub direction: Direction,
    /// The sections that the destination was given from its own build, as the stream names them.
    pub sections: Vec<String>,
    /// The options that one build was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<PassesWith>,
}

impl fmt::Display for Grafted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grafted {
            direction,
            sections,
            with,
        } = self;
        write!(
            f,
            "{direction}: the machine does not migrate by itself; for the devices, "
        )?;
        if let Some(PassesWith { side, args }) = with {
            write!(f, "the {side} build was given {args}")?;
        }
        if with.is_some() && !sections.is_empty() {
            f.write_str(", and ")?;
        }
        if !sections.is_empty() {
            let sections = sections.join(", ");
            write!(
                f,
                "{sections} was grafted: the destination was given its own build's in the place of what was sent"
            )?;
        }
        Ok(())
    }
}

/// The device types that a sweep found to try on one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The end of `qemu-system-ARCH`.
    pub architecture: String,
    /// The machine type.
    pub machine: String,
    /// Device types that a user can create in both builds.
    pub shared: usize,
    /// CPU models that both builds list among their devices; they are not counted in `shared`.
    #[serde(default)]
    pub cpu_models: usize,
    /// CPU models of which the features were compared: those that both builds promise to keep for a machine type with a
    /// version (`migration-safe` of `query-cpu-definitions`).
    #[serde(default)]
    pub cpu_models_compared: usize,
    /// The number of them that were in a guest that migrated, or failed to.
    pub exercised: usize,
    /// The number of them without a recipe: plugged in by their bus and their properties.
    pub by_fall_back: usize,
    /// Those by name, sorted.
    #[serde(default)]
    pub fall_back: Vec<String>,
    /// The others of the shared ones, with the reason for each.
    pub left_out: Vec<LeftOut>,
    /// What it took for the devices of a machine that does not migrate by itself to be tried.
    #[serde(default)]
    pub grafted: Vec<Grafted>,
    /// Device types that one build has and the other does not.
    pub only_old: Vec<String>,
    /// Device types that the new build alone has.
    pub only_new: Vec<String>,
    /// The number of guests that were migrated, controls among them.
    pub guests: usize,
    /// The time from the first guest of this machine to the last one, in milliseconds.
    pub elapsed_ms: u64,
}

impl Swept {
    /// Returns the number of device types that were neither exercised nor left out.
    pub(crate) fn others(&self) -> usize {
        let known = self.exercised + self.left_out.len();
        self.shared.saturating_sub(known)
    }

    /// Tells whether a report names the machine like this: with its architecture, or without.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        match name.strip_suffix(self.machine.as_str()) {
            Some("") => true,
            Some(before) => before.strip_suffix('/') == Some(self.architecture.as_str()),
            None => false,
        }
    }
}

/// The part that a report covers of a run that was spread over several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRef {
    /// The number of the shard, from 1 to `of`.
    pub index: u32,
    /// The number of shards of the run.
    pub of: u32,
    /// A digest of all that the whole run was to do: equal for its shards, and for no other run's.
    pub plan: String,
    /// The options that influence the results, as one would type them; sorted.
    pub options: Vec<String>,
}
