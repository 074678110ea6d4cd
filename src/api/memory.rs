//! Everything that outlives a run: the results that it is held against, where it is recorded, and the people to tell of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::api::config::Memory;
use crate::api::error::{Error, Problem};
use crate::api::lock::{Lock, LockError};
use crate::api::{Outcome, one_case};
use crate::devices::shipped;
use crate::history::{
    Access, Entry, Findings, History, HistoryError, Kind, MOST, Purpose, Row, Run, Sighting, Trial,
    judge, over, rows_of,
};
use crate::model::Exclusion;
use crate::owners::Owners;
use crate::qemu::Fingerprints;
use crate::report::baseline::{forget, hold_against};
use crate::report::read::{Input, read};
use crate::report::{
    self, CaseTier, Gate, Notice, NoticeKind, Policy, Report, RunRecord, Sought, Tier, Tool,
};
use crate::rules::code;
use crate::rules::known_issues::{self, KnownIssues, Shown};

/// The means by which a report was made.
pub(crate) struct Means<'m> {
    pub sought: Sought,
    /// Nothing where reports are joined, which say it themselves.
    pub lists: Option<&'m KnownIssues>,
    /// The builds that guests were moved between.
    pub builds: Option<Fingerprints>,
    /// The sections that the run had to do with; nothing where the report's coverage has them.
    pub shown: Option<Shown>,
}

/// Earlier results that were read before a run began.
pub(crate) struct Recalled {
    memory: Memory,
    baseline: Option<Input>,
    history: Option<(PathBuf, History)>,
    owners: Option<Owners>,
    /// Notices that are known before the run ends.
    notices: Vec<Notice>,
    began: SystemTime,
    /// A hash of the device sets; empty until [`Recalled::hold`].
    sets: String,
}

impl Recalled {
    /// Reads what a run is to be held against.
    ///
    /// # Errors
    /// A file is no report or no history, or the breaks that count cannot be told without one.
    pub(crate) fn read(memory: &Memory) -> Result<Recalled, Error> {
        Recalled::beside(memory, memory.baseline.as_deref().map(read).transpose()?)
    }

    /// The same, with a baseline that is read already.
    ///
    /// # Errors
    /// As for [`Recalled::read`].
    pub(crate) fn beside(memory: &Memory, baseline: Option<Input>) -> Result<Recalled, Error> {
        match memory.gate {
            Gate::New if baseline.is_none() => return Err(Problem::NoBaseline.into()),
            Gate::Regression | Gate::Tier if memory.history.is_none() => {
                return Err(Problem::NoHistory.into());
            }
            Gate::All | Gate::New | Gate::Regression | Gate::Tier => {}
        }
        let history = memory.history.as_ref().map(|file| {
            let history = History::open(file, Access::Write)?.tiers(memory.tiers);
            Ok::<_, HistoryError>((file.clone(), history))
        });
        Ok(Recalled {
            memory: memory.clone(),
            baseline,
            history: history.transpose()?,
            owners: Owners::read(memory.owners.as_deref(), memory.tree.as_deref())?,
            notices: Vec::new(),
            began: SystemTime::now(),
            sets: String::new(),
        })
    }

    /// Notes what tests, and compares it with the lock, if there is one. The device sets are named, or are files of
    /// the user's own.
    ///
    /// # Errors
    /// The lock cannot be used, or the run differs from it and nobody acknowledges that.
    pub(crate) fn hold(&mut self, lists: &KnownIssues, sets: &[String]) -> Result<(), Error> {
        self.sets = sets_digest(sets);
        let Some(file) = self.memory.lock.take() else {
            return Ok(());
        };
        let lock = Lock {
            migcompat: Tool::this().version,
            lists: lists.digest(),
            device_sets: self.sets.clone(),
        };
        let changed = lock.hold(&file)?;
        match &self.memory.acknowledged {
            _ if changed.is_empty() => {}
            None => return Err(LockError::Broken { file, changed }.into()),
            Some(reason) => {
                let detail = format!("{}; acknowledged: {reason}", changed.join(", "));
                let subject = file.display().to_string();
                self.notices
                    .push(NoticeKind::LockDiffers.about(subject, detail));
            }
        }
        Ok(())
    }

