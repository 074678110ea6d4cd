//! Cases: migrations that were tried, leg by leg, and what became of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Direction;
use crate::report::Cause;

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
