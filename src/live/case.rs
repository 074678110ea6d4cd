//! One case: a guest and its way through the builds, with controls and repetitions when it fails.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::buses::Buses;
use super::capability::Capability;
use super::cause;
use super::commands::QueryPci;
use super::coverage::{Observed, SentSection};
use super::devices::{Composition, DeviceSet, Target};
use super::integrity;
use super::leg::{self, End, Stats, Unfit};
use super::reproduce;
use super::state::{self, Names, Seen};
use super::transport::Transport;
use super::vm::{Party, Recipe, Role, Vm};
use super::workload::{self, SerialLog};
use crate::model::{Case, Cause, Control, Direction, LeftOut, Leg, Outcome, Repeated, StateDiff};
use crate::qemu::{StartError, machine, private_dir};
use crate::stream::Stream;

/// How much of the end of a build's error output a report quotes, in characters.
const QUOTED: usize = 2000;

/// The driver of which `-serial` makes one, where a second one is refused.
const SOLE_CONSOLE: &str = "sclpconsole";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One migration.
    pub leg: Duration,
    /// From the start of the machine to the guest's first beat, firmware included.
    pub boot: Duration,
    /// From one beat to the next.
    pub beat: Duration,
    /// Finding out which devices are to blame.
    pub blame: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            leg: Duration::from_secs(60),
            boot: Duration::from_secs(120),
            beat: Duration::from_secs(60),
            blame: Duration::from_secs(90),
        }
    }
}

/// What all cases of a run have in common.
#[derive(Debug, Clone)]
pub struct Bench {
    pub old: Party,
    pub new: Party,
    /// Resolved: both builds have it.
    pub machine: String,
    /// The end of `qemu-system-ARCH`.
    pub arch: String,
    /// CPU model of the guest; by default what the machine has.
    pub cpu: Option<String>,
    pub transport: Transport,
    /// In order, each once.
    pub capabilities: Vec<Capability>,
    /// Whether the guest works while it moves.
    pub running: bool,
    /// Round trips of one guest; without them each direction is a case of one leg.
    pub loops: Option<usize>,
    /// How often a failed case is tried again.
    pub retries: usize,
    pub patience: Patience,
    /// Where the logs of cases that did not pass are kept.
    pub logs: PathBuf,
    /// What the lists know of the names of fields.
    pub names: Names,
}

/// A case to run.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub set: DeviceSet,
    /// Of the first leg.
    pub direction: Direction,
    pub part: Part,
}

/// Why a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It was asked for.
    Whole,
    /// It is to blame for the failure of a larger one.
    Culprit,
}

/// What a case is doing, for who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Legs count from 0.
    Leg { index: usize, of: usize },
    /// It failed, and each build is tried with itself.
    Control,
    /// It failed, and is tried again.
    Again { time: usize, of: usize },
    /// It failed, and the devices to blame are looked for.
    Blame,
}

/// Who watches a case.
pub type Watcher<'w> = &'w (dyn Fn(Step) + Sync);

/// One pass through the builds.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub legs: Vec<Leg>,
    source_stderr: String,
    destination_stderr: String,
    /// Transcripts and the like, by file name.
    files: Vec<(String, String)>,
    /// What builds said that did not start, by their labels.
    pub refusals: Vec<(String, String)>,
    pub state: Seen,
    /// All that is wrong is that values differ; `state` says which.
    pub values_differ: bool,
    /// Id of the device on a root bus whose section failed.
    pub suspect: Option<String>,
}

