//! How the stream gets from one QEMU to the other: addresses and descriptors for both ends.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use super::commands::QueryMigrate;
use super::leg::{End, Unfit, broken};
use super::vm::{Vm, quote};
use crate::model::{Outcome, Version};
use crate::qemu::qmp::QmpError;

/// The first QEMU with `file:` addresses.
const FILE_SINCE: Version = Version::new(8, 2, 0);
/// What a descriptor is called on the monitor that it is handed over by.
const DESCRIPTOR: &str = "migcompat";

/// The kind of way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    #[default]
    Unix,
    Tcp,
    /// A pair of connected sockets, one end handed to each side.
    Fd,
    Exec,
    File,
}

impl Transport {
    pub const ALL: [Transport; 5] = [
        Transport::Unix,
        Transport::Tcp,
        Transport::Fd,
        Transport::Exec,
        Transport::File,
    ];

    /// Why a pair of builds cannot use it.
    pub fn obstacle(self, old: Version, new: Version) -> Option<String> {
        let (side, version) = if old < new {
            ("old", old)
        } else {
            ("new", new)
        };
        (self == Transport::File && version < FILE_SINCE)
            .then(|| format!("file: needs QEMU 8.2, the {side} build is {version}"))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Unix => "unix",
            Transport::Tcp => "tcp",
            Transport::Fd => "fd",
            Transport::Exec => "exec",
            Transport::File => "file",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Transport::ALL.into_iter().find(|t| t.to_string() == text);
        known.ok_or_else(|| "there are unix, tcp, fd, exec and file".to_owned())
    }
}

/// Where the two sides find each other.
#[derive(Debug)]
pub(super) struct Way {
    /// For `migrate-incoming`.
    pub incoming: String,
    pub outgoing: Outgoing,
}

/// What the source is given for `migrate`.
#[derive(Debug)]
pub(super) enum Outgoing {
    Known(String),
    /// Known once the destination listens; see [`port`].
    AskForPort,
}

impl Way {
    fn same(uri: String) -> Way {
        Way {
            incoming: uri.clone(),
            outgoing: Outgoing::Known(uri),
        }
    }
}

/// Makes what both sides need before either is told to begin.
pub(super) async fn lay(
    transport: Transport,
    source: &mut Vm,
    destination: &mut Vm,
) -> Result<Way, Unfit> {
    let path = destination.folder.join(format!("m{}", destination.index));
    Ok(match transport {
        Transport::Unix => Way::same(format!("unix:{}", path.display())),
        Transport::File => Way::same(format!("file:{}", path.display())),
        Transport::Tcp => Way {
            // The port is the destination's choice.
            incoming: "tcp:127.0.0.1:0".to_owned(),
            outgoing: Outgoing::AskForPort,
        },
        Transport::Exec => {
            // Whichever side opens its end first waits for the other one.
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)
                .map_err(|error| Unfit::new(Outcome::Skip, format!("no pipe for exec: {error}")))?;
            let word = quote(&path.to_string_lossy());
            Way {
                incoming: format!("exec:cat {word}"),
                outgoing: Outgoing::Known(format!("exec:cat > {word}")),
            }
        }
        Transport::Fd => {
            // Ours are closed at the end of this: each side has to see it when the other one goes.
            let (ours, theirs) = UnixStream::pair().map_err(|error| {
                Unfit::new(Outcome::Skip, format!("no sockets for fd: {error}"))
            })?;
            give(source, End::Source, &ours).await?;
            give(destination, End::Destination, &theirs).await?;
            Way::same(format!("fd:{DESCRIPTOR}"))
        }
    })
}

async fn give(vm: &mut Vm, end: End, socket: &UnixStream) -> Result<(), Unfit> {
    let given = vm
        .monitored
        .session
        .give(socket.as_fd(), DESCRIPTOR, vm.command);
    match given.await {
        Ok(()) => Ok(()),
        Err(error) => Err(broken(vm, end, error).await),
    }
}

/// The address that a destination listens on.
pub(super) async fn port(vm: &Vm) -> Result<String, QmpError> {
    let reply = vm
        .monitored
        .session
        .execute(QueryMigrate {}, vm.command)
        .await?;
    let port = reply
        .socket_address
        .iter()
        .find_map(|address| address.get("port")?.as_str()?.parse::<u16>().ok());
    match port {
        Some(port) => Ok(format!("tcp:127.0.0.1:{port}")),
        None => Err(QmpError::Reply {
            command: "query-migrate",
            detail: "it does not say on which port it listens".to_owned(),
        }),
    }
}
