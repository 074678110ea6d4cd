//! The way of one guest through the builds of a case, leg by leg.

use std::path::Path;

use crate::migration::channel::proxy::Passed;
use crate::migration::checks::padding::{Arrival, NeverRan};
use crate::migration::checks::state::Seen;
use crate::migration::config::{MigrationConfig, Step, Watcher};
use crate::migration::diagnosis::post_mortem;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::migration::leg::error::{End, LegError};
use crate::migration::leg::execution::{LegExecution, Look, leave, unlike};
use crate::migration::leg::transfer;
use crate::migration::leg::transfer::Stats;
use crate::migration::result::{RunResult, Surveyed};
use crate::model::Direction;
use crate::qemu::{StartError, output, private_dir};
use crate::report::{Leg, Outcome};
use crate::workload::SerialLog;

/// A started build, and whether it could be set up for a migration.
struct Side {
    vm: Vm,
    ready: Result<(), LegError>,
}

/// Why a guest does not get as far as a migration.
enum NoStart {
    Refused(Box<StartError>),
    Idle(String),
}

/// What ends a guest's way before its end.
struct Stopped {
    why: Why,
    /// The leg before turns out not to have passed, and not this one.
    before: bool,
    /// Blocks of memory that did not arrive, where everything else was looked at.
    blocks: Option<Vec<String>>,
    /// Of this one.
    stats: Stats,
}

enum Why {
    LegError(Box<LegError>),
    /// It loaded, but values did not arrive.
    Values,
}

impl From<LegError> for Stopped {
    fn from(unfit: LegError) -> Self {
        Stopped {
            why: Why::LegError(Box::new(unfit)),
            before: false,
            blocks: None,
            stats: Stats::default(),
        }
    }
}

impl MigrationConfig {
    /// Sends one guest along the builds.
    pub(crate) async fn attempt(
        &self,
        route: &[&Endpoint],
        launch: &LaunchSpec,
        first: Direction,
        watcher: Watcher<'_>,
    ) -> RunResult {
        let folder = match private_dir() {
            Ok(folder) => folder,
            Err(error) => return RunResult::skip(format!("no folder to run in: {error}")),
        };
        if let Err(error) = launch.prepare(folder.path()) {
            return RunResult::skip(format!("cannot write the guest: {error}"));
        }
        let Some((from, destinations)) = route.split_first() else {
            return RunResult::skip("there is no way to go".to_owned());
        };
        let journey = MigrationRun {
            config: self,
            launch,
            destinations,
            folder: folder.path(),
        };
        let mut buses = None;
        let travelled = journey.travel(from, first, watcher, &mut buses).await;
        RunResult { buses, ..travelled }
    }
}

/// The way that is ahead.
struct MigrationRun<'j> {
    config: &'j MigrationConfig,
    launch: &'j LaunchSpec,
    /// Of each leg.
    destinations: &'j [&'j Endpoint],
    folder: &'j Path,
}

