//! The reason why a case did not pass: the facts, and the sentence for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Rule, SectionName};

/// The reason why a case did not pass, as far as the builds print it or other evidence explains it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The side that failed; `None` where it is not one of them alone.
    pub side: Option<LegSide>,
    /// The part of a migration in which it failed; `None` where no migration was tried.
    pub phase: Option<Phase>,
    /// The way in which it failed; `None` where that is not known.
    pub kind: Option<FailureKind>,
    /// The section, as the stream names it, for instance `0000:00:01.0/pciespscsi`.
    pub section: Option<SectionName>,
    /// The section's instance id.
    pub instance: Option<u64>,
    /// The field, as a path within the section.
    pub field: Option<String>,
    /// Rule of the finding that explains it.
    pub rule: Option<Rule>,
    /// A sentence for people.
    pub message: String,
    /// The place in the source's stream where the two sides part, in bytes from its start.
    pub offset: Option<u64>,
    /// The bytes or field that the source sent there.
    pub sent: Option<String>,
    /// The field that the destination reads there.
    pub expected: Option<String>,
    /// The features of a virtio device that a driver accepted and the destination does not offer, by QEMU's
    /// names.
    #[serde(default)]
    pub features: Vec<String>,
    /// The file that comes with each build, of whose contents a block of memory has another size or other bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The state of the side for which a deadline passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// A QEMU that was waited for in vain, as it was when the deadline passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The state of its process, for instance "is stopped by a signal or a debugger"; `None` where the system does
    /// not tell.
    pub process: Option<String>,
    /// The last command that it was sent.
    pub last_sent: Option<Message>,
    /// The last message that it sent.
    pub last_received: Option<Message>,
}

/// A message on a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its beginning.
    pub text: String,
    /// Milliseconds between it and the deadline.
    pub ago_ms: u64,
}

impl Cause {
    /// The cause of a case that cannot be tried.
    pub(crate) fn not_set_up(message: String) -> Cause {
        Cause {
            kind: Some(FailureKind::CannotBeSetUp),
            message,
            ..Cause::default()
        }
    }

    /// Returns the vmsd name of the section, as far as one is known.
    pub(crate) fn vmsd_name(&self) -> Option<&str> {
        self.section.as_ref().map(SectionName::vmsd_name)
    }

    /// Returns the section, or the block of memory that differs, of which only the name is known.
    pub(crate) fn section_or_memory(&self) -> Option<SectionName> {
        let block = || self.field.as_deref().map(SectionName::from);
        self.section.clone().or_else(block)
    }
}

/// One of the two QEMUs of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LegSide {
    /// The one that sends.
    Source,
    /// The one that loads.
    Destination,
}

impl fmt::Display for LegSide {
    /// Writes the side as the subject of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LegSide::Source => "the source",
            LegSide::Destination => "the destination",
        })
    }
}

/// The parts of a case, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// A QEMU is started.
    Launch,
    /// The workload guest starts to work in the first build.
    Boot,
    /// Capabilities, parameters and the channel are set up.
    SetUp,
    /// The destination begins to listen.
    Incoming,
    /// The stream goes over.
    Transfer,
    /// Memory is compared, with what the workload left in it.
    MemoryCheck,
    /// Device state is compared.
    StateCheck,
    /// The source leaves.
    Quit,
    /// The guest goes on at the destination.
    Resume,
}

/// The ways in which a case fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The builds or the transport do not allow the migration that was asked for.
    CannotBeSetUp,
    /// This host has no memory, process, descriptor or room for it.
    HostLacks,
    /// A QEMU does not start.
    DoesNotStart,
    /// A QEMU refuses a command or the stream.
    Refused,
    /// A process ended where it should have gone on.
    Died,
    /// A deadline passed.
    TimedOut,
    /// The session on a monitor broke.
    MonitorFailed,
    /// Guest memory is not what was sent.
    MemoryDiffers,
    /// Device state is not what was sent.
    StateDiffers,
    /// The workload guest found damage, or does not go on.
    GuestFailed,
    /// A QEMU did its work and printed a complaint.
    Complaint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_of_an_older_report_is_read_and_the_facts_are_written() {
        let older = r#"{"section": null, "instance": null, "field": null, "rule": null,
            "message": "no", "offset": null, "sent": null, "expected": null}"#;
        let cause: Cause = serde_json::from_str(older).expect("a cause");
        assert_eq!((cause.side, cause.phase, cause.kind), (None, None, None));
        let cause = Cause {
            side: Some(LegSide::Destination),
            phase: Some(Phase::MemoryCheck),
            kind: Some(FailureKind::CannotBeSetUp),
            ..cause
        };
        let json = serde_json::to_value(&cause).expect("JSON");
        assert_eq!(json["side"], "destination");
        assert_eq!(json["phase"], "memory-check");
        assert_eq!(json["kind"], "cannot-be-set-up");
        let again: Cause = serde_json::from_value(json).expect("a cause");
        assert_eq!(again, cause);
    }
}
