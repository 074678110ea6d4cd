//! The sweep of one machine, from the first guest to the last control.

mod across;
mod attribution;
mod bare;
mod controls;
mod devices;
mod evidence;
mod guest;
mod kind;
mod options;
mod rom;
mod run;

use std::collections::BTreeSet;
use std::time::Instant;

use crate::culprit::{Item, Verdict};
use crate::migration::case::milliseconds;
use crate::migration::pool::Job;
use crate::model::Direction;
use crate::sweep::target::SweepTarget;

pub(crate) use across::{AcrossSearch, Before, FailedBefore};
pub(crate) use bare::BareMachine;
pub(crate) use controls::Controls;
pub(crate) use devices::Devices;
pub(crate) use evidence::Evidence;
pub(crate) use guest::{Guest, Task, TaskResult, endpoints, perform};
pub(crate) use options::{Context, Options, Packing};
pub(crate) use run::Run;

use guest::Purpose;

/// The state of a machine's sweep.
#[derive(Debug)]
pub(crate) struct MachineSweep<'t> {
    pub context: Context<'t>,
    phase: Phase<'t>,
    pub evidence: Evidence,
    pub cost: Cost,
    /// The device types that are not tried again.
    failed_before: FailedBefore,
    /// What was told already of all that is decided.
    told: BTreeSet<(Direction, Option<Item>)>,
    /// The number of tasks under way.
    open: usize,
}

/// The guests and the time that a machine's sweep took.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    started: Option<Instant>,
    pub elapsed_ms: u64,
    pub guests: usize,
}

/// The phase of a machine's sweep; each has what the ones before it found out. A phase begins when all
/// that was to be done in the one before it is done.
#[derive(Debug)]
enum Phase<'t> {
    /// The machine moves without any device.
    BareMachine(BareMachine),
    /// Every device moves between the builds; none does where it is not known what they could be plugged into.
    Across(Box<AcrossSearch<'t>>),
    /// Every device that does not migrate moves from each build to itself.
    Controls(Box<Controls<'t>>),
    Done(Box<Controls<'t>>),
}

/// The progress of the sweep of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The phase that is under way.
    pub phase: SweepPhase,
    /// The cases that are decided, but for their controls.
    pub done: usize,
    /// All cases; none are known before the machine has moved.
    pub cases: usize,
}

/// A part of the sweep of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepPhase {
    /// The machine moves without any device.
    Machine,
    /// Every device moves between the builds.
    Devices,
    /// Tries what failed again, and from each build to itself.
    Controls,
    /// Nothing is left to be done.
    Done,
}

impl Default for Phase<'_> {
    fn default() -> Self {
        Phase::BareMachine(BareMachine::default())
    }
}

impl<'t> MachineSweep<'t> {
    /// Begins with the machine alone.
    pub(super) fn begin(
        target: &'t SweepTarget,
        options: &'t Options,
        failed_before: FailedBefore,
    ) -> (Self, Vec<Job<Task>>) {
        let mut sweep = MachineSweep {
            context: Context { target, options },
            phase: Phase::default(),
            evidence: Evidence::default(),
            cost: Cost::default(),
            failed_before,
            told: BTreeSet::new(),
            open: 0,
        };
        let jobs = sweep.jobs(BareMachine::begin(&options.directions));
        (sweep, jobs)
    }

    fn jobs(&mut self, tasks: Vec<Task>) -> Vec<Job<Task>> {
        self.open += tasks.len();
        self.cost.guests += tasks.iter().map(Task::guests).sum::<usize>();
        let job = |job: Task| Job {
            weight: job.weight(),
            job,
        };
        tasks.into_iter().map(job).collect()
    }

    /// Takes the result of a task; returns what is to be done next.
    pub(super) fn record(&mut self, task: Task, result: TaskResult) -> Vec<Job<Task>> {
        let started = *self.cost.started.get_or_insert_with(Instant::now);
        self.open -= 1;
        if let TaskResult::Moved(moved) = &result {
            self.cost.guests += moved.calibration;
        }
        let mut tasks = self.take(task, result);
        if tasks.is_empty() && self.open == 0 {
            tasks = self.advance();
        }
        self.cost.elapsed_ms = milliseconds(started);
        self.jobs(tasks)
    }

