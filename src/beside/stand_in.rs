//! The backend of a vhost-user device for a build that somebody else starts.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::beside::vhost_user::{Addresses, Broken, Disk, Kind, Waiting};

/// A backend of a vhost-user device, for one build that connects to a socket.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// The type of the device, for instance `vhost-user-blk-pci`.
    pub device: String,
    /// The socket, which is made, and removed at the end.
    pub socket: PathBuf,
    /// The file of a disk, which is made where it is not there. `None` for one beside the socket.
    pub disk: Option<PathBuf>,
    /// The time within which a build has to connect. `None` for as long as it takes.
    pub within: Option<Duration>,
}

/// Nothing stood in for a backend.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// There is no such device, or no QEMU migrates it.
    #[error(
        "no backend is known for a device of type {0}: vhost-user-blk, vhost-user-scsi and vhost-user-fs have one"
    )]
    Device(String),
    /// A disk is given for another device.
    #[error("a {0} has no disk: vhost-user-blk has one")]
    NoDisk(String),
    /// Nobody can connect.
    #[error("no build can connect to {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// The disk cannot be opened.
    #[error("the disk {} cannot be opened", .0.display())]
    Disk(PathBuf, #[source] io::Error),
    /// Nobody has connected.
    #[error("no build has connected to {} within {} s", .0.display(), .1.as_secs())]
    Alone(PathBuf, Duration),
    /// Somebody else has connected.
    #[error("what has connected to {} speaks no vhost-user", .0.display())]
    Stranger(PathBuf, #[source] Broken),
}

/// The name of a socket, which goes with it.
struct Named<'p>(&'p PathBuf);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let _gone_before = std::fs::remove_file(self.0);
    }
}

impl StandIn {
    /// Stands in for the backend, until the build that connected has ended.
    ///
    /// # Errors
    /// No such device is known, no socket or disk can be made, or no build connects.
    pub fn run(&self) -> Result<(), StandInError> {
        let device = || self.device.clone();
        let kind = Kind::of_driver(&self.device).ok_or_else(|| StandInError::Device(device()))?;
        let disk = match (kind, &self.disk) {
            (Kind::Block, path) => Some(path.clone().unwrap_or_else(|| self.beside())),
            (_, Some(_)) => return Err(StandInError::NoDisk(device())),
            (_, None) => None,
        };
        let failed = |error| StandInError::Socket(self.socket.clone(), error);
        let listener = self.listen().map_err(failed)?;
        let _named = Named(&self.socket);
        let disk = disk.map(|path| {
            let opened = Disk::open(&path);
            opened.map_err(|error| StandInError::Disk(path, error))
        });
        let owner = "a guest of somebody else";
        let accepting = listener.try_clone().map_err(failed)?;
        let waiting = Waiting::on(
            accepting,
            (kind, Addresses::Plain),
            owner,
            disk.transpose()?,
        )
        .map_err(failed)?;
        if let Some(within) = self.within {
            let somebody = &mut [PollFd::new(&listener, PollFlags::IN)];
            let time = Timespec::try_from(within).ok();
            match rustix::io::retry_on_intr(|| poll(somebody, time.as_ref())) {
                Ok(0) => return Err(StandInError::Alone(self.socket.clone(), within)),
                polled => polled.map_err(|error| failed(error.into()))?,
            };
        }
        let stranger = |error| StandInError::Stranger(self.socket.clone(), error);
        waiting.serve().map_err(stranger)
    }

    /// Returns the place of a disk that nobody has named.
    fn beside(&self) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(".disk");
        path.into()
    }

    /// Makes the socket, in the place of one that nobody listens at any more.
    fn listen(&self) -> io::Result<UnixListener> {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        match UnixListener::bind(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !UnixStream::connect(&self.socket).is_err_and(refused) {
                    return Err(error);
                }
                std::fs::remove_file(&self.socket)?;
                UnixListener::bind(&self.socket)
            }
            bound => bound,
        }
    }
}
