//! The result of one run: a guest that was sent through the builds of a case.

use std::collections::BTreeSet;

use crate::migration::boot::BootError;
use crate::migration::checks::changes::LoadChange;
use crate::migration::checks::state::StateChecks;
use crate::migration::diagnosis::cause;
use crate::migration::diagnosis::cause::diagnose;
use crate::migration::diagnosis::evidence::Evidence;
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::root_devices::RootDevice;
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::leg::error::{LegError, LegErrorKind};
use crate::model::{Direction, SectionName, joined};
use crate::qemu::output;
use crate::qemu::output::load::LoadFailure;
use crate::report::{Cause, DrivenReport, FailureKind, Leg, LegSide, LinuxReport, Outcome, Phase};

/// Characters from the end of a build's error output that a report quotes.
const QUOTED: usize = 2000;

/// One guest's run through the builds.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunResult {
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    /// The error that ended it.
    pub error: Option<LegError>,
    /// The failure of the load as QEMU printed it.
    pub printed: Option<LoadFailure>,
    pub legs: Vec<Leg>,
    pub source_stderr: String,
    pub destination_stderr: String,
    /// Transcripts and the like, by file name.
    pub files: Vec<(String, String)>,
    /// The builds that did not start.
    pub refusals: Vec<Refusal>,
    pub state: StateChecks,
    /// All that did not arrive, by the names of sections and of blocks of memory, where the guest came
    /// through and everything was compared.
    pub wrong: Option<BTreeSet<String>>,
    /// Id of the device on a root bus whose section failed.
    pub suspect: Option<String>,
    /// The devices on the root buses, where the builds could still be asked.
    pub devices: Vec<RootDevice>,
    /// The place of the failure by the builds' messages, before anything else explains it.
    pub failed_at: Option<FailedAt>,
    /// The reason why the guest never started to work, if it only did not in time.
    pub silent_guest: Option<String>,
    /// The Linux guest that was moved.
    pub linux: Option<LinuxReport>,
    /// The work of the driver of a machine without a guest.
    pub driven: Option<DrivenReport>,
    /// The buses of both builds, where the launch asks for them and both started.
    pub buses: Option<Surveyed>,
    /// The features of virtio devices in both builds, where the launch asks for them and both told.
    pub features: Option<Snapshots>,
}

/// A field that failed, by the builds' messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedAt {
    pub section: SectionName,
    pub field: String,
    pub message: String,
}

impl FailedAt {
    pub(crate) fn of(cause: &Cause) -> Option<FailedAt> {
        Some(FailedAt {
            section: cause.section.clone()?,
            field: cause.field.clone()?,
            message: cause.message.clone(),
        })
    }

    /// Returns what a build printed without numbers and names, which each device has of its own.
    pub(crate) fn symptom(&self) -> String {
        symptom(&self.message)
    }
}

/// A build that did not start with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub label: String,
    /// The reason in its own words.
    pub words: String,
    /// Id of the device that it names.
    pub device: Option<String>,
}

/// The buses that both builds have to plug a device into, or the reason why they are not known.
pub(crate) type Surveyed = Result<Buses, String>;

impl RunResult {
    /// Makes the result of a run that ended in a leg; `legs` and `state` include that one.
    pub(crate) fn of_failed_leg(
        error: LegError,
        legs: Vec<Leg>,
        state: StateChecks,
        evidence: Evidence,
    ) -> RunResult {
        let (cause, printed) = diagnose(&error, &evidence.stderr, &evidence.reached);
        let suspect = evidence.owner(cause.section.as_ref());
        let outcome = error.outcome();
        RunResult {
            failed_at: FailedAt::of(&cause),
            cause: Some(cause),
            error: Some(error),
            printed,
            legs,
            source_stderr: tail(&evidence.stderr.source),
            destination_stderr: tail(&evidence.stderr.destination),
            files: evidence.files,
            state,
            suspect,
            devices: evidence.devices,
            outcome,
            ..RunResult::default()
        }
    }

