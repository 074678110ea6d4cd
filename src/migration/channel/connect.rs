//! Setting up the channel between two QEMUs: addresses and descriptors for both ends.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use tokio::net::UnixListener;

use crate::migration::channel::proxy::{StreamCopy, StreamProxy, loopback};
use crate::migration::channel::transport::Transport;
use crate::migration::checks::stream_memory::StreamMemory;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::commands::QueryMigrate;
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{LegError, checked};
use crate::qemu::qmp::QmpError;
use crate::qemu::quote;
use crate::report::{LegSide, Phase};

/// The name by which a descriptor is passed over the monitor.
pub(crate) const DESCRIPTOR: &str = "migcompat";

/// The addresses by which the two sides find each other.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The address for `migrate-incoming`.
    pub incoming: String,
    pub outgoing: Outgoing,
}

/// The source's address for `migrate`, and the proxy that listens there.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Known(String, StreamProxy),
    /// Known once the destination listens; see [`port`]. With room for the pages of the source.
    AskForPort(StreamMemory),
}

/// Tells whether the stream passes by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relayed {
    Yes,
    /// Several connections, or one that both sides send on, cannot be relayed.
    No(Capability),
}

/// Makes the sockets, pipes and addresses that both sides need before either begins.
pub(crate) async fn open(
    transport: Transport,
    relayed: Relayed,
    source: &mut Vm,
    destination: &mut Vm,
) -> Result<Channel, LegError> {
    let path = destination.folder.join(format!("m{}", destination.index));
    let ours = destination.folder.join(format!("t{}", destination.index));
    let direct = |uri: String, capability| Channel {
        incoming: uri.clone(),
        outgoing: Outgoing::Known(uri, StreamProxy::None(capability)),
    };
    let memory = StreamMemory::sent_by(source).await;
    Ok(match (transport, relayed) {
        (Transport::Unix, Relayed::No(capability)) => {
            direct(format!("unix:{}", path.display()), capability)
        }
        (Transport::Unix, Relayed::Yes) => {
            let uri = format!("unix:{}", ours.display());
            let incoming = format!("unix:{}", path.display());
            let listener = UnixListener::bind(&ours).map_err(|e| no_channel("socket", &e))?;
            let changes = (destination.section_override.clone(), destination.renaming());
            let proxy = StreamProxy::unix(listener, path, changes, memory);
            Channel {
                incoming,
                outgoing: Outgoing::Known(uri, proxy),
            }
        }
        (Transport::File, _) => {
            let uri = format!("file:{}", path.display());
            Channel {
                incoming: uri.clone(),
                outgoing: Outgoing::Known(uri, StreamProxy::File(path, memory)),
            }
        }
        (Transport::Tcp, _) => Channel {
            // The port is the destination's choice.
            incoming: "tcp:127.0.0.1:0".to_owned(),
            outgoing: Outgoing::AskForPort(memory),
        },
        (Transport::Exec, _) => {
            // The side that opens its end first waits for the other one.
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)
                .map_err(|e| no_channel("pipe", &e))?;
            let word = |path: &std::path::Path| quote(&path.to_string_lossy());
            let copy = StreamCopy {
                part: ours.with_extension("part"),
                whole: ours,
            };
            let (pipe, part, whole) = (word(&path), word(&copy.part), word(&copy.whole));
            // The copy goes on even if the destination does not, which may be done before it is.
            let outgoing = format!("exec:trap '' PIPE; tee {part} > {pipe}; mv {part} {whole}");
            Channel {
                incoming: format!("exec:cat {pipe}"),
                outgoing: Outgoing::Known(outgoing, StreamProxy::Copy(copy, memory)),
            }
        }
        (Transport::Fd, Relayed::Yes) => {
            let (from, theirs) = pair()?;
            give(source, LegSide::Source, &theirs).await?;
            let (to, theirs) = pair()?;
            give(destination, LegSide::Destination, &theirs).await?;
            let socket = |ours: UnixStream| {
                ours.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(ours)
            };
            let ends = socket(from).and_then(|from| Ok((from, socket(to)?)));
            let (from, to) = ends.map_err(|e| no_channel("sockets", &e))?;
            let proxy = StreamProxy::sockets(from, to, destination.renaming(), memory);
            let uri = format!("fd:{DESCRIPTOR}");
            Channel {
                incoming: uri.clone(),
                outgoing: Outgoing::Known(uri, proxy),
            }
        }
        (Transport::Fd, Relayed::No(capability)) => {
            let (ours, theirs) = pair()?;
            give(source, LegSide::Source, &ours).await?;
            give(destination, LegSide::Destination, &theirs).await?;
            direct(format!("fd:{DESCRIPTOR}"), capability)
        }
    })
}

fn no_channel(needs: &'static str, error: &dyn fmt::Display) -> LegError {
    LegError::no_channel(Phase::SetUp, needs, error)
}

/// Makes connected sockets. The end that is given away has to be closed here at once: only then the
/// end of the side that has it shows.
fn pair() -> Result<(UnixStream, UnixStream), LegError> {
    UnixStream::pair().map_err(|error| no_channel("sockets", &error))
}

async fn give(vm: &mut Vm, side: LegSide, socket: &UnixStream) -> Result<(), LegError> {
    let session = &vm.monitored.session;
    let given = session.give(socket.as_fd(), DESCRIPTOR, vm.command).await;
    checked(vm, side, Phase::SetUp, given).await
}

/// Returns a port of the proxy, which leads to the one that the destination listens on, or that one
/// itself.
pub(crate) async fn port(
    destination: &Vm,
    relayed: Relayed,
    memory: StreamMemory,
) -> Result<(String, StreamProxy), QmpError> {
    let reply = destination.execute(QueryMigrate {}).await?;
    let port = reply
        .socket_address
        .iter()
        .find_map(|address| address.get("port")?.as_str()?.parse::<u16>().ok());
    match (port, relayed) {
        (Some(port), Relayed::No(capability)) => Ok((
            format!("tcp:127.0.0.1:{port}"),
            StreamProxy::None(capability),
        )),
        (Some(port), Relayed::Yes) => {
            let cannot = |error: std::io::Error| QmpError::Io(error.to_string());
            let listener = loopback().await.map_err(cannot)?;
            let ours = listener.local_addr().map_err(cannot)?;
            let theirs = (Ipv4Addr::LOCALHOST, port).into();
            let renaming = destination.renaming();
            Ok((
                format!("tcp:{ours}"),
                StreamProxy::tcp(listener, theirs, renaming, memory),
            ))
        }
        (None, _) => Err(QmpError::Reply {
            command: "query-migrate",
            detail: "it does not say on which port it listens".to_owned(),
        }),
    }
}
