//! Finding the devices that make a case fail, and a case for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::culprit::{Answer, Item, Search, Verdict};
use crate::devices::DeviceSet;
use crate::migration::config::{CaseSpec, Part};
use crate::migration::diagnosis::evidence::owner;
use crate::migration::diagnosis::layouts;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::Route;
use crate::report::{Outcome, Split};

/// The culprits of a failed set.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub split: Split,
    /// Culprits that fail of the same cause as others, by their ids, with the first of those.
    pub alike: BTreeMap<String, String>,
    /// The runs of culprits alone in which nothing was tolerated, by their ids.
    pub alone: BTreeMap<String, RunResult>,
}

/// A set that is split.
struct Splitting<'s> {
    /// The run of the whole set.
    spec: RunSpec<'s>,
    set: &'s DeviceSet,
    end: Instant,
}

impl<'s> Splitting<'s> {
    /// Begins to split a set, for as long as that may take.
    fn of(spec: RunSpec<'s>, set: &'s DeviceSet) -> Splitting<'s> {
        Splitting {
            spec,
            set,
            end: Instant::now() + spec.config.timeouts.culprits,
        }
    }

    /// Tries some devices of the set; nothing once the time is up, or where they cannot be set up.
    async fn attempt(&self, ids: &[&str]) -> Option<RunResult> {
        if Instant::now() >= self.end {
            return None;
        }
        let tried = self.set.select(ids).ok()?;
        let config = self.spec.config;
        let launch = &LaunchSpec {
            // What a load does in any case is no fault of the device that it is of.
            tolerated: Arc::clone(&self.spec.launch.tolerated),
            ..config.launch(config.compose(&tried).args)
        };
        // It is deep enough without the run of a guest in each of its futures.
        let run = RunSpec {
            launch,
            ..self.spec
        }
        .run();
        let run = Box::pin(run).await;
        (run.outcome != Outcome::Skip).then_some(run)
    }

    /// Returns the devices of which what both builds send differs in the same way, after reset, as that of the device
    /// that failed does; that one first. Nothing where no such difference is known.
    async fn alike(&self, devices: &[String], failed: &RunResult) -> Option<Vec<String>> {
        let suspect = failed.suspect.as_ref()?;
        let section = failed.cause.as_ref()?.section.as_ref()?;
        // Only the devices on a root bus are known by the names of their sections.
        let common = Box::pin(layouts::common_widths(self.spec.config, self.set))
            .await
            .ok()?;
        let common = common.into_iter();
        let mut common = common.filter(|width| width.sections.contains(section.vmsd_name()));
        let sections = common.next()?.places;
        let owners = sections
            .iter()
            .filter_map(|section| owner(&failed.devices, section));
        let mut alike: Vec<String> = owners.map(str::to_owned).collect();
        alike.retain(|id| devices.contains(id) && id != suspect);
        alike.insert(0, suspect.clone());
        (alike.len() > 1).then_some(alike)
    }

    /// Tries the first of some devices alone, and at the same time those that can be without any of them.
    async fn apart_from(&self, devices: &[String], left_out: &[String]) -> Apart {
        let needs_any = |user: &String| {
            let mut left_out = left_out.iter();
            left_out.any(|needed| needs_device(self.set, user, needed))
        };
        let rest = devices.iter().filter(|id| !left_out.contains(id)).cloned();
        let (hidden, others): (Vec<String>, Vec<String>) = rest.partition(needs_any);
        let ids: Vec<&str> = others.iter().map(String::as_str).collect();
        let first: Vec<&str> = left_out.iter().take(1).map(String::as_str).collect();
        let (alone, without) = tokio::join!(self.attempt(&first), self.attempt(&ids));
        Apart {
            alone: alone.filter(RunResult::failed),
            hidden,
            others,
            without,
        }
    }

    /// Splits the set into devices that are alike and the others. The first of those that are alike stands for them.
    /// Nothing where it does not fail alone, or the others fail as well.
    async fn apart(&self, devices: &[String], alike: &[String]) -> Option<Found> {
        let first = alike.first()?;
        let tried = self.apart_from(devices, alike).await;
        if tried.without?.outcome != Outcome::Pass {
            return None;
        }
        let alone = Some(tried.alone?).filter(|run| run.state.tolerated.is_empty());
        Some(Found {
            split: Split {
                culprits: vec![vec![first.clone()]],
                alike: alike.iter().skip(1).cloned().collect(),
                passed: tried.others,
                hidden: tried.hidden,
                ..Split::default()
            },
            alone: alone.into_iter().map(|run| (first.clone(), run)).collect(),
            ..Found::default()
        })
    }
}

