//! What the Linux guests of a run are made of.

use std::sync::Arc;

use crate::api::config::{Builds, Guests, WorkloadKind};
use crate::api::error::{Error, Problem};
use crate::api::network;
use crate::api::progress::{Event, Progress};
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::qemu::{Cache, QemuError};
use crate::report::Notice;
use crate::workload::linux::{Kit, Network, packages, targets};

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
        .flat_map(|set| config.compose(set).args)
        .collect();
    let cache = Cache::new(builds.cache.clone()).map_err(QemuError::from)?;
    let watcher = |event: crate::qemu::FetchEvent<'_>| progress.event(Event::Fetch(event));
    let packages =
        packages(&config.arch, &args, &cache, &watcher)?.ok_or_else(|| Problem::NoLinux {
            arch: config.arch.clone(),
            known: targets().collect::<Vec<_>>().join(", "),
        })?;
    let best = [Network::AnsweringTap, Network::Tap];
    let (network, notice) = network::connect(config, &args, guests.transport, &best);
    config.linux = Some(Arc::new(Kit::new(packages, network)));
    Ok(notice.into_iter().collect())
}
