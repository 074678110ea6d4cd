//! The log of events: `--events FILE`, a line of JSON for each thing that happens, as `events-schema.json` describes it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use anyhow::{Context, anyhow};
use nix::fcntl::OFlag;
use serde::Serialize;

use crate::api::{CaseEvent, CaseStep, Event, FetchEvent};
use crate::cli::Failure;
use crate::model::{BuildRef, Direction, visible, visible_json};
use crate::report::bisection::{Judgement, Place};
use crate::report::{Case, Level, Outcome, Tool, Verdict};

/// The form's name, in the first line.
const SCHEMA: &str = "migcompat-events-1";

/// A log of events, or none.
pub(crate) struct EventLog {
    began: Instant,
    /// Nothing where no log was asked for, and after it could not be written.
    out: Mutex<Option<Box<dyn Write + Send>>>,
    file: PathBuf,
}

#[derive(Serialize)]
struct Line<'e> {
    /// Milliseconds since the run began.
    ms: u64,
    #[serde(flatten)]
    entry: Entry<'e>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Entry<'e> {
    Began {
        schema: &'static str,
        tool: Tool,
        started: String,
    },
    Fetch {
        text: String,
    },
    Opened {
        old: &'e BuildRef,
        new: &'e BuildRef,
        machine: Option<&'e str>,
    },
    Compared {
        findings: BTreeMap<Level, usize>,
    },
    CasesPlanned {
        cases: usize,
    },
    CaseBegan {
        number: usize,
        id: &'e str,
        culprit: bool,
    },
    CaseStep {
        number: usize,
        id: &'e str,
        step: Step,
    },
    CaseEnded {
        number: usize,
        culprit: bool,
        #[serde(flatten)]
        case: Ended<'e>,
    },
    MachineSwept {
        done: usize,
        of: usize,
        /// The builds, where the run has several pairs of them.
        between: Option<[&'e str; 2]>,
        architecture: &'e str,
        machine: &'e str,
        cases: Vec<Ended<'e>>,
    },
    MapPlanned {
        builds: &'e [BuildRef],
        /// By their places among the builds, from 0.
        pairs: Vec<[usize; 2]>,
    },
    BuildChosen {
        build: String,
        place: Place,
        left: usize,
    },
    BuildTried {
        build: String,
        judgement: Judgement,
        outcome: Option<Outcome>,
        untested: Option<&'e str>,
    },
    Ended {
        verdict: Option<Verdict>,
        status: u8,
        error: Option<String>,
    },
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Step {
    Leg { leg: usize, of: usize },
    Control,
    Again { time: usize, of: usize },
    Blame,
}

/// A case that is over; the report has all of it.
#[derive(Serialize)]
struct Ended<'e> {
    id: &'e str,
    direction: Direction,
    outcome: Outcome,
    elapsed_ms: u64,
    cause: Option<&'e str>,
}

impl<'e> From<&'e Case> for Ended<'e> {
    fn from(case: &'e Case) -> Self {
        Ended {
            id: &case.id,
            direction: case.direction,
            outcome: case.outcome,
            elapsed_ms: case.elapsed_ms,
            cause: case.message(),
        }
    }
}

impl From<CaseStep> for Step {
    fn from(step: CaseStep) -> Self {
        match step {
            CaseStep::Leg { index, of } => Step::Leg { leg: index + 1, of },
            CaseStep::Control => Step::Control,
            CaseStep::Again { time, of } => Step::Again { time, of },
            CaseStep::Blame => Step::Blame,
        }
    }
}

