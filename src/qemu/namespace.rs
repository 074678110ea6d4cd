//! Network namespaces of a process's own: what it does to its network reaches nothing of the host's.

use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, write};

use crate::qemu::process::before_exec;

/// The network that a build's processes see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkNamespace {
    /// The host's.
    Shared,
    /// One of its own, which root may make.
    Own,
    /// One of its own in a user namespace of its own, which others may make where the kernel lets them.
    OwnOfUser,
}

impl NetworkNamespace {
    /// Returns the way in which this process may have one.
    pub(super) fn of_own() -> NetworkNamespace {
        match geteuid().is_root() {
            true => NetworkNamespace::Own,
            false => NetworkNamespace::OwnOfUser,
        }
    }

    /// Has a command run in it.
    pub(super) fn enter(self, command: &mut Command) {
        match self {
            NetworkNamespace::Shared => {}
            NetworkNamespace::Own => before_exec(command, || {
                unshare(CloneFlags::CLONE_NEWNET)?;
                Ok(())
            }),
            NetworkNamespace::OwnOfUser => {
                // What is written is put together here: nothing may be allocated after the fork.
                let user = format!("0 {} 1", geteuid());
                let group = format!("0 {} 1", getegid());
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

/// Writes into a file that is there.
fn put(path: &std::ffi::CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, text).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn interfaces(namespace: NetworkNamespace) -> io::Result<String> {
        let mut command = Command::new("cat");
        command.arg("/proc/self/net/dev");
        namespace.enter(&mut command);
        let output = command.output()?;
        assert!(output.status.success());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn a_namespace_of_its_own_has_no_interface_but_its_loopback() {
        // A kernel may refuse it; then the process does not start.
        if let Ok(seen) = interfaces(NetworkNamespace::of_own()) {
            let names = seen.lines().filter_map(|line| line.split_once(':'));
            let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
            assert_eq!(names, ["lo"]);
        }
    }

    #[test]
    fn the_shell_does_the_same() {
        assert_eq!(NetworkNamespace::Shared.shell_prefix(), None);
        assert!(interfaces(NetworkNamespace::Shared).is_ok());
    }
}
