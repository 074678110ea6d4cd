//! The composition of a started machine, and how its devices are set: their effective properties.
//!
//! A device's properties are those that its type lists for `-device`. What else an object shows
//! (addresses, counters, the time of day) is its state, not how it was set up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use qapi::qmp;
use qapi::qmp::ObjectPropertyInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::qemu::Answer;
use crate::qemu::bulk::Bulk;
use crate::qemu::cpu_models;
use crate::qemu::object::{Kind, Object, Setting, child, is_plain};
use crate::qemu::qmp::{HostFeatures, QmpError, QueryVirtioStatus, Session};

/// The devices of a machine and the machine itself, in the order of their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub objects: Vec<Object>,
}

/// The properties that a machine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Those of every object.
    Everything,
    /// The features that virtio devices offer their drivers.
    Features,
}

impl Answer for Snapshot {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Snapshot> {
        serde_json::from_slice(&bytes).ok()
    }
}

impl Snapshot {
    /// Asks a machine for some of its properties.
    ///
    /// # Errors
    /// The build ends, or does not answer in time.
    pub async fn of(
        session: &Session,
        deadline: Duration,
        asked: Asked,
    ) -> Result<Snapshot, QmpError> {
        let wanted = |objects: &[Object]| {
            let is_wanted = |object: &Object| match asked {
                Asked::Everything => true,
                Asked::Features => object.is_virtio,
            };
            objects.iter().map(is_wanted).collect()
        };
        // A build may not say of a switch that it is a feature: it takes the other one to know.
        let is_asked = |listed: &Listed| match asked {
            Asked::Everything => true,
            Asked::Features => listed.is_switch,
        };
        Snapshot::ask(session, deadline, wanted, is_asked).await
    }

    /// Asks a machine for all properties of some objects. `wanted` says which: it sees the path and
    /// the type of all, in the order of their paths.
    ///
    /// # Errors
    /// The build ends, or does not answer in time.
    pub async fn take(
        session: &Session,
        deadline: Duration,
        wanted: impl FnOnce(&[Object]) -> Vec<bool>,
    ) -> Result<Snapshot, QmpError> {
        Snapshot::ask(session, deadline, wanted, |_| true).await
    }

    /// Takes a folder of ours out of the values: each machine has its own, with the same files in it.
    pub(crate) fn without_folder(mut self, folder: &Path) -> Snapshot {
        let folder = format!("{}/", folder.display());
        let objects = self.objects.iter_mut();
        for setting in objects.flat_map(|object| object.properties.values_mut()) {
            if let Value::String(text) = &mut setting.value {
                *text = text.replace(&folder, "");
            }
        }
        self
    }

    /// Asks the virtio devices for the features that they offer. Not for a guest on its way: a build may die of
    /// the question, as 11.1.3 does by an assertion in qapi/qapi-visit-core.c. It then tells of no more.
    pub async fn ask_offers(&mut self, session: &Session, deadline: Duration) {
        for object in self.objects.iter_mut().filter(|object| object.is_virtio) {
            let path = object.path.clone();
            match session.ask(QueryVirtioStatus { path }, deadline).await {
                Ok(Some(status)) => object.offers = Some(features(&status.host_features)),
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }

    async fn ask(
        session: &Session,
        deadline: Duration,
        wanted: impl FnOnce(&[Object]) -> Vec<bool>,
        is_asked: impl Fn(&Listed) -> bool,
    ) -> Result<Snapshot, QmpError> {
        let inquiry = Inquiry { session, deadline };
        let (mut objects, shown): (Vec<Object>, Vec<_>) =
            inquiry.objects().await?.into_iter().unzip();
        let wanted = wanted(&objects);
        let is_wanted = |kind| {
            let mut chosen = objects.iter().zip(&wanted);
            chosen.any(|(object, wanted)| *wanted && object.kind == kind)
        };
        let bulk = match is_wanted(Kind::Device) || is_wanted(Kind::Cpu) {
            true => Bulk::ask(session, deadline, &objects, is_wanted(Kind::Cpu)).await?,
            false => Bulk::default(),
        };
        let mut types: BTreeMap<String, BTreeMap<String, Listed>> = BTreeMap::new();
        let chosen = objects.iter_mut().zip(shown).zip(wanted);
        for ((object, shown), _) in chosen.filter(|(_, wanted)| *wanted) {
            if object.kind == Kind::Machine {
                inquiry.machine(object, &shown).await?;
                continue;
            }
            let listed = match types.entry(object.type_name.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let is_safe_cpu = bulk.is_safe_cpu(object);
                    new.insert(inquiry.listed(object, is_safe_cpu).await?)
                }
            };
            for property in &shown {
                let Some(listed) = listed.get(&property.name) else {
                    continue;
                };
                let answer = if !is_asked(listed) {
                    // It is there, which distinguishes it from one that the other build alone has.
                    Some(Value::Null)
                } else if let Some(value) = bulk.value(object, property) {
                    Some(value)
                } else {
                    // Some can only be set.
                    inquiry.value(object, property).await?
                };
                if let Some(value) = answer {
                    object.insert(&property.name, value, listed.unset.clone());
                }
            }
        }
        Ok(Snapshot { objects })
    }
}

/// The questions to a machine that has been started.
struct Inquiry<'s> {
    session: &'s Session,
    /// The time for each answer.
    deadline: Duration,
}

