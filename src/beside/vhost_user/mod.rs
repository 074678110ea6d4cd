//! Devices whose rings are worked outside of QEMU (`vhost-user-*`): what QEMU takes for their backends. A disk is a file that
//! source and destination share; other devices answer a driver that there is nothing behind them.

mod device;
mod disk;
mod kind;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{Shutdown, shutdown};
use tracing::debug;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use device::{Device, Memory};
use disk::Disk;
pub(super) use kind::Kind;

/// A backend that a build connects to as it starts. It ends with the connection, or when this is dropped before there is one.
#[derive(Debug)]
pub(super) struct VhostUser(UnixListener);

impl VhostUser {
    /// Waits for a build on a path. `owner` names the guest in the state of the backend, and `disk` is where that of a
    /// block device stays.
    ///
    /// # Errors
    /// No socket or disk can be made there, or there are too many threads.
    pub(super) fn listen(
        path: &Path,
        kind: Kind,
        owner: &str,
        disk: Option<&Path>,
    ) -> io::Result<VhostUser> {
        let listener = UnixListener::bind(path)?;
        let waiting = Waiting::on(listener.try_clone()?, kind, owner, disk)?;
        let named = thread::Builder::new().name("vhost-user".to_owned());
        named.spawn(move || waiting.serve())?;
        Ok(VhostUser(listener))
    }
}

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
    pub(super) fn serve(mut self) {
        let daemon = &mut self.daemon;
        let ended = daemon
            .start(&mut self.listener)
            .and_then(|()| daemon.wait());
        // A build that ends says no goodbye.
        if let Err(error) = ended {
            debug!(%error, "a vhost-user backend has ended");
        }
    }
}

impl Drop for VhostUser {
    fn drop(&mut self) {
        // Whoever still waits for a build there waits no longer.
        let _ended_before = shutdown(&self.0, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_waits_on_after_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let waiting = VhostUser::listen(&path, Kind::Scsi, "a source", None).unwrap();
        drop(waiting);
        // The thread has the listener open until it has ended.
        let refused = (0..6000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            UnixStream::connect(&path).is_err()
        });
        assert!(refused);
    }
}
