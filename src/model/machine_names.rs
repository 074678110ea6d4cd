//! MachineNames by name or family, as the lists and the device sets name them.

use std::fmt;

use serde::Deserialize;

/// Names of machine types or of families (`pc-q35` for every `pc-q35-7.2`); `*` is every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct MachineNames(Vec<String>);

impl MachineNames {
    /// Tells whether no machine is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether every machine is meant.
    pub fn are_all(&self) -> bool {
        self.0.iter().any(|name| name == "*")
    }

    /// Tells whether a machine type is meant; of an unknown one only what every machine is.
    pub fn include(&self, machine: Option<&str>) -> bool {
        let named = |machine: &str| {
            self.0.iter().any(|name| {
                machine
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        };
        self.are_all() || machine.is_some_and(named)
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
            (&["powernv"], Some("powernv9"), false),
            (&["q800", "virt"], Some("virt"), true),
            (&["q800"], None, false),
            (&["*"], Some("virt"), true),
            (&["*"], None, true),
            (&[], Some("virt"), false),
        ] {
            assert_eq!(
                machines(names).include(machine),
                included,
                "{names:?} {machine:?}"
            );
        }
    }
}
