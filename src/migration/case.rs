//! One case: a run of a guest through the builds, with controls and repetitions when it fails.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::devices::{Composition, Device, DeviceSet, Exclusion};
use crate::migration::calibration::{
    OwnChanges, calibrate, calibrate_control, garbage_of_load, summary,
};
use crate::migration::config::{AGAIN, CaseSpec, MigrationConfig, Part, RACES, Step, Watcher};
use crate::migration::coverage::{Observed, SentSection};
use crate::migration::diagnosis::explain::explain_refusal;
use crate::migration::diagnosis::reproducer::Script;
use crate::migration::diagnosis::switches::passes_with;
use crate::migration::diagnosis::{culprits, reproduce};
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{Direction, joined, short_name};
use crate::qemu::machine;
use crate::report::{
    AD_HOC, Case, Cause, Control, LeftOut, LegSide, Outcome, OwnAddresses, Repeated, Split,
    WithoutCapability,
};
use crate::workload;

/// A case that was run, and what was sent in its first leg.
#[derive(Debug, Clone)]
pub struct Ran {
    pub case: Case,
    pub observed: Observed,
    /// The culprits that fail of the same cause as another one, by their ids, and that one.
    pub(crate) alike: BTreeMap<String, String>,
    /// The runs of the culprits alone, by their ids.
    pub(crate) alone: BTreeMap<String, RunResult>,
}

/// Returns the case's name in reports.
pub fn id(config: &MigrationConfig, spec: &CaseSpec) -> String {
    let family = short_name(machine::family(&config.machine));
    let mut channel = config.transport.to_string();
    for capability in &config.capabilities {
        channel.push_str(&format!("+{capability}"));
    }
    let mut id = format!("{family}/{}/{channel}/{}", spec.set.name, spec.direction);
    if let Some(loops) = config.loops {
        id.push_str(&format!("-loop{loops}"));
    }
    if !config.running && config.driving.is_some() {
        id.push_str("/driven");
    } else if !config.running {
        id.push_str("/paused");
    } else if config.linux.is_some() {
        id.push_str("/linux");
    }
    id
}

/// Runs a case to its end, whatever that is.
pub async fn run(config: &MigrationConfig, spec: &CaseSpec, watcher: Watcher<'_>) -> Ran {
    run_from(config, spec, None, watcher).await
}

/// Runs a case to its end, beginning with a run of its guest that there is already.
pub(crate) async fn run_from(
    config: &MigrationConfig,
    spec: &CaseSpec,
    first: Option<RunResult>,
    watcher: Watcher<'_>,
) -> Ran {
    let begun = Instant::now();
    let mut ran = run_as(id(config, spec), config, spec, first, watcher).await;
    ran.case.elapsed_ms = milliseconds(begun);
    ran
}

