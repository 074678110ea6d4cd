//! Calibration: the separation of what a load does in any case from what is lost between two
//! builds.
//!
//! A guest that loaded, and in which some values or pages differ, is sent from each build to itself as
//! well. A change that a build makes there in the same place is what a load does, whatever the lists say:
//! the guest is moved once more, and only the rest counts. The lists of volatile fields explain; this
//! decides, so that they need not be complete.
//!
//! Not every change that a build makes to itself is intended. A load by design comes to the same
//! value each time that the same one is sent to it, as far as the guest did not run; garbage does
//! not. So two moves of a machine that does not run are compared with each other: a field that was
//! sent with one value and has another one each time is a defect within the builds. Memory that was
//! never initialised may look the same each time: two further moves fill it with one byte and with
//! another, so that what comes from it differs.
//!
//! Nor is a change that one build alone makes what a load does: a field that one build loses whoever sent it, and that the
//! other one holds when it is sent to itself, is a defect within the one.
//!
//! Memory is judged by pages. Where a build loses other pages of a block each time it is sent to
//! itself, it has no memory of that block to compare with: that too is a defect within the builds,
//! unless some pages are lost between the builds each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::migration::config::{MigrationConfig, Step, Watcher};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::qemu::MallocFill;
use crate::report::{Cause, Change, ChangedByLoad, FailureKind, Outcome, Phase, StateDiff};

/// The number of times that a guest is moved again for changes that the move before showed: a guest
/// that works stops at its memory, before its devices are compared.
const ROUNDS: usize = 3;

/// Changes that builds make to themselves, with the labels of the builds.
pub(crate) type OwnChanges = BTreeMap<LoadChange, BTreeSet<String>>;

/// A run, judged by what its builds do to themselves.
#[derive(Debug)]
pub(crate) struct Calibrated {
    pub run: RunResult,
    /// The launch of that run: it tolerates what the builds do to themselves.
    pub launch: LaunchSpec,
    /// The changes that the builds were seen to make to themselves, of those that differed between
    /// them.
    pub known: OwnChanges,
    /// The number of guests that were moved for it.
    pub guests: usize,
}

