//! The cases of a swept machine: the machine alone, a device type, devices that fail only together.

use std::sync::Arc;

use crate::culprit::{Group, Item, Verdict};
use crate::devices::Composition;
use crate::migration::case;
use crate::migration::channel::transport::Transport;
use crate::migration::config::MigrationConfig;
use crate::migration::run::RunSpec;
use crate::model::{Direction, Route, SectionName, joined};
use crate::qemu::quote;
use crate::report::{
    Case, Cause, ChangedByLoad, Control, LinuxReport, Outcome, OwnAddresses, Repeated, TOGETHER,
};
use crate::sweep::case_id::{BARE, CaseFamily, CaseId, State, Subject};
use crate::sweep::machine::{
    AcrossSearch, BareMachine, Context, Controls, Devices, Run, endpoints,
};
use crate::sweep::selection::UnavailableMachine;
use crate::sweep::target::{SweepTarget, with_architecture};

fn message(text: String) -> Option<Cause> {
    Some(Cause {
        message: text,
        ..Cause::default()
    })
}

impl UnavailableMachine {
    /// Names the machine's case.
    pub(crate) fn case_id(&self, transport: Transport, direction: Direction) -> CaseId {
        // The whole name: another machine of the family may be in the run.
        let family = CaseFamily {
            machine: with_architecture(&self.architecture, &self.machine),
            subject: Subject::Bare,
            transport,
            state: State::Reset,
        };
        family.case(direction)
    }

    /// Returns the case of this name.
    pub(crate) fn case(&self, id: &CaseId) -> Case {
        let transport = id.family.transport;
        Case {
            cause: message(self.reason.clone()),
            ..Case::untried(id.to_string(), &self.machine, BARE, transport, id.direction)
        }
    }
}

/// Returns the case of what is not tried with drivers at work, since it fails without. One sentence for all of them,
/// which is shown once.
pub(crate) fn failed_before(target: &SweepTarget, subject: &str, id: CaseId) -> Case {
    let state = target.state().suffix();
    let why = format!("it fails without a driver at work; the case without `{state}` says why");
    Case {
        cause: message(why),
        ..untried(target, &id, subject, &Composition::default())
    }
}

/// Makes a case of which nothing is known yet.
fn untried(target: &SweepTarget, id: &CaseId, subject: &str, composition: &Composition) -> Case {
    let (config, direction) = (&target.config, id.direction);
    case::untried(config, id.to_string(), subject, composition, direction)
}

/// Returns the case of the machine alone.
pub(crate) fn bare_case(target: &SweepTarget, bare: &BareMachine, direction: Direction) -> Case {
    let id = target.bare_family().case(direction);
    let nothing = Composition::default();
    let mut case = untried(target, &id, BARE, &nothing);
    let across = Route::Across(direction);
    let Some(run) = bare.verdict(across) else {
        return case;
    };
    conclude(target, &mut case, run, &nothing, |route| {
        bare.verdict(route)
    });
    case.repeated = bare.repeated(across);
    case.passes_with = bare.passes_with(across).cloned();
    if case.reproduce.is_some() && target.state() == State::Driven {
        let chosen = format!("--case {}", case.id);
        by_sweep(target, &mut case, &chosen);
    }
    if case.outcome == Outcome::Skip
        && let Some(Err(reason)) = &bare.buses
    {
        case.cause = message(reason.clone());
    }
    case
}

/// Returns a case that is not run.
pub(crate) fn excluded_case(target: &SweepTarget, id: &CaseId, driver: &str) -> Case {
    let transport = id.family.transport;
    let machine = &target.config.machines;
    Case {
        devices: vec![driver.to_owned()],
        ..Case::untried(id.to_string(), machine, driver, transport, id.direction)
    }
}

/// Returns the cases of what is decided: the machine without any device, or a device. Controls may still change what
/// failed.
pub(crate) fn decided(
    across: &AcrossSearch<'_>,
    decided: Vec<(Direction, Option<Item>)>,
) -> Vec<Case> {
    let target = across.devices.context.target;
    let case = |(direction, item)| match item {
        None => bare_case(target, &across.bare, direction),
        Some(item) => device_case(across, None, item, direction),
    };
    decided.into_iter().map(case).collect()
}

