//! The buses of a bare machine, into which devices are plugged, and the devices that it has on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::{Device, DeviceSet, Drivers, FallBack, Reason};
use crate::qemu::output::devices::DeviceTree;

/// The buses of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Buses {
    names: BTreeSet<String>,
    /// The number of buses of each type.
    types: BTreeMap<String, usize>,
}

impl Buses {
    /// Returns the buses of a machine.
    pub(crate) fn of(tree: &DeviceTree) -> Buses {
        let mut types = BTreeMap::new();
        for bus in tree.buses.iter().filter_map(|bus| bus.type_name.clone()) {
            *types.entry(bus).or_default() += 1;
        }
        Buses {
            names: tree.buses.iter().map(|bus| bus.name.clone()).collect(),
            types,
        }
    }

    /// Returns the buses that both machines have.
    pub(crate) fn shared(&self, other: &Buses) -> Buses {
        let types = self.types.iter().filter_map(|(name, count)| {
            let count = (*count).min(*other.types.get(name)?);
            Some((name.clone(), count))
        });
        let types = types.collect();
        Buses {
            names: &self.names & &other.names,
            types,
        }
    }

    fn takes(&self, wanted: &str) -> bool {
        self.types.keys().any(|bus| FallBack::takes(bus, wanted))
    }

    /// Returns how many devices the buses of a type take, if there is an end to it.
    fn room(&self, wanted: &str) -> Option<usize> {
        let buses = self
            .types
            .iter()
            .filter(|(bus, _)| FallBack::takes(bus, wanted));
        Some(FallBack::holds(wanted)? * buses.map(|(_, count)| count).sum::<usize>())
    }

    /// Returns the set as the machine takes it: with other drivers where it lacks the bus of the first ones, and with a
    /// mark on the devices that have no place on it. Devices that are given word for word stay as they are.
    pub(crate) fn place(&self, set: &DeviceSet, drivers: &Drivers, arch: &str) -> DeviceSet {
        let bus = |driver: &str| drivers.get(driver).map(|facts| facts.bus.as_deref());
        let takes =
            |driver: &str| bus(driver).is_some_and(|bus| bus.is_none_or(|bus| self.takes(bus)));
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        let place = |(before, device): (usize, &Device)| {
            let first = device.driver(arch);
            // What is needed brings the bus.
            let is_sure =
                device.is_verbatim() || device.bus().is_some() || !device.needs().is_empty();
            if is_sure {
                return device.clone();
            }
            let mut drivers = std::iter::once(first).chain(device.other_drivers(arch));
            let Some(driver) = drivers.find(|&driver| takes(driver)) else {
                return match bus(first).flatten() {
                    // Nobody has to say that a disk needs the controller before it.
                    Some(bus) if before > 0 && FallBack::is_brought(bus) => device.clone(),
                    Some(bus) => device.without_place(Reason::NoBus {
                        bus: bus.to_owned(),
                    }),
                    // The build does not have it.
                    None => device.clone(),
                };
            };
            let bus = bus(driver).flatten();
            if let Some((bus, room)) = bus.and_then(|bus| Some((bus, self.room(bus)?))) {
                let used = used.entry(bus).or_default();
                if *used >= room {
                    let bus = bus.to_owned();
                    return device.without_place(Reason::BusFull { bus });
                }
                *used += 1;
            }
            match driver == first {
                true => device.clone(),
                false => device.with_driver(driver),
            }
        };
        DeviceSet {
            devices: set.devices.iter().enumerate().map(place).collect(),
            ..set.clone()
        }
    }

    /// Returns why no way to plug in a driver has a place on this machine, if none has.
    pub(crate) fn no_place(&self, driver: &str, drivers: &Drivers, arch: &str) -> Option<Reason> {
        let facts = drivers.get(driver)?;
        if facts.bus.as_deref().is_none_or(|bus| self.takes(bus)) {
            return None;
        }
        let mut ways = DeviceSet::recipes(driver, arch);
        ways.push(FallBack::recipe(driver, facts, &[], arch, 0));
        let lacking = ways.iter().map(|way| {
            let placed = self.place(way, drivers, arch);
            placed.devices.iter().find_map(Device::no_place)
        });
        // The plainest way's reason is the one to report.
        lacking.collect::<Option<Vec<Reason>>>()?.into_iter().next()
    }