impl Attempt {
    pub fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Pass | Outcome::Skip)
    }

    /// Whether this control, from a build to itself, fails in a way that says that a failure between
    /// the builds is not theirs. A control whose values alone differ does so only for the same ones.
    pub fn accounts_for(&self, between: &Attempt) -> bool {
        if !self.failed() {
            return false;
        }
        if !self.values_differ {
            return true;
        }
        let name = |diff: &StateDiff| (diff.section.clone(), diff.field.clone());
        let here: BTreeSet<_> = self.state.diffs.iter().map(name).collect();
        between.values_differ
            && between
                .state
                .diffs
                .iter()
                .map(name)
                .all(|d| here.contains(&d))
    }

    fn refused(errors: &[StartError]) -> Attempt {
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let refusal = |error: &StartError| (error.label.clone(), error.words());
        Attempt {
            refusals: errors.iter().map(refusal).collect(),
            // One is enough for a reader.
            ..Attempt::skip(words.into_iter().next().unwrap_or_default())
        }
    }

    /// A destination that does not start in a later leg.
    fn stillborn(index: usize, error: &StartError, legs: Vec<Leg>) -> Attempt {
        Attempt {
            outcome: Outcome::Crash,
            cause: Some(Cause {
                message: format!(
                    "the destination of leg {} does not start, as its build did before: {}: {}",
                    index + 1,
                    error.label,
                    error.problem
                ),
                ..Cause::default()
            }),
            legs,
            source_stderr: String::new(),
            destination_stderr: tail(&error.stderr),
            files: vec![("destination.stderr".to_owned(), error.stderr.clone())],
            ..Attempt::skip(String::new())
        }
    }

    fn skip(message: String) -> Attempt {
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        let message = lines.join(" ");
        Attempt {
            outcome: Outcome::Skip,
            cause: Some(Cause {
                message,
                ..Cause::default()
            }),
            legs: Vec::new(),
            source_stderr: String::new(),
            destination_stderr: String::new(),
            files: Vec::new(),
            refusals: Vec::new(),
            state: Seen::default(),
            values_differ: false,
            suspect: None,
        }
    }
}

/// What became of a case, and what was sent in its first leg.
#[derive(Debug, Clone)]
pub struct Ran {
    pub case: Case,
    pub observed: Observed,
}

/// Why a guest does not get as far as a migration.
enum NoStart {
    Refused(Box<StartError>),
    Idle(String),
}

fn ended(index: usize, direction: Direction, outcome: Outcome, stats: Stats) -> Leg {
    Leg {
        index,
        direction,
        outcome,
        total_ms: stats.total_ms,
        downtime_ms: stats.downtime_ms,
        setup_ms: stats.setup_ms,
        bytes: stats.bytes,
        pages: stats.pages,
    }
}

impl Bench {
    /// The case's name in reports.
    pub fn id(&self, wanted: &Wanted) -> String {
        let family = machine::family(&self.machine);
        let family = family.strip_prefix("pc-").unwrap_or(family);
        let mut way = self.transport.to_string();
        for capability in &self.capabilities {
            way.push_str(&format!("+{capability}"));
        }
        let mut id = format!("{family}/{}/{way}/{}", wanted.set.name, wanted.direction);
        if let Some(loops) = self.loops {
            id.push_str(&format!("-loop{loops}"));
        }
        if !self.running {
            id.push_str("/paused");
        }
        id
    }

