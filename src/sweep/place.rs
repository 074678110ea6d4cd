//! Which machines of which architectures are swept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::devices::Property;
use crate::migration::config::MigrationConfig;
use crate::qemu::{Build, NoCommonMachine, Pair, QemuError, machine, side_by_side};

use crate::sweep::catalogue::{Only, Properties, worth_asking};
use crate::sweep::findings::Forecast;

/// What is asked for, before any build has been looked at.
#[derive(Debug, Clone, Default)]
pub struct MachineSelection {
    /// `q35`, or `aarch64/virt` where the name alone would mean another architecture.
    pub machines: Vec<String>,
    pub architectures: Vec<String>,
    /// Every versioned machine type that both builds list.
    pub all_machines: bool,
    /// Every architecture that has a usual machine.
    pub all_architectures: bool,
}

/// Machines of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `None`: whichever the builds are for.
    pub architecture: Option<String>,
    pub machines: Machines,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machines {
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
    /// The machines by architecture, in the order of asking.
    pub fn asked(&self) -> Vec<Asked> {
        let mut architectures: Vec<&str> = self.architectures.iter().map(String::as_str).collect();
        if self.all_architectures {
            architectures.extend(machine::usual().map(|(target, _)| target));
        }
        let mut asked: Vec<Asked> = Vec::new();
        for name in &self.machines {
            match name.split_once('/') {
                Some((architecture, name)) => add(&mut asked, Some(architecture), name),
                None if architectures.is_empty() => {
                    let implied = machine::default_architecture(name);
                    add(&mut asked, implied, name);
                }
                None => {
                    for architecture in &architectures {
                        add(&mut asked, Some(architecture), name);
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
            let there = |asked: &Asked| asked.architecture.as_deref() == Some(architecture);
            if !asked.iter().any(there) {
                asked.push(Asked {
                    architecture: Some(architecture.to_owned()),
                    machines: rest.clone(),
                });
            }
        }
        if asked.is_empty() {
            asked.push(Asked {
                architecture: None,
                machines: rest,
            });
        }
        asked
    }
}

fn add(asked: &mut Vec<Asked>, architecture: Option<&str>, name: &str) {
    let known = asked
        .iter_mut()
        .find(|asked| asked.architecture.as_deref() == architecture);
    match known {
        Some(Asked {
            machines: Machines::Named(names),
            ..
        }) => {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        _ => asked.push(Asked {
            architecture: architecture.map(str::to_owned),
            machines: Machines::Named(vec![name.to_owned()]),
        }),
    }
}

/// One machine to sweep, on builds that both have it.
#[derive(Debug, Clone)]
pub struct Place {
    pub config: MigrationConfig,
    /// Its name in ids of cases.
    pub label: String,
    pub properties: Properties,
    /// What the dumps foretell.
    pub forecast: Forecast,
}

impl Place {
    /// Whether a driver may have sent a section, or may own a block of memory, of this name. Where its
    /// dump does not say it, a guess: good for what is tried first, never for what is concluded.
    pub fn may_send(&self, driver: &str, name: &str) -> bool {
        let dumps = [&self.config.old.dump, &self.config.new.dump];
        let mut known = dumps
            .into_iter()
            .filter_map(|dump| dump.as_ref()?.section(driver));
        known.any(|section| section.description.name == name) || is_named_after(name, driver)
    }

    /// Its whole name, in a run over so many architectures.
    pub fn name(&self, architectures: usize) -> String {
        match architectures {
            1 => self.config.machine.clone(),
            _ => format!("{}/{}", self.config.arch, self.config.machine),
        }
    }
}

/// A machine that cannot be swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    pub architecture: String,
    pub machine: String,
    pub reason: String,
}

/// The machine types that are meant, of two builds.
pub fn machines(asked: &Machines, pair: &Pair) -> (Vec<String>, Vec<Absent>) {
    let names = match asked {
        Machines::Named(names) => names.clone(),
        Machines::Versioned => {
            let versioned = machine::versioned(&pair.old.info, &pair.new.info);
            if !versioned.is_empty() {
                return (versioned, Vec::new());
            }
            let absent = Absent {
                architecture: pair.arch().to_owned(),
                machine: "none".to_owned(),
                reason: "the builds have no versioned machine type in common".to_owned(),
            };
            return (Vec::new(), vec![absent]);
        }
        Machines::Usual => machine::usual()
            .filter(|(target, _)| *target == pair.arch())
            .map(|(_, family)| family.to_owned())
            .collect(),
    };
    let mut found: Vec<String> = Vec::new();
    let mut absent = Vec::new();
    for name in names {
        match pair.machine(&name) {
            // Two names may mean one type.
            Ok(machine) if found.contains(&machine) => {}
            Ok(machine) => found.push(machine),
            Err(error) => absent.push(Absent {
                architecture: pair.arch().to_owned(),
                machine: name,
                reason: NoCommonMachine::to_string(&error),
            }),
        }
    }
    (found, absent)
}

/// What ids of cases call a machine: its family where the run has one machine of it, and with the
/// architecture unless that is the usual one.
pub fn label(architecture: &str, machine: &str, all: &[String]) -> String {
    let family = machine::family(machine);
    let alone = all
        .iter()
        .filter(|other| machine::family(other) == family)
        .count()
        < 2;
    let name = if alone {
        family.strip_prefix("pc-").unwrap_or(family)
    } else {
        machine
    };
    if architecture == machine::USUAL_ARCHITECTURE {
        name.to_owned()
    } else {
        format!("{architecture}/{name}")
    }
}

/// The properties of device types as both builds have them, as far as a fall-back may want them on one
/// of these machines, which are of one pair of builds.
///
/// # Errors
/// A build does not start or does not answer.
pub fn properties(benches: &[MigrationConfig], only: &Only) -> Result<Properties, QemuError> {
    let asked: Vec<String> = worth_asking(benches, only).into_iter().collect();
    let (Some(config), false) = (benches.first(), asked.is_empty()) else {
        return Ok(Properties::new());
    };
    let (old, new) = (&config.old, &config.new);
    let ask = |build: &Build| build.devices(&asked).map(|devices| devices.properties);
    let (ours, theirs) = side_by_side(|| ask(&old.build), || ask(&new.build));
    let (ours, theirs) = (ours?, theirs?);
    let mut shared = BTreeMap::new();
    for (driver, properties) in ours {
        let Some(others) = theirs.get(&driver) else {
            continue;
        };
        let properties: Vec<Property> = properties
            .into_iter()
            .filter(|(name, _)| others.iter().any(|(other, _)| other == name))
            .map(|(name, kind)| Property { name, kind })
            .collect();
        shared.insert(driver, properties);
    }
    Ok(shared)
}

/// Whether a description in a stream, or a block of memory, may be a driver's: `vga-isa` is that of
/// `isa-vga`, `vmclock_page` is of `vmclock`. A guess: it says what is tried first, never what is
/// concluded.
fn is_named_after(description: &str, driver: &str) -> bool {
    let words = |name: &str| -> BTreeSet<String> {
        let parts = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
        parts.map(str::to_lowercase).collect()
    };
    let (described, driver) = (words(description), words(driver));
    let (fewer, more) = match described.len() <= driver.len() {
        true => (&described, &driver),
        false => (&driver, &described),
    };
    !fewer.is_empty() && fewer.is_subset(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(machines: &[&str], architectures: &[&str]) -> Vec<(Option<String>, Machines)> {
        let wish = MachineSelection {
            machines: machines.iter().map(|m| (*m).to_owned()).collect(),
            architectures: architectures.iter().map(|a| (*a).to_owned()).collect(),
            ..MachineSelection::default()
        };
        let pairs = wish.asked().into_iter();
        pairs.map(|a| (a.architecture, a.machines)).collect()
    }

    fn named(architecture: &str, machines: &[&str]) -> (Option<String>, Machines) {
        let machines = machines.iter().map(|m| (*m).to_owned()).collect();
        (Some(architecture.to_owned()), Machines::Named(machines))
    }

    #[test]
    fn machines_find_their_architecture() {
        assert_eq!(asked(&[], &[]), [(None, Machines::Usual)]);
        assert_eq!(
            asked(&["q35", "pc", "pseries", "q35"], &[]),
            [
                named("x86_64", &["q35", "pc"]),
                named("ppc64", &["pseries"])
            ]
        );
        assert_eq!(
            asked(&["riscv64/virt", "virt"], &[]),
            [named("riscv64", &["virt"]), named("aarch64", &["virt"])]
        );
        assert_eq!(
            asked(&["virt"], &["aarch64", "m68k"]),
            [named("aarch64", &["virt"]), named("m68k", &["virt"])]
        );
        assert_eq!(
            asked(&["x86_64/pc"], &["s390x"]),
            [
                named("x86_64", &["pc"]),
                (Some("s390x".to_owned()), Machines::Usual)
            ]
        );
        assert_eq!(asked(&["board"], &[])[0].0, None, "a machine nobody knows");
    }

    #[test]
    fn everything_is_every_usual_architecture() {
        let all = MachineSelection {
            all_architectures: true,
            all_machines: true,
            ..MachineSelection::default()
        };
        let asked = all.asked();
        assert_eq!(asked.len(), 8, "{asked:?}");
        assert!(asked.iter().all(|a| a.machines == Machines::Versioned));
    }

    #[test]
    fn a_label_is_as_short_as_it_can_be() {
        let machines = ["pc-q35-7.2", "pc-i440fx-7.2", "pc-i440fx-6.0"].map(str::to_owned);
        let labels = machines.each_ref().map(|m| label("x86_64", m, &machines));
        assert_eq!(labels, ["q35", "pc-i440fx-7.2", "pc-i440fx-6.0"]);
        let virt = ["virt-7.2".to_owned()];
        assert_eq!(label("aarch64", "virt-7.2", &virt), "aarch64/virt");
    }

    #[test]
    fn a_description_points_at_a_driver() {
        for (description, driver, fits) in [
            ("ipmi-bmc-sim", "ipmi-bmc-sim", true),
            ("vga-isa", "isa-vga", true),
            ("uefi-vars", "uefi-vars-x64", true),
            ("vmclock_page", "vmclock", true),
            ("uefi-vars-sysbus", "uefi-vars-x64", false),
            ("ES1370", "es1370", true),
            ("vga", "e1000", false),
            ("", "e1000", false),
        ] {
            assert_eq!(is_named_after(description, driver), fits, "{description}");
        }
    }
}
