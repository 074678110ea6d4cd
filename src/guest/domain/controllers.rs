//! Controllers of a domain: buses on which its devices sit.

use std::collections::BTreeSet;

use roxmltree::Node;

use crate::guest::domain::places::{is_usb, scsi_controller};
use crate::guest::domain::{Reader, child, elements, number, usb_id};
use crate::report::GuestReason;

pub(super) fn read(reader: &mut Reader, devices: Node) {
    let mut all: Vec<Node> = elements(devices, "controller").collect();
    // The buses come before what sits on them.
    let order = |node: &Node| {
        let is_pci = node.attribute("type") == Some("pci");
        let index = node.attribute("index").and_then(number).unwrap_or_default();
        // A companion of a USB controller comes after its master.
        let companion = child(*node, "master").is_some();
        (!is_pci, companion, index)
    };
    all.sort_by_key(order);
    for node in &all {
        controller(reader, *node);
    }
    implied(reader, devices, &all);
}

/// Adds the controllers that libvirt adds where a domain has devices for one and does not name it.
fn implied(reader: &mut Reader, devices: Node, named: &[Node]) {
    let index = |node: &Node| node.attribute("index").and_then(number).unwrap_or_default();
    let is_named = |kind: &str, wanted: u64| {
        let mut of_kind = named.iter().filter(|n| n.attribute("type") == Some(kind));
        of_kind.any(|node| index(node) == wanted)
    };
    let mut added = BTreeSet::new();
    for disk in elements(devices, "disk") {
        let Some(at) = scsi_controller(disk) else {
            continue;
        };
        if !is_named("scsi", at) && added.insert(at) {
            let driver = match reader.arch.as_str() {
                "x86_64" | "i386" => "lsi".to_owned(),
                _ => virtio(reader, "virtio-scsi", ""),
            };
            let items = [("driver", driver), ("id", format!("scsi{at}"))];
            reader.add_list(disk, "device", &items);
        }
    }
    let has_port = |node: &Node| {
        let target = child(*node, "target");
        target.and_then(|target| target.attribute("type")) == Some("virtio")
    };
    let ports = elements(devices, "console").chain(elements(devices, "channel"));
    let mut added = BTreeSet::new();
    for port in ports.filter(has_port) {
        let address = child(port, "address").and_then(|address| address.attribute("controller"));
        let at = address.and_then(number).unwrap_or_default();
        if !is_named("virtio-serial", at) && added.insert(at) {
            let driver = virtio(reader, "virtio-serial", "");
            let items = [("driver", driver), ("id", format!("virtio-serial{at}"))];
            reader.add_list(port, "device", &items);
        }
    }
    let has_usb = named.iter().any(|n| n.attribute("type") == Some("usb"));
    let input = |node: &Node| node.attribute("bus").unwrap_or("usb") == "usb";
    let first = elements(devices, "disk")
        .filter(|disk| is_usb(*disk))
        .chain(elements(devices, "input").filter(input))
        .chain(elements(devices, "hub"))
        .next();
    if let (Some(node), false) = (first, has_usb) {
        let driver = match reader.arch.as_str() {
            "x86_64" | "i386" => "piix3-usb-uhci",
            _ => "qemu-xhci",
        };
        let items = [("driver", driver.to_owned()), ("id", "usb".to_owned())];
        reader.add_list(node, "device", &items);
    }
}

fn controller(reader: &mut Reader, node: Node) {
    let index = node.attribute("index").and_then(number).unwrap_or_default();
    let model = node.attribute("model").unwrap_or_default();
    match node.attribute("type").unwrap_or_default() {
        "pci" => pci(reader, node, model, index),
        "usb" => usb(reader, node, model, index),
        "virtio-serial" => {
            let mut items = vec![("id", format!("virtio-serial{index}"))];
            for (attribute, property) in [("ports", "max_ports"), ("vectors", "vectors")] {
                let value = node.attribute(attribute);
                items.extend(value.map(|value| (property, value.to_owned())));
            }
            reader.add_device(node, &virtio(reader, "virtio-serial", model), items);
        }
        "scsi" => {
            let driver = match model {
                "virtio-scsi" | "virtio-transitional" | "virtio-non-transitional" => {
                    let model = if model == "virtio-scsi" { "" } else { model };
                    virtio(reader, "virtio-scsi", model)
                }
                "lsilogic" | "" | "auto" => "lsi".to_owned(),
                "lsisas1068" => "mptsas1068".to_owned(),
                "lsisas1078" => "megasas".to_owned(),
                "vmpvscsi" => "pvscsi".to_owned(),
                "ncr53c90" => "am53c974".to_owned(),
                "ibmvscsi" => "spapr-vscsi".to_owned(),
                other => other.to_lowercase(),
            };
            let mut items = vec![("id", format!("scsi{index}"))];
            if let Some(settings) = child(node, "driver") {
                for (attribute, property) in [
                    ("queues", "num_queues"),
                    ("cmd_per_lun", "cmd_per_lun"),
                    ("max_sectors", "max_sectors"),
                ] {
                    let value = settings.attribute(attribute);
                    items.extend(value.map(|value| (property, value.to_owned())));
                }
                let thread = settings.attribute("iothread");
                items.extend(thread.map(|id| ("iothread", format!("iothread{id}"))));
            }
            reader.add_device(node, &driver, items);
        }
        // That of the chipset is there already.
        "sata" if reader.is_q35 && index == 0 => {}
        "sata" => reader.add_device(node, "ahci", vec![("id", format!("sata{index}"))]),
        "ide" => {}
        "fdc" if reader.is_q35 => {
            reader.add_device(node, "isa-fdc", vec![("id", format!("fdc{index}"))]);
        }
        "fdc" => {}
        "ccid" => reader.add_device(node, "usb-ccid", vec![("id", format!("ccid{index}"))]),
        _ => reader.leave_out(node, GuestReason::UnknownElement),
    }
}

