//! A set of devices: parts of it, several joined, and the guests that it takes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::devices::{Device, DeviceError};
use crate::model::Pattern;

/// A named list of devices.
#[derive(Debug, Clone, Default)]
pub struct DeviceSet {
    pub name: String,
    pub description: String,
    /// The devices, each after all that it needs.
    pub devices: Vec<Device>,
    /// Drivers that no set can plug in, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// Drivers that no set plugs in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Patterns of their names.
    pub drivers: Vec<Pattern>,
    pub reason: String,
}

impl LeftOut {
    pub(super) fn covers(&self, driver: &str) -> bool {
        Pattern::any(&self.drivers, driver)
    }
}

impl DeviceSet {
    /// Joins sets to one with the devices of all of them, each once: shipped ids are unique, so the same id is
    /// the same device.
    pub fn union<'a>(name: &str, sets: impl IntoIterator<Item = &'a DeviceSet>) -> DeviceSet {
        let mut ids = BTreeSet::new();
        DeviceSet {
            name: name.to_owned(),
            devices: sets
                .into_iter()
                .flat_map(|set| &set.devices)
                .filter(|device| ids.insert(device.id.as_str()))
                .cloned()
                .collect(),
            ..DeviceSet::default()
        }
    }

    /// Makes a set of the devices of the user's own guest, each after all that it needs.
    pub(crate) fn of_guest(name: &str, devices: Vec<Device>) -> DeviceSet {
        DeviceSet {
            name: name.to_owned(),
            description: "the devices of the user's own guest".to_owned(),
            devices,
            ..DeviceSet::default()
        }
    }

    /// Selects some devices of the set with all that they need.
    ///
    /// # Errors
    /// The set has no device of an id.
    pub fn select(&self, ids: &[&str]) -> Result<DeviceSet, DeviceError> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        for &id in ids {
            let device = self.devices.iter().find(|d| d.id == id);
            let device = device.ok_or_else(|| DeviceError::UnknownDevice {
                set: self.name.clone(),
                wanted: id.to_owned(),
            })?;
            wanted.insert(&device.id);
        }
        Ok(self.closure(wanted))
    }

    /// Returns the set with a driver that no other one stands for, whichever buses the machine has.
    pub(super) fn pinned(mut self, driver: &str, arch: &str) -> DeviceSet {
        let of_driver = |device: &Device| {
            device.driver(arch) == driver || device.other_drivers(arch).any(|other| other == driver)
        };
        // What it needs comes before it.
        if let Some(device) = self
            .devices
            .iter_mut()
            .rev()
            .find(|device| of_driver(device))
        {
            *device = device.with_driver(driver);
        }
        self
    }

    /// Returns these devices of the set and what they need, in the order of the set.
    fn closure<'a>(&'a self, mut wanted: BTreeSet<&'a str>) -> DeviceSet {
        // Needs stand before their users.
        for device in self.devices.iter().rev() {
            if wanted.contains(device.id.as_str()) {
                wanted.extend(device.needs.iter().map(String::as_str));
            }
        }
        DeviceSet {
            name: self.name.clone(),
            description: self.description.clone(),
            devices: self
                .devices
                .iter()
                .filter(|device| wanted.contains(device.id.as_str()))
                .cloned()
                .collect(),
            left_out: self.left_out.clone(),
        }
    }

    /// Distributes the set over guests: where a guest has one of a kind, the others of it are in further guests.
    pub fn guests(&self) -> Vec<DeviceSet> {
        let mut members: BTreeMap<&str, usize> = BTreeMap::new();
        let mut guest_of: BTreeMap<&str, usize> = BTreeMap::new();
        for device in &self.devices {
            let mut guest = 0;
            if let Some(kind) = &device.one_of {
                let count = members.entry(kind).or_default();
                guest = *count;
                *count += 1;
            }
            // What hangs on a device goes where that goes.
            let needs = device.needs.iter().filter_map(|n| guest_of.get(n.as_str()));
            let guest = needs.copied().fold(guest, usize::max);
            guest_of.insert(&device.id, guest);
        }
        let count = 1 + guest_of.values().copied().max().unwrap_or_default();
        (0..count)
            .map(|guest| {
                let ids = guest_of.iter().filter(|&(_, &g)| g == guest);
                let mut set = self.closure(ids.map(|(&id, _)| id).collect());
                if guest > 0 {
                    set.name = format!("{}-{}", self.name, guest + 1);
                }
                set
            })
            .filter(|set| !set.devices.is_empty() || self.devices.is_empty())
            .collect()
    }
}