/// Runs a case of this name.
async fn run_as(
    id: String,
    config: &MigrationConfig,
    spec: &CaseSpec,
    first: Option<RunResult>,
    watcher: Watcher<'_>,
) -> Ran {
    let (set, taken) = config.fitting(&spec.set);
    let composition = config.compose(&set);
    let mut case = untried(config, id, &spec.set.name, &composition, spec.direction);
    case.left_out.extend(taken);
    if let Some(message) = obstacle(config, spec, &composition) {
        case.cause = Some(Cause::not_set_up(message));
        return Ran {
            case,
            observed: Observed::nothing(spec.direction),
            alike: BTreeMap::new(),
            alone: BTreeMap::new(),
        };
    }
    let guest = RunSpec {
        config,
        launch: &config.launch(composition.args),
        route: &config.route(spec.direction),
        direction: spec.direction,
    };
    let run = match first {
        Some(run) => run,
        None => guest.watched(watcher).await,
    };
    if let Some(why) = run.silent_guest {
        // A machine whose guest does not work can still be moved.
        let paused = MigrationConfig {
            running: false,
            driving: None,
            ..config.clone()
        };
        let mut ran = Box::pin(run_as(case.id, &paused, spec, None, watcher)).await;
        ran.case.not_running = Some(why);
        // The guest of a case of its own may well work.
        ran.alone.clear();
        return ran;
    }
    let calibrated = calibrate(guest, run, None, watcher).await;
    let mut result = calibrated.run;
    let guest = RunSpec {
        launch: &calibrated.launch,
        ..guest
    };
    case.changed_by_load = summary(&calibrated.known);
    let sent = result.state.first.take();
    let source = guest
        .route
        .first()
        .map_or("", |source| source.build.label());
    case.own_addresses = OwnAddresses::of(source, &result.state.own_addresses);
    let repeated = repeat(guest, &mut result, watcher).await;
    let (mut alike, mut alone) = (BTreeMap::new(), BTreeMap::new());
    if result.failed() {
        match spec.part {
            Part::Alike => case.outcome = result.outcome,
            _ => diagnose(guest, &mut case, &mut result, repeated, watcher).await,
        }
        let included = &composition.included;
        // As far as it came, on its route.
        let legs = result.legs.len().max(1);
        let route = guest.route.get(..=legs).unwrap_or(guest.route);
        let guest = RunSpec { route, ..guest };
        if spec.part == Part::Whole && included.len() == 1 {
            watcher(Step::Blame);
            let without_any = Box::pin(culprits::fails_without_any(guest, &set, &result)).await;
            case.split = without_any.then(Split::without_any);
        } else if spec.part == Part::Whole && !included.is_empty() {
            watcher(Step::Blame);
            // The splitting of a set is a large future, and rarely needed.
            let found = culprits::find(guest, &set, included, &result);
            let found = Box::pin(found).await;
            case.split = Some(found.split);
            alike = found.alike;
            // A loop goes on where these ended.
            if config.loops.is_none() {
                alone = found.alone;
            }
        }
        record_failure(guest, &mut case, result);
    } else {
        case.outcome = result.outcome;
        case.repeated = Some(repeated).filter(|repeated| repeated.of > 1);
        record(&mut case, result);
    }
    let passed = case.outcome == Outcome::Pass;
    if let Some(why) = lacked(&set, &composition.excluded).filter(|_| passed) {
        case.outcome = Outcome::Skip;
        case.cause = Some(Cause::not_set_up(why));
    }
    let plugged = set.devices.iter();
    let plugged = plugged.filter(|device| composition.included.contains(&device.id));
    let observed = Observed {
        sections: sent.as_ref().map(SentSection::all).unwrap_or_default(),
        direction: spec.direction,
        passed,
        types: plugged.map(|d| d.driver(&config.arch).to_owned()).collect(),
    };
    Ran {
        case,
        observed,
        alike,
        alone,
    }
}

/// Repeats a case that passed: that shows intermittent failures. The worst run is left in `result`.
async fn repeat(guest: RunSpec<'_>, result: &mut RunResult, watcher: Watcher<'_>) -> Repeated {
    let mut repeated = Repeated::first(result.failed());
    if result.outcome == Outcome::Pass {
        let repeat = guest.config.repeat;
        let of = match result.state.own_addresses.is_empty() {
            true => repeat.most(),
            false => repeat.most_by_chance(),
        };
        for time in 1..=of {
            watcher(Step::Again { time, of });
            let again = guest.run().await;
            repeated.count(again.failed());
            if again.failed() && severity(again.outcome) > severity(result.outcome) {
                *result = again;
            }
            if repeated.failed > 0 && repeat.ends_with_a_failure() {
                break;
            }
        }
    }
    repeated
}

/// Returns the severity of an outcome; the worst is the highest.
fn severity(outcome: Outcome) -> usize {
    use Outcome::{Broken, Crash, Fail, Hang, Lost, Pass, Skip};
    let order = [Skip, Pass, Broken, Fail, Lost, Hang, Crash];
    order.iter().position(|&of| of == outcome).unwrap_or(0)
}

/// Returns why a case cannot be run at all, if it cannot.
fn obstacle(
    config: &MigrationConfig,
    spec: &CaseSpec,
    composition: &Composition,
) -> Option<String> {
    let (old, new) = (config.old.info.version, config.new.info.version);
    if let Some(obstacle) = config.transport.obstacle(old, new) {
        return Some(obstacle);
    }
    let is_relayed =
        config.transport.is_relayed() && config.capabilities.iter().all(|c| c.is_one_way());
    if config.new.machine.is_some() && !is_relayed {
        return Some(
            "the name of the machine type is changed in passing, which takes unix, tcp or fd and one connection that is \
             not encrypted"
                .to_owned(),
        );
    }
    let of = |c: &Capability| {
        let obstacle = c.obstacle(config.transport, &config.capabilities);
        obstacle.or_else(|| c.obstacle_of_host())
    };
    if let Some(obstacle) = config.capabilities.iter().find_map(of) {
        return Some(obstacle);
    }
    if config.running && config.linux.is_none() && workload::guest(&config.arch).is_none() {
        return Some(format!(
            "there is no workload guest for {}; a machine that never ran can be moved with --paused",
            config.arch
        ));
    }
    // A set with no device left only tests what other cases test.
    if composition.included.is_empty() && !spec.set.devices.is_empty() {
        let why = composition.excluded.iter().take(3);
        return Some(format!(
            "no device of the set fits both builds: {}",
            joined(why, "; ")
        ));
    }
    None
}

