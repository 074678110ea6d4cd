//! The configurations of the questions that can be asked.
//!
//! Every structure is made by `new` or `of` with the values that it needs, or by `default` where it needs none, and changed
//! field by field.

use std::path::PathBuf;
use std::time::Duration;

use crate::history::{Purpose, TierRules};
use crate::migration::channel::transport::Transport;
use crate::migration::endpoint::capability::Capability;
use crate::model::{AcceleratorPreference, CaseName, Confine, Direction, Exclusion};
use crate::qemu::CacheConfig;
use crate::report::{Gate, Policy, RequiredCoverage};
use crate::sweep::selection::MachineSelection as Machines;
use crate::sweep::shard::Shard;

/// Two builds of QEMU, and the directions in which a guest moves between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Builds {
    /// The build that a guest comes from: a QEMU program or wrapper script, `debian:SUITE`, or for a
    /// comparison of dumps a dump (`.json`, `.json.gz`, `.json.zst`).
    pub old: String,
    /// The build that it moves to, and back from.
    pub new: String,
    /// The guest's architecture as QEMU names it, which chooses the program out of a suite; by default
    /// what the machine type implies, else x86_64.
    pub architecture: Option<String>,
    /// The folder for fetched builds; by default `migcompat` in the user's cache folder.
    pub cache: CacheConfig,
    /// The confinement of all that the builds start.
    pub confine: Confine,
    /// The directions; by default both.
    pub directions: Vec<Direction>,
}

impl Builds {
    /// Two builds, in both directions.
    pub fn new(old: impl Into<String>, new: impl Into<String>) -> Builds {
        Builds {
            old: old.into(),
            new: new.into(),
            architecture: None,
            cache: CacheConfig::default(),
            confine: Confine::Auto,
            directions: Direction::BOTH.to_vec(),
        }
    }
}

/// The lists and the policy that findings are judged by; by default the shipped lists, and every rule with its own level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Judging {
    /// Folders with lists of known issues, beside the shipped ones.
    pub lists: Vec<PathBuf>,
    /// The findings that count, and how much has to be known.
    pub policy: Policy,
}

/// A comparison of two dumps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaticConfig {
    /// The builds, or files with their dumps.
    pub builds: Builds,
    /// The machine type that builds write their dumps with; an alias like `q35` is the newest
    /// versioned one that both have. By default `none`, which has the same device types.
    pub machine: Option<String>,
    /// The lists and the policy. No coverage is required: nothing is sent.
    pub judging: Judging,
    /// Earlier results that the run is held against.
    pub memory: Memory,
}

impl StaticConfig {
    /// A comparison of two builds or two files.
    pub fn new(old: impl Into<String>, new: impl Into<String>) -> StaticConfig {
        StaticConfig::of(Builds::new(old, new))
    }

    /// A comparison of builds that are already described.
    pub fn of(builds: Builds) -> StaticConfig {
        StaticConfig {
            builds,
            machine: None,
            judging: Judging::default(),
            memory: Memory::default(),
        }
    }
}

/// Round trips of one guest, instead of one move in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Loops {
    /// The number of them.
    pub count: u16,
    /// The direction of the first leg: forward where the guest starts in the old build.
    pub first: Direction,
}

impl Loops {
    /// Returns so many round trips that start in this direction.
    pub fn new(count: u16, first: Direction) -> Loops {
        Loops { count, first }
    }
}

/// The guest that works in a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WorkloadKind {
    /// A program of our own, which works in memory while it is moved and uses no device.
    #[default]
    Tiny,
    /// Linux with the drivers of all devices, fetched from the Debian archive. It boots once in each build for each
    /// device set; it is stopped while it is sent.
    Linux,
}

/// The user's own guest, as a QEMU command line describes it: a line for a shell, the contents of
/// `/proc/PID/cmdline`, what `qm showcmd` prints, or libvirt's domain XML or log of it. The form is found by the content.
///
/// Nothing of it is executed, opened or reached: disks, networks and the like are replaced by something of
/// the same kind that touches nothing of the host, and the report has each line with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GuestDescription {
    /// The name for messages, that of the file for instance.
    pub label: String,
    /// The description itself.
    pub content: Vec<u8>,
}

