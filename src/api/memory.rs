//! Earlier results that a run is held against, and where it is recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::api::error::{Error, Problem};
use crate::api::lock;
use crate::api::lock::{Lock, LockError};
use crate::api::one_case;
use crate::devices::shipped;
use crate::history::{Access, Entry, History, HistoryError, MOST, Row, Run, judge};
use crate::qemu::Fingerprints;
use crate::report::baseline::{Sought, hold_against};
use crate::report::read::{Input, read};
use crate::report::{Gate, Notice, NoticeKind, Policy, Report, RunRecord, Tool};
use crate::rules::known_issues;
use crate::rules::known_issues::KnownIssues;

/// Earlier results that a run is held against, and which breaks then count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// A report in JSON, plain, `.gz` or `.zst`: every finding and case says how it stands to it.
    pub baseline: Option<PathBuf>,
    /// The file with the results of earlier runs: every case says what they make of it, and the run is
    /// added. It is made where there is none.
    pub history: Option<PathBuf>,
    /// The file that holds this program, the lists and the device sets as they were, and is made where there
    /// is none: a run that differs is refused.
    pub lock: Option<PathBuf>,
    /// The reason why a run that differs from the lock is done nonetheless; the report shows it.
    pub acknowledged: Option<String>,
    /// The breaks that count.
    pub gate: Gate,
}

impl Memory {
    /// Nothing that was before.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Sets the report that the run is held against.
    pub fn baseline(mut self, report: impl Into<PathBuf>) -> Memory {
        self.baseline = Some(report.into());
        self
    }

    /// Sets the file with the results of earlier runs.
    pub fn history(mut self, file: impl Into<PathBuf>) -> Memory {
        self.history = Some(file.into());
        self
    }

    /// Sets the file that holds what tests as it was.
    pub fn lock(mut self, file: impl Into<PathBuf>) -> Memory {
        self.lock = Some(file.into());
        self
    }

    /// Sets the reason why a run that differs from the lock is done nonetheless.
    pub fn acknowledged(mut self, reason: impl Into<String>) -> Memory {
        self.acknowledged = Some(reason.into());
        self
    }

    /// Sets the breaks that count.
    pub fn gate(mut self, gate: Gate) -> Memory {
        self.gate = gate;
        self
    }
}

/// What a report was made with.
pub(crate) struct Means<'m> {
    pub sought: &'m Sought,
    /// Nothing where reports are joined, which say it themselves.
    pub lists: Option<&'m KnownIssues>,
    /// The builds that guests were moved between.
    pub builds: Option<Fingerprints>,
    /// The device sets by name, or by a file of the user's own.
    pub sets: &'m [String],
}

/// Earlier results that were read before a run began.
pub(crate) struct Recalled {
    baseline: Option<Input>,
    history: Option<(PathBuf, History)>,
    lock: Option<PathBuf>,
    acknowledged: Option<String>,
    /// What is known of the run before it ends.
    notices: Vec<Notice>,
    gate: Gate,
    began: SystemTime,
}

impl Recalled {
    /// Reads what a run is to be held against.
    ///
    /// # Errors
    /// A file is no report or no history, or the breaks that count cannot be told without one.
    pub(crate) fn read(memory: &Memory) -> Result<Recalled, Error> {
        match memory.gate {
            Gate::New if memory.baseline.is_none() => return Err(Problem::NoBaseline.into()),
            Gate::Regression if memory.history.is_none() => return Err(Problem::NoHistory.into()),
            Gate::All | Gate::New | Gate::Regression => {}
        }
        let history = memory.history.as_ref().map(|file| {
            let history = History::open(file, Access::Write)?;
            Ok::<_, HistoryError>((file.clone(), history))
        });
        Ok(Recalled {
            baseline: memory.baseline.as_deref().map(read).transpose()?,
            history: history.transpose()?,
            lock: memory.lock.clone(),
            acknowledged: memory.acknowledged.clone(),
            notices: Vec::new(),
            gate: memory.gate,
            began: SystemTime::now(),
        })
    }

