//! The choice of a machine type among those that builds have in common.

use crate::qemu::machine::{aliases, families, split};
use crate::qemu::{BuildInfo, MachineType};

/// Returns the one of the `common` names that a wanted name means: itself, or the newest of the family or alias.
pub(super) fn pick(wanted: &str, builds: &[&BuildInfo], common: &[&str]) -> Option<String> {
    if common.contains(&wanted) {
        return Some(wanted.to_owned());
    }
    let aliased: Vec<&MachineType> = builds
        .iter()
        .flat_map(|build| &build.machines)
        .filter(|machine| machine.alias.as_deref() == Some(wanted))
        .collect();
    // The builds' own aliases come first. Some are of types without a version: `powernv9`, `pc-q35-noble`.
    let aliased = aliased
        .iter()
        .find_map(|machine| match split(&machine.name) {
            Some((family, _)) => newest(family, common),
            None => common.iter().find(|name| **name == machine.name).copied(),
        });
    let found = aliased.or_else(|| families(wanted).find_map(|family| newest(family, common)));
    // A distribution may have none of the plain types, and call one of its own as others call theirs.
    let others = || {
        aliases(wanted)
            .skip(1)
            .find_map(|name| pick(name, builds, common))
    };
    found.map(str::to_owned).or_else(others)
}

fn newest<'a>(family: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .filter_map(|name| {
            split(name)
                .filter(|(of, _)| *of == family)
                .map(|(_, v)| (v, *name))
        })
        .max()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_releases_and_two_digits_sort_as_numbers() {
        let names = ["pc-q35-4.0", "pc-q35-4.0.1", "pc-q35-9.2", "pc-q35-10.0"];
        assert_eq!(newest("pc-q35", &names), Some("pc-q35-10.0"));
        assert_eq!(newest("pc-q35", &names[..2]), Some("pc-q35-4.0.1"));
    }
}
