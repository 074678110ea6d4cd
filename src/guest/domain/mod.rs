//! A libvirt domain: its elements as the options that libvirt starts QEMU with. They go through the same checks as
//! those of a command line.

mod board;
mod controllers;
mod devices;
mod disks;
mod immaterial;
mod node;
mod places;

use roxmltree::{Document, ParsingOptions};
use serde_json::{Value, json};

use crate::guest::device::json_option;
use crate::guest::domain::controllers::index_of;
use crate::guest::domain::node::{Node, Record, Unread};
use crate::guest::error::ReadError;
use crate::guest::given::{Description, Given, Word};
use crate::guest::opts::{Setting, join};
use crate::model::c_number;
use crate::qemu::machine;
use crate::report::{GuestFormat, GuestReason};

/// The most elements, attributes and texts that a domain may have.
const MOST_NODES: u32 = 50_000;

/// Reads a domain.
///
/// # Errors
/// It is no XML, has a document type, or no domain.
pub(super) fn read(text: &str) -> Result<Description, ReadError> {
    let options = ParsingOptions {
        // Nothing is defined, and so nothing grows when it is read.
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).map_err(|error| ReadError::Xml {
        line: error.pos().row as usize,
        error: error.to_string(),
    })?;
    let mut elements = document.descendants();
    let domain = elements
        .find(|node| node.is_element() && node.tag_name().name() == "domain")
        .ok_or(ReadError::NoDomain)?;
    let record = Record::default();
    let domain = Node::of(domain, &record);
    let mut reader = Reader::of(&document, domain);
    board::read(&mut reader, domain);
    if let Some(devices) = child(domain, "devices") {
        controllers::read(&mut reader, devices);
        devices::read(&mut reader, devices);
    }
    reader.pass_through(domain);
    reader.name_unread(domain);
    Ok(Description {
        format: GuestFormat::DomainXml,
        program: Some(format!("qemu-system-{}", reader.arch)),
        around: Vec::new(),
        left_out: reader.left_out,
        options: reader.options,
    })
}

/// A domain that is being read.
struct Reader<'d> {
    document: &'d Document<'d>,
    arch: String,
    is_q35: bool,
    /// The machine is the one that no hardware is like.
    is_virt: bool,
    /// The name of the bus that the machine itself has.
    root_bus: &'static str,
    /// What `qemu:override` says of devices, by their ids.
    overrides: Vec<(&'d str, Node<'d>)>,
    /// The indices of the PCI host bridges beside the machine's own.
    host_bridges: Vec<u64>,
    options: Vec<Given>,
    left_out: Vec<(Word, GuestReason)>,
    /// The number of backends so far, for their names.
    backends: usize,
    /// The kinds of devices that got a name so far.
    numbered: Vec<String>,
}