/// Devices of which the first was tried alone, and the others without them.
struct Apart {
    /// The run of the first, if it failed.
    alone: Option<RunResult>,
    /// The devices that cannot be without them.
    hidden: Vec<String>,
    others: Vec<String>,
    without: Option<RunResult>,
}

/// Splits a set whose `devices` fail together on a route, as far as the time for it allows. First the
/// device that a failure points at is tried alone, and then the others without it; where a failure points at
/// none, they are narrowed down.
pub(crate) async fn find(
    spec: RunSpec<'_>,
    set: &DeviceSet,
    devices: &[String],
    failed: &RunResult,
) -> Found {
    let mut suspect = failed.suspect.clone();
    let splitting = Splitting::of(spec, set);
    let mut found = Found::default();
    let mut rest = devices.to_vec();
    if let Some(alike) = Box::pin(splitting.alike(devices, failed)).await
        && let Some(found) = Box::pin(splitting.apart(devices, &alike)).await
    {
        return found;
    }
    let mut causes: BTreeMap<(Outcome, String, String), String> = BTreeMap::new();
    // A machine that fails without any of them clears them all: that is seen when they are narrowed down.
    let bare = async {
        match &suspect {
            Some(_) => splitting.attempt(&[]).await,
            None => None,
        }
    };
    let first = async {
        match &suspect {
            Some(id) => Some(splitting.apart_from(&rest, std::slice::from_ref(id)).await),
            None => None,
        }
    };
    let (bare, mut tried) = tokio::join!(bare, first);
    let passes_bare = bare.is_some_and(|run| run.outcome == Outcome::Pass);
    while let Some(id) = suspect.take().filter(|id| passes_bare && rest.contains(id)) {
        let tried = match tried.take() {
            Some(tried) => tried,
            None => splitting.apart_from(&rest, std::slice::from_ref(&id)).await,
        };
        let Some(alone) = tried.alone else {
            break;
        };
        if let Some(at) = &alone.failed_at {
            let cause = (alone.outcome, at.field.clone(), at.symptom());
            match causes.get(&cause) {
                Some(first) => {
                    found.alike.insert(id.clone(), first.clone());
                }
                None => {
                    causes.insert(cause, id.clone());
                }
            }
        }
        rest = tried.others;
        if alone.state.tolerated.is_empty() {
            found.alone.insert(id.clone(), alone);
        }
        found.split.hidden.extend(tried.hidden);
        found.split.culprits.push(vec![id]);
        match tried.without {
            Some(run) if run.outcome == Outcome::Pass => {
                found.split.passed = std::mem::take(&mut rest);
            }
            Some(run) => suspect = run.suspect,
            None => {}
        }
    }
    if !rest.is_empty() {
        let narrowed = narrow(&splitting, &rest).await;
        found.split.without_any = narrowed.without_any;
        found.split.culprits.extend(narrowed.culprits);
        found.split.passed.extend(narrowed.passed);
        found.split.hidden.extend(narrowed.hidden);
        found.split.undecided = narrowed.undecided;
    }
    // In the order of the set, whichever failed first.
    let place = |group: &Vec<String>| devices.iter().position(|id| Some(id) == group.last());
    found.split.culprits.sort_by_key(place);
    found
}