    /// Returns the way to plug in a driver which stands for another one on machines without the bus of that, if this is such a
    /// machine.
    pub(crate) fn other_form(
        &self,
        driver: &str,
        drivers: &Drivers,
        arch: &str,
    ) -> Option<DeviceSet> {
        DeviceSet::other_forms(driver, arch)
            .into_iter()
            .find(|set| {
                let placed = self.place(set, drivers, arch);
                let mut devices = placed.devices.iter();
                devices.any(|device| device.driver(arch) == driver)
            })
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
            let bus = bus.to_owned();
            (!there).then(|| Reason::NoBus { bus }.to_string())
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

    #[test]
    fn devices_get_the_bus_that_the_machine_has_as_long_as_there_is_one() {
        let transports = |count: usize| {
            let bus = "  bus: virtio-mmio-bus.0\r\n    type virtio-mmio-bus\r\n";
            Buses::of(&DeviceTree::parse(&bus.repeat(count)))
        };
        let drivers = Drivers::from_help(
            "name \"virtio-net-pci\", bus PCI\nname \"virtio-blk-pci\", bus PCI\nname \"qemu-xhci\", bus PCI\n\
             name \"virtio-net-device\", bus virtio-bus\nname \"virtio-blk-device\", bus virtio-bus\n",
        );
        let set = DeviceSet::shipped("default").expect("shipped");
        let set = set
            .select(&["net0", "blk0", "tablet0"])
            .expect("devices of it");
        let placed = |buses: &Buses| -> Vec<String> {
            let placed = buses.place(&set, &drivers, "x86_64");
            let says = |device: &Device| match device.no_place() {
                Some(reason) => format!("{}: {reason}", device.id),
                None => device.driver("x86_64").to_owned(),
            };
            placed.devices.iter().map(says).collect()
        };
        let no_pci = "usb0: the machine has no PCI bus";
        let two = [
            "virtio-net-device",
            "virtio-blk-device",
            no_pci,
            "usb-tablet",
        ];
        assert_eq!(placed(&transports(2)), two);
        let full = "blk0: the machine has no virtio-bus bus left";
        assert_eq!(
            placed(&transports(1)),
            ["virtio-net-device", full, no_pci, "usb-tablet"]
        );
        let pci = Buses::of(&DeviceTree::parse(QTREE));
        let all = [
            "virtio-net-pci",
            "virtio-blk-pci",
            "qemu-xhci",
            "usb-tablet",
        ];
        assert_eq!(placed(&pci), all);
    }

    #[test]
    fn a_bus_that_devices_bring_may_come_with_one_before() {
        let tree = "  bus: virtio-mmio-bus.0\r\n    type virtio-mmio-bus\r\n";
        let buses = Buses::of(&DeviceTree::parse(tree));
        let drivers = Drivers::from_help(
            "name \"virtio-scsi-device\", bus virtio-bus\nname \"virtio-net-device\", bus virtio-bus\n\
             name \"scsi-hd\", bus SCSI\nname \"e1000\", bus PCI\n",
        );
        for (devices, lacking) in [
            (&["virtio-scsi-device", "scsi-hd"][..], &[][..]),
            (&["scsi-hd"], &["scsi-hd"]),
            (&["scsi-hd", "virtio-scsi-device"], &["scsi-hd"]),
            // Boards bring it.
            (&["virtio-scsi-device", "e1000"], &["e1000"]),
            // There is one transport, also for those that have no other form.
            (
                &["virtio-scsi-device", "virtio-net-device"],
                &["virtio-net-device"],
            ),
        ] {
            let device = |id: &&str| format!("[[device]]\nid = \"{id}\"\n");
            let devices: String = devices.iter().map(device).collect();
            let text = format!("name = \"mine\"\ndescription = \"mine\"\n{devices}");
            let set = DeviceSet::parse("mine.toml", &text).expect("a set");
            let placed = buses.place(&set, &drivers, "x86_64");
            let has_none = |device: &&Device| device.no_place().is_some();
            let without = placed.devices.iter().filter(has_none);
            let without: Vec<&str> = without.map(|device| &*device.id).collect();
            assert_eq!(without, lacking, "{text}");
        }
    }
}