    /// Runs a case to its end, whatever that is.
    pub async fn run(&self, wanted: &Wanted, watcher: Watcher<'_>) -> Ran {
        let begun = Instant::now();
        let (set, taken) = self.fitting(&wanted.set);
        let composition = self.compose(&set);
        let id = self.id(wanted);
        let mut case = self.blank(id, &wanted.set.name, &composition, wanted.direction);
        case.left_out.extend(taken);
        let guest = workload::guest(&self.arch);
        let obstacle = self
            .transport
            .obstacle(self.old.info.version, self.new.info.version)
            .or_else(|| self.capabilities.iter().find_map(|c| c.obstacle(self.transport)))
            .or_else(|| {
                (self.running && guest.is_none()).then(|| {
                    format!(
                        "there is no workload guest for {}; a machine that never ran can be moved with --paused",
                        self.arch
                    )
                })
            })
            .or_else(|| {
                // A set of which nothing is left tests nothing but what other cases test.
                (composition.included.is_empty() && !wanted.set.devices.is_empty())
                    .then(|| {
                        let why = composition.excluded.iter().take(3);
                        let why: Vec<String> = why.map(ToString::to_string).collect();
                        format!("no device of the set fits both builds: {}", why.join("; "))
                    })
            });
        if let Some(message) = obstacle {
            case.cause = Some(Cause {
                message,
                ..Cause::default()
            });
            return Ran {
                case,
                observed: Observed::default(),
            };
        }
        let recipe = self.recipe(composition.args);
        let route = self.route(wanted.direction);
        let mut attempt = self
            .attempt(&route, &recipe, wanted.direction, watcher)
            .await;
        let sent = attempt.state.first.take();
        if attempt.failed() {
            self.explain(&mut attempt, &recipe, &route).await;
            self.look_again(&mut case, &attempt, &recipe, wanted.direction, watcher)
                .await;
            if wanted.part == Part::Whole && composition.included.len() > 1 {
                watcher(Step::Blame);
                // As far as it came, and on its way.
                let route = &route[..(attempt.legs.len().max(1) + 1).min(route.len())];
                let split = self.blame(&set, &composition.included, route, wanted.direction);
                case.split = Some(split.await);
            }
            self.record(&mut case, attempt, &recipe, &route);
        } else {
            case.outcome = attempt.outcome;
            case.cause = attempt.cause;
            case.legs = attempt.legs;
            case.state_checked = (attempt.state.checked.legs > 0).then_some(attempt.state.checked);
            case.state_unchecked = attempt.state.unchecked;
        }
        case.elapsed_ms = milliseconds(begun);
        let plugged = set.devices.iter();
        let plugged = plugged.filter(|device| composition.included.contains(&device.id));
        let observed = Observed {
            sections: sent
                .as_ref()
                .and_then(Stream::vmdesc)
                .map_or_else(Vec::new, |vmdesc| SentSection::all(vmdesc)),
            passed: case.outcome == Outcome::Pass,
            types: plugged.map(|d| d.driver(&self.arch).to_owned()).collect(),
        };
        Ran { case, observed }
    }

    /// The set without what the workload guest itself needs, and what that is.
    fn fitting(&self, set: &DeviceSet) -> (DeviceSet, Vec<LeftOut>) {
        let mut set = set.clone();
        let mut taken = Vec::new();
        if self.running && workload::guest(&self.arch).is_some() {
            // The guest's own console is one, and a machine has one.
            set.devices.retain(|device| {
                let keeps = device.driver(&self.arch) != SOLE_CONSOLE;
                if !keeps {
                    taken.push(LeftOut {
                        device: device.id.clone(),
                        reason: "a machine has one, and the workload guest speaks on it".to_owned(),
                    });
                }
                keeps
            });
        }
        (set, taken)
    }

    /// The command line of a set for these builds.
    pub fn compose(&self, set: &DeviceSet) -> Composition {
        let (set, _) = self.fitting(set);
        set.compose(&Target {
            arch: &self.arch,
            machine: &self.machine,
            old: self.old.known(),
            new: self.new.known(),
        })
    }

    /// What both builds have to plug a device into on the bare machine.
    ///
    /// # Errors
    /// One does not start, in its own words.
    pub(crate) async fn buses(&self) -> Result<Buses, String> {
        let recipe = self.recipe(Vec::new());
        let folder = private_dir().map_err(|error| format!("no folder to run in: {error}"))?;
        let prepared = recipe.prepare(folder.path());
        prepared.map_err(|error| format!("no folder to run in: {error}"))?;
        let ask = async |party: &Party, index| {
            let label = party.build.label();
            let vm = Vm::start(party, &recipe, Role::First, folder.path(), index)
                .await
                .map_err(|error| format!("{label} does not start it: {}", error.words()))?;
            let buses = vm
                .buses()
                .await
                .map_err(|error| format!("{label}: {error}"))?;
            vm.monitored.quit(vm.command).await;
            Ok::<_, String>(buses)
        };
        let (old, new) = tokio::try_join!(ask(&self.old, 0), ask(&self.new, 1))?;
        Ok(old.shared(&new))
    }

    /// What every QEMU of a case is started with.
    pub fn recipe(&self, device_args: Vec<String>) -> Recipe {
        Recipe {
            machine: self.machine.clone(),
            arch: self.arch.clone(),
            cpu: self.cpu.clone(),
            device_args,
            guest: workload::guest(&self.arch).filter(|_| self.running),
        }
    }

