//! One run: a guest that is sent through the builds of a case, leg by leg.

use std::collections::BTreeSet;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, debug, debug_span};

use crate::migration::boot::boot;
use crate::migration::channel::proxy::Captured;
use crate::migration::checks::padding::{Arrival, NewMachines, compare_state, is_kept};
use crate::migration::checks::pages::PageDifference;
use crate::migration::checks::state::StateChecks;
use crate::migration::config::{MigrationConfig, Step, Watcher};
use crate::migration::diagnosis::evidence;
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, TIME_TO_EXPLAIN, Vm};
use crate::migration::leg;
use crate::migration::leg::error::{LegError, LegErrorKind};
use crate::migration::leg::result::{LegResult, StateCheck, memory_differs, memory_sent_on};
use crate::migration::leg::resume::{Stay, quit, resume};
use crate::migration::leg::save::NewMachine;
use crate::migration::leg::set_up::set_up;
use crate::migration::leg::watch::Stats;
use crate::migration::linux_boot::{NotBooted, SavedGuest, boot_to_be_sent};
use crate::migration::result::{RunResult, Surveyed};
use crate::migration::saved::LoadError;
use crate::model::{Direction, SectionName, joined};
use crate::qemu::properties::Asked;
use crate::qemu::{MallocFill, MemoryKills, Subject};
use crate::report::{DrivenReport, Leg, LegSide, Outcome, Phase, Repeated};
use crate::stream::Stream;
use crate::workload::{SerialLog, Workload};

/// Pause before a guest is sent once more for which this host had no room.
const BEFORE_NEXT_RUN: Duration = Duration::from_millis(500);

/// A guest, and the way that it takes.
#[derive(Clone, Copy)]
pub(crate) struct RunSpec<'r> {
    pub config: &'r MigrationConfig,
    pub launch: &'r LaunchSpec,
    /// The source of each leg, and the last destination.
    pub route: &'r [&'r Endpoint],
    /// Direction of the first leg.
    pub direction: Direction,
}

impl RunSpec<'_> {
    /// Sends the guest along its route, unwatched.
    pub(crate) async fn run(self) -> RunResult {
        self.watched(&|_| {}).await
    }

    /// Sends the guest along its route. What this host has no room for is tried once more, as is what was killed before any
    /// migration.
    pub(crate) async fn watched(self, watcher: Watcher<'_>) -> RunResult {
        // On the heap: a future has room for each that it may wait for.
        let result = Box::pin(self.once(watcher)).await;
        if !result.lacks_host() && !result.was_killed_too_soon() {
            return result;
        }
        debug!(cause = ?result.cause, "the guest is sent once more");
        tokio::time::sleep(BEFORE_NEXT_RUN).await;
        Box::pin(self.once(watcher)).await
    }

    async fn once(self, watcher: Watcher<'_>) -> RunResult {
        let (result, linux) = self.sent(watcher).await;
        let loaded = linux.filter(|linux| linux.is_loaded);
        let damaged = loaded.filter(|linux| self.is_damaged(&result, &linux.saved));
        match damaged {
            Some(Linux { saved, .. }) => {
                debug!("the build damages the guest that it saved when it loads it");
                saved.set_damaged();
                self.sent(watcher).await.0
            }
            None => result,
        }
    }

    /// Tells whether a run shows nothing, for its first build lost some of the guest when it loaded what it had saved: it
    /// failed, or it is a control, in which the same is not lost again. What passes between builds shows that they agree.
    fn is_damaged(self, result: &RunResult, saved: &SavedGuest) -> bool {
        let goes_through = |end: &Endpoint| {
            let mut labels = self.route.iter().map(|end| end.build.label());
            labels.any(|label| label == end.build.label())
        };
        let is_control = !(goes_through(&self.config.old) && goes_through(&self.config.new));
        if result.outcome == Outcome::Pass && !is_control {
            return false;
        }
        let names = self.config.names.of_leg(self.direction);
        match (saved.stream(), &result.state.first) {
            (Some(saved), Some(sent)) => !is_kept(saved, sent, names, &self.launch.tolerated),
            _ => false,
        }
    }

    /// Sends the guest along its route, and returns the Linux guest that went.
    async fn sent(self, watcher: Watcher<'_>) -> (RunResult, Option<Linux>) {
        let folder = match self.launch.folder() {
            Ok(folder) => folder,
            Err(why) => return (RunResult::skip(&why.to_string()), None),
        };
        let Some(from) = self.route.first() else {
            return (RunResult::skip("the route has no build"), None);
        };
        let mut run = MigrationRun {
            spec: self,
            folder: folder.path(),
            log: match &self.launch.workload {
                Some(workload) => workload.log(),
                None => SerialLog::new(),
            },
            legs: Vec::new(),
            state: StateChecks::default(),
            new_machines: NewMachines::default(),
            not_compared: None,
            linux: None,
            driven: None,
            buses: None,
            features: None,
            memory_kills: MemoryKills::so_far(),
        };
        let labels = joined(self.route.iter().map(|end| end.build.label()), " to ");
        let span = debug_span!("guest", machine = self.config.machines, route = labels);
        let result = run.drive(from, watcher).instrument(span).await;
        let result = RunResult {
            buses: run.buses,
            linux: run.linux.as_ref().map(|linux| linux.saved.report.clone()),
            driven: run.driven,
            features: run.features,
            ..result
        };
        (result, run.linux)
    }

    /// Sends the guest along its route until it does not pass, at most so often.
    pub(crate) async fn until_failure(self, most: usize) -> Repeated {
        let mut tries = Repeated { failed: 0, of: 0 };
        while tries.failed == 0 && tries.of < most {
            let run = Box::pin(self.run()).await;
            tries.count(run.outcome != Outcome::Pass);
        }
        tries
    }

    /// Sends the guest from a build to itself, as many legs as a run had.
    pub(crate) async fn within(self, endpoint: &Endpoint, between: &RunResult) -> RunResult {
        let route = &between.route_within(endpoint);
        RunSpec { route, ..self }.run().await
    }
}

