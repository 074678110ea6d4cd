//! Calibration: the separation of what a load does in any case from what is lost between two
//! builds.
//!
//! A guest that loaded, and in which some values or pages differ, is sent from each build to itself as
//! well. A change that a build makes there in the same place is what a load does, whatever the lists say:
//! the guest is moved once more, and only the rest counts. The lists of volatile fields explain; this
//! decides, so that they need not be complete.
//!
//! Not every change that a build makes to itself is intended. A load by design comes to the same
//! value each time that the same one is sent to it, as far as the guest did not run; garbage, such
//! as memory that was never initialised, does not. So the two moves between the builds are compared
//! with each other: a field that was sent with one value and has another one each time is a defect
//! within the builds. Garbage that happens to be the same in every process is not recognised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::migration::config::{MigrationConfig, Step, Watcher};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::migration::run;
use crate::model::Direction;
use crate::report::{Cause, Change, ChangedByLoad, FailureKind, Outcome, Phase, StateDiff};

/// The number of times that a guest is moved again for changes that the move before showed: a guest
/// that works stops at its memory, before its devices are compared.
const ROUNDS: usize = 3;

/// A run, judged by what its builds do to themselves.
#[derive(Debug)]
pub(crate) struct Calibrated {
    pub run: RunResult,
    /// The launch of that run: it tolerates what the builds do to themselves.
    pub launch: LaunchSpec,
    /// The changes that the builds were seen to make to themselves, of those that differed between
    /// them.
    pub changes: Vec<ChangedByLoad>,
    /// The number of guests that were moved for it.
    pub guests: usize,
}

/// Calibrates a run along a route. A run that passed, or failed for another reason than values that
/// differ, stays as it is.
pub(crate) async fn calibrate(
    config: &MigrationConfig,
    run: RunResult,
    launch: LaunchSpec,
    route: &[&Endpoint],
    direction: Direction,
    watcher: Watcher<'_>,
) -> Calibrated {
    let mut calibrated = Calibrated {
        run,
        launch,
        changes: Vec::new(),
        guests: 0,
    };
    let mut own: BTreeMap<LoadChange, BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let Some(between) = calibrated.run.only_changes() else {
            break;
        };
        watcher(Step::Control);
        let legs = calibrated.run.legs.len().max(1);
        for endpoint in distinct(&config.old, &config.new) {
            let within = vec![endpoint; legs + 1];
            let control = run::run(config, &within, &calibrated.launch, direction, &|_| {}).await;
            calibrated.guests += 1;
            for change in control.only_changes().into_iter().flatten() {
                let label = endpoint.build.label().to_owned();
                own.entry(change).or_default().insert(label);
            }
        }
        let mut tolerated = LoadChanges::clone(&calibrated.launch.tolerated);
        tolerated.extend(own.keys().cloned());
        let explained = |change: &&LoadChange| own.contains_key(change);
        let lands = |diff: &&StateDiff| tolerated.has_field(diff);
        let fields = calibrated.run.state.diffs.iter().filter(lands);
        let known: BTreeSet<LoadChange> = between
            .iter()
            .filter(explained)
            .cloned()
            .chain(fields.map(LoadChange::of_field))
            .collect();
        if known.is_empty() {
            break;
        }
        seen.extend(known);
        let launch = LaunchSpec {
            tolerated: Arc::new(tolerated),
            ..calibrated.launch.clone()
        };
        let again = run::run(config, route, &launch, direction, &|_| {}).await;
        calibrated.guests += 1;
        let stands_still = launch.workload.is_none();
        if stands_still
            && let Some((one, other)) =
                unsteady(&calibrated.run.state.diffs, &again.state.tolerated)
        {
            let cause = garbage(one, other, own.get(&LoadChange::of_field(one)));
            calibrated.run.outcome = Outcome::Broken;
            calibrated.run.cause = Some(cause);
            return Calibrated {
                changes: Vec::new(),
                ..calibrated
            };
        }
        calibrated.run = again;
        calibrated.launch = launch;
    }
    calibrated.changes = summary(&seen, &own);
    calibrated
}

/// Tells whether what a build does to itself, in a control, is among what did not arrive between the builds, so
/// that calibrating that run changes it.
pub(crate) fn explains(control: &RunResult, between: &RunResult) -> bool {
    let (Some(own), Some(changes)) = (control.only_changes(), between.only_changes()) else {
        return false;
    };
    if !own.is_disjoint(&changes) {
        return true;
    }
    let mut tolerated = LoadChanges::default();
    tolerated.extend(own);
    let mut diffs = between.state.diffs.iter();
    diffs.any(|diff| tolerated.has_field(diff))
}

/// Returns both builds, or the one that they are.
fn distinct<'e>(old: &'e Endpoint, new: &'e Endpoint) -> Vec<&'e Endpoint> {
    match old.build.label() == new.build.label() {
        true => vec![old],
        false => vec![old, new],
    }
}

