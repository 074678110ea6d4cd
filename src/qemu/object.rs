//! An object of a started machine, and the values of its properties.

use std::collections::{BTreeMap, BTreeSet};

use qapi::qmp::ObjectPropertyInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The machine, a CPU or a device of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// The place in the tree of objects, for instance `/machine/peripheral/net0`.
    pub path: String,
    pub type_name: String,
    pub kind: Kind,
    /// Set for a virtio device, whatever bus it is plugged into.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_virtio: bool,
    /// The features that a virtio device offers, by the build's own names, where it tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offers: Option<BTreeSet<String>>,
    /// Names of the blocks of memory that it owns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub memory: BTreeSet<String>,
    /// The properties by name. Empty where they were not asked for. A part of a machine's property with
    /// several parts is called `memory.size`.
    pub properties: BTreeMap<String, Setting>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Machine,
    /// A CPU of the machine.
    Cpu,
    /// A CPU model that the machine could have.
    #[serde(rename = "cpu-model")]
    CpuModel,
    #[default]
    Device,
}

/// The value of a property, and its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub value: Value,
    /// The value where neither the machine type nor an option sets it, if the type has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Set if it turns on a feature that a virtio device offers its driver, or that a CPU has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_feature: bool,
}

impl Setting {
    /// Tells whether it is a switch that is on.
    pub fn is_on(&self) -> bool {
        is_on(&self.value)
    }

    /// Tells whether the machine type or an option gave it another value than its type has for it.
    /// `None` where the type has none.
    pub fn is_pinned(&self) -> Option<bool> {
        self.default
            .as_ref()
            .map(|default| !same(default, &self.value))
    }
}

/// Tells whether a value is that of a switch that is on.
pub fn is_on(value: &Value) -> bool {
    same(value, &Value::Bool(true))
}

/// Tells whether two values mean the same: a switch is `true` in one version and `on` in the next.
pub fn same(one: &Value, other: &Value) -> bool {
    fn switch(value: &Value) -> Option<bool> {
        match value {
            Value::Bool(on) => Some(*on),
            Value::String(text) if text == "on" => Some(true),
            Value::String(text) if text == "off" => Some(false),
            _ => None,
        }
    }
    one == other || switch(one).is_some_and(|on| Some(on) == switch(other))
}

/// Returns the type of the child that a property is, if it is one.
pub(super) fn child(property: &ObjectPropertyInfo) -> Option<&str> {
    property.type_.strip_prefix("child<")?.strip_suffix('>')
}

/// Tells whether a property has a value of its own, and is no reference to another object.
pub(super) fn is_plain(property: &ObjectPropertyInfo) -> bool {
    child(property).is_none() && !property.type_.starts_with("link<")
}
