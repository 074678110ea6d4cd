//! What a visit found out, as the cases of a report.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::culprit::search::{Item, Together, Verdict, Way};
use crate::devices::{Composition, DeviceSet};
use crate::migration::case;
use crate::migration::config::MigrationConfig;
use crate::migration::coverage::{Observed, Reach};
use crate::migration::endpoint::vm::quote;
use crate::model::Direction;
use crate::report::{Case, Cause, Control, Grafted, LeftOut, Outcome, Repeated, Swept};
use crate::sweep::catalogue::Catalogue;
use crate::sweep::place::{Absent, Place};
use crate::sweep::shard::Shard;
use crate::sweep::visit::{MachineSweep, Options, Run, route};

/// A machine's part of the report.
#[derive(Debug, Clone)]
pub struct Found {
    pub swept: Swept,
    pub cases: Vec<Case>,
    /// Ids of the cases of the whole run, whichever part of it this is; without those that only come
    /// up in a run.
    pub planned: Vec<String>,
    /// What was sent from one build to the other.
    pub observed: Vec<Observed>,
    /// What the machine can have of what a user can add.
    pub reach: Reach,
    /// What the guests had of the cases that did not pass, by their ids.
    pub failed: BTreeMap<String, DeviceSet>,
}

/// The set's name of a case without devices.
const BARE: &str = "bare";

/// What the cases of a device type are called without their direction. It decides on their shard:
/// both directions are in one, for a device that starts in neither has no case at all.
pub(crate) fn family(place: &Place, what: &str) -> String {
    format!("{}/{what}/{}", place.label, place.config.transport)
}

/// Whether the case of an id is this run's.
pub fn is_held(id: &str, shard: Option<Shard>) -> bool {
    let family = id.rsplit_once('/').map_or(id, |(family, _)| family);
    shard.is_none_or(|shard| shard.holds(family))
}

/// The ids of all cases that a catalogue means, and of the machine's own.
pub(crate) fn ids(place: &Place, catalogue: &Catalogue, directions: &[Direction]) -> Vec<String> {
    let drivers = catalogue.candidates.iter().map(|c| c.driver.as_str());
    let all = std::iter::once(BARE).chain(drivers);
    let ids = all.flat_map(|what| directions.iter().map(move |&way| id(place, what, way)));
    ids.collect()
}

/// The case's name. What is between the machine and the transport is the device type.
fn id(place: &Place, what: &str, direction: Direction) -> String {
    format!("{}/{direction}", family(place, what))
}

fn message(text: String) -> Option<Cause> {
    Some(Cause {
        message: text,
        ..Cause::default()
    })
}

