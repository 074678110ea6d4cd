//! Device sets: what to plug into a guest, as data, and the command line that does it.
//!
//! A set is a TOML file (`device-sets/README.md` describes it). Composing one for a pair of builds
//! gives arguments that are the same for source and destination, and says of every device that is
//! not among them why.

mod compose;
mod drivers;
mod fallback;
mod given;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;

pub use compose::{Composition, Exclusion, Known, Reason, Target};
pub use drivers::{Driver, Drivers};
pub use fallback::{FallBack, Property};

use crate::model::{Pattern, Version};

macro_rules! shipped_file {
    ($name:literal) => {
        (
            concat!("device-sets/", $name, ".toml"),
            include_str!(concat!("../../device-sets/", $name, ".toml")),
        )
    };
}

/// The sets that come with the program; the first one is what a run without a choice takes.
const SHIPPED: &[(&str, &str)] = &[
    shipped_file!("default"),
    shipped_file!("bare"),
    shipped_file!("network"),
    shipped_file!("storage"),
    shipped_file!("usb"),
    shipped_file!("display"),
    shipped_file!("sound"),
    shipped_file!("platform"),
    shipped_file!("memory"),
    shipped_file!("bridges"),
    shipped_file!("can"),
    shipped_file!("cxl"),
];

/// Parsed once; that they are good is a matter of this package's tests, not of any input.
static SETS: LazyLock<Vec<DeviceSet>> = LazyLock::new(|| {
    SHIPPED
        .iter()
        .map(|(file, text)| {
            DeviceSet::parse(file, text).unwrap_or_else(|e| panic!("a shipped device set: {e}"))
        })
        .collect()
});

/// A device set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("cannot read the device set {}: {source}", file.display())]
    Io {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{file}:{line}: {reason}")]
    Malformed {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("there is no device set `{wanted}`; there are {known}")]
    UnknownSet { wanted: String, known: String },
    #[error("device set {set} has no device `{wanted}`")]
    UnknownDevice { set: String, wanted: String },
    #[error("--device {argument}: {reason}")]
    Argument { argument: String, reason: String },
}

/// A named list of devices.
#[derive(Debug, Clone)]
pub struct DeviceSet {
    pub name: String,
    pub description: String,
    /// Each stands after all that it needs.
    pub devices: Vec<Device>,
    /// Drivers that no set can plug in, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A device of a set.
#[derive(Debug, Clone)]
pub struct Device {
    /// What reports call it, and its `id=`.
    pub id: String,
    driver: String,
    /// Where an architecture has the device under another name.
    driver_on: BTreeMap<String, String>,
    /// Every one when empty; the same goes for the machines.
    arch: Vec<String>,
    /// Families: `pc-q35` is every `pc-q35-*`.
    machines: Vec<String>,
    since: Option<Version>,
    until: Option<Version>,
    needs: Vec<String>,
    /// A guest has one of these: the devices of the set that name the same thing keep each other out.
    one_of: Option<String>,
    /// A build cannot migrate it even to itself, for this reason.
    unmigratable: Option<String>,
    /// The first release that can.
    migratable_since: Option<Version>,
    /// What comes after it would land elsewhere than without it.
    alone: bool,
    form: Form,
}

/// What the command line has for a device.
#[derive(Debug, Clone)]
enum Form {
    Described {
        bus: Option<String>,
        backend: Vec<String>,
        properties: BTreeMap<String, Value>,
    },
    /// Handed to `-device` as the user wrote it.
    Verbatim(String),
}

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a property is a text, a whole number, true or false"
)]
enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(true) => f.write_str("on"),
            Value::Switch(false) => f.write_str("off"),
            Value::Number(number) => number.fmt(f),
            // QEMU's way to have a comma in a value.
            Value::Text(text) => f.write_str(&text.replace(',', ",,")),
        }
    }
}

/// Drivers that no set plugs in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    pub drivers: Vec<Pattern>,
    pub reason: String,
}

impl LeftOut {
    fn covers(&self, driver: &str) -> bool {
        Pattern::any(&self.drivers, driver)
    }
}

