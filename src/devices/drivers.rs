//! The drivers that the `-device` of a build takes.

use std::collections::BTreeMap;

/// A driver, as a build's help has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    /// The type of the bus that it sits on, if it sits on one.
    pub bus: Option<String>,
    /// The heading that it stands under: `Network devices`.
    pub category: String,
}

impl Driver {
    /// Tells whether it is a CPU model, which `-device help` lists as well.
    pub fn is_cpu(&self) -> bool {
        self.category == "CPU devices"
    }
}

/// The drivers that a build's `-device` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drivers {
    names: BTreeMap<String, Driver>,
    /// Drivers by their other names.
    aliases: BTreeMap<String, String>,
}

impl Drivers {
    /// Reads what `-device help` prints.
    pub fn from_help(help: &str) -> Drivers {
        // name "virtio-net-pci", bus PCI, alias "virtio-net", desc "..."
        fn quoted(text: &str) -> Option<(&str, &str)> {
            text.strip_prefix('"')?.split_once('"')
        }
        let mut drivers = Drivers::default();
        let mut category = "";
        for line in help.lines() {
            if let Some(heading) = line.strip_suffix(':').filter(|l| !l.starts_with("name ")) {
                category = heading;
                continue;
            }
            let Some((name, rest)) = line.trim_start().strip_prefix("name ").and_then(quoted)
            else {
                continue;
            };
            // A description may hold anything, and comes last.
            let facts = rest.split(", desc \"").next().unwrap_or_default();
            let bus = facts.split_once(", bus ").map(|(_, bus)| bus);
            let bus = bus.and_then(|bus| bus.split(',').next()).map(str::to_owned);
            let category = category.to_owned();
            // Some stand under several headings.
            let driver = drivers.names.entry(name.to_owned());
            driver.or_insert(Driver { bus, category });
            let alias = facts
                .split_once(", alias ")
                .and_then(|(_, alias)| quoted(alias));
            if let Some((alias, _)) = alias {
                drivers.aliases.insert(alias.to_owned(), name.to_owned());
            }
        }
        drivers
    }

    /// Tells whether `-device NAME` is known, be it by an alias.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.aliases.contains_key(name)
    }

    /// Returns the drivers, without aliases and sorted. CPU models are among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Tells whether there is a driver that sits on a type of bus.
    pub(crate) fn are_for(&self, bus: &str) -> bool {
        self.names.values().any(|of| of.bus.as_deref() == Some(bus))
    }

    /// Returns what is known of a driver, be it asked for by an alias.
    pub fn get(&self, name: &str) -> Option<&Driver> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.names.get(name)
    }
}
