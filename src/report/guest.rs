//! The user's own guest: each line of its description, and what became of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Direction, Rule, Side};
use crate::report::{Case, Finding, LegSide, Outcome, Shape};

/// The guest of a run that was described by a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFile {
    /// The form of the description.
    pub format: GuestFormat,
    /// Its parts, in their order.
    pub lines: Vec<GuestLine>,
    /// The answer for each case of the whole guest.
    pub answers: Vec<GuestAnswer>,
    /// The number of findings that are left out of the report: they are about devices that the guest does not
    /// have.
    pub other_findings: usize,
}

/// The answer of one case of the whole guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAnswer {
    /// The id of the case.
    pub case: String,
    /// The direction of its first leg.
    pub direction: Direction,
    /// The outcome of the case.
    pub outcome: Outcome,
    /// The lines that are to blame, where it does not move.
    pub blamed: Vec<Blamed>,
    /// It does not move without any device either: the board is to blame.
    pub board: bool,
    /// Settings by which it moves until the builds are mended, as far as its properties explain the failure.
    pub advice: Vec<Advice>,
}

/// A setting of one side by which a guest moves until the builds are mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The build that is given it.
    pub build: Side,
    /// The side of the migration that this build is. A destination is given it for guests that run already, and
    /// a source for those that are started anew.
    pub side: LegSide,
    /// The option.
    pub option: String,
}

/// A line that is to blame for a guest that does not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    /// The line of the file.
    pub line: usize,
    /// The device, by its id.
    pub device: String,
}

/// The form of a guest's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GuestFormat {
    /// A command line as a shell takes it.
    CommandLine,
    /// The words of a process, separated by NUL.
    ProcessCommandLine,
    /// The log that libvirt keeps of a guest.
    LibvirtLog,
    /// The domain of libvirt that a guest is.
    DomainXml,
    /// What QEMU's `-readconfig` reads.
    Configuration,
}

impl fmt::Display for GuestFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            GuestFormat::CommandLine => "a command line",
            GuestFormat::ProcessCommandLine => "the command line of a process",
            GuestFormat::LibvirtLog => "a log of libvirt",
            GuestFormat::DomainXml => "a domain of libvirt",
            GuestFormat::Configuration => "a configuration file of QEMU",
        })
    }
}

/// One option of a guest's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLine {
    /// The line of the file, from 1.
    pub line: usize,
    /// The option, without secrets and control characters.
    pub given: String,
    /// The treatment that it got.
    pub treatment: Treatment,
    /// The options that the moved guest has for it.
    pub now: Vec<String>,
    /// The reason, where it is not kept.
    pub reason: Option<GuestReason>,
    /// More about the reason.
    pub detail: Option<String>,
    /// Parts of a kept option that the moved guest lacks.
    pub without: Vec<Omission>,
    /// The device, by its id in the cases of the report.
    pub device: Option<String>,
}

/// The treatment of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// The moved guest has it.
    Kept,
    /// The moved guest has something of the same kind that touches nothing of the host.
    Replaced,
    /// The moved guest has nothing for it.
    LeftOut,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Treatment::Kept => "kept",
            Treatment::Replaced => "replaced",
            Treatment::LeftOut => "left out",
        })
    }
}

/// A part of an option that the moved guest lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// The name of the property, the flag or the setting.
    pub name: String,
    /// The reason.
    pub reason: GuestReason,
}

/// The reason why a part of a guest is not moved as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GuestReason {
    /// A disk: no image is opened.
    HostDisk,
    /// Another part of the description stands for it.
    PartOfAnother,
    /// A network backend: nothing is reached.
    HostNetwork,
    /// A network backend with several queues.
    HostNetworkQueues,
    /// A character device.
    HostChannel,
    /// Memory in a file, in huge pages or shared with another process.
    HostMemory,
    /// The settings of memory that no guest sees.
    HostMemorySetting,
    /// The sound of the host.
    HostAudio,
    /// A source of random numbers.
    HostEntropy,
    /// A TPM, which is a device of the host or another process.
    HostTpm,
    /// A folder that is shared with the guest.
    HostFolder,
    /// A device of the host.
    HostDevice,
    /// A file of the host.
    HostFile,
    /// The screen of the host.
    HostDisplay,
    /// The process, and not the guest.
    HostProcess,
    /// A monitor: the program has its own.
    Monitor,
    /// The way in which the guest was started or moved: the program's own business.
    HowItRuns,
    /// KVM or another accelerator.
    Accelerator,
    /// The CPU of the host, which only KVM knows.
    HostCpu,
    /// A CPU flag that only limits where the guest starts.
    CpuEnforced,
    /// A secret.
    Secret,
    /// A guest that the host cannot read.
    ConfidentialGuest,
    /// A kernel that is not loaded from the disk.
    GuestKernel,
    /// Firmware that does not come with QEMU.
    Firmware,
    /// Firmware that each build has of its own.
    OwnFirmware,
    /// A backend that needs another process.
    NeedsProcess,
    /// A reference to something that is not in the guest.
    NotInTheGuest,
    /// A device that no guest of ours has.
    NotPluggedIn,
    /// An option that is not known.
    UnknownOption,
    /// A device type that is not known.
    UnknownDevice,
    /// A type of object that is not known.
    UnknownObject,
    /// An element of a domain that is not known.
    UnknownElement,
    /// A part of a domain that no option is known for.
    Unread,
    /// The addresses of devices, and the ports that they are on, which libvirt gives a domain as it defines it.
    AsWritten,
    /// A setting that is not known to be harmless.
    UnknownSetting,
    /// A name or a value in no form that QEMU takes.
    Malformed,
    /// A name that a vendor adds to a machine type.
    VendorSuffix,
    /// Words around the command.
    NoOption,
}

