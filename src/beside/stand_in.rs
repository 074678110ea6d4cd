//! The backend of a vhost-user device for a build that somebody else starts.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::beside::vhost_user::{Kind, Waiting};

/// Nothing stood in for a backend.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// There is no such device, or no QEMU migrates it.
    #[error(
        "no backend is known for a device of type {0}: vhost-user-blk, vhost-user-scsi and vhost-user-fs have one"
    )]
    Device(String),
    /// Nobody can connect.
    #[error("no build can connect to {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
}

/// Stands in for the backend of a vhost-user device, for one build that connects to a socket; returns when that has ended.
/// A disk is a file, which is made where it is not there.
///
/// # Errors
/// No such device is known, or no socket or disk can be made.
pub fn stand_in(device: &str, socket: &Path, disk: &Path) -> Result<(), StandInError> {
    let kind = Kind::of_driver(device).ok_or_else(|| StandInError::Device(device.to_owned()))?;
    let failed = |error| StandInError::Socket(socket.to_owned(), error);
    let listener = UnixListener::bind(socket).map_err(failed)?;
    let disk = (kind == Kind::Block).then_some(disk);
    let waiting = Waiting::on(listener, kind, "a guest of somebody else", disk).map_err(failed)?;
    // A build that ends says no goodbye.
    let _broken = waiting.serve();
    Ok(())
}
