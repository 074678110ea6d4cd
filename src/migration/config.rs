//! The configuration that all cases of a run share, and the specification of each.

use std::path::PathBuf;
use std::sync::Arc;

use crate::devices::{Composition, DeviceSet, Target};
use crate::guest::Board;
use crate::migration::boot::PlainBoots;
use crate::migration::channel::transport::Transport;
use crate::migration::checks::state::Names;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::seat::Driving;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, RoleArgs};
use crate::migration::saved::SavedGuests;
use crate::migration::timeouts::Timeouts;
use crate::model::{Accelerator, Direction};
use crate::qemu::machine::{Machines, ProfileCpu};
use crate::report::LeftOut;
use crate::workload;
use crate::workload::Workload;
use crate::workload::linux::{LinuxGuest, Network};

/// The driver of which `-serial` makes one, where a second one is refused.
const SOLE_CONSOLE: &str = "sclpconsole";

/// The number of migrations after which what may fail by chance counts as passed. In the failure of multifd between 8.2 and
/// 9.2 that commit b93d897ea2 ended, one of three failed: of so many all pass in one of fifty runs.
pub(crate) const RACES: usize = 10;

/// The number of times that a case is seen again in which a build died, in a sweep, or which may have passed by chance, and
/// that the control of a device of which a build died is tried again.
pub(crate) const AGAIN: usize = 3;

/// The number of times that a case which passed is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// As often, whatever comes of it: somebody asks for a rate.
    Times(usize),
    /// At most as often, until it fails: one that passed may have done so by chance.
    UntilFailure(usize),
}

impl Repeat {
    /// Returns what is done unless somebody asks for a rate: where threads race, a case passes once it has migrated
    /// `RACES` times.
    pub(crate) fn usual(capabilities: &[Capability], legs: usize) -> Repeat {
        let races = capabilities.iter().any(|capability| capability.races());
        let times = if races {
            RACES.div_ceil(legs.max(1))
        } else {
            1
        };
        Repeat::UntilFailure(times - 1)
    }

    /// Returns the greatest number of times.
    pub(crate) fn most(self) -> usize {
        match self {
            Repeat::Times(times) | Repeat::UntilFailure(times) => times,
        }
    }

    /// Returns the greatest number of times for what may have passed by chance, unless somebody asks for a rate.
    pub(crate) fn most_by_chance(self) -> usize {
        match self {
            Repeat::Times(times) => times,
            Repeat::UntilFailure(times) => times.max(AGAIN),
        }
    }

    /// Returns the number of times for the rate that somebody asks for.
    pub(crate) fn rate(self) -> usize {
        match self {
            Repeat::Times(times) => times,
            Repeat::UntilFailure(_) => 0,
        }
    }

    /// Tells whether a failure is all that it is about.
    pub(crate) fn ends_with_a_failure(self) -> bool {
        matches!(self, Repeat::UntilFailure(_))
    }
}

/// The configuration that all cases of a run share.
#[derive(Debug, Clone)]
pub struct MigrationConfig {
    pub old: Endpoint,
    pub new: Endpoint,
    /// Resolved: both builds have it, or the old one where each has a type of its own.
    pub machine: String,
    /// The machine type as reports name it: `OLD=NEW` where each build has one of its own.
    pub machines: String,
    /// The end of `qemu-system-ARCH`.
    pub arch: String,
    /// The buses of the machine, where they are known: devices without a place on it are in no guest.
    pub(crate) buses: Option<Buses>,
    /// The board of the user's own guest, instead of a plain one.
    pub board: Option<Arc<Board>>,
    /// Options that one side of a migration alone is given.
    pub role_args: RoleArgs,
    /// CPU model of the guest; by default what the machine has.
    pub cpu: Option<String>,
    /// The use of the model that the machine's profile chooses. It is left out where the builds have
    /// another one by default: it would hide that.
    pub profile_cpu: ProfileCpu,
    pub transport: Transport,
    /// The capabilities in order, each once.
    pub capabilities: Vec<Capability>,
    /// The guest works while it moves.
    pub running: bool,
    /// The parts of a Linux guest; without them the guest that works is a tiny one.
    pub linux: Option<Arc<LinuxGuest>>,
    /// The way in which the devices of a machine without a guest are driven, if they are.
    pub driving: Option<Driving>,
    /// The network that the cards of a machine without a guest are connected to.
    pub(crate) network: Network,
    /// Linux guests that have booted.
    pub saved: SavedGuests,
    /// Round trips of one guest; without them each direction is a case of one leg.
    pub loops: Option<usize>,
    /// Number of times that a failed case is tried again.
    pub retries: usize,
    pub repeat: Repeat,
    pub timeouts: Timeouts,
    /// The time until a guest works, of each build.
    pub plain_boots: PlainBoots,
    /// The folder for logs of cases that did not pass.
    pub logs: PathBuf,
    /// The names of fields, as the lists know them.
    pub names: Names,
}