impl GuestDescription {
    /// A description of this name and content.
    pub fn new(label: impl Into<String>, content: impl Into<Vec<u8>>) -> GuestDescription {
        GuestDescription {
            label: label.into(),
            content: content.into(),
        }
    }
}

/// Options of QEMU that one side alone is given, word by word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SideArgs {
    /// Those of the old build, whichever side it is.
    pub old: Vec<String>,
    /// Those of the new build.
    pub new: Vec<String>,
    /// Those of the QEMU in which a guest starts, whichever build it is.
    pub source: Vec<String>,
    /// Those of every QEMU that a guest moves to.
    pub destination: Vec<String>,
}

/// The guests of a run, and how they are moved; by default the default device set, once in each direction while it works.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Guests {
    /// The user's own guest, instead of device sets. An empty machine type is then that of the guest.
    pub own: Option<GuestDescription>,
    /// Shipped device sets by name, or files by path. Where neither a set nor a device is named, the
    /// default set.
    pub device_sets: Vec<String>,
    /// Devices as `-device` takes them, all in one more guest.
    pub devices: Vec<String>,
    /// Folders of one's own, whose device sets may have options that reach the host, or run something there. Those
    /// of any other set, and of `devices`, concern the guest alone.
    pub trusted: Vec<PathBuf>,
    /// Round trips, instead of one move in each direction.
    pub loops: Option<Loops>,
    /// The machine never runs: its state after reset is moved. Otherwise a guest works in it.
    pub paused: bool,
    /// Nor does it run with this, but a driver from outside brings its devices into the state in which a kernel
    /// has them: addresses, interrupts, virtio features and queues.
    pub driven: bool,
    /// The guest that works.
    pub workload: WorkloadKind,
    /// The accelerators, the preferred one first; by default TCG alone.
    pub accelerators: AcceleratorPreference,
    /// The CPU model; by default the machine's.
    pub cpu: Option<String>,
    /// Options that one side alone is given.
    pub side_args: SideArgs,
    /// The transport that carries the stream from source to destination.
    pub transport: Transport,
    /// The capabilities that the migrations use.
    pub capabilities: Vec<Capability>,
    /// Cases at once; by default one a processor.
    pub jobs: Option<usize>,
    /// The number of times that a failed case is tried again.
    pub retries: u16,
    /// The number of times that a case is run again, to see whether it always passes. One that fails is run again at
    /// least as often as `retries` says. By default none, and with a capability whose outcome may depend on
    /// chance as many as make ten migrations, or until one fails.
    pub repeat: Option<u16>,
    /// The time limit of one migration.
    pub timeout: Duration,
    /// The folder where the logs of cases that did not pass are kept; by default a new one among the
    /// temporary ones, which is there afterwards only if something is in it.
    pub logs: Option<PathBuf>,
}

impl Default for Guests {
    fn default() -> Guests {
        Guests {
            own: None,
            device_sets: Vec::new(),
            devices: Vec::new(),
            trusted: Vec::new(),
            loops: None,
            paused: false,
            driven: false,
            workload: WorkloadKind::default(),
            accelerators: AcceleratorPreference::default(),
            cpu: None,
            side_args: SideArgs::default(),
            transport: Transport::default(),
            capabilities: Vec::new(),
            jobs: None,
            retries: 2,
            repeat: None,
            timeout: Duration::from_secs(60),
            logs: None,
        }
    }
}

impl Guests {
    /// Returns the names of everything that is plugged in, as the user wrote them.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let guest = self
            .own
            .iter()
            .map(|guest| format!("guest {}", guest.label));
        let named = self.device_sets.iter().chain(&self.devices).cloned();
        guest.chain(named)
    }
}

/// Migrations between two builds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveConfig {
    /// The builds; a dump cannot run.
    pub builds: Builds,
    /// The machine type; an alias like `q35` is the newest versioned one that both builds have. By default that of
    /// the user's own guest, or else the usual one of the architecture.
    pub machine: Option<String>,
    /// The guests, and how they are moved.
    pub guests: Guests,
    /// Folders with lists of known issues, beside the shipped ones.
    pub lists: Vec<PathBuf>,
    /// The case that alone is run, as far as it can be, and that alone decides.
    pub case: Option<CaseName>,
    /// The cases that are left out on purpose.
    pub exclude: Vec<Exclusion>,
    /// Earlier results that the run is held against.
    pub memory: Memory,
}