/// Returns what a guest was moved without that the user named, if it was: another guest passed then. A shipped set has what
/// both builds have.
fn lacked(set: &DeviceSet, excluded: &[Exclusion]) -> Option<String> {
    let is_named = |of: &&Exclusion| {
        let mut devices = set.devices.iter().filter(|device| device.id == of.device);
        let is_given = set.name == AD_HOC || devices.any(Device::is_of_guest);
        // What a set has for other places is still what the user named.
        is_given && !of.reason.is_replaced()
    };
    let mut lacked = excluded.iter().filter(is_named).peekable();
    lacked.peek()?;
    let lacked = joined(lacked.take(3), "; ");
    Some(format!(
        "what is left of it moves, but not all of it can be had: {lacked}"
    ))
}

/// Makes a case of which nothing is known yet.
pub(crate) fn untried(
    config: &MigrationConfig,
    id: String,
    device_set: &str,
    composition: &Composition,
    direction: Direction,
) -> Case {
    let left_out = composition.excluded.iter();
    Case {
        devices: composition.included.clone(),
        left_out: left_out
            .map(|exclusion| LeftOut {
                device: exclusion.device.clone(),
                reason: exclusion.reason.to_string(),
            })
            .collect(),
        capabilities: config
            .capabilities
            .iter()
            .map(ToString::to_string)
            .collect(),
        running: config.running,
        ..Case::untried(
            id,
            &config.machines,
            device_set,
            config.transport,
            direction,
        )
    }
}

/// Writes into the case what is known of a run that failed: logs are kept, and the line that does it by
/// hand names them. The outcome is the caller's to set.
pub(crate) fn record_failure(guest: RunSpec<'_>, case: &mut Case, result: RunResult) {
    let RunSpec {
        config,
        launch,
        route,
        ..
    } = guest;
    let kept = keep_logs(&config.logs, case, &result, launch);
    case.logs_lost = kept.as_ref().err().map(ToString::to_string);
    let folder = kept.ok();
    case.logs = folder.as_ref().map(|folder| folder.display().to_string());
    let folder = folder.unwrap_or_else(|| config.logs.clone());
    let gone = route.get(..=result.legs.len()).unwrap_or(route);
    // A guest that was loaded from a file has no route.
    if !gone.is_empty() {
        case.reproduce = Some(reproduce::line(gone, launch, &folder, &config.capabilities));
        if case.logs.is_some() {
            let how = (&*folder, &*config.capabilities);
            let script = Script::moves(case, &result, launch, gone, how).write(&folder);
            case.reproducer = script.ok().map(|path| path.display().to_string());
        }
    }
    case.state_diff.clone_from(&result.state.diffs);
    case.source_stderr.clone_from(&result.source_stderr);
    case.destination_stderr
        .clone_from(&result.destination_stderr);
    record(case, result);
}

/// Writes into the case what a run came to.
pub(crate) fn record(case: &mut Case, result: RunResult) {
    case.linux = result.linux;
    case.driven = result.driven;
    case.cause = result.cause;
    case.legs = result.legs;
    case.state_checked = (result.state.checked.legs > 0).then_some(result.state.checked);
    case.state_unchecked = result.state.unchecked;
}

