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
    options: Vec<Given>,
    left_out: Vec<(Word, GuestReason)>,
    /// The number of backends so far, for their names.
    backends: usize,
}

impl<'d> Reader<'d> {
    fn of(document: &'d Document<'d>, domain: Node) -> Reader<'d> {
        let of = |name| attribute(domain, "os/type", name).unwrap_or_default();
        let arch = match of("arch") {
            "" => "x86_64",
            name => machine::target_called(name).unwrap_or(name),
        };
        Reader {
            document,
            arch: arch.to_owned(),
            is_q35: of("machine").contains("q35"),
            options: Vec::new(),
            left_out: Vec::new(),
            backends: 0,
        }
    }

    fn line(&self, node: Node) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
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
        if let (Some(address), false) = (child(node, "address"), all.has("bus")) {
            all.extend(self.place(address));
        }
        // A floppy disk has its place in the order by its controller.
        if driver != "floppy" {
            all.set_some("bootindex", attribute(node, "boot", "order"));
        }
        if let Some(bar) = attribute(node, "rom", "bar") {
            all.set("rombar", u8::from(bar != "off"));
        }
        self.add_list(node, "device", all);
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
                place.set("port", address.attribute("port").unwrap_or_default());
            }
            Some("virtio-serial") => {
                place.set("bus", format!("virtio-serial{}.0", number("controller")));
                place.set("nr", number("port"));
            }
            Some("isa") => place.attributes(Some(address), &[("iobase", "iobase"), ("irq", "irq")]),
            Some("ccid") => place.set("bus", format!("ccid{}.0", number("controller"))),
            _ => {}
        }
        place
    }

    fn pci_bus(&self, index: u64) -> String {
        match index == 0 && (self.is_q35 || matches!(self.arch.as_str(), "aarch64" | "riscv64")) {
            true => "pcie.0".to_owned(),
            false => format!("pci.{index}"),
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
        let lines = elements(domain, "commandline");
        let args = lines.flat_map(|lines| elements(lines, "arg"));
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

/// The names and values of an option, in their order.
#[derive(Debug, Default)]
struct Items(Vec<(String, String)>);

impl<const N: usize> From<[(&str, &str); N]> for Items {
    fn from(items: [(&str, &str); N]) -> Items {
        Items(
            items
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

impl Items {
    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// Adds a value, if there is one.
    fn set_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Adds the attributes that an element has, each under the name of a property.
    fn attributes(&mut self, node: Option<Node>, names: &[(&str, &str)]) {
        for (attribute, property) in names {
            self.set_some(property, node.and_then(|node| node.attribute(*attribute)));
        }
    }

    fn extend(&mut self, more: Items) {
        self.0.extend(more.0);
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn join(&self) -> String {
        join(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// Returns the first element of a name in another one; of `a/b` the first `b` in the first `a`.
fn child<'a, 'i>(node: Node<'a, 'i>, path: &str) -> Option<Node<'a, 'i>> {
    let mut names = path.split('/');
    names.try_fold(node, |node, name| elements(node, name).next())
}

/// Returns an attribute of the first element of a name in another one.
fn attribute<'a>(node: Node<'a, '_>, path: &str, name: &str) -> Option<&'a str> {
    child(node, path)?.attribute(name)
}

/// Returns all elements of a name in another one, whatever their namespace.
fn elements<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    let children = node.children().filter(Node::is_element);
    children.filter(move |child| child.tag_name().name() == name)
}

fn on_off(is_on: bool) -> &'static str {
    match is_on {
        true => "on",
        false => "off",
    }
}

/// Returns the text of an element.
fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
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
    amount(node, text(node))
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
