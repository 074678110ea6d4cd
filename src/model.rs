//! The words that all rooms share: versions, directions, findings, cases and the report.
//!
//! What is serialised here is the report format `migcompat-report-1`; other programs rely on it, so
//! keys are added, never renamed or left out. `report-schema.json` beside `Cargo.toml` describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A QEMU release as `query-version` and the packages name it, for instance 7.2.22.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Version {
            major,
            minor,
            micro,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text that is no QEMU release number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a QEMU version like 7.2 or 10.0.3")]
pub struct BadVersion(pub String);

impl FromStr for Version {
    type Err = BadVersion;

    /// Reads `7.2`, `7.2.22` or `v10.0.3`; what follows the numbers (`-rc1`, `+ds-1`) is ignored.
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let digits = text.strip_prefix('v').unwrap_or(text);
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(digits.len());
        let mut parts = digits[..end].trim_end_matches('.').split('.');
        let mut next = |required: bool| match parts.next() {
            Some(part) => part.parse().map_err(|_| bad()),
            None if required => Err(bad()),
            None => Ok(0),
        };
        Ok(Version::new(next(true)?, next(true)?, next(false)?))
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Which way a guest moves: `Forward` from the old build to the new one, `Backward` home again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Forward,
    Backward,
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::Forward, Direction::Backward];

    pub fn reversed(self) -> Self {
        match self {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        }
    }

    /// Picks the source's and the destination's part out of something that old and new both have.
    pub fn source_destination<T>(self, old: T, new: T) -> (T, T) {
        match self {
            Direction::Forward => (old, new),
            Direction::Backward => (new, old),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        })
    }
}

/// How bad a finding is; `Error` sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Fails or corrupts whatever the run-time state is.
    Error,
    /// Depends on state, or this evidence cannot decide it.
    Warning,
    /// A harmless change, recognised.
    Note,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        })
    }
}

/// What a finding was concluded from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    Dump,
    /// How the builds set up a machine that never ran.
    Properties,
    Stream,
    Live,
}

/// One side of a change: what a build has at the spot of a finding. Only what is known is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// The field's, subsection's or description's own name, where it differs between the sides or
    /// the path does not end in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of one element as the dump prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Number of elements, where the dump states one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num: Option<u64>,
    /// Whether a run-time test decides that the field is sent.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub conditional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_version_id: Option<i64>,
    /// What a property is set to, as `-device` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The fields of a run, in wire order, each as `name size` or `name size×num`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub fields: Vec<String>,
}

/// One difference, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of a rule in the catalogue.
    pub rule: String,
    pub level: Level,
    pub direction: Direction,
    /// The QOM type: the key of the dump.
    pub section: String,
    /// Other sections in which the same cause shows, sorted: they embed the same description.
    pub also_in: Vec<String>,
    /// Of a run over several machines, those that it is about, sorted.
    #[serde(default)]
    pub machines: Vec<String>,
    /// From the section's vmsd name down to the field or subsection.
    pub path: Vec<String>,
    pub message: String,
    pub old: Option<Shape>,
    pub new: Option<Shape>,
    /// Which list entry or command-line option excuses it, and why.
    pub allowed_by: Option<String>,
    pub evidence: Evidence,
    /// Id of the case that proved it.
    pub confirmed_by: Option<String>,
    /// A few lines of the layout around the spot, for people.
    pub context: Vec<ContextLine>,
    /// Equal for findings of one rule that one and the same change in QEMU caused, in whichever
    /// section it shows.
    #[serde(skip)]
    pub cause: String,
    /// What changed, as the lists name it.
    #[serde(skip)]
    pub items: Vec<Changed>,
}

/// A field, subsection or description that a finding is about, by the names that lists use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The innermost description around it.
    pub description: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Finding {
    /// By this findings are sorted in a report: errors first, then by place.
    pub fn rank(&self) -> (Level, (String, Vec<String>), Direction, String) {
        let place = (self.section.clone(), self.path.clone());
        (self.level, place, self.direction, self.rule.clone())
    }

    /// Whether another one tells of the same difference in the same direction, in whatever section.
    pub fn tells_like(&self, other: &Finding) -> bool {
        self.rule == other.rule
            && self.direction == other.direction
            && self.path == other.path
            && self.old == other.old
            && self.new == other.new
    }

    /// Whether this finding alone makes the pair of builds incompatible.
    pub fn gates(&self, strict: bool) -> bool {
        self.allowed_by.is_none()
            && (self.level == Level::Error || (strict && self.level == Level::Warning))
    }
}