impl<'d> Reader<'d> {
    fn of(document: &'d Document<'d>, domain: Node<'d>) -> Reader<'d> {
        let of = |name| attribute(domain, "os/type", name).unwrap_or_default();
        let arch = match of("arch") {
            "" => "x86_64",
            name => machine::target_called(name).unwrap_or(name),
        };
        let is_q35 = of("machine").contains("q35");
        let is_virt = of("machine").split('-').next() == Some("virt");
        let devices = child(domain, "devices").into_iter();
        let controllers = devices.flat_map(|devices| devices.elements("controller"));
        let pci = controllers.filter(|node| node.attribute("type") == Some("pci"));
        let pci = pci.filter_map(|node| Some((index_of(node), node.attribute("model")?)));
        let pci: Vec<(u64, &str)> = pci.collect();
        let root = pci.iter().find(|(index, _)| *index == 0);
        let root_bus = match root.map(|(_, model)| *model) {
            Some("pcie-root") => "pcie.0",
            // What libvirt adds to a domain that names none.
            None if is_q35 || is_virt => "pcie.0",
            // Boards have one bus, and number none.
            _ if matches!(arch, "aarch64" | "arm") && !is_virt => "pci",
            _ => "pci.0",
        };
        Reader {
            document,
            arch: arch.to_owned(),
            is_q35,
            is_virt,
            root_bus,
            overrides: overrides(domain),
            host_bridges: pci
                .iter()
                .filter(|(index, model)| *index > 0 && *model == "pci-root")
                .map(|(index, _)| *index)
                .collect(),
            options: Vec::new(),
            left_out: Vec::new(),
            backends: 0,
            numbered: Vec::new(),
        }
    }

    fn line(&self, node: Node) -> usize {
        self.document.text_pos_at(node.start()).row as usize
    }

    fn is_x86(&self) -> bool {
        matches!(self.arch.as_str(), "x86_64" | "i386")
    }

    /// Adds an option that an element stands for.
    fn add(&mut self, node: Node, name: &str, value: impl Into<String>) {
        self.options.push(Given {
            line: self.line(node),
            name: name.to_owned(),
            value: Some(value.into()),
        });
    }

    /// Adds an option with a list of names and values.
    fn add_list(&mut self, node: Node, name: &str, items: impl Into<Items>) {
        self.add(node, name, items.into().join());
    }

    /// Adds a device with its bus and address.
    fn add_device(&mut self, node: Node, driver: &str, items: impl Into<Items>) {
        let mut all = Items::from([("driver", driver)]);
        all.extend(items.into());
        if !all.has("id") {
            all.set_some("id", attribute(node, "alias", "name"));
        }
        if driver.starts_with("virtio-") {
            all.attributes(child(node, "driver"), VIRTIO);
        }
        if let Some(address) = child(node, "address") {
            match all.has("bus") {
                true => address.settle(),
                false => all.extend(self.place(address)),
            }
            if let Some(zpci) = child(address, "zpci") {
                if !all.has("id") {
                    all.set("id", self.backend("migcompat-pci"));
                }
                let mut items = Items::from([("driver", "zpci")]);
                items.attributes(Some(zpci), &[("uid", "uid"), ("fid", "fid")]);
                items.set_some("target", all.get("id"));
                self.add_list(zpci, "device", items);
            }
        }
        all.set_some("acpi-index", attribute(node, "acpi", "index"));
        // A floppy disk has its place in the order by its controller.
        let order = attribute(node, "boot", "order");
        if driver != "floppy" {
            all.set_some("bootindex", order);
        }
        if let Some(rom) = child(node, "rom") {
            let bar = rom.attribute("bar");
            all.set_some("rombar", bar.map(|bar| u8::from(bar != "off")));
            match rom.attribute("enabled") {
                Some("no") => all.set("romfile", ""),
                _ => all.set_some("romfile", rom.attribute("file")),
            }
        }
        self.override_with(&mut all);
        self.add_list(node, "device", all);
    }

    /// Changes what `qemu:override` changes of a device.
    fn override_with(&self, items: &mut Items) {
        let id = items.get("id").unwrap_or_default().to_owned();
        for (_, property) in self.overrides.iter().filter(|(of, _)| **of == id) {
            let of = |name| property.attribute(name).unwrap_or_default();
            items.0.retain(|(name, _)| name != of("name"));
            match of("value") {
                _ if of("type") == "remove" => {}
                "true" => items.set(of("name"), "on"),
                "false" => items.set(of("name"), "off"),
                value => items.set(of("name"), value),
            }
        }
    }

    /// Returns the bus and the address of a device.
    fn place(&self, address: Node) -> Items {
        let number = |name| {
            address
                .attribute(name)
                .and_then(c_number)
                .unwrap_or_default()
        };
        let mut place = Items::default();
        match address.attribute("type") {
            Some("pci") => {
                let (slot, function) = (number("slot"), number("function"));
                place.set("bus", self.pci_bus(number("bus")));
                match function {
                    0 => place.set("addr", format!("{slot:#x}")),
                    _ => place.set("addr", format!("{slot:#x}.{function:#x}")),
                }
                if address.attribute("multifunction") == Some("on") {
                    place.set("multifunction", "on");
                }
            }
            Some("usb") => {
                place.set("bus", format!("{}.0", usb_id(number("bus"))));
                place.set_some("port", address.attribute("port"));
            }
            Some("virtio-serial") => {
                place.set("bus", format!("virtio-serial{}.0", number("controller")));
                place.set("nr", number("port"));
            }
            Some("ccw") => {
                let [cssid, ssid, number] = ["cssid", "ssid", "devno"].map(number);
                place.set("devno", format!("{cssid:x}.{ssid:x}.{number:04x}"));
            }
            Some("spapr-vio") => place.attributes(Some(address), &[("reg", "reg")]),
            Some("isa") => place.attributes(Some(address), &[("iobase", "iobase"), ("irq", "irq")]),
            Some("ccid") => place.set("bus", format!("ccid{}.0", number("controller"))),
            _ => {}
        }
        place
    }

    fn pci_bus(&self, index: u64) -> String {
        match index {
            0 => self.root_bus.to_owned(),
            // A host bridge has a bus called after it.
            _ if self.host_bridges.contains(&index) => format!("pci.{index}.0"),
            _ => format!("pci.{index}"),
        }
    }

    /// Leaves an element out.
    fn leave_out(&mut self, node: Node, reason: GuestReason) {
        node.settle();
        let attributes: Vec<(&str, &str)> = node.attributes().collect();
        self.leave_out_parts(node, &attributes, reason);
    }

    /// Leaves attributes of an element out.
    fn leave_out_parts(&mut self, node: Node, attributes: &[(&str, &str)], reason: GuestReason) {
        let attributes = attributes.iter();
        let attributes: String = attributes
            // A password is one.
            .filter(|(name, _)| !name.contains("passw"))
            .map(|(name, value)| format!(" {name}='{value}'"))
            .collect();
        let word = Word {
            line: self.line(node),
            text: format!("<{}{attributes}>", node.name()),
        };
        self.left_out.push((word, reason));
    }

    /// Names what no one read: there is no option for it.
    fn name_unread(&mut self, domain: Node) {
        for unread in domain.unread() {
            match unread {
                Unread::Element(node) => self.leave_out(node, GuestReason::UnknownElement),
                Unread::Parts(node, attributes) => {
                    self.leave_out_parts(node, &attributes, GuestReason::Unread);
                }
            }
        }
    }

    /// Returns the name of a device: that of the domain, or the one that libvirt gives it: modules of memory are numbered by
    /// their slots, and the others in their order.
    fn alias(&mut self, node: Node, kind: &str) -> String {
        if let Some(given) = attribute(node, "alias", "name") {
            return given.to_owned();
        }
        let family = if kind.ends_with("dimm") { "dimm" } else { kind };
        let before = self.numbered.iter().filter(|of| *of == family).count();
        self.numbered.push(family.to_owned());
        let slot = attribute(node, "address", "slot").filter(|_| family == "dimm");
        let number = slot.map_or_else(|| before.to_string(), str::to_owned);
        format!("{kind}{number}")
    }

    /// Returns a name for a backend that the domain itself has none for.
    fn backend(&mut self, kind: &str) -> String {
        self.backends += 1;
        format!("{kind}{}", self.backends)
    }

    /// Adds the options of `qemu:commandline`.
    fn pass_through(&mut self, domain: Node) {
        let lines = domain.elements("commandline");
        let args = lines.flat_map(|lines| lines.elements("arg"));
        let words = args.filter_map(|node| {
            Some(Word {
                line: self.line(node),
                text: node.attribute("value")?.to_owned(),
            })
        });
        let words = words.collect();
        self.options.extend(Description::options(words));
    }
}

/// The attributes of the `driver` element of any virtio device, with the properties that they are.
const VIRTIO: &[(&str, &str)] = &[
    ("iommu", "iommu_platform"),
    ("ats", "ats"),
    ("packed", "packed"),
    ("page_per_vq", "page-per-vq"),
];

/// Returns what `qemu:override` says of properties, each with the alias of its device.
fn overrides<'d>(domain: Node<'d>) -> Vec<(&'d str, Node<'d>)> {
    let devices = domain.elements("override");
    let devices = devices.flat_map(|all| all.elements("device"));
    let properties = devices.flat_map(|device| {
        let alias = device.attribute("alias").unwrap_or_default();
        let frontends = device.elements("frontend");
        let properties = frontends.flat_map(|frontend| frontend.elements("property"));
        properties.map(move |property| (alias, property))
    });
    properties.collect()
}

