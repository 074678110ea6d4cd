//! Cases: migrations that were tried, leg by leg, and their outcomes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Direction, SectionName, Side, display_as_serialized, joined};
use crate::report::{
    BaselineStatus, CaseTier, Cause, DrivenReport, FailureKind, LinuxReport, Memory,
};

/// The outcome of a case. Anything but `Pass` and `Skip` counts against the builds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The guest loaded, and everything that was compared is the same.
    Pass,
    /// The destination refused.
    Fail,
    /// A QEMU died.
    Crash,
    /// A deadline passed.
    Hang,
    /// The guest loaded, but memory, device state or the guest's work differ.
    Lost,
    /// The case also fails from a build to itself: not a version break.
    Broken,
    /// The case cannot be set up on both builds.
    #[default]
    Skip,
}

impl Outcome {
    /// Returns the meaning of the word, where it is not obvious.
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Outcome::Lost => Some("it loaded, but memory, device state or the guest's work differ"),
            Outcome::Broken => {
                Some("it also fails from a build to itself, so it is no break between the two")
            }
            Outcome::Pass | Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Skip => None,
        }
    }

    /// Tells whether it says nothing of the two builds.
    pub(crate) fn is_idle(self) -> bool {
        match self {
            Outcome::Skip | Outcome::Broken => true,
            Outcome::Pass | Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost => false,
        }
    }

    /// Tells whether it counts against the two builds.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost => true,
            Outcome::Pass | Outcome::Broken | Outcome::Skip => false,
        }
    }
}

display_as_serialized!(Outcome);

/// The same set from each build to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The outcome from the old build to itself.
    pub old_to_old: Outcome,
    /// The outcome from the new build to itself.
    pub new_to_new: Outcome,
}

/// The builds that fail by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailsAlone {
    Old,
    New,
    Both,
}

/// One migration within a case. Times are milliseconds as QEMU reports them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Its place among the case's legs, from 0.
    pub index: usize,
    /// The direction in which the guest moved.
    pub direction: Direction,
    /// The outcome.
    pub outcome: Outcome,
    /// The time from its start to its end, in milliseconds.
    pub total_ms: Option<u64>,
    /// The time in which the guest ran on neither side, in milliseconds.
    pub downtime_ms: Option<u64>,
    /// The time before the first page was sent, in milliseconds.
    pub setup_ms: Option<u64>,
    /// RAM bytes and pages that were transferred.
    pub bytes: Option<u64>,
    /// Pages of RAM that were transferred.
    pub pages: Option<u64>,
    /// Passes over memory, the last one with the guest stopped.
    pub passes: Option<u64>,
}

/// The change of a value in a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The field holds something else.
    Changed,
    /// The bytes of the field were taken for another one.
    Displaced,
    /// The field is not in what the destination saved again.
    Vanished,
    /// The source does not have the field: what it sent as padding was taken for its value, which
    /// is not the one that a machine has that never ran.
    Filled,
}

/// A field that did not arrive as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDiff {
    /// The leg after which it was seen.
    pub leg: usize,
    /// The name in the stream.
    pub section: SectionName,
    /// The section's instance id.
    pub instance: u64,
    /// The field, as a path within the section.
    pub field: String,
    /// The change of its value.
    pub change: Change,
    /// The value as the source sent it; of a filled field, the bytes of the padding.
    pub sent: String,
    /// The value of the field of that name on the destination.
    pub held: Option<String>,
    /// The field that the bytes went into, where it was another.
    pub landed_in: Option<String>,
    /// The value of a filled field on a machine of the destination's build that never ran.
    pub fresh: Option<String>,
}

/// A value or a block of memory that a load changes in these builds whatever was sent: each makes
/// the same change to itself, too, and a case does not fail for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChangedByLoad {
    /// The vmsd name of the section; `None` of memory.
    pub section: Option<String>,
    /// The field, as a path within the section, without the numbers of elements.
    pub field: Option<String>,
    /// The block of memory, by the build's name for it; `None` of device state.
    pub block: Option<String>,
    /// The elements of the field, or the pages of the block.
    pub count: usize,
    /// The builds that were seen to make the change to themselves.
    pub builds: Vec<String>,
}

