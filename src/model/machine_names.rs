//! Machine types as people name them: alone, two of them paired, or by name or family in the lists and the device sets.

use std::fmt;

use serde::Deserialize;

/// Names of machine types or of families (`pc-q35`, or `q35` as `-M` has it, for every `pc-q35-7.2`; `pc-q35-rhel` for every
/// `pc-q35-rhel9.6.0`), or of a pair of them (`pc-q35-8.2=pc-q35-noble`); `*` is every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct MachineNames(Vec<String>);

/// A name that is none of a machine type or a family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no machine type or family: `*` stands for every machine alone, and pc-q35 for each of its versions"
)]
pub struct BadMachineName(pub String);

impl TryFrom<Vec<String>> for MachineNames {
    type Error = BadMachineName;

    fn try_from(names: Vec<String>) -> Result<MachineNames, BadMachineName> {
        let is_bad =
            |name: &&String| name.is_empty() || *name != "*" && name.contains(['*', '?', '[', '/']);
        match names.iter().find(is_bad) {
            Some(bad) => Err(BadMachineName(bad.clone())),
            None => Ok(MachineNames(names)),
        }
    }
}

/// Returns the names that `OLD=NEW` pairs: the machine types of the old and of the new build, which a guest moves between. A name
/// with options behind it is no pair.
pub fn machine_sides(named: &str) -> (&str, Option<&str>) {
    match named.split_once('=') {
        Some((old, new)) if !named.contains(',') => (old, Some(new)),
        _ => (named, None),
    }
}

/// Returns the name that people use for a machine type or a family: `q35` of `pc-q35`.
pub(crate) fn short_name(machine: &str) -> &str {
    machine.strip_prefix("pc-").unwrap_or(machine)
}

/// Tells whether a family's name ends with a vendor's word, and its version follows: `pc-q35-rhel` and `9.6.0`.
fn is_version_behind(family: &str, rest: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic());
    let vendor = family.rsplit_once('-').map(|(_, vendor)| vendor);
    let is_version = rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains('.');
    is_version && vendor.is_some_and(is_word)
}

impl MachineNames {
    /// Tells whether no machine is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether every machine is meant.
    pub fn are_all(&self) -> bool {
        self.0.iter().any(|name| name == "*")
    }

    /// Tells whether a machine type is meant; of an unknown one only what every machine is. Of two that are paired either may be
    /// named, or both as that pair.
    pub fn include(&self, machine: Option<&str>) -> bool {
        let named = |machine: &str| {
            self.0.iter().any(|name| {
                let rests = [machine, short_name(machine)].map(|of| of.strip_prefix(name.as_str()));
                let mut rests = rests.into_iter().flatten();
                rests.any(|rest| {
                    rest.is_empty() || rest.starts_with('-') || is_version_behind(name, rest)
                })
            })
        };
        let is_meant = |machine: &str| match machine_sides(machine) {
            (old, Some(new)) => [machine, old, new].into_iter().any(named),
            (one, None) => named(one),
        };
        self.are_all() || machine.is_some_and(is_meant)
    }
}

impl fmt::Display for MachineNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_all_of_its_versions_and_no_other_family() {
        let machines =
            |names: &[&str]| MachineNames(names.iter().map(|&name| name.into()).collect());
        for (names, machine, included) in [
            (&["pc-q35"][..], Some("pc-q35-7.2"), true),
            (&["pc-q35-7.2"], Some("pc-q35-7.2"), true),
            (&["pc-q35-7.2"], Some("pc-q35-7.20"), false),
            (&["pc"], Some("pc-q35-7.2"), true),
            (&["q35"], Some("pc-q35-7.2"), true),
            (&["i440fx"], Some("pc-q35-7.2"), false),
            (&["q35"], Some("q35er"), false),
            (&["powernv"], Some("powernv9"), false),
            (&["pc-q35-rhel"], Some("pc-q35-rhel9.6.0"), true),
            (&["q35-rhel"], Some("pc-q35-rhel9.6.0"), true),
            (&["pc-q35"], Some("pc-q35-rhel9.6.0"), true),
            (&["pc-q35-rhel9.6"], Some("pc-q35-rhel9.6.0"), false),
            (&["pc-q35-rh"], Some("pc-q35-rhel9.6.0"), false),
            (&["q800", "virt"], Some("virt"), true),
            (&["q800"], None, false),
            (&["*"], Some("virt"), true),
            (&["*"], None, true),
            // Types that are paired.
            (&["pc-q35-8.2"], Some("pc-q35-8.2=pc-q35-noble"), true),
            (&["pc-q35-noble"], Some("pc-q35-8.2=pc-q35-noble"), true),
            (&["q35"], Some("pc-q35-8.2=pc-q35-noble"), true),
            (&["q35-noble"], Some("pc-q35-8.2=pc-q35-noble"), true),
            (
                &["pc-q35-8.2=pc-q35-noble"],
                Some("pc-q35-8.2=pc-q35-noble"),
                true,
            ),
            (&["pc-q35-8.2=pc-q35-noble"], Some("pc-q35-8.2"), false),
            (&["pc-q35-8"], Some("pc-q35-8.2=pc-q35-noble"), false),
            (&["i440fx"], Some("pc-q35-8.2=pc-q35-noble"), false),
            (&[], Some("virt"), false),
        ] {
            assert_eq!(
                machines(names).include(machine),
                included,
                "{names:?} {machine:?}"
            );
        }
    }

    #[test]
    fn a_name_that_can_fit_no_machine_is_refused() {
        let read = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            MachineNames::try_from(names)
        };
        for name in ["pc-q35-*", "q3?", "", "x86_64/q35", "**"] {
            assert_eq!(read(&["virt", name]), Err(BadMachineName(name.into())));
        }
        assert!(read(&["*", "pc-q35", "q35", "virt-7.2", "sifive_u"]).is_ok());
    }
}
