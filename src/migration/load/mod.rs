//! A saved guest that one build loads, without running it.
//!
//! The state is in a file and has no source that could be asked: what it holds is read from it while it is passed
//! on. What the build then has is what it saves again. A build that changes values itself shows that when it loads
//! what it has just saved.

mod architecture;
mod attempt;
mod bare;
mod lack;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::devices::Composition;
use crate::migration::calibration::summary;
use crate::migration::case::{milliseconds, record, record_failure, untried};
use crate::migration::checks::changes::{LoadChange, LoadChanges};
use crate::migration::config::MigrationConfig;
use crate::migration::diagnosis::explain::explain_refusal;
use crate::migration::diagnosis::reproduce;
use crate::migration::diagnosis::reproducer::Script;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::leg::save::save_new_machine_to;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{Direction, SectionName, short_name};
use crate::qemu::{machine, private_dir};
use crate::report::{Case, Cause, Control, Outcome, Repeated, Split};
use crate::stream::{Place, Stream};

pub(crate) use architecture::{OtherArchitecture, other_architecture};
pub(crate) use attempt::BadState;
use attempt::attempt;
pub(crate) use bare::{Unfit, bare};
pub(crate) use lack::Saved;

/// The name of the device set in reports: the devices are those that the state is of.
pub(crate) const DEVICE_SET: &str = "state";

/// A file with the state of a guest.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    /// A regular file: it is read several times.
    pub path: PathBuf,
    pub place: Place,
    /// The contents.
    pub stream: Arc<Stream>,
    /// Bytes of the file before the stream.
    pub offset: u64,
    /// The domain that libvirt saved with it.
    pub domain: Option<Vec<u8>>,
}

/// A load that was tried.
pub(crate) struct Loaded {
    pub case: Case,
    /// Sections of the build that the state does not have.
    pub not_in_state: Vec<SectionName>,
}

/// A load that was tried once.
pub(crate) struct Tried {
    begun: Instant,
    pub run: RunResult,
}

/// Loads a state into a build, once.
pub(crate) async fn try_load(
    config: &MigrationConfig,
    state: &StateFile,
    composition: &Composition,
) -> Tried {
    let begun = Instant::now();
    let launch = config.launch(composition.args.clone());
    let run = attempt(config, &launch, state, None).await;
    Tried { begun, run }
}

/// Says what became of a state that was loaded into a build, which is tried further where it failed. The build is the
/// new one of the configuration, and in the place of the old one.
pub(crate) async fn load(
    config: &MigrationConfig,
    (state, saved): (&StateFile, &Saved),
    composition: &Composition,
    Tried { begun, mut run }: Tried,
) -> Loaded {
    let mut case = untried_load(config, composition);
    let mut launch = config.launch(composition.args.clone());
    let changes = run.only_changes();
    let is_refused = run.failed() && changes.is_none();
    if let Some(between) = changes {
        match changes_within(config, &launch, state).await {
            Ok(own) => {
                let mut tolerated = LoadChanges::default();
                tolerated.extend(own.iter().cloned());
                launch.tolerated = Arc::new(tolerated);
                let label = config.new.build.label();
                let seen = between.intersection(&own).cloned();
                let seen = seen.map(|change| (change, [label.to_owned()].into()));
                case.changed_by_load = summary(&seen.collect());
                run = attempt(config, &launch, state, None).await;
            }
            Err(control) => {
                case.control = Some(within(&control));
                run.outcome = Outcome::Broken;
                run.cause = control.cause;
            }
        }
    } else if is_refused {
        let control = load_new_machine(config, &launch).await;
        case.control = Some(within(&control));
        explain_refusal(
            guest(config, &launch, &[&config.old, &config.new]),
            &mut run,
            None,
        )
        .await;
        if control.accounts_for(&run) {
            run.outcome = Outcome::Broken;
        }
    }
    if matches!(run.outcome, Outcome::Fail | Outcome::Lost)
        && let Some(lack) = saved.lack(config, &launch, &state.stream, &run).await
    {
        skip_for(&lack.to_string(), &mut run);
    }
    // What the build says of memory that it was not given is nothing of the state; a layout it refuses whatever is there.
    let is_of_layout = |cause: &Cause| cause.rule.is_some();
    if run.failed() && state.lacks_memory() && !run.cause.as_ref().is_some_and(is_of_layout) {
        let why = "memory of the guest is not in the state, which was saved without what it shares (x-ignore-shared)";
        skip_for(why, &mut run);
    }
    if is_refused && run.failed() {
        case.repeated = Some(repeat(config, &launch, state, &run).await);
    }
    case.outcome = run.outcome;
    let composed = |id: &String| composition.included.contains(id);
    if let Some(suspect) = run.suspect.clone().filter(composed) {
        case.split = Some(Split {
            culprits: vec![vec![suspect]],
            ..Split::default()
        });
    }
    // Where it is skipped, there is nothing to keep.
    let not_in_state = match &run.state.arrived {
        Some(arrived) => arrived
            .devices()
            .filter(|section| !state.stream.devices().any(|sent| sent.is_same(section)))
            .map(|section| section.name.clone())
            .collect(),
        None => Vec::new(),
    };
    match run.failed() {
        true => record_failed_load(config, &launch, state, &mut case, run),
        false => record(&mut case, run),
    }
    case.elapsed_ms = milliseconds(begun);
    Loaded { case, not_in_state }
}

