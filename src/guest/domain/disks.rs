//! Disks of a domain.

use roxmltree::Node;

use crate::guest::domain::controllers::virtio;
use crate::guest::domain::places::{bus_of, by_name};
use crate::guest::domain::{Reader, child, elements, number, text};
use crate::report::GuestReason;

pub(super) fn disk(reader: &mut Reader, node: Node) {
    let target = child(node, "target");
    let of = |name| target.and_then(|target| target.attribute(name));
    let name = of("dev").unwrap_or_default();
    let kind = node.attribute("device").unwrap_or("disk");
    let bus = bus_of(node);
    if matches!(node.attribute("type"), Some("vhostuser" | "vhostvdpa")) {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    // Every disk has a node of its own, whatever it is made of.
    let drive = reader.backend("libvirt-disk");
    let is_floppy = kind == "floppy" || bus == "fdc";
    let has_medium = child(node, "source").is_some() || !matches!(kind, "cdrom" | "floppy");
    if has_medium {
        let read_only = child(node, "readonly").is_some() || kind == "cdrom";
        reader.add_list(
            node,
            "blockdev",
            &[
                ("driver", "file".to_owned()),
                ("node-name", drive.clone()),
                ("filename", "image".to_owned()),
                ("read-only", if read_only { "on" } else { "off" }.to_owned()),
            ],
        );
    }
    let mut items = Vec::new();
    let address = child(node, "address");
    let at = |place: &str| match address {
        Some(address) => address
            .attribute(place)
            .and_then(number)
            .unwrap_or_default(),
        None => by_name(bus, name, place),
    };
    let is_cd = kind == "cdrom";
    let driver = match bus {
        "virtio" => virtio(
            reader,
            "virtio-blk",
            node.attribute("model").unwrap_or_default(),
        ),
        "ide" => {
            items.push(("bus", format!("ide.{}", at("bus"))));
            items.push(("unit", at("unit").to_string()));
            if is_cd { "ide-cd" } else { "ide-hd" }.to_owned()
        }
        "sata" => {
            let controller = at("controller");
            let bus = match (reader.is_q35, controller) {
                (true, 0) => format!("ide.{}", at("unit")),
                _ => format!("sata{controller}.{}", at("unit")),
            };
            items.push(("bus", bus));
            if is_cd { "ide-cd" } else { "ide-hd" }.to_owned()
        }
        "scsi" => {
            items.push(("bus", format!("scsi{}.0", at("controller"))));
            items.extend(scsi_place(node, &at));
            match (is_cd, kind) {
                (true, _) => "scsi-cd",
                (false, "lun") => "scsi-block",
                (false, _) => "scsi-hd",
            }
            .to_owned()
        }
        "usb" => "usb-storage".to_owned(),
        _ if is_floppy => {
            items.push(("unit", at("unit").to_string()));
            if reader.is_q35 {
                items.push(("bus", format!("fdc{}.0", at("controller"))));
            }
            "floppy".to_owned()
        }
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    if has_medium {
        items.push(("drive", drive));
    }
    // An ATA disk has one name, and a SCSI disk two.
    let product = if matches!(bus, "ide" | "sata") {
        "model"
    } else {
        "product"
    };
    for (element, property) in [
        ("serial", "serial"),
        ("vendor", "vendor"),
        ("product", product),
    ] {
        let value = child(node, element).map(|element| text(element).to_owned());
        items.extend(value.map(|value| (property, value)));
    }
    if let Some(settings) = child(node, "driver") {
        for (attribute, property) in [
            ("queues", "num-queues"),
            ("queue_size", "queue-size"),
            ("event_idx", "event_idx"),
            ("ioeventfd", "ioeventfd"),
        ] {
            let value = settings.attribute(attribute);
            items.extend(value.map(|value| (property, value.to_owned())));
        }
        let thread = settings.attribute("iothread");
        items.extend(thread.map(|id| ("iothread", format!("iothread{id}"))));
    }
    if let Some(sizes) = child(node, "blockio") {
        for name in ["logical_block_size", "physical_block_size"] {
            items.extend(sizes.attribute(name).map(|size| (name, size.to_owned())));
        }
    }
    reader.add_device(node, &driver, items);
}

/// Controllers that number their disks, and know no channels and units.
const NUMBERING: &[&str] = &[
    "", "auto", "lsilogic", "ncr53c90", "dc390", "am53c974", "buslogic",
];

/// Returns the place on a SCSI bus.
fn scsi_place(node: Node, at: &dyn Fn(&str) -> u64) -> Vec<(&'static str, String)> {
    let controllers = node
        .parent()
        .into_iter()
        .flat_map(|devices| elements(devices, "controller"));
    let mut of_disk = controllers.filter(|controller| {
        let index = controller.attribute("index").and_then(number);
        controller.attribute("type") == Some("scsi")
            && index.unwrap_or_default() == at("controller")
    });
    let model = of_disk
        .next()
        .and_then(|controller| controller.attribute("model"));
    match NUMBERING.contains(&model.unwrap_or_default()) {
        true => vec![("scsi-id", at("unit").to_string())],
        false => vec![
            ("channel", at("bus").to_string()),
            ("scsi-id", at("target").to_string()),
            ("lun", at("unit").to_string()),
        ],
    }
}
