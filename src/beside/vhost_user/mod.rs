//! Devices whose rings are worked outside of QEMU (`vhost-user-*`): what QEMU takes for their backends. A disk is a file that
//! source and destination share; other devices answer a driver that there is nothing behind them.

mod device;
mod disk;
mod kind;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use device::{Device, Memory};
use disk::Disk;
pub(super) use kind::Kind;

/// A backend that no build has connected to yet.
pub(super) struct Waiting {
    listener: Listener,
    daemon: VhostUserDaemon<Arc<Mutex<Device>>>,
}

impl Waiting {
    /// Makes a backend that a build may connect to.
    ///
    /// # Errors
    /// No disk can be made, or there are too many threads.
    pub(super) fn on(
        listener: UnixListener,
        kind: Kind,
        owner: &str,
        disk: Option<&Path>,
    ) -> io::Result<Waiting> {
        let disk = disk.map(Disk::open).transpose()?;
        let memory: Memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let device = Device::new(kind, memory.clone(), owner, disk);
        let device = Arc::new(Mutex::new(device));
        let daemon = VhostUserDaemon::new("vhost-user".to_owned(), device, memory);
        let daemon = daemon.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Waiting {
            listener: Listener::from(listener),
            daemon,
        })
    }

    /// Serves the build that connects, until it ends.
    ///
    /// # Errors
    /// The connection breaks, as it does when a build ends without a goodbye, or nobody will connect any more.
    pub(super) fn serve(mut self) -> io::Result<()> {
        let daemon = &mut self.daemon;
        let ended = daemon
            .start(&mut self.listener)
            .and_then(|()| daemon.wait());
        ended.map_err(|error| io::Error::other(error.to_string()))
    }
}
