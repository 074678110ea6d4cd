//! Network namespaces of a process's own: what it does to its network reaches nothing of the host's.

use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, write};

use crate::qemu::process::before_exec;

/// The network that a build's processes see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkNamespace {
    /// The host's.
    Shared,
    /// One of its own, which root may make.
    Own,
    /// One of its own in a user namespace of its own, which others may make where the kernel lets them.
    OwnOfUser,
}

impl NetworkNamespace {
    /// Returns the way in which this process may have one.
    pub(crate) fn of_own() -> NetworkNamespace {
        match geteuid().is_root() {
            true => NetworkNamespace::Own,
            false => NetworkNamespace::OwnOfUser,
        }
    }

    /// Has a command run in it.
    pub(crate) fn enter(self, command: &mut Command) {
        match self {
            NetworkNamespace::Shared => {}
            NetworkNamespace::Own => before_exec(command, || {
                unshare(CloneFlags::CLONE_NEWNET)?;
                Ok(())
            }),
            NetworkNamespace::OwnOfUser => enter_of_user(command, "0", "0"),
        }
    }

    /// Returns what does the same in a shell, before the program.
    pub(super) fn shell_prefix(self) -> Option<&'static str> {
        match self {
            NetworkNamespace::Shared => None,
            NetworkNamespace::Own => Some("unshare --net"),
            NetworkNamespace::OwnOfUser => Some("unshare --map-root-user --net"),
        }
    }
}

/// Has a command run in a new user namespace, as this user and group there, and in a network namespace of it.
fn enter_of_user(command: &mut Command, user: &str, group: &str) {
    // What is written is put together here: nothing may be allocated after the fork.
    let user = format!("{user} {} 1", geteuid());
    let group = format!("{group} {} 1", getegid());
    before_exec(command, move || {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
        // Without it no group may be mapped; an old kernel has no such file.
        match put(c"/proc/self/setgroups", b"deny") {
            Err(Errno::ENOENT) => {}
            other => other?,
        }
        put(c"/proc/self/uid_map", user.as_bytes())?;
        put(c"/proc/self/gid_map", group.as_bytes())?;
        Ok(())
    });
}

/// A network namespace with nothing in it, not even a loopback that works. Any number of processes enter it, which
/// takes a tenth of a millisecond and not that of a new one each.
#[derive(Debug)]
pub(super) struct EmptyNetwork {
    /// The user namespace that it is of, unless that is ours.
    user: Option<File>,
    network: File,
}

impl EmptyNetwork {
    /// Makes one, as far as the kernel lets this process.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn make() -> io::Result<EmptyNetwork> {
        match geteuid().is_root() {
            true => EmptyNetwork::make_as_root(),
            false => EmptyNetwork::make_as_user(),
        }
    }

    fn make_as_root() -> io::Result<EmptyNetwork> {
        // The thread alone is in it, and the file keeps it.
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let made = thread::Builder::new().spawn(make)?.join();
        let network = made.map_err(|_| io::Error::other("a thread ended"))??;
        Ok(EmptyNetwork {
            user: None,
            network,
        })
    }

    fn make_as_user() -> io::Result<EmptyNetwork> {
        // A process with threads gets no user namespace. This one is the same user in it, and waits for input.
        let mut command = Command::new("cat");
        enter_of_user(&mut command, &geteuid().to_string(), &getegid().to_string());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut first = command.stderr(Stdio::null()).spawn()?;
        let file = |kind| File::open(format!("/proc/{}/ns/{kind}", first.id()));
        let made = file("user").and_then(|user| {
            Ok(EmptyNetwork {
                user: Some(user),
                network: file("net")?,
            })
        });
        drop(first.stdin.take());
        first.wait()?;
        let made = made?;
        // Something may let processes make it, and not enter it.
        let mut second = Command::new("cat");
        made.enter(&mut second)?;
        let second = second.stdin(Stdio::null()).stdout(Stdio::null());
        second.stderr(Stdio::null()).status()?;
        Ok(made)
    }

    /// Has a command run in it.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub(super) fn enter(&self, command: &mut Command) -> io::Result<()> {
        let user = self.user.as_ref().map(File::try_clone).transpose()?;
        let network = self.network.try_clone()?;
        before_exec(command, move || {
            if let Some(user) = &user {
                setns(user, CloneFlags::CLONE_NEWUSER)?;
            }
            setns(&network, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        });
        Ok(())
    }
}

/// Writes into a file that is there.
fn put(path: &std::ffi::CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_does_the_same() {
        assert_eq!(NetworkNamespace::Shared.shell_prefix(), None);
        let of_own = NetworkNamespace::of_own().shell_prefix();
        assert!(of_own.is_some_and(|prefix| prefix.starts_with("unshare ")));
    }
}
