//! Notices: missing evidence, so that a reader knows what a verdict rests on.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of evidence that a run could have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// A shard of the run has no report. The subject is the shard, as `2/4`.
    ShardMissing,
    /// A build wrote no dump that can be read. The subject is the machine or the architecture.
    DumpsMissing,
    /// A build did not save the machine of a device set. The subject is the device set.
    StreamsNotCompared,
    /// A build could not be asked how it sets up devices. The subject is the device set.
    PropertiesNotCompared,
    /// A build could not be asked for the explanation of a failure. The subject is the machine.
    FailuresNotExplained,
    /// A load changes a value in the same way within a build, so that it is not counted as lost. The subject
    /// is the section and the field, or the block of memory.
    ChangedByLoad,
    /// Builds send addresses of their own processes, so that what a load does may be chance. The subject is the section.
    OwnAddresses,
    /// A guest did not start to work, and its machine was moved as it is after reset. The subject is the case.
    NotRunning,
    /// A Linux guest has no driver for devices, which are moved as the firmware left them. The subject is
    /// their ids.
    NotDriven,
    /// The devices of a machine could not be driven from outside. The subject is the machine.
    NotDrivable,
    /// Linux was to drive the devices of a machine, and has no kernel for it, or does not work there. The subject is the
    /// machine.
    NoLinux,
    /// The guests' network cards offer none of the features by which a host takes work off a card. The
    /// subject is the machine.
    OffloadNotNegotiated,
    /// The sections that guests sent could not be counted. The subject is the machine.
    CoverageUnknown,
    /// Devices that a finding is about could not be migrated. The subject is their names.
    DoubtsNotSettled,
    /// The migrations of a run do not reach what a capability does. The subject is the capability.
    CapabilityIdle,
    /// An accelerator that was preferred cannot be used. The subject is its name.
    AcceleratorPassedOver,
    /// A guest is described with the CPU of its host, and was moved with the default model. The subject is the machine.
    HostCpuReplaced,
    /// A build finds no firmware, and has that of another place. The subject is the build.
    OtherFirmware,
    /// Guests move between machine types of two names, which QEMU itself refuses. The subject is both names.
    MachinesPaired,
    /// The dumps are of two versions of one machine. The subject is the family.
    MachinesDiffer,
    /// A section of a dump has another form than QEMU prints. The subject is the file or the build,
    /// and the section.
    SectionUnreadable,
    /// A list entry about a known failure is past its end, and excuses nothing. The subject is its place.
    KnownFailureExpired,
    /// Nothing that was tried fails as a list entry says. The subject is its place.
    KnownFailureUnmatched,
    /// A folder that was named for lists has none. The subject is the folder.
    NoList,
    /// The tree of sources could not be searched for owners. The subject is the tree.
    OwnersUnknown,
    /// No case has an id that was to be left out. The subject is the pattern.
    ExclusionUnmatched,
    /// The history could not be asked or written. The subject is its file.
    HistoryFailed,
    /// The program, the lists or the device sets are not as a lock holds them, and somebody acknowledged that. The subject is the lock.
    LockDiffers,
    /// A guest that is described has a device that its saved state does not have: it is as after reset. The subject
    /// is the section.
    NotInState,
    /// The run has no case of the name that was to decide alone. The subject is the name.
    CaseMissing,
    /// Two builds of a map were not swept. The subject is their labels.
    PairNotTested,
    /// The baseline is of another machine type. The subject is its file.
    BaselineDiffers,
    /// The devices that a machine has by default in each build are not known. The subject is the machine.
    DefaultsNotCompared,
    /// The CPU models that a machine can have in each build are not known. The subject is the machine.
    CpuModelsNotCompared,
    /// A build finds no boot code for the PCI cards of the user's own guest, which is moved without. The subject is the machine.
    NoBootCode,
    /// Devices of a set have no place on the machine, for it lacks their bus. The subject is the device set.
    DevicesWithoutPlace,
    /// A signal ended the run before it was done. The subject is the signal.
    Interrupted,
    /// No device type that a sweep was asked for could be tried. The subject is what selects them.
    NothingTried,
    /// This host had no room for guests, and nothing is known of them. The subject is the case, or several.
    HostLacks,
    /// A stranger's device set, guest or saved state was run in a build that is not confined. The subject is its file.
    Unconfined,
    /// The logs of a case that failed could not be kept. The subject is the case.
    LogsNotKept,
}

/// Evidence that a run lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Notice {
    /// The evidence.
    pub kind: NoticeKind,
    /// The subject of the evidence; the kind says what that is.
    pub subject: String,
    /// The reason why there is none.
    pub detail: String,
}

impl NoticeKind {
    /// Returns a notice of this kind about a subject.
    pub fn about(self, subject: impl Into<String>, detail: impl fmt::Display) -> Notice {
        Notice {
            kind: self,
            subject: subject.into(),
            detail: detail.to_string(),
        }
    }
}

impl Notice {
    /// Tells whether the evidence does not answer the question without it: a part of the run has no report or no
    /// history, nothing that was asked for or no pair of builds was tried, this host had no room for a guest, there was no
    /// Linux where it was asked for, or the dumps are of two machine types, between which QEMU migrates no guest.
    pub fn is_of_verdict(&self) -> bool {
        matches!(
            self.kind,
            NoticeKind::ShardMissing
                | NoticeKind::MachinesDiffer
                | NoticeKind::HistoryFailed
                | NoticeKind::NothingTried
                | NoticeKind::HostLacks
                | NoticeKind::NoLinux
                | NoticeKind::PairNotTested
        )
    }