pub(crate) fn found(place: &Place, visit: &MachineSweep, options: &Options) -> Found {
    let mut cases = Vec::new();
    let mut failed = BTreeMap::new();
    let own = |shard: Shard| shard.holds(&family(place, BARE));
    let own_directions = match options.shard.is_none_or(own) {
        true => options.directions.as_slice(),
        false => &[],
    };
    for &direction in own_directions {
        let case = bare(place, visit, direction);
        if case.gates() {
            failed.insert(case.id.clone(), DeviceSet::union(BARE, []));
        }
        cases.push(case);
    }
    let mut exercised = 0;
    let mut by_fall_back = 0;
    let mut left_out = visit.catalogue.left_out.clone();
    let empty = BTreeMap::new();
    let verdicts = visit.search.as_ref().map_or(&empty, |s| s.verdicts());
    for &item in &visit.held {
        let candidate = &visit.catalogue.candidates[item];
        let ways = options.directions.iter().map(|&d| Way::Across(d));
        let known: Vec<&Verdict<Arc<Run>>> =
            ways.filter_map(|way| verdicts.get(&(way, item))).collect();
        let refused = |verdict: &&Verdict<_>| matches!(verdict, Verdict::Refused(_));
        if let Some(Verdict::Refused(run)) = known.first()
            && known.iter().all(refused)
        {
            left_out.push(LeftOut {
                device: candidate.driver.clone(),
                reason: run.refusal(&place.config.old),
            });
            continue;
        }
        if known.iter().any(|verdict| !refused(verdict)) {
            exercised += 1;
            by_fall_back += usize::from(candidate.how == crate::sweep::catalogue::How::FallBack);
        }
        for &direction in &options.directions {
            let case = device(place, visit, item, direction);
            if case.gates() {
                failed.insert(case.id.clone(), candidate.set.clone());
            }
            cases.push(case);
        }
    }
    for (at, together) in visit.together().into_iter().enumerate() {
        // Of what two shards may come upon, the first device says whose it is.
        if together
            .items
            .first()
            .is_some_and(|item| visit.held.contains(item))
        {
            cases.extend(combination(place, visit, options.shard, at, together));
        }
    }
    left_out.sort_by(|a, b| a.device.cmp(&b.device));
    let candidates = visit.catalogue.candidates.iter();
    let possible = candidates.map(|c| c.driver.clone()).collect();
    let pair = |left: &LeftOut| (left.device.clone(), left.reason.clone());
    let not_created = left_out.iter().map(pair).collect();
    let planned = match visit.planned.as_slice() {
        // What there is could not be told: the machine itself is all there is.
        [] => ids(place, &visit.catalogue, &options.directions),
        planned => planned.to_vec(),
    };
    Found {
        swept: Swept {
            architecture: place.config.arch.clone(),
            machine: place.config.machine.clone(),
            shared: visit.catalogue.shared(),
            cpu_models: visit.catalogue.cpu_models,
            exercised,
            by_fall_back,
            left_out,
            grafted: visit
                .grafts
                .iter()
                .map(|(&direction, graft)| Grafted {
                    direction,
                    sections: graft.names().to_vec(),
                })
                .collect(),
            only_old: visit.catalogue.only_old.clone(),
            only_new: visit.catalogue.only_new.clone(),
            guests: visit.guests,
            elapsed_ms: visit.elapsed_ms,
        },
        cases,
        planned,
        observed: visit.observed.clone(),
        reach: Reach {
            possible,
            not_created,
        },
        failed,
    }
}

/// A machine that could not even be looked at.
pub fn absent(absent: &Absent, transport: &str, direction: Direction) -> Case {
    let Absent {
        architecture,
        machine,
        reason,
    } = absent;
    // Its whole name: another of the family may well be there.
    let all = [machine.clone(), machine.clone()];
    let label = crate::sweep::place::label(architecture, machine, &all);
    let id = format!("{label}/{BARE}/{transport}/{direction}");
    Case {
        cause: message(reason.clone()),
        ..Case::untried(id, machine, BARE, transport, direction)
    }
}

/// The machine alone.
fn bare(place: &Place, visit: &MachineSweep, direction: Direction) -> Case {
    let nothing = Composition::default();
    let mut case = case::untried(
        &place.config,
        id(place, BARE, direction),
        BARE,
        &nothing,
        direction,
    );
    let Some(run) = visit.bare.get(&Way::Across(direction)) else {
        return case;
    };
    let control = |way| visit.bare.get(&way).map(|run| &**run);
    conclude(place, &mut case, run, direction, &nothing, control);
    if case.outcome == Outcome::Skip
        && let Some(Err(words)) = &visit.buses
    {
        case.cause = message(words.clone());
    }
    case
}

