//! Controllers of a domain: buses on which its devices sit.

use std::collections::BTreeSet;

use crate::guest::domain::node::Node;
use crate::guest::domain::places::{bus_of, scsi_controller};
use crate::guest::domain::{Items, Reader, attribute, bytes, child, usb_id};
use crate::model::c_number;
use crate::report::GuestReason;

pub(super) fn read(reader: &mut Reader, devices: Node) {
    let mut all: Vec<Node> = devices.elements("controller").collect();
    // The buses come before what sits on them.
    let order = |node: &Node| {
        let kind = node.attribute("type").unwrap_or_default();
        let place = ORDER.iter().position(|known| *known == kind);
        // A companion of a USB controller comes after its master.
        let companion = child(*node, "master").is_some();
        (place.unwrap_or(ORDER.len()), companion, index_of(*node))
    };
    all.sort_by_key(order);
    let is_on_usb = |node: &&Node| node.attribute("type") == Some("ccid");
    for node in all.iter().filter(|node| !is_on_usb(node)) {
        controller(reader, *node);
    }
    implied(reader, devices, &all);
    // What is on a hub may come before it in the domain.
    for hub in devices.elements("hub") {
        reader.add_device(hub, "usb-hub", []);
    }
    for node in all.iter().filter(is_on_usb) {
        controller(reader, *node);
    }
}

/// The kinds of controllers that others may sit on, in the order in which libvirt names them.
const ORDER: &[&str] = &["pci", "usb"];

/// Returns the number of a controller.
pub(super) fn index_of(node: Node) -> u64 {
    node.attribute("index")
        .and_then(c_number)
        .unwrap_or_default()
}

/// Adds the controllers that libvirt adds where a domain has devices for one and does not name it.
fn implied(reader: &mut Reader, devices: Node, named: &[Node]) {
    let is_named = |kind: &str, wanted: u64| {
        let mut of_kind = named.iter().filter(|n| n.attribute("type") == Some(kind));
        of_kind.any(|node| index_of(*node) == wanted)
    };
    let mut added = BTreeSet::new();
    for disk in devices.elements("disk") {
        let Some(at) = scsi_controller(disk) else {
            continue;
        };
        if !is_named("scsi", at) && added.insert(at) {
            let driver = usual_scsi(reader, disk);
            let id = format!("scsi{at}");
            reader.add_list(disk, "device", [("driver", &*driver), ("id", &id)]);
        }
    }
    let ports = devices
        .elements("console")
        .chain(devices.elements("channel"));
    let mut added = BTreeSet::new();
    for port in ports.filter(|port| attribute(*port, "target", "type") == Some("virtio")) {
        let at = attribute(port, "address", "controller").and_then(c_number);
        let at = at.unwrap_or_default();
        if !is_named("virtio-serial", at) && added.insert(at) {
            let driver = virtio(reader, port, "virtio-serial", "");
            let id = format!("virtio-serial{at}");
            reader.add_list(port, "device", [("driver", &*driver), ("id", &id)]);
        }
    }
    let has_usb = named.iter().any(|n| n.attribute("type") == Some("usb"));
    let input = |node: &Node| node.attribute("bus").unwrap_or("usb") == "usb";
    let first = devices
        .elements("disk")
        .filter(|disk| bus_of(*disk) == "usb")
        .chain(devices.elements("input").filter(input))
        .chain(devices.elements("hub"))
        .next();
    let gets_one = reader.is_as_written && reader.gets_defaults && reader.arch != "s390x";
    let first = first.or(gets_one.then_some(devices));
    if let (Some(node), false) = (first, has_usb) {
        let driver = match reader.is_x86() && !reader.is_q35 {
            true => "piix3-usb-uhci",
            false => "qemu-xhci",
        };
        reader.add_list(node, "device", [("driver", driver), ("id", "usb")]);
    }
}

fn controller(reader: &mut Reader, node: Node) {
    let index = index_of(node);
    let model = node.attribute("model").unwrap_or_default();
    let kind = node.attribute("type").unwrap_or_default();
    let mut items = Items::default();
    items.set("id", format!("{kind}{index}"));
    match kind {
        "pci" => pci(reader, node, model, index),
        "usb" => usb(reader, node, model, index),
        "virtio-serial" => {
            items.attributes(
                Some(node),
                &[("ports", "max_ports"), ("vectors", "vectors")],
            );
            reader.add_device(node, &virtio(reader, node, "virtio-serial", model), items);
        }
        "scsi" => {
            let driver = scsi(reader, node);
            let settings = child(node, "driver");
            items.attributes(
                settings,
                &[
                    ("queues", "num_queues"),
                    ("cmd_per_lun", "cmd_per_lun"),
                    ("max_sectors", "max_sectors"),
                    ("ioeventfd", "ioeventfd"),
                ],
            );
            items.threads(settings);
            reader.add_device(node, &driver, items);
        }
        // Those of the chipset are there already.
        "sata" if reader.is_q35 && index == 0 => node.settle(),
        "fdc" if !reader.is_q35 => node.settle(),
        "ide" => node.settle(),
        "sata" => reader.add_device(node, "ahci", items),
        "fdc" => reader.add_device(node, "isa-fdc", items),
        "ccid" => reader.add_device(node, "usb-ccid", items),
        _ => reader.leave_out(node, GuestReason::UnknownElement),
    }
}