impl LiveConfig {
    /// The default device set on a machine, moved in both directions.
    pub fn new(
        old: impl Into<String>,
        new: impl Into<String>,
        machine: impl Into<String>,
    ) -> LiveConfig {
        LiveConfig::of(Builds::new(old, new), machine)
    }

    /// The same of builds that are already described.
    pub fn of(builds: Builds, machine: impl Into<String>) -> LiveConfig {
        LiveConfig {
            builds,
            machine: Some(machine.into()),
            guests: Guests::default(),
            lists: Vec::new(),
            case: None,
            exclude: Vec::new(),
            memory: Memory::default(),
        }
    }
}

/// The devices that a comparison of dumps leaves in doubt, and that are moved alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Doubts {
    /// Each that an error or a warning is about, and each that one dump alone describes.
    #[default]
    All,
    /// Those of which the baseline does not have the finding. Without a baseline there are none.
    New,
}

/// Dumps compared and guests moved, for one verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CheckConfig {
    /// The builds; a dump cannot run.
    pub builds: Builds,
    /// The machine type; an alias like `q35` is the newest versioned one that both builds have. By default that of
    /// the user's own guest, or else the usual one of the architecture.
    pub machine: Option<String>,
    /// The guests, and how they are moved. Where there is no guest for an architecture, the machine is
    /// moved as it is after reset.
    pub guests: Guests,
    /// The devices that are moved alone, beside the guests.
    pub doubts: Doubts,
    /// The lists and the policy.
    pub judging: Judging,
    /// The case that alone is run, as far as it can be, and that alone decides.
    pub case: Option<CaseName>,
    /// Earlier results that the run is held against.
    pub memory: Memory,
}

impl CheckConfig {
    /// The dumps of a machine, and the default device set moved in both directions.
    pub fn new(
        old: impl Into<String>,
        new: impl Into<String>,
        machine: impl Into<String>,
    ) -> CheckConfig {
        CheckConfig::of(Builds::new(old, new), machine)
    }

    /// The same of builds that are already described.
    pub fn of(builds: Builds, machine: impl Into<String>) -> CheckConfig {
        CheckConfig {
            builds,
            machine: Some(machine.into()),
            guests: Guests::default(),
            doubts: Doubts::default(),
            judging: Judging::default(),
            case: None,
            memory: Memory::default(),
        }
    }
}

/// A pass of a sweep over what migrates as it is after reset, with drivers at work: each case of it has a name of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecondPass {
    /// The devices are driven from outside, and the machine never runs.
    Driven,
    /// Linux drives the devices, many at once: see [`WorkloadKind::Linux`].
    Linux,
}

/// Every device that two builds have, moved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepConfig {
    /// The builds; a dump cannot run. Of the architecture, [`SweepConfig::machines`] decides.
    pub builds: Builds,
    /// The machines.
    pub machines: Machines,
    /// Device types to try, with `*` for any text; by default all.
    pub only: Vec<String>,
    /// Every device has a guest of its own, which takes long and changes no result.
    pub one_by_one: bool,
    /// The passes in which what migrates is moved once more, with drivers at work, in this order.
    pub second: Vec<SecondPass>,
    /// The accelerators, the preferred one first; by default TCG alone.
    pub accelerators: AcceleratorPreference,
    /// The part of the run to do; [`merge`](crate::api::merge) joins the reports of all parts.
    pub shard: Option<Shard>,
    /// The lists and the policy.
    pub judging: Judging,
    /// Guests at once; by default one a processor.
    pub jobs: Option<usize>,
    /// The time limit of one migration.
    pub timeout: Duration,
    /// The folder where the logs of cases that did not pass are kept; by default a new one among the
    /// temporary ones, which is there afterwards only if something is in it.
    pub logs: Option<PathBuf>,
    /// The case that alone is run, as far as it can be, and that alone decides; not with a shard.
    pub case: Option<CaseName>,
    /// Earlier results that the run is held against.
    pub memory: Memory,
}