/// Returns the machine types of the old and of the new build, if a case's is `machine`.
fn types(builds: [&Endpoint; 2], machine: &str) -> Machines {
    let [old, new] = builds.map(|of| of.machine(machine).to_owned());
    Machines { old, new }
}

/// A case to run.
#[derive(Debug, Clone)]
pub struct CaseSpec {
    pub set: DeviceSet,
    /// Direction of the first leg.
    pub direction: Direction,
    pub part: Part,
}

/// The reason for which a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It was asked for.
    Whole,
    /// It is to blame for the failure of a larger one.
    Culprit,
    /// So it is, of the same cause as others that are looked at in full.
    Alike,
}

/// The step that a case is at, for who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Legs count from 0.
    Leg { index: usize, of: usize },
    /// It failed, and each build is tried with itself.
    Control,
    /// It failed, and is tried again.
    Again { time: usize, of: usize },
    /// It failed, and the devices to blame are looked for.
    Blame,
}

/// A callback that watches a case.
pub(crate) type Watcher<'w> = &'w (dyn Fn(Step) + Sync);

impl MigrationConfig {
    /// Returns the configuration of plain machines that never run: each case is one leg, tried once.
    pub fn paused(
        (old, new): (Endpoint, Endpoint),
        machine: String,
        arch: String,
        logs: PathBuf,
        names: Names,
    ) -> MigrationConfig {
        let machines = types([&old, &new], &machine).to_string();
        MigrationConfig {
            old,
            new,
            machine,
            machines,
            arch,
            buses: None,
            board: None,
            role_args: RoleArgs::default(),
            cpu: None,
            profile_cpu: ProfileCpu::Given,
            transport: Transport::default(),
            capabilities: Vec::new(),
            running: false,
            linux: None,
            driving: None,
            network: Network::Hub,
            saved: SavedGuests::default(),
            loops: None,
            retries: 0,
            repeat: Repeat::Times(0),
            timeouts: Timeouts::default(),
            plain_boots: PlainBoots::default(),
            logs,
            names,
        }
    }

    /// Returns the machine types of both builds.
    pub(crate) fn types(&self) -> Machines {
        types([&self.old, &self.new], &self.machine)
    }

    /// Gives the guests of both builds this accelerator.
    pub(crate) fn accelerate(&mut self, accelerator: Accelerator) {
        self.old.accelerator = accelerator;
        self.new.accelerator = accelerator;
        self.names.set_accelerator(accelerator);
    }

    /// Returns the set as the machine takes it, without what the workload guest itself needs, and what that is.
    pub(crate) fn fitting(&self, set: &DeviceSet) -> (DeviceSet, Vec<LeftOut>) {
        let mut set = match (&self.buses, &self.old.drivers) {
            (Some(buses), Some(drivers)) => buses.place(set, drivers, &self.arch),
            _ => set.clone(),
        };
        let mut taken = Vec::new();
        if self.running && workload::guest(&self.arch).is_some() {
            // The guest's own console is one, and a machine has one.
            set.devices.retain(|device| {
                let keeps = device.driver(&self.arch) != SOLE_CONSOLE;
                if !keeps {
                    taken.push(LeftOut {
                        device: device.id.clone(),
                        reason: "a machine has one, and the workload guest speaks on it".to_owned(),
                    });
                }
                keeps
            });
        }
        (set, taken)
    }

    /// Composes the command line of a set for these builds.
    pub fn compose(&self, set: &DeviceSet) -> Composition {
        let (set, _) = self.fitting(set);
        set.compose(&Target {
            arch: &self.arch,
            machine: &self.machines,
            old: self.old.known(),
            new: self.new.known(),
        })
    }

    /// Returns what every QEMU of a case is started with.
    pub fn launch(&self, device_args: Vec<String>) -> LaunchSpec {
        let workload = match &self.linux {
            Some(guest) => Some(Workload::Linux(Arc::clone(guest))),
            None => workload::guest(&self.arch).map(Workload::Tiny),
        };
        LaunchSpec {
            machine: self.machine.clone(),
            arch: self.arch.clone(),
            cpu: self.cpu.clone(),
            profile_cpu: self.profile_cpu,
            board: self.board.clone(),
            device_args,
            role_args: self.role_args.clone(),
            workload: workload.filter(|_| self.running),
            driving: self.driving.filter(|_| !self.running),
            network: self.network,
            section_override: None,
            tolerated: Arc::default(),
            tls: self.capabilities.contains(&Capability::Tls),
            survey: false,
            fill: None,
            features: false,
        }
    }

    /// Returns the builds that the guest goes through.
    pub(crate) fn route(&self, first: Direction) -> Vec<&Endpoint> {
        let (from, to) = first.source_destination(&self.old, &self.new);
        match self.loops {
            None => vec![from, to],
            Some(loops) => [vec![from], [to, from].repeat(loops)].concat(),
        }
    }
}