    /// Returns the report that the run is held against.
    pub(crate) fn baseline(&self) -> Option<&Report> {
        self.baseline.as_ref().map(|input| &input.report)
    }

    /// Ends a run: holds its report against what was before, records it, and draws its verdict. Of the lists, it
    /// says which entries are out of date.
    pub(crate) fn conclude(
        self,
        mut report: Report,
        policy: Policy,
        mut means: Means<'_>,
    ) -> Outcome {
        // A run for one case looks at less, and its shards say so already.
        let case = policy.case.as_ref().map(|case| format!("case {case}"));
        let case = case.filter(|case| !means.sought.among.contains(case));
        means.sought.among.extend(case);
        leave_out(&mut report, &policy);
        if let Some(lists) = means.lists {
            let counted = || report.coverage.as_ref().map(Shown::of_guests);
            let shown = means.shown.or_else(counted).unwrap_or_default();
            let notices = known_issues::review(lists, &report, &means.sought, &shown);
            report.notices.extend(notices);
            // Waiting for the hashes is no part of it.
            let elapsed_ms = milliseconds(self.began);
            let (old_hash, new_hash) = means.builds.map(Fingerprints::wait).unwrap_or_default();
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            report.run = Some(RunRecord {
                started: humantime::format_rfc3339_millis(self.began).to_string(),
                host: host.trim().to_owned(),
                lists: lists.digest(),
                device_sets: self.sets,
                old_hash,
                new_hash,
                sought: Some(means.sought.clone()),
                command: self.memory.command,
                elapsed_ms,
            });
        }
        forget(&mut report);
        if let Some(baseline) = &self.baseline {
            hold_against(
                &mut report,
                &baseline.report,
                &baseline.origin,
                &means.sought,
            );
        }
        report.notices.extend(self.notices);
        report.notices.extend(one_case::missing(&report, &policy));
        if let Some((file, mut history)) = self.history
            && let Err(error) = remember(
                &mut report,
                &mut history,
                (self.began, self.memory.purpose, &means.sought),
                self.baseline.as_ref().map(|input| &input.report),
            )
        {
            let subject = file.display().to_string();
            let notice = NoticeKind::HistoryFailed.about(subject, error);
            report.notices.push(notice);
        }
        tell(&mut report, self.owners.as_ref(), self.memory.gate);
        code::attach(&mut report);
        let report = report.judged_by(Policy {
            gate: self.memory.gate,
            ..policy
        });
        Outcome { report }
    }
}

/// Says who owns what.
fn tell(report: &mut Report, owners: Option<&Owners>, gate: Gate) {
    let Some(owners) = owners else {
        return;
    };
    if let Err(error) = owners.assign(report, gate == Gate::New) {
        let tree = owners.tree().map(|tree| tree.display().to_string());
        let notice = NoticeKind::OwnersUnknown.about(tree.unwrap_or_default(), error);
        report.notices.push(notice);
    }
}

/// Leaves cases out that were run nonetheless, and says which exclusions are of no use.
fn leave_out(report: &mut Report, policy: &Policy) {
    for case in &mut report.cases {
        if let Some(reason) = policy.excluded(&case.id) {
            *case = case.left_out_for(reason);
        }
    }
    // The other shards have most of the cases.
    let idle = policy.exclude.iter().filter(|exclusion| {
        let mut cases = report.cases.iter();
        report.shard.is_none() && !cases.any(|case| exclusion.fits(&case.id))
    });
    let notice = |exclusion: &Exclusion| {
        NoticeKind::ExclusionUnmatched.about(&*exclusion.cases, &exclusion.reason)
    };
    report.notices.extend(idle.map(notice));
}

