//! The kernels and programs that the Linux guests of a run are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::config::{Builds, Guests, WorkloadKind};
use crate::api::error::{Error, Problem};
use crate::api::network;
use crate::api::progress::{Event, Progress};
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::linux_boot::pci_functions;
use crate::model::joined;
use crate::qemu::{Cache, CacheConfig, FetchWatcher, QemuError, block_on};
use crate::report::Notice;
use crate::workload::linux::{Driven, LinuxGuest, Network, PciFunction, packages, targets};

/// The networks that cards with a driver are connected to, the best one first.
pub(crate) const NETWORKS: [Network; 2] = [Network::AnsweringTap, Network::Tap];

/// Gives the guests of a run a kernel, where one is asked for, and their cards a network.
///
/// # Errors
/// There is no kernel for the architecture, or its packages cannot be had.
pub(crate) fn equip(
    config: &mut MigrationConfig,
    sets: &[DeviceSet],
    builds: &Builds,
    guests: &Guests,
    progress: &dyn Progress,
) -> Result<Vec<Notice>, Error> {
    if guests.workload != WorkloadKind::Linux || !config.running {
        return Ok(Vec::new());
    }
    let args: Vec<String> = sets
        .iter()
        .flat_map(|set| config.launch(config.compose(set).args).plugged_in())
        .collect();
    let cache = Cache::new(builds.cache.clone()).map_err(QemuError::from)?;
    let watcher = |event: crate::qemu::FetchEvent<'_>| progress.event(Event::Fetch(event));
    let no_linux = || no_linux(&config.arch);
    if !targets().any(|known| known == config.arch) {
        return Err(no_linux().into());
    }
    let plugged_in = plugged_in(config, sets);
    let packages = packages(
        &config.arch,
        Driven::Functions(&plugged_in),
        &cache,
        &watcher,
    )?
    .ok_or_else(no_linux)?;
    let (network, notice) = network::connect(config, &args, guests.transport, &NETWORKS);
    config.linux = Some(Arc::new(LinuxGuest::new(packages, network)));
    Ok(notice.into_iter().collect())
}

/// Returns the Linux guests of a sweep, by architecture; an architecture without a kernel has none.
///
/// # Errors
/// None of the architectures has a kernel, or packages cannot be had.
pub(crate) fn guests(
    archs: &[&str],
    network: Network,
    cache: &CacheConfig,
    watcher: FetchWatcher<'_>,
) -> Result<BTreeMap<String, Arc<LinuxGuest>>, Error> {
    let cache = Cache::new(cache.clone()).map_err(QemuError::from)?;
    let mut guests = BTreeMap::new();
    for &arch in archs {
        if let Some(packages) = packages(arch, Driven::All, &cache, watcher)? {
            guests.insert(
                arch.to_owned(),
                Arc::new(LinuxGuest::new(packages, network)),
            );
        }
    }
    match guests.is_empty() {
        true => Err(no_linux(&archs.join(", ")).into()),
        false => Ok(guests),
    }
}

fn no_linux(arch: &str) -> Problem {
    Problem::NoLinux {
        arch: arch.to_owned(),
        known: joined(targets(), ", "),
    }
}

/// Returns the PCI functions that device sets plug in, as the old build has them. A set that does not start has none: it shows
/// where it is migrated.
fn plugged_in(config: &MigrationConfig, sets: &[DeviceSet]) -> Vec<PciFunction> {
    let found = sets.iter().filter_map(|set| {
        let launch = config.launch(config.compose(set).args);
        let asked = block_on(pci_functions(&config.old, &launch));
        Some(asked.ok()?.ok()?.of_set)
    });
    found.flatten().collect()
}
