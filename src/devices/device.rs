//! A device of a set.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::devices::Reason;
use crate::model::{MachineNames, Version};
use crate::qemu::option_value;

/// A device of a set, as the set's file has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name in reports, and the `id=`.
    pub id: String,
    /// By default the id.
    pub(super) driver: Option<String>,
    /// Other names of the driver, by the architectures that have them.
    #[serde(default)]
    pub(super) driver_on: BTreeMap<String, String>,
    /// Other names of the driver, by the types of bus that they sit on: for machines without the bus of the first.
    #[serde(default)]
    pub(super) driver_on_bus: BTreeMap<String, String>,
    /// The architectures that have it, every one when empty; the same goes for the machines. By default those of the set.
    pub(super) arch: Option<Vec<String>>,
    /// Families: `pc-q35` is every `pc-q35-*`.
    pub(super) machines: Option<MachineNames>,
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// A device of the set that it stands for where that one is not in the guest.
    pub(super) instead_of: Option<String>,
    pub(super) bus: Option<String>,
    #[serde(default)]
    pub(super) backend: Vec<String>,
    #[serde(default)]
    pub(super) properties: BTreeMap<String, Value>,
    /// The kind of which a guest has one: devices of the set with the same kind exclude each other.
    pub(super) one_of: Option<String>,
    /// A build cannot migrate it even to itself, for this reason.
    pub(super) unmigratable: Option<String>,
    /// The first release that can.
    pub(super) migratable_since: Option<Version>,
    /// The reason why devices after it would get other addresses than without it, if they would.
    pub(super) alone: Option<String>,
    /// The reason why a guest may not boot with it, if it may not.
    pub(super) boots_alone: Option<String>,
    #[serde(skip)]
    pub(super) form: Form,
    /// The reason why the machine has no place for it, where it has none.
    #[serde(skip)]
    pub(super) no_place: Option<Reason>,
}

/// The form that a device has on the command line.
#[derive(Debug, Clone, Default)]
pub(super) enum Form {
    /// Made of its bus, its backend and its properties.
    #[default]
    Described,
    /// Handed to `-device` as the user wrote it.
    Verbatim(String),
    /// All of its options, as the user's own guest has them.
    OfGuest(Vec<String>),
}

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a property is a text, a whole number, true or false"
)]
pub(super) enum Value {
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
            Value::Text(text) => f.write_str(&option_value(text)),
        }
    }
}

impl Device {
    /// Makes a device of the user's own guest: its options, and the ids of the devices that it needs.
    pub(crate) fn of_guest(
        id: String,
        driver: String,
        needs: Vec<String>,
        args: Vec<String>,
    ) -> Device {
        Device {
            id,
            driver: Some(driver),
            needs,
            form: Form::OfGuest(args),
            ..Device::default()
        }
    }

    /// Returns the name that `-device` takes on an architecture.
    pub fn driver(&self, arch: &str) -> &str {
        let driver = self.driver_on.get(arch).or(self.driver.as_ref());
        driver.unwrap_or(&self.id)
    }

    /// Returns the names that `-device` takes in its place, for machines without the bus of the first one.
    pub(crate) fn other_drivers(&self, arch: &str) -> impl Iterator<Item = &str> {
        let plain = self.driver.as_ref().unwrap_or(&self.id);
        let others = std::iter::once(plain).chain(self.driver_on_bus.values());
        let first = self.driver(arch).to_owned();
        others
            .map(String::as_str)
            .filter(move |&driver| driver != first)
    }

    /// Returns the same with one driver wherever it is plugged in.
    pub(crate) fn with_driver(&self, driver: &str) -> Device {
        Device {
            driver: Some(driver.to_owned()),
            driver_on: BTreeMap::new(),
            driver_on_bus: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Returns the same for a machine that has no place for it.
    pub(crate) fn without_place(&self, reason: Reason) -> Device {
        Device {
            no_place: Some(reason),
            ..self.clone()
        }
    }

    /// Returns the reason why the machine has no place for it, if it has none.
    pub(crate) fn no_place(&self) -> Option<Reason> {
        self.no_place.clone()
    }

    /// Tells whether it is a part of the user's own guest, which is none without it.
    pub(crate) fn is_of_guest(&self) -> bool {
        matches!(self.form, Form::OfGuest(_))
    }

    /// Tells whether it is given as `-device` takes it, rather than by a set.
    pub fn is_verbatim(&self) -> bool {
        matches!(self.form, Form::Verbatim(_))
    }

    /// Returns the ids of the devices that it needs directly.
    pub fn needs(&self) -> &[String] {
        &self.needs
    }

    /// Returns the bus that it is plugged into, if it names one.
    pub fn bus(&self) -> Option<&str> {
        self.bus.as_deref()
    }

    /// Tells whether a set gives it a property.
    pub(super) fn has_property(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// Tells whether a set gives it properties.
    pub(crate) fn is_given_properties(&self) -> bool {
        !self.properties.is_empty()
    }

    /// Returns the kind of which it is the only one in a guest.
    pub fn one_of(&self) -> Option<&str> {
        self.one_of.as_deref()
    }

    /// Tells whether it changes the addresses of the devices after it.
    pub fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// Tells whether a guest may not boot with it.
    pub(crate) fn boots_alone(&self) -> bool {
        self.boots_alone.is_some()
    }

    /// Returns the options for the machine itself that it comes with, `-machine nvdimm=on` for instance.
    pub fn board_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.backend.windows(2).filter_map(|pair| match pair {
            [option, value] => Some((option.as_str(), value.as_str())),
            _ => None,
        });
        pairs.filter(|(option, _)| matches!(*option, "-m" | "-machine" | "-M"))
    }

    pub(super) fn is_for_arch(&self, arch: &str) -> bool {
        let wanted = self.arch.as_deref().unwrap_or_default();
        wanted.is_empty() || wanted.iter().any(|a| a == arch)
    }

    pub(super) fn is_for_machine(&self, machine: &str) -> bool {
        let wanted = self.machines.as_ref();
        wanted.is_none_or(|wanted| wanted.is_empty() || wanted.include(Some(machine)))
    }
}