impl Inquiry<'_> {
    /// Returns the names of the types that are of this one.
    async fn types(&self, implements: &str) -> Result<BTreeSet<String>, QmpError> {
        let command = qmp::qom_list_types {
            implements: Some(implements.to_owned()),
            abstract_: None,
        };
        let types = self.session.execute(command, self.deadline).await?;
        Ok(types.into_iter().map(|of| of.name).collect())
    }

    /// Walks from the machine down. Returns its devices and itself without a property, in the order of their
    /// paths, each beside the properties that it shows.
    async fn objects(&self) -> Result<Vec<(Object, Vec<ObjectPropertyInfo>)>, QmpError> {
        let (devices, cpus) = (self.types("device").await?, self.types("cpu").await?);
        let virtio = self.types(VIRTIO).await?;
        let root = get(MACHINE, "type");
        let root = self.session.execute(root, self.deadline).await?;
        let mut open = vec![(
            MACHINE.to_owned(),
            root.as_str().unwrap_or_default().to_owned(),
        )];
        let mut found = Vec::new();
        while let Some((path, type_name)) = open.pop() {
            let command = qmp::qom_list { path: path.clone() };
            let Some(mut shown) = self.session.ask(command, self.deadline).await? else {
                continue;
            };
            for item in &shown {
                let child = child(item);
                if let Some(child) = child.filter(|&c| devices.contains(c) || c == CONTAINER) {
                    open.push((format!("{path}/{}", item.name), child.to_owned()));
                }
            }
            if type_name == CONTAINER {
                continue;
            }
            let object = Object {
                memory: shown.iter().filter_map(memory).collect(),
                kind: if path == MACHINE {
                    Kind::Machine
                } else if cpus.contains(&type_name) {
                    Kind::Cpu
                } else {
                    Kind::Device
                },
                is_virtio: virtio.contains(&type_name),
                path,
                type_name,
                ..Object::default()
            };
            shown.retain(is_plain);
            found.push((object, shown));
        }
        found.sort_by_cached_key(|(object, _)| natural(&object.path));
        Ok(found)
    }

    /// Returns the value of a property. `None` if it has none that can be read.
    async fn value(
        &self,
        object: &Object,
        property: &ObjectPropertyInfo,
    ) -> Result<Option<Value>, QmpError> {
        let command = get(&object.path, &property.name);
        self.session.ask(command, self.deadline).await
    }

    /// Asks the machine itself for the properties that it shows, which have no default.
    async fn machine(
        &self,
        machine: &mut Object,
        shown: &[ObjectPropertyInfo],
    ) -> Result<(), QmpError> {
        for property in shown {
            let name = &property.name;
            match self.value(machine, property).await? {
                Some(Value::Object(parts)) if is_configuration(property) => {
                    for (part, value) in parts {
                        machine.insert(&format!("{name}.{part}"), value, Setting::default());
                    }
                }
                Some(value) => machine.insert(name, value, Setting::default()),
                None => {}
            }
        }
        // Before 7.1 a machine has no property of it.
        if !machine.properties.contains_key(MEMORY_SIZE) {
            let command = qmp::query_memory_size_summary {};
            if let Some(summary) = self.session.ask(command, self.deadline).await? {
                let size = summary.base_memory.into();
                machine.insert(MEMORY_SIZE, size, Setting::default());
            }
        }
        Ok(())
    }

    /// Returns what the type of an object lists for `-device`, by the properties' names.
    async fn listed(
        &self,
        object: &Object,
        is_safe_cpu: bool,
    ) -> Result<BTreeMap<String, Listed>, QmpError> {
        let command = qmp::device_list_properties {
            typename: object.type_name.clone(),
        };
        let listed = self.session.ask(command, self.deadline).await?;
        let listed = listed.unwrap_or_default().into_iter().map(|property| {
            let listed = Listed {
                is_switch: property.type_ == SWITCH,
                unset: Setting {
                    is_feature: object.is_virtio && is_feature(&property)
                        || is_safe_cpu && cpu_models::is_feature(&property),
                    default: property.default_value,
                    value: Value::Null,
                },
            };
            (property.name, listed)
        });
        Ok(listed.collect())
    }
}

