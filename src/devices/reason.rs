//! The reasons why a device of a set is not in the guest.

use serde::Serialize;

use crate::model::{Side, Version};

/// The reason why a device is not in the guest. It is written into reports as its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The set has it for other architectures.
    #[error("not a device for {arch}")]
    Architecture { arch: String },
    /// The set has it for other machines.
    #[error("not a device for {machine}")]
    Machine { machine: String },
    /// The machine has no bus of the type that it sits on.
    #[error("the machine has no {bus} bus")]
    NoBus { bus: String },
    /// Devices before it are on all buses of that type.
    #[error("the machine has no {bus} bus left")]
    BusFull { bus: String },
    /// Another device of the set is in the guest, and this one stands for it elsewhere.
    #[error("{device} is in the guest instead")]
    Instead { device: String },
    /// `-device` of these builds does not take it.
    #[error("{}", absent(*.side))]
    Absent { side: Side },
    /// `-device` of these builds takes it without a property that the set gives it.
    #[error("{driver} of {} has no property {property}", build(*.side))]
    Property {
        side: Side,
        driver: String,
        property: String,
    },
    /// The build cannot migrate it to itself either.
    #[error("no QEMU {}migrates it: {reason}", before(*.since))]
    Unmigratable {
        side: Side,
        reason: String,
        since: Option<Version>,
    },
    /// A guest has one of a kind, and another device is it.
    #[error("a guest has one {kind}, here it is {taken_by}")]
    OneOf { kind: String, taken_by: String },
    /// Something that it needs is not in the guest.
    #[error("needs {device}, which is not in the guest")]
    Needs { device: String },
}

fn build(side: Side) -> &'static str {
    match side {
        Side::Old => "the old build",
        Side::New => "the new build",
        Side::Both => "both builds",
    }
}

fn absent(side: Side) -> String {
    match side {
        Side::Both => "neither build has it".to_owned(),
        side => format!("{} does not have it", build(side)),
    }
}

fn before(since: Option<Version>) -> String {
    since.map_or_else(String::new, |since| format!("before {} ", since.series()))
}

impl Reason {
    /// Tells whether the set itself limits the device to other places: nothing that a build lacks.
    pub fn is_by_design(&self) -> bool {
        matches!(
            self,
            Reason::Architecture { .. }
                | Reason::Machine { .. }
                | Reason::Instead { .. }
                | Reason::OneOf { .. }
        )
    }

    /// Tells whether another device is in the guest for it.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Reason::Instead { .. })
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