    /// Returns the sentence for it, without the reason.
    pub fn statement(&self) -> String {
        use NoticeKind as Kind;
        let subject = &self.subject;
        match self.kind {
            Kind::ShardMissing => format!("shard {subject} is missing"),
            Kind::DumpsMissing => format!("the dumps of {subject} are not compared"),
            Kind::StreamsNotCompared => {
                format!("the streams of device set {subject} are not compared")
            }
            Kind::PropertiesNotCompared => {
                format!("the properties of device set {subject} are not compared")
            }
            Kind::FailuresNotExplained => {
                format!("the failures of {subject} are not explained by properties")
            }
            Kind::ChangedByLoad => format!("{subject} is not compared"),
            Kind::OwnAddresses => {
                format!("the section {subject} has addresses of the process that sends it")
            }
            Kind::NotRunning => {
                format!("the guest of {subject} did not run, and was moved as it is after reset")
            }
            Kind::NotDriven => format!("the guest did not use {subject}"),
            Kind::NotDrivable => format!("no device of {subject} was moved with a driver at work"),
            Kind::NoLinux => format!("not every device of {subject} was moved with Linux at work"),
            Kind::OffloadNotNegotiated => format!(
                "the network cards of {subject} offer no offload features, so that none is negotiated"
            ),
            Kind::CoverageUnknown => format!("the coverage of {subject} is not known"),
            Kind::DoubtsNotSettled => {
                format!("findings about {subject} are neither confirmed nor refuted")
            }
            Kind::CapabilityIdle => format!("nothing is sent by {subject}"),
            Kind::AcceleratorPassedOver => format!("no guest was moved with {subject}"),
            Kind::HostCpuReplaced => format!(
                "the guest of {subject} was moved with the default CPU model, and not with the host's"
            ),
            Kind::OtherFirmware => format!("{subject} finds no firmware of its own"),
            Kind::MachinesPaired => {
                format!("as they are, no guest migrates between the machine types {subject}")
            }
            Kind::MachinesDiffer => format!(
                "the dumps are of two versions of {subject}, between which no guest migrates"
            ),
            Kind::SectionUnreadable => format!("the section {subject} is not compared"),
            Kind::KnownFailureExpired => format!("the known failure {subject} has expired"),
            Kind::NoList => format!("no list is in {subject}"),
            Kind::KnownFailureUnmatched => format!("the known failure {subject} matches nothing"),
            Kind::OwnersUnknown => format!("the owners are not looked for in {subject}"),
            Kind::ExclusionUnmatched => format!("no case is excluded by {subject}"),
            Kind::HistoryFailed => format!("the history {subject} does not have this run"),
            Kind::LockDiffers => format!("the run differs from the lock {subject}"),
            Kind::PairNotTested => format!("the builds {subject} were not tested"),
            Kind::NotInState => format!("the state has no section {subject}"),
            Kind::CaseMissing => format!("nothing is known of the case {subject}"),
            Kind::BaselineDiffers => format!("the baseline {subject} is of another machine type"),
            Kind::DefaultsNotCompared => {
                format!("the devices that {subject} has by default are not compared")
            }
            Kind::CpuModelsNotCompared => {
                format!("the CPU models that {subject} can have are not compared")
            }
            Kind::NoBootCode => {
                format!("the PCI cards of the guest on {subject} have no boot code")
            }
            Kind::DevicesWithoutPlace => {
                format!("the guests lack devices of device set {subject}")
            }
            Kind::Unconfined => format!("{subject} was run without confinement"),
            Kind::LogsNotKept => format!("the logs of {subject} are lost"),
            Kind::Interrupted => format!("the run was interrupted by {subject}"),
            Kind::HostLacks => format!("this host has no room for the guests of {subject}"),
            Kind::NothingTried => {
                format!("every device type that --only {subject} selects is left out")
            }
        }
    }
}

/// Returns notices with one for all subjects of the same reason: devices that a guest did not use, devices that could not
/// be migrated, and guests for which this host had no room.
pub(crate) fn by_reason(notices: BTreeSet<Notice>) -> Vec<Notice> {
    let mut joined: Vec<Notice> = Vec::new();
    for notice in notices {
        let is_alike = |known: &&mut Notice| {
            matches!(
                known.kind,
                NoticeKind::NotDriven | NoticeKind::DoubtsNotSettled | NoticeKind::HostLacks
            ) && (known.kind, &known.detail) == (notice.kind, &notice.detail)
        };
        match joined.iter_mut().find(is_alike) {
            Some(known) => known.subject = format!("{}, {}", known.subject, notice.subject),
            None => joined.push(notice),
        }
    }
    joined
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.statement(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_without_a_driver_are_named_in_one_notice() {
        let of = |kind: NoticeKind, subject: &str| kind.about(subject, "why");
        let notices = ["net1", "blk0"].map(|id| of(NoticeKind::NotDriven, id));
        let other = ["a", "b"].map(|id| of(NoticeKind::NotRunning, id));
        let joined = by_reason(notices.into_iter().chain(other).collect());
        let subjects: Vec<&str> = joined.iter().map(|notice| &*notice.subject).collect();
        assert_eq!(subjects, ["a", "b", "blk0, net1"]);
    }
}
