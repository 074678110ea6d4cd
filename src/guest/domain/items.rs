//! The names and values of an option that elements of a domain stand for.

use serde_json::{Value, json};

use crate::guest::device::json_option;
use crate::guest::domain::all;
use crate::guest::domain::node::Node;
use crate::guest::opts::{Setting, join};
use crate::model::c_number;

/// The names and values of an option, in their order.
#[derive(Debug, Default)]
pub(super) struct Items(Vec<(String, Setting)>);

impl<const N: usize> From<[(&str, &str); N]> for Items {
    fn from(items: [(&str, &str); N]) -> Items {
        let items = items.map(|(name, value)| (name.to_owned(), Setting::Text(value.to_owned())));
        Items(items.into())
    }
}

impl Items {
    pub(super) fn set(&mut self, name: &str, value: impl ToString) {
        let value = Setting::Text(value.to_string());
        self.0.push((name.to_owned(), value));
    }

    /// Adds a value, if there is one.
    pub(super) fn set_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds the I/O threads that the `driver` element of a device names, each with its queues.
    pub(super) fn threads(&mut self, driver: Option<Node>) {
        let Some(driver) = driver else {
            return;
        };
        let name = |id| format!("iothread{id}");
        self.set_some("iothread", driver.attribute("iothread").map(name));
        let mapping = all(driver, "iothreads/iothread").map(|thread| {
            let id = thread.attribute("id").unwrap_or_default();
            let queues = thread.elements("queue");
            let queues = queues.filter_map(|queue| queue.attribute("id").and_then(c_number));
            let queues: Vec<u64> = queues.collect();
            match queues.is_empty() {
                true => json!({"iothread": name(id)}),
                false => json!({"iothread": name(id), "vqs": queues}),
            }
        });
        let mapping: Vec<Value> = mapping.collect();
        if !mapping.is_empty() {
            let mapping = Setting::Nested(mapping.into());
            self.0.push(("iothread-vq-mapping".to_owned(), mapping));
        }
    }

    /// Adds the attributes that an element has, each under the name of a property.
    pub(super) fn attributes(&mut self, node: Option<Node>, names: &[(&str, &str)]) {
        for (attribute, property) in names {
            self.set_some(property, node.and_then(|node| node.attribute(attribute)));
        }
    }

    pub(super) fn extend(&mut self, more: Items) {
        self.0.extend(more.0);
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.text())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Joins names and values to an argument: JSON where a value is a list.
    pub(super) fn join(&self) -> String {
        let items = self.0.iter();
        let plain: Option<Vec<(&str, &str)>> = items
            .map(|(name, value)| Some((name.as_str(), value.text()?)))
            .collect();
        let items = self.0.iter().map(|(name, value)| (name.as_str(), value));
        plain.map_or_else(|| json_option(items), join)
    }
}