impl ChangedByLoad {
    /// Returns the name of the place: section and field, or the block of memory.
    pub fn place(&self) -> String {
        let names = [&self.section, &self.field, &self.block];
        joined(names.into_iter().flatten().map(String::as_str), "/")
    }
}

/// A section in which a build sends addresses of its own process. They mean nothing to the process that loads them, which may
/// die of them or not, by chance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnAddresses {
    /// The vmsd name of the section.
    pub section: String,
    /// The label of the build that sent it.
    pub build: String,
}

impl OwnAddresses {
    /// Returns those that a build sent in some sections.
    pub(crate) fn of<'s>(
        build: &str,
        sections: impl IntoIterator<Item = &'s SectionName>,
    ) -> Vec<OwnAddresses> {
        let names = sections.into_iter().map(SectionName::vmsd_name);
        let names: BTreeSet<&str> = names.collect();
        let of = |name: &str| OwnAddresses {
            section: name.to_owned(),
            build: build.to_owned(),
        };
        names.into_iter().map(of).collect()
    }
}

/// The amount of state that was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChecked {
    /// Legs whose state was compared.
    pub legs: usize,
    /// Device sections and bytes in them, of the first of these legs.
    pub sections: usize,
    /// Bytes in these sections.
    pub bytes: u64,
}

/// A device that was left out of a case, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The device, by its id in the set, or its type.
    pub device: String,
    /// The reason.
    pub reason: String,
}

/// The failures among the tries of a case that was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// Tries that failed, the first one among them.
    pub failed: usize,
    /// All tries.
    pub of: usize,
}

impl Repeated {
    /// Counts the first try.
    pub(crate) fn first(has_failed: bool) -> Repeated {
        let mut tries = Repeated { failed: 0, of: 0 };
        tries.count(has_failed);
        tries
    }

    /// Counts one more try.
    pub(crate) fn count(&mut self, has_failed: bool) {
        self.of += 1;
        self.failed += usize::from(has_failed);
    }

    /// Tells whether some of the tries did not fail.
    pub(crate) fn is_intermittent(self) -> bool {
        self.failed < self.of
    }
}

/// The tries of a failed case without one of its capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithoutCapability {
    /// The capability that was left out, by QEMU's name.
    pub capability: String,
    /// Tries that did not pass: the first such try is the last.
    pub failed: usize,
    /// All tries.
    pub of: usize,
}

impl fmt::Display for WithoutCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WithoutCapability {
            capability,
            failed,
            of,
        } = self;
        match failed {
            0 => write!(f, "without {capability} it passes ({of} of {of})"),
            _ => write!(f, "without {capability} it does not pass either"),
        }
    }
}

/// Options of QEMU with which a failed case passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassesWith {
    /// The build that gets them.
    pub side: Side,
    /// The options, in one line.
    pub args: String,
}

impl fmt::Display for PassesWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassesWith { side, args } = self;
        write!(f, "it passes with --{side}-arg='{args}'")
    }
}

/// The devices of a set that failed as a whole, split into culprits and others. Each culprit has a case of
/// its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The machine fails with none of them, so that none is to blame.
    pub without_any: bool,
    /// Smallest failing groups, mostly of one device.
    pub culprits: Vec<Vec<String>>,
    /// Devices that were not tried: what both builds send of them differs in the same way as what they send of the
    /// first culprit, which stands for them.
    #[serde(default)]
    pub alike: Vec<String>,
    /// Devices that pass, all together.
    pub passed: Vec<String>,
    /// Devices that depend on a culprit, so that they were not tried.
    pub hidden: Vec<String>,
    /// Devices that were not separated.
    pub undecided: Vec<String>,
}