/// A line of the structured diff that a finding shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextLine {
    pub side: Side,
    pub text: String,
}

/// To which build a line of a structured diff belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Both,
    Old,
    New,
}

/// Where a build comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildKind {
    Dump,
    Binary,
    Package,
}

/// A build as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRef {
    /// What the user wrote.
    pub label: String,
    pub kind: BuildKind,
    /// Unknown for a dump: the file does not say it.
    pub version: Option<Version>,
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Compatible,
    Incompatible,
    Untested,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
}

impl Tool {
    pub fn this() -> Self {
        Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// How a case ended. Anything but `Pass` and `Skip` counts against the builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    /// The destination refused.
    Fail,
    /// A QEMU died.
    Crash,
    /// A deadline passed.
    Hang,
    /// It loaded, but memory, device state or the guest's work differ.
    Lost,
    /// It also fails from a build to itself: not a version break.
    Broken,
    /// It cannot be set up on both builds.
    Skip,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Crash => "crash",
            Outcome::Hang => "hang",
            Outcome::Lost => "lost",
            Outcome::Broken => "broken",
            Outcome::Skip => "skip",
        })
    }
}

/// Why a case did not pass, as far as the builds said it or other evidence explains it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// As the stream names it, for instance `0000:00:01.0/pciespscsi`.
    pub section: Option<String>,
    pub instance: Option<u64>,
    pub field: Option<String>,
    /// Rule of the finding that explains it.
    pub rule: Option<String>,
    pub message: String,
    /// Where in the source's stream the two sides part, in bytes from its start.
    pub offset: Option<u64>,
    /// What the source sent there, and what the destination reads there.
    pub sent: Option<String>,
    pub expected: Option<String>,
}

/// The same set from each build to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub old_to_old: Outcome,
    pub new_to_new: Outcome,
}

/// One migration within a case. Times are milliseconds as QEMU tells them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub index: usize,
    pub direction: Direction,
    pub outcome: Outcome,
    pub total_ms: Option<u64>,
    pub downtime_ms: Option<u64>,
    pub setup_ms: Option<u64>,
    /// RAM bytes and pages that were transferred.
    pub bytes: Option<u64>,
    pub pages: Option<u64>,
}

/// What became of a value on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The field holds something else.
    Changed,
    /// The bytes of the field were taken for another one.
    Displaced,
    /// What the destination saved again does not have the field.
    Vanished,
    /// The source does not have the field: what it sent as filler was taken for its value, which is not
    /// the one that a machine has that never ran.
    Filled,
}

/// A field that did not arrive as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDiff {
    /// The leg after which it was seen.
    pub leg: usize,
    /// As the stream names it.
    pub section: String,
    pub instance: u64,
    pub field: String,
    pub change: Change,
    /// The value as the source sent it; of a filled field, the bytes of the filler.
    pub sent: String,
    /// What the field of that name held on the destination.
    pub held: Option<String>,
    /// The field that the bytes went into, where it was another.
    pub landed_in: Option<String>,
    /// What a filled field holds on a machine of the destination's build that never ran.
    #[serde(default)]
    pub fresh: Option<String>,
}

/// How much state was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChecked {
    /// Legs whose state was compared.
    pub legs: usize,
    /// Device sections and bytes in them, of the first of these legs.
    pub sections: usize,
    pub bytes: u64,
}

/// A device that was left out of a case, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub device: String,
    pub reason: String,
}

/// How often a case that failed did so when it was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    pub failed: usize,
    pub of: usize,
}

/// What became of the devices of a set that failed as a whole, by their ids. Each culprit has a case of
/// its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The machine fails with none of them, so that none is to blame.
    pub without_any: bool,
    /// Smallest failing groups, mostly of one device.
    pub culprits: Vec<Vec<String>>,
    /// These pass, all together.
    pub passed: Vec<String>,
    /// These hang on a culprit and cannot be without it.
    pub hidden: Vec<String>,
    /// These were not told apart.
    pub undecided: Vec<String>,
}

