//! A row: a case, a run, and what came of the one in the other.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::model::{Accelerator, BuildRef, Direction, Version, display_as_serialized};
use crate::report::identity::CaseKey;
use crate::report::{AcceleratorUsed, Case, Outcome, Report};

/// A build, as far as two can be told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BuildId {
    /// The text that the user wrote.
    pub label: String,
    pub version: Option<Version>,
    /// The hash of the program's content, where it is known.
    pub hash: Option<String>,
}

impl BuildId {
    fn of(build: &BuildRef, hash: Option<&String>) -> BuildId {
        BuildId {
            label: build.label.clone(),
            version: build.version,
            hash: hash.cloned(),
        }
    }

    /// Tells whether both are surely one and the same program.
    pub(crate) fn is_surely(&self, other: &BuildId) -> bool {
        self.hash.is_some() && self.hash == other.hash && self.version == other.version
    }

    /// Returns the release, by which results of one old build are compared with each other.
    pub(crate) fn release(&self) -> String {
        self.version
            .map_or_else(|| self.label.clone(), |version| version.to_string())
    }

    /// Returns the series of releases, whose point releases share a tier: `7.2`.
    pub(crate) fn series(&self) -> String {
        self.version
            .map_or_else(|| self.label.clone(), Version::series)
    }

    /// Returns the name in a sentence.
    pub fn name(&self) -> String {
        match self.version {
            Some(version) => format!("{} ({version})", self.label),
            None => self.label.clone(),
        }
    }
}

/// Everything that tests, and is no part of the builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Tester {
    /// The version of this program.
    pub tool: String,
    /// A hash of all lists.
    pub lists: String,
    /// A hash of all device sets.
    pub device_sets: String,
    pub host: String,
}

impl Tester {
    /// Names the parts in which another one differs.
    pub(crate) fn differences(&self, other: &Tester) -> Vec<String> {
        let of = |what: &str, then: &str, now: &str| {
            (then != now).then(|| format!("{what} ({then} then, {now} now)"))
        };
        [
            of("the version of migcompat", &other.tool, &self.tool),
            of("the lists", &other.lists, &self.lists),
            of("the device sets", &other.device_sets, &self.device_sets),
            of("the host", &other.host, &self.host),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The reason why a run was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A verdict on a pair of builds that somebody asked about.
    #[default]
    Verdict,
    /// A try of a search, which goes back to builds of before. It tells of its own pair alone, whatever the time.
    Search,
}

/// A run: when, between which builds, why, and by what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Seconds since 1970.
    pub at: u64,
    /// Milliseconds after that second, by which runs of one second are told apart; 0 of one that is read back.
    #[serde(skip)]
    pub at_ms: u32,
    pub old: BuildId,
    pub new: BuildId,
    pub tester: Tester,
    pub purpose: Purpose,
}

impl Run {
    /// Returns the run of a report; `read` is the time to take of one that does not say when it began.
    pub fn of(report: &Report, read: SystemTime) -> Run {
        let began = report.run.as_ref().and_then(|run| run.started());
        let since = began.unwrap_or(read).duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or(Duration::ZERO);
        let record = report.run.clone().unwrap_or_default();
        Run {
            at: since.as_secs(),
            at_ms: began.map_or(0, |_| since.subsec_millis()),
            old: BuildId::of(&report.old, record.old_hash.as_ref()),
            new: BuildId::of(&report.new, record.new_hash.as_ref()),
            tester: Tester {
                tool: report.tool.version.clone(),
                lists: record.lists,
                device_sets: record.device_sets,
                host: host(record.host, &report.accelerators),
            },
            purpose: Purpose::Verdict,
        }
    }

    /// Returns the day, for a sentence.
    pub fn day(&self) -> String {
        day(self.at)
    }

    /// Tells whether both are surely between the same programs.
    pub(crate) fn is_of_same_builds(&self, other: &Run) -> bool {
        self.new.is_surely(&other.new) && self.old.is_surely(&other.old)
    }
}

/// Names the host and, where guests were not only emulated, what else executed them there.
fn host(name: String, used: &[AcceleratorUsed]) -> String {
    let others = used.iter().map(|used| used.accelerator);
    let others: BTreeSet<Accelerator> = others.filter(|of| *of != Accelerator::Tcg).collect();
    others
        .into_iter()
        .fold(name, |name, of| format!("{name} with {of}"))
}

/// Returns a moment in seconds since 1970 to the second, in UTC as RFC 3339 writes it.
pub(crate) fn moment(at: u64) -> String {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// Returns the day of a moment in seconds since 1970.
pub(crate) fn day(at: u64) -> String {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
    crate::model::Date::of(moment).to_string()
}

/// The result of a case in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trial {
    pub outcome: Outcome,
    /// The vmsd name of the section to blame.
    pub section: Option<String>,
    pub field: Option<String>,
    pub rule: Option<String>,
    pub message: Option<String>,
    pub allowed_by: Option<String>,
    /// Tries that failed, and all tries.
    pub failed: u32,
    pub tries: u32,
    /// The slowest leg, in milliseconds.
    pub total_ms: Option<u64>,
    pub downtime_ms: Option<u64>,
    pub elapsed_ms: u64,
}

impl Trial {
    /// Returns the trial of something that has nothing but an outcome.
    pub(crate) fn only(outcome: Outcome) -> Trial {
        Trial {
            outcome,
            failed: outcome.is_failure().into(),
            tries: 1,
            ..Trial::default()
        }
    }