    /// Makes the result of a destination that does not start in a later leg.
    pub(crate) fn of_missing_destination(error: LegError, legs: Vec<Leg>) -> RunResult {
        let stderr = match &error.kind {
            LegErrorKind::NoLongerStarts { error, .. } => error.stderr.clone(),
            _ => String::new(),
        };
        RunResult {
            cause: Some(cause::of_error(&error)),
            legs,
            destination_stderr: tail(&stderr),
            files: vec![("destination.stderr".to_owned(), stderr)],
            outcome: error.outcome(),
            ..RunResult::default()
        }
    }

    /// Makes the result of a guest that is not moved at all. One error is enough for a reader.
    pub(crate) fn not_started(errors: Vec<LegError>) -> RunResult {
        let refusals = errors.iter().filter_map(|error| match &error.kind {
            LegErrorKind::DoesNotStart(error) => Some(Refusal {
                label: error.label.clone(),
                words: error.reason(),
                device: output::start::named_device(&error.stderr).map(str::to_owned),
            }),
            _ => None,
        });
        let refusals = refusals.collect();
        let cause = errors.first().map(|error| {
            let cause = cause::of_error(error);
            Cause {
                message: on_one_line(&cause.message),
                ..cause
            }
        });
        let silent = errors.iter().find_map(|error| match &error.kind {
            LegErrorKind::NoWorkload { label, why, .. } => match why {
                BootError::Silent { .. } => Some(format!("{label}: {why}")),
                BootError::Failed(_) | BootError::Ended(_) => None,
            },
            _ => None,
        });
        let outcome = errors.first().map_or(Outcome::Skip, LegError::outcome);
        RunResult {
            cause,
            error: errors.into_iter().next(),
            refusals,
            silent_guest: silent,
            outcome,
            ..RunResult::default()
        }
    }

    /// Makes the result of a run that cannot be tried here.
    pub(crate) fn skip(message: &str) -> RunResult {
        RunResult {
            cause: Some(Cause::not_set_up(on_one_line(message))),
            outcome: Outcome::Skip,
            ..RunResult::default()
        }
    }

    /// Makes the result of a run in which every leg passed.
    pub(crate) fn passed(legs: Vec<Leg>, state: StateChecks) -> RunResult {
        RunResult {
            legs,
            state,
            outcome: Outcome::Pass,
            ..RunResult::default()
        }
    }

    /// Tells whether this host kept it from being tried, and no build.
    pub(crate) fn lacks_host(&self) -> bool {
        let kind = self.cause.as_ref().and_then(|cause| cause.kind);
        self.outcome == Outcome::Skip && kind == Some(FailureKind::HostLacks)
    }

    /// Returns the direction of its last leg; `first` is that of the one that it was to begin with.
    pub(crate) fn last_direction(&self, first: Direction) -> Direction {
        self.legs.last().map_or(first, |leg| leg.direction)
    }