/// One machine, device set, transport and direction, or a loop of legs to and fro.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// For instance `q35/am53c974/unix/forward`.
    pub id: String,
    pub machine: String,
    pub device_set: String,
    pub devices: Vec<String>,
    pub left_out: Vec<LeftOut>,
    pub transport: String,
    /// What the migrations used beyond the usual, by QEMU's names: `multifd`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Sections that the destination refuses of this machine, whatever devices it has, and that it was
    /// given from its own build instead, so that the devices could be tried.
    #[serde(default)]
    pub grafted: Vec<String>,
    /// Of the first leg.
    pub direction: Direction,
    /// The guest ran during the move.
    pub running: bool,
    pub outcome: Outcome,
    pub cause: Option<Cause>,
    pub control: Option<Control>,
    pub repeated: Option<Repeated>,
    /// Of a failed case with several devices, which ones are to blame.
    #[serde(default)]
    pub split: Option<Split>,
    pub legs: Vec<Leg>,
    /// What the destination held after a leg that was not what it was sent.
    pub state_diff: Vec<StateDiff>,
    /// How much of the state was compared after each leg; `None` where it could not be, for the
    /// reason in `state_unchecked`.
    pub state_checked: Option<StateChecked>,
    pub state_unchecked: Option<String>,
    pub allowed_by: Option<String>,
    /// One shell line that does the same by hand.
    pub reproduce: Option<String>,
    /// The end of what each side printed, where the case did not pass.
    pub source_stderr: String,
    pub destination_stderr: String,
    /// Folder with everything both sides said; kept where the case did not pass.
    pub logs: Option<String>,
    /// Wall time of the whole case, controls and repetitions included.
    pub elapsed_ms: u64,
}

impl Case {
    /// A case of which nothing is known yet, of a machine without any device.
    pub fn untried(
        id: String,
        machine: &str,
        device_set: &str,
        transport: impl fmt::Display,
        direction: Direction,
    ) -> Self {
        Case {
            id,
            machine: machine.to_owned(),
            device_set: device_set.to_owned(),
            devices: Vec::new(),
            left_out: Vec::new(),
            transport: transport.to_string(),
            capabilities: Vec::new(),
            grafted: Vec::new(),
            direction,
            running: false,
            outcome: Outcome::Skip,
            cause: None,
            control: None,
            repeated: None,
            split: None,
            legs: Vec::new(),
            state_diff: Vec::new(),
            state_checked: None,
            state_unchecked: None,
            allowed_by: None,
            reproduce: None,
            source_stderr: String::new(),
            destination_stderr: String::new(),
            logs: None,
            elapsed_ms: 0,
        }
    }

    /// Whether this case alone makes the pair of builds incompatible.
    pub fn gates(&self) -> bool {
        self.allowed_by.is_none()
            && matches!(
                self.outcome,
                Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost
            )
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Findings that no list allows, by level.
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    /// Findings of any level that a list or an option allows.
    pub allowed: usize,
    pub cases: usize,
    pub passed: usize,
}

/// Sections that a destination was given from its own build, one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grafted {
    pub direction: Direction,
    pub sections: Vec<String>,
}

/// What a sweep found to try on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The end of `qemu-system-ARCH`.
    pub architecture: String,
    pub machine: String,
    /// Device types that a user can create in both builds.
    pub shared: usize,
    /// CPU models that both builds list among their devices; they are not counted in `shared`.
    #[serde(default)]
    pub cpu_models: usize,
    /// Those of them that were in a guest that moved, or failed to.
    pub exercised: usize,
    /// Those of them that no recipe is for: plugged in by their bus and their properties.
    pub by_fall_back: usize,
    /// The others of the shared ones, with what keeps each out.
    pub left_out: Vec<LeftOut>,
    /// Where the machine does not get across by itself: what the destination was given from its own
    /// build, so that the devices could be tried.
    #[serde(default)]
    pub grafted: Vec<Grafted>,
    /// Device types that one build has and the other does not.
    pub only_old: Vec<String>,
    pub only_new: Vec<String>,
    /// How many guests were sent on their way, controls among them.
    pub guests: usize,
    /// From the first guest of this machine to the last one, in milliseconds.
    pub elapsed_ms: u64,
}

