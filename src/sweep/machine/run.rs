//! The run of one guest, with what the rest of the sweep asks of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::culprit::Item;
use crate::migration::checks::changes::LoadChanges;
use crate::migration::coverage::SentSection;
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::result::RunResult;
use crate::model::SectionName;
use crate::report::{ChangedByLoad, Outcome};

/// The time at which a run that differs in values alone is compared with what each build does to itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Calibration {
    #[default]
    AtOnce,
    /// The culprit has controls anyway, in a guest with others: mostly they show that nothing is to be compared.
    WithControls,
}

/// The run of a guest. Of its streams it has the one that a build refused, until that is explained.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub attempt: RunResult,
    pub elapsed_ms: u64,
    /// The device types that shared it, where it was moved for several.
    pub shared_by: Vec<Item>,
    /// The changes that were not counted: the builds make them to themselves.
    pub changed_by_load: Vec<ChangedByLoad>,
    /// The time at which it is calibrated.
    pub calibration: Calibration,
    /// All that did not arrive, counted or not.
    pub differing: Arc<LoadChanges>,
    /// The vmsd names of the sections that the destination did not load as they were sent.
    pub not_whole: Arc<BTreeSet<String>>,
    /// The sections that the source sent.
    pub sent: BTreeSet<SentSection>,
    /// Names of sections that the source is likely to refuse on the way back.
    pub likely_refused: BTreeSet<SectionName>,
}

impl Run {
    pub(crate) fn passed(&self) -> bool {
        self.attempt.outcome == Outcome::Pass
    }

    /// Returns the time of the run, shared among its devices, in milliseconds.
    pub(crate) fn share_ms(&self) -> u64 {
        self.elapsed_ms / self.shared_by.len().max(1) as u64
    }

    /// Returns why the guest was not moved at all, in the words of the old build if that refused it.
    pub(crate) fn refusal(&self, old: &Endpoint) -> String {
        let refusals = &self.attempt.refusals;
        let label = old.build.label();
        let of_old = refusals.iter().find(|refusal| refusal.label == label);
        match of_old.or(refusals.first()) {
            Some(refusal) => format!(
                "{} does not start with it: {}",
                refusal.label, refusal.words
            ),
            None => {
                let cause = self.attempt.cause.as_ref();
                cause.map_or_else(String::new, |cause| cause.message.clone())
            }
        }
    }
}
