//! The typed model of the description (vmdesc) that ends a stream.
//!
//! It is JSON that the saving QEMU writes while it saves, so it describes what was sent and not
//! what could have been. Checked against 5.2, 7.2, 10.0 and 11.1 (`vmsd_desc_field_start()` in
//! QEMU's `migration/vmstate.c`). Three peculiarities matter:
//!
//! - A field whose writer saves a whole description of its own (type `tmp`, `qtailq`, `gtree`,
//!   `qlist`, and `unknown` for a struct of a chosen version) puts the keys `vmsd_name`, `version`,
//!   `fields` and `subsections` straight into the field's object; a list does so once an element, so
//!   that keys repeat. They are kept here in [`FieldDesc::nested`], in order.
//! - An array whose elements all have one layout is one entry with `array_len`; any other array is
//!   one entry an element, with `index`. `size` is that of one element in both cases.
//! - A legacy section (SaveVMHandlers), which has no description, has one field `data`.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::Error as Malformed;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::model::is_plain_json;

/// The description that a stream carries of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VmDesc {
    /// Bytes of a page in the RAM section.
    pub page_size: Option<u64>,
    /// The layout of the configuration section; written from QEMU 8.1 on.
    pub configuration: Option<StructDesc>,
    /// The devices in the order in which they were sent.
    pub devices: Vec<DeviceDesc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object")]
pub struct DeviceDesc {
    /// The name of the section: the device path and the vmsd name.
    pub name: Arc<str>,
    pub instance_id: u32,
    pub description: StructDesc,
}

/// A description as it was sent: of a section, of a nested structure or of a subsection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Object")]
pub struct StructDesc {
    /// Absent for a legacy section, which is saved by SaveVMHandlers.
    pub vmsd_name: Option<Arc<str>>,
    pub version: Option<u32>,
    pub fields: Vec<FieldDesc>,
    pub subsections: Vec<StructDesc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object")]
pub struct FieldDesc {
    pub name: Arc<str>,
    /// The name of the type as QEMU's `VMStateInfo` has it, or `struct`.
    pub type_name: Arc<str>,
    /// Bytes of one element on the wire.
    pub size: u64,
    pub occurs: Occurs,
    /// One of a `struct`; those of all elements for a list.
    pub nested: Vec<StructDesc>,
}

/// The elements that a field's entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurs {
    Once,
    /// That many elements of one layout.
    Array(u64),
    /// The element of that index alone; its neighbours have entries of their own.
    Element(u64),
}

impl VmDesc {
    /// Parses the JSON. Nesting is bounded by the JSON parser (128 levels).
    ///
    /// # Errors
    /// The JSON is malformed, has another form or a name that QEMU cannot have written.
    pub fn parse(json: &[u8]) -> Result<VmDesc, serde_json::Error> {
        // What is shown of a stream relies on it.
        match is_plain_json(json) {
            true => serde_json::from_slice(json),
            false => Err(serde_json::Error::custom("a name is not plain ASCII")),
        }
    }

    /// The device of that name and instance.
    pub fn device(&self, name: &str, instance_id: u32) -> Option<&DeviceDesc> {
        self.devices
            .iter()
            .find(|d| d.instance_id == instance_id && *d.name == *name)
    }
}

impl StructDesc {
    /// The name of the description, empty for a legacy section.
    pub fn name(&self) -> &str {
        self.vmsd_name.as_deref().unwrap_or_default()
    }

    /// Entries of this description and of all below it.
    pub fn count(&self) -> usize {
        let fields = self.fields.iter();
        fields
            .map(|f| 1 + f.nested.iter().map(StructDesc::count).sum::<usize>())
            .chain(self.subsections.iter().map(|s| 1 + s.count()))
            .sum()
    }
}

impl TryFrom<Object> for DeviceDesc {
    type Error = Malformed;

    fn try_from(object: Object) -> Result<Self, Malformed> {
        Ok(DeviceDesc {
            name: needed(object.name, "name")?,
            instance_id: needed(object.instance_id, "instance_id")?,
            description: object.descriptions.into_iter().next().unwrap_or_default(),
        })
    }
}

impl From<Object> for StructDesc {
    fn from(object: Object) -> Self {
        object.descriptions.into_iter().next().unwrap_or_default()
    }
}

impl TryFrom<Object> for FieldDesc {
    type Error = Malformed;

    fn try_from(object: Object) -> Result<Self, Malformed> {
        Ok(FieldDesc {
            name: needed(object.name, "name")?,
            type_name: needed(object.type_name, "type")?,
            size: needed(object.size, "size")?,
            occurs: match (object.array_len, object.index) {
                (Some(n), _) => Occurs::Array(n),
                (None, Some(i)) => Occurs::Element(i),
                (None, None) => Occurs::Once,
            },
            nested: object.descriptions,
        })
    }
}

