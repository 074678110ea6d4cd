//! The TPM of a guest that has one: what QEMU takes for an emulator beside it (`-tpmdev emulator`). It keeps the state that
//! a migration carries and answers a driver that it knows no command, for a guest that is moved needs no more of it.
//!
//! A TPM of a source has a state of its own, and so has that of a destination until it is given the one that was sent: what
//! was not passed on shows in what the destination sends.

mod control;
mod server;

use std::ffi::OsString;

use crate::qemu::settings;

pub(crate) use server::Tpm;

/// Takes the character device out of the arguments of a build on which it expects an emulated TPM, if it does and nothing is
/// behind it, as in device sets and users' guests; returns its id. Whoever starts the build connects that to a TPM.
pub(crate) fn take_chardev(args: &mut Vec<OsString>) -> Option<String> {
    let named = |arg: &str, key: &str, first: &str, name: &str| {
        let mut settings = settings(arg, key, first)?;
        let (_, value) = settings.find(|(known, _)| *known == name)?;
        Some(value.to_owned())
    };
    let emulator = |arg: &str| named(arg, "type", "emulator", "chardev");
    let (_, id) = find(args, "-tpmdev", emulator)?;
    let is_empty = |arg: &str| {
        let mut empty = ["null", "ringbuf"].into_iter();
        let own = empty.find_map(|kind| named(arg, "backend", kind, "id"));
        own.filter(|own| *own == id)
    };
    let (at, id) = find(args, "-chardev", is_empty)?;
    args.drain(at..=at + 1);
    Some(id)
}

/// Finds an option whose value is such; returns its place and what its value comes to.
fn find<T>(
    args: &[OsString],
    option: &str,
    such: impl Fn(&str) -> Option<T>,
) -> Option<(usize, T)> {
    let mut pairs = args.windows(2).enumerate();
    pairs.find_map(|(at, pair)| match pair {
        [name, value] if name == option => Some((at, such(value.to_str()?)?)),
        _ => None,
    })
}

/// How a person gives a build its TPM: by the emulator that QEMU's own users have.
pub(crate) struct ByHand {
    /// Starts the emulator, for a shell.
    pub start: String,
    /// The option that connects the build with it, for a shell.
    pub option: String,
}

impl ByHand {
    /// Takes the character device out of the arguments of a build, if it expects a TPM on it. `place` is the path of the
    /// emulator's socket, for a shell.
    pub(crate) fn take(args: &mut Vec<OsString>, place: &str) -> Option<ByHand> {
        let id = take_chardev(args)?;
        Some(ByHand {
            start: format!(
                "mkdir \"{place}.state\" && swtpm socket --daemon --terminate --tpm2 \
                 --ctrl \"type=unixio,path={place}\" --tpmstate \"dir={place}.state\""
            ),
            option: format!("-chardev \"socket,id={id},path={place}\""),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn taken(line: &str) -> (Option<String>, String) {
        let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let id = take_chardev(&mut args);
        (id, args.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn the_character_device_of_an_emulated_tpm_is_taken_out() {
        for (chardev, tpmdev) in [
            ("null,id=chrtpm", "emulator,id=tpm0,chardev=chrtpm"),
            (
                "backend=null,id=chrtpm",
                "type=emulator,id=tpm0,chardev=chrtpm",
            ),
            (
                "ringbuf,id=chrtpm,size=4096",
                "emulator,chardev=chrtpm,id=tpm0",
            ),
        ] {
            let line = format!("-chardev null,id=other -chardev {chardev} -tpmdev {tpmdev} -S");
            let (id, rest) = taken(&line);
            assert_eq!(id.as_deref(), Some("chrtpm"), "{line}");
            assert_eq!(rest, format!("-chardev null,id=other -tpmdev {tpmdev} -S"));
        }
    }

    #[test]
    fn without_an_emulated_tpm_nothing_is_taken() {
        for line in [
            "-chardev null,id=chrtpm -S",
            "-chardev null,id=chrtpm -tpmdev passthrough,id=tpm0,path=chrtpm",
            "-tpmdev emulator,id=tpm0,chardev=nobodys -chardev null,id=other",
            // Somebody has given it an emulator.
            "-chardev socket,id=chrtpm,path=/run/swtpm -tpmdev emulator,id=tpm0,chardev=chrtpm",
        ] {
            assert_eq!(taken(line), (None, line.to_owned()));
        }
    }
}
