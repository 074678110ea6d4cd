//! A machine to sweep, and its names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::seat::Driving;
use crate::model::{CaseName, Direction, short_name};
use crate::parallel::side_by_side;
use crate::qemu::machine::{self, Machines};
use crate::qemu::{Build, QemuError};
use crate::sweep::case_id::{CaseFamily, State, Subject};
use crate::sweep::catalogue::{Only, Properties, worth_asking};
use crate::sweep::findings::Forecast;
use crate::vmstate::senders::Senders;
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

impl SweepTarget {
    /// Returns who may send a section, or own a block of memory, of this name.
    pub(crate) fn senders<'a>(&'a self, name: &'a str) -> Senders<'a> {
        let dumps = [&self.config.old.dump, &self.config.new.dump];
        Senders::of(name, dumps.into_iter().flatten().map(|dump| &**dump))
    }

    /// Returns the same machine with drivers at work, if it can have them: it is known where its devices are, or
    /// there is a kernel.
    pub(crate) fn at_work(&self, pass: &SecondPass) -> Option<SweepTarget> {
        let mut target = self.clone();
        let MigrationConfig { machine, arch, .. } = &self.config;
        let network = match pass {
            &SecondPass::Driven(network) => {
                target.config.driving = Some(Driving::of(machine, arch)?);
                target.config.network = network;
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
            1 => self.config.machines.clone(),
            _ => format!("{}/{}", self.config.arch, self.config.machines),
        }
    }
}

/// The facts of a run that decide what ids of cases call its machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming<'n> {
    /// All machines of the architecture.
    pub all: &'n [&'n Machines],
    /// Set if one machine is asked for, whatever the builds have.
    pub is_one: bool,
    /// The case that alone is run. It may come of a run with more machines.
    pub case: Option<&'n CaseName>,
}

/// Returns the name of a machine in ids of cases: its family where the run has one machine of it, and with
/// the architecture unless that is the usual one. Two types that are paired are called after the family of the old one where nothing
/// else is asked for, so that they change the name of no other machine.
pub(crate) fn label(architecture: &str, machines: &Machines, naming: Naming<'_>) -> String {
    let family = machine::family(&machines.old);
    let whole = with_architecture(architecture, &machines.to_string());
    let is_kin = |other: &&&Machines| {
        !other.are_paired() && machine::family(&other.old) == family && **other != machines
    };
    let is_alone = match machines.are_paired() {
        true => naming.is_one,
        false => naming.all.iter().find(is_kin).is_none(),
    };
    match naming.case {
        Some(case) if case.place() == whole => whole,
        _ if is_alone => with_architecture(architecture, short_name(family)),
        _ => whole,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(old: &str, new: &str) -> Machines {
        Machines {
            old: old.to_owned(),
            new: new.to_owned(),
        }
    }

    /// The names of the machines of a run.
    fn labels(architecture: &str, machines: &[Machines], case: Option<&str>) -> Vec<String> {
        let all: Vec<&Machines> = machines.iter().collect();
        let case = case.map(|case| case.parse().expect("the name of a case"));
        let naming = Naming {
            all: &all,
            is_one: machines.len() == 1,
            case: case.as_ref(),
        };
        let labels = machines.iter();
        labels.map(|of| label(architecture, of, naming)).collect()
    }

    #[test]
    fn a_label_is_as_short_as_it_can_be() {
        let machines = ["pc-q35-7.2", "pc-i440fx-7.2", "pc-i440fx-6.0"].map(Machines::same);
        let labelled = labels("x86_64", &machines, None);
        assert_eq!(labelled, ["q35", "pc-i440fx-7.2", "pc-i440fx-6.0"]);
        let virt = [Machines::same("virt-7.2")];
        assert_eq!(labels("aarch64", &virt, None), ["aarch64/virt"]);
    }

    #[test]
    fn a_pair_has_a_short_name_alone_and_takes_none_from_others() {
        let noble = pair("pc-q35-8.2", "pc-q35-noble");
        let plucky = pair("pc-q35-8.2", "pc-q35-plucky");
        let plain = Machines::same("pc-q35-8.2");
        assert_eq!(
            labels("x86_64", std::slice::from_ref(&noble), None),
            ["q35"]
        );
        assert_eq!(
            labels("x86_64", &[noble, plain, plucky], None),
            ["pc-q35-8.2=pc-q35-noble", "q35", "pc-q35-8.2=pc-q35-plucky"]
        );
    }

    #[test]
    fn a_machine_is_called_as_the_case_that_is_asked_for_calls_it() {
        let (old, virt) = (Machines::same("pc-q35-7.2"), Machines::same("virt-7.2"));
        let noble = pair("pc-q35-8.2", "pc-q35-noble");
        for (architecture, machine, place, called) in [
            ("x86_64", &old, "pc-q35-7.2", "pc-q35-7.2"),
            ("x86_64", &old, "pc-q35-7.1", "q35"),
            ("x86_64", &old, "q35", "q35"),
            (
                "x86_64",
                &noble,
                "pc-q35-8.2=pc-q35-noble",
                "pc-q35-8.2=pc-q35-noble",
            ),
            ("x86_64", &noble, "q35", "q35"),
            ("aarch64", &virt, "aarch64/virt-7.2", "aarch64/virt-7.2"),
            ("aarch64", &virt, "virt-7.2", "aarch64/virt"),
        ] {
            let case = format!("{place}/e1000/unix/forward");
            let found = labels(architecture, std::slice::from_ref(machine), Some(&case));
            assert_eq!(found, [called], "{case}");
        }
    }
}
