//! The machine types that a name means for builds.

use crate::model::Side;
use crate::qemu::BuildInfo;
use crate::qemu::machine::is_one_of_family;
use crate::qemu::machine::missing::{Missing, NoCommonMachine};
use crate::qemu::machine::pick::pick;

/// The machine types with a version, or what a distribution has in its place, that both builds list.
pub fn versioned(old: &BuildInfo, new: &BuildInfo) -> Vec<String> {
    old.machines
        .iter()
        .map(|machine| machine.name.as_str())
        .filter(|name| is_one_of_family(name) && lists(new, name))
        .map(str::to_owned)
        .collect()
}

/// The machine type that a wanted name means for both builds: itself if both list it, else the
/// newest of the family or alias that both list.
///
/// # Errors
/// There is none; the error says what comes closest.
pub fn resolve(
    wanted: &str,
    old: &BuildInfo,
    new: &BuildInfo,
) -> Result<String, Box<NoCommonMachine>> {
    let common: Vec<&str> = old
        .machines
        .iter()
        .filter(|machine| lists(new, &machine.name))
        .map(|machine| machine.name.as_str())
        .collect();
    pick(wanted, &[old, new], &common).ok_or_else(|| {
        let missing = match (lists(old, wanted), lists(new, wanted)) {
            (true, false) => Missing::New(new.version),
            (false, true) => Missing::Old(old.version),
            _ => Missing::Both,
        };
        NoCommonMachine::new(wanted, missing, &[old, new], &common)
    })
}

/// The machine type that a wanted name means for one build.
///
/// # Errors
/// The build has none; the error says what comes closest.
pub fn resolve_one(wanted: &str, build: &BuildInfo) -> Result<String, Box<NoCommonMachine>> {
    resolve_in(build, wanted, Missing::Only(build.version))
}

/// The machine type that a wanted name means for the build of a side, where the other one has a type of its own.
///
/// # Errors
/// As for [`resolve_one`].
pub(crate) fn resolve_side(
    wanted: &str,
    side: Side,
    build: &BuildInfo,
) -> Result<String, Box<NoCommonMachine>> {
    resolve_in(build, wanted, Missing::Paired(side, build.version))
}

fn resolve_in(
    build: &BuildInfo,
    wanted: &str,
    missing: Missing,
) -> Result<String, Box<NoCommonMachine>> {
    let all: Vec<&str> = build
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    pick(wanted, &[build], &all)
        .ok_or_else(|| NoCommonMachine::new(wanted, missing, &[build], &all))
}

fn lists(build: &BuildInfo, name: &str) -> bool {
    build.machines.iter().any(|machine| machine.name == name)
}