/// One device type, one way.
fn device(place: &Place, visit: &MachineSweep, item: Item, direction: Direction) -> Case {
    let candidate = &visit.catalogue.candidates[item];
    let composition = place.config.compose(&candidate.set);
    let driver = candidate.driver.as_str();
    let name = id(place, driver, direction);
    let mut case = case::untried(&place.config, name, driver, &composition, direction);
    let way = Way::Across(direction);
    let verdict = visit
        .search
        .as_ref()
        .and_then(|search| search.verdicts().get(&(way, item)));
    if let (Some(_), Some(graft)) = (verdict, visit.grafts.get(&direction)) {
        case.grafted = graft.names().to_vec();
    }
    match verdict {
        None => {
            case.cause = message(format!(
                "the machine does not migrate {direction} without any device; see {}",
                id(place, BARE, direction)
            ))
        }
        Some(Verdict::Refused(run)) => case.cause = message(run.refusal(&place.config.old)),
        Some(Verdict::Passed(run)) => {
            case.outcome = Outcome::Pass;
            case.legs.clone_from(&run.attempt.legs);
            // A pass that says nothing of the state must not look like one that does.
            case.state_unchecked
                .clone_from(&run.attempt.state.unchecked);
            case.elapsed_ms = run.elapsed_ms / run.shared_by.max(1) as u64;
        }
        Some(Verdict::Culprit(run)) => match visit.hangs_on(place, way, item) {
            Some(need) => {
                case.cause = message(format!(
                    "needs {need}, which does not migrate {direction}; see {}",
                    id(place, need, direction)
                ))
            }
            None => {
                let control = |way| visit.control(way, item);
                conclude(place, &mut case, run, direction, &composition, control);
                let again = visit.again.get(&(way, item)).map(|run| &**run);
                case.repeated = again.or(visit.before(way, item)).map(|other| Repeated {
                    failed: 1 + usize::from(other.attempt.failed()),
                    of: 2,
                });
                if !case.grafted.is_empty() {
                    case.reproduce = Some(swept_alone(place, driver, direction));
                }
            }
        },
    }
    case
}

/// The line for a case that QEMU alone cannot do again: it would stop at the sections that are grafted.
fn swept_alone(place: &Place, driver: &str, direction: Direction) -> String {
    let MigrationConfig {
        old,
        new,
        arch,
        machine,
        ..
    } = &place.config;
    let (old, new) = (quote(old.build.label()), quote(new.build.label()));
    format!(
        "migcompat sweep {old} {new} -M {arch}/{machine} --only {driver} --direction {direction}"
    )
}

/// Devices that fail only together.
fn combination(
    place: &Place,
    visit: &MachineSweep,
    shard: Option<Shard>,
    at: usize,
    together: &Together<Arc<Run>>,
) -> Option<Case> {
    let Way::Across(direction) = together.way else {
        return None;
    };
    let composition = place.config.compose(&visit.union(&together.items));
    let name = match shard {
        Some(shard) => format!("together-{}-{}", shard.index(), at + 1),
        None => format!("together-{}", at + 1),
    };
    let name = id(place, &name, direction);
    let mut case = case::untried(&place.config, name, "together", &composition, direction);
    let control = |way| visit.whole.get(&(at, way)).map(|run| &**run);
    let run = &together.evidence;
    conclude(place, &mut case, run, direction, &composition, control);
    case.repeated = Some(Repeated {
        failed: if together.passed_again { 1 } else { 2 },
        of: 2,
    });
    if let Some(cause) = &mut case.cause {
        cause.message.push_str(if together.passed_again {
            "; it passed when it was tried again"
        } else {
            "; each of the devices passes without the others"
        });
    }
    Some(case)
}

/// Writes into a case what a guest of its own came to.
fn conclude<'r>(
    place: &Place,
    case: &mut Case,
    run: &Run,
    direction: Direction,
    composition: &Composition,
    control: impl Fn(Way) -> Option<&'r Run>,
) {
    case.elapsed_ms = run.elapsed_ms / run.shared_by.max(1) as u64;
    case.outcome = run.attempt.outcome;
    if !run.attempt.failed() {
        case.cause.clone_from(&run.attempt.cause);
        case.legs.clone_from(&run.attempt.legs);
        let state = &run.attempt.state;
        case.state_checked = (state.checked.legs > 0).then_some(state.checked);
        case.state_unchecked.clone_from(&state.unchecked);
        return;
    }
    if let (Some(old), Some(new)) = (control(Way::OldToOld), control(Way::NewToNew)) {
        let accounts = |control: &Run| control.attempt.accounts_for(&run.attempt);
        if accounts(old) || accounts(new) {
            case.outcome = Outcome::Broken;
        }
        case.control = Some(Control {
            old_to_old: old.attempt.outcome,
            new_to_new: new.attempt.outcome,
        });
    }
    let launch = place.config.launch(composition.args.clone());
    let (route, _) = route(place, Way::Across(direction));
    case::record_failure(&place.config, case, run.attempt.clone(), &launch, &route);
}
