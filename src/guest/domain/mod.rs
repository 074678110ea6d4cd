//! A libvirt domain: its elements as the options that libvirt starts QEMU with. They go through the same checks as
//! those of a command line.

mod board;
mod controllers;
mod cpu;
mod devices;
mod disks;
mod features;
mod immaterial;
mod items;
mod memory;
mod node;
mod places;

use roxmltree::{Document, ParsingOptions};

use crate::guest::domain::controllers::index_of;
use crate::guest::domain::items::Items;
use crate::guest::domain::node::{Node, Record, Unread};
use crate::guest::error::ReadError;
use crate::guest::given::{Description, Given, Word};
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
        if reader.is_as_written && devices.children().next().is_some() {
            reader.leave_out_parts(devices, &[], GuestReason::AsWritten);
        }
    }
    reader.pass_through(domain);
    reader.name_unread(domain);
    Ok(Description {
        format: GuestFormat::DomainXml,
        program: Some(format!("qemu-system-{}", reader.arch)),
        around: Vec::new(),
        left_out: reader.left_out,
        options: reader.options,
        has_config: false,
    })
}

/// A domain that is being read.
struct Reader<'d> {
    document: &'d Document<'d>,
    arch: String,
    is_q35: bool,
    /// The machine is the one that no hardware is like.
    is_virt: bool,
    /// The domain is as somebody wrote it: libvirt gives each device of a machine an address, and adds some.
    is_as_written: bool,
    /// libvirt adds a balloon to such a machine, and on some processors a USB controller.
    gets_defaults: bool,
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
        let pci =
            all(domain, "devices/controller").filter(|node| node.attribute("type") == Some("pci"));
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
        let devices = child(domain, "devices");
        let is_placed = |node: Node| {
            let kind = attribute(node, "address", "type");
            matches!(kind, Some("pci" | "ccw" | "spapr-vio" | "virtio-mmio"))
        };
        let is_as_written = devices.is_some_and(|all| !all.children().any(is_placed));
        let gets_defaults = match arch {
            "x86_64" | "i386" => !matches!(of("machine"), "isapc" | "microvm"),
            name => matches!(name, "ppc64" | "s390x"),
        };
        Reader {
            document,
            arch: arch.to_owned(),
            is_q35,
            is_virt,
            is_as_written,
            gets_defaults,
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

    /// Defines a character device, and returns its name.
    fn chardev(&mut self, node: Node) -> String {
        let id = self.backend("char");
        self.add_list(node, "chardev", [("backend", "pty"), ("id", &id)]);
        id
    }

    /// Adds a device with its bus and address.
    fn add_device(&mut self, node: Node, driver: &str, items: impl Into<Items>) {
        let mut all = Items::from([("driver", driver)]);
        all.extend(items.into());
        if !all.has("id") {
            all.set_some("id", attribute(node, "alias", "name"));
        }
        if driver.starts_with("virtio-") || driver.starts_with("vhost-user-") {
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
            items.remove(of("name"));
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
    let properties = all(domain, "override/device").flat_map(|device| {
        let alias = device.attribute("alias").unwrap_or_default();
        all(device, "frontend/property").map(move |property| (alias, property))
    });
    properties.collect()
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

/// Returns all elements that a path leads to: of `a/b` each `b` in the first `a`.
fn all<'d>(node: Node<'d>, path: &str) -> impl Iterator<Item = Node<'d>> {
    let (around, name) = path.rsplit_once('/').unwrap_or((".", path));
    let around = match around {
        "." => Some(node),
        path => child(node, path),
    };
    around.into_iter().flat_map(move |node| node.elements(name))
}

fn timer<'d>(domain: Node<'d>, name: &str) -> Option<Node<'d>> {
    let mut timers = child(domain, "clock")?.elements("timer");
    timers.find(|timer| timer.attribute("name") == Some(name))
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