/// Returns the case of a device type in one direction. Before there are controls, a failure is as it came, without its
/// logs.
pub(crate) fn device_case(
    across: &AcrossSearch<'_>,
    controls: Option<&Controls<'_>>,
    item: Item,
    direction: Direction,
) -> Case {
    let target = across.devices.context.target;
    let candidate = &across.devices.catalogue.candidates[item];
    let route = Route::Across(direction);
    let set = across.devices.union(&across.company(route, item));
    let composition = target.config.compose(&set);
    let driver = candidate.driver.as_str();
    let id = target.device_family(driver).case(direction);
    let mut case = untried(target, &id, driver, &composition);
    let Some(verdict) = across.search.verdict(route, item) else {
        if across.has_failed_before(direction, driver) {
            return failed_before(target, driver, id);
        }
        case.cause = message(format!(
            "the machine does not migrate {direction} without any device; see {}",
            target.bare_family().case(direction)
        ));
        return case;
    };
    take_note_of_help(&across.bare, &mut case);
    if let Some(needed) = across.needed_culprit(route, item) {
        case.cause = message(format!(
            "needs {needed}, which does not migrate {direction}; see {}",
            target.device_family(needed).case(direction)
        ));
        return case;
    }
    let by_chance = across.runs_by_chance(route, item);
    // Of a pack it is not known which device's section it is.
    let mut alone = verdict.evidence().into_iter().chain(by_chance);
    if let Some(alone) = alone.find(|run| run.shared_by.len() <= 1) {
        let [source, _] = endpoints(&target.config, route);
        let sections = across.own_addresses(route, alone);
        case.own_addresses = OwnAddresses::of(source.build.label(), sections);
    }
    match verdict {
        Verdict::Refused(run) => {
            let kind = run.attempt.cause.as_ref().and_then(|cause| cause.kind);
            case.cause =
                message(run.refusal(&target.config.old)).map(|cause| Cause { kind, ..cause });
        }
        Verdict::Passed(run) => {
            case.outcome = Outcome::Pass;
            case.legs.clone_from(&run.attempt.legs);
            // Of a device whose guest alone has none it was another one's.
            let is_repeated = !case.own_addresses.is_empty() && !by_chance.is_empty();
            case.repeated = is_repeated.then_some(Repeated {
                failed: 0,
                of: 1 + by_chance.len(),
            });
            let is_mine = |changed: &&ChangedByLoad| owns(&across.devices, item, changed);
            let changed = run.changed_by_load.iter().filter(is_mine);
            case.changed_by_load = changed.cloned().collect();
            // A pass without a comparison of the state must not look like one with it.
            case.state_unchecked
                .clone_from(&run.attempt.state.unchecked);
            case.elapsed_ms = run.share_ms();
            let own = candidate.set.devices.last();
            let of_own = |linux: &LinuxReport| linux.of_device(own.map_or("", |device| &device.id));
            case.linux = run.attempt.linux.as_ref().map(of_own);
        }
        Verdict::Culprit(run) => {
            let Some(controls) = controls else {
                case.outcome = run.attempt.outcome;
                case.elapsed_ms = run.share_ms();
                case::record(&mut case, run.attempt.clone());
                return case;
            };
            let representative = controls.representative(route, item);
            let stands_for = representative.unwrap_or(item);
            let control = |route| controls.of_item(route, stands_for);
            conclude(target, &mut case, run, &composition, control);
            case.changed_by_load
                .retain(|changed| owns(&across.devices, item, changed));
            let others = run.shared_by.len().saturating_sub(1);
            if let (1.., Some(cause)) = (others, &mut case.cause) {
                let beside = format!("; seen beside {others} other devices: alone it passes");
                cause.message.push_str(&beside);
            }
            case.same_as = representative.map(|item| {
                let driver = across.devices.driver(item);
                target.device_family(driver).case(direction).to_string()
            });
            let others = controls.other_runs(route, item);
            case.repeated = (!others.is_empty()).then(|| Repeated {
                failed: 1 + others.iter().filter(|run| run.attempt.failed()).count(),
                of: 1 + others.len(),
            });
            by_sweep_if_helped(target, &mut case, &[driver]);
        }
        // The cause is with what it needs.
        Verdict::NeedsCulprit(_) => {}
    }
    case
}

/// Tells whether a change in a guest with many devices may be in one of them: a change that belongs
/// to no known device may be in any.
fn owns(devices: &Devices<'_>, item: Item, changed: &ChangedByLoad) -> bool {
    let names = [&changed.section, &changed.block];
    let names: Vec<SectionName> = names
        .into_iter()
        .flatten()
        .map(|name| SectionName::new(name))
        .collect();
    let may_be = devices.may_send(&names);
    may_be(item) || !(0..devices.catalogue.candidates.len()).any(&may_be)
}

