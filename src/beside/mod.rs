//! What stands beside a build: what QEMU takes for other programs that devices of its guest talk to over sockets.
//!
//! A device set or a user's guest has a character device with nothing behind it (`null`) in the place of each, so that it
//! names no socket of a host; whoever starts a build connects that to what stands here.

mod by_hand;
mod memory;
mod place;
mod socket;
mod stand_in;
mod tpm;
mod vhost_user;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::path::Path;

pub(crate) use by_hand::{ByHand, Program};
use place::{Place, What};
use socket::{Socket, in_thread};
pub use stand_in::{StandIn, StandInError};
pub use vhost_user::Broken;
use vhost_user::{Disk, Waiting};

/// Tells whether a device reaches for no more than what stands here.
pub(crate) fn has_stand_in(driver: &str) -> bool {
    vhost_user::Kind::of_driver(driver).is_some()
}

/// Makes the memory of a guest such as the programs beside its build can map, where one of them works rings in it.
pub(crate) fn share_memory(args: &mut Vec<OsString>) {
    let places = Place::all(args);
    let maps = |place: &Place| matches!(place.what, What::VhostUser(_));
    if places.iter().any(maps) {
        memory::share(args);
    }
}

/// Returns the names of the files that hold the disks of a guest, in the folder of a run. A disk behind which somebody has put
/// a program of their own has none there.
pub(crate) fn disks(args: &[impl AsRef<OsStr>]) -> impl Iterator<Item = String> {
    let ours = Place::all(args).into_iter();
    let ours = ours.filter(|place| place.stand_in(args).is_some());
    ours.filter_map(|place| place.disk())
}

/// The programs beside a build. They end with its connections, or when this is dropped before there are any.
#[derive(Debug, Default)]
pub(crate) struct Beside(Vec<Socket>);

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
        let addresses = place::addresses(args);
        for (at, place) in Place::take_all(args).into_iter().enumerate() {
            let path = folder.join(format!("{name}-{at}"));
            let socket = Socket::bind(&path)?;
            let accepting = socket.accepting()?;
            match place.what {
                What::Tpm => tpm::serve(accepting, owner)?,
                What::VhostUser(kind) => {
                    let disk = place.disk().map(|name| Disk::open(&folder.join(name)));
                    let waiting =
                        Waiting::on(accepting, (kind, addresses), owner, disk.transpose()?)?;
                    in_thread("vhost-user", || waiting.serve().map_err(io::Error::other))?;
                }
            }
            args.extend(place.connected_to(&path).map(OsString::from));
            beside.0.push(socket);
        }
        Ok(beside)
    }

    /// Removes the names of the sockets, under which nobody connects any more.
    pub(crate) fn remove_sockets(&self) {
        self.0.iter().for_each(Socket::remove);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_disk_of_somebody_elses_program_is_no_file_of_the_run() {
        let of = |chardev: &str| {
            let args = [
                "-chardev",
                chardev,
                "-device",
                "vhost-user-blk-pci,chardev=c",
            ];
            disks(&args).collect::<Vec<_>>()
        };
        assert_eq!(of("null,id=c"), ["c.disk"]);
        assert_eq!(of("socket,id=c,path=/run/spdk"), [""; 0]);
    }

    #[test]
    fn no_program_waits_on_after_it_is_dropped() {
        for line in [
            "-chardev null,id=c -tpmdev emulator,id=t,chardev=c",
            "-chardev null,id=c -device vhost-user-scsi-pci,chardev=c",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut args = line.split(' ').map(OsString::from).collect();
            let beside = Beside::listen(&mut args, folder.path(), "p0", "a source");
            drop(beside.unwrap());
            // The thread has the listener open until it has ended.
            let refused = (0..6000).any(|_| {
                thread::sleep(Duration::from_millis(10));
                UnixStream::connect(folder.path().join("p0-0")).is_err()
            });
            assert!(refused, "{line}");
        }
    }
}
