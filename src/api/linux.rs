//! What the Linux guests of a run are made of: the packages, and a network that offers what hosts offer.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::api::config::{Builds, Guests, WorkloadKind};
use crate::api::error::{Error, Problem};
use crate::api::progress::{Event, Progress};
use crate::devices::DeviceSet;
use crate::migration::channel::transport::Transport;
use crate::migration::config::MigrationConfig;
use crate::migration::linux_boot::pci_functions;
use crate::qemu::{Build, Cache, Monitored, QemuError, block_on, private_dir};
use crate::report::{Notice, NoticeKind};
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
        .flat_map(|set| config.compose(set).args)
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
    let mut notices = Vec::new();
    let has_cards = args.iter().any(|arg| arg.starts_with("hubport,"));
    let network = match has_cards.then(|| host_network(config, guests.transport)) {
        None => Network::Hub,
        Some(Ok(network)) => network,
        Some(Err(why)) => {
            let kind = NoticeKind::OffloadNotNegotiated;
            notices.push(Notice::new(kind, &*config.machine, why));
            Network::Hub
        }
    };
    if network.is_of_host() {
        for endpoint in [&mut config.old, &mut config.new] {
            endpoint.build = endpoint.build.clone().with_own_network();
        }
    }
    config.linux = Some(Arc::new(Kit::new(packages, network)));
    Ok(notices)
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

/// A network of the host's cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoNetwork {
    #[error("with the transport tcp both builds share the host's network")]
    Shared,
    #[error("no interface can be made in a network namespace of a build's own: {0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Returns the best network that both builds can have in a namespace of their own.
fn host_network(config: &MigrationConfig, transport: Transport) -> Result<Network, NoNetwork> {
    if transport == Transport::Tcp {
        return Err(NoNetwork::Shared);
    }
    let mut refused = None;
    for network in [Network::AnsweringTap, Network::Tap] {
        let tried = [&config.old, &config.new].into_iter().try_for_each(|end| {
            let build = end.build.clone().with_own_network();
            block_on(try_network(&build, network))?
        });
        match tried {
            Ok(()) => return Ok(network),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(NoNetwork::Shared))
}

/// Starts a build with nothing but a card's end on the host.
async fn try_network(build: &Build, network: Network) -> Result<(), NoNetwork> {
    let folder = private_dir()?;
    let args = arguments(network, folder.path())?;
    let started = Monitored::start(build, &args).await;
    let started = started.map_err(|error| NoNetwork::Refused(error.reason()))?;
    started.quit(build.deadlines().command).await;
    Ok(())
}

fn arguments(network: Network, folder: &Path) -> io::Result<Vec<String>> {
    let mut args: Vec<String> = ["-M", "none", "-nodefaults", "-display", "none", "-S"]
        .map(str::to_owned)
        .into();
    args.extend(network.sample(folder)?);
    Ok(args)
}
