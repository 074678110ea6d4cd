//! A machine to sweep, and its names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::seat::Driving;
use crate::model::Direction;
use crate::model::short_name;
use crate::parallel::side_by_side;
use crate::qemu::{Build, QemuError, machine};
use crate::sweep::case_id::{CaseFamily, State, Subject};
use crate::sweep::catalogue::{Only, Properties, worth_asking};
use crate::sweep::findings::Forecast;
use crate::workload::linux::{LinuxGuest, Network};

/// A machine to sweep, on builds that both have it.
#[derive(Debug, Clone)]
pub(crate) struct SweepTarget {
    pub config: MigrationConfig,
    /// The machine's name in ids of cases.
    pub label: String,
    pub properties: Properties,
    /// The drivers that plug in a virtio device, whose features are compared.
    pub virtio: BTreeSet<String>,
    /// The failures that the dumps predict.
    pub forecast: Forecast,
}

/// A pass over what migrates as it is after reset, with drivers at work.
#[derive(Debug, Clone)]
pub(crate) enum SecondPass {
    /// The devices are driven from outside, cards on this network.
    Driven(Network),
    /// Linux drives them, the guest of the machine's architecture.
    Linux(BTreeMap<String, Arc<LinuxGuest>>),
}

/// The senders of a section, or owners of a block of memory, by its name.
#[derive(Debug)]
pub(crate) struct Senders<'a> {
    name: &'a str,
    /// The types that send it by the dumps.
    types: BTreeSet<&'a str>,
}

impl Senders<'_> {
    /// Tells whether a driver may be among them. Where its dump does not say it, a guess: good for what is tried
    /// first, never for what is concluded.
    pub(crate) fn may_include(&self, driver: &str) -> bool {
        let mut types = self.types.iter();
        types.any(|type_name| is_part_of(type_name, driver)) || is_named_after(self.name, driver)
    }
}

impl SweepTarget {
    /// Returns who may send a section, or own a block of memory, of this name.
    pub(crate) fn senders<'a>(&'a self, name: &'a str) -> Senders<'a> {
        let dumps = [&self.config.old.dump, &self.config.new.dump];
        let sections = dumps.into_iter().flatten().flat_map(|dump| &dump.sections);
        let sent = sections.filter(|section| section.description.name == name);
        let types = sent.map(|section| section.type_name.as_str()).collect();
        Senders { name, types }
    }

    /// Returns the same machine with drivers at work, if it can have them: it is known where its devices are, or
    /// there is a kernel.
    pub(crate) fn at_work(&self, pass: &SecondPass) -> Option<SweepTarget> {
        let mut target = self.clone();
        let MigrationConfig { machine, arch, .. } = &self.config;
        let network = match pass {
            &SecondPass::Driven(network) => {
                target.config.driving = Some(Driving {
                    network,
                    ..Driving::of(machine, arch)?
                });
                network
            }
            SecondPass::Linux(guests) => {
                let guest = guests.get(arch)?;
                target.config.running = true;
                target.config.linux = Some(Arc::clone(guest));
                guest.network()
            }
        };
        if network != Network::Hub {
            for endpoint in [&mut target.config.old, &mut target.config.new] {
                endpoint.build = endpoint.build.clone().with_own_network();
            }
        }
        Some(target)
    }

    /// Returns the state in which the machine's devices are sent.
    pub(crate) fn state(&self) -> State {
        match (&self.config.driving, &self.config.linux) {
            (_, Some(_)) => State::Linux,
            (Some(_), None) => State::Driven,
            (None, None) => State::Reset,
        }
    }

    /// Names the cases of a subject.
    pub(crate) fn family(&self, subject: Subject) -> CaseFamily {
        CaseFamily {
            machine: self.label.clone(),
            subject,
            transport: self.config.transport,
            state: self.state(),
        }
    }

    /// Names the cases of the machine without devices.
    pub(crate) fn bare_family(&self) -> CaseFamily {
        self.family(Subject::Bare)
    }

    /// Names the cases of a device type.
    pub(crate) fn device_family(&self, driver: &str) -> CaseFamily {
        self.family(Subject::Device(driver.to_owned()))
    }

    /// Returns the machine's whole name, in a run over so many architectures.
    pub(crate) fn name(&self, architectures: usize) -> String {
        match architectures {
            1 => self.config.machine.clone(),
            _ => format!("{}/{}", self.config.arch, self.config.machine),
        }
    }
}

/// Returns the name of a machine in ids of cases: its family where the run has one machine of it, and with
/// the architecture unless that is the usual one.
pub(crate) fn label(architecture: &str, machine: &str, all: &[String]) -> String {
    let family = machine::family(machine);
    let same_family = all.iter().filter(|other| machine::family(other) == family);
    match same_family.count() {
        0 | 1 => with_architecture(architecture, short_name(family)),
        _ => with_architecture(architecture, machine),
    }
}

/// Returns the name of a machine, with the architecture unless that is the usual one.
pub(crate) fn with_architecture(architecture: &str, machine: &str) -> String {
    match architecture {
        machine::USUAL_ARCHITECTURE => machine.to_owned(),
        _ => format!("{architecture}/{machine}"),
    }
}

