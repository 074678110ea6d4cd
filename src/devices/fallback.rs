//! Plugging in a device that no set has: by its bus and its properties.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::devices::{Device, DeviceSet, Driver, Value};
use crate::model::Pattern;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    bus: Vec<Bus>,
    property: Vec<Rule>,
    left_out: Vec<Excluded>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bus {
    name: String,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    arch: Vec<String>,
    #[serde(default)]
    needs: Vec<String>,
    plug: Option<String>,
    holds: Option<usize>,
}

/// A rule for the value of a property.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    bus: Option<String>,
    #[serde(default)]
    backend: Vec<String>,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excluded {
    category: Option<String>,
    bus: Option<String>,
    #[serde(default)]
    arch: Vec<String>,
    #[serde(default)]
    drivers: Vec<Pattern>,
    reason: String,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // Not external input: the file is part of the program, and a test reads it.
    toml::from_str(include_str!("../../device-sets/fallbacks.toml"))
        .unwrap_or_else(|error| unreachable!("device-sets/fallbacks.toml: {error}"))
});

fn fits(wanted: &[String], arch: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|a| a == arch)
}

/// The ways to plug in a driver that no set has.
#[derive(Debug)]
pub(crate) struct FallBack;

impl FallBack {
    /// Returns why a driver is not tried, if it is left out.
    pub(crate) fn left_out(driver: &str, facts: &Driver, arch: &str) -> Option<&'static str> {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        TABLE
            .left_out
            .iter()
            .find(|entry| {
                same(&entry.category, Some(&facts.category))
                    && same(&entry.bus, facts.bus.as_deref())
                    && fits(&entry.arch, arch)
                    && (entry.drivers.is_empty() || Pattern::any(&entry.drivers, driver))
            })
            .map(|entry| entry.reason.as_str())
    }

    /// Tells whether a bus of this type takes devices for that one.
    pub(crate) fn takes(bus: &str, wanted: &str) -> bool {
        let also = |entry: &Bus| entry.name == wanted && entry.also.iter().any(|also| also == bus);
        bus == wanted || TABLE.bus.iter().any(also)
    }

    /// Tells whether devices bring a bus of this type to machines without one.
    pub(crate) fn is_brought(bus: &str) -> bool {
        let brings = |entry: &Bus| entry.name == bus && !entry.needs.is_empty();
        TABLE.bus.iter().any(brings)
    }

    /// Returns how many devices a bus of this type takes, if there is an end to it.
    pub(crate) fn holds(bus: &str) -> Option<usize> {
        let entry = TABLE.bus.iter().find(|entry| entry.name == bus)?;
        entry.holds
    }

    /// Returns the device with what its bus and its properties need, and nothing of the host. A property has its name and
    /// its type, as a build lists them: `str` or `link<rng-backend>` for instance.
    /// `number` keeps it from other devices of the guest.
    pub(crate) fn recipe(
        driver: &str,
        facts: &Driver,
        properties: &[(String, String)],
        arch: &str,
        number: usize,
    ) -> DeviceSet {
        let bus = facts.bus.as_deref();
        let provider = TABLE
            .bus
            .iter()
            .find(|entry| Some(entry.name.as_str()) == bus && fits(&entry.arch, arch));
        let mut set = DeviceSet {
            name: driver.to_owned(),
            description: "by its bus and its properties".to_owned(),
            ..DeviceSet::default()
        };
        let mut device = Device {
            id: id_of(driver),
            driver: Some(driver.to_owned()),
            ..Device::default()
        };
        if let Some(provider) = provider {
            for id in &provider.needs {
                if let Some(with) = DeviceSet::with(id) {
                    set.devices.extend(with.devices);
                    device.needs.push(id.clone());
                }
            }
            device.bus.clone_from(&provider.plug);
        }
        for (name, kind) in properties {
            let rule = TABLE.property.iter().find(|rule| {
                let named = rule.name.as_ref().is_none_or(|of| of == name);
                let typed = rule.kind.as_ref().is_none_or(|of| of == kind);
                let there = rule.bus.is_none() || rule.bus.as_deref() == bus;
                named && typed && there
            });
            if let Some(rule) = rule {
                let id = format!("n{number}-{}", device.properties.len());
                let fitting = match kind.as_str() {
                    // From 1: a chassis 0 is none.
                    "uint8" => number % usize::from(u8::MAX) + 1,
                    _ => number,
                };
                let filled = |text: &String| {
                    text.replace("{id}", &id)
                        .replace("{n}", &fitting.to_string())
                };
                device.backend.extend(rule.backend.iter().map(filled));
                let value = Value::Text(filled(&rule.value));
                device.properties.insert(name.clone(), value);
            }
        }
        set.devices.push(device);
        set
    }
}

