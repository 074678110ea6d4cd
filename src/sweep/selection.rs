//! The machines of which architectures a user selects.

use std::fmt;

use crate::model::CaseName;
use crate::qemu::machine::{self, Machines as MachineTypes};
use crate::qemu::{NoCommonMachine, Pair};

/// The machines of a sweep; by default the usual one of the builds' architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineSelection {
    /// Machine types, with the architecture where the name alone means another one: `q35`,
    /// `riscv64/virt`. `OLD=NEW` pairs one of each build: `pc-q35-8.2=pc-q35-noble`. By default the usual one of
    /// the architecture.
    pub names: Vec<String>,
    /// Architectures; a name without one is swept on each of them. By default what the names imply.
    pub architectures: Vec<String>,
    /// Every versioned machine type that both builds have.
    pub all_machines: bool,
    /// Every architecture that has a usual machine.
    pub all_architectures: bool,
}

/// The machines selected of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchitectureSelection {
    /// `None` is the architecture that the builds are for.
    pub architecture: Option<String>,
    pub machines: Machines,
}

/// Machine types of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Machines {
    /// The one that people mostly run.
    Usual,
    Named(Vec<String>),
    /// Every versioned one that both builds list.
    Versioned,
}

impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machines::Named(names) => f.write_str(&names.join(" ")),
            Machines::Usual | Machines::Versioned => f.write_str("none"),
        }
    }
}

impl MachineSelection {
    /// Leaves the machine of a case that alone is run, if it is one of those that are named, and takes it if none is selected: the id
    /// of the case has it.
    pub(crate) fn narrow(&mut self, case: &CaseName) {
        if *self == MachineSelection::default() {
            let architecture = case.architecture().map(str::to_owned);
            self.architectures.extend(architecture);
            self.names.push(case.machine().to_owned());
        }
        let of_case = case.architecture();
        let of_case = of_case.unwrap_or(machine::USUAL_ARCHITECTURE);
        let is_of_case = |name: &String| {
            let (architecture, machine) = placed(name);
            machine == case.machine() && architecture.is_none_or(|of| of == of_case)
        };
        if self.names.iter().any(is_of_case) {
            self.names.retain(is_of_case);
        }
    }

    /// Returns the machines by architecture, in the order of the selection.
    pub(crate) fn by_architecture(&self) -> Vec<ArchitectureSelection> {
        let mut architectures: Vec<&str> = self.architectures.iter().map(String::as_str).collect();
        if self.all_architectures {
            architectures.extend(machine::usual().map(|(target, _)| target));
        }
        let mut selected: Vec<ArchitectureSelection> = Vec::new();
        for name in &self.names {
            match placed(name) {
                (Some(architecture), name) => add(&mut selected, Some(architecture), name),
                (None, _) if architectures.is_empty() => {
                    let implied = implied_architecture(name);
                    add(&mut selected, implied, name);
                }
                (None, _) => {
                    for architecture in &architectures {
                        add(&mut selected, Some(architecture), name);
                    }
                }
            }
        }
        let rest = if self.all_machines {
            Machines::Versioned
        } else {
            Machines::Usual
        };
        for architecture in architectures {
            let is_same =
                |known: &ArchitectureSelection| known.architecture.as_deref() == Some(architecture);
            if !selected.iter().any(is_same) {
                selected.push(ArchitectureSelection {
                    architecture: Some(architecture.to_owned()),
                    machines: rest.clone(),
                });
            }
        }
        if selected.is_empty() {
            selected.push(ArchitectureSelection {
                architecture: None,
                machines: rest,
            });
        }
        selected
    }
}

/// Returns the architecture that stands before a machine, if one does, and the machine.
fn placed(name: &str) -> (Option<&str>, &str) {
    let place = name.split_once('/');
    place.map_or((None, name), |(architecture, machine)| {
        (Some(architecture), machine)
    })
}

/// Returns the architecture that a name means unless another is given; of two names the first that means one.
fn implied_architecture(name: &str) -> Option<&'static str> {
    let (old, new) = machine::sides(name);
    let mut types = std::iter::once(old).chain(new);
    types.find_map(machine::default_architecture)
}

fn add(selected: &mut Vec<ArchitectureSelection>, architecture: Option<&str>, name: &str) {
    let known = selected
        .iter_mut()
        .find(|known| known.architecture.as_deref() == architecture);
    match known {
        Some(ArchitectureSelection {
            machines: Machines::Named(names),
            ..
        }) => {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        _ => selected.push(ArchitectureSelection {
            architecture: architecture.map(str::to_owned),
            machines: Machines::Named(vec![name.to_owned()]),
        }),
    }
}

/// A machine that can be swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AvailableMachine {
    /// The types of both builds, resolved.
    pub types: MachineTypes,
    /// Them as reports name them.
    pub name: String,
}

impl AvailableMachine {
    fn of(types: MachineTypes) -> AvailableMachine {
        AvailableMachine {
            name: types.to_string(),
            types,
        }
    }
}

