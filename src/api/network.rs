//! A network of the host's for the cards of a run's guests, which offers what hosts offer and reaches nothing.

use std::io;
use std::path::Path;

use crate::migration::channel::transport::Transport;
use crate::migration::config::MigrationConfig;
use crate::qemu::{Build, Monitored, block_on, private_dir, to_be_asked};
use crate::report::{Notice, NoticeKind};
use crate::workload::linux::Network;

/// Finds the first of some networks that the cards in these arguments can have, and gives both builds a namespace of
/// their own for it; a notice says why there is none.
pub(crate) fn connect(
    config: &mut MigrationConfig,
    args: &[String],
    transport: Transport,
    best: &[Network],
) -> (Network, Option<Notice>) {
    let has_cards = args.iter().any(|arg| Network::is_hub(arg));
    if !has_cards {
        return (Network::Hub, None);
    }
    let builds = [&config.old.build, &config.new.build];
    let (network, notice) = best_of(builds, transport, best, &config.machines);
    if notice.is_none() {
        for endpoint in [&mut config.old, &mut config.new] {
            endpoint.build = endpoint.build.clone().with_own_network();
        }
    }
    (network, notice)
}

/// Finds the first of some networks that both builds can have; a notice about the subject says why there is none.
pub(crate) fn best_of(
    builds: [&Build; 2],
    transport: Transport,
    best: &[Network],
    subject: &str,
) -> (Network, Option<Notice>) {
    match host_network(builds, transport, best) {
        Ok(network) => (network, None),
        Err(why) => {
            let notice = NoticeKind::OffloadNotNegotiated.about(subject, why);
            (Network::Hub, Some(notice))
        }
    }
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
fn host_network(
    builds: [&Build; 2],
    transport: Transport,
    best: &[Network],
) -> Result<Network, NoNetwork> {
    if transport == Transport::Tcp {
        return Err(NoNetwork::Shared);
    }
    let mut refused = None;
    for &network in best {
        let tried = builds.into_iter().try_for_each(|build| {
            let build = build.clone().with_own_network();
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
    let build = build.clone().writing_into(folder.path());
    let started = Monitored::start(&build, &args).await;
    let started = started.map_err(|error| NoNetwork::Refused(error.reason()))?;
    started.quit(build.deadlines().command).await;
    Ok(())
}

fn arguments(network: Network, folder: &Path) -> io::Result<Vec<String>> {
    let mut args: Vec<String> = to_be_asked().map(str::to_owned).collect();
    args.extend(network.sample(folder)?);
    Ok(args)
}