impl fmt::Display for GuestReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HostDisk => "no image of the host is opened: an empty disk stands for it",
            Self::PartOfAnother => "what stands for another part stands for it too",
            Self::HostNetwork => "no network is reached: a hub stands for it",
            Self::HostNetworkQueues => "no network is reached: a hub stands for it, and has one pair of queues",
            Self::HostChannel => "nothing outside is opened: a null device stands for it",
            Self::HostMemory => "plain memory of the same size stands for it",
            Self::HostMemorySetting => "the guest does not see where its memory is",
            Self::HostAudio => "a silent backend stands for it",
            Self::HostEntropy => "QEMU's own random numbers stand for it",
            Self::HostTpm => "an empty TPM of the tool's own stands for it",
            Self::HostFolder => "no folder of the host is opened: a made-up one stands for it",
            Self::HostDevice => "it needs a device of the host",
            Self::HostFile => "no file of the host is opened",
            Self::HostDisplay => "the guest does not see its screen's window",
            Self::HostProcess => "it concerns the process, and not the guest",
            Self::Monitor => "the guest does not see its monitors",
            Self::HowItRuns => "the guest is started and moved in other ways here",
            Self::Accelerator => "the accelerator of the run (--accel) is used",
            Self::HostCpu => "no guest here has the CPU of the host, which only KVM knows: another model stands for it",
            Self::CpuEnforced => "emulation lacks features of most models",
            Self::Secret => "secrets are not used",
            Self::ConfidentialGuest => "it needs hardware of the host",
            Self::GuestKernel => "no kernel of the host is loaded",
            Self::Firmware => "firmware that is not QEMU's own is not opened: an empty one stands for it",
            Self::OwnFirmware => "the firmware that comes with each build stands for it",
            Self::NeedsProcess => "it needs another process beside QEMU",
            Self::NotInTheGuest => "it refers to something that is not in the guest",
            Self::NotPluggedIn => "it cannot be plugged in here",
            Self::UnknownOption => "such an option is not known",
            Self::UnknownDevice => "such a device is not known",
            Self::UnknownObject => "such an object is not known",
            Self::UnknownElement => "such an element is not known",
            Self::Unread => "no option is known that stands for it",
            Self::UnknownSetting => "it is not known to be harmless",
            Self::Malformed => "QEMU takes no such name or value",
            Self::VendorSuffix => "the type is looked up without what a vendor added",
            Self::AsWritten => "libvirt adds addresses and PCI ports as it defines the guest: `virsh dumpxml` has them",
            Self::NoOption => "it is no option of QEMU",
        })
    }
}

impl GuestReason {
    /// Tells whether the guest itself has nothing of what is left out for it.
    pub fn is_unseen(self) -> bool {
        matches!(
            self,
            Self::PartOfAnother
                | Self::HostMemorySetting
                | Self::HostDisplay
                | Self::HostProcess
                | Self::Monitor
                | Self::HowItRuns
                | Self::Accelerator
                | Self::CpuEnforced
                | Self::Secret
                | Self::NoOption
        )
    }

    /// Tells whether the guest itself may have a device of what is left out for it.
    pub fn may_be_a_device(self) -> bool {
        matches!(
            self,
            Self::AsWritten
                | Self::ConfidentialGuest
                | Self::HostDevice
                | Self::HostFile
                | Self::HostFolder
                | Self::Malformed
                | Self::NeedsProcess
                | Self::NotInTheGuest
                | Self::NotPluggedIn
                | Self::UnknownDevice
                | Self::UnknownElement
                | Self::UnknownObject
                | Self::UnknownOption
                | Self::UnknownSetting
                | Self::Unread
        )
    }
}