fn needed<T>(value: Option<T>, key: &'static str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::missing_field(key))
}

/// Any object of the description. Devices, fields, structs and subsections share their keys, and
/// keys may repeat, which a derived implementation would refuse.
#[derive(Default)]
struct Object {
    name: Option<Arc<str>>,
    type_name: Option<Arc<str>>,
    instance_id: Option<u32>,
    size: Option<u64>,
    array_len: Option<u64>,
    index: Option<u64>,
    descriptions: Vec<StructDesc>,
}

impl Object {
    /// The description that a key belongs to; a legacy section opens it without a name.
    fn description(&mut self) -> &mut StructDesc {
        if self.descriptions.is_empty() {
            self.descriptions.push(StructDesc::default());
        }
        let last = self.descriptions.len() - 1;
        &mut self.descriptions[last]
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that describes a device, a field or a structure")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                let mut object = Object::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => object.name = Some(map.next_value::<String>()?.into()),
                        "type" => object.type_name = Some(map.next_value::<String>()?.into()),
                        "instance_id" => {
                            let id = map.next_value::<i64>()?;
                            // Some releases print it as a signed number.
                            object.instance_id = Some(
                                u32::try_from(id)
                                    .or_else(|_| i32::try_from(id).map(i32::cast_unsigned))
                                    .map_err(M::Error::custom)?,
                            );
                        }
                        "size" => object.size = Some(map.next_value()?),
                        "array_len" => object.array_len = Some(map.next_value()?),
                        "index" => object.index = Some(map.next_value()?),
                        "struct" => object.descriptions.push(map.next_value()?),
                        "vmsd_name" => object.descriptions.push(StructDesc {
                            vmsd_name: Some(map.next_value::<String>()?.into()),
                            ..StructDesc::default()
                        }),
                        "version" => object.description().version = Some(map.next_value()?),
                        "fields" => object.description().fields = map.next_value()?,
                        "subsections" => object.description().subsections = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_hold_descriptions_of_its_own_and_repeat_them() {
        let json = br#"{"page_size": 4096, "new_key": [1], "devices": [
            {"name": "d", "instance_id": -1, "vmsd_name": "d", "version": 2, "fields": [
                {"name": "list", "type": "qtailq",
                 "vmsd_name": "e", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}],
                 "vmsd_name": "e", "version": 1, "fields": [], "subsections": [
                    {"vmsd_name": "e/s", "version": 3, "fields": []}],
                 "size": 7},
                {"name": "a", "array_len": 3, "type": "uint16", "size": 2},
                {"name": "b", "index": 1, "type": "struct", "struct": {}, "size": 1}]},
            {"name": "old", "instance_id": 0, "size": 5, "fields": [
                {"name": "data", "size": 5, "type": "buffer"}]}]}"#;
        let vmdesc = VmDesc::parse(json).expect("a good description");
        let [device, old] = vmdesc.devices.as_slice() else {
            panic!("{vmdesc:?}");
        };
        assert_eq!(device.instance_id, u32::MAX);
        assert_eq!(device.description.version, Some(2));
        let [list, array, element] = device.description.fields.as_slice() else {
            panic!("{device:?}");
        };
        let names: Vec<_> = list.nested.iter().map(StructDesc::name).collect();
        assert_eq!(names, ["e", "e"]);
        assert_eq!(list.nested[0].fields.len(), 1);
        assert_eq!(list.nested[1].subsections[0].name(), "e/s");
        assert_eq!(list.size, 7);
        assert_eq!(array.occurs, Occurs::Array(3));
        assert_eq!(element.occurs, Occurs::Element(1));
        assert_eq!(element.nested, [StructDesc::default()]);
        assert_eq!(old.description.vmsd_name, None);
        assert_eq!(old.description.fields[0].size, 5);
    }

    #[test]
    fn a_malformed_description_is_refused() {
        let deep = format!("{}{}", r#"{"devices":["#, r#"{"fields":["#.repeat(10_000));
        let of = |device: &str| format!(r#"{{"devices": [{{{device}}}]}}"#);
        let fields = r#""name": "a", "instance_id": 0, "fields": [{"name": "x", "type": "bool"}]"#;
        for (json, wanted) in [
            ("{}".to_owned(), "missing field `devices`"),
            (of(r#""name": "a""#), "missing field `instance_id`"),
            (of(r#""instance_id": 0"#), "missing field `name`"),
            (of(fields), "missing field `size`"),
            (of(r#""name": "a", "instance_id": 99999999999"#), "range"),
            (deep, "recursion limit exceeded"),
        ] {
            let error = VmDesc::parse(json.as_bytes()).expect_err(wanted);
            let error = error.to_string();
            assert!(error.contains(wanted), "wanted {wanted:?} in {error:?}");
        }
    }
}
