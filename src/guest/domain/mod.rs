//! A libvirt domain: its elements as the options that libvirt starts QEMU with. They go through the same checks as
//! those of a command line.

mod board;
mod controllers;
mod devices;
mod disks;
mod places;

use roxmltree::{Document, Node, ParsingOptions};

use crate::guest::error::ReadError;
use crate::guest::given::{Description, Given, Word};
use crate::guest::opts::join;
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
    let mut elements = document.descendants().filter(Node::is_element);
    let domain = elements
        .find(|node| node.tag_name().name() == "domain")
        .ok_or(ReadError::NoDomain)?;
    let mut reader = Reader::of(&document, domain);
    board::read(&mut reader, domain);
    if let Some(devices) = child(domain, "devices") {
        controllers::read(&mut reader, devices);
        devices::read(&mut reader, devices);
    }
    reader.pass_through(domain);
    Ok(reader.finish())
}

/// A domain that is being read.
struct Reader<'d> {
    document: &'d Document<'d>,
    arch: String,
    is_q35: bool,
    options: Vec<Given>,
    left_out: Vec<(Word, GuestReason)>,
    /// The number of backends so far, for their names.
    backends: usize,
}

impl<'d> Reader<'d> {
    fn of(document: &'d Document<'d>, domain: Node) -> Reader<'d> {
        let kind = child(domain, "os").and_then(|os| child(os, "type"));
        let attribute = |name| {
            kind.and_then(|kind| kind.attribute(name))
                .unwrap_or_default()
        };
        let machine = attribute("machine");
        let arch = match attribute("arch") {
            "" => "x86_64",
            name => machine::target_called(name).unwrap_or(name),
        };
        Reader {
            document,
            arch: arch.to_owned(),
            is_q35: machine.contains("q35"),
            options: Vec::new(),
            left_out: Vec::new(),
            backends: 0,
        }
    }

    fn line(&self, node: Node) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
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
    fn add_list(&mut self, node: Node, name: &str, items: &[(&str, String)]) {
        let items = items.iter().map(|(name, value)| (*name, value.as_str()));
        self.add(node, name, join(items));
    }

    /// Adds a device with its bus and address.
    fn add_device(&mut self, node: Node, driver: &str, items: Vec<(&str, String)>) {
        let mut all = vec![("driver", driver.to_owned())];
        all.extend(items);
        let id = child(node, "alias").and_then(|alias| alias.attribute("name"));
        if let (Some(id), false) = (id, all.iter().any(|(name, _)| *name == "id")) {
            all.push(("id", id.to_owned()));
        }
        let has_place = all.iter().any(|(name, _)| *name == "bus");
        if let (Some(address), false) = (child(node, "address"), has_place) {
            all.extend(self.place(address));
        }
        let order = child(node, "boot").and_then(|boot| boot.attribute("order"));
        // A floppy disk has its place in the order by its controller.
        if let Some(order) = order.filter(|_| driver != "floppy") {
            all.push(("bootindex", order.to_owned()));
        }
        if let Some(bar) = child(node, "rom").and_then(|rom| rom.attribute("bar")) {
            let on = if bar == "off" { "0" } else { "1" };
            all.push(("rombar", on.to_owned()));
        }
        self.add_list(node, "device", &all);
    }

    /// Returns the bus and the address of a device.
    fn place(&self, address: Node) -> Vec<(&'static str, String)> {
        let attribute = |name| address.attribute(name);
        let number = |name| attribute(name).and_then(number).unwrap_or_default();
        match attribute("type") {
            Some("pci") => {
                let function = number("function");
                let slot = number("slot");
                let mut place = vec![
                    ("bus", self.pci_bus(number("bus"))),
                    (
                        "addr",
                        match function {
                            0 => format!("{slot:#x}"),
                            _ => format!("{slot:#x}.{function:#x}"),
                        },
                    ),
                ];
                if attribute("multifunction") == Some("on") {
                    place.push(("multifunction", "on".to_owned()));
                }
                place
            }
            Some("usb") => vec![
                ("bus", format!("{}.0", usb_id(number("bus")))),
                ("port", attribute("port").unwrap_or_default().to_owned()),
            ],
            Some("virtio-serial") => vec![
                ("bus", format!("virtio-serial{}.0", number("controller"))),
                ("nr", number("port").to_string()),
            ],
            Some("isa") => {
                let of = |name, to| attribute(name).map(|value: &str| (to, value.to_owned()));
                [of("iobase", "iobase"), of("irq", "irq")]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Some("ccid") => vec![("bus", format!("ccid{}.0", number("controller")))],
            _ => Vec::new(),
        }
    }

    fn pci_bus(&self, index: u64) -> String {
        match (
            index,
            self.is_q35 || matches!(self.arch.as_str(), "aarch64" | "riscv64"),
        ) {
            (0, true) => "pcie.0".to_owned(),
            (index, _) => format!("pci.{index}"),
        }
    }

    /// Leaves an element out.
    fn leave_out(&mut self, node: Node, reason: GuestReason) {
        let attributes: String = node
            .attributes()
            // A password is one.
            .filter(|attribute| !attribute.name().contains("passw"))
            .map(|attribute| format!(" {}='{}'", attribute.name(), attribute.value()))
            .collect();
        let word = Word {
            line: self.line(node),
            text: format!("<{}{attributes}>", node.tag_name().name()),
        };
        self.left_out.push((word, reason));
    }

    /// Returns a name for a backend that the domain itself has none for.
    fn backend(&mut self, kind: &str) -> String {
        self.backends += 1;
        format!("{kind}{}", self.backends)
    }

    /// Adds the options of `qemu:commandline`.
    fn pass_through(&mut self, domain: Node) {
        let mut words = Vec::new();
        for node in elements(domain, "commandline").flat_map(|node| node.children()) {
            if let Some(value) = node
                .attribute("value")
                .filter(|_| node.has_tag_name_of("arg"))
            {
                words.push(Word {
                    line: self.line(node),
                    text: value.to_owned(),
                });
            }
        }
        self.options.extend(Description::options(words));
    }

    fn finish(self) -> Description {
        Description {
            format: GuestFormat::DomainXml,
            program: Some(format!("qemu-system-{}", self.arch)),
            around: Vec::new(),
            left_out: self.left_out,
            options: self.options,
        }
    }
}

/// The names of elements, whatever their namespace.
trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// Returns the first element of a name in another one.
fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name_of(name))
}

/// Returns all elements of a name in another one.
fn elements<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    let children = node.children();
    children.filter(move |child| child.has_tag_name_of(name))
}

/// Returns the text of an element.
fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

/// Reads a number, in hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Returns the id of a USB controller.
fn usb_id(index: u64) -> String {
    match index {
        0 => "usb".to_owned(),
        index => format!("usb{index}"),
    }
}

/// Returns the bytes of an amount of memory, which has KiB by default.
fn bytes(node: Node) -> Option<u64> {
    let amount: u64 = text(node).parse().ok()?;
    let unit = match node.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    amount.checked_mul(unit)
}