impl DeviceSet {
    /// The shipped sets, `default` first.
    pub fn all() -> &'static [DeviceSet] {
        &SETS
    }

    /// A shipped set by name.
    pub fn shipped(name: &str) -> Result<&'static DeviceSet, DeviceError> {
        let found = SETS.iter().find(|set| set.name == name);
        found.ok_or_else(|| DeviceError::UnknownSet {
            wanted: name.to_owned(),
            known: SETS
                .iter()
                .map(|s| s.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// How to plug in one driver: the device as a shipped set has it, and what it needs.
    pub fn recipe(driver: &str, arch: &str) -> Option<DeviceSet> {
        DeviceSet::recipes(driver, arch).into_iter().next()
    }

    /// All ways to plug in one driver that the shipped sets have for an architecture, the plainest
    /// first.
    pub fn recipes(driver: &str, arch: &str) -> Vec<DeviceSet> {
        let mut found: Vec<(bool, DeviceSet)> = SETS
            .iter()
            .flat_map(|set| set.devices.iter().map(move |device| (set, device)))
            .filter(|(_, device)| device.driver(arch) == driver && device.is_for_arch(arch))
            .filter_map(|(set, device)| {
                let mut recipe = set.select(&[device.id.as_str()]).ok()?;
                recipe.name = driver.to_owned();
                Some((device.id != driver, recipe))
            })
            .collect();
        // An entry of the driver's own name is plainer than one that another device wanted in a
        // certain place.
        found.sort_by_key(|&(elsewhere, _)| elsewhere);
        found.into_iter().map(|(_, recipe)| recipe).collect()
    }

    /// A shipped device by its id, with all that it needs.
    pub fn with(id: &str) -> Option<DeviceSet> {
        SETS.iter().find_map(|set| set.select(&[id]).ok())
    }

    /// One set with the devices of all of them, each once: shipped ids are unique, so the same id is
    /// the same device.
    pub fn union<'a>(name: &str, sets: impl IntoIterator<Item = &'a DeviceSet>) -> DeviceSet {
        let mut ids = BTreeSet::new();
        DeviceSet {
            name: name.to_owned(),
            description: String::new(),
            devices: sets
                .into_iter()
                .flat_map(|set| &set.devices)
                .filter(|device| ids.insert(device.id.as_str()))
                .cloned()
                .collect(),
            left_out: Vec::new(),
        }
    }

    /// Why no shipped set has a driver, where that is for a reason.
    pub fn left_out(driver: &str) -> Option<&'static str> {
        SETS.iter()
            .flat_map(|set| &set.left_out)
            .find(|entry| entry.covers(driver))
            .map(|entry| entry.reason.as_str())
    }

    /// Some devices of the set with all that they need.
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

    /// These devices of the set and what they need, in the order of the set.
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

    /// The set as guests: where a guest has one of a kind, the others of it are in further guests.
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
                let ids: Vec<&str> = guest_of
                    .iter()
                    .filter(|&(_, &g)| g == guest)
                    .map(|(&id, _)| id)
                    .collect();
                let mut set = self.closure(ids.into_iter().collect());
                if guest > 0 {
                    set.name = format!("{}-{}", self.name, guest + 1);
                }
                set
            })
            .filter(|set| !set.devices.is_empty() || self.devices.is_empty())
            .collect()
    }
}

impl Device {
    /// The name that `-device` takes on an architecture.
    pub fn driver(&self, arch: &str) -> &str {
        self.driver_on.get(arch).unwrap_or(&self.driver)
    }

    /// Ids of the devices that it needs directly.
    pub fn needs(&self) -> &[String] {
        &self.needs
    }

    /// Where it sits, if it says so.
    pub fn bus(&self) -> Option<&str> {
        match &self.form {
            Form::Described { bus, .. } => bus.as_deref(),
            Form::Verbatim(_) => None,
        }
    }

    /// What it is the only one of in a guest.
    pub fn one_of(&self) -> Option<&str> {
        self.one_of.as_deref()
    }

    /// Whether it changes where the devices after it land.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// The options for the machine itself that it comes with, `-machine nvdimm=on` for instance.
    pub fn board_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let backend = match &self.form {
            Form::Described { backend, .. } => backend.as_slice(),
            Form::Verbatim(_) => &[],
        };
        let pairs = backend.windows(2).filter_map(|pair| match pair {
            [option, value] => Some((option.as_str(), value.as_str())),
            _ => None,
        });
        pairs.filter(|(option, _)| matches!(*option, "-m" | "-machine" | "-M"))
    }

    fn is_for_arch(&self, arch: &str) -> bool {
        self.arch.is_empty() || self.arch.iter().any(|a| a == arch)
    }

    fn is_for_machine(&self, machine: &str) -> bool {
        self.machines.is_empty()
            || self.machines.iter().any(|family| {
                machine
                    .strip_prefix(family.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
    }
}

#[cfg(test)]
mod tests;