/// Returns the bus of a virtio device as types of devices name it: that of its address, or else that of the architecture.
pub(super) fn transport(reader: &Reader, node: Node) -> &'static str {
    match attribute(node, "address", "type") {
        Some("ccw") => "ccw",
        Some("virtio-mmio") => "device",
        Some("pci") => "pci",
        _ if reader.arch == "s390x" => "ccw",
        _ => "pci",
    }
}

/// Returns the type of a virtio device on its bus.
pub(super) fn virtio(reader: &Reader, node: Node, kind: &str, model: &str) -> String {
    match model {
        "virtio-transitional" => format!("{kind}-pci-transitional"),
        "virtio-non-transitional" => format!("{kind}-pci-non-transitional"),
        _ => format!("{kind}-{}", transport(reader, node)),
    }
}

/// Returns the type of a SCSI controller.
pub(super) fn scsi(reader: &Reader, node: Node) -> String {
    let known = match node.attribute("model").unwrap_or_default() {
        "" | "auto" => return usual_scsi(reader, node),
        model @ ("virtio-scsi" | "virtio-transitional" | "virtio-non-transitional") => {
            return virtio(reader, node, "virtio-scsi", model);
        }
        "lsilogic" => "lsi",
        "lsisas1068" => "mptsas1068",
        "lsisas1078" => "megasas",
        "vmpvscsi" => "pvscsi",
        "ncr53c90" => "am53c974",
        "ibmvscsi" => "spapr-vscsi",
        other => other,
    };
    known.to_lowercase()
}

/// Returns the type of the SCSI controller that libvirt takes where no model is named.
pub(super) fn usual_scsi(reader: &Reader, node: Node) -> String {
    match reader.arch.as_str() {
        "ppc64" => "spapr-vscsi".to_owned(),
        "s390x" | "loongarch64" => virtio(reader, node, "virtio-scsi", ""),
        _ => "lsi".to_owned(),
    }
}

fn pci(reader: &mut Reader, node: Node, model: &str, index: u64) {
    let of = |name| attribute(node, "target", name).and_then(c_number);
    let mut items = Items::default();
    items.set("id", format!("pci.{index}"));
    if matches!(model, "pcie-root-port" | "pcie-switch-downstream-port") {
        items.set_some("port", of("port"));
        items.set_some("chassis", of("chassis"));
        items.attributes(child(node, "target"), &[("hotplug", "hotplug")]);
    }
    let reserved = of("memReserve").and_then(|kib| kib.checked_mul(1024));
    items.set_some("mem-reserve", reserved);
    let name = attribute(node, "model", "name");
    if let Some(hole) = child(node, "pcihole64") {
        let host = match model {
            "pcie-root" => "q35-pcihost",
            _ => "i440FX-pcihost",
        };
        let size = bytes(hole).unwrap_or_default();
        reader.add(hole, "global", format!("{host}.pci-hole64-size={size}"));
    }
    let driver = match model {
        "pci-root" if index > 0 => {
            items.set_some("index", of("index"));
            items.set_some("numa_node", child(node, "target/node").map(Node::text));
            "spapr-pci-host-bridge"
        }
        "pci-root" | "pcie-root" => {
            if let Some(hotplug) = attribute(node, "target", "hotplug") {
                let option = format!("PIIX4_PM.acpi-root-pci-hotplug={hotplug}");
                reader.add(node, "global", option);
            }
            return node.settle();
        }
        "pcie-root-port" => name.unwrap_or("pcie-root-port"),
        "pcie-switch-downstream-port" => "xio3130-downstream",
        "pcie-switch-upstream-port" => "x3130-upstream",
        "dmi-to-pci-bridge" => "i82801b11-bridge",
        "pcie-to-pci-bridge" => "pcie-pci-bridge",
        "pci-bridge" => {
            items.set("chassis_nr", of("chassisNr").unwrap_or(index));
            "pci-bridge"
        }
        "pci-expander-bus" | "pcie-expander-bus" => {
            items.set_some("bus_nr", of("busNr"));
            items.set_some("numa_node", child(node, "target/node").map(Node::text));
            match model {
                "pci-expander-bus" => "pxb",
                _ => "pxb-pcie",
            }
        }
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    reader.add_device(node, driver, items);
}

fn usb(reader: &mut Reader, node: Node, model: &str, index: u64) {
    let driver = match model {
        "none" => return,
        // What libvirt takes for a domain that names none.
        "" if reader.arch == "s390x" => return node.settle(),
        "" if reader.arch == "ppc64" => "pci-ohci",
        "" if matches!(reader.arch.as_str(), "aarch64" | "loongarch64") => "qemu-xhci",
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
    let mut items = Items::default();
    let master = child(node, "master");
    match master.and_then(|master| master.attribute("startport")) {
        Some(port) => {
            items.set("masterbus", format!("{}.0", usb_id(index)));
            items.set("firstport", port);
        }
        None => items.set("id", usb_id(index)),
    }
    items.attributes(Some(node), &[("ports", "p2"), ("ports", "p3")]);
    if master.is_none() {
        return reader.add_device(node, driver, items);
    }
    // All parts of it have the same alias.
    let mut all = Items::from([("driver", driver)]);
    all.extend(items);
    if let Some(address) = child(node, "address") {
        all.extend(reader.place(address));
    }
    reader.add_list(node, "device", all);
}
