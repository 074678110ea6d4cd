//! Two builds that are opened for guests, and the guests that are to be moved between them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::api::config::{Builds, GuestDescription, Guests, WorkloadKind};
use crate::api::confinement::{self, file_of_set, is_trusted};
use crate::api::dumps::{Dumps, endpoints};
use crate::api::error::{Error, Problem};
use crate::api::progress::{Event, Progress};
use crate::api::{jobs, names, one_case};
use crate::devices::DeviceSet;
use crate::guest::{FlashSizes, GuestSpec, Idle, confine};
use crate::migration::checks::state::Names;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Repeat};
use crate::migration::endpoint::vm::{Endpoint, RoleArgs};
use crate::migration::timeouts::Timeouts;
use crate::model::{CaseName, Direction};
use crate::qemu::machine::{self, Machines, ProfileCpu};
use crate::qemu::{self, Means, Pair, QemuError};
use crate::workload::linux::memory_mib;

/// The set of a run that asks for none.
const DEFAULT_SET: &str = "default";

/// Two builds for a machine, and the device sets of the guests.
pub(crate) struct Opened {
    pub pair: Pair,
    /// The machine types, resolved: each build has that of its side.
    pub machines: Machines,
    /// Them as reports name them.
    pub machine: String,
    pub builds: Builds,
    pub directions: Vec<Direction>,
    pub sets: Vec<DeviceSet>,
    /// The user's own guest, whose devices are the only set then.
    pub guest: Option<GuestSpec>,
}

impl Opened {
    /// Opens both builds, and finds what guests are to have.
    ///
    /// # Errors
    /// A build is not available or does not start, they have no such machine in common,
    /// there is no such device set, or neither build has a device type or the CPU model asked for.
    pub(crate) fn new(
        builds: &Builds,
        machine: Option<&str>,
        guests: &Guests,
        progress: &dyn Progress,
    ) -> Result<Opened, Error> {
        // Builds that cannot be opened for it would be called unfit.
        jobs(guests.jobs)?;
        let guest = guests.own.as_ref();
        let guest = guest.map(|own| read_guest(own, FlashSizes::default()));
        let guest = guest.transpose()?;
        let machine = machine_of(machine, guests, guest.as_ref())?;
        let of_guest = guest.as_ref().and_then(|guest| guest.arch.as_deref());
        let asked = builds.architecture.as_deref().or(of_guest);
        let architecture = machine::architecture(asked, machine);
        let means = Means {
            architecture: architecture.to_owned(),
            cache: builds.cache.clone(),
            watcher: &|event| progress.event(Event::Fetch(event)),
            lists_drivers: true,
            confine: confinement::of_guests(builds.confine, guests, architecture),
        };
        let (old, new) = qemu::parse_both(&builds.old, &builds.new, &means)?;
        let pair = Pair::open(&old, &new, &means)?;
        let machines =
            match machine {
                Some(wanted) => pair.machines(wanted).map_err(QemuError::from)?,
                None => pair.usual_machine().map(Machines::same).ok_or_else(|| {
                    Problem::NoUsualMachine {
                        target: pair.arch().to_owned(),
                    }
                })?,
            };
        let sets = match &guest {
            Some(guest) => vec![guest.devices.clone()],
            None => device_sets(guests, pair.arch())?,
        };
        for set in &sets {
            names::check_devices(set, &pair)?;
        }
        if let Some(cpu) = &guests.cpu {
            names::check_cpu(cpu, &pair)?;
        }
        progress.event(Event::Opened {
            old: &pair.old.reference(),
            new: &pair.new.reference(),
            machine: Some(&machines.to_string()),
        });
        Ok(Opened {
            pair,
            machine: machines.to_string(),
            machines,
            builds: builds.clone(),
            directions: builds.directions.clone(),
            sets,
            guest,
        })
    }

    /// Leaves the device sets that a case is of, and says which device type it is about if it is of none.
    pub(crate) fn narrow(&mut self, case: &CaseName) -> Alone {
        self.sets.retain(|set| one_case::is_of_set(case, set));
        match self.sets.is_empty() {
            true => Alone::Device(case.subject().to_owned()),
            false => Alone::Set,
        }
    }

    /// Returns the cases of the guests: each set in each direction, or in a loop.
    pub(crate) fn specs(&self, sets: &[DeviceSet], guests: &Guests) -> Vec<CaseSpec> {
        let first = guests.loops.map(|loops| [loops.first]);
        let directions = first.as_ref().map_or(&*self.directions, |first| &first[..]);
        let of_set = |set: &DeviceSet| {
            let spec = |&direction| CaseSpec {
                set: set.clone(),
                direction,
                part: Part::Whole,
            };
            directions.iter().map(spec).collect::<Vec<_>>()
        };
        sets.iter().flat_map(of_set).collect()
    }

