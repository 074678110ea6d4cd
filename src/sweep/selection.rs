//! The machines of which architectures a user selects.

use std::fmt;

use crate::qemu::{NoCommonMachine, Pair, machine};

/// The machines of a sweep; by default the usual one of the builds' architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineSelection {
    /// Machine types, with the architecture where the name alone means another one: `q35`,
    /// `riscv64/virt`. By default the usual one of the architecture.
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
    /// Returns the machines by architecture, in the order of the selection.
    pub(crate) fn by_architecture(&self) -> Vec<ArchitectureSelection> {
        let mut architectures: Vec<&str> = self.architectures.iter().map(String::as_str).collect();
        if self.all_architectures {
            architectures.extend(machine::usual().map(|(target, _)| target));
        }
        let mut selected: Vec<ArchitectureSelection> = Vec::new();
        for name in &self.names {
            match name.split_once('/') {
                Some((architecture, name)) => add(&mut selected, Some(architecture), name),
                None if architectures.is_empty() => {
                    let implied = machine::default_architecture(name);
                    add(&mut selected, implied, name);
                }
                None => {
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
    pub machines: Vec<String>,
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
                machines: versioned,
            };
        }
        Machines::Usual => machine::usual_of(pair.arch()).map(str::to_owned).collect(),
    };
    let mut resolved = ResolvedMachines::default();
    for name in names {
        match pair.machine(&name) {
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
        ] {
            let selection = MachineSelection {
                names: names(machines),
                architectures: names(architectures),
                ..MachineSelection::default()
            };
            let found = selection.by_architecture().into_iter().map(|of| {
                let machines = match &of.machines {
                    Machines::Named(names) => names.join(" "),
                    other => format!("{other:?}").to_lowercase(),
                };
                format!("{}: {machines}", of.architecture.as_deref().unwrap_or("-"))
            });
            assert_eq!(found.collect::<Vec<_>>().join(", "), selected);
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