impl MigrationRun<'_> {
    async fn travel(
        &self,
        from: &Endpoint,
        first: Direction,
        watcher: Watcher<'_>,
        surveyed: &mut Option<Surveyed>,
    ) -> RunResult {
        let mut log = SerialLog::new();
        // A destination starts while the guest before it still gets going: half of a short case.
        let (source, mut next) =
            tokio::join!(self.begin(from, &mut log), self.destination_of_leg(0));
        let mut source = match (source, &mut next) {
            (Ok(source), _) => source,
            (Err(NoStart::Idle(message)), _) => return RunResult::skip(message),
            (Err(NoStart::Refused(error)), next) => {
                let also = next.take().and_then(Result::err);
                let errors: Vec<StartError> = std::iter::once(*error).chain(also).collect();
                return RunResult::refused(&errors);
            }
        };
        if let (true, Some(Ok(destination))) = (self.launch.survey, &next) {
            let asked = tokio::try_join!(source.vm.buses(), destination.vm.buses());
            let shared = asked.map(|(ours, theirs)| ours.shared(&theirs));
            *surveyed = Some(shared.map_err(|error| error.to_string()));
        }
        let mut behind = CompletedLegs::default();
        let mut direction = first;
        for (index, &party) in self.destinations.iter().enumerate() {
            let of = self.destinations.len();
            watcher(Step::Leg { index, of });
            let mut destination = match next.take() {
                Some(Ok(destination)) => destination,
                // The same build, with the same guest, has started before.
                Some(Err(error)) if index > 0 => {
                    behind.push(direction, Outcome::Crash, Stats::default());
                    return RunResult::stillborn(index, &error, behind.legs);
                }
                Some(Err(error)) => return RunResult::refused(&[error]),
                None => return RunResult::skip("there is no destination".to_owned()),
            };
            let last = index + 1 == of;
            let look = match self.launch.guest {
                None if !last => Look::InNextLeg,
                _ => Look::Now,
            };
            let (from, to) = (&mut source.vm, &mut destination.vm);
            let ready = source.ready.and(destination.ready);
            let staged = match ready {
                Ok(()) => {
                    let stage = self.config.stage(from, to, self.launch, &mut log, look);
                    stage.await
                }
                Err(unfit) => LegExecution::unfit(unfit, Passed::nothing("there was no migration")),
            };
            let arrived = staged.outcome.is_ok();
            let judged = behind.judge(self, party, direction, staged);
            let (outcome, started) = if arrived {
                // The source has done its work: it leaves while what arrived is looked at.
                let on = async {
                    let stats = judged.await?;
                    self.config.resume(to, self.launch, &mut log).await?;
                    if last {
                        // It has answered all that was asked, and has nothing to put in order.
                        to.monitored.process.kill().await;
                    }
                    Ok(stats)
                };
                let next = self.destination_of_leg(index + 1);
                let (on, left, started) = tokio::join!(on, leave(from), next);
                let outcome = match (on, left) {
                    (Ok(stats), Ok(())) => Ok(stats),
                    (Ok(_), Err(unfit)) => Err(unfit.into()),
                    (Err(stopped), Ok(())) => Err(stopped),
                    // There is more that is wrong.
                    (Err(stopped), Err(_)) => Err(Stopped {
                        blocks: None,
                        ..stopped
                    }),
                };
                (outcome, started)
            } else {
                (judged.await, None)
            };
            match outcome {
                Ok(stats) => behind.push(direction, Outcome::Pass, stats),
                Err(stopped) => {
                    let (source, destination) = (source.vm, destination.vm);
                    return behind.end(stopped, direction, source, destination).await;
                }
            }
            next = started;
            // A loop has the ways alternate; a control's builds are the same anyway.
            direction = direction.reversed();
            source.vm.sweep();
            source = Side {
                vm: destination.vm,
                ready: Ok(()),
            };
        }
        RunResult::passed(behind.legs, behind.state)
    }

    /// Starts the first build; its guest works then, if it is to.
    async fn begin(&self, from: &Endpoint, log: &mut SerialLog) -> Result<Side, NoStart> {
        let mut vm = Vm::start(from, self.launch, Role::First, self.folder, 0)
            .await
            .map_err(|error| NoStart::Refused(Box::new(error)))?;
        let ready = self.set_up(&mut vm, End::Source).await;
        if self.launch.guest.is_some() {
            let started = async {
                vm.cont().await.map_err(|error| error.to_string())?;
                vm.wait_for_beat(log, None, self.config.timeouts.boot)
                    .await
                    .map_err(|why| why.to_string())
            };
            if let Err(why) = started.await {
                let stderr = vm.monitored.process.stderr();
                let label = from.build.label();
                return Err(NoStart::Idle(format!(
                    "{label}: the guest does not work before any migration: {why} {stderr}"
                )));
            }
        }
        Ok(Side { vm, ready })
    }

    /// Starts where a leg goes to. `None` behind the last one.
    async fn destination_of_leg(&self, index: usize) -> Option<Result<Side, StartError>> {
        let &to = self.destinations.get(index)?;
        let role = Role::Destination;
        let started = Vm::start(to, self.launch, role, self.folder, index + 1).await;
        let mut vm = match started {
            Ok(vm) => vm,
            Err(error) => return Some(Err(error)),
        };
        let ready = self.set_up(&mut vm, End::Destination).await;
        Some(Ok(Side { vm, ready }))
    }

    async fn set_up(&self, vm: &mut Vm, end: End) -> Result<(), LegError> {
        transfer::prepare(vm, end, &self.config.capabilities).await
    }
}

/// The way that is behind the guest, and what was seen on it.
#[derive(Default)]
struct CompletedLegs {
    legs: Vec<Leg>,
    state: Seen,
    never_ran: NeverRan,
    /// What was sent in the last leg, where nobody has looked yet how it arrived.
    sent: Option<Passed>,
}