    /// A case of which nothing is known yet.
    pub(crate) fn blank(
        &self,
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
            capabilities: self.capabilities.iter().map(ToString::to_string).collect(),
            running: self.running,
            ..Case::untried(id, &self.machine, device_set, self.transport, direction)
        }
    }

    /// Writes into the case what is known of an attempt that failed: logs are kept, and the line that
    /// does it by hand names them. The outcome is the caller's to tell.
    pub(crate) fn record(
        &self,
        case: &mut Case,
        attempt: Attempt,
        recipe: &Recipe,
        route: &[&Party],
    ) {
        let folder = self.keep(case, &attempt, recipe);
        case.logs = folder.as_ref().map(|folder| folder.display().to_string());
        let stays = folder.unwrap_or_else(|| self.logs.clone());
        let gone = &route[..(attempt.legs.len() + 1).min(route.len())];
        case.reproduce = Some(reproduce::line(gone, recipe, &stays, &self.capabilities));
        case.cause = attempt.cause;
        case.legs = attempt.legs;
        case.state_checked = (attempt.state.checked.legs > 0).then_some(attempt.state.checked);
        case.state_unchecked = attempt.state.unchecked;
        case.state_diff = attempt.state.diffs;
        case.source_stderr = attempt.source_stderr;
        case.destination_stderr = attempt.destination_stderr;
    }

    /// The builds that the guest goes through.
    fn route(&self, first: Direction) -> Vec<&Party> {
        let (from, to) = first.source_destination(&self.old, &self.new);
        match self.loops {
            None => vec![from, to],
            Some(loops) => {
                let mut route = vec![from];
                for _ in 0..loops {
                    route.extend([to, from]);
                }
                route
            }
        }
    }

    /// After a failure: does a build fail with itself, and does it fail every time?
    async fn look_again(
        &self,
        case: &mut Case,
        attempt: &Attempt,
        recipe: &Recipe,
        direction: Direction,
        watcher: Watcher<'_>,
    ) {
        let legs = attempt.legs.len().max(1);
        let mut control = Vec::new();
        watcher(Step::Control);
        let mut broken = false;
        for party in [&self.old, &self.new] {
            let route = vec![party; legs + 1];
            let same = self.attempt(&route, recipe, direction, &|_| {}).await;
            control.push(same.outcome);
            broken |= same.accounts_for(attempt);
        }
        case.control = Some(Control {
            old_to_old: control[0],
            new_to_new: control[1],
        });
        if broken {
            case.outcome = Outcome::Broken;
            return;
        }
        case.outcome = attempt.outcome;
        let mut repeated = Repeated { failed: 1, of: 1 };
        for time in 1..=self.retries {
            let of = self.retries;
            watcher(Step::Again { time, of });
            let route = self.route(direction);
            let again = self.attempt(&route, recipe, direction, &|_| {}).await;
            repeated.of += 1;
            repeated.failed += usize::from(again.failed());
        }
        case.repeated = Some(repeated);
    }

    /// Keeps what a failed case said. `None` if that does not work: the report has the essentials.
    fn keep(&self, case: &Case, attempt: &Attempt, recipe: &Recipe) -> Option<PathBuf> {
        let folder = fresh(&self.logs, &case.id.replace(['/', ':'], "_"))?;
        // The image of the guest is among it: the line to reproduce the case names it.
        recipe.prepare(&folder).ok()?;
        for (name, text) in &attempt.files {
            fs::write(folder.join(name), text).ok()?;
        }
        Some(folder)
    }

    /// Sends one guest along the builds.
    pub(crate) async fn attempt(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        first: Direction,
        watcher: Watcher<'_>,
    ) -> Attempt {
        let folder = match private_dir() {
            Ok(folder) => folder,
            Err(error) => return Attempt::skip(format!("no folder to run in: {error}")),
        };
        if let Err(error) = recipe.prepare(folder.path()) {
            return Attempt::skip(format!("cannot write the guest: {error}"));
        }
        self.travel(route, recipe, first, folder.path(), watcher)
            .await
    }

    async fn travel(
        &self,
        route: &[&Party],
        recipe: &Recipe,
        first: Direction,
        folder: &Path,
        watcher: Watcher<'_>,
    ) -> Attempt {
        let mut log = SerialLog::new();
        let Some((&from, destinations)) = route.split_first() else {
            return Attempt::skip("there is no way to go".to_owned());
        };
        // A destination starts while the guest before it still gets going: half of a short case.
        let start = async |index: usize| match destinations.get(index) {
            Some(&to) => Some(Vm::start(to, recipe, Role::Destination, folder, index + 1).await),
            None => None,
        };
        let (source, mut next) = tokio::join!(self.begin(from, recipe, folder, &mut log), start(0));
        let mut source = match (source, &mut next) {
            (Ok(source), _) => source,
            (Err(NoStart::Idle(message)), _) => return Attempt::skip(message),
            (Err(NoStart::Refused(error)), next) => {
                let also = next.take().and_then(Result::err);
                let errors: Vec<StartError> = std::iter::once(*error).chain(also).collect();
                return Attempt::refused(&errors);
            }
        };
        let mut legs: Vec<Leg> = Vec::new();
        let mut direction = first;
        let mut state = Seen::default();
        // What was sent in the leg before, where nobody has looked yet how it arrived.
        let mut before: Option<Stream> = None;
        for index in 0..destinations.len() {
            let of = destinations.len();
            watcher(Step::Leg { index, of });
            let mut destination = match next.take() {
                Some(Ok(destination)) => destination,
                // The same build, with the same guest, has started before.
                Some(Err(error)) if index > 0 => {
                    legs.push(ended(index, direction, Outcome::Crash, Stats::default()));
                    return Attempt::stillborn(index, &error, legs);
                }
                Some(Err(error)) => return Attempt::refused(&[error]),
                None => return Attempt::skip("there is no destination".to_owned()),
            };
            let (stage, sent) = self
                .stage(&mut source, &mut destination, recipe, &mut log)
                .await;
            if index == 0 {
                state.first = sent.clone().ok();
            }
            // A guest that did not run between two legs is sent on as it arrived.
            if let (Some(before), Ok(sent)) = (before.take(), &sent) {
                let leg = (index - 1, direction.reversed());
                if !state.compare(&self.names, leg, &before, sent) {
                    if let Some(leg) = legs.last_mut() {
                        leg.outcome = Outcome::Lost;
                    }
                    return values_differ(state, legs, source, destination).await;
                }
            }
            let mut kept = true;
            let stage = match stage {
                Ok(stats) => {
                    let runs_on = recipe.guest.is_some() || index + 1 == destinations.len();
                    match sent {
                        Ok(sent) if runs_on => {
                            let held = leg::save(&mut destination, self.patience.leg).await;
                            match held {
                                Ok(held) => {
                                    let leg = (index, direction);
                                    kept = state.compare(&self.names, leg, &sent, &held);
                                }
                                Err(why) => state.leave(format!(
                                    "after leg {index} the destination could not save again: {why}"
                                )),
                            }
                        }
                        Ok(sent) => before = Some(sent),
                        Err(why) => state.leave(why),
                    }
                    if kept {
                        let resumed = self.resume(&mut destination, recipe, &mut log);
                        let (resumed, started) = tokio::join!(resumed, start(index + 1));
                        next = started;
                        resumed.map(|()| stats)
                    } else {
                        Ok(stats)
                    }
                }
                Err(unfit) => {
                    state.refused = sent.ok();
                    Err(unfit)
                }
            };
            let outcome = match &stage {
                Ok(_) if kept => Outcome::Pass,
                Ok(_) => Outcome::Lost,
                Err(unfit) => unfit.outcome,
            };
            let stats = match &stage {
                Ok(stats) => *stats,
                Err(_) => Stats::default(),
            };
            legs.push(ended(index, direction, outcome, stats));
            if let Err(unfit) = stage {
                let mut attempt = post_mortem(unfit, legs, source, destination).await;
                attempt.state = state;
                return attempt;
            }
            if !kept {
                return values_differ(state, legs, source, destination).await;
            }
            // A loop has the ways alternate; a control's builds are the same anyway.
            direction = direction.reversed();
            source.sweep();
            source = destination;
        }
        source.monitored.quit(Duration::from_secs(5)).await;
        Attempt {
            outcome: Outcome::Pass,
            cause: None,
            legs,
            source_stderr: String::new(),
            destination_stderr: String::new(),
            files: Vec::new(),
            refusals: Vec::new(),
            state,
            values_differ: false,
            suspect: None,
        }
    }

    /// Starts the first build; its guest works then, if it is to.
    async fn begin(
        &self,
        from: &Party,
        recipe: &Recipe,
        folder: &Path,
        log: &mut SerialLog,
    ) -> Result<Vm, NoStart> {
        let mut source = Vm::start(from, recipe, Role::First, folder, 0)
            .await
            .map_err(|error| NoStart::Refused(Box::new(error)))?;
        if recipe.guest.is_some() {
            let started = async {
                source.cont().await.map_err(|error| error.to_string())?;
                source
                    .wait_for_beat(log, None, self.patience.boot)
                    .await
                    .map_err(|why| why.to_string())
            };
            if let Err(why) = started.await {
                let stderr = source.monitored.process.stderr();
                let label = from.build.label();
                return Err(NoStart::Idle(format!(
                    "{label}: the guest does not work before any migration: {why} {stderr}"
                )));
            }
        }
        Ok(source)
    }

    /// One leg and what is compared after it. The source is gone then, the destination stopped. What
    /// the source sent comes back too.
    async fn stage(
        &self,
        source: &mut Vm,
        destination: &mut Vm,
        recipe: &Recipe,
        log: &mut SerialLog,
    ) -> (Result<Stats, Unfit>, Result<Stream, String>) {
        let patience = self.patience.leg;
        let how = (self.transport, self.capabilities.as_slice());
        let moved = leg::migrate(source, destination, how.0, how.1, patience).await;
        let outcome = async {
            let stats = moved.outcome?;
            integrity::compare(source, destination, recipe.guest, log).await?;
            leave(source).await?;
            Ok(stats)
        };
        (outcome.await, moved.sent)
    }

    /// Lets the guest go on where it arrived, and sees that it does.
    async fn resume(
        &self,
        destination: &mut Vm,
        recipe: &Recipe,
        log: &mut SerialLog,
    ) -> Result<(), Unfit> {
        if recipe.guest.is_some() {
            if let Err(error) = destination.cont().await {
                return Err(leg::broken(destination, End::Destination, error).await);
            }
            let last = log.last_beat();
            let beat = destination.wait_for_beat(log, last, self.patience.beat);
            if let Err(why) = beat.await {
                return Err(match leg::ended(destination, Duration::ZERO).await {
                    Some(how) => Unfit::new(
                        Outcome::Crash,
                        format!("the destination {how} when the guest went on"),
                    ),
                    None => Unfit::new(Outcome::Lost, format!("after the move, {why}")),
                });
            }
        }
        if let Some(line) = cause::complaint(&destination.monitored.process.stderr()) {
            return Err(Unfit::new(
                Outcome::Lost,
                format!("it loaded, but the destination says: {line}"),
            ));
        }
        Ok(())
    }
}