    /// Returns the configuration of guests that do not run yet, with the dumps of both builds where they are known.
    pub(crate) fn config(
        &self,
        guests: &Guests,
        dumps: Option<&Dumps>,
        names: Names,
        logs: &Path,
    ) -> MigrationConfig {
        let Opened { pair, machines, .. } = self;
        let (mut old, mut new) = Endpoint::with_types(endpoints(pair, dumps), machines);
        old.args.clone_from(&guests.side_args.old);
        new.args.clone_from(&guests.side_args.new);
        let guest = self.guest.as_ref();
        let capabilities = BTreeSet::from_iter(guests.capabilities.iter().copied());
        let capabilities = Vec::from_iter(capabilities);
        let loops = guests.loops.map(|loops| usize::from(loops.count));
        let repeat = match guests.repeat {
            Some(times) => Repeat::Times(times.into()),
            None => Repeat::usual(&capabilities, loops.map_or(1, |loops| 2 * loops)),
        };
        MigrationConfig {
            board: guest.map(|guest| Arc::new(guest.board.clone())),
            role_args: RoleArgs {
                source: guests.side_args.source.clone(),
                destination: guests.side_args.destination.clone(),
            },
            cpu: guests.cpu.clone(),
            profile_cpu: match pair.other_default_cpu(machines) {
                Some(_) => ProfileCpu::LeftOut,
                None => ProfileCpu::Given,
            },
            transport: guests.transport,
            capabilities,
            loops,
            retries: guests.retries.into(),
            repeat,
            timeouts: Timeouts {
                leg: guests.timeout,
                ..Timeouts::default()
            },
            ..MigrationConfig::paused(
                (old, new),
                machines.old.clone(),
                pair.arch().to_owned(),
                logs.to_owned(),
                names,
            )
        }
    }

    /// Returns the reason why the workload guest cannot run in the user's own guest, if it cannot.
    pub(crate) fn idle(&self, workload: WorkloadKind) -> Option<Idle> {
        let board = &self.guest.as_ref()?.board;
        board.idle.or_else(|| {
            let mib = memory_mib(self.pair.arch());
            let is_little = board.memory < u64::from(mib) << 20;
            let is_linux = workload == WorkloadKind::Linux;
            (is_linux && is_little).then_some(Idle::LittleMemory { mib })
        })
    }
}

/// The subject of the case that a run is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alone {
    /// A device set, so that no device is tried alone.
    Set,
    /// A device type, or the machine without any.
    Device(String),
}

pub(crate) fn read_guest(
    description: &GuestDescription,
    flash: FlashSizes,
) -> Result<GuestSpec, Problem> {
    GuestSpec::with_flash(&description.content, flash).map_err(|error| Problem::Guest {
        label: description.label.clone(),
        error,
    })
}

/// Returns the machine type that is asked for, or that of the user's own guest; nothing where neither names one.
fn machine_of<'m>(
    asked: Option<&'m str>,
    guests: &Guests,
    guest: Option<&'m GuestSpec>,
) -> Result<Option<&'m str>, Problem> {
    match (asked, &guests.own, guest) {
        (None, Some(own), Some(guest)) => match guest.machine.as_deref() {
            Some(machine) => Ok(Some(machine)),
            None => Err(Problem::NoMachine {
                label: own.label.clone(),
            }),
        },
        _ => Ok(asked),
    }
}

/// The sets that are asked for, and one more of single devices.
fn device_sets(guests: &Guests, arch: &str) -> Result<Vec<DeviceSet>, Problem> {
    if let Some(folder) = guests.trusted.iter().find(|folder| !folder.is_dir()) {
        return Err(Problem::NothingTrusted {
            folder: folder.clone(),
        });
    }
    let mut sets = Vec::new();
    for name in &guests.device_sets {
        sets.extend(device_set(name, guests, arch)?.guests());
    }
    if !guests.devices.is_empty() {
        let given = DeviceSet::ad_hoc(&guests.devices, arch)?;
        let option = || "--device".to_owned();
        confine(&given, arch).map_err(|leak| Problem::Leak {
            set: option(),
            leak,
        })?;
        sets.push(given);
    }
    if sets.is_empty() {
        sets = DeviceSet::shipped(DEFAULT_SET)?.guests();
    }
    Ok(sets)
}

/// A shipped set, or one in a file, which runs and reaches nothing unless its folder is trusted.
fn device_set(name: &str, guests: &Guests, arch: &str) -> Result<DeviceSet, Problem> {
    let Some(path) = file_of_set(name) else {
        return Ok(DeviceSet::shipped(name)?.clone());
    };
    let set = DeviceSet::load(path)?;
    if !is_trusted(path, &guests.trusted) {
        confine(&set, arch).map_err(|leak| Problem::Leak {
            set: format!("the device set {name}"),
            leak,
        })?;
    }
    Ok(set)
}