/// Writes into the case of devices what it took for their machine to migrate.
fn take_note_of_help(bare: &BareMachine, case: &mut Case) {
    if let Some(found) = bare.overrides.get(&case.direction) {
        case.grafted = found.sections.names().to_vec();
        case.tried_with.clone_from(&found.with);
    }
}

/// Has a sweep reproduce a failed case of devices where builds alone would stop before them.
fn by_sweep_if_helped(target: &SweepTarget, case: &mut Case, drivers: &[&str]) {
    let is_helped = !case.grafted.is_empty() || case.tried_with.is_some();
    if is_helped || target.state() == State::Driven {
        let only = joined(drivers.iter().map(|driver| format!("--only {driver}")), " ");
        let chosen = format!("{only} --direction {}", case.direction);
        by_sweep(target, case, &chosen);
    }
}

/// Has a sweep reproduce a case that QEMU alone does not: the destination gets sections from its own build, a build gets
/// options, or a driver is at work.
fn by_sweep(target: &SweepTarget, case: &mut Case, chosen: &str) {
    let MigrationConfig {
        old,
        new,
        arch,
        machines,
        ..
    } = &target.config;
    let (old, new) = (quote(old.build.label()), quote(new.build.label()));
    let at_work = match target.state() {
        State::Reset => "",
        State::Driven => " --driven",
        State::Linux => " --workload linux",
    };
    case.reproduce = Some(format!(
        "migcompat sweep {old} {new} -M {arch}/{machines} {chosen}{at_work}"
    ));
    if let Some(script) = case.reproducer.take() {
        let _left_behind = std::fs::remove_file(script);
    }
}

/// Returns the case of devices that fail only together, by their place in the search's list.
pub(crate) fn group_case(
    controls: &Controls<'_>,
    at: usize,
    group: &Group<Arc<Run>>,
) -> Option<Case> {
    let Context { target, options } = controls.across.devices.context;
    let direction = group.route.direction()?;
    let set = controls.across.devices.union(&group.items);
    let composition = target.config.compose(&set);
    let (shard, number) = (options.shard, at + 1);
    let family = target.family(Subject::Group { shard, number });
    let mut case = untried(target, &family.case(direction), TOGETHER, &composition);
    let control = |route| controls.of_group(at, route);
    let again = controls.of_group(at, group.route);
    let explained = again.filter(|run| run.attempt.failed());
    let run = explained.unwrap_or(&group.evidence);
    conclude(target, &mut case, run, &composition, control);
    let mut repeated = Repeated {
        failed: if group.passed_again { 1 } else { 2 },
        of: 2,
    };
    if let Some(again) = again {
        repeated.count(again.attempt.failed());
    }
    case.repeated = Some(repeated);
    take_note_of_help(&controls.across.bare, &mut case);
    let drivers = group.items.iter();
    let drivers: Vec<&str> = drivers
        .map(|&item| controls.across.devices.driver(item))
        .collect();
    by_sweep_if_helped(target, &mut case, &drivers);
    if let Some(cause) = &mut case.cause {
        cause.message.push_str(if group.passed_again {
            "; it passed when it was tried again"
        } else {
            "; each of the devices passes without the others"
        });
    }
    Some(case)
}

/// Writes into a case the run of a guest of its own, with its controls.
fn conclude<'r>(
    target: &SweepTarget,
    case: &mut Case,
    run: &Run,
    composition: &Composition,
    control: impl Fn(Route) -> Option<&'r Run>,
) {
    case.elapsed_ms = run.share_ms();
    case.outcome = run.attempt.outcome;
    case.changed_by_load.clone_from(&run.changed_by_load);
    if !run.attempt.failed() {
        case.cause.clone_from(&run.attempt.cause);
        case.legs.clone_from(&run.attempt.legs);
        case.linux.clone_from(&run.attempt.linux);
        let state = &run.attempt.state;
        case.state_checked = (state.checked.legs > 0).then_some(state.checked);
        case.state_unchecked.clone_from(&state.unchecked);
        return;
    }
    if let (Some(old), Some(new)) = (control(Route::OldToOld), control(Route::NewToNew)) {
        let control = case::blamed(&run.attempt, case.direction, old, new);
        if control.attempt.accounts_for(&run.attempt) {
            case.outcome = Outcome::Broken;
        }
        case.control = Some(Control {
            old_to_old: old.attempt.outcome,
            new_to_new: new.attempt.outcome,
        });
    }
    let guest = RunSpec {
        config: &target.config,
        launch: &target.config.launch(composition.args.clone()),
        route: &endpoints(&target.config, Route::Across(case.direction)),
        direction: case.direction,
    };
    case::record_failure(guest, case, run.attempt.clone());
}