    /// Compares what tests with the lock, if there is one.
    ///
    /// # Errors
    /// The lock cannot be used, or the run differs from it and nobody acknowledges that.
    pub(crate) fn hold(&mut self, lists: &KnownIssues, sets: &[String]) -> Result<(), Error> {
        let Some(file) = self.lock.take() else {
            return Ok(());
        };
        let lock = Lock {
            migcompat: Tool::this().version,
            lists: lists.digest(),
            device_sets: sets_digest(sets),
        };
        let changed = lock.hold(&file)?;
        match &self.acknowledged {
            _ if changed.is_empty() => {}
            None => return Err(LockError::Broken { file, changed }.into()),
            Some(reason) => {
                let detail = format!("{}; acknowledged: {reason}", lock::list(&changed));
                let subject = file.display().to_string();
                self.notices
                    .push(Notice::new(NoticeKind::LockDiffers, subject, detail));
            }
        }
        Ok(())
    }

    /// Holds a report against what was before, records it, and draws its verdict. Of the lists, it says which
    /// entries are out of date.
    pub(crate) fn judge(self, mut report: Report, policy: Policy, means: Means<'_>) -> Report {
        if let Some(lists) = means.lists {
            let notices = known_issues::review(lists, &report, means.sought);
            report.notices.extend(notices);
            report.run = Some(record(self.began, lists, means.sets, means.builds));
        }
        if let Some(baseline) = &self.baseline {
            hold_against(
                &mut report,
                &baseline.report,
                &baseline.origin,
                means.sought,
            );
        }
        report.notices.extend(self.notices);
        report.notices.extend(one_case::missing(&report, &policy));
        for case in &mut report.cases {
            case.memory = None;
        }
        if let Some((file, mut history)) = self.history
            && let Err(error) = remember(
                &mut report,
                &mut history,
                self.began,
                self.baseline.as_ref().map(|input| &input.report),
            )
        {
            let subject = file.display().to_string();
            let notice = Notice::new(NoticeKind::HistoryFailed, subject, error);
            report.notices.push(notice);
        }
        report.judged_by(Policy {
            gate: self.gate,
            ..policy
        })
    }
}

/// Notes what the history says of each case, and adds the run to it. A baseline is one more earlier run.
fn remember(
    report: &mut Report,
    history: &mut History,
    began: SystemTime,
    baseline: Option<&Report>,
) -> Result<(), HistoryError> {
    let run = Run::of(report, began);
    let old = run.old.release();
    let before = baseline.map_or_else(BTreeMap::new, |baseline| results(baseline, &old));
    let mut rows = Vec::new();
    for case in &mut report.cases {
        let row = Row::of(case);
        let mut past = history.past(&row.key, &old, MOST)?;
        if let Some(entry) = before.get(&row.key)
            && past.iter().all(|known| known.run != entry.run)
        {
            let at = past.partition_point(|known| known.run.at <= entry.run.at);
            past.insert(at, entry.clone());
        }
        let now = Entry {
            run: run.clone(),
            trial: row.trial.clone(),
        };
        case.memory = judge(&past, &now);
        rows.push(row);
    }
    history.add(&run, &rows)?;
    Ok(())
}

/// Returns the results of a report that is about the same old release, by the keys of their cases.
fn results(report: &Report, old: &str) -> BTreeMap<String, Entry> {
    let run = Run::of(report, SystemTime::UNIX_EPOCH);
    let cases = report.cases.iter().filter(|_| run.old.release() == old);
    let entry = |case| {
        let row = Row::of(case);
        let entry = Entry {
            run: run.clone(),
            trial: row.trial,
        };
        (row.key, entry)
    };
    cases.map(entry).collect()
}

/// Returns a hash of the shipped device sets, and of those that a user's own files have.
fn sets_digest(sets: &[String]) -> String {
    let own = sets.iter().map(Path::new);
    let own: Vec<&Path> = own.filter(|file| file.is_file()).collect();
    shipped::digest(&own)
}

/// Says when the run began and by what it tests.
fn record(
    began: SystemTime,
    lists: &KnownIssues,
    sets: &[String],
    builds: Option<Fingerprints>,
) -> RunRecord {
    let (old_hash, new_hash) = builds.map(Fingerprints::wait).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    RunRecord {
        started: humantime::format_rfc3339_seconds(began).to_string(),
        host: host.trim().to_owned(),
        lists: lists.digest(),
        device_sets: sets_digest(sets),
        old_hash,
        new_hash,
    }
}
