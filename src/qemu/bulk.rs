//! Values that a build tells many at a time.
//!
//! A monitor reads what it is sent byte by byte (`monitor_can_read` in monitor/monitor.c, up to QEMU 11.1), so that each
//! question costs a third of a millisecond, and a machine has a thousand properties. What is told here is what the
//! property's own question would answer; where that is not certain, nothing is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qapi::qmp::ObjectPropertyInfo;
use serde_json::{Map, Value};

use crate::qemu::cpu_models;
use crate::qemu::object::{Kind, Object};
use crate::qemu::output::devices::{DeviceTree, Plugged};
use crate::qemu::qmp::{QmpError, QueryCpuDefinitions, Session};

/// The values of a machine's properties, as far as the build tells them together.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// The properties of the devices on buses, by the paths of their objects, as the build prints them.
    printed: BTreeMap<String, BTreeMap<String, String>>,
    /// The CPUs, by type.
    cpus: BTreeMap<String, Cpu>,
}

/// The model of a CPU.
#[derive(Debug)]
struct Cpu {
    features: Map<String, Value>,
    is_safe: bool,
}

impl Bulk {
    /// Asks a machine that has these objects, which are in the order of their paths. `with_cpus` asks for the
    /// features of its CPUs as well.
    ///
    /// # Errors
    /// The build ends, or does not answer in time.
    pub(super) async fn ask(
        session: &Session,
        deadline: Duration,
        objects: &[Object],
        with_cpus: bool,
    ) -> Result<Bulk, QmpError> {
        let printed = session.ask(DeviceTree::question(), deadline).await?;
        let tree = DeviceTree::parse(&printed.unwrap_or_default());
        let mut bulk = Bulk {
            printed: by_path(&tree, objects),
            cpus: BTreeMap::new(),
        };
        let cpus = objects.iter().filter(|object| object.kind == Kind::Cpu);
        let types: BTreeSet<&String> = cpus.map(|cpu| &cpu.type_name).collect();
        if with_cpus && !types.is_empty() {
            bulk.cpus = models(session, deadline, &types).await?;
        }
        Ok(bulk)
    }

    /// Returns the value of an object's property, if it is known.
    pub(super) fn value(&self, object: &Object, item: &ObjectPropertyInfo) -> Option<Value> {
        if object.kind == Kind::Cpu {
            // A fresh CPU of the model has the same features, but no place, and nothing that is set as it is built in.
            let cpu = self.cpus.get(&object.type_name)?;
            let value = cpu.features.get(&item.name)?;
            return value.is_boolean().then(|| value.clone());
        }
        // What plugs in a virtio device has the properties of the device as well, under the same names
        // (`virtio_instance_init_common` in hw/virtio/virtio.c), which are printed with the device.
        let backend = format!("{}/{VIRTIO_BACKEND}", object.path);
        let places = [&object.path, &backend].into_iter();
        let printed = places.filter_map(|path| self.printed.get(path)?.get(&item.name));
        read(&item.type_, printed.into_iter().next()?)
    }

    /// Tells whether an object is a CPU of a model that stays what it is.
    pub(super) fn is_safe_cpu(&self, object: &Object) -> bool {
        self.cpus
            .get(&object.type_name)
            .is_some_and(|cpu| cpu.is_safe)
    }
}

/// The child of an object that plugs in a virtio device.
const VIRTIO_BACKEND: &str = "virtio-backend";

/// Asks for the models of CPUs of some types.
async fn models(
    session: &Session,
    deadline: Duration,
    types: &BTreeSet<&String>,
) -> Result<BTreeMap<String, Cpu>, QmpError> {
    // Not every target has the command.
    let models = session.ask(QueryCpuDefinitions {}, deadline).await?;
    let mut found = BTreeMap::new();
    for model in models.unwrap_or_default() {
        let is_safe = cpu_models::is_safe(&model);
        let Some(of) = model.typename.filter(|of| types.contains(of)) else {
            continue;
        };
        if let Some(features) = cpu_models::expanded(session, deadline, model.name).await? {
            found.insert(of, Cpu { features, is_safe });
        }
    }
    Ok(found)
}

/// Reads a value as a build prints it for people, if that says what a value of this type is
/// (qapi/string-output-visitor.c): numbers are there twice, and a text is in quotes, which are not escaped in it.
fn read(type_name: &str, printed: &str) -> Option<Value> {
    match type_name {
        "bool" => printed.parse().ok().map(Value::Bool),
        "str" | "string" => {
            let text = printed.strip_prefix('"')?.strip_suffix('"')?;
            (!text.contains(['"', '\\'])).then(|| text.into())
        }
        _ if type_name.starts_with("int") || type_name.starts_with("uint") => {
            let (number, again) = printed.strip_suffix(')')?.split_once(" (0x")?;
            let number: u64 = number.parse().ok()?;
            (u64::from_str_radix(again, 16) == Ok(number)).then(|| number.into())
        }
        _ => None,
    }
}

