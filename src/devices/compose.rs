//! The command line of a set for a pair of builds, and the reasons why devices are not on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::devices::{Device, DeviceSet, Drivers, Form, Reason};
use crate::model::{Side, Version};
use crate::qemu::option_value;

/// The facts about a build that decide on its devices.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    pub version: Option<Version>,
    /// The drivers that its `-device` takes. Without them, it is taken to have all.
    pub drivers: Option<&'a Drivers>,
    /// The properties that it lists for some of them, by the driver. One that is not there is taken to have all.
    pub properties: Option<&'a ListedProperties>,
}

/// The names of the properties that a build lists for drivers.
pub(crate) type ListedProperties = BTreeMap<String, BTreeSet<String>>;

/// The builds and the machine that a command line is for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The end of `qemu-system-ARCH`.
    pub arch: &'a str,
    /// The machine type, `pc-q35-7.2` for instance, or two that are paired.
    pub machine: &'a str,
    pub old: Known<'a>,
    pub new: Known<'a>,
}

/// Arguments that plug a set into a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Composition {
    /// The arguments, the same for source and destination; `-M`, memory and the like come before.
    pub args: Vec<String>,
    /// Ids of the devices in the guest, in the order of the command line.
    pub included: Vec<String>,
    /// The devices that are not in the guest.
    pub excluded: Vec<Exclusion>,
}

/// A device of the set that is not in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{device}: {reason}")]
pub struct Exclusion {
    /// The id.
    pub device: String,
    pub driver: String,
    pub reason: Reason,
}

/// Returns the release that a build is or becomes.
fn release(version: Version) -> (u32, u32) {
    // 7.2.50 and 7.2.90 are on the way to 8.0; there are three releases a year, .0 to .2.
    match (version.micro >= 50, version.minor) {
        (false, minor) => (version.major, minor),
        (true, 0 | 1) => (version.major, version.minor + 1),
        (true, _) => (version.major + 1, 0),
    }
}

impl DeviceSet {
    /// Composes the command line for a pair of builds.
    pub fn compose(&self, target: &Target) -> Composition {
        let mut composition = Composition::default();
        let mut taken: BTreeMap<&String, &String> = BTreeMap::new();
        for device in &self.devices {
            let missing = device
                .needs
                .iter()
                .find(|need| !composition.included.contains(need));
            // What is wrong with the device itself says more than what is wrong with its bus.
            let reason = device
                .obstacle(target)
                .or_else(|| {
                    missing.map(|need| Reason::Needs {
                        device: need.clone(),
                    })
                })
                .or_else(|| {
                    let other = device.instead_of.as_ref()?;
                    let is_there = composition.included.contains(other);
                    is_there.then(|| Reason::Instead {
                        device: other.clone(),
                    })
                })
                .or_else(|| {
                    let kind = device.one_of.as_ref()?;
                    taken.get(kind).map(|&by| Reason::OneOf {
                        kind: kind.clone(),
                        taken_by: by.clone(),
                    })
                });
            match reason {
                None => {
                    if let Some(kind) = &device.one_of {
                        taken.insert(kind, &device.id);
                    }
                    composition.args.extend(device.args(target.arch));
                    composition.included.push(device.id.clone());
                }
                Some(reason) => composition.excluded.push(Exclusion {
                    device: device.id.clone(),
                    driver: device.driver(target.arch).to_owned(),
                    reason,
                }),
            }
        }
        composition
    }
}

impl Device {
    /// Returns what keeps the device itself out of the guest.
    fn obstacle(&self, target: &Target) -> Option<Reason> {
        if !self.is_for_arch(target.arch) {
            return Some(Reason::Architecture {
                arch: target.arch.to_owned(),
            });
        }
        if !self.is_for_machine(target.machine) {
            return Some(Reason::Machine {
                machine: target.machine.to_owned(),
            });
        }
        if let Some(reason) = self.no_place() {
            return Some(reason);
        }
        let driver = self.driver(target.arch);
        let lacks = |build: Known| build.drivers.is_some_and(|names| !names.contains(driver));
        if let Some(side) = side(lacks(target.old), lacks(target.new)) {
            return Some(Reason::Absent { side });
        }
        if let Some(reason) = self.unknown_property(driver, target) {
            return Some(reason);
        }
        if let Some(reason) = &self.unmigratable {
            let stuck = |build: Known| match (self.migratable_since, build.version) {
                (Some(since), Some(version)) => release(version) < release(since),
                // A property that is not known is left to the migration.
                (Some(_), None) => false,
                (None, _) => true,
            };
            if let Some(side) = side(stuck(target.old), stuck(target.new)) {
                return Some(Reason::Unmigratable {
                    side,
                    reason: reason.clone(),
                    since: self.migratable_since,
                });
            }
        }
        None
    }

    /// Returns which of the properties that the set gives it a build does not know, if there is one.
    fn unknown_property(&self, driver: &str, target: &Target) -> Option<Reason> {
        let lacks = |build: Known, name: &String| {
            let listed = build.properties.and_then(|all| all.get(driver));
            listed.is_some_and(|listed| !listed.contains(name))
        };
        self.properties.keys().find_map(|name| {
            let side = side(lacks(target.old, name), lacks(target.new, name))?;
            Some(Reason::Property {
                side,
                driver: driver.to_owned(),
                property: name.clone(),
            })
        })
    }

    /// Returns the words that plug it in on an architecture.
    pub(crate) fn args(&self, arch: &str) -> Vec<String> {
        match &self.form {
            Form::Verbatim(argument) => vec!["-device".to_owned(), argument.clone()],
            Form::OfGuest(args) => args.clone(),
            Form::Described => {
                let driver = option_value(self.driver(arch));
                let mut text = format!("{driver},id={}", self.id);
                if let Some(bus) = &self.bus {
                    text.push_str(&format!(",bus={bus}"));
                }
                for (name, value) in &self.properties {
                    text.push_str(&format!(",{name}={value}"));
                }
                let mut args = self.backend.clone();
                args.push("-device".to_owned());
                args.push(text);
                args
            }
        }
    }
}

/// Returns the side on which something holds, if on any.
fn side(old: bool, new: bool) -> Option<Side> {
    match (old, new) {
        (true, true) => Some(Side::Both),
        (true, false) => Some(Side::Old),
        (false, true) => Some(Side::New),
        (false, false) => None,
    }
}