/// Returns the type of a virtio device on the bus of the architecture.
pub(super) fn virtio(reader: &Reader, kind: &str, model: &str) -> String {
    let transport = if reader.arch == "s390x" { "ccw" } else { "pci" };
    match model {
        "virtio-transitional" => format!("{kind}-pci-transitional"),
        "virtio-non-transitional" => format!("{kind}-pci-non-transitional"),
        _ => format!("{kind}-{transport}"),
    }
}

fn pci(reader: &mut Reader, node: Node, model: &str, index: u64) {
    let named = child(node, "model").and_then(|model| model.attribute("name"));
    let target = child(node, "target");
    let of = |name: &str| {
        target
            .and_then(|target| target.attribute(name))
            .and_then(number)
    };
    let mut items = vec![("id", format!("pci.{index}"))];
    let driver = match model {
        "pci-root" | "pcie-root" => return,
        "pcie-root-port" => {
            items.extend(of("port").map(|port| ("port", port.to_string())));
            items.extend(of("chassis").map(|chassis| ("chassis", chassis.to_string())));
            named.unwrap_or("pcie-root-port")
        }
        "pcie-switch-downstream-port" => {
            items.extend(of("port").map(|port| ("port", port.to_string())));
            items.extend(of("chassis").map(|chassis| ("chassis", chassis.to_string())));
            "xio3130-downstream"
        }
        "pcie-switch-upstream-port" => "x3130-upstream",
        "dmi-to-pci-bridge" => "i82801b11-bridge",
        "pcie-to-pci-bridge" => "pcie-pci-bridge",
        "pci-bridge" => {
            let number = of("chassisNr").unwrap_or(index);
            items.push(("chassis_nr", number.to_string()));
            "pci-bridge"
        }
        "pci-expander-bus" | "pcie-expander-bus" => {
            items.extend(of("busNr").map(|number| ("bus_nr", number.to_string())));
            let node = target.and_then(|target| child(target, "node"));
            items.extend(node.map(|node| ("numa_node", super::text(node).to_owned())));
            if model == "pci-expander-bus" {
                "pxb"
            } else {
                "pxb-pcie"
            }
        }
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    reader.add_device(node, driver, items);
}

fn usb(reader: &mut Reader, node: Node, model: &str, index: u64) {
    let driver = match model {
        "none" => return,
        "piix3-uhci" | "" => "piix3-usb-uhci",
        "piix4-uhci" => "piix4-usb-uhci",
        "ehci" => "usb-ehci",
        "ich9-ehci1" => "ich9-usb-ehci1",
        "ich9-uhci1" => "ich9-usb-uhci1",
        "ich9-uhci2" => "ich9-usb-uhci2",
        "ich9-uhci3" => "ich9-usb-uhci3",
        "vt82c686b-uhci" => "vt82c686b-usb-uhci",
        "nec-xhci" => "nec-usb-xhci",
        other => other,
    };
    let mut items = Vec::new();
    match child(node, "master").and_then(|master| master.attribute("startport")) {
        Some(port) => {
            items.push(("masterbus", format!("{}.0", usb_id(index))));
            items.push(("firstport", port.to_owned()));
        }
        None => items.push(("id", usb_id(index))),
    }
    if let Some(ports) = node.attribute("ports") {
        items.extend([("p2", ports.to_owned()), ("p3", ports.to_owned())]);
    }
    let driver = driver.to_owned();
    if child(node, "master").is_some() {
        // All parts of it have the same alias.
        let address = child(node, "address").map(|address| reader.place(address));
        items.extend(address.into_iter().flatten());
        let mut all = vec![("driver", driver)];
        all.extend(items);
        return reader.add_list(node, "device", &all);
    }
    reader.add_device(node, &driver, items);
}