impl CompletedLegs {
    /// Looks at what a leg did and left.
    async fn judge(
        &mut self,
        journey: &MigrationRun<'_>,
        to: &Endpoint,
        direction: Direction,
        staged: LegExecution,
    ) -> Result<Stats, Stopped> {
        let MigrationRun { config, launch, .. } = *journey;
        let LegExecution {
            outcome,
            differs,
            sent,
            held,
        } = staged;
        let index = self.legs.len();
        if index == 0 {
            self.state.first = sent.stream.clone().ok();
        }
        // A guest that did not run between two legs is sent on as it arrived.
        if let (Some(before), Some(index)) = (self.sent.take(), index.checked_sub(1)) {
            let stopped = |why| Stopped {
                why,
                before: true,
                blocks: None,
                stats: Stats::default(),
            };
            if outcome.is_ok()
                && let Some(unfit) = unlike(index, &before, &sent)
            {
                return Err(stopped(Why::LegError(Box::new(unfit))));
            }
            if let (Ok(before), Ok(sent)) = (&before.stream, &sent.stream) {
                let arrival = Arrival {
                    leg: index,
                    direction: direction.reversed(),
                    destination: journey.destinations[index],
                    sent: before,
                    held: sent,
                };
                let (state, never_ran) = (&mut self.state, &mut self.never_ran);
                if !config.holds(state, arrival, launch, never_ran).await {
                    return Err(stopped(Why::Values));
                }
            }
        }
        let stats = match outcome {
            Ok(stats) => stats,
            Err(unfit) => {
                self.state.refused = sent.stream.ok();
                return Err(unfit.into());
            }
        };
        let mut kept = true;
        match (&sent.stream, held) {
            (Ok(sent), Some(held)) => match held.stream {
                Ok(held) => {
                    let arrival = Arrival {
                        leg: index,
                        direction,
                        destination: to,
                        sent,
                        held: &held,
                    };
                    let (state, never_ran) = (&mut self.state, &mut self.never_ran);
                    kept = config.holds(state, arrival, launch, never_ran).await;
                    self.state.arrived = Some(held);
                }
                Err(why) => self.state.leave(format!(
                    "after leg {index} the destination could not save again: {why}"
                )),
            },
            // The next leg shows what arrived.
            (Ok(_), None) => self.sent = Some(sent),
            (Err(why), _) => self.state.leave(why.clone()),
        }
        let blocks = differs.as_ref().map(|found| found.blocks.clone());
        let why = match differs {
            Some(found) => Why::LegError(Box::new(found.into())),
            None if !kept => Why::Values,
            None => return Ok(stats),
        };
        Err(Stopped {
            why,
            before: false,
            blocks: Some(blocks.unwrap_or_default()),
            stats,
        })
    }

    fn push(&mut self, direction: Direction, outcome: Outcome, stats: Stats) {
        self.legs.push(Leg {
            index: self.legs.len(),
            direction,
            outcome,
            total_ms: stats.total_ms,
            downtime_ms: stats.downtime_ms,
            setup_ms: stats.setup_ms,
            bytes: stats.bytes,
            pages: stats.pages,
        });
    }

    /// The end of a way in a leg of this direction.
    async fn end(
        mut self,
        stopped: Stopped,
        direction: Direction,
        source: Vm,
        destination: Vm,
    ) -> RunResult {
        let outcome = match &stopped.why {
            Why::LegError(unfit) => unfit.outcome,
            Why::Values => Outcome::Lost,
        };
        match self.legs.last_mut() {
            Some(leg) if stopped.before => leg.outcome = outcome,
            _ => self.push(direction, outcome, stopped.stats),
        }
        let (legs, state) = (self.legs, self.state);
        let wrong = stopped.blocks.and_then(|blocks| state.wrong(blocks));
        let attempt = match stopped.why {
            Why::LegError(unfit) => {
                post_mortem::of_leg(*unfit, legs, state, source, destination).await
            }
            Why::Values => post_mortem::of_values(state, legs, source, destination).await,
        };
        let said = [&attempt.source_stderr, &attempt.destination_stderr];
        let quiet = said
            .into_iter()
            .all(|text| output::complaint(text).is_none());
        RunResult {
            wrong: wrong.filter(|_| quiet),
            ..attempt
        }
    }
}