/// The names and values of an option, in their order.
#[derive(Debug, Default)]
struct Items(Vec<(String, Setting)>);

impl<const N: usize> From<[(&str, &str); N]> for Items {
    fn from(items: [(&str, &str); N]) -> Items {
        let items = items.map(|(name, value)| (name.to_owned(), Setting::Text(value.to_owned())));
        Items(items.into())
    }
}

impl Items {
    fn set(&mut self, name: &str, value: impl ToString) {
        let value = Setting::Text(value.to_string());
        self.0.push((name.to_owned(), value));
    }

    /// Adds a value, if there is one.
    fn set_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds the I/O threads that the `driver` element of a device names, each with its queues.
    fn threads(&mut self, driver: Option<Node>) {
        let Some(driver) = driver else {
            return;
        };
        let name = |id| format!("iothread{id}");
        self.set_some("iothread", driver.attribute("iothread").map(name));
        let threads = child(driver, "iothreads").into_iter();
        let threads = threads.flat_map(|threads| threads.elements("iothread"));
        let mapping = threads.map(|thread| {
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
    fn attributes(&mut self, node: Option<Node>, names: &[(&str, &str)]) {
        for (attribute, property) in names {
            self.set_some(property, node.and_then(|node| node.attribute(attribute)));
        }
    }

    fn extend(&mut self, more: Items) {
        self.0.extend(more.0);
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.text())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Joins names and values to an argument: JSON where a value is a list.
    fn join(&self) -> String {
        let items = self.0.iter();
        let plain: Option<Vec<(&str, &str)>> = items
            .map(|(name, value)| Some((name.as_str(), value.text()?)))
            .collect();
        let items = self.0.iter().map(|(name, value)| (name.as_str(), value));
        plain.map_or_else(|| json_option(items), join)
    }
}

/// Returns the first element of a name in another one; of `a/b` the first `b` in the first `a`.
fn child<'d>(node: Node<'d>, path: &str) -> Option<Node<'d>> {
    let mut names = path.split('/');
    names.try_fold(node, |node, name| node.elements(name).next())
}

/// Returns an attribute of the first element of a name in another one.
fn attribute<'d>(node: Node<'d>, path: &str, name: &str) -> Option<&'d str> {
    child(node, path)?.attribute(name)
}

fn on_off(is_on: bool) -> &'static str {
    match is_on {
        true => "on",
        false => "off",
    }
}

/// Returns the id of a USB controller.
fn usb_id(index: u64) -> String {
    match index {
        0 => "usb".to_owned(),
        index => format!("usb{index}"),
    }
}

/// Returns the bytes of the amount of memory in an element.
fn bytes(node: Node) -> Option<u64> {
    amount(node, node.text())
}

/// Returns the bytes of an amount of memory, which counts KiB unless the element names another unit.
fn amount(node: Node, digits: &str) -> Option<u64> {
    let amount: u64 = digits.parse().ok()?;
    amount.checked_mul(unit(node.attribute("unit").unwrap_or("KiB"))?)
}

/// Returns the bytes of a unit of libvirt, in capitals or not: `MiB` and `M` are powers of two, `MB` is one of ten.
fn unit(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    if matches!(name.as_str(), "b" | "byte" | "bytes") {
        return Some(1);
    }
    let prefix = name.chars().next()?;
    let power = "kmgtpe".find(prefix)? as u32 + 1;
    match &name[1..] {
        "" | "ib" => Some(1 << (10 * power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}
