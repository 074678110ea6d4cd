//! What the Linux guests of a run are made of.

use std::sync::Arc;

use crate::api::config::{Builds, Guests, WorkloadKind};
use crate::api::error::{Error, Problem};
use crate::api::network;
use crate::api::progress::{Event, Progress};
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::linux_boot::pci_functions;
use crate::qemu::{Cache, QemuError, block_on};
use crate::report::Notice;
use crate::workload::linux::{Kit, Network, PciFunction, packages, targets};

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
    let no_linux = || Problem::NoLinux {
        arch: config.arch.clone(),
        known: targets().collect::<Vec<_>>().join(", "),
    };
    if !targets().any(|known| known == config.arch) {
        return Err(no_linux().into());
    }
    let plugged_in = plugged_in(config, sets);
    let packages = packages(&config.arch, &plugged_in, &cache, &watcher)?.ok_or_else(no_linux)?;
    let best = [Network::AnsweringTap, Network::Tap];
    let (network, notice) = network::connect(config, &args, guests.transport, &best);
    config.linux = Some(Arc::new(Kit::new(packages, network)));
    Ok(notice.into_iter().collect())
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