/// A Linux guest on its way.
struct Linux {
    saved: Arc<SavedGuest>,
    /// It was loaded into its first build; else it has booted there.
    is_loaded: bool,
}

/// A started build, and whether it could be set up for a migration.
struct Started {
    vm: Vm,
    ready: Result<(), LegError>,
}

impl RunSpec<'_> {
    /// Starts the first build; its guest works then, if there is one, or has worked and is stopped.
    async fn start_source(
        self,
        folder: &Path,
        from: &Endpoint,
        log: &mut SerialLog,
        (on_its_way, driven): (&mut Option<Linux>, &mut Option<DrivenReport>),
    ) -> Result<Started, LegError> {
        let side = LegSide::Source;
        let linux = self.launch.workload.as_ref().and_then(Workload::linux);
        let role = match linux {
            // One that has booted is loaded.
            Some(_) => Role::Destination,
            None => Role::First,
        };
        let mut vm = Vm::start(from, self.launch, role, folder, 0)
            .await
            .map_err(|error| {
                let kind = LegErrorKind::DoesNotStart(Arc::new(error));
                LegError::new(side, Phase::Launch, kind)
            })?;
        let MigrationConfig {
            timeouts,
            plain_boots,
            saved,
            ..
        } = self.config;
        if let Some(guest) = linux {
            let no_workload = |NotBooted { why, stderr, .. }| {
                let label = from.build.label().to_owned();
                let kind = LegErrorKind::NoWorkload { label, why, stderr };
                LegError::new(side, Phase::Boot, kind)
            };
            let loaded = saved.load(&vm, guest, from, self.launch, timeouts).await;
            let sent = match loaded {
                Ok(saved) => {
                    log.clone_from(&saved.log);
                    Linux {
                        saved,
                        is_loaded: true,
                    }
                }
                Err(LoadError::DoesNotBoot(error)) => return Err(no_workload(error)),
                // Another build may load it, or refuse it, too: it is sent from where it boots.
                Err(LoadError::Unfit { saved, why }) => {
                    debug!(
                        why,
                        "the build does not load the guest that it saved as it was"
                    );
                    vm.monitored.process.kill().await;
                    vm.remove_files();
                    let booted = boot_to_be_sent(from, self.launch, guest, folder).await;
                    (vm, *log) = booted.map_err(no_workload)?;
                    Linux {
                        saved,
                        is_loaded: false,
                    }
                }
            };
            *on_its_way = Some(sent);
        }
        match vm.drive().await {
            Some(Ok(report)) => *driven = Some(report),
            Some(Err(error)) => {
                let end = match error.is_deadline() {
                    true => None,
                    false => vm.ended(TIME_TO_EXPLAIN).await,
                };
                let kind = LegErrorKind::NotDriven {
                    label: from.build.label().to_owned(),
                    why: Arc::new(error),
                    end,
                    stderr: vm.monitored.process.stderr(),
                };
                return Err(LegError::new(side, Phase::Boot, kind));
            }
            None => {}
        }
        let ready = set_up(&mut vm, side, &self.config.capabilities).await;
        if matches!(self.launch.workload, Some(Workload::Tiny(_))) {
            let booted = boot(&mut vm, log, from, self.launch, timeouts, plain_boots).await;
            if let Err(why) = booted {
                let kind = LegErrorKind::NoWorkload {
                    label: from.build.label().to_owned(),
                    why,
                    stderr: vm.monitored.process.stderr(),
                };
                return Err(LegError::new(side, Phase::Boot, kind));
            }
        }
        Ok(Started { vm, ready })
    }

    /// Starts the destination of a leg. `None` behind the last one.
    async fn start_destination(
        self,
        folder: &Path,
        leg: usize,
    ) -> Option<Result<Started, LegError>> {
        let &to = self.route.get(leg + 1)?;
        let side = LegSide::Destination;
        let started = Vm::start(to, self.launch, Role::Destination, folder, leg + 1).await;
        let mut vm = match started {
            Ok(vm) => vm,
            Err(error) => {
                let error = Arc::new(error);
                let kind = match leg {
                    0 => LegErrorKind::DoesNotStart(error),
                    // The same build, with the same guest, has started before.
                    _ => LegErrorKind::NoLongerStarts {
                        leg: leg + 1,
                        error,
                    },
                };
                return Some(Err(LegError::new(side, Phase::Launch, kind)));
            }
        };
        let ready = set_up(&mut vm, side, &self.config.capabilities).await;
        Some(Ok(Started { vm, ready }))
    }

    /// Returns the number of legs.
    fn legs(self) -> usize {
        self.route.len().saturating_sub(1)
    }

    fn is_last(self, leg: usize) -> bool {
        leg + 1 == self.legs()
    }
}