impl Object {
    /// Keeps what can be compared: a switch, a number or a word.
    fn insert(&mut self, name: &str, value: Value, unset: Setting) {
        if !value.is_object() && !value.is_array() {
            let setting = Setting { value, ..unset };
            self.properties.insert(name.to_owned(), setting);
        }
    }
}

/// The facts that a type lists about a property.
#[derive(Debug, Clone)]
struct Listed {
    /// All but its value.
    unset: Setting,
    is_switch: bool,
}

/// The type of every virtio device, whatever it is plugged in by.
const VIRTIO: &str = "virtio-device";

/// The type of a property that is on or off.
const SWITCH: &str = "bool";

/// Tells whether a property of a virtio device is a bit of the features that it offers. Up to QEMU
/// 9 a bit of a mask is described as `on/off` and a plain switch not at all
/// (hw/core/qdev-properties.c); later both are described alike, and `x-` marks those that do not
/// concern a guest's driver. What the devices say that they offer decides about the others.
fn is_feature(property: &ObjectPropertyInfo) -> bool {
    property.type_ == SWITCH
        && property.description.as_deref() == Some("on/off")
        && !property.name.starts_with("x-")
}

const MACHINE: &str = "/machine";

/// The part of a machine's configuration that says how much memory it has.
const MEMORY_SIZE: &str = "memory.size";

/// The type that holds devices and is none.
const CONTAINER: &str = "container";

/// Sorts `device[2]` before `device[10]`.
fn natural(path: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (number, tail) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

/// Returns the names of features.
fn features(offered: &HostFeatures) -> BTreeSet<String> {
    let named = offered.transports.iter().chain(&offered.dev_features);
    let named = named.map(|feature| feature.split(':').next().unwrap_or_default().to_owned());
    let mask =
        u128::from(offered.unknown_dev_features2) << 64 | u128::from(offered.unknown_dev_features);
    let unknown = (0..u128::BITS).filter(|bit| mask >> bit & 1 == 1);
    named
        .chain(unknown.map(|bit| format!("bit {bit}")))
        .collect()
}

/// Tells whether a property of a machine is a part of its configuration with several parts, as `-M` takes it
/// (`MemorySizeConfiguration`); others are state, like the time of day.
fn is_configuration(property: &ObjectPropertyInfo) -> bool {
    property.type_.ends_with("Configuration")
}

/// Returns the name of the block of memory that a child is, if it is one: `vga.vram` of `vga.vram[0]`.
fn memory(property: &ObjectPropertyInfo) -> Option<String> {
    // `qemu:memory-region` in 5.2, `memory-region` later.
    let is_memory = child(property)?.ends_with("memory-region");
    let (name, _) = property.name.split_once('[')?;
    is_memory.then(|| name.to_owned())
}

fn get(path: &str, property: &str) -> qmp::qom_get {
    qmp::qom_get {
        path: path.to_owned(),
        property: property.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::qemu::object::same;

    #[test]
    fn files_of_ours_are_the_same_in_every_folder() {
        let snapshot = |value: &str| Snapshot {
            objects: vec![Object {
                path: "/machine".to_owned(),
                type_name: "s390-ipl".to_owned(),
                properties: [(
                    "kernel".to_owned(),
                    Setting {
                        value: value.into(),
                        ..Setting::default()
                    },
                )]
                .into(),
                ..Object::default()
            }],
        };
        let folder = Path::new("/tmp/.migcompat-wjTJI7");
        for (value, left) in [
            ("/tmp/.migcompat-wjTJI7/guest.bin", "guest.bin"),
            (
                "file:/tmp/.migcompat-wjTJI7/blank.rom,x",
                "file:blank.rom,x",
            ),
            (
                "/tmp/.migcompat-other/guest.bin",
                "/tmp/.migcompat-other/guest.bin",
            ),
            ("/boot/vmlinuz", "/boot/vmlinuz"),
        ] {
            assert_eq!(snapshot(value).without_folder(folder), snapshot(left));
        }
    }

    #[test]
    fn numbers_in_paths_sort_as_numbers() {
        let mut paths = [
            "/machine/unattached/device[10]",
            "/machine/unattached/device[2]/rtc",
            "/machine/unattached/device[2]",
            "/machine",
        ];
        paths.sort_by_cached_key(|path| natural(path));
        assert_eq!(
            paths,
            [
                "/machine",
                "/machine/unattached/device[2]",
                "/machine/unattached/device[2]/rtc",
                "/machine/unattached/device[10]",
            ]
        );
    }

    #[test]
    fn a_switch_is_the_same_however_it_is_written() {
        assert!(same(&json!(true), &json!("on")));
        assert!(same(&json!("off"), &json!(false)));
        assert!(same(&json!(3), &json!(3)));
        assert!(!same(&json!(true), &json!("off")));
        assert!(!same(&json!("auto"), &json!("on")));
        assert!(!same(&json!(1), &json!(true)));
    }
}