impl Split {
    /// Returns that of a set none of whose devices is to blame.
    pub(crate) fn without_any() -> Split {
        Split {
            without_any: true,
            ..Split::default()
        }
    }
}

/// One machine, device set, transport and direction, or a loop of legs back and forth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The id, for instance `q35/am53c974/unix/forward`.
    pub id: String,
    /// The machine type.
    pub machine: String,
    /// The device set's name.
    pub device_set: String,
    /// The devices that the guest had, by their ids.
    pub devices: Vec<String>,
    /// The devices of the set that it did not have.
    pub left_out: Vec<LeftOut>,
    /// The transport that carried the stream from source to destination.
    pub transport: String,
    /// The capabilities that the migrations used, by QEMU's names: `multifd`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Sections that the destination refuses from this machine, whatever devices it has, and that
    /// it got from its own build instead, so that the devices could be tried.
    #[serde(default)]
    pub grafted: Vec<String>,
    /// The options that one build was given, since the machine does not migrate without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_with: Option<PassesWith>,
    /// The id of the failed case that this one was made from: this one is about the devices to
    /// blame.
    pub part_of: Option<String>,
    /// True if nobody asked for it: it settles what the dumps leave open, or is about what the builds add to a machine.
    /// It says nothing of what was asked for.
    #[serde(default)]
    pub derived: bool,
    /// The direction of the first leg.
    pub direction: Direction,
    /// The guest ran during the move.
    pub running: bool,
    /// The reason why the guest did not run although it was to: the machine was moved as it is
    /// after reset.
    pub not_running: Option<String>,
    /// The Linux guest that worked in the machine, where it was one.
    pub linux: Option<LinuxReport>,
    /// The work of a driver from outside on the devices, where no guest ran.
    pub driven: Option<DrivenReport>,
    /// The outcome.
    pub outcome: Outcome,
    /// The reason why it is left out on purpose, if it is.
    pub excluded: Option<String>,
    /// The reason why it did not pass.
    pub cause: Option<Cause>,
    /// The id of the case of another device that fails for the same cause and stands for this one:
    /// the controls are from that case, and only that case was tried again and explained.
    pub same_as: Option<String>,
    /// The same within one build, where it failed between the two.
    pub control: Option<Control>,
    /// The number of failures, where it was repeated.
    pub repeated: Option<Repeated>,
    /// Results without each of its capabilities, where it failed.
    #[serde(default)]
    pub without_capability: Vec<WithoutCapability>,
    /// The options without which it does not pass, where some were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passes_with: Option<PassesWith>,
    /// The devices that are to blame, where a case with several of them failed.
    pub split: Option<Split>,
    /// Its migrations, as far as it came.
    pub legs: Vec<Leg>,
    /// The fields that the destination had with another value than was sent, after a leg.
    pub state_diff: Vec<StateDiff>,
    /// The values that did not arrive as they were sent, and do not within a build either: they are
    /// not counted.
    #[serde(default)]
    pub changed_by_load: Vec<ChangedByLoad>,
    /// The sections of its devices in which the source sent addresses of its own process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_addresses: Vec<OwnAddresses>,
    /// The amount of state that was compared after each leg; `None` where it could not be, for the
    /// reason in `state_unchecked`.
    pub state_checked: Option<StateChecked>,
    /// The reason why the state was not compared after some leg.
    pub state_unchecked: Option<String>,
    /// The list entry that excuses it, and why.
    pub allowed_by: Option<String>,
    /// The relation to the baseline, where there is one.
    pub baseline: Option<BaselineStatus>,
    /// The evidence of earlier runs, where there is a history.
    pub memory: Option<Memory>,
    /// Its tier, where there is a history.
    pub tier: Option<CaseTier>,
    /// The headlines in the file of owners that it belongs to.
    #[serde(default)]
    pub owners: Vec<String>,
    /// One shell line that does the same by hand.
    pub reproduce: Option<String>,
    /// The same as a script beside the logs, to read and to change; it says what was expected and what came.
    pub reproducer: Option<String>,
    /// The end of what each side printed, where the case did not pass.
    pub source_stderr: String,
    /// The end of what the destination printed.
    pub destination_stderr: String,
    /// The folder with everything that both sides printed; kept where the case did not pass.
    pub logs: Option<String>,
    /// The reason why the logs of a case that failed could not be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs_lost: Option<String>,
    /// Wall time of the whole case, controls and repetitions included.
    pub elapsed_ms: u64,
}