/// A guest on its route.
struct MigrationRun<'r> {
    spec: RunSpec<'r>,
    folder: &'r Path,
    log: SerialLog,
    /// The legs that are over.
    legs: Vec<Leg>,
    state: StateChecks,
    new_machines: NewMachines,
    /// The stream of the last leg, where the state that arrived is compared in the next one.
    not_compared: Option<Captured>,
    linux: Option<Linux>,
    driven: Option<DrivenReport>,
    buses: Option<Surveyed>,
    features: Option<Snapshots>,
    memory_kills: MemoryKills,
}

/// A leg that ends the run.
struct FailedLeg {
    error: LegError,
    /// The leg that was under way, or the one before it, counted from 0.
    leg: usize,
    stats: Stats,
    /// The blocks of memory that did not arrive, where nothing else is wrong but contents.
    damaged_blocks: Option<Vec<String>>,
}

impl FailedLeg {
    fn new(leg: usize, error: LegError) -> FailedLeg {
        FailedLeg {
            error,
            leg,
            stats: Stats::default(),
            damaged_blocks: None,
        }
    }
}

impl MigrationRun<'_> {
    /// Drives the guest along the route until its end, or until a leg fails.
    async fn drive(&mut self, from: &Endpoint, watcher: Watcher<'_>) -> RunResult {
        let (spec, folder) = (self.spec, self.folder);
        let reports = (&mut self.linux, &mut self.driven);
        // A destination starts while the guest before it is still starting: that halves a short
        // case.
        let (source, mut next) = tokio::join!(
            spec.start_source(folder, from, &mut self.log, reports),
            spec.start_destination(folder, 0)
        );
        let mut source = match source {
            Ok(source) => source,
            Err(error) => {
                // Where the guest alone is at fault, the destination does not matter.
                let refused = matches!(error.kind, LegErrorKind::DoesNotStart(_));
                let also = next.and_then(Result::err).filter(|_| refused);
                return self.not_started(std::iter::once(error).chain(also));
            }
        };
        if let (true, Some(Ok(destination))) = (spec.launch.survey, &next) {
            self.buses = Some(survey(&source.vm, &destination.vm).await);
        }
        if let (true, Some(Ok(destination))) = (spec.launch.features, &next) {
            self.features = features(&source.vm, &destination.vm, spec.direction).await;
        }
        let mut direction = spec.direction;
        let of = spec.legs();
        for index in 0..of {
            debug!(leg = index, %direction, "the leg begins");
            watcher(Step::Leg { index, of });
            let mut destination = match next.take() {
                Some(Ok(destination)) => destination,
                Some(Err(error)) => return self.without_destination(direction, error),
                None => return RunResult::skip("there is no destination"),
            };
            let ready = source.ready.and(destination.ready);
            let sides = (&mut source.vm, &mut destination.vm);
            match self.leg(direction, sides, ready).await {
                Ok((stats, started)) => {
                    self.record(direction, Outcome::Pass, stats);
                    next = started;
                }
                Err(failed) => {
                    debug!(leg = failed.leg, error = ?failed.error, "the leg failed");
                    return self.end(failed, direction, source.vm, destination.vm).await;
                }
            }
            // A loop has the directions alternate; a control's builds are the same anyway.
            direction = direction.reversed();
            source.vm.remove_files();
            source = Started {
                vm: destination.vm,
                ready: Ok(()),
            };
        }
        RunResult::passed(mem::take(&mut self.legs), mem::take(&mut self.state))
    }

    /// Runs one leg: the transfer, the checks, and then the guest goes on while the source leaves and the
    /// destination of the next leg starts, which is returned.
    async fn leg(
        &mut self,
        direction: Direction,
        (source, destination): (&mut Vm, &mut Vm),
        ready: Result<(), LegError>,
    ) -> Result<(Stats, Option<Result<Started, LegError>>), FailedLeg> {
        let (spec, folder) = (self.spec, self.folder);
        let index = self.legs.len();
        let result = match ready {
            Ok(()) => {
                let state_check = match spec.launch.workload {
                    None if !spec.is_last(index) => StateCheck::InNextLeg,
                    _ => StateCheck::Now,
                };
                let (config, launch, log) = (spec.config, spec.launch, &mut self.log);
                leg::result::run(config, source, destination, launch, log, state_check).await
            }
            Err(error) => LegResult::failed(error, Captured::nothing("there was no migration")),
        };
        // Only while the source is there.
        if let (0, Ok(sent)) = (index, &result.sent.stream) {
            let seen = own_addresses(source, sent);
            self.state.own_addresses = without_leftovers(spec, seen).await;
        }
        if result.outcome.is_err() {
            let stats = self.check(direction, result).await?;
            return Ok((stats, None));
        }
        let go_on = async {
            let stats = self.check(direction, result).await?;
            let stay = match spec.is_last(index) {
                true => Stay::ToTheEnd,
                false => Stay::UntilTheNextLeg,
            };
            let heartbeat = spec.config.timeouts.heartbeat;
            let mut end = resume(destination, &mut self.log, heartbeat, stay).await;
            if end.is_ok() && stay == Stay::ToTheEnd {
                // A destination that dies as soon as it has to do something has not come through.
                end = quit(destination, LegSide::Destination).await;
            }
            match end {
                Ok(()) => Ok(stats),
                Err(error) => Err(FailedLeg::new(index, error)),
            }
        };
        // The source has done its work: it leaves while what arrived is compared.
        let next = spec.start_destination(folder, index + 1);
        let (stats, left, next) = tokio::join!(go_on, quit(source, LegSide::Source), next);
        match (stats, left) {
            (Ok(stats), Ok(())) => Ok((stats, next)),
            (Ok(_), Err(error)) => Err(FailedLeg::new(index, error)),
            (Err(failed), Ok(())) => Err(failed),
            // There is more that is wrong.
            (Err(failed), Err(_)) => Err(FailedLeg {
                damaged_blocks: None,
                ..failed
            }),
        }
    }

    /// Checks what a leg left: memory and state.
    async fn check(&mut self, direction: Direction, result: LegResult) -> Result<Stats, FailedLeg> {
        let LegResult {
            outcome,
            memory,
            sent,
            arrived,
        } = result;
        let index = self.legs.len();
        if index == 0 {
            self.state.first = sent.stream.clone().ok();
        }
        // A guest that did not run between two legs is sent on as it arrived.
        if let (Some(before), Some(leg)) = (self.not_compared.take(), index.checked_sub(1)) {
            if outcome.is_ok()
                && let Some(error) =
                    memory_sent_on(leg, &before, &sent, &self.spec.launch.tolerated)
            {
                return Err(FailedLeg::new(leg, error));
            }
            if let (Ok(before), Ok(sent)) = (&before.stream, &sent.stream) {
                self.compare_state(leg, direction.reversed(), before, sent)
                    .await
                    .map_err(|error| FailedLeg::new(leg, error))?;
            }
        }
        let stats = match outcome {
            Ok(stats) => stats,
            Err(error) => {
                self.state.refused = sent.stream.ok();
                return Err(FailedLeg::new(index, error));
            }
        };
        let compared = self.check_arrived(index, direction, sent, arrived).await;
        let blocks = memory.iter().flat_map(PageDifference::blocks);
        let blocks = blocks.map(str::to_owned).collect();
        let error = match (memory, compared) {
            (Some(pages), _) => memory_differs(pages),
            (None, Err(error)) => error,
            (None, Ok(())) => return Ok(stats),
        };
        Err(FailedLeg {
            error,
            leg: index,
            stats,
            damaged_blocks: Some(blocks),
        })
    }

    /// Checks the state that arrived, as far as it can be seen already.
    async fn check_arrived(
        &mut self,
        leg: usize,
        direction: Direction,
        sent: Captured,
        arrived: Option<Captured>,
    ) -> Result<(), LegError> {
        match (&sent.stream, arrived.map(|arrived| arrived.stream)) {
            (Ok(sent), Some(Ok(arrived))) => {
                let compared = self.compare_state(leg, direction, sent, &arrived).await;
                self.state.arrived = Some(arrived);
                return compared;
            }
            (Ok(_), Some(Err(why))) => self.state.not_compared(format!(
                "after leg {leg} the destination could not save again: {why}"
            )),
            // The next leg shows what arrived.
            (Ok(_), None) => self.not_compared = Some(sent),
            (Err(why), _) => self.state.not_compared(why.clone()),
        }
        Ok(())
    }

    async fn compare_state(
        &mut self,
        leg: usize,
        direction: Direction,
        sent: &Stream,
        arrived: &Stream,
    ) -> Result<(), LegError> {
        let RunSpec {
            config,
            launch,
            route,
            ..
        } = self.spec;
        let arrival = Arrival {
            leg,
            direction,
            source: Some(route[leg]),
            destination: route[leg + 1],
            sent,
            arrived,
        };
        let (state, new_machines) = (&mut self.state, &mut self.new_machines);
        compare_state(config, state, arrival, launch, new_machines).await;
        // A run ends with the first leg in which something is lost.
        LegError::if_lost(&self.state.diffs)
    }

    fn record(&mut self, direction: Direction, outcome: Outcome, stats: Stats) {
        let leg = self.legs.len();
        debug!(leg, %direction, ?outcome, total_ms = stats.total_ms, "the leg is over");
        self.legs.push(stats.leg(leg, direction, outcome));
    }

    /// Ends a run whose next destination does not start.
    fn without_destination(&mut self, direction: Direction, error: LegError) -> RunResult {
        if self.legs.is_empty() {
            return self.not_started([error]);
        }
        self.record(direction, error.outcome(), Stats::default());
        RunResult::of_missing_destination(error, mem::take(&mut self.legs))
    }

    fn not_started(&self, errors: impl IntoIterator<Item = LegError>) -> RunResult {
        let memory_ran_out = self.memory_kills.any_since();
        let errors = errors.into_iter();
        let errors = errors.map(|error| error.unless_of_host("", "", memory_ran_out));
        RunResult::not_started(errors.collect())
    }

    /// Ends a run with a failed leg of this direction.
    async fn end(
        &mut self,
        failed: FailedLeg,
        direction: Direction,
        source: Vm,
        destination: Vm,
    ) -> RunResult {
        let evidence = evidence::collect(Some(source), destination).await;
        let printed = &evidence.stderr;
        let error = failed.error.unless_of_host(
            &printed.source,
            &printed.destination,
            self.memory_kills.any_since(),
        );
        let outcome = error.outcome();
        match self.legs.get_mut(failed.leg) {
            Some(leg) => leg.outcome = outcome,
            None => self.record(direction, outcome, failed.stats),
        }
        let (legs, state) = (mem::take(&mut self.legs), mem::take(&mut self.state));
        let damaged = failed.damaged_blocks;
        let damaged = damaged.and_then(|blocks| state.damaged(blocks));
        let result = RunResult::of_failed_leg(error, legs, state, evidence);
        RunResult {
            wrong: damaged.filter(|_| result.is_quiet()),
            ..result
        }
    }
}

