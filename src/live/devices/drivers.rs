//! What the `-device` of a build takes.

use std::collections::{BTreeMap, BTreeSet};

/// The drivers that a build's `-device` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drivers {
    names: BTreeSet<String>,
    /// Another name for a driver, and the driver.
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
        for line in help.lines() {
            let Some((name, rest)) = line.trim_start().strip_prefix("name ").and_then(quoted)
            else {
                continue;
            };
            drivers.names.insert(name.to_owned());
            // A description may hold anything, and comes last.
            let facts = rest.split(", desc \"").next().unwrap_or_default();
            let alias = facts
                .split_once(", alias ")
                .and_then(|(_, alias)| quoted(alias));
            if let Some((alias, _)) = alias {
                drivers.aliases.insert(alias.to_owned(), name.to_owned());
            }
        }
        drivers
    }

    /// Whether `-device NAME` is known, be it by an alias.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.aliases.contains_key(name)
    }

    /// The drivers, without aliases and sorted. CPU models are among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}
