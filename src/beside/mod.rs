//! What stands beside a build: what QEMU takes for other programs that devices of its guest talk to over sockets.
//!
//! A device set or a user's guest has a character device with nothing behind it (`null`) in the place of each, so that it
//! names no socket of a host; whoever starts a build connects that to what stands here.

mod by_hand;
mod memory;
mod place;
mod stand_in;
mod tpm;
mod vhost_user;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use by_hand::{ByHand, Program};
use place::Place;
pub use stand_in::{StandInError, stand_in};
use tpm::Tpm;
use vhost_user::VhostUser;

/// Tells whether a device reaches for no more than what stands here.
pub(crate) fn has_stand_in(driver: &str) -> bool {
    vhost_user::Kind::of_driver(driver).is_some()
}

/// Makes the memory of a guest such as the programs beside its build can map, where one of them works rings in it.
pub(crate) fn share_memory(args: &mut Vec<OsString>) {
    let places = Place::all(args);
    let maps = |place: &Place| matches!(place.what, place::What::VhostUser(_));
    if places.iter().any(maps) {
        memory::share(args);
    }
}

/// Returns the names of the files that hold the disks of a guest, in the folder of a run.
pub(crate) fn disks(args: &[impl AsRef<OsStr>]) -> impl Iterator<Item = String> {
    Place::all(args)
        .into_iter()
        .filter_map(|place| place.disk())
}

/// The programs beside a build. They end with its connections, or when this is dropped before there are any.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    _tpm: Option<Tpm>,
    _vhost_user: Vec<VhostUser>,
    sockets: Vec<PathBuf>,
}

impl Beside {
    /// Waits for a build that gets these arguments, which are changed so that it connects. `name` begins the names of the
    /// sockets in the folder of a run, and `owner` names the guest in what a program keeps.
    ///
    /// # Errors
    /// No socket can be made there, or there are too many threads.
    pub(crate) fn listen(
        args: &mut Vec<OsString>,
        folder: &Path,
        name: impl Display,
        owner: &str,
    ) -> io::Result<Beside> {
        let mut beside = Beside::default();
        for (at, place) in Place::take_all(args).into_iter().enumerate() {
            let path = folder.join(format!("{name}-{at}"));
            match place.what {
                place::What::Tpm => beside._tpm = Some(Tpm::listen(&path, owner)?),
                place::What::VhostUser(kind) => {
                    let disk = place.disk().map(|name| folder.join(name));
                    let listening = VhostUser::listen(&path, kind, owner, disk.as_deref())?;
                    beside._vhost_user.push(listening);
                }
            }
            args.extend(place.connected_to(&path).map(OsString::from));
            beside.sockets.push(path);
        }
        Ok(beside)
    }

    /// Removes the sockets, to which nobody connects any more.
    pub(crate) fn remove_sockets(&self) {
        for path in &self.sockets {
            let _gone_before = std::fs::remove_file(path);
        }
    }
}
