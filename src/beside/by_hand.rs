//! The programs that a person starts beside a build.

use std::ffi::OsString;

use crate::beside::place::{Place, What};

/// The time that a build has until it connects, in seconds.
const WITHIN: u32 = 30;

/// A program that a person starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The emulator of TPMs that QEMU's own users have.
    Swtpm,
    /// This program.
    Own,
}

/// How a person gives a build what stands beside it.
pub(crate) struct ByHand {
    pub program: Program,
    /// Starts it, for a shell.
    pub start: String,
    /// The option that connects the build with it, for a shell.
    pub option: String,
}

impl ByHand {
    /// Takes the character devices out of the arguments of a build on which it expects a program. `name` begins the names of
    /// the sockets in a folder, which is given for a shell.
    pub(crate) fn take_all(args: &mut Vec<OsString>, folder: &str, name: &str) -> Vec<ByHand> {
        let places = Place::take_all(args).into_iter().enumerate();
        places
            .map(|(at, wanted)| ByHand::of(&wanted, folder, &format!("{folder}/{name}-{at}")))
            .collect()
    }

    fn of(wanted: &Place, folder: &str, path: &str) -> ByHand {
        let disk = wanted
            .disk()
            .map(|name| format!(" --disk \"{folder}/{name}\""));
        let disk = disk.unwrap_or_default();
        let (program, start) = match wanted.what {
            What::Tpm => (
                Program::Swtpm,
                format!(
                    "mkdir \"{path}.state\" && swtpm socket --daemon --terminate --tpm2 \
                     --ctrl \"type=unixio,path={path}\" --tpmstate \"dir={path}.state\""
                ),
            ),
            // It has to listen before the build starts.
            What::VhostUser(kind) => (
                Program::Own,
                // Whoever reads what the build prints waits for nobody else.
                format!(
                    "{{ \"${{MIGCOMPAT:-migcompat}}\" stand-in {} \"{path}\"{disk} --within {WITHIN} >/dev/null 2>&1 & \
                     for _ in $(seq 100); do [ -S \"{path}\" ] && break; sleep 0.1; done; }}",
                    kind.driver(),
                ),
            ),
        };
        ByHand {
            program,
            start,
            option: format!("-chardev \"socket,id={},path={path}\"", wanted.chardev),
        }
    }
}