/// Makes an id of a driver's name, apart from those of the shipped devices.
fn id_of(driver: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '_'
        }
    };
    format!("any-{}", driver.chars().map(fit).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{Known, Target};

    fn composed(driver: &str, bus: Option<&str>, properties: &[(&str, &str)]) -> String {
        let facts = Driver {
            bus: bus.map(str::to_owned),
            category: "Misc devices".to_owned(),
        };
        let properties: Vec<(String, String)> = properties
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
            .collect();
        let set = FallBack::recipe(driver, &facts, &properties, "x86_64", 7);
        let target = Target {
            arch: "x86_64",
            machine: "pc-q35-7.2",
            old: Known::default(),
            new: Known::default(),
        };
        set.compose(&target).args.join(" ")
    }

    #[test]
    fn a_number_fits_into_its_property() {
        let facts = Driver {
            bus: Some("PCI".to_owned()),
            category: "Bridge devices".to_owned(),
        };
        for (number, kind, value) in [
            (7, "uint8", "8"),
            (254, "uint8", "255"),
            (255, "uint8", "1"),
            (403, "uint8", "149"),
            (403, "uint16", "403"),
        ] {
            let properties = [("chassis".to_owned(), kind.to_owned())];
            let set = FallBack::recipe("a-bridge", &facts, &properties, "aarch64", number);
            let chassis = &set.devices[0].properties["chassis"];
            assert_eq!(*chassis, Value::Text(value.to_owned()), "{number} {kind}");
        }
    }

    #[test]
    fn every_entry_names_what_exists_and_says_why() {
        for bus in &TABLE.bus {
            for id in &bus.needs {
                assert!(DeviceSet::with(id).is_some(), "{}: {id}", bus.name);
            }
            assert_eq!(bus.needs.is_empty(), bus.plug.is_none(), "{}", bus.name);
        }
        for rule in &TABLE.property {
            assert!(rule.name.is_some() || rule.kind.is_some(), "{rule:?}");
        }
        for entry in &TABLE.left_out {
            assert!(!entry.reason.is_empty());
        }
    }

    #[test]
    fn an_unknown_device_gets_its_bus_and_its_backends() {
        let properties = [("drive", "str"), ("lun", "uint32")];
        assert_eq!(
            composed("new-disk", Some("SCSI"), &properties),
            "-device virtio-scsi-pci,id=virtio-scsi-pci \
             -blockdev null-co,node-name=n7-0,size=67108864,read-zeroes=on \
             -device new-disk,id=any-new-disk,bus=virtio-scsi-pci.0,drive=n7-0"
        );
        assert_eq!(
            composed("SUNW,new", None, &[("source", "link<rng-backend>")]),
            "-object rng-builtin,id=n7-0 -device SUNW,,new,id=any-SUNW_new,source=n7-0"
        );
    }

    #[test]
    fn a_cpu_is_no_device_to_plug_in() {
        let cpu = Driver {
            bus: None,
            category: "CPU devices".to_owned(),
        };
        assert!(FallBack::left_out("qemu64-x86_64-cpu", &cpu, "x86_64").is_some());
        let card = Driver {
            bus: Some("PCI".to_owned()),
            category: "Network devices".to_owned(),
        };
        assert!(FallBack::left_out("e1000", &card, "x86_64").is_none());
        assert!(FallBack::left_out("e1000", &card, "s390x").is_some());
        assert!(FallBack::takes("PCIE", "PCI"));
        assert!(!FallBack::takes("PCI", "PCIE"));
    }
}
