//! Finding the devices that make a case fail, and a case for each of them.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::culprit::{Answer, Item, Search, Verdict};
use crate::devices::DeviceSet;
use crate::migration::config::{CaseSpec, MigrationConfig, Part};
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::run;
use crate::model::{Direction, Route};
use crate::report::{Case, Outcome, Split};

/// Splits a set whose `devices` fail together on a route, as far as the time for it allows.
pub(crate) async fn find(
    config: &MigrationConfig,
    set: &DeviceSet,
    devices: &[String],
    route: &[&Endpoint],
    direction: Direction,
) -> Split {
    let end = Instant::now() + config.timeouts.culprits;
    let across = Route::Across(direction);
    let all = (0..devices.len()).collect();
    let (mut search, mut next) = Search::of_failure(all, needs(set, devices), across);
    while let Some(trial) = next.pop().filter(|_| Instant::now() < end) {
        let ids = trial.items.iter().map(|&item| devices[item].as_str());
        let Ok(tried) = set.select(&ids.collect::<Vec<_>>()) else {
            break;
        };
        let launch = config.launch(config.compose(&tried).args);
        let run = run::run(config, route, &launch, direction, &|_| {}).await;
        let answer = match run.outcome {
            Outcome::Skip => break,
            Outcome::Pass => Answer::passed(()),
            _ => Answer::failed(()),
        };
        next = search.record(&trial, answer);
    }
    split(&search, across, devices)
}

/// Makes a case of each culprit, so that it has a cause and controls of its own: one that cannot migrate
/// at all must not hide another that only this pair of builds breaks.
pub(crate) fn cases(spec: &CaseSpec, case: &Case) -> Vec<CaseSpec> {
    let split = case.split.iter();
    split
        .flat_map(|split| &split.culprits)
        .filter_map(|group| {
            let ids: Vec<&str> = group.iter().map(String::as_str).collect();
            let mut set = spec.set.select(&ids).ok()?;
            set.name = format!("{}:{}", spec.set.name, group.join("+"));
            Some(CaseSpec {
                set,
                direction: spec.direction,
                part: Part::Culprit,
            })
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
        culprits: Vec::new(),
        passed: Vec::new(),
        hidden: Vec::new(),
        undecided: Vec::new(),
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