/// How far a section got in a run; the strongest evidence first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Sent in a case that passed.
    Passed,
    /// Sent, but only in cases that did not pass.
    Sent,
    /// No guest could have it, for a reason.
    NotCreated,
    /// The dumps were compared, and that was all.
    Compared,
}

/// A subsection of a section, wherever in it, and whether it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredSubsection {
    pub name: String,
    pub sent: bool,
}

/// A section of the dumps, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredSection {
    /// The QOM type: the key of the dump.
    pub section: String,
    /// The vmsd name, as the stream has it.
    pub vmsd: String,
    /// Whether a guest of the machine can send it: it is built in, or a user can add it, and a build
    /// does not mark it as unmigratable.
    pub possible: bool,
    pub reached: Reached,
    /// Why it could not be created.
    pub reason: Option<String>,
    pub subsections: Vec<CoveredSubsection>,
}

/// Counts of a [`Coverage`]; all but the last are of sections that the machine can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageCounts {
    pub sections: usize,
    /// Sent in any case.
    pub sent: usize,
    /// Of those, sent in a case that passed.
    pub passed: usize,
    pub compared: usize,
    pub not_created: usize,
    pub subsections: usize,
    pub subsections_sent: usize,
    /// Sent sections of all, in whole percent, rounded down.
    pub percent: u8,
    /// Sections of other machines, or that no guest can send; they count for nothing else.
    pub elsewhere: usize,
}

/// What of the state that two builds know was put to the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub counts: CoverageCounts,
    /// The percentage that was asked for; with less, nothing is compatible.
    pub required: Option<u8>,
    /// All of them, by QOM type.
    pub sections: Vec<CoveredSection>,
}

impl Coverage {
    pub fn of(mut sections: Vec<CoveredSection>) -> Self {
        sections.sort_by(|a, b| a.section.cmp(&b.section));
        let mut counts = CoverageCounts::default();
        for section in &sections {
            if !section.possible {
                counts.elsewhere += 1;
                continue;
            }
            counts.sections += 1;
            match section.reached {
                Reached::Passed => {
                    counts.sent += 1;
                    counts.passed += 1;
                }
                Reached::Sent => counts.sent += 1,
                Reached::NotCreated => counts.not_created += 1,
                Reached::Compared => counts.compared += 1,
            }
            counts.subsections += section.subsections.len();
            counts.subsections_sent += section.subsections.iter().filter(|s| s.sent).count();
        }
        // Nothing to cover is covered.
        let percent = (100 * counts.sent).checked_div(counts.sections);
        counts.percent = percent.map_or(100, |p| u8::try_from(p).unwrap_or(100));
        Coverage {
            counts,
            required: None,
            sections,
        }
    }

    pub fn is_enough(&self) -> bool {
        self.required
            .is_none_or(|least| self.counts.percent >= least)
    }
}

/// Which part of a run that was spread over several a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRef {
    /// From 1 to `of`.
    pub index: u32,
    pub of: u32,
    /// A digest of all that the whole run was to do: equal for its shards, and for no other run's.
    pub plan: String,
    /// The options that bear on the results, as one would type them; sorted.
    pub options: Vec<String>,
}

/// What one run of migcompat found out; every output format is a reader of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub tool: Tool,
    pub old: BuildRef,
    pub new: BuildRef,
    /// Of a whole run, nothing.
    #[serde(default)]
    pub shard: Option<ShardRef>,
    /// The machine type, where one was asked for or the dumps name one.
    pub machine: Option<String>,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Migrations; a dump comparison has none.
    pub cases: Vec<Case>,
    /// Of a sweep, what there was to try on each machine.
    #[serde(default)]
    pub swept: Vec<Swept>,
    pub coverage: Option<Coverage>,
    /// How much of what both builds really sent their dumps describe.
    #[serde(default)]
    pub described: Option<Described>,
    pub summary: Summary,
    /// What the rules mean that occur in the findings, by id.
    pub rules: BTreeMap<String, RuleText>,
}

/// What both builds sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub old: Kinds,
    pub new: Kinds,
}