/// Finds out what is known of a failure: its place, whether a build is to blame alone, and what mends it.
async fn diagnose(
    guest: RunSpec<'_>,
    case: &mut Case,
    result: &mut RunResult,
    repeated: Repeated,
    watcher: Watcher<'_>,
) {
    explain_refusal(guest, result, None).await;
    control_and_retry(guest, case, result, repeated, watcher).await;
    // What mends a case that fails now and then must not pass by chance either.
    let repeated = case.repeated;
    let is_intermittent = repeated.is_some_and(Repeated::is_intermittent);
    let least = if is_intermittent { RACES } else { 1 };
    let most = repeated.map_or(1, |repeated| repeated.of).max(least);
    case.without_capability = without_each_capability(guest, most).await;
    if case.outcome != Outcome::Broken {
        // A build that cannot be asked any more has no way around either.
        let found = passes_with(guest, result, is_intermittent, most).await;
        case.passes_with = found.unwrap_or_default();
    }
}

/// Checks after a failure whether a build fails with itself, and whether the case fails every time.
/// The files of a control that failed are added to those of the run.
async fn control_and_retry(
    guest: RunSpec<'_>,
    case: &mut Case,
    result: &mut RunResult,
    mut repeated: Repeated,
    watcher: Watcher<'_>,
) {
    let RunSpec {
        config, direction, ..
    } = guest;
    watcher(Step::Control);
    let control = |name, endpoint| Box::pin(control(name, endpoint, guest, result));
    let (of_old, of_new) = tokio::join!(
        control("old_to_old", &config.old),
        control("new_to_new", &config.new)
    );
    result
        .files
        .extend(of_old.files.into_iter().chain(of_new.files));
    let mut changed = of_old.changed;
    for (change, builds) in of_new.changed {
        changed.entry(change).or_default().extend(builds);
    }
    case.changed_by_load.extend(summary(&changed));
    let (old, new) = (of_old.run, of_new.run);
    case.control = Some(Control {
        old_to_old: old.outcome,
        new_to_new: new.outcome,
    });
    if result.outcome == Outcome::Broken
        || blamed(result, direction, &old, &new).accounts_for(result)
    {
        case.outcome = Outcome::Broken;
        return;
    }
    case.outcome = result.outcome;
    let rate = config.repeat.rate();
    // What fails now and then needs a rate as much where the first run is the one that failed.
    let of = match repeated.of {
        0 | 1 => config.retries.max(rate),
        // It is known already.
        _ if rate > 0 => 0,
        _ => config.retries,
    };
    let again = |time| {
        watcher(Step::Again { time, of });
        Box::pin(guest.run())
    };
    let mut count = |run: RunResult| repeated.count(run.failed());
    let mut time = 1;
    while time <= of {
        // A rate that somebody asked for is that of runs which nothing disturbs.
        if rate == 0 && time < of {
            let (one, other) = tokio::join!(again(time), again(time + 1));
            count(one);
            count(other);
            time += 2;
        } else {
            count(again(time).await);
            time += 1;
        }
    }
    case.repeated = Some(repeated);
    // Its one control may have been spared what comes now and then.
    let is_intermittent = repeated.is_intermittent();
    if is_intermittent
        && let Some(changes) = result.only_changes()
        && let Some(garbage) = garbage_of_load(guest, &changes).await
    {
        case.outcome = Outcome::Broken;
        result.cause = garbage.cause;
    } else if (is_intermittent || result.outcome == Outcome::Crash)
        && fails_by_itself(guest, result, is_intermittent).await
    {
        case.outcome = Outcome::Broken;
        if let Some(control) = &mut case.control {
            let (old, new) = (&mut control.old_to_old, &mut control.new_to_new);
            *blamed(result, direction, old, new) = result.outcome;
        }
    }
}

/// Tells whether the build that failed of what the other one sent fails so of what it sends itself, though it did not in its
/// control. A build that dies may do so in another place each time.
async fn fails_by_itself(guest: RunSpec<'_>, result: &RunResult, is_intermittent: bool) -> bool {
    let MigrationConfig { old, new, .. } = guest.config;
    let endpoint = blamed(result, guest.direction, old, new);
    for _ in 0..controls_of_failure(is_intermittent) {
        let control = Box::pin(guest.within(endpoint, result)).await;
        let is_same = match result.outcome {
            Outcome::Crash => control.outcome == Outcome::Crash,
            _ => control.accounts_for(result) && control.fails_like(result),
        };
        if is_same {
            return true;
        }
    }
    false
}

