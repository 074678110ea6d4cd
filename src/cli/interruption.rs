//! The results of a run while it is under way, and the report that is made of them if a signal ends the run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::api::{CaseEvent, Event, Progress};
use crate::cli::events::EventLog;
use crate::cli::output::{Answer, Outputs};
use crate::cli::{Exit, Failure, fail};
use crate::report::bisection::Bisection;
use crate::report::map::{Map, MapPair};
use crate::report::{Case, NoticeKind, Policy, Report, Swept, Verdict, notices_of};
use crate::rules::catalogue;

/// The run that is under way, with the places that its report goes to. Whoever takes it writes the report.
static RUN: Mutex<Option<Run>> = Mutex::new(None);

struct Run {
    outputs: Outputs,
    known: Known,
    events: Arc<EventLog>,
}

fn run() -> MutexGuard<'static, Option<Run>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The events of a run so far.
#[derive(Debug, Default)]
pub(crate) enum Known {
    /// Its builds are not ready.
    #[default]
    Nothing,
    Report(Box<Report>),
    /// A map, and the time at which its builds were ready.
    Map(Box<Map>, Instant),
    Bisection(Box<Bisection>),
}

impl Known {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened { old, new, machine } => {
                let machine = machine.map(str::to_owned);
                let report = Report::new((*old).clone(), (*new).clone(), machine);
                *self = Known::Report(Box::new(report));
            }
            Event::MapPlanned { map } => {
                *self = Known::Map(Box::new((*map).clone()), Instant::now());
            }
            Event::BuildChosen { so_far, .. } => {
                *self = Known::Bisection(Box::new((*so_far).clone()));
            }
            Event::Compared { findings } => {
                if let Known::Report(report) = self {
                    report.findings = findings.to_vec();
                }
            }
            Event::Case {
                event: CaseEvent::Ended(case),
                ..
            } => {
                if let Known::Report(report) = self {
                    report.cases.push((*case).clone());
                }
            }
            // A map has the machines that are done.
            Event::SweepAdvanced { decided, .. } => {
                if let Known::Report(report) = self {
                    report.cases.extend(decided.iter().cloned());
                }
            }
            Event::MachineSwept {
                between,
                swept,
                cases,
                ..
            } => {
                if let Some(report) = self.report_of(*between, swept) {
                    report.swept.push((*swept).clone());
                    // Instead of what they were before their controls.
                    let now: BTreeSet<&str> = cases.iter().map(|case| &*case.id).collect();
                    report.cases.retain(|case| !now.contains(&*case.id));
                    report.cases.extend(cases.iter().cloned());
                }
            }
            _ => {}
        }
    }

    /// Returns the report that a machine belongs to. Pairs of the same two builds have it once each.
    fn report_of(&mut self, between: Option<[&str; 2]>, machine: &Swept) -> Option<&mut Report> {
        let map = match self {
            Known::Report(report) => return Some(report),
            Known::Map(map, _) => map,
            Known::Nothing | Known::Bisection(_) => return None,
        };
        let is_of = |report: &Report| {
            let labels = [&*report.old.label, &*report.new.label];
            let is_same = |of: &Swept| {
                (&of.architecture, &of.machine) == (&machine.architecture, &machine.machine)
            };
            between.is_none_or(|between| between == labels) && !report.swept.iter().any(is_same)
        };
        let mut reports = map.pairs.iter_mut().map(|pair| &mut pair.report);
        reports.find(|report| is_of(report))
    }

    /// Returns the answer of a run that a signal ended, if anything is known of it.
    fn into_answer(self, signal: Signal) -> Option<Box<dyn Answer>> {
        match self {
            Known::Nothing => None,
            Known::Report(report) => Some(Box::new(interrupted(*report, signal))),
            Known::Map(map, begun) => {
                let pairs = map.pairs.into_iter().map(|pair| MapPair {
                    report: interrupted(pair.report, signal),
                    ..pair
                });
                let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                Some(Box::new(Map::of(map.builds, pairs.collect(), elapsed)))
            }
            Known::Bisection(found) => Some(Box::new(Bisection {
                interrupted: Some(signal.as_str().to_owned()),
                ..*found
            })),
        }
    }
}

/// Returns the report of a run that a signal ended.
fn interrupted(mut report: Report, signal: Signal) -> Report {
    for Case { logs, .. } in &mut report.cases {
        // Only logs that the user keeps outlive the run.
        logs.take_if(|folder| !Path::new(folder).exists());
    }
    report.rules = catalogue::texts(&report.findings, &report.cases);
    report.notices.extend(notices_of(&report.cases));
    report.notices.push(
        NoticeKind::Interrupted.about(signal.as_str(), "the report has what was known by then"),
    );
    report.interrupted = Some(signal.as_str().to_owned());
    report.judged_by(Policy::default())
}

/// A run that a signal may end.
pub(crate) struct Interruptible {
    events: Arc<EventLog>,
}

impl Interruptible {
    /// Has a signal write what is known to these outputs from now on.
    pub(crate) fn begin(outputs: Outputs, events: EventLog) -> Interruptible {
        let events = Arc::new(events);
        *run() = Some(Run {
            outputs,
            known: Known::default(),
            events: Arc::clone(&events),
        });
        Interruptible { events }
    }

    /// Returns a reader of events that notes what is known, and tells another one and the log of events.
    pub(crate) fn watcher<'w>(&'w self, display: &'w dyn Progress) -> impl Progress + 'w {
        move |event: Event<'_>| {
            display.event(event);
            self.events.event(&event);
            if let Some(run) = &mut *run() {
                run.known.note(&event);
            }
        }
    }

    /// Writes the answer, if there is one.
    ///
    /// # Errors
    /// There is none, or it cannot be written.
    pub(crate) fn end(self, made: Result<Box<dyn Answer>, Failure>) -> Result<Exit, Failure> {
        self.end_with(made, |answer, outputs| {
            let exit = outputs.write(&*answer)?;
            Ok((exit, Some(answer.verdict())))
        })
    }

    /// Writes what was made in another way.
    ///
    /// # Errors
    /// There is none, or it cannot be written.
    pub(crate) fn end_with<T>(
        self,
        made: Result<T, Failure>,
        write: impl FnOnce(T, Outputs) -> Result<(Exit, Option<Verdict>), Failure>,
    ) -> Result<Exit, Failure> {
        let Some(Run { outputs, .. }) = run().take() else {
            // A signal has taken it, and ends the process.
            loop {
                std::thread::park();
            }
        };
        let ended = made.and_then(|answer| write(answer, outputs));
        match &ended {
            Ok((exit, verdict)) => self.events.ended(*verdict, exit.status(), None),
            Err(failure) => self.events.ended(None, failure.status(), Some(failure)),
        }
        ended.map(|(exit, _)| exit)
    }
}

/// Writes what is known to every output that was asked for, if the run has not ended by itself.
pub(crate) fn write(signal: Signal) {
    let Some(Run {
        outputs,
        known,
        events,
    }) = run().take()
    else {
        return;
    };
    let verdict = known.into_answer(signal).map(|answer| {
        if let Err(failure) = outputs.write_interrupted(&*answer) {
            fail(&failure);
        }
        answer.verdict()
    });
    let failure = Failure::Interrupted(signal);
    events.ended(verdict, failure.status(), Some(&failure));
}