/// Kinds of section that a build sent, by the names of their descriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// Its dump has them.
    pub described: BTreeSet<String>,
    /// Its dump has not: CPUs, and what is registered by hand.
    pub undescribed: BTreeSet<String>,
}

impl Kinds {
    pub fn count(&self) -> usize {
        self.described.len() + self.undescribed.len()
    }

    /// Takes another guest's, machine's or shard's.
    pub fn add(&mut self, other: Kinds) {
        self.described.extend(other.described);
        self.undescribed.extend(other.undescribed);
    }
}

impl Described {
    pub fn add(&mut self, other: Described) {
        self.old.add(other.old);
        self.new.add(other.new);
    }

    /// What is told together; `None` of nothing.
    pub fn join(all: impl IntoIterator<Item = Described>) -> Option<Described> {
        all.into_iter().reduce(|mut one, other| {
            one.add(other);
            one
        })
    }
}

/// What a rule means, for a reader who has the report alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    pub name: String,
    /// What happens when a guest migrates.
    pub effect: String,
    /// What to do about it in QEMU.
    pub fix: String,
}

impl Report {
    /// A report of a comparison: counts the findings and draws the verdict.
    pub fn of_findings(
        old: BuildRef,
        new: BuildRef,
        machine: Option<String>,
        findings: Vec<Finding>,
        rules: BTreeMap<String, RuleText>,
        strict: bool,
    ) -> Self {
        Report {
            schema: REPORT_SCHEMA.to_owned(),
            tool: Tool::this(),
            old,
            new,
            shard: None,
            machine,
            verdict: Verdict::Untested,
            findings,
            cases: Vec::new(),
            swept: Vec::new(),
            coverage: None,
            described: None,
            summary: Summary::default(),
            rules,
        }
        .with_cases(Vec::new(), strict)
    }

    /// The same with migrations; counts and verdict are drawn again. A report without any case that
    /// could be run, where some were wanted, is untested.
    pub fn with_cases(mut self, cases: Vec<Case>, strict: bool) -> Self {
        let mut summary = Summary::default();
        for finding in &self.findings {
            match (&finding.allowed_by, finding.level) {
                (Some(_), _) => summary.allowed += 1,
                (None, Level::Error) => summary.errors += 1,
                (None, Level::Warning) => summary.warnings += 1,
                (None, Level::Note) => summary.notes += 1,
            }
        }
        summary.cases = cases.len();
        summary.passed = cases.iter().filter(|c| c.outcome == Outcome::Pass).count();
        let gates = self.findings.iter().any(|f| f.gates(strict)) || cases.iter().any(Case::gates);
        let nothing_ran = !cases.is_empty()
            && cases
                .iter()
                .all(|c| matches!(c.outcome, Outcome::Skip | Outcome::Broken));
        self.verdict = if gates {
            Verdict::Incompatible
        } else if nothing_ran {
            Verdict::Untested
        } else {
            Verdict::Compatible
        };
        self.summary = summary;
        self.cases = cases;
        self
    }

    /// The same with coverage, after the cases. Where less was covered than was asked for, what is
    /// not incompatible is untested: nothing is known to break, and too little is known.
    pub fn with_coverage(mut self, coverage: Coverage) -> Self {
        if self.verdict == Verdict::Compatible && !coverage.is_enough() {
            self.verdict = Verdict::Untested;
        }
        self.coverage = Some(coverage);
        self
    }
}

/// The format's name, written into every report.
pub const REPORT_SCHEMA: &str = "migcompat-report-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_form_qemu_prints() {
        let read = |text: &str| text.parse::<Version>().map(|v| v.to_string());
        for (text, version) in [
            ("7.2", "7.2.0"),
            ("7.2.22", "7.2.22"),
            ("v10.0.0-rc1", "10.0.0"),
            ("5.2+dfsg-11+deb11u3", "5.2.0"),
            ("11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)", "11.1.3"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(version), "{text}");
        }
        for text in ["", "7", "seven", "7.x", "99999999999.1", "7..2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_point_release_sorts_numerically() {
        assert!(Version::new(7, 2, 9) < Version::new(7, 2, 22));
        assert!(Version::new(9, 2, 0) < Version::new(10, 0, 0));
    }
}