/// A guest that the build of a load gets on this route.
fn guest<'g>(
    config: &'g MigrationConfig,
    launch: &'g LaunchSpec,
    route: &'g [&'g Endpoint],
) -> RunSpec<'g> {
    RunSpec {
        config,
        launch,
        route,
        direction: Direction::Forward,
    }
}

/// Has a load that failed not count: the machine lacks what the state needs.
fn skip_for(lack: &str, run: &mut RunResult) {
    let Some(cause) = &mut run.cause else {
        return;
    };
    let words = run.printed.as_ref().map(|printed| printed.words.as_str());
    let words = words.unwrap_or(&cause.message);
    *cause = Cause {
        section: cause.section.take(),
        instance: cause.instance,
        ..Cause::not_set_up(format!("{lack} ({words})"))
    };
    run.outcome = Outcome::Skip;
    run.suspect = None;
}

/// Writes into the case what is known of a load that failed, and how it is done by hand from the file of the state.
fn record_failed_load(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    state: &StateFile,
    case: &mut Case,
    run: RunResult,
) {
    record_failure(guest(config, launch, &[]), case, run.clone());
    let folder = case.logs.as_ref().map(PathBuf::from);
    if let Some(folder) = folder.filter(|_| state.is_plain()) {
        let file = state.path.canonicalize();
        let file = file.unwrap_or_else(|_| state.path.clone());
        let from = (&*file, state.offset);
        let line = reproduce::load_line(&config.new, launch, &folder, from);
        case.reproduce = Some(line);
        let script = Script::loads(case, &run, launch, (&config.new, &folder), from);
        let script = script.write(&folder);
        case.reproducer = script.ok().map(|path| path.display().to_string());
    }
}

/// Makes a case of which nothing is known yet.
pub(crate) fn untried_load(config: &MigrationConfig, composition: &Composition) -> Case {
    let id = format!("{}/load", short_name(machine::family(&config.machine)));
    untried(config, id, DEVICE_SET, composition, Direction::Forward)
}

/// The control of a build that is the only one.
fn within(control: &RunResult) -> Control {
    Control {
        old_to_old: Outcome::Skip,
        new_to_new: control.outcome,
    }
}

/// Returns the values and pages that the build changes in a state that it saved itself.
///
/// # Errors
/// It does not load that one: the result of trying.
async fn changes_within(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    state: &StateFile,
) -> Result<BTreeSet<LoadChange>, RunResult> {
    let folder = private_dir();
    let folder = folder.map_err(|error| RunResult::skip(&format!("no folder: {error}")))?;
    let kept = folder.path().join("again.stream");
    attempt(config, launch, state, Some(&kept)).await;
    let again = StateFile::of_stream(kept).map_err(|why| RunResult::skip(&why))?;
    let control = attempt(config, launch, &again, None).await;
    match control.outcome {
        Outcome::Pass => Ok(BTreeSet::new()),
        _ => control.only_changes().ok_or(control),
    }
}

/// Has the build load the same machine as it is after reset, out of its own hand.
async fn load_new_machine(config: &MigrationConfig, launch: &LaunchSpec) -> RunResult {
    let Ok(folder) = private_dir() else {
        return RunResult::skip("no folder to run in");
    };
    let saved = folder.path().join("new.stream");
    let made = save_new_machine_to(&config.new, launch, &saved, config.timeouts.leg).await;
    match made.and_then(|()| StateFile::of_stream(saved)) {
        Ok(state) => attempt(config, launch, &state, None).await,
        Err(why) => RunResult::skip(&why),
    }
}

async fn repeat(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    state: &StateFile,
    first: &RunResult,
) -> Repeated {
    let mut repeated = Repeated::first(first.failed());
    for _ in 0..config.retries {
        let again = attempt(config, launch, state, None).await;
        repeated.count(again.failed());
    }
    repeated
}

impl StateFile {
    /// Opens a stream that we have had saved.
    fn of_stream(path: PathBuf) -> Result<StateFile, String> {
        StateFile::open(path, Place::default()).map_err(|error| error.to_string())
    }
}
