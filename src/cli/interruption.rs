//! What is known of a run while it is under way, and the report that is made of it if a signal ends the run.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;

use crate::api::{CaseEvent, Event, Progress};
use crate::cli::events::EventLog;
use crate::cli::output::{Answer, Outputs};
use crate::cli::{Exit, Failure, fail};
use crate::report::{Case, Notice, NoticeKind, Policy, Report, Verdict, notices_of};
use crate::rules::catalogue;

/// The run that is under way, with the places that its report goes to. Whoever takes it writes the report.
static RUN: Mutex<Option<Run>> = Mutex::new(None);

struct Run {
    /// Nothing where only the events are written then.
    outputs: Option<Outputs>,
    known: Known,
    events: Arc<EventLog>,
}

fn run() -> MutexGuard<'static, Option<Run>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was reported of a run so far. Nothing is known before its builds are ready.
#[derive(Debug, Default)]
pub(crate) struct Known {
    report: Option<Report>,
}

impl Known {
    fn note(&mut self, event: &Event<'_>) {
        if let Event::Opened { old, new, machine } = event {
            let machine = machine.map(str::to_owned);
            self.report = Some(Report::new((*old).clone(), (*new).clone(), machine));
            return;
        }
        let Some(report) = &mut self.report else {
            return;
        };
        match event {
            Event::Compared { findings } => report.findings = findings.to_vec(),
            Event::Case {
                event: CaseEvent::Ended(case),
                ..
            } => report.cases.push((*case).clone()),
            Event::MachineSwept { swept, cases, .. } => {
                report.swept.push((*swept).clone());
                report.cases.extend(cases.iter().cloned());
            }
            _ => {}
        }
    }

    /// Returns the report of a run that a signal ended, if anything is known of it.
    fn into_report(self, signal: Signal) -> Option<Report> {
        let mut report = self.report?;
        for Case { logs, .. } in &mut report.cases {
            // Only logs that the user keeps outlive the run.
            logs.take_if(|folder| !Path::new(folder).exists());
        }
        report.rules = catalogue::texts(&report.findings, &report.cases);
        report.notices = notices_of(&report.cases).into_iter().collect();
        report.notices.push(Notice::new(
            NoticeKind::Interrupted,
            signal.as_str(),
            "the report has what was known by then",
        ));
        report.interrupted = Some(signal.as_str().to_owned());
        Some(report.judged_by(Policy::default()))
    }
}

/// A run that a signal may end.
pub(crate) struct Interruptible {
    events: Arc<EventLog>,
}

impl Interruptible {
    /// Has a signal write what is known to these outputs from now on.
    pub(crate) fn begin(outputs: Option<Outputs>, events: EventLog) -> Interruptible {
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
    pub(crate) fn end<A: Answer>(self, made: Result<A, Failure>) -> Result<Exit, Failure> {
        self.end_with(made, |answer, outputs| {
            let exit = match outputs {
                Some(outputs) => outputs.write(&answer)?,
                None => answer.verdict().into(),
            };
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
        write: impl FnOnce(T, Option<Outputs>) -> Result<(Exit, Option<Verdict>), Failure>,
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
    let verdict = known.into_report(signal).map(|report| {
        let written = outputs.map(|outputs| outputs.write_interrupted(&report));
        if let Some(Err(failure)) = written {
            fail(&failure);
        }
        report.verdict
    });
    let failure = Failure::Interrupted(signal);
    events.ended(verdict, failure.status(), Some(&failure));
}