/// Tells whether a machine fails without its only device, so that this is not to blame. A failure that points at the device
/// is its own.
pub(crate) async fn fails_without_any(
    spec: RunSpec<'_>,
    set: &DeviceSet,
    failed: &RunResult,
) -> bool {
    if failed.suspect.is_some() {
        return false;
    }
    let splitting = Splitting::of(spec, set);
    let bare = splitting.attempt(&[]).await;
    bare.is_some_and(|run| run.failed())
}

/// Narrows devices down that fail together.
async fn narrow(splitting: &Splitting<'_>, devices: &[String]) -> Split {
    let across = Route::Across(splitting.spec.direction);
    let all = (0..devices.len()).collect();
    let (mut search, mut next) = Search::of_failure(all, needs(splitting.set, devices), across);
    while let Some(trial) = next.pop() {
        let ids = trial.items.iter().map(|&item| devices[item].as_str());
        let Some(run) = splitting.attempt(&ids.collect::<Vec<_>>()).await else {
            break;
        };
        let answer = match run.outcome {
            Outcome::Pass => Answer::passed(()),
            _ => Answer::failed(()),
        };
        next = search.record(&trial, answer);
    }
    split(&search, across, devices)
}

/// Tells whether a device of a set cannot be without another one.
fn needs_device(set: &DeviceSet, user: &str, needed: &str) -> bool {
    let closure = set.select(&[user]);
    closure.is_ok_and(|closure| closure.devices.iter().any(|device| device.id == needed))
}

pub(crate) struct CulpritCase {
    /// The device to blame; of a group, its last one.
    pub id: String,
    pub spec: CaseSpec,
}

/// Makes a case of each culprit, so that it has a cause and controls of its own: one that cannot migrate
/// at all must not hide another that only this pair of builds breaks.
pub(crate) fn cases(
    spec: &CaseSpec,
    split: Option<&Split>,
    alike: &BTreeMap<String, String>,
) -> Vec<CulpritCase> {
    let split = split.into_iter();
    split
        .flat_map(|split| &split.culprits)
        .filter_map(|group| {
            let ids: Vec<&str> = group.iter().map(String::as_str).collect();
            let mut set = spec.set.select(&ids).ok()?;
            set.name = format!("{}:{}", spec.set.name, group.join("+"));
            let id = group.last()?.clone();
            let spec = CaseSpec {
                set,
                direction: spec.direction,
                part: match alike.contains_key(&id) {
                    true => Part::Alike,
                    false => Part::Culprit,
                },
            };
            Some(CulpritCase { id, spec })
        })
        .collect()
}

/// Returns which of the devices need which others.
fn needs(set: &DeviceSet, devices: &[String]) -> BTreeMap<Item, Vec<Item>> {
    let needed = |user: &String| -> Vec<Item> {
        let Ok(closure) = set.select(&[user]) else {
            return Vec::new();
        };
        let closure = closure.devices.iter().filter(|device| device.id != *user);
        closure
            .filter_map(|device| devices.iter().position(|id| *id == device.id))
            .collect()
    };
    devices.iter().map(needed).enumerate().collect()
}

/// Returns the state of a search as a report has it.
fn split(search: &Search<()>, route: Route, devices: &[String]) -> Split {
    let groups = search.groups().into_iter();
    let mut culprits: Vec<Vec<Item>> = groups.map(|group| group.items.clone()).collect();
    let grouped = culprits.concat();
    let mut split = Split {
        without_any: search.fails_without_any(),
        ..Split::default()
    };
    for (item, id) in devices.iter().enumerate() {
        match search.verdict(route, item) {
            Some(Verdict::Culprit(())) => culprits.push(vec![item]),
            Some(Verdict::Passed(())) => split.passed.push(id.clone()),
            Some(Verdict::NeedsCulprit(_)) => split.hidden.push(id.clone()),
            None if grouped.contains(&item) => {}
            Some(Verdict::Refused(())) | None => split.undecided.push(id.clone()),
        }
    }
    // In the order in which they are found.
    culprits.sort_by_key(|group| group.last().copied());
    let named = |group: Vec<Item>| {
        let ids = group.into_iter().map(|item| devices[item].clone());
        ids.collect()
    };
    split.culprits = culprits.into_iter().map(named).collect();
    split
}
