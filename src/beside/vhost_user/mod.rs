//! Devices whose rings are worked outside of QEMU (`vhost-user-*`): what QEMU takes for their backends. A disk is a file that
//! source and destination share; other devices answer a driver that there is nothing behind them.

mod device;
mod disk;
mod kind;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use rustix::net::{Shutdown, shutdown};
use vhost::vhost_user::{Error as VhostUserError, Listener};
use vhost_user_backend::{Error, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use device::{Device, Memory};
pub(super) use disk::Disk;
pub(super) use kind::{Addresses, Kind};

/// A backend that no build has connected to yet.
pub(super) struct Waiting {
    listener: UnixListener,
    daemon: VhostUserDaemon<Arc<Mutex<Device>>>,
}

/// A build, or whoever connected, sent what is no message of vhost-user, or nobody will connect any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Waiting {
    /// Makes a backend that a build may connect to. `owner` names the guest in its state, and a block device has a disk.
    ///
    /// # Errors
    /// There are too many threads.
    pub(super) fn on(
        listener: UnixListener,
        of: (Kind, Addresses),
        owner: &str,
        disk: Option<Disk>,
    ) -> io::Result<Waiting> {
        let memory: Memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let device = Device::new(of, memory.clone(), owner, disk);
        let device = Arc::new(Mutex::new(device));
        let daemon = VhostUserDaemon::new("vhost-user".to_owned(), device, memory);
        let daemon = daemon.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Waiting { listener, daemon })
    }

    /// Serves the build that connects, until it ends.
    ///
    /// # Errors
    /// What comes is no message of vhost-user, or nobody will connect any more.
    pub(super) fn serve(mut self) -> Result<(), Broken> {
        let mut accepting = Listener::from(self.listener.try_clone().map_err(Broken::by)?);
        self.daemon.start(&mut accepting).map_err(Broken::by)?;
        // A build that does not like its backend connects once more, and would wait for an answer.
        let _ended_before = shutdown(&self.listener, Shutdown::Both);
        let ended = self.daemon.wait();
        match ended {
            // A build that ends says no goodbye.
            Err(Error::HandleRequest(
                VhostUserError::Disconnected | VhostUserError::PartialMessage,
            )) => Ok(()),
            ended => ended.map_err(Broken::by),
        }
    }
}

impl Broken {
    fn by(error: impl std::fmt::Display) -> Broken {
        Broken(error.to_string())
    }
}