    /// Takes the result of a task in its phase; returns what that calls for.
    fn take(&mut self, task: Task, result: TaskResult) -> Vec<Task> {
        use TaskResult::{Corrected, Moved, Override};
        let route = task.guest.route;
        let evidence = &mut self.evidence;
        match (&mut self.phase, task.purpose, result) {
            (
                Phase::BareMachine(bare),
                Purpose::BareMachine | Purpose::BareControl,
                Moved(moved),
            ) => {
                let (run, stream) = (&moved.run, moved.stream.as_ref());
                if let Some(direction) = route.direction() {
                    evidence.add(direction, &[], 0, BTreeSet::new(), run, stream);
                }
                return bare.record(self.context, route, &moved);
            }
            (Phase::BareMachine(bare), _, Override(Some(found))) => {
                let found = route.direction().map(|direction| (direction, found));
                bare.overrides.extend(found);
            }
            (Phase::Across(across), Purpose::Search { trial, .. }, Moved(moved)) => {
                return across.record(&trial, moved, evidence);
            }
            (Phase::Across(across), Purpose::TryAgain(item), Moved(moved)) => {
                return across.record_again(item, route, moved.run);
            }
            (
                Phase::Controls(controls),
                Purpose::Explain { item, .. } | Purpose::Refill(item, _),
                Corrected(Some(run)),
            ) => controls.correct(item, route, run),
            (Phase::Controls(controls), purpose, Moved(moved)) => match purpose {
                Purpose::Control(trial) => return controls.record(&trial, moved.run),
                Purpose::Calibrate { item, .. } => {
                    return controls.record_calibrated(item, route, moved, evidence);
                }
                Purpose::Repeat(item) => return controls.record_repeat(item, route, moved.run),
                Purpose::Group(at) => controls.record_group(at, route, moved.run),
                Purpose::ControlAgain(item) => controls.record_again(item, route, moved.run),
                _ => {}
            },
            // Every task is of the phase that asked for it, and ends before the next one begins.
            _ => {}
        }
        Vec::new()
    }

    /// Goes to the next phase that has something to do, or to the end.
    fn advance(&mut self) -> Vec<Task> {
        loop {
            let (phase, tasks) = self.next_phase();
            self.phase = phase;
            if !tasks.is_empty() || self.finished().is_some() {
                return tasks;
            }
        }
    }

    fn next_phase(&mut self) -> (Phase<'t>, Vec<Task>) {
        match std::mem::take(&mut self.phase) {
            Phase::BareMachine(bare) => {
                let failed_before = std::mem::take(&mut self.failed_before);
                let (across, tasks) =
                    AcrossSearch::begin(self.context, bare, &self.evidence, failed_before);
                (Phase::Across(Box::new(across)), tasks)
            }
            Phase::Across(across) => {
                let (controls, tasks) = Controls::begin(*across, &self.evidence);
                (Phase::Controls(Box::new(controls)), tasks)
            }
            Phase::Controls(mut controls) => {
                let tasks = controls.last_tasks();
                match tasks.is_empty() {
                    true => (Phase::Done(controls), tasks),
                    false => (Phase::Controls(controls), tasks),
                }
            }
            Phase::Done(controls) => (Phase::Done(controls), Vec::new()),
        }
    }

    /// Returns how far it has come.
    pub(super) fn advance_so_far(&self) -> Advance {
        let phase = match &self.phase {
            Phase::BareMachine(_) => SweepPhase::Machine,
            Phase::Across(_) => SweepPhase::Devices,
            Phase::Controls(_) => SweepPhase::Controls,
            Phase::Done(_) => SweepPhase::Done,
        };
        let across = self.across();
        let cases = across.map_or(0, |across| {
            let devices = across.devices.catalogue.candidates.len();
            devices * self.context.options.directions.len()
        });
        let done = match (phase, across) {
            (SweepPhase::Devices, Some(across)) => {
                let done = across.search.verdicts().keys();
                done.filter(|(route, _)| route.direction().is_some())
                    .count()
            }
            _ => cases,
        };
        Advance {
            phase,
            // What devices need is decided along with them.
            done: done.min(cases),
            cases,
        }
    }

    /// Returns the devices that are tried between the builds, once the machine has moved.
    pub(super) fn across(&self) -> Option<&AcrossSearch<'t>> {
        match &self.phase {
            Phase::Across(across) => Some(across),
            Phase::Controls(controls) | Phase::Done(controls) => Some(&controls.across),
            Phase::BareMachine(_) => None,
        }
    }

    /// Returns what was decided since this was asked last: the machine without any device, or one of them, in a direction.
    pub(super) fn newly_decided(&mut self) -> Vec<(Direction, Option<Item>)> {
        let across = match &self.phase {
            Phase::Across(across) => across,
            Phase::Controls(controls) => &controls.across,
            Phase::BareMachine(_) | Phase::Done(_) => return Vec::new(),
        };
        let Context { target, options } = self.context;
        let is_own = target.bare_family().is_in(options.shard);
        let directions = options.directions.iter().filter(|_| is_own);
        let bare = directions.map(|&direction| (direction, None));
        let devices = across.search.verdicts().iter();
        let devices = devices.filter_map(|(&(route, item), verdict)| {
            let is_told =
                matches!(verdict, Verdict::Refused(_)) || !across.devices.own.contains(&item);
            let direction = route.direction().filter(|_| !is_told)?;
            Some((direction, Some(item)))
        });
        let decided: Vec<_> = bare.chain(devices).collect();
        let is_new = |of: &(Direction, Option<Item>)| self.told.insert(*of);
        decided.into_iter().filter(is_new).collect()
    }

    /// Returns the results, once nothing is left to be done.
    pub(super) fn finished(&self) -> Option<&Controls<'t>> {
        match &self.phase {
            Phase::Done(controls) => Some(controls),
            Phase::BareMachine(_) | Phase::Across(_) | Phase::Controls(_) => None,
        }
    }
}
