//! The CPU models of a build, with the features that each gives a guest of one machine type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qapi::qmp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::qemu::Answer;
use crate::qemu::object::{Kind, Object, Setting, is_plain};
use crate::qemu::qmp::{
    CpuModel, CpuModelInfo, QmpError, QueryCpuDefinitions, QueryCpuModelExpansion, Session,
};

/// A property's value in a model; `None` where the model lacks it.
type Given = Option<Value>;

/// The CPU models that a build promises to keep for a machine type with a version (`migration-safe` of
/// `query-cpu-definitions`): neither `max` nor `host`, which are what the build and the host can.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CpuModels {
    /// Each property, as the first model with it has it. Models differ in few of their hundreds of properties.
    common: BTreeMap<String, Setting>,
    /// What is different in each model, by its QOM type.
    models: BTreeMap<String, BTreeMap<String, Given>>,
}

impl Answer for CpuModels {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<CpuModels> {
        serde_json::from_slice(&bytes).ok()
    }
}

/// Tells whether a build promises that a model stays what it is for a machine type with a version.
pub(super) fn is_safe(model: &CpuModel) -> bool {
    model.migration_safe == Some(true)
}

/// Tells whether a property of a model that is safe to migrate is a feature of it: a switch that has no default, for the model
/// decides (`x86_cpu_register_bit_prop()` in target/i386/cpu.c, `s390_cpu_model_class_register_props()` in
/// target/s390x/cpu_models.c). Other switches say how a CPU behaves, and have one.
pub(super) fn is_feature(property: &qmp::ObjectPropertyInfo) -> bool {
    property.type_ == "bool" && property.default_value.is_none()
}

/// Returns the properties of a fresh CPU of a model, with all its features; `None` where the build does not tell.
pub(super) async fn expanded(
    session: &Session,
    deadline: Duration,
    model: String,
) -> Result<Option<Map<String, Value>>, QmpError> {
    let command = QueryCpuModelExpansion {
        expansion: "full",
        model: CpuModelInfo {
            name: model,
            props: Map::new(),
        },
    };
    let expanded = session.ask(command, deadline).await?;
    Ok(expanded.map(|expanded| expanded.model.props))
}

impl CpuModels {
    /// Asks a machine for the models; there are none where the target does not tell what they are.
    ///
    /// # Errors
    /// The build ends, or does not answer in time.
    pub(crate) async fn ask(session: &Session, deadline: Duration) -> Result<CpuModels, QmpError> {
        let mut found = CpuModels::default();
        let listed = session.ask(QueryCpuDefinitions {}, deadline).await?;
        for model in listed.into_iter().flatten().filter(is_safe) {
            let Some(of) = model.typename else {
                continue;
            };
            let Some(values) = expanded(session, deadline, model.name).await? else {
                continue;
            };
            if values.keys().any(|name| !found.common.contains_key(name)) {
                found.learn(session, deadline, &of, &values).await?;
            }
            found.insert(of, values);
        }
        Ok(found)
    }

    /// Takes what a type lists about properties that no model had before.
    async fn learn(
        &mut self,
        session: &Session,
        deadline: Duration,
        of: &str,
        values: &Map<String, Value>,
    ) -> Result<(), QmpError> {
        let command = qmp::device_list_properties {
            typename: of.to_owned(),
        };
        let listed = session.ask(command, deadline).await?;
        let mut listed: BTreeMap<String, qmp::ObjectPropertyInfo> = listed
            .unwrap_or_default()
            .into_iter()
            .map(|property| (property.name.clone(), property))
            .collect();
        for (name, value) in values {
            // What a type does not list for `-cpu` is state; it is asked for no more.
            let setting = match listed.remove(name).filter(is_plain) {
                Some(property) => Setting {
                    value: value.clone(),
                    is_feature: is_feature(&property),
                    default: property.default_value,
                },
                None => Setting::default(),
            };
            self.add(name, setting);
        }
        Ok(())
    }

    /// Adds a property, unless it is there; the models so far lack it.
    fn add(&mut self, name: &str, setting: Setting) {
        if !self.common.contains_key(name) {
            self.common.insert(name.to_owned(), setting);
            for model in self.models.values_mut() {
                model.insert(name.to_owned(), None);
            }
        }
    }

    fn insert(&mut self, of: String, mut values: Map<String, Value>) {
        let of_common = self.common.iter().filter_map(|(name, common)| {
            let value = values.remove(name);
            // No property has the value null.
            (!common.value.is_null() && value.as_ref() != Some(&common.value))
                .then(|| (name.clone(), value))
        });
        self.models.insert(of, of_common.collect());
    }

    /// Returns a property of a model.
    fn setting(&self, model: &BTreeMap<String, Given>, name: &str) -> Option<Setting> {
        let common = self.common.get(name).filter(|of| !of.value.is_null())?;
        match model.get(name) {
            None => Some(common.clone()),
            Some(given) => Some(Setting {
                value: given.clone()?,
                ..common.clone()
            }),
        }
    }

