//! Disks of a domain.

use crate::guest::domain::controllers::{index_of, scsi, usual_scsi, virtio};
use crate::guest::domain::node::Node;
use crate::guest::domain::places::{bus_of, by_name};
use crate::guest::domain::{Items, Reader, attribute, child, on_off};
use crate::model::c_number;
use crate::report::GuestReason;

pub(super) fn disk(reader: &mut Reader, node: Node) {
    let kind = node.attribute("device").unwrap_or("disk");
    match node.attribute("type") {
        Some("vhostvdpa") => return reader.leave_out(node, GuestReason::HostDevice),
        Some("vhostuser") => return served(reader, node, kind),
        _ => {}
    }
    // Every disk has a node of its own, whatever it is made of.
    let drive = reader.backend("libvirt-disk");
    let has_medium = child(node, "source").is_some() || !matches!(kind, "cdrom" | "floppy");
    let read_only = child(node, "readonly").is_some() || kind == "cdrom";
    if has_medium {
        let blockdev = [
            ("driver", "file"),
            ("node-name", &drive),
            ("filename", "image"),
            ("read-only", on_off(read_only)),
        ];
        reader.add_list(node, "blockdev", blockdev);
    }
    let mut items = Items::default();
    let Some(driver) = driver(reader, node, kind, &mut items) else {
        return reader.leave_out(node, GuestReason::UnknownElement);
    };
    if has_medium {
        items.set("drive", drive);
    }
    settings(node, kind, &mut items);
    reader.add_device(node, &driver, items);
}

/// A disk whose requests another program serves, as SPDK. Each is on a virtio bus.
fn served(reader: &mut Reader, node: Node, kind: &str) {
    let model = node.attribute("model").unwrap_or_default();
    let driver = virtio(reader, node, "vhost-user-blk", model);
    let mut items = Items::default();
    items.set("chardev", reader.chardev(node));
    settings(node, kind, &mut items);
    reader.add_device(node, &driver, items);
}

/// Returns the driver of a disk of a kind, and adds its place on the bus that it is on. `None` for a bus that is not known.
fn driver(reader: &mut Reader, node: Node, kind: &str, items: &mut Items) -> Option<String> {
    let name = attribute(node, "target", "dev").unwrap_or_default();
    let bus = bus_of(node);
    let address = child(node, "address");
    let at = |place: &str| match address {
        Some(address) => address
            .attribute(place)
            .and_then(c_number)
            .unwrap_or_default(),
        None => by_name(bus, name, place),
    };
    let is_cd = kind == "cdrom";
    let ide = if is_cd { "ide-cd" } else { "ide-hd" };
    let model = node.attribute("model").unwrap_or_default();
    let of_virtio = virtio(reader, node, "virtio-blk", model);
    let driver = match bus {
        "virtio" => &of_virtio,
        "ide" => {
            items.set("bus", format!("ide.{}", at("bus")));
            items.set("unit", at("unit"));
            ide
        }
        "sata" => {
            let of = match (reader.is_q35, at("controller")) {
                (true, 0) => "ide".to_owned(),
                (_, controller) => format!("sata{controller}"),
            };
            items.set("bus", format!("{of}.{}", at("unit")));
            ide
        }
        "scsi" => {
            items.set("bus", format!("scsi{}.0", at("controller")));
            match numbers_disks(reader, node, at("controller")) {
                true => items.set("scsi-id", at("unit")),
                false => {
                    items.set("channel", at("bus"));
                    items.set("scsi-id", at("target"));
                    items.set("lun", at("unit"));
                }
            }
            match kind {
                "cdrom" => "scsi-cd",
                "lun" => "scsi-block",
                _ => "scsi-hd",
            }
        }
        "usb" => "usb-storage",
        bus if kind == "floppy" || bus == "fdc" => {
            items.set("unit", at("unit"));
            if reader.is_q35 {
                items.set("bus", format!("fdc{}.0", at("controller")));
            }
            "floppy"
        }
        _ => return None,
    };
    Some(driver.to_owned())
}

/// Adds what the elements of a disk set.
fn settings(node: Node, kind: &str, items: &mut Items) {
    // An ATA disk has one name, and a SCSI disk two.
    let product = match bus_of(node) {
        "ide" | "sata" => "model",
        _ => "product",
    };
    for (element, property) in [
        ("serial", "serial"),
        ("vendor", "vendor"),
        ("product", product),
    ] {
        items.set_some(property, child(node, element).map(Node::text));
    }
    let name = child(node, "wwn").map(Node::text);
    items.set_some(
        "wwn",
        name.map(|name| format!("0x{}", name.trim_start_matches("0x"))),
    );
    items.attributes(
        child(node, "target"),
        &[
            ("removable", "removable"),
            ("rotation_rate", "rotation_rate"),
        ],
    );
    let driver = child(node, "driver");
    items.attributes(
        driver,
        &[
            ("queues", "num-queues"),
            ("queue_size", "queue-size"),
            ("event_idx", "event_idx"),
            ("ioeventfd", "ioeventfd"),
        ],
    );
    let cache = driver.and_then(|driver| driver.attribute("cache"));
    items.set_some(
        "write-cache",
        cache.filter(|_| kind != "lun").and_then(write_cache),
    );
    items.threads(driver);
    items.attributes(
        child(node, "blockio"),
        &[
            "logical_block_size",
            "physical_block_size",
            "discard_granularity",
        ]
        .map(|size| (size, size)),
    );
    items.attributes(
        child(node, "geometry"),
        &[
            ("cyls", "cyls"),
            ("heads", "heads"),
            ("secs", "secs"),
            ("trans", "bios-chs-trans"),
        ],
    );
}

/// Returns whether a disk tells its guest that it has a cache, of which the host has a mode.
fn write_cache(mode: &str) -> Option<&'static str> {
    match mode {
        "none" | "writeback" | "unsafe" => Some("on"),
        "writethrough" | "directsync" => Some("off"),
        _ => None,
    }
}

/// Controllers that number their disks, and know no channels and units.
const NUMBERING: &[&str] = &["lsi", "am53c974", "dc390"];

/// Tells whether the SCSI controller of a disk is one of those.
fn numbers_disks(reader: &Reader, disk: Node, controller: u64) -> bool {
    let devices = disk.parent().into_iter();
    let mut controllers = devices.flat_map(|devices| devices.elements("controller"));
    let found = controllers
        .find(|node| node.attribute("type") == Some("scsi") && index_of(*node) == controller);
    let driver = match found {
        Some(node) => scsi(reader, node),
        None => usual_scsi(reader, disk),
    };
    NUMBERING.contains(&driver.as_str())
}