/// The device types of both builds that are not abstract, those that only boards contain among them.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildTypes {
    old: BTreeSet<String>,
    new: BTreeSet<String>,
}

impl BuildTypes {
    /// Asks both builds.
    ///
    /// # Errors
    /// A build does not start or does not answer.
    pub(crate) fn ask(old: &Build, new: &Build) -> Result<BuildTypes, QemuError> {
        let types = |build: &Build| build.devices(&[], &[]).map(|devices| devices.types);
        let (old, new) = side_by_side(|| types(old), || types(new));
        Ok(BuildTypes {
            old: old?,
            new: new?,
        })
    }

    /// Returns those of the source and of the destination.
    pub(crate) fn source_destination(
        &self,
        direction: Direction,
    ) -> (&BTreeSet<String>, &BTreeSet<String>) {
        direction.source_destination(&self.old, &self.new)
    }

    #[cfg(test)]
    pub(crate) fn of_test(old: &[&str], new: &[&str]) -> BuildTypes {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        BuildTypes {
            old: set(old),
            new: set(new),
        }
    }
}

/// The facts about device types that only the builds themselves have.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeFacts {
    pub types: BuildTypes,
    /// The properties that both builds have, of the types that a fallback may plug in.
    pub properties: Properties,
    /// The types, of both builds, that are derived from those that were asked for.
    pub derived: BTreeSet<String>,
}

/// The types that carry a virtio device on a bus that a user plugs into.
pub(crate) const VIRTIO_PROXIES: [&str; 2] = ["virtio-pci", "virtio-ccw-device"];

/// Asks both builds about device types: for their properties, as far as a fallback may need them on one of these
/// machines, which are of one pair of builds, and for those that are derived from some `bases`.
///
/// # Errors
/// A build does not start or does not answer.
pub(crate) fn facts(
    configs: &[MigrationConfig],
    only: &Only,
    bases: &[&str],
) -> Result<TypeFacts, QemuError> {
    let asked: Vec<String> = worth_asking(configs, only).into_iter().collect();
    let nothing_to_ask = asked.is_empty() && bases.is_empty();
    let Some(config) = configs.first().filter(|_| !nothing_to_ask) else {
        return Ok(TypeFacts::default());
    };
    let ask = |build: &Build| build.devices(&asked, bases);
    let (old, new) = (&config.old.build, &config.new.build);
    let (ours, theirs) = side_by_side(|| ask(old), || ask(new));
    let (ours, theirs) = (ours?, theirs?);
    let mut shared = BTreeMap::new();
    for (driver, properties) in ours.properties {
        let Some(others) = theirs.properties.get(&driver) else {
            continue;
        };
        let has = |name: &String| others.iter().any(|(other, _)| other == name);
        let properties = properties.into_iter().filter(|(name, _)| has(name));
        shared.insert(driver, properties.collect());
    }
    Ok(TypeFacts {
        types: BuildTypes {
            old: ours.types,
            new: theirs.types,
        },
        properties: shared,
        derived: &ours.derived & &theirs.derived,
    })
}

/// Tells whether a type that sends a section is a driver, or a device that the driver plugs into its own bus:
/// `virtio-keyboard-device` is in `virtio-keyboard-pci`.
pub(crate) fn is_part_of(type_name: &str, driver: &str) -> bool {
    let plugged = type_name.strip_suffix("-device");
    type_name == driver || plugged.is_some_and(|name| is_named_after(name, driver))
}

/// Tells whether a description in a stream, or a block of memory, may be a driver's: `vga-isa` is that of
/// `isa-vga`, `vmclock_page` is of `vmclock`. A guess: it says what is tried first, never what is
/// concluded.
fn is_named_after(description: &str, driver: &str) -> bool {
    fn words(name: &str) -> impl Iterator<Item = &str> {
        let parts = name.split(['-', '_', '.']);
        parts.filter(|word| !word.is_empty())
    }
    let are_words_of = |some: &str, other: &str| {
        let is_in_other = |word: &str| words(other).any(|other| other.eq_ignore_ascii_case(word));
        words(some).next().is_some() && words(some).all(is_in_other)
    };
    are_words_of(description, driver) || are_words_of(driver, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_as_short_as_it_can_be() {
        let machines = ["pc-q35-7.2", "pc-i440fx-7.2", "pc-i440fx-6.0"].map(str::to_owned);
        let labels = machines.each_ref().map(|m| label("x86_64", m, &machines));
        assert_eq!(labels, ["q35", "pc-i440fx-7.2", "pc-i440fx-6.0"]);
        let virt = ["virt-7.2".to_owned()];
        assert_eq!(label("aarch64", "virt-7.2", &virt), "aarch64/virt");
    }

    #[test]
    fn a_device_on_a_bus_of_its_own_is_part_of_its_driver() {
        for (type_name, driver, fits) in [
            ("virtio-keyboard-device", "virtio-keyboard-pci", true),
            ("virtio-net-device", "virtio-net-pci-non-transitional", true),
            ("virtio-serial-device", "virtio-serial-ccw", true),
            ("virtio-mouse-device", "virtio-keyboard-pci", false),
            ("e1000", "e1000", true),
            ("e1000", "e1000-82545em", false),
        ] {
            assert_eq!(is_part_of(type_name, driver), fits, "{type_name}");
        }
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