/// Returns a field that was sent alike in two moves and is not the same after both.
fn unsteady<'d>(
    once: &'d [StateDiff],
    again: &'d [StateDiff],
) -> Option<(&'d StateDiff, &'d StateDiff)> {
    let mut pairs = once.iter().filter_map(|one| {
        let like = |other: &&StateDiff| {
            (other.leg, &other.section, other.instance) == (one.leg, &one.section, one.instance)
                && (&other.field, other.change) == (&one.field, one.change)
        };
        Some((one, again.iter().find(like)?))
    });
    pairs.find(|(one, other)| {
        one.change == Change::Changed && one.sent == other.sent && one.held != other.held
    })
}

/// Makes the cause of a field that a load leaves with garbage.
fn garbage(one: &StateDiff, other: &StateDiff, labels: Option<&BTreeSet<String>>) -> Cause {
    let held = |diff: &StateDiff| diff.held.clone().unwrap_or_else(|| "nothing".to_owned());
    let within = labels.into_iter().flatten();
    let within: Vec<String> = within.map(|label| format!("{label} to itself")).collect();
    let within = match within.as_slice() {
        [] => String::new(),
        within => format!(", from {} too", within.join(" and ")),
    };
    Cause {
        phase: Some(Phase::StateCheck),
        kind: Some(FailureKind::StateDiffers),
        section: Some(one.section.clone()),
        instance: Some(one.instance),
        field: Some(one.field.clone()),
        message: format!(
            "a load leaves garbage in {}: {}, sent as {} twice, is {} after one load and {} after another{within}",
            one.section,
            one.field,
            one.sent,
            held(one),
            held(other),
        ),
        ..Cause::default()
    }
}

/// Joins changes that are in one array or one block of memory.
fn summary(
    seen: &BTreeSet<LoadChange>,
    own: &BTreeMap<LoadChange, BTreeSet<String>>,
) -> Vec<ChangedByLoad> {
    let mut places: BTreeMap<LoadChange, (usize, BTreeSet<String>)> = BTreeMap::new();
    for change in seen {
        let (count, labels) = places.entry(change.place()).or_default();
        *count += 1;
        labels.extend(own.get(change).into_iter().flatten().cloned());
    }
    let told = |(place, (count, labels)): (LoadChange, (usize, BTreeSet<String>))| {
        let (section, field, block) = match place {
            LoadChange::Field { section, field, .. } => (Some(section), Some(field), None),
            LoadChange::Page { block, .. } => (None, None, Some(block)),
        };
        ChangedByLoad {
            section,
            field,
            block,
            count,
            builds: labels.into_iter().collect(),
        }
    };
    places.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(field: &str, sent: &str, held: &str) -> StateDiff {
        StateDiff {
            leg: 0,
            section: "dev".into(),
            instance: 0,
            field: field.to_owned(),
            change: Change::Changed,
            sent: sent.to_owned(),
            held: Some(held.to_owned()),
            landed_in: None,
            fresh: None,
        }
    }

    #[test]
    fn a_value_that_a_load_works_out_is_the_same_twice_and_garbage_is_not() {
        let one = [diff("size", "0x0", "0x10"), diff("used", "0x0", "0x7f31")];
        let same = [diff("size", "0x0", "0x10")];
        assert_eq!(unsteady(&one, &same), None);
        let other = [diff("size", "0x0", "0x10"), diff("used", "0x0", "0x55aa")];
        let (first, second) = unsteady(&one, &other).expect("garbage");
        assert_eq!(
            (first.field.as_str(), second.field.as_str()),
            ("used", "used")
        );
        let labels = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let cause = garbage(first, second, Some(&labels));
        assert_eq!(
            cause.message,
            "a load leaves garbage in dev: used, sent as 0x0 twice, is 0x7f31 after one load and 0x55aa \
             after another, from a to itself and b to itself too"
        );
        assert_eq!(cause.field.as_deref(), Some("used"));
    }

    #[test]
    fn a_clock_is_sent_with_another_value_each_time_and_is_no_garbage() {
        let one = [diff("ticks", "0x10", "0x12")];
        let other = [diff("ticks", "0x20", "0x22")];
        assert_eq!(unsteady(&one, &other), None);
    }

    #[test]
    fn an_array_is_named_once() {
        let change = |field: &str| LoadChange::of_field(&diff(field, "0x0", "0x1"));
        let seen = BTreeSet::from([change("src[0]/ivpr"), change("src[1]/ivpr"), change("pir")]);
        let own = seen
            .iter()
            .map(|change| (change.clone(), BTreeSet::from(["a".to_owned()])))
            .collect();
        let told = summary(&seen, &own);
        let told: Vec<_> = told
            .iter()
            .map(|of| (of.field.as_deref().unwrap_or_default(), of.count))
            .collect();
        assert_eq!(told, [("pir", 1), ("src/ivpr", 2)]);
    }
}