/// Calibrates the run of a guest. A run that passed, or failed for another reason than values that
/// differ, stays as it is. Where its controls were run already, what each build changed in them is given.
pub(crate) async fn calibrate(
    spec: RunSpec<'_>,
    run: RunResult,
    mut controls: Option<OwnChanges>,
    watcher: Watcher<'_>,
) -> Calibrated {
    let mut calibrated = Calibrated {
        run,
        launch: spec.launch.clone(),
        known: OwnChanges::new(),
        guests: 0,
    };
    let mut own = OwnChanges::new();
    let mut lost_pages = LostPages::default();
    for _ in 0..ROUNDS {
        let Some(between) = calibrated.run.only_changes() else {
            break;
        };
        let within = match controls.take() {
            Some(within) => within,
            None => {
                watcher(Step::Control);
                calibrated.changes_within(spec).await
            }
        };
        lost_pages.add(&between, &within);
        for (change, labels) in within {
            own.entry(change).or_default().extend(labels);
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
        if known.is_empty() && !lost_pages.share_a_block() {
            break;
        }
        let launch = LaunchSpec {
            tolerated: Arc::new(tolerated),
            ..calibrated.launch.clone()
        };
        let spec = RunSpec {
            launch: &launch,
            ..spec
        };
        let again = spec.run().await;
        calibrated.guests += 1;
        let mut unsteady = Unsteady::default();
        if launch.workload.is_none() {
            unsteady = Unsteady::between(&calibrated.run.state.diffs, &again.state.tolerated);
        }
        let is_filled = unsteady.is_empty() && has_fields(&known);
        if is_filled {
            let [once, twice] = with_filled_memory(spec).await;
            calibrated.guests += MallocFill::BOTH.len();
            unsteady = Unsteady::between(&once.state.diffs, &twice.state.diffs);
        }
        let steady = known.into_iter().filter(|change| !unsteady.has(change));
        let steady: BTreeSet<LoadChange> = steady.collect();
        // Of other fields nothing is known yet where the first one gave itself away.
        let is_settled = is_filled || !has_fields(&steady);
        if is_settled {
            let with_builds = |change| {
                let builds = own.get(&change).cloned().unwrap_or_default();
                (change, builds)
            };
            calibrated.known.extend(steady.into_iter().map(with_builds));
        }
        if let Some(cause) = unsteady.cause(&own) {
            if is_settled {
                let sections = unsteady.0.iter().map(|(one, _)| one);
                calibrated.run.wrong = all_wrong(sections, &calibrated.run, &again);
            }
            return calibrated.broken(cause);
        }
        let lost = calibrated.lost_by_one(spec, &own).await;
        if let Some(cause) = lost.first().map(lost_alone) {
            let is_lost = |change: &LoadChange| {
                let mut lost = lost.iter();
                lost.any(|one| LoadChange::of_field(&one.diff) == *change)
            };
            calibrated.known.retain(|change, _| !is_lost(change));
            let sections = lost.iter().map(|one| &one.diff);
            calibrated.run.wrong = all_wrong(sections, &calibrated.run, &again);
            return calibrated.broken(cause);
        }
        calibrated.run = again;
        calibrated.launch = launch;
    }
    if let Some(between) = calibrated.run.only_changes()
        && let Some(cause) = lost_pages.cause(&between)
    {
        let is_of_block = |change: &LoadChange| change.block() == cause.field.as_deref();
        calibrated.known.retain(|change, _| !is_of_block(change));
        return calibrated.broken(cause);
    }
    calibrated
}

/// Calibrates a control, which a build sends to itself: what it changes there is all that it can be compared with.
pub(crate) async fn calibrate_control(
    spec: RunSpec<'_>,
    endpoint: &Endpoint,
    run: RunResult,
) -> Calibrated {
    let config = MigrationConfig {
        old: endpoint.clone(),
        new: endpoint.clone(),
        ..spec.config.clone()
    };
    let config = &config;
    let mut own = OwnChanges::new();
    add_own(&mut own, endpoint, &run);
    calibrate(RunSpec { config, ..spec }, run, Some(own), &|_| {}).await
}

impl Calibrated {
    /// Moves the guest from each build to itself; returns what that changes.
    async fn changes_within(&mut self, spec: RunSpec<'_>) -> OwnChanges {
        let launch = &self.launch;
        let spec = RunSpec { launch, ..spec };
        let mut within = OwnChanges::new();
        for endpoint in distinct(&spec.config.old, &spec.config.new) {
            let control = spec.within(endpoint, &self.run).await;
            self.guests += 1;
            add_own(&mut within, endpoint, &control);
        }
        within
    }

    /// Returns the fields that the build which loaded them was alone in losing from itself, too. No guest runs while that
    /// is tried once more, as no Linux guest does: what it does by itself may come in one of two controls by chance.
    async fn lost_by_one(&mut self, spec: RunSpec<'_>, own: &OwnChanges) -> Vec<LostByOne> {
        let run = &self.run;
        let MigrationConfig { old, new, .. } = spec.config;
        let workload = spec.launch.workload.clone();
        let launch = LaunchSpec {
            workload: workload.filter(|workload| workload.linux().is_some()),
            tolerated: Arc::default(),
            ..spec.launch.clone()
        };
        let spec = RunSpec {
            launch: &launch,
            ..spec
        };
        let mut found = Vec::new();
        for (loads, holds) in [(old, new), (new, old)] {
            let [loads_label, holds_label] = [loads, holds].map(|build| build.build.label());
            let alone = BTreeSet::from([loads_label.to_owned()]);
            let is_lost = |diff: &&StateDiff| {
                let to = spec.route.get(diff.leg + 1);
                diff.change == Change::Changed
                    && to.is_some_and(|to| to.build.label() == loads_label)
                    && own.get(&LoadChange::of_field(diff)) == Some(&alone)
            };
            let lost: Vec<&StateDiff> = run.state.diffs.iter().filter(is_lost).collect();
            if lost.is_empty() || loads_label == holds_label {
                continue;
            }
            let (of_one, of_other) = tokio::join!(
                Box::pin(spec.within(loads, run)),
                Box::pin(spec.within(holds, run))
            );
            self.guests += 2;
            let changed = of_one.only_changes().unwrap_or_default();
            let changed_by_other = match of_other.outcome {
                Outcome::Pass if of_other.state.unchecked.is_none() => BTreeSet::new(),
                _ => match of_other.only_changes() {
                    Some(changes) => changes,
                    None => continue,
                },
            };
            let lost = lost.into_iter().filter(|diff| {
                let change = LoadChange::of_field(diff);
                changed.contains(&change) && !changed_by_other.contains(&change)
            });
            found.extend(lost.map(|diff| LostByOne {
                diff: diff.clone(),
                loads: loads_label.to_owned(),
                holds: holds_label.to_owned(),
            }));
        }
        found
    }

    /// Makes it a defect within the builds, beside which the rest of what they are known to do to themselves is tolerated.
    fn broken(mut self, cause: Cause) -> Calibrated {
        let mut tolerated = LoadChanges::clone(&self.launch.tolerated);
        tolerated.extend(self.known.keys().cloned());
        self.launch.tolerated = Arc::new(tolerated);
        self.run.outcome = Outcome::Broken;
        self.run.cause = Some(cause);
        self
    }
}

/// Adds what a build changed in a control, from itself to itself.
pub(crate) fn add_own(own: &mut OwnChanges, build: &Endpoint, control: &RunResult) {
    for change in control.only_changes().into_iter().flatten() {
        let labels = own.entry(change).or_default();
        labels.insert(build.build.label().to_owned());
    }
}

/// Tells whether fields are among the changes, and not pages of memory alone.
pub(crate) fn has_fields(changes: &BTreeSet<LoadChange>) -> bool {
    let is_field = |change: &LoadChange| matches!(change, LoadChange::Field { .. });
    changes.iter().any(is_field)
}

/// Moves the same machine twice, each time with other contents of uninitialised memory. No guest runs in it: what
/// that does by itself is no garbage.
async fn with_filled_memory(spec: RunSpec<'_>) -> [RunResult; 2] {
    let move_with = async |fill: MallocFill| {
        let launch = LaunchSpec {
            workload: None,
            tolerated: Arc::default(),
            fill: Some(fill),
            ..spec.launch.clone()
        };
        let launch = &launch;
        RunSpec { launch, ..spec }.run().await
    };
    let [one, other] = MallocFill::BOTH;
    let (once, twice) = tokio::join!(move_with(one), move_with(other));
    [once, twice]
}

/// Moves the same machine with two contents of uninitialised memory; returns the run as a defect of its build where
/// they show in one of these changes.
pub(crate) async fn garbage_of_load(
    spec: RunSpec<'_>,
    among: &BTreeSet<LoadChange>,
) -> Option<RunResult> {
    // Pages alone show nothing of what is uninitialised.
    if !has_fields(among) {
        return None;
    }
    let [mut once, twice] = with_filled_memory(spec).await;
    once.state.first = None;
    once.state.arrived = None;
    let mut unsteady = Unsteady::between(&once.state.diffs, &twice.state.diffs);
    unsteady
        .0
        .retain(|(one, _)| among.contains(&LoadChange::of_field(one)));
    let cause = unsteady.cause(&OwnChanges::new())?;
    Some(RunResult {
        outcome: Outcome::Broken,
        cause: Some(cause),
        ..once
    })
}

/// Tells whether two runs of the same machine, in the first of which values differ, do not come to the same ones.
pub(crate) fn are_unlike(once: &RunResult, again: &RunResult) -> bool {
    let unsteady = Unsteady::between(&once.state.diffs, &again.state.diffs);
    again.outcome == Outcome::Pass || !unsteady.is_empty()
}

/// The pages of memory that were lost, round by round.
#[derive(Debug, Default)]
struct LostPages {
    /// By block, those that builds lost when they were sent to themselves. In each round these are other ones:
    /// those of the rounds before are tolerated.
    within: Vec<BTreeMap<String, BTreeSet<String>>>,
    /// Those that were lost between the builds.
    between: Vec<BTreeSet<LoadChange>>,
}

impl LostPages {
    /// Takes the changes of a round: between the builds, and within them.
    fn add(&mut self, between: &BTreeSet<LoadChange>, within: &OwnChanges) {
        let mut blocks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (change, labels) in within {
            if let Some(block) = change.block() {
                let of_block = blocks.entry(block.to_owned()).or_default();
                of_block.extend(labels.iter().cloned());
            }
        }
        self.within.push(blocks);
        self.between.push(between.clone());
    }

    /// Tells whether something was lost in one block of memory both between the builds and within one.
    fn share_a_block(&self) -> bool {
        let (Some(between), Some(within)) = (self.between.last(), self.within.last()) else {
            return false;
        };
        let mut blocks = between.iter().filter_map(LoadChange::block);
        blocks.any(|block| within.contains_key(block))
    }

    /// Makes the cause of a loss of pages that are other ones each time, between the builds as within one.
    /// `None` if some are lost each time, or something else differs.
    fn cause(&self, left: &BTreeSet<LoadChange>) -> Option<Cause> {
        let is_new = |change: &LoadChange| !self.between.iter().any(|known| known.contains(change));
        let labels = |change: &LoadChange| {
            let block = change.block()?;
            let rounds = self.within.iter().filter_map(|round| round.get(block));
            let rounds: Vec<&BTreeSet<String>> = rounds.collect();
            (rounds.len() > 1).then(|| rounds.into_iter().flatten().collect::<BTreeSet<_>>())
        };
        let of_builds = left.iter().filter(|change| is_new(change)).map(labels);
        let of_builds = of_builds.collect::<Option<Vec<_>>>()?;
        if of_builds.len() < left.len() {
            return None;
        }
        let block = left.iter().find_map(LoadChange::block)?;
        let within: BTreeSet<&String> = of_builds.into_iter().flatten().collect();
        Some(Cause {
            phase: Some(Phase::MemoryCheck),
            kind: Some(FailureKind::MemoryDiffers),
            field: Some(block.to_owned()),
            message: format!(
                "a load leaves other pages of {block} changed each time{}",
                in_controls(within)
            ),
            ..Cause::default()
        })
    }
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

/// Fields that were sent alike in two moves and are not the same after both, as they were after the one and the
/// other.
#[derive(Debug, Default)]
struct Unsteady(Vec<(StateDiff, StateDiff)>);

impl Unsteady {
    fn between(once: &[StateDiff], again: &[StateDiff]) -> Unsteady {
        let pairs = once.iter().filter_map(|one| {
            let like = |other: &&StateDiff| {
                (other.leg, &other.section, other.instance) == (one.leg, &one.section, one.instance)
                    && (&other.field, other.change) == (&one.field, one.change)
            };
            Some((one, again.iter().find(like)?))
        });
        let unsteady = pairs.filter(|(one, other)| {
            one.change == Change::Changed && one.sent == other.sent && one.held != other.held
        });
        let unsteady = unsteady.map(|(one, other)| (one.clone(), other.clone()));
        Unsteady(unsteady.collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, change: &LoadChange) -> bool {
        self.0
            .iter()
            .any(|(one, _)| LoadChange::of_field(one) == *change)
    }

    /// Makes the cause of fields that a load leaves with garbage: the first one stands for them.
    fn cause(&self, own: &OwnChanges) -> Option<Cause> {
        let (one, other) = self.0.first()?;
        Some(garbage(one, other, own.get(&LoadChange::of_field(one))))
    }
}

/// Returns all that did not arrive in a run: what these are of, and what was left when the guest was moved again and
/// everything known was tolerated.
fn all_wrong<'d>(
    of: impl Iterator<Item = &'d StateDiff>,
    run: &RunResult,
    again: &RunResult,
) -> Option<BTreeSet<String>> {
    run.wrong.as_ref()?;
    let left = match again.outcome {
        Outcome::Pass if again.state.unchecked.is_none() => Some(BTreeSet::new()),
        _ => again.wrong.clone(),
    };
    let mut wrong = left?;
    wrong.extend(of.map(|diff| diff.section.to_string()));
    Some(wrong)
}

/// A field that a build loses whoever sent it, while the other build holds its own.
struct LostByOne {
    diff: StateDiff,
    /// The label of the build that loses it.
    loads: String,
    /// The label of the build that holds it.
    holds: String,
}

/// Makes the cause of a field that one build loses whoever sent it.
fn lost_alone(lost: &LostByOne) -> Cause {
    let LostByOne { diff, loads, holds } = lost;
    cause_of(
        diff,
        format!(
            "{loads} loses {} of {} when it loads it, from itself too: sent as {}, it is {}; {holds} holds what it sends itself",
            diff.field,
            diff.section,
            diff.sent,
            held(diff),
        ),
    )
}

/// Makes the cause of a field that a load leaves with garbage.
fn garbage(one: &StateDiff, other: &StateDiff, labels: Option<&BTreeSet<String>>) -> Cause {
    let within = in_controls(labels.into_iter().flatten());
    cause_of(
        one,
        format!(
            "a load leaves garbage in {}: {}, sent as {} twice, is {} after one load and {} after another{within}",
            one.section,
            one.field,
            one.sent,
            held(one),
            held(other),
        ),
    )
}

/// Makes the cause of a field that does not hold what was sent.
fn cause_of(diff: &StateDiff, message: String) -> Cause {
    Cause {
        phase: Some(Phase::StateCheck),
        kind: Some(FailureKind::StateDiffers),
        section: Some(diff.section.clone()),
        instance: Some(diff.instance),
        field: Some(diff.field.clone()),
        message,
        ..Cause::default()
    }
}

/// Returns the value after a load.
fn held(diff: &StateDiff) -> &str {
    diff.held.as_deref().unwrap_or("nothing")
}

/// Formats the end of a sentence about what these builds do to themselves as well.
fn in_controls<'l>(labels: impl IntoIterator<Item = &'l String>) -> String {
    let labels = labels.into_iter();
    let within: Vec<String> = labels.map(|label| format!("{label} to itself")).collect();
    match within.as_slice() {
        [] => String::new(),
        within => format!(", from {} too", within.join(" and ")),
    }
}

/// Joins changes that are in one array or one block of memory.
pub(crate) fn summary(changes: &OwnChanges) -> Vec<ChangedByLoad> {
    let mut places: BTreeMap<LoadChange, (usize, BTreeSet<String>)> = BTreeMap::new();
    for (change, builds) in changes {
        let (count, labels) = places.entry(change.place()).or_default();
        *count += 1;
        labels.extend(builds.iter().cloned());
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
    use crate::migration::checks::state::StateChecks;
    use crate::report::testing;

    fn diff(field: &str, sent: &str, held: &str) -> StateDiff {
        StateDiff {
            sent: sent.to_owned(),
            held: Some(held.to_owned()),
            ..testing::diff(field)
        }
    }

    #[test]
    fn a_value_that_a_load_works_out_is_the_same_twice_and_garbage_is_not() {
        let one = [diff("size", "0x0", "0x10"), diff("used", "0x0", "0x7f31")];
        let same = [diff("size", "0x0", "0x10")];
        assert!(Unsteady::between(&one, &same).is_empty());
        let other = [diff("size", "0x0", "0x10"), diff("used", "0x0", "0x55aa")];
        let unsteady = Unsteady::between(&one, &other);
        let used = LoadChange::of_field(&other[1]);
        assert!(unsteady.has(&used) && !unsteady.has(&LoadChange::of_field(&other[0])));
        let labels = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let cause = unsteady
            .cause(&OwnChanges::from([(used, labels)]))
            .expect("garbage");
        assert_eq!(
            cause.message,
            "a load leaves garbage in dev: used, sent as 0x0 twice, is 0x7f31 after one load and 0x55aa \
             after another, from a to itself and b to itself too"
        );
        assert_eq!(cause.field.as_deref(), Some("used"));
    }

    #[test]
    fn what_a_load_does_each_time_is_not_wrong_beside_garbage() {
        let wrong = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let run = |wrong| RunResult {
            wrong,
            ..RunResult::passed(Vec::new(), StateChecks::default())
        };
        let used = diff("used", "0x0", "0x7f31");
        let unsteady = || std::iter::once(&used);
        let first = run(wrong(&["dev", "vmclock_page"]));
        assert_eq!(all_wrong(unsteady(), &first, &run(None)), wrong(&["dev"]));
        // Something else is left when both are tolerated.
        let again = RunResult {
            outcome: Outcome::Lost,
            ..run(wrong(&["other"]))
        };
        assert_eq!(
            all_wrong(unsteady(), &first, &again),
            wrong(&["dev", "other"])
        );
        // Not everything was compared.
        assert_eq!(all_wrong(unsteady(), &run(None), &run(None)), None);
        let again = RunResult {
            outcome: Outcome::Fail,
            ..run(None)
        };
        assert_eq!(all_wrong(unsteady(), &first, &again), None);
    }

    #[test]
    fn a_clock_is_sent_with_another_value_each_time_and_is_no_garbage() {
        let one = [diff("ticks", "0x10", "0x12")];
        let other = [diff("ticks", "0x20", "0x22")];
        assert!(Unsteady::between(&one, &other).is_empty());
    }

    /// Rounds of pages that were lost between the builds and within one, and those that are left.
    fn lost(rounds: &[(&[u64], &[u64])], left: &[u64]) -> Option<String> {
        let pages = |of: &[u64]| -> BTreeSet<LoadChange> {
            let page = |&at: &u64| LoadChange::Page {
                block: "vga.vram".to_owned(),
                at,
            };
            of.iter().map(page).collect()
        };
        let mut lost = LostPages::default();
        for (between, within) in rounds {
            let by_a = |page| (page, BTreeSet::from(["a".to_owned()]));
            lost.add(
                &pages(between),
                &pages(within).into_iter().map(by_a).collect(),
            );
        }
        lost.cause(&pages(left)).map(|cause| cause.message)
    }

    #[test]
    fn pages_that_are_lost_each_time_are_lost_whatever_else_a_build_loses() {
        let unsteady =
            "a load leaves other pages of vga.vram changed each time, from a to itself too";
        let found = |rounds: &[(&[u64], &[u64])], left: &[u64]| lost(rounds, left);
        assert_eq!(
            found(&[(&[1], &[2]), (&[3], &[4])], &[5]).as_deref(),
            Some(unsteady)
        );
        // One page is lost between the builds each time.
        assert_eq!(found(&[(&[1, 7], &[2]), (&[3, 7], &[4])], &[5, 7]), None);
        assert_eq!(found(&[(&[7], &[2]), (&[7], &[4])], &[7]), None);
        // The build loses the same pages each time: the others are not its doing.
        assert_eq!(found(&[(&[1, 2], &[2]), (&[3], &[])], &[5]), None);
    }

    #[test]
    fn another_block_of_memory_explains_nothing() {
        let page = |block: &str| LoadChange::Page {
            block: block.to_owned(),
            at: 0,
        };
        let mut lost = LostPages::default();
        let within = [(page("vga.vram"), BTreeSet::from(["a".to_owned()]))].into();
        lost.add(&BTreeSet::from([page("pc.ram")]), &within);
        assert!(!lost.share_a_block());
        lost.add(&BTreeSet::from([page("vga.vram")]), &within);
        assert!(lost.share_a_block());
        let both = BTreeSet::from([page("pc.ram"), page("vga.vram")]);
        assert_eq!(lost.cause(&both), None);
    }

    #[test]
    fn an_array_is_named_once() {
        let change = |field: &str| LoadChange::of_field(&diff(field, "0x0", "0x1"));
        let fields = ["src[0]/ivpr", "src[1]/ivpr", "pir"];
        let by_a = |field| (change(field), BTreeSet::from(["a".to_owned()]));
        let told = summary(&fields.map(by_a).into());
        let told: Vec<_> = told
            .iter()
            .map(|of| (of.field.as_deref().unwrap_or_default(), of.count))
            .collect();
        assert_eq!(told, [("pir", 1), ("src/ivpr", 2)]);
    }
}