/// A machine that cannot be swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnavailableMachine {
    pub architecture: String,
    pub machine: String,
    pub reason: String,
    /// Set where the name means nothing to either build.
    pub unknown: Option<Box<NoCommonMachine>>,
}

/// The machine types of two builds that a selection means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvedMachines {
    pub machines: Vec<AvailableMachine>,
    pub unavailable: Vec<UnavailableMachine>,
}

/// Looks the selected machines up in two builds.
pub(crate) fn resolve(machines: &Machines, pair: &Pair) -> ResolvedMachines {
    let unavailable = |machine: String, reason: String| UnavailableMachine {
        architecture: pair.arch().to_owned(),
        machine,
        reason,
        unknown: None,
    };
    let names = match machines {
        Machines::Named(names) => names.clone(),
        Machines::Versioned => {
            let versioned = machine::versioned(&pair.old.info, &pair.new.info);
            let reason = "the builds have no versioned machine type in common";
            let none = || unavailable("none".to_owned(), reason.to_owned());
            return ResolvedMachines {
                unavailable: versioned.is_empty().then(none).into_iter().collect(),
                machines: versioned
                    .into_iter()
                    .map(|name| AvailableMachine::of(MachineTypes::same(name)))
                    .collect(),
            };
        }
        Machines::Usual => machine::usual_of(pair.arch()).map(str::to_owned).collect(),
    };
    let mut resolved = ResolvedMachines::default();
    for name in names {
        match pair.machines(&name).map(AvailableMachine::of) {
            // Two names may mean one type.
            Ok(machine) if resolved.machines.contains(&machine) => {}
            Ok(machine) => resolved.machines.push(machine),
            Err(error) => resolved.unavailable.push(UnavailableMachine {
                unknown: error.is_unknown().then(|| error.clone()),
                ..unavailable(name, error.to_string())
            }),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    fn shown(selection: &MachineSelection) -> String {
        let found = selection.by_architecture().into_iter().map(|of| {
            let machines = match &of.machines {
                Machines::Named(names) => names.join(" "),
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{}: {machines}", of.architecture.as_deref().unwrap_or("-"))
        });
        found.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn machines_find_their_architecture() {
        // Machines and architectures, and what they mean.
        for (machines, architectures, selected) in [
            ("", "", "-: usual"),
            ("q35 pc pseries q35", "", "x86_64: q35 pc, ppc64: pseries"),
            ("riscv64/virt virt", "", "riscv64: virt, aarch64: virt"),
            ("virt", "aarch64 m68k", "aarch64: virt, m68k: virt"),
            ("x86_64/pc", "s390x", "x86_64: pc, s390x: usual"),
            // One that nobody knows.
            ("board", "", "-: board"),
            // Two that are paired, of which a vendor's own name may mean nothing.
            (
                "virt-9.0=virt-rhel9.4.0",
                "",
                "aarch64: virt-9.0=virt-rhel9.4.0",
            ),
            ("ours=pc-q35-9.0 q35", "", "x86_64: ours=pc-q35-9.0 q35"),
            (
                "riscv64/virt-9.0=virt-9.1 a=b",
                "arm",
                "riscv64: virt-9.0=virt-9.1, arm: a=b",
            ),
        ] {
            let selection = MachineSelection {
                names: names(machines),
                architectures: names(architectures),
                ..MachineSelection::default()
            };
            assert_eq!(shown(&selection), selected);
        }
    }

    #[test]
    fn a_case_leaves_its_machine() {
        let pair = "pc-q35-7.1=pc-q35-7.2";
        // Machines, the case's place, and what is left.
        for (machines, place, left) in [
            ("", "q35", "x86_64: q35"),
            ("", "aarch64/virt", "aarch64: virt"),
            ("", pair, "x86_64: pc-q35-7.1=pc-q35-7.2"),
            ("pc-q35-7.1 pc-q35-7.2", "pc-q35-7.1", "x86_64: pc-q35-7.1"),
            (
                "pc-q35-7.1 pc-q35-7.1=pc-q35-7.2",
                pair,
                "x86_64: pc-q35-7.1=pc-q35-7.2",
            ),
            ("q35 riscv64/virt", "riscv64/virt", "riscv64: virt"),
            ("aarch64/virt riscv64/virt", "riscv64/virt", "riscv64: virt"),
            // What q35 is short for, only builds know.
            ("q35 pc-q35-7.1", "pc-q35-7.2", "x86_64: q35 pc-q35-7.1"),
        ] {
            let mut selection = MachineSelection {
                names: names(machines),
                ..MachineSelection::default()
            };
            let case = format!("{place}/e1000/unix/forward");
            selection.narrow(&case.parse().expect("the name of a case"));
            assert_eq!(shown(&selection), left, "{case}");
        }
    }

    #[test]
    fn everything_is_every_usual_architecture() {
        let all = MachineSelection {
            all_architectures: true,
            all_machines: true,
            ..MachineSelection::default()
        };
        let selected = all.by_architecture();
        assert_eq!(selected.len(), 8, "{selected:?}");
        assert!(selected.iter().all(|a| a.machines == Machines::Versioned));
    }
}