/// Notes what the history says of each case and finding, and adds the run to it. A baseline is one more earlier run.
fn remember(
    report: &mut Report,
    history: &mut History,
    (began, purpose, sought): (SystemTime, Purpose, &Sought),
    baseline: Option<&Report>,
) -> Result<(), HistoryError> {
    let run = Run {
        purpose,
        ..Run::of(report, began)
    };
    let (old, series) = (run.old.release(), run.old.series());
    let baseline = match baseline {
        Some(report) => Before::of(report, &old, history)?,
        None => None,
    };
    let now = |row: &Row| Entry {
        run: run.clone(),
        trial: row.trial.clone(),
    };
    let mut rows = Vec::new();
    for case in &mut report.cases {
        let row = Row::of(case);
        let mut past = history.past(&row.key, &old, MOST)?;
        if let Some(before) = &baseline {
            before.put_into(&mut past, before.cases.get(&row.key).cloned());
        }
        case.memory = judge(Kind::Case, &past, &now(&row));
        rows.push(row);
    }
    let found = Findings::of(report, sought);
    let mut looks: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    for Sighting { index, look, row } in &found.sightings {
        if !looks.contains_key(&**look) {
            looks.insert(look, history.past(look, &old, MOST)?);
        }
        let mut past = over(&looks[&**look], history.past(&row.key, &old, MOST)?);
        if let Some(before) = &baseline {
            before.put_into(&mut past, before.findings.trial(look, &row.key));
        }
        let memory = judge(Kind::Finding, &past, &now(row));
        let urgency = |memory: &report::Memory| memory.label.urgency();
        if let Some(finding) = report.findings.get_mut(*index)
            && memory.as_ref().map(urgency) >= finding.memory.as_ref().map(urgency)
        {
            finding.memory = memory;
        }
    }
    let of_cases = rows.len();
    rows.extend(found.into_rows());
    history.add(&run, &rows)?;
    for (case, row) in report.cases.iter_mut().zip(&rows[..of_cases]) {
        let last = history.tier_changes(&row.key, Some(&series))?.pop();
        case.tier = Some(match last {
            Some(last) => CaseTier {
                tier: last.tier,
                changed: (last.at == run.at).then(|| last.to_string()),
            },
            None => CaseTier {
                tier: Tier::Observe,
                changed: None,
            },
        });
    }
    Ok(())
}

/// A baseline as an earlier run, which the history does not have.
struct Before {
    run: Run,
    /// By the keys of their cases.
    cases: BTreeMap<String, Trial>,
    findings: Findings,
}

impl Before {
    /// Returns the run of a report that is about the same old release, if it is not on record.
    fn of(report: &Report, old: &str, history: &History) -> Result<Option<Before>, HistoryError> {
        let run = Run::of(report, SystemTime::UNIX_EPOCH);
        if run.old.release() != old || history.has(&run, &rows_of(report))? {
            return Ok(None);
        }
        let rows = report.cases.iter().map(Row::of);
        Ok(Some(Before {
            run,
            cases: rows.map(|row| (row.key, row.trial)).collect(),
            findings: Findings::recorded(report),
        }))
    }

    /// Puts a result of this run among the past ones.
    fn put_into(&self, past: &mut Vec<Entry>, trial: Option<Trial>) {
        let Some(trial) = trial else {
            return;
        };
        let at = past.partition_point(|known| known.run.at <= self.run.at);
        let run = self.run.clone();
        past.insert(at, Entry { run, trial });
    }
}

/// Returns a hash of the shipped device sets, and of those that a user's own files have.
pub(super) fn sets_digest(sets: &[String]) -> String {
    let own = sets.iter().map(Path::new);
    let own: Vec<&Path> = own.filter(|file| file.is_file()).collect();
    shipped::digest(&own)
}

/// Returns the time since the run began; nothing where the clock was set back meanwhile.
fn milliseconds(began: SystemTime) -> Option<u64> {
    let elapsed = began.elapsed().ok()?;
    elapsed.as_millis().try_into().ok()
}
