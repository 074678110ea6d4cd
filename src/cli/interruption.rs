//! What is known of a run while it is under way, and the report that is made of it if a signal ends the run.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;

use crate::api::{CaseEvent, Event, Progress};
use crate::cli::events::EventLog;
use crate::cli::output::Outputs;
use crate::cli::{Exit, Failure, fail};
use crate::report::{Case, Notice, NoticeKind, Policy, Report, notices_of};
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
    pub(crate) fn begin(outputs: Outputs, known: Known, events: EventLog) -> Interruptible {
        let events = Arc::new(events);
        *run() = Some(Run {
            outputs,
            known,
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

    /// Writes the report, if there is one.
    ///
    /// # Errors
    /// There is none, or it cannot be written.
    pub(crate) fn end(self, made: Result<Report, Failure>) -> Result<Exit, Failure> {
        let Some(Run { outputs, .. }) = run().take() else {
            // A signal has taken it, and ends the process.
            loop {
                std::thread::park();
            }
        };
        let ended = made.and_then(|report| Ok((outputs.write(&report)?, report.verdict)));
        match &ended {
            Ok((exit, verdict)) => self.events.ended(Some(*verdict), exit.status(), None),
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
        if let Err(failure) = outputs.write_interrupted(&report) {
            fail(&failure);
        }
        report.verdict
    });
    let failure = Failure::Interrupted(signal);
    events.ended(verdict, failure.status(), Some(&failure));
}