/// Returns the sections in which a source sent addresses of its own process. The programs of a Linux guest have addresses
/// of that kind, too.
fn own_addresses(source: &Vm, sent: &Stream) -> BTreeSet<SectionName> {
    let is_linux = matches!(source.workload(), Some(Workload::Linux(_)));
    let space = source.monitored.address_space().filter(|_| !is_linux);
    let Some(space) = space else {
        return BTreeSet::new();
    };
    let sections = sent.devices();
    let having = sections.filter(|section| space.is_seen_in(&section.payload));
    having.map(|section| section.name.clone()).collect()
}

/// Leaves those of these sections that have addresses whatever was in memory before: what a device never wrote to may be an
/// address that somebody else left there, and no load takes it for one.
async fn without_leftovers(
    spec: RunSpec<'_>,
    mut seen: BTreeSet<SectionName>,
) -> BTreeSet<SectionName> {
    let Some(&source) = spec.route.first().filter(|_| !seen.is_empty()) else {
        return seen;
    };
    let ask = async {
        let [fill, _] = MallocFill::BOTH;
        let filled = Endpoint {
            build: source.build.with_malloc_fill(fill),
            ..source.clone()
        };
        let mut machine = NewMachine::start(&filled, spec.launch).await?;
        let sent = machine.save(spec.config.timeouts.leg).await;
        let still = sent.map(|sent| own_addresses(&machine.vm, &sent));
        machine.end().await;
        Ok::<String, String>(joined(still?, "\n"))
    };
    // The same machine is moved time and again: it is asked once.
    let asked = source.answer(spec.launch, Subject::OwnAddresses, [], ask);
    if let Ok(still) = asked.await {
        seen.retain(|name| still.lines().any(|line| *name == *line));
    }
    seen
}

/// Asks both builds for the buses to plug a device into.
async fn survey(source: &Vm, destination: &Vm) -> Surveyed {
    let asked = tokio::try_join!(source.device_tree(), destination.device_tree());
    let shared =
        asked.map(|(source, destination)| Buses::of(&source).shared(&Buses::of(&destination)));
    shared.map_err(|error| error.to_string())
}

/// Asks both builds for the features of their virtio devices. `None` where one does not tell: what ails it shows
/// in the migration.
async fn features(source: &Vm, destination: &Vm, direction: Direction) -> Option<Snapshots> {
    let (source, destination) = tokio::try_join!(
        source.ask(Asked::Features),
        destination.ask(Asked::Features)
    )
    .ok()?;
    let (old, new) = direction.source_destination(source, destination);
    Some(Snapshots { old, new })
}