impl EventLog {
    /// Opens the log, if one is asked for. A file is emptied; a pipe, a device and a descriptor that we were given are
    /// written into.
    ///
    /// # Errors
    /// It cannot be written, or the report goes to standard output and so would it.
    pub(crate) fn new(file: Option<&Path>, has_stdout: bool) -> Result<EventLog, Failure> {
        let out: Option<Box<dyn Write + Send>> = match file {
            None => None,
            Some(file) if file == Path::new("-") && has_stdout => {
                return Err(Failure::usage(anyhow!(
                    "the report and its events both go to standard output: name a file for one of them (-o, --events)"
                )));
            }
            Some(file) if file == Path::new("-") => Some(Box::new(io::stdout())),
            Some(file) => {
                let opened =
                    open(file).with_context(|| format!("cannot write {}", file.display()))?;
                Some(Box::new(opened))
            }
        };
        let log = EventLog {
            began: Instant::now(),
            out: Mutex::new(out),
            file: file.unwrap_or(Path::new("")).to_owned(),
        };
        log.write(Entry::Began {
            schema: SCHEMA,
            tool: Tool::this(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        });
        Ok(log)
    }

    /// Writes the line of an event; the progress of a download has none.
    pub(crate) fn event(&self, event: &Event<'_>) {
        let entry = match *event {
            Event::Fetch(FetchEvent::Advanced { .. } | FetchEvent::Ended { .. }) => return,
            Event::Fetch(event) => Entry::Fetch {
                text: event.to_string(),
            },
            Event::Opened { old, new, machine } => Entry::Opened { old, new, machine },
            Event::Compared { findings } => {
                let mut levels: BTreeMap<Level, usize> = BTreeMap::new();
                for finding in findings.iter().filter(|of| of.allowed_by.is_none()) {
                    *levels.entry(finding.level).or_default() += 1;
                }
                Entry::Compared { findings: levels }
            }
            Event::CasesPlanned(cases) => Entry::CasesPlanned { cases },
            Event::Case {
                number,
                id,
                culprit,
                event,
            } => match event {
                CaseEvent::Began => Entry::CaseBegan {
                    number,
                    id,
                    culprit,
                },
                CaseEvent::Step(step) => Entry::CaseStep {
                    number,
                    id,
                    step: step.into(),
                },
                CaseEvent::Ended(case) => Entry::CaseEnded {
                    number,
                    culprit,
                    case: case.into(),
                },
            },
            Event::MachineSwept {
                done,
                of,
                between,
                swept,
                cases,
            } => Entry::MachineSwept {
                done,
                of,
                between,
                architecture: &swept.architecture,
                machine: &swept.machine,
                cases: cases.iter().map(Ended::from).collect(),
            },
            Event::MapPlanned { map } => Entry::MapPlanned {
                builds: &map.builds,
                pairs: map.pairs.iter().map(|pair| [pair.old, pair.new]).collect(),
            },
            // What it comes to is told when the machine is done.
            Event::SweepAdvanced { .. } => return,
            Event::BuildChosen {
                build, place, left, ..
            } => Entry::BuildChosen {
                build: build.to_string(),
                place,
                left,
            },
            Event::BuildTried { build, step } => Entry::BuildTried {
                build: build.to_string(),
                judgement: step.judgement,
                outcome: step.outcome,
                untested: step.untested.as_deref(),
            },
        };
        self.write(entry);
    }

    /// Writes the last line: how the run ended.
    pub(crate) fn ended(&self, verdict: Option<Verdict>, status: u8, failure: Option<&Failure>) {
        self.write(Entry::Ended {
            verdict,
            status,
            error: failure.map(Failure::to_string),
        });
    }

    /// Writes a line at once. A log that cannot be written ends there, and the run goes on.
    fn write(&self, entry: Entry<'_>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = &mut *out else {
            return;
        };
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let written = serde_json::to_string(&Line { ms, entry })
            .map_err(io::Error::from)
            .and_then(|line| log.write_all(format!("{}\n", visible_json(&line)).as_bytes()))
            .and_then(|()| log.flush());
        if let Err(error) = written {
            *out = None;
            // A reader that has read enough is no error.
            if error.kind() != io::ErrorKind::BrokenPipe {
                let file = self.file.display().to_string();
                let file = visible(&file);
                let _nobody_reads = writeln!(io::stderr(), "cannot write {file}: {error}");
            }
        }
    }
}

/// Opens a file to be written from its start, or something else to be written into.
fn open(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Others may write to a descriptor that we were given, and a terminal does not become ours.
    options
        .append(true)
        .create(true)
        .custom_flags(OFlag::O_NOCTTY.bits());
    let opened = options.open(file)?;
    let is_given = ["/dev", "/proc"].iter().any(|of| file.starts_with(of));
    if opened.metadata()?.is_file() && !is_given {
        opened.set_len(0)?;
    }
    Ok(opened)
}