/// Ends the source, which has done its work: it has to go without a complaint.
async fn leave(source: &mut Vm) -> Result<(), Unfit> {
    let deadline = source.command;
    if let Err(error) = source.monitored.session.quit(deadline).await {
        return Err(leg::broken(source, End::Source, error).await);
    }
    match leg::ended(source, deadline).await {
        Some(how) if how.0.success() => {}
        Some(how) => {
            return Err(Unfit::new(
                Outcome::Crash,
                format!("the source {how} when it was asked to quit"),
            ));
        }
        None => {
            return Err(Unfit::new(
                Outcome::Hang,
                format!("the source did not quit within {} s", deadline.as_secs()),
            ));
        }
    }
    match cause::complaint(&source.monitored.process.stderr()) {
        None => Ok(()),
        Some(line) => Err(Unfit::new(
            Outcome::Lost,
            format!("the migration completed, but the source says: {line}"),
        )),
    }
}

/// The end of a case whose values did not arrive as they were sent.
async fn values_differ(state: Seen, legs: Vec<Leg>, source: Vm, destination: Vm) -> Attempt {
    let first = state.diffs.first();
    let message = first.map_or_else(String::new, |diff| state::sentence(diff, state.diffs.len()));
    let mut unfit = Unfit::new(Outcome::Lost, message);
    unfit.section = first.map(|diff| (diff.section.clone(), diff.instance));
    unfit.place = first.map(|diff| diff.field.clone());
    let mut attempt = post_mortem(unfit, legs, source, destination).await;
    attempt.state = state;
    attempt.values_differ = true;
    attempt
}

