//! The confinement that what a run starts allows, and what a report says of it.

use std::path::{Path, PathBuf};

use crate::api::config::{Guests, LoadConfig};
use crate::devices::DeviceSet;
use crate::guest::confine_words;
use crate::migration::channel::transport::Transport;
use crate::model::{Confine, ConfinedBuild};
use crate::qemu::{Channel, ConfinePolicy, Granted, Pair};
use crate::report::{Notice, NoticeKind};

/// Options that lead out of the guest only to read, which stays free, or to run it otherwise.
const READING: &[&str] = &[
    "accel",
    "append",
    "bios",
    "cpu",
    "dtb",
    "icount",
    "initrd",
    "kernel",
    "L",
    "overcommit",
];

/// Returns the confinement for guests that have nothing of the user's or a stranger's.
pub(crate) fn of_own(wish: Confine) -> ConfinePolicy {
    ConfinePolicy {
        wish,
        ..ConfinePolicy::default()
    }
}

/// Returns the confinement for a saved state.
pub(crate) fn of_state(config: &LoadConfig) -> ConfinePolicy {
    ConfinePolicy {
        granted: leading_out(&config.args, ""),
        ..of_own(config.confine)
    }
}

/// Returns the confinement for guests of an architecture.
pub(crate) fn of_guests(wish: Confine, guests: &Guests, arch: &str) -> ConfinePolicy {
    let is_granted =
        |name: &&String| file_of_set(name).is_some_and(|path| is_trusted(path, &guests.trusted));
    let set = guests.device_sets.iter().find(is_granted);
    let sides = &guests.side_args;
    let mut sides = [&sides.old, &sides.new, &sides.source, &sides.destination].into_iter();
    ConfinePolicy {
        granted: match set {
            Some(set) => Some(Granted::TrustedSet(set.clone())),
            None => sides.find_map(|words| leading_out(words, arch)),
        },
        channel: match guests.transport {
            Transport::Tcp => Channel::Tcp,
            Transport::Exec => Channel::Programs,
            Transport::Unix | Transport::Fd | Transport::File => Channel::Files,
        },
        ..of_own(wish)
    }
}

/// Returns the first of some options that may need more than a confined process has.
fn leading_out(words: &[String], arch: &str) -> Option<Granted> {
    let name = |word: &str| word.trim_start_matches('-').to_owned();
    words.chunks(2).find_map(|option| {
        let first = option.first()?;
        let is_fine = READING.contains(&name(first).as_str())
            || confine_words(std::iter::once(("", option.to_vec())), arch).is_ok();
        (!is_fine).then(|| Granted::SideOption(first.clone()))
    })
}

/// Returns the names of all that is a stranger's in the guests of a run.
pub(crate) fn strangers(guests: &Guests) -> impl Iterator<Item = String> {
    let is_strange = |name: &&String| {
        let file: Option<&Path> = file_of_set(name);
        file.is_some_and(|path| !is_trusted(path, &guests.trusted))
    };
    let own = guests.own.iter().map(|guest| guest.label.clone());
    let sets = guests.device_sets.iter().filter(is_strange).cloned();
    own.chain(sets)
}

/// Returns what a report says of the confinement of builds, each once.
pub(crate) fn of_pairs<'p>(pairs: impl IntoIterator<Item = &'p Pair>) -> Vec<ConfinedBuild> {
    let mut all = Vec::new();
    for build in pairs.into_iter().flat_map(|pair| [&pair.old, &pair.new]) {
        let confinement = build.confinement();
        if !all.contains(&confinement) {
            all.push(confinement);
        }
    }
    all
}

/// Returns a notice if something of a stranger's was run in a build that writes anywhere.
pub(crate) fn notice(subject: String, confinement: &[ConfinedBuild]) -> Option<Notice> {
    let open = confinement.iter().find(|build| build.writes_anywhere())?;
    Some(NoticeKind::Unconfined.about(subject, open))
}

/// Returns the file or folder of a device set, unless the name is that of a shipped one: what looks like a path, or is
/// there.
pub(crate) fn file_of_set(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let is_path = name.contains('/') || name.ends_with(".toml");
    let is_there = || DeviceSet::shipped(name).is_err() && path.exists();
    (is_path || is_there()).then_some(path)
}

/// Tells whether a file is really in one of these folders, or in one below.
pub(crate) fn is_trusted(file: &Path, folders: &[PathBuf]) -> bool {
    let Ok(file) = file.canonicalize() else {
        return false;
    };
    let mut folders = folders.iter().filter_map(|dir| dir.canonicalize().ok());
    folders.any(|folder| file.starts_with(folder))
}
