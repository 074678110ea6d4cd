//! How the stream gets from one QEMU to the other: addresses and descriptors for both ends.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use tokio::net::UnixListener;

use crate::migration::channel::proxy::{Ends, StreamProxy, loopback};
use crate::migration::channel::transport::Transport;
use crate::migration::checks::memory::Memory;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::commands::QueryMigrate;
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{End, LegError, broken};
use crate::qemu::qmp::QmpError;
use crate::qemu::quote;
use crate::report::Outcome;

/// What a descriptor is called on the monitor that it is handed over by.
const DESCRIPTOR: &str = "migcompat";

/// Where the two sides find each other.
#[derive(Debug)]
pub(crate) struct Way {
    /// For `migrate-incoming`.
    pub incoming: String,
    pub outgoing: Outgoing,
}

/// What the source is given for `migrate`, and who listens on the way.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Known(String, StreamProxy),
    /// Known once the destination listens; see [`port`].
    AskForPort,
}

/// Whether the stream passes by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tapped {
    Yes,
    /// Several connections, or one that both sides speak on, are not for a relay.
    No(Capability),
}

/// Makes what both sides need before either is told to begin.
pub(crate) async fn lay(
    transport: Transport,
    tapped: Tapped,
    source: &mut Vm,
    destination: &mut Vm,
) -> Result<Way, LegError> {
    let path = destination.folder.join(format!("m{}", destination.index));
    let ours = destination.folder.join(format!("t{}", destination.index));
    let cannot = |what: &str, error: &dyn fmt::Display| {
        LegError::new(Outcome::Skip, format!("no {what} for the stream: {error}"))
    };
    let direct = |uri: String, capability| Way {
        incoming: uri.clone(),
        outgoing: Outgoing::Known(uri, StreamProxy::None(capability)),
    };
    let memory = Memory::of(source);
    Ok(match (transport, tapped) {
        (Transport::Unix, Tapped::No(capability)) => {
            direct(format!("unix:{}", path.display()), capability)
        }
        (Transport::Unix, Tapped::Yes) => {
            let uri = format!("unix:{}", ours.display());
            let incoming = format!("unix:{}", path.display());
            let listener = UnixListener::bind(&ours).map_err(|e| cannot("socket", &e))?;
            let tap = StreamProxy::start(
                Ends::Unix(listener, path, destination.graft.clone()),
                memory,
            );
            Way {
                incoming,
                outgoing: Outgoing::Known(uri, tap),
            }
        }
        (Transport::File, _) => {
            let uri = format!("file:{}", path.display());
            Way {
                incoming: uri.clone(),
                outgoing: Outgoing::Known(uri, StreamProxy::start(Ends::File(path), memory)),
            }
        }
        (Transport::Tcp, _) => Way {
            // The port is the destination's choice.
            incoming: "tcp:127.0.0.1:0".to_owned(),
            outgoing: Outgoing::AskForPort,
        },
        (Transport::Exec, _) => {
            // Whichever side opens its end first waits for the other one.
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)
                .map_err(|e| cannot("pipe", &e))?;
            let word = |path: &std::path::Path| quote(&path.to_string_lossy());
            let (pipe, copy) = (word(&path), word(&ours));
            // The copy goes on where the destination does not.
            let outgoing = format!("exec:trap '' PIPE; tee {copy} > {pipe}");
            Way {
                incoming: format!("exec:cat {pipe}"),
                outgoing: Outgoing::Known(outgoing, StreamProxy::start(Ends::File(ours), memory)),
            }
        }
        (Transport::Fd, Tapped::Yes) => {
            let (from, theirs) = pair()?;
            give(source, End::Source, &theirs).await?;
            let (to, theirs) = pair()?;
            give(destination, End::Destination, &theirs).await?;
            let socket = |ours: UnixStream| {
                ours.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(ours)
            };
            let ends = socket(from).and_then(|from| Ok(Ends::Sockets(from, socket(to)?)));
            let tap = StreamProxy::start(ends.map_err(|e| cannot("sockets", &e))?, memory);
            let uri = format!("fd:{DESCRIPTOR}");
            Way {
                incoming: uri.clone(),
                outgoing: Outgoing::Known(uri, tap),
            }
        }
        (Transport::Fd, Tapped::No(capability)) => {
            let (ours, theirs) = pair()?;
            give(source, End::Source, &ours).await?;
            give(destination, End::Destination, &theirs).await?;
            direct(format!("fd:{DESCRIPTOR}"), capability)
        }
    })
}

/// Connected sockets. What is given away is to be closed here at once: only then is it seen when the
/// side that has it goes.
fn pair() -> Result<(UnixStream, UnixStream), LegError> {
    UnixStream::pair()
        .map_err(|error| LegError::new(Outcome::Skip, format!("no sockets for fd: {error}")))
}

async fn give(vm: &mut Vm, end: End, socket: &UnixStream) -> Result<(), LegError> {
    let given = vm
        .monitored
        .session
        .give(socket.as_fd(), DESCRIPTOR, vm.command);
    match given.await {
        Ok(()) => Ok(()),
        Err(error) => Err(broken(vm, end, error).await),
    }
}

/// A port of ours, which leads to the one that the destination listens on, or that one itself.
pub(crate) async fn port(vm: &Vm, tapped: Tapped) -> Result<(String, StreamProxy), QmpError> {
    let reply = vm
        .monitored
        .session
        .execute(QueryMigrate {}, vm.command)
        .await?;
    let port = reply
        .socket_address
        .iter()
        .find_map(|address| address.get("port")?.as_str()?.parse::<u16>().ok());
    match (port, tapped) {
        (Some(port), Tapped::No(capability)) => Ok((
            format!("tcp:127.0.0.1:{port}"),
            StreamProxy::None(capability),
        )),
        (Some(port), Tapped::Yes) => {
            let cannot = |error: std::io::Error| QmpError::Io(error.to_string());
            let listener = loopback().await.map_err(cannot)?;
            let ours = listener.local_addr().map_err(cannot)?;
            let theirs = (Ipv4Addr::LOCALHOST, port).into();
            Ok((
                format!("tcp:{ours}"),
                StreamProxy::start(Ends::Tcp(listener, theirs), Memory::of(vm)),
            ))
        }
        (None, _) => Err(QmpError::Reply {
            command: "query-migrate",
            detail: "it does not say on which port it listens".to_owned(),
        }),
    }
}