/// A new folder: what an earlier run kept there under the same name stays.
fn fresh(logs: &Path, name: &str) -> Option<PathBuf> {
    for run in 1.. {
        let folder = match run {
            1 => logs.join(name),
            _ => logs.join(format!("{name}-{run}")),
        };
        match fs::create_dir(&folder) {
            Ok(()) => return Some(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
    }
    None
}

/// What both sides left of a failed leg.
async fn post_mortem(unfit: Unfit, legs: Vec<Leg>, mut source: Vm, mut destination: Vm) -> Attempt {
    let mut files = Vec::new();
    let layout = match layout(&source).await {
        // A source that has done its work is gone.
        none if none.is_empty() => layout(&destination).await,
        some => some,
    };
    for (vm, name) in [(&mut source, "source"), (&mut destination, "destination")] {
        vm.monitored.process.kill().await;
        files.push((format!("{name}.cmd"), format!("{}\n", vm.command_line)));
        files.push((format!("{name}.qmp"), vm.monitored.session.transcript()));
        files.push((format!("{name}.stderr"), vm.monitored.process.stderr()));
    }
    let source_stderr = source.monitored.process.stderr();
    let destination_stderr = destination.monitored.process.stderr();
    let cause = match unfit.outcome {
        // Nothing that was printed tells more than what was found to be different.
        Outcome::Lost | Outcome::Hang => Cause {
            section: unfit.section.as_ref().map(|(section, _)| section.clone()),
            instance: unfit.section.as_ref().map(|&(_, instance)| instance),
            field: unfit.place.clone(),
            message: unfit.message.clone(),
            ..Cause::default()
        },
        // What the other side says of it is an effect.
        Outcome::Crash => {
            let of_source = unfit.message.starts_with(&End::Source.to_string());
            let said = if of_source {
                &source_stderr
            } else {
                &destination_stderr
            };
            let mut cause = cause::read(&[said], &unfit.message);
            if !cause.message.starts_with(&unfit.message) {
                cause.message = format!("{}; {}", unfit.message, cause.message);
            }
            cause
        }
        _ => {
            let mut texts: Vec<&str> = vec![&destination_stderr];
            texts.extend(unfit.reasons.iter().map(String::as_str));
            texts.push(&source_stderr);
            cause::read(&texts, &unfit.message)
        }
    };
    let suspect = suspect(&layout, cause.section.as_deref());
    Attempt {
        outcome: unfit.outcome,
        cause: Some(cause),
        legs,
        source_stderr: tail(&source_stderr),
        destination_stderr: tail(&destination_stderr),
        files,
        refusals: Vec::new(),
        state: Seen::default(),
        values_differ: false,
        suspect,
    }
}

/// The device that a section such as `0000:00:05.0/pciespscsi` belongs to.
fn suspect(layout: &[(String, String)], section: Option<&str>) -> Option<String> {
    let found = layout.iter().find(|(address, _)| {
        let rest = section.and_then(|section| section.strip_prefix(address.as_str()));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_hexdigit()))
    });
    found.map(|(_, id)| id.clone())
}

/// Which device is where on the root buses of a build that still answers, as sections are named.
async fn layout(vm: &Vm) -> Vec<(String, String)> {
    let asked = vm.monitored.session.execute(QueryPci {}, vm.command);
    let buses = asked.await.unwrap_or_default();
    buses
        .into_iter()
        .flat_map(|bus| bus.devices)
        .filter(|device| !device.qdev_id.is_empty())
        .map(|at| {
            let address = format!("0000:{:02x}:{:02x}.{:x}", at.bus, at.slot, at.function);
            (address, at.qdev_id)
        })
        .collect()
}

pub(crate) fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(QUOTED);
    text.chars().skip(skip).collect()
}
