//! The buses of a bare machine, into which devices are plugged, and the devices that it has on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::{DeviceSet, Drivers, FallBack};
use crate::qemu::output::devices::DeviceTree;

/// The buses of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Buses {
    names: BTreeSet<String>,
    types: BTreeSet<String>,
}

impl Buses {
    /// Returns the buses of a machine.
    pub(crate) fn of(tree: &DeviceTree) -> Buses {
        Buses {
            names: tree.buses.iter().map(|bus| bus.name.clone()).collect(),
            types: tree
                .buses
                .iter()
                .filter_map(|bus| bus.type_name.clone())
                .collect(),
        }
    }

    /// Returns the buses that both machines have.
    pub(crate) fn shared(&self, other: &Buses) -> Buses {
        Buses {
            names: &self.names & &other.names,
            types: &self.types & &other.types,
        }
    }

    fn takes(&self, wanted: &str) -> bool {
        self.types.iter().any(|bus| FallBack::takes(bus, wanted))
    }

    /// Returns why a device of the set has no place on this machine, if one has none.
    pub(crate) fn obstacle(
        &self,
        set: &DeviceSet,
        drivers: &Drivers,
        arch: &str,
    ) -> Option<String> {
        set.devices.iter().find_map(|device| {
            let driver = device.driver(arch);
            if let Some(bus) = device.bus() {
                // What is needed brings the bus.
                let there = !device.needs().is_empty() || self.names.contains(bus);
                return (!there).then(|| format!("the machine has no bus {bus} for {driver}"));
            }
            let bus = drivers.get(driver)?.bus.as_deref()?;
            let there = self.takes(bus) || !device.needs().is_empty();
            (!there).then(|| format!("the machine has no {bus} bus"))
        })
    }
}

/// The number of devices of each type on the buses of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeviceCounts(BTreeMap<String, usize>);

impl DeviceCounts {
    /// Counts the devices of a machine.
    pub(crate) fn of(tree: &DeviceTree) -> DeviceCounts {
        let mut counts = BTreeMap::new();
        for device in &tree.devices {
            *counts.entry(device.type_name.clone()).or_default() += 1;
        }
        DeviceCounts(counts)
    }

    /// Returns those that are here and not there, as many as there are more of them.
    pub(crate) fn without(&self, other: &DeviceCounts) -> DeviceCounts {
        let more = self.0.iter().filter_map(|(name, count)| {
            let more = count.saturating_sub(other.0.get(name).copied().unwrap_or(0));
            (more > 0).then(|| (name.clone(), more))
        });
        DeviceCounts(more.collect())
    }

    /// Formats them for people.
    pub(crate) fn listed(&self) -> String {
        let named = self.0.iter().map(|(name, count)| match count {
            1 => name.clone(),
            _ => format!("{count} {name}"),
        });
        let named: Vec<String> = named.collect();
        match named.is_empty() {
            true => "none of these".to_owned(),
            false => named.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QTREE: &str = "bus: main-system-bus\r\n  type System\r\n  dev: ioapic, id \"\"\r\n    \
        bus: pcie.0\r\n      type PCIE\r\n      dev: ich9-ahci, id \"\"\r\n        bus: ide.1\r\n          \
        type IDE\r\n";

    #[test]
    fn buses_are_read_and_what_has_no_place_is_reported() {
        let buses = Buses::of(&DeviceTree::parse(QTREE));
        assert_eq!(buses.names.len(), 3);
        let drivers = Drivers::from_help(
            "name \"e1000\", bus PCI\nname \"sb16\", bus ISA\nname \"ide-cd\", bus IDE\n\
             name \"usb-kbd\", bus usb-bus\nname \"qemu-xhci\", bus PCI\nname \"ide-hd\", bus IDE\n\
             name \"loader\"\n",
        );
        let obstacle = |driver: &str| {
            let set = DeviceSet::recipe(driver, "x86_64").expect(driver);
            buses.obstacle(&set, &drivers, "x86_64")
        };
        for driver in ["e1000", "usb-kbd", "ide-cd", "loader"] {
            assert_eq!(obstacle(driver), None, "{driver}");
        }
        assert_eq!(
            obstacle("sb16").as_deref(),
            Some("the machine has no ISA bus")
        );
        assert_eq!(
            obstacle("ide-hd").as_deref(),
            Some("the machine has no bus ide.0 for ide-hd")
        );
        let nothing = Buses::default();
        assert_eq!(buses.shared(&nothing), nothing);
    }
}