impl Case {
    /// Returns the direction of the leg that it ended in.
    pub(crate) fn last_direction(&self) -> Direction {
        self.legs.last().map_or(self.direction, |leg| leg.direction)
    }

    /// Returns the sentence that says why it did not pass.
    pub(crate) fn message(&self) -> Option<&str> {
        self.cause.as_ref().map(|cause| cause.message.as_str())
    }

    /// Returns the most that a leg has of something: of a loop, that of the slowest one.
    pub(crate) fn slowest(&self, of: fn(&Leg) -> Option<u64>) -> Option<u64> {
        self.legs.iter().filter_map(of).max()
    }

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
            transport: transport.to_string(),
            direction,
            ..Case::default()
        }
    }

    /// Returns the case as one that is left out on purpose; what came of it says nothing.
    pub(crate) fn left_out_for(&self, reason: &str) -> Case {
        Case {
            id: self.id.clone(),
            machine: self.machine.clone(),
            device_set: self.device_set.clone(),
            devices: self.devices.clone(),
            transport: self.transport.clone(),
            capabilities: self.capabilities.clone(),
            part_of: self.part_of.clone(),
            direction: self.direction,
            excluded: Some(reason.to_owned()),
            cause: Some(Cause {
                message: format!("excluded: {reason}"),
                ..Cause::default()
            }),
            ..Case::default()
        }
    }

    /// Tells whether this host kept the guest from being moved.
    pub(crate) fn lacks_host(&self) -> bool {
        let kind = self.cause.as_ref().and_then(|cause| cause.kind);
        self.outcome.is_idle() && kind == Some(FailureKind::HostLacks)
    }

    /// Returns the shortest line that does the same by hand: the script beside the logs, or else the line that needs
    /// nothing beside it.
    pub(crate) fn by_hand(&self) -> Option<Cow<'_, str>> {
        let script = self.reproducer.as_ref();
        let script = script.and_then(|path| Some(format!("sh {}", shlex::try_quote(path).ok()?)));
        let line = self.reproduce.as_deref().map(Cow::Borrowed);
        script.map(Cow::Owned).or(line)
    }

    /// Returns the builds that fail by themselves, where the case is broken.
    pub(crate) fn fails_alone(&self) -> Option<FailsAlone> {
        let fails = |outcome: Outcome| outcome.is_failure() || outcome == Outcome::Broken;
        let control = self.control.as_ref();
        let control = control.filter(|_| self.outcome == Outcome::Broken)?;
        match (fails(control.old_to_old), fails(control.new_to_new)) {
            (true, true) => Some(FailsAlone::Both),
            (true, false) => Some(FailsAlone::Old),
            (false, true) => Some(FailsAlone::New),
            (false, false) => None,
        }
    }

    /// Returns whether the new build does not migrate to itself what the old one does: no break between the two, but beside an
    /// earlier new build that did, one of the new build.
    pub fn is_defect_of_new(&self) -> bool {
        let control = self.control.as_ref();
        let old_passes = control.is_some_and(|control| control.old_to_old == Outcome::Pass);
        old_passes && self.fails_alone() == Some(FailsAlone::New)
    }

    /// Returns whether it fails between the builds, or by a defect of the new one.
    pub fn fails(&self) -> bool {
        self.outcome.is_failure() || self.is_defect_of_new()
    }

    /// Returns whether this case alone makes the pair of builds incompatible.
    pub fn gates(&self) -> bool {
        self.allowed_by.is_none() && self.outcome.is_failure()
    }
}