    pub fn of(case: &Case) -> Trial {
        let cause = case.cause.as_ref();
        let (failed, tries) = match case.repeated {
            Some(repeated) => (count(repeated.failed), count(repeated.of)),
            None => (case.fails().into(), 1),
        };
        // What both builds do, or the old one, is not held against the new one.
        let is_idle = case.outcome == Outcome::Broken && !case.fails();
        Trial {
            section: cause.and_then(|cause| Some(cause.vmsd_name()?.to_owned())),
            field: cause.and_then(|cause| cause.field.clone()),
            rule: cause.and_then(|cause| Some(cause.rule?.id().to_owned())),
            message: case.message().map(str::to_owned),
            allowed_by: case.allowed_by.clone(),
            failed: if is_idle { 0 } else { failed },
            tries,
            total_ms: case.slowest(|leg| leg.total_ms),
            downtime_ms: case.slowest(|leg| leg.downtime_ms),
            elapsed_ms: case.elapsed_ms,
            outcome: case.outcome,
        }
    }

    /// Tells whether it failed between the builds, or by a defect of the new one.
    pub fn fails(&self) -> bool {
        fails(self.outcome, self.failed)
    }

    /// Tells whether it says something of the new build. What the old one does not migrate to itself either says nothing.
    pub fn is_tested(&self) -> bool {
        self.fails() || !self.outcome.is_idle()
    }
}

/// Tells whether a trial of this outcome in which so many tries failed did: of what fails within a build, those that a
/// defect of the new build alone made.
pub(super) fn fails(outcome: Outcome, failed: u32) -> bool {
    outcome.is_failure() || outcome == Outcome::Broken && failed > 0
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A trial and its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub run: Run,
    pub trial: Trial,
}

/// The kind of thing that a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A case that was tried.
    Case,
    /// A finding that was there. Its absence has no row: the look that would have found it has one.
    Finding,
    /// A look for findings: of a kind of evidence, a direction, a machine, and what it was among.
    Look,
}

display_as_serialized!(Kind);

/// A case, a finding or a look by the facts that stay from run to run, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub kind: Kind,
    /// Equal for two rows about one case, and for no others.
    pub key: String,
    /// The id.
    pub name: String,
    pub machine: String,
    /// The device set; of a finding, the key of the look that found it.
    pub device_set: String,
    pub devices: Vec<String>,
    pub direction: Direction,
    pub transport: String,
    pub trial: Trial,
}

impl Row {
    pub fn of(case: &Case) -> Row {
        Row {
            kind: Kind::Case,
            key: CaseKey::of(case).to_string(),
            name: case.id.clone(),
            machine: case.machine.clone(),
            device_set: case.device_set.clone(),
            devices: case.devices.clone(),
            direction: case.direction,
            transport: case.transport.clone(),
            trial: Trial::of(case),
        }
    }
}

/// Returns a digest by which a run is known again: a report that is imported twice is recorded once.
pub(crate) fn digest(run: &Run, rows: &[Row]) -> String {
    let Run {
        at,
        at_ms,
        old,
        new,
        tester,
        purpose: _,
    } = run;
    // As earlier versions wrote it, so that what they recorded is known.
    let mut text = format!("Run {{ at: {at}, old: {old:?}, new: {new:?}, tester: {tester:?} }}");
    if *at_ms != 0 {
        text.push_str(&format!(" {at_ms}"));
    }
    // Findings are told by the cases beside them, as in the files of an earlier version.
    let has_cases = rows.iter().any(|row| row.kind == Kind::Case);
    for row in rows
        .iter()
        .filter(|row| !has_cases || row.kind == Kind::Case)
    {
        text.push_str(&format!(
            "\n{} {} {} {}",
            row.key, row.trial.outcome, row.trial.elapsed_ms, row.trial.tries
        ));
    }
    format!("{:032x}", xxh3_128(text.as_bytes()))
}