    /// Returns the models that both builds have, each with those properties alone that are not the same in both.
    pub(crate) fn differing(&self, other: &CpuModels) -> [Vec<Object>; 2] {
        let names = self.common.keys().chain(other.common.keys());
        let all: BTreeSet<&str> = names.map(String::as_str).collect();
        // A model has hundreds of them.
        let mut names = all.clone();
        names.retain(|name| !is_second_name(name, &all));
        let mut both = [Vec::new(), Vec::new()];
        let shared = self.models.iter();
        let shared = shared.filter_map(|(of, one)| Some((of, one, other.models.get(of)?)));
        for (of, one, another) in shared {
            let mut objects = [Object::default(), Object::default()];
            for object in &mut objects {
                object.type_name.clone_from(of);
                object.kind = Kind::CpuModel;
            }
            for name in &names {
                let settings = [self.setting(one, name), other.setting(another, name)];
                let [here, there] = &settings;
                if here.as_ref().map(|of| &of.value) == there.as_ref().map(|of| &of.value) {
                    continue;
                }
                for (object, setting) in objects.iter_mut().zip(settings) {
                    object
                        .properties
                        .extend(setting.map(|setting| ((*name).to_owned(), setting)));
                }
            }
            for (of_build, object) in both.iter_mut().zip(objects) {
                of_build.push(object);
            }
        }
        both
    }
}

/// Tells whether a feature is there under another name as well: `cmp_legacy`, which is `cmp-legacy`.
fn is_second_name(name: &str, names: &BTreeSet<&str>) -> bool {
    name.contains('_') && names.contains(name.replace('_', "-").as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Makes models of properties: switches are features, numbers have a default.
    fn models(of: Value) -> CpuModels {
        let mut made = CpuModels::default();
        let models: BTreeMap<String, Map<String, Value>> = serde_json::from_value(of).unwrap();
        for (name, values) in models {
            for (property, value) in &values {
                let setting = Setting {
                    value: value.clone(),
                    is_feature: value.is_boolean(),
                    default: value.is_number().then(|| json!(0)),
                };
                made.add(property, setting);
            }
            made.insert(name, values);
        }
        made
    }

    #[test]
    fn models_of_both_builds_have_what_differs_and_no_more() {
        let old = models(json!({
            "486": {"avx": false, "fpu": true, "level": 1, "sse4_1": false, "sse4-1": false},
            "Haswell": {"avx": true, "fpu": true, "level": 13, "sse4_1": true, "sse4-1": true, "mpx": true},
            "Skylake": {"avx": true, "fpu": true, "level": 13, "sse4_1": true, "sse4-1": true},
            "gone": {"avx": true},
        }));
        let new = models(json!({
            "486": {"avx": false, "fpu": true, "level": 1, "sse4_1": false, "sse4-1": false, "vaes": false},
            "Haswell": {"avx": false, "fpu": true, "level": 13, "sse4_1": false, "sse4-1": false, "vaes": true},
            "Skylake": {"avx": true, "fpu": true, "level": 22, "sse4_1": true, "sse4-1": true, "vaes": false},
            "added": {"avx": true},
        }));
        let told = |objects: Vec<Object>| -> Vec<String> {
            let objects = objects.iter().map(|object| {
                let settings = object.properties.iter();
                let settings = settings.map(|(name, of)| format!(" {name}={}", of.value));
                format!("{}:{}", object.type_name, settings.collect::<String>())
            });
            objects.collect()
        };
        let [of_old, of_new] = old.differing(&new).map(told);
        // One name of a feature is enough.
        assert_eq!(
            of_old,
            [
                "486:",
                "Haswell: avx=true mpx=true sse4-1=true",
                "Skylake: level=13"
            ]
        );
        assert_eq!(
            of_new,
            [
                "486: vaes=false",
                "Haswell: avx=false sse4-1=false vaes=true",
                "Skylake: level=22 vaes=false"
            ]
        );
    }

    #[test]
    fn an_answer_is_kept_whole() {
        let asked = models(json!({
            "486": {"avx": false, "fpu": true},
            "Haswell": {"avx": true},
        }));
        let bytes = asked.to_bytes().unwrap();
        assert_eq!(CpuModels::from_bytes(bytes), Some(asked));
    }

    #[test]
    fn a_switch_without_a_default_is_a_feature() {
        // As 5.2 and 11.1 list them.
        for (listed, expected) in [
            (json!({"name": "avx", "type": "bool"}), true),
            (
                json!({"name": "pmu", "type": "bool", "default-value": false}),
                false,
            ),
            (
                json!({"name": "hv-time", "type": "bool", "default-value": false, "description": "on/off"}),
                false,
            ),
            (json!({"name": "family", "type": "int"}), false),
        ] {
            let property: qmp::ObjectPropertyInfo = serde_json::from_value(listed).unwrap();
            assert_eq!(is_feature(&property), expected, "{}", property.name);
        }
    }
}
