//! A device of a set.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::model::{MachineNames, Version};
use crate::qemu::option_value;

/// A device of a set.
#[derive(Debug, Clone)]
pub struct Device {
    /// The name in reports, and the `id=`.
    pub id: String,
    pub(super) driver: String,
    /// Other names of the driver, by the architectures that have them.
    pub(super) driver_on: BTreeMap<String, String>,
    /// The architectures that have it, every one when empty; the same goes for the machines.
    pub(super) arch: Vec<String>,
    /// Families: `pc-q35` is every `pc-q35-*`.
    pub(super) machines: MachineNames,
    pub(super) since: Option<Version>,
    pub(super) until: Option<Version>,
    pub(super) needs: Vec<String>,
    /// The kind of which a guest has one: devices of the set with the same kind exclude each other.
    pub(super) one_of: Option<String>,
    /// A build cannot migrate it even to itself, for this reason.
    pub(super) unmigratable: Option<String>,
    /// The first release that can.
    pub(super) migratable_since: Option<Version>,
    /// Devices after it would get other addresses than without it.
    pub(super) alone: bool,
    /// A guest may not boot with it.
    pub(super) boots_alone: bool,
    pub(super) form: Form,
}

/// The form that a device has on the command line.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Described {
        bus: Option<String>,
        backend: Vec<String>,
        properties: BTreeMap<String, Value>,
    },
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
        id: &str,
        driver: &str,
        needs: Vec<String>,
        args: Vec<String>,
    ) -> Device {
        Device::plain(id.to_owned(), driver, needs, Form::OfGuest(args))
    }

    /// Makes a device that is the same wherever it can be had.
    pub(super) fn plain(id: String, driver: &str, needs: Vec<String>, form: Form) -> Device {
        Device {
            id,
            driver: driver.to_owned(),
            driver_on: BTreeMap::new(),
            arch: Vec::new(),
            machines: MachineNames::default(),
            since: None,
            until: None,
            needs,
            one_of: None,
            unmigratable: None,
            migratable_since: None,
            alone: false,
            boots_alone: false,
            form,
        }
    }

    /// Returns the name that `-device` takes on an architecture.
    pub fn driver(&self, arch: &str) -> &str {
        self.driver_on.get(arch).unwrap_or(&self.driver)
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
        match &self.form {
            Form::Described { bus, .. } => bus.as_deref(),
            Form::Verbatim(_) | Form::OfGuest(_) => None,
        }
    }

    /// Tells whether a set gives it a property.
    pub(super) fn has_property(&self, name: &str) -> bool {
        match &self.form {
            Form::Described { properties, .. } => properties.contains_key(name),
            Form::Verbatim(_) | Form::OfGuest(_) => false,
        }
    }

    /// Returns the kind of which it is the only one in a guest.
    pub fn one_of(&self) -> Option<&str> {
        self.one_of.as_deref()
    }

    /// Tells whether it changes the addresses of the devices after it.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Tells whether a guest may not boot with it.
    pub(crate) fn boots_alone(&self) -> bool {
        self.boots_alone
    }

    /// Returns the options for the machine itself that it comes with, `-machine nvdimm=on` for instance.
    pub fn board_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let backend = match &self.form {
            Form::Described { backend, .. } => backend.as_slice(),
            Form::Verbatim(_) | Form::OfGuest(_) => &[],
        };
        let pairs = backend.windows(2).filter_map(|pair| match pair {
            [option, value] => Some((option.as_str(), value.as_str())),
            _ => None,
        });
        pairs.filter(|(option, _)| matches!(*option, "-m" | "-machine" | "-M"))
    }

    pub(super) fn is_for_arch(&self, arch: &str) -> bool {
        self.arch.is_empty() || self.arch.iter().any(|a| a == arch)
    }

    pub(super) fn is_for_machine(&self, machine: &str) -> bool {
        self.machines.is_empty() || self.machines.include(Some(machine))
    }
}