impl SweepConfig {
    /// Every device on the usual machine, in both directions.
    pub fn new(old: impl Into<String>, new: impl Into<String>) -> SweepConfig {
        SweepConfig::of(Builds::new(old, new))
    }

    /// The same of builds that are already described.
    pub fn of(builds: Builds) -> SweepConfig {
        SweepConfig {
            builds,
            machines: Machines::default(),
            only: Vec::new(),
            one_by_one: false,
            second: Vec::new(),
            accelerators: AcceleratorPreference::default(),
            shard: None,
            judging: Judging::default(),
            jobs: None,
            timeout: Duration::from_secs(30),
            logs: None,
            case: None,
            memory: Memory::default(),
        }
    }
}

/// Reports of the shards of one sweep, joined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeConfig {
    /// The reports in JSON, plain, `.gz` or `.zst`.
    pub reports: Vec<PathBuf>,
    /// Shards may be missing; nothing is compatible without them.
    pub partial: bool,
    /// The least percentages that guests have to have sent.
    pub required_coverage: RequiredCoverage,
    /// Earlier results that the run is held against.
    pub memory: Memory,
}

impl MergeConfig {
    /// All shards of a run.
    pub fn new(reports: impl IntoIterator<Item = impl Into<PathBuf>>) -> MergeConfig {
        MergeConfig {
            reports: reports.into_iter().map(Into::into).collect(),
            partial: false,
            required_coverage: RequiredCoverage::default(),
            memory: Memory::default(),
        }
    }
}

/// A saved guest, and the build that is to load it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadConfig {
    /// The file with the state: a migration stream, an image that libvirt saved, or a qcow2 image with a snapshot.
    pub state: PathBuf,
    /// Bytes of the file before the stream.
    pub offset: u64,
    /// The name or id of the snapshot in a qcow2 image with several.
    pub snapshot: Option<String>,
    /// The build: a QEMU program or wrapper script, or `debian:SUITE`.
    pub build: String,
    /// The guest's architecture; by default what the machine type implies, else x86_64.
    pub architecture: Option<String>,
    /// The folder for fetched builds; by default `migcompat` in the user's cache folder.
    pub cache: CacheConfig,
    /// The confinement of all that the build starts.
    pub confine: Confine,
    /// The machine type; by default the one that the state names.
    pub machine: Option<String>,
    /// The guest that the state is of. By default the domain in an image of libvirt, or else a machine with the
    /// memory of the state and no device that is not its own.
    pub guest: Option<GuestDescription>,
    /// Options of QEMU that are added, word by word.
    pub args: Vec<String>,
    /// The accelerators, the preferred one first; by default TCG alone, or after KVM where the state shows that it is of that.
    pub accelerators: Option<AcceleratorPreference>,
    /// The number of times that a failed load is tried again.
    pub retries: u16,
    /// The time limit of one load.
    pub timeout: Duration,
    /// The folder where the logs of a failed load are kept; by default a new one among the temporary ones.
    pub logs: Option<PathBuf>,
    /// Folders with lists of known issues, beside the shipped ones.
    pub lists: Vec<PathBuf>,
}

impl LoadConfig {
    /// A state in a file, and a build.
    pub fn new(state: impl Into<PathBuf>, build: impl Into<String>) -> LoadConfig {
        LoadConfig {
            state: state.into(),
            offset: 0,
            snapshot: None,
            build: build.into(),
            architecture: None,
            cache: CacheConfig::default(),
            confine: Confine::Auto,
            machine: None,
            guest: None,
            args: Vec::new(),
            accelerators: None,
            retries: 2,
            timeout: Duration::from_secs(60),
            logs: None,
            lists: Vec::new(),
        }
    }
}

/// Earlier results that a run is held against, which breaks then count, and the people to tell of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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
    /// The rules by which the history gives each case its tier.
    pub tiers: TierRules,
    /// The file that says who owns which devices, in the style of QEMU's MAINTAINERS.
    pub owners: Option<PathBuf>,
    /// A tree of QEMU's sources, which has the files of a device; without a file of owners, its MAINTAINERS.
    pub tree: Option<PathBuf>,
    /// The words of the command line, which the report shows.
    pub command: Vec<String>,
    /// What the history is to make of the run later.
    pub(crate) purpose: Purpose,
}