    /// Returns the route from a build to itself of as many legs.
    pub(crate) fn route_within<'e>(&self, endpoint: &'e Endpoint) -> Vec<&'e Endpoint> {
        vec![endpoint; self.legs.len().max(1) + 1]
    }

    /// Tells whether the source was killed by somebody else before there was a migration.
    pub(crate) fn was_killed_too_soon(&self) -> bool {
        let error = self.error.as_ref();
        error.is_some_and(|error| error.phase == Phase::Boot && error.is_killed_by_others())
    }

    pub(crate) fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Pass | Outcome::Skip)
    }

    /// Returns all fields and pages that differ, where nothing else is wrong with a guest that loaded.
    pub(crate) fn only_changes(&self) -> Option<BTreeSet<LoadChange>> {
        let pages = match &self.error.as_ref()?.kind {
            LegErrorKind::State { .. } => None,
            LegErrorKind::Memory(fault) => Some(fault.pages()?),
            _ => return None,
        };
        let pages = pages.into_iter().flat_map(|pages| &pages.pages);
        let fields = self.state.differing.iter().cloned();
        Some(fields.chain(pages.map(LoadChange::of_page)).collect())
    }

    /// Tells whether this control, from a build to itself, fails in a way that says that a failure
    /// between the builds is not theirs. A control in which only values differ does so only for the same
    /// fields and the same pages of memory, and a build that does not refuse its own stream has another reason to
    /// refuse the other one's.
    pub(crate) fn accounts_for(&self, between: &RunResult) -> bool {
        let refuses = |run: &RunResult| run.outcome == Outcome::Fail;
        if !self.failed() || (refuses(between) && !refuses(self)) {
            return false;
        }
        let Some(within) = self.only_changes() else {
            return true;
        };
        let Some(between) = between.only_changes() else {
            return false;
        };
        between.is_subset(&within)
    }

    /// Returns the build of this leg that causes a failure: the source for what it does by itself,
    /// the destination for what becomes of a stream there.
    pub(crate) fn failed_side(&self) -> LegSide {
        match self.error.as_ref().is_some_and(LegError::source_gave_up) {
            true => LegSide::Source,
            false => LegSide::Destination,
        }
    }

    /// Tells whether both end the same way, at the same place.
    pub(crate) fn fails_like(&self, other: &RunResult) -> bool {
        let place = |run: &RunResult| {
            let cause = run.cause.as_ref()?;
            Some((cause.section.clone(), cause.field.clone()))
        };
        self.outcome == other.outcome && place(self) == place(other)
    }

    /// Tells whether neither side printed a complaint.
    pub(crate) fn is_quiet(&self) -> bool {
        [&self.source_stderr, &self.destination_stderr]
            .into_iter()
            .all(|text| output::complaints_of_completed(text).next().is_none())
    }
}

/// Joins the lines of a message.
fn on_one_line(message: &str) -> String {
    joined(message.lines().map(str::trim), " ")
}

/// Returns the end of what a build printed.
fn tail(text: &str) -> String {
    let text = output::without_our_own(text);
    let skip = text.chars().count().saturating_sub(QUOTED);
    text.chars().skip(skip).collect()
}

fn symptom(message: &str) -> String {
    let mut words = String::new();
    let mut quoted = false;
    for word in message.split_whitespace() {
        let opens = word.starts_with('\'');
        let closes = word.trim_end_matches([':', ',', ';']).ends_with('\'');
        if opens || quoted {
            quoted = !closes;
            continue;
        }
        if !word.contains(|c: char| c.is_ascii_digit()) {
            words.push_str(word);
            words.push(' ');
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_one_cause_are_alike_in_all_devices() {
        let of = |max: u32, device: &str| {
            symptom(&format!(
                "VQ 0 vring.num 1024 exceeds allocated max {max}; error while loading state for instance \
                 0x0 of device '{device}': Failed to load element of type virtio for virtio"
            ))
        };
        assert_eq!(
            of(256, "0000:00:01.0/virtio-net"),
            of(8, "0000:00:02.0/virtio-rng")
        );
        assert_eq!(of(8, "one of two"), of(8, "one"));
        assert_ne!(
            of(8, "a"),
            symptom("get_pci_config_device: Bad config data")
        );
    }

    #[test]
    fn a_refusal_is_accounted_for_by_a_refusal_alone() {
        let of = |outcome| {
            let mut run = RunResult::skip("for the test");
            run.outcome = outcome;
            run
        };
        let accounts = |control, between| of(control).accounts_for(&of(between));
        assert!(!accounts(Outcome::Crash, Outcome::Fail));
        assert!(!accounts(Outcome::Hang, Outcome::Fail));
        assert!(!accounts(Outcome::Lost, Outcome::Fail));
        assert!(!accounts(Outcome::Pass, Outcome::Fail));
        // It dies, or refuses, within the build as well.
        assert!(accounts(Outcome::Crash, Outcome::Crash));
        assert!(accounts(Outcome::Fail, Outcome::Fail));
        assert!(accounts(Outcome::Fail, Outcome::Crash));
    }
}
