//! A socket on which a program waits for a build.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::net::{Shutdown, shutdown};
use tracing::debug;

/// A socket for the one build that connects. Dropped before there is one, it keeps nobody waiting.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes a socket, for which a thread works.
    ///
    /// # Errors
    /// No socket can be made there.
    pub(super) fn bind(path: &Path) -> io::Result<Socket> {
        Ok(Socket {
            listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// Returns what a thread accepts the build from.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub(super) fn accepting(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Removes its name, under which nobody connects any more.
    pub(super) fn remove(&self) {
        let _gone_before = std::fs::remove_file(&self.path);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever still waits for a build there waits no longer.
        let _ended_before = shutdown(&self.listener, Shutdown::Both);
    }
}

/// Has a thread do a part of a program beside a build, which waits for it while somebody else waits for the build.
///
/// # Errors
/// There are too many threads.
pub(super) fn in_thread(
    name: &'static str,
    task: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let run = move || match task() {
        // A build that ends says no goodbye.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            debug!(name, %error, "a program beside a build has ended");
        }
        _ => {}
    };
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(run).map(drop)
}