/// Finds the devices that objects are, and returns what is printed of each by the path of the object. An
/// object of which that is uncertain is left out.
fn by_path(tree: &DeviceTree, objects: &[Object]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for object in objects {
        let (of, name) = object.path.rsplit_once('/').unwrap_or_default();
        let same_type = |(_, device): &(usize, &Plugged)| device.type_name == object.type_name;
        let candidates = tree.devices.iter().enumerate().filter(same_type);
        let parent = places.get(of).copied();
        let place = match parent {
            _ if of == WITH_ID => only(candidates.filter(|(_, device)| device.id == name)),
            Some(_) => only(candidates.filter(|(_, device)| device.parent == parent)),
            None => {
                let alike = |other: &&Object| other.type_name == object.type_name;
                let alone = objects.iter().filter(alike).count() == 1;
                only(candidates).filter(|_| alone)
            }
        };
        if let Some((place, _)) = place {
            places.insert(&object.path, place);
        }
    }
    let printed = places.into_iter().map(|(path, place)| {
        let properties = tree.devices[place].properties.clone();
        (path.to_owned(), properties)
    });
    printed.collect()
}

/// The object that holds the devices that were given an id.
const WITH_ID: &str = "/machine/peripheral";

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QTREE: &str = concat!(
        "bus: main-system-bus\r\n",
        "  type System\r\n",
        "  dev: q35-pcihost, id \"\"\r\n",
        "    x-pci-hole64-fix = true\r\n",
        "    bus: pcie.0\r\n",
        "      type PCIE\r\n",
        "      dev: virtio-net-pci, id \"net0\"\r\n",
        "        disable-legacy = \"off\"\r\n",
        "        addr = 02.0\r\n",
        "        class Ethernet controller, addr 00:02.0, pci id 1af4:1000 (sub 1af4:0001)\r\n",
        "        bus: virtio-bus\r\n",
        "          type virtio-pci-bus\r\n",
        "          dev: virtio-net-device, id \"\"\r\n",
        "            mrg_rxbuf = false\r\n",
        "            x-txtimer = 150000 (0x249f0)\r\n",
        "      dev: e1000e, id \"nic\"\r\n",
        "        subsys = 0 (0x0)\r\n",
        "      dev: smbus-eeprom, id \"\"\r\n",
        "        address = 80 (0x50)\r\n",
        "      dev: smbus-eeprom, id \"\"\r\n",
        "        address = 81 (0x51)\r\n",
    );

    fn object(path: &str, type_name: &str) -> Object {
        Object {
            path: path.to_owned(),
            type_name: type_name.to_owned(),
            ..Object::default()
        }
    }

    #[test]
    fn printed_values_are_those_of_the_properties() {
        let cases = [
            // A type, what is printed, and what asking alone would answer; `null` where that is not certain.
            ("bool", "true", json!(true)),
            ("bool", "on", json!(null)),
            ("uint32", "150000 (0x249f0)", json!(150_000)),
            ("int32", "-1 (0xffffffffffffffff)", json!(null)),
            ("uint32", "1 (0x2)", json!(null)),
            ("uint32", "7", json!(null)),
            ("size", "1024 (1 KiB)", json!(null)),
            ("str", "\"pc.ram\"", json!("pc.ram")),
            ("str", "\"\"", json!("")),
            ("str", "<null>", json!(null)),
            ("str", "\"a\"b\"", json!(null)),
            ("str", "\"first line", json!(null)),
            ("list", "\"0xfee00000:0xfeefffff:1\"", json!(null)),
            ("int32", "02.0", json!(null)),
        ];
        for (of, printed, expected) in cases {
            let value = read(of, printed).unwrap_or(Value::Null);
            assert_eq!(value, expected, "{of} {printed}");
        }
    }

    #[test]
    fn a_device_is_found_by_its_id_its_place_or_as_the_only_one_of_its_type() {
        let objects = [
            object("/machine/peripheral/net0", "virtio-net-pci"),
            object(
                "/machine/peripheral/net0/virtio-backend",
                "virtio-net-device",
            ),
            object("/machine/peripheral/other", "e1000e"),
            object("/machine/q35", "q35-pcihost"),
            object("/machine/unattached/device[1]", "smbus-eeprom"),
            object("/machine/unattached/device[2]", "smbus-eeprom"),
        ];
        let bulk = Bulk {
            printed: by_path(&DeviceTree::parse(QTREE), &objects),
            cpus: BTreeMap::new(),
        };
        let value = |path: &str, of: &str, name: &str| {
            let object = objects.iter().find(|object| object.path == path);
            let item = ObjectPropertyInfo {
                name: name.to_owned(),
                type_: of.to_owned(),
                description: None,
                default_value: None,
            };
            bulk.value(object.unwrap(), &item)
        };
        let net = "/machine/peripheral/net0";
        let backend = "/machine/peripheral/net0/virtio-backend";
        assert_eq!(value(backend, "uint32", "x-txtimer"), Some(json!(150_000)));
        assert_eq!(value(net, "bool", "mrg_rxbuf"), Some(json!(false)));
        assert_eq!(value(net, "str", "disable-legacy"), Some(json!("off")));
        let hole = value("/machine/q35", "bool", "x-pci-hole64-fix");
        assert_eq!(hole, Some(json!(true)));
        // An id that is another's, and one of two of its type.
        let other = value("/machine/peripheral/other", "uint32", "subsys");
        assert_eq!(other, None);
        let eeprom = value("/machine/unattached/device[2]", "uint8", "address");
        assert_eq!(eeprom, None);
    }
}