/// Runs a case that failed without each of its capabilities in turn, until it fails and at most so often: whoever cannot
/// mend a build can do without a capability.
async fn without_each_capability(guest: RunSpec<'_>, most: usize) -> Vec<WithoutCapability> {
    let config = guest.config;
    let mut found = Vec::new();
    for left_out in &config.capabilities {
        let is_kept = |of: &&Capability| *of != left_out && of.needs() != Some(*left_out);
        let kept = config.capabilities.iter().filter(is_kept);
        let config = MigrationConfig {
            capabilities: kept.copied().collect(),
            ..config.clone()
        };
        let config = &config;
        let tries = RunSpec { config, ..guest }.until_failure(most).await;
        found.push(WithoutCapability {
            capability: left_out.to_string(),
            failed: tries.failed,
            of: tries.of,
        });
    }
    found
}

/// Returns how often a build that failed, though not in its control, is asked whether it does so by itself. What it fails of
/// in every third load must not pass for a break of the pair.
pub(crate) fn controls_of_failure(is_intermittent: bool) -> usize {
    match is_intermittent {
        true => 3 * AGAIN,
        false => AGAIN,
    }
}

/// Returns the control, of the old and the new build, that tells whether a failure is one between the
/// builds: that of the build which failed. One that does better with itself than with what the other sends
/// shows a break, however the other does.
pub(crate) fn blamed<R>(result: &RunResult, first: Direction, old: R, new: R) -> R {
    let direction = result.last_direction(first);
    let (source, destination) = direction.source_destination(old, new);
    match result.failed_side() {
        LegSide::Source => source,
        LegSide::Destination => destination,
    }
}

/// A run from a build to itself.
struct ControlRun {
    run: RunResult,
    /// Its files, and those of others, where they failed.
    files: Vec<(String, String)>,
    /// What a load changes in this build, where that is all that differs.
    changed: OwnChanges,
}

/// Runs the same from a build to itself.
async fn control(
    name: &str,
    endpoint: &Endpoint,
    guest: RunSpec<'_>,
    result: &RunResult,
) -> ControlRun {
    let (mut files, mut changed) = (Vec::new(), OwnChanges::new());
    let mut same = guest.within(endpoint, result).await;
    // What a load changes in any case is no failure of a control, where it is not what failed.
    if result.only_changes().is_none() && same.only_changes().is_some() {
        let route = &result.route_within(endpoint);
        let spec = RunSpec { route, ..guest };
        let calibrated = Box::pin(calibrate_control(spec, endpoint, same)).await;
        (same, changed) = (calibrated.run, calibrated.known);
    }
    keep_control(name, &mut same, &mut files);
    // What a build does to itself once in a while does not explain why this leg fails: a failure
    // other than that of the leg has to come twice.
    if same.accounts_for(result) && !same.fails_like(result) {
        same = guest.within(endpoint, result).await;
        keep_control(&format!("{name}-again"), &mut same, &mut files);
    }
    ControlRun {
        run: same,
        files,
        changed,
    }
}

/// Keeps the files of a failed case.
///
/// # Errors
/// The disk is full, or the like: the report has the essentials.
fn keep_logs(
    logs: &Path,
    case: &Case,
    result: &RunResult,
    launch: &LaunchSpec,
) -> io::Result<PathBuf> {
    let folder = new_folder(logs, &case.id.replace(['/', ':'], "_"))?;
    // The image of the guest is among it: the line to reproduce the case names it.
    let mut written = launch.prepare(&folder);
    for (name, text) in &result.files {
        written = written.and_then(|()| fs::write(folder.join(name), text));
    }
    if let Err(error) = written {
        // Half of it would mislead.
        let _left_behind = fs::remove_dir_all(&folder);
        return Err(error);
    }
    Ok(folder)
}

/// Adds the files of a control that failed to those of its case.
fn keep_control(name: &str, control: &mut RunResult, files: &mut Vec<(String, String)>) {
    if !control.failed() {
        return;
    }
    let cause = control.cause.as_ref();
    let message = cause.map_or("", |cause| cause.message.as_str());
    files.push((
        format!("{name}.cause"),
        format!("{}: {message}\n", control.outcome),
    ));
    let left = control.files.drain(..);
    files.extend(left.map(|(file, text)| (format!("{name}.{file}"), text)));
}

/// Makes a new folder: what an earlier run kept there under the same name stays.
fn new_folder(logs: &Path, name: &str) -> io::Result<PathBuf> {
    let mut run = 1;
    loop {
        let folder = match run {
            1 => logs.join(name),
            _ => logs.join(format!("{name}-{run}")),
        };
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => run += 1,
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}
