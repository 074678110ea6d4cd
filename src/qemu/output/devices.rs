//! The devices and buses of a machine, as `info qtree` prints them.

use std::collections::BTreeMap;

use crate::qemu::qmp::HumanCommand;

/// The devices on the buses of a machine: each before those that are plugged into it.
#[derive(Debug, Default)]
pub(crate) struct DeviceTree {
    pub devices: Vec<Plugged>,
    pub buses: Vec<Bus>,
}

/// A device on a bus.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub type_name: String,
    /// Empty where it was given none.
    pub id: String,
    /// Number of the device whose bus it is on.
    pub parent: Option<usize>,
    /// The values of its properties, as they are printed.
    pub properties: BTreeMap<String, String>,
}

/// A bus of the machine or of a device.
#[derive(Debug)]
pub(crate) struct Bus {
    pub name: String,
    pub type_name: Option<String>,
}

impl DeviceTree {
    /// Returns the command of a monitor whose answer [`DeviceTree::parse`] reads.
    pub(crate) fn question() -> HumanCommand {
        HumanCommand::new("info qtree")
    }

    /// Reads the output of `info qtree`.
    pub(crate) fn parse(text: &str) -> DeviceTree {
        let mut tree = DeviceTree::default();
        // The devices that a line may be about, each with its indentation.
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let words = line.trim_start();
            let indentation = line.len() - words.len();
            // A type may have a comma in its name: `ARM,bitband-memory`.
            let device = words
                .strip_prefix("dev: ")
                .and_then(|words| words.rsplit_once(", id "));
            if let Some((type_name, id)) = device {
                while open.pop_if(|(at, _)| *at >= indentation).is_some() {}
                let parent = open.last().map(|(_, device)| *device);
                open.push((indentation, tree.devices.len()));
                tree.devices.push(Plugged {
                    type_name: type_name.to_owned(),
                    id: id.trim_end().trim_matches('"').to_owned(),
                    parent,
                    properties: BTreeMap::new(),
                });
                continue;
            }
            if let Some(name) = words.strip_prefix("bus: ") {
                let next = lines.peek().map_or("", |line| line.trim());
                tree.buses.push(Bus {
                    name: name.trim_end().to_owned(),
                    type_name: next.strip_prefix("type ").map(str::to_owned),
                });
                continue;
            }
            // Deeper ones are of its buses.
            let own = open.last().filter(|(at, _)| indentation == at + 2);
            let device = own.and_then(|(_, device)| tree.devices.get_mut(*device));
            if let Some((device, (name, value))) = device.zip(words.trim_end().split_once(" = ")) {
                let properties = &mut device.properties;
                properties
                    .entry(name.to_owned())
                    .or_insert(value.to_owned());
            }
        }
        tree
    }
}
