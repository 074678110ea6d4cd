//! A machine to sweep, and its names.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::Property;
use crate::migration::config::MigrationConfig;
use crate::qemu::{Build, QemuError, machine, side_by_side};
use crate::sweep::case_id::CaseFamily;
use crate::sweep::catalogue::{Only, Properties, worth_asking};
use crate::sweep::findings::Forecast;

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

impl SweepTarget {
    /// Tells whether a driver may have sent a section, or may own a block of memory, of this name. Where its
    /// dump does not say it, a guess: good for what is tried first, never for what is concluded.
    pub(crate) fn may_send(&self, driver: &str, name: &str) -> bool {
        let dumps = [&self.config.old.dump, &self.config.new.dump];
        let mut known = dumps
            .into_iter()
            .filter_map(|dump| dump.as_ref()?.section(driver));
        known.any(|section| section.description.name == name) || is_named_after(name, driver)
    }

    /// Names the cases of the machine without devices.
    pub(crate) fn bare_family(&self) -> CaseFamily {
        CaseFamily::bare(&self.label, self.config.transport)
    }

    /// Names the cases of a device type.
    pub(crate) fn device_family(&self, driver: &str) -> CaseFamily {
        CaseFamily::device(&self.label, driver, self.config.transport)
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
        0 | 1 => with_architecture(architecture, family.strip_prefix("pc-").unwrap_or(family)),
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

/// Asks for the properties of device types as both builds have them, as far as a fallback may need
/// them on one of these machines, which are of one pair of builds.
///
/// # Errors
/// A build does not start or does not answer.
pub(crate) fn properties(
    configs: &[MigrationConfig],
    only: &Only,
) -> Result<Properties, QemuError> {
    let asked: Vec<String> = worth_asking(configs, only).into_iter().collect();
    let (Some(config), false) = (configs.first(), asked.is_empty()) else {
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

/// The types that carry a virtio device on a bus that a user plugs into.
const VIRTIO_PROXIES: [&str; 2] = ["virtio-pci", "virtio-ccw-device"];

/// Asks which drivers of a build plug in a virtio device.
///
/// # Errors
/// The build does not start or does not answer.
pub(crate) fn virtio(config: &MigrationConfig) -> Result<BTreeSet<String>, QemuError> {
    config.old.build.types_of(&VIRTIO_PROXIES)
}

/// Tells whether a description in a stream, or a block of memory, may be a driver's: `vga-isa` is that of
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
