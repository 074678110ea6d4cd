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
//! Memory is judged by pages. Where a build loses other pages of a block each time it is sent to
//! itself, it has no memory of that block to compare with: that too is a defect within the builds,
//! unless some pages are lost between the builds each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::migration::config::{MigrationConfig, Step, Watcher};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::migration::run;
use crate::model::Direction;
use crate::qemu::MallocFill;
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
    let mut lost_pages = LostPages::default();
    for _ in 0..ROUNDS {
        let Some(between) = calibrated.run.only_changes() else {
            break;
        };
        watcher(Step::Control);
        let legs = calibrated.run.legs.len().max(1);
        let mut within = Vec::new();
        for endpoint in distinct(&config.old, &config.new) {
            let route = vec![endpoint; legs + 1];
            let control = run::run(config, &route, &calibrated.launch, direction, &|_| {}).await;
            calibrated.guests += 1;
            let label = endpoint.build.label().to_owned();
            within.push((label, control.only_changes().unwrap_or_default()));
        }
        for (label, changes) in &within {
            for change in changes {
                own.entry(change.clone()).or_default().insert(label.clone());
            }
        }
        lost_pages.add(&between, &within);
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
        let again = run::run(config, route, &launch, direction, &|_| {}).await;
        calibrated.guests += 1;
        let mut chance = None;
        if launch.workload.is_none() {
            chance = unsteady(&calibrated.run.state.diffs, &again.state.tolerated);
        }
        if chance.is_none() && has_fields(&known) {
            let [once, twice] = with_filled_memory(config, &launch, route, direction).await;
            calibrated.guests += 2;
            chance = unsteady(&once, &twice);
        }
        if let Some((once, twice)) = chance {
            let labels = own.get(&LoadChange::of_field(&once));
            return calibrated.broken(garbage(&once, &twice, labels));
        }
        seen.extend(known);
        calibrated.run = again;
        calibrated.launch = launch;
    }
    if let Some(between) = calibrated.run.only_changes()
        && let Some(cause) = lost_pages.cause(&between)
    {
        return calibrated.broken(cause);
    }
    calibrated.changes = summary(&seen, &own);
    calibrated
}

impl Calibrated {
    /// Makes it a defect within the builds.
    fn broken(mut self, cause: Cause) -> Calibrated {
        self.run.outcome = Outcome::Broken;
        self.run.cause = Some(cause);
        self.changes = Vec::new();
        self
    }
}

fn has_fields(changes: &BTreeSet<LoadChange>) -> bool {
    let is_field = |change: &LoadChange| matches!(change, LoadChange::Field { .. });
    changes.iter().any(is_field)
}

/// Moves the same machine twice, each time with other contents of uninitialised memory; returns the fields that
/// differ. No guest runs in it: what that does by itself is no garbage.
async fn with_filled_memory(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    route: &[&Endpoint],
    direction: Direction,
) -> [Vec<StateDiff>; 2] {
    let move_with = async |fill: MallocFill| {
        let launch = LaunchSpec {
            workload: None,
            tolerated: Arc::default(),
            fill: Some(fill),
            ..launch.clone()
        };
        let run = run::run(config, route, &launch, direction, &|_| {}).await;
        run.state.diffs
    };
    let [one, other] = MallocFill::BOTH;
    let (once, twice) = tokio::join!(move_with(one), move_with(other));
    [once, twice]
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
    /// Takes the changes of a round: between the builds, and within each of them by its label.
    fn add(&mut self, between: &BTreeSet<LoadChange>, within: &[(String, BTreeSet<LoadChange>)]) {
        let mut blocks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (label, changes) in within {
            for block in changes.iter().filter_map(LoadChange::block) {
                let labels = blocks.entry(block.to_owned()).or_default();
                labels.insert(label.clone());
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
        let within: Vec<String> = within.iter().map(|of| format!("{of} to itself")).collect();
        Some(Cause {
            phase: Some(Phase::MemoryCheck),
            kind: Some(FailureKind::MemoryDiffers),
            field: Some(block.to_owned()),
            message: format!(
                "a load leaves other pages of {block} changed each time, from {} too",
                within.join(" and ")
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

/// Returns a field that was sent alike in two moves and is not the same after both, as it was after the one and
/// the other.
fn unsteady(once: &[StateDiff], again: &[StateDiff]) -> Option<(StateDiff, StateDiff)> {
    let mut pairs = once.iter().filter_map(|one| {
        let like = |other: &&StateDiff| {
            (other.leg, &other.section, other.instance) == (one.leg, &one.section, one.instance)
                && (&other.field, other.change) == (&one.field, one.change)
        };
        Some((one, again.iter().find(like)?))
    });
    let found = pairs.find(|(one, other)| {
        one.change == Change::Changed && one.sent == other.sent && one.held != other.held
    });
    found.map(|(one, other)| (one.clone(), other.clone()))
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
pub(crate) fn summary(
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
        let cause = garbage(&first, &second, Some(&labels));
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
            lost.add(&pages(between), &[("a".to_owned(), pages(within))]);
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
        let within = [("a".to_owned(), BTreeSet::from([page("vga.vram")]))];
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
