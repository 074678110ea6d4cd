//! Group testing: which of many devices in one guest keep it from migrating, or from starting.
//!
//! Nothing here runs anything: a [`Search`] says what to try and is given the answers. It looks in one of
//! two ways.
//!
//! - *Halving*, for a sweep, which has workers to keep busy: a pack that fails is divided and its parts
//!   are tried side by side, until what fails is alone. Evidence that points at one device is followed
//!   first. A device that fails alone is a culprit, and no other of its pack is blamed; what passed of the pack
//!   is tried once more as one, without what is to blame, until that comes through.
//! - *Narrowing*, for one failed case before a deadline: one trial after the other finds the smallest
//!   group that fails; the rest is tried without it, until the rest passes. It takes about log2 n trials
//!   to find a culprit among n, and two more to see that it fails alone and whether the rest passes.
//!
//! Both end in narrowing where devices fail only together.

mod narrowing;
mod search;

use std::collections::BTreeSet;

use crate::model::Route;

pub(crate) use search::Search;

/// A device, by its place in the list that is searched.
pub(crate) type Item = usize;

/// A guest that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    pub route: Route,
    /// The devices, in their order; none for a guest without any.
    pub items: Vec<Item>,
    node: usize,
}

/// The answer to a trial; `E` is the evidence.
#[derive(Debug, Clone)]
pub(crate) enum Answer<E> {
    Passed {
        evidence: E,
        /// Items that are expected to fail on the way back.
        likely_to_fail: BTreeSet<Item>,
    },
    /// A build did not start with these devices.
    Refused {
        evidence: E,
        /// The item that the evidence points at; it is tried first.
        suspect: Option<Item>,
    },
    Failed {
        evidence: E,
        /// The item that the evidence points at; it is tried first.
        suspect: Option<Item>,
        /// Items that contain the part that failed, and may fail for the same cause.
        alike: BTreeSet<Item>,
    },
    /// The guest failed because of one item alone: the others came through.
    SingleCulprit {
        failure: E,
        culprit: Item,
        /// The evidence for the others.
        others: E,
        likely_to_fail: BTreeSet<Item>,
    },
}

impl<E> Answer<E> {
    /// Returns a pass that says nothing about the way back.
    pub(crate) fn passed(evidence: E) -> Self {
        Answer::Passed {
            evidence,
            likely_to_fail: BTreeSet::new(),
        }
    }

    /// Returns a failure that points at no item.
    pub(crate) fn failed(evidence: E) -> Self {
        Answer::Failed {
            evidence,
            suspect: None,
            alike: BTreeSet::new(),
        }
    }

    /// Returns the same answer where neighbours do not count.
    fn without_others(self) -> Self {
        match self {
            Answer::SingleCulprit {
                failure, culprit, ..
            } => Answer::Failed {
                evidence: failure,
                suspect: Some(culprit),
                alike: BTreeSet::new(),
            },
            other => other,
        }
    }
}

/// The result for one device on one route. Except for `Passed`, only what it needs was with it; or
/// it is a `Culprit` because the failure of a pack pointed at it and did not happen again, or not without others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<E> {
    Passed(E),
    Refused(E),
    Culprit(E),
    /// The device needs this culprit, and was not tried.
    NeedsCulprit(Item),
}

impl<E> Verdict<E> {
    /// Returns the evidence of a device that was tried.
    pub(crate) fn evidence(&self) -> Option<&E> {
        match self {
            Verdict::Passed(evidence) | Verdict::Refused(evidence) | Verdict::Culprit(evidence) => {
                Some(evidence)
            }
            Verdict::NeedsCulprit(_) => None,
        }
    }
}

/// Devices that fail in one guest, and no fewer of them do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group<E> {
    pub route: Route,
    pub items: Vec<Item>,
    pub evidence: E,
    /// The group failed once, and passed when it was tried again.
    pub passed_again: bool,
}