impl GuestFile {
    /// Takes note that the guest has the CPU of the host after all.
    pub(crate) fn keep_host_cpu(&mut self) {
        let replaced = self.lines.iter_mut();
        for line in replaced.filter(|line| line.reason == Some(GuestReason::HostCpu)) {
            line.treatment = Treatment::Kept;
            line.reason = None;
        }
    }

    /// Answers by the cases of the whole guest; those of single devices are parts of them.
    pub(crate) fn answer(&mut self, cases: &[Case], findings: &[Finding], device_set: &str) {
        let whole = cases
            .iter()
            .filter(|case| case.device_set == device_set && case.part_of.is_none());
        let answers = whole.map(|case| {
            let culprits = case.split.iter().flat_map(|split| &split.culprits);
            // A guest with one device has no split.
            let lone = (case.split.is_none() && case.gates() && case.devices.len() == 1)
                .then_some(&case.devices);
            // A build that has not each device of the guest cannot have the guest.
            let absent = case.left_out.iter().map(|left_out| &left_out.device);
            let blamed = culprits.chain(lone).flatten().chain(absent);
            let blamed = blamed.filter_map(|device| {
                Some(Blamed {
                    line: self.of_device(device)?.line,
                    device: device.clone(),
                })
            });
            GuestAnswer {
                case: case.id.clone(),
                direction: case.direction,
                outcome: case.outcome,
                blamed: blamed.collect(),
                board: case.split.as_ref().is_some_and(|split| split.without_any),
                advice: advice(case, cases, findings),
            }
        });
        self.answers = answers.collect();
    }

    /// Returns the line that a device of the guest comes from.
    pub fn of_device(&self, id: &str) -> Option<&GuestLine> {
        self.lines
            .iter()
            .find(|line| line.device.as_deref() == Some(id))
    }

    /// Returns how many lines were treated in a way.
    pub fn count(&self, treatment: Treatment) -> usize {
        let lines = self.lines.iter();
        lines.filter(|line| line.treatment == treatment).count()
    }
}

/// Returns the settings that make up for the differences which a case or the cases of its culprits failed by.
fn advice(case: &Case, cases: &[Case], findings: &[Finding]) -> Vec<Advice> {
    let ids: Vec<&str> = cases
        .iter()
        .filter(|other| other.id == case.id || other.part_of.as_deref() == Some(&case.id))
        .filter(|other| other.gates())
        .map(|other| other.id.as_str())
        .collect();
    let explains = |finding: &&Finding| {
        finding.rule == Rule::PropertyDefaultChanged
            && ids.iter().any(|id| finding.is_confirmed_by(id))
    };
    findings
        .iter()
        .filter(explains)
        .flat_map(settings)
        .collect()
}

/// Returns the settings of either side that undo a difference. The destination comes first: guests that run already
/// move by it.
fn settings(finding: &Finding) -> Vec<Advice> {
    let Some(property) = finding.path.first() else {
        return Vec::new();
    };
    fn value(shape: &Option<Shape>) -> Option<&str> {
        let value = shape.as_ref()?.value.as_deref()?;
        // So a report writes a text without characters.
        Some(if value == "empty" { "" } else { value })
    }
    // A build without the property takes no value for it.
    let (Some(old), Some(new)) = (value(&finding.old), value(&finding.new)) else {
        return Vec::new();
    };
    let (old, new) = ((Side::Old, old), (Side::New, new));
    let (source, destination) = finding.direction.source_destination(old, new);
    let advice = |side, build, other: &str| Advice {
        build,
        side,
        option: option(&finding.section, property, other),
    };
    vec![
        advice(LegSide::Destination, destination.0, source.1),
        advice(LegSide::Source, source.0, destination.1),
    ]
}

/// Returns the option that sets a property of a type.
fn option(type_name: &str, property: &str, value: &str) -> String {
    if property == "cpu" {
        let model = value.rsplit_once("-cpu").map_or(value, |(model, _)| model);
        let model = ["-x86_64", "-i386", "-arm", "-riscv", "-s390x"]
            .iter()
            .find_map(|end| model.strip_suffix(end))
            .unwrap_or(model);
        return format!("-cpu {model}");
    }
    match type_name.strip_suffix("-machine") {
        Some(_) => format!("-machine {property}={value}"),
        None => format!("-global {type_name}.{property}={value}"),
    }
}
