//! Devices of a domain.

use roxmltree::Node;

use crate::guest::domain::controllers::virtio;
use crate::guest::domain::disks::disk;
use crate::guest::domain::{Items, Reader, attribute, bytes, child, elements, text};
use crate::model::c_number;
use crate::report::GuestReason;

pub(super) fn read(reader: &mut Reader, devices: Node) {
    let screens: Vec<Node> = elements(devices, "video").collect();
    for node in devices.children().filter(Node::is_element) {
        match node.tag_name().name() {
            "emulator" => reader.leave_out(node, GuestReason::NoOption),
            // They are there already.
            "controller" => {}
            "disk" => disk(reader, node),
            "interface" => interface(reader, node),
            "serial" => serial(reader, node),
            "console" => console(reader, node),
            "parallel" => on_chardev(reader, node, "isa-parallel"),
            "channel" => channel(reader, node),
            "input" => input(reader, node),
            "graphics" => reader.leave_out(node, GuestReason::HostDisplay),
            "sound" => sound(reader, node),
            "audio" => reader.leave_out(node, GuestReason::HostAudio),
            "video" => video(reader, node, screens.first() == Some(&node)),
            "hostdev" => reader.leave_out(node, GuestReason::HostDevice),
            "redirdev" => on_chardev(reader, node, "usb-redir"),
            "watchdog" => watchdog(reader, node),
            "memballoon" => memballoon(reader, node),
            "rng" => rng(reader, node),
            "tpm" | "vsock" => reader.leave_out(node, GuestReason::NeedsProcess),
            "panic" => panic(reader, node),
            "hub" => reader.add_device(node, "usb-hub", []),
            "iommu" => iommu(reader, node),
            "memory" => memory(reader, node),
            "filesystem" => filesystem(reader, node),
            "smartcard" => smartcard(reader, node),
            "shmem" => shmem(reader, node),
            _ => reader.leave_out(node, GuestReason::UnknownElement),
        }
    }
}

fn model<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("model").unwrap_or_default()
}

/// Returns the attributes of the `driver` element of a virtio device, as properties.
fn virtio_settings(node: Node) -> Items {
    let mut items = Items::default();
    items.attributes(
        child(node, "driver"),
        &[
            ("iommu", "iommu_platform"),
            ("ats", "ats"),
            ("packed", "packed"),
            ("page_per_vq", "page-per-vq"),
            ("rx_queue_size", "rx_queue_size"),
            ("tx_queue_size", "tx_queue_size"),
        ],
    );
    items
}

fn interface(reader: &mut Reader, node: Node) {
    if node.attribute("type") == Some("hostdev") {
        return reader.leave_out(node, GuestReason::HostDevice);
    }
    let netdev = reader.backend("hostnet");
    let queues = attribute(node, "driver", "queues");
    let kind = match node.attribute("type") {
        Some("network" | "bridge" | "direct" | "ethernet") => "tap",
        Some("vhostuser") => "vhost-user",
        Some("vdpa") => "vhost-vdpa",
        _ => "user",
    };
    let mut backend = Items::from([("type", kind), ("id", &netdev)]);
    backend.set_some("queues", queues);
    reader.add_list(node, "netdev", backend);
    let mut items = Items::from([("netdev", &*netdev)]);
    let driver = match attribute(node, "model", "type").unwrap_or("rtl8139") {
        kind @ ("virtio" | "virtio-transitional" | "virtio-non-transitional") => {
            if let Some(queues) = queues.and_then(c_number).filter(|queues| *queues > 1) {
                items.set("mq", "on");
                items.set("vectors", 2 * queues + 2);
            }
            items.extend(virtio_settings(node));
            items.attributes(
                child(node, "driver/host"),
                &[
                    ("csum", "csum"),
                    ("gso", "gso"),
                    ("tso4", "host_tso4"),
                    ("tso6", "host_tso6"),
                    ("ecn", "host_ecn"),
                    ("ufo", "host_ufo"),
                    ("mrg_rxbuf", "mrg_rxbuf"),
                ],
            );
            items.set_some("host_mtu", attribute(node, "mtu", "size"));
            virtio(reader, "virtio-net", kind)
        }
        other => other.to_owned(),
    };
    items.set_some("mac", attribute(node, "mac", "address"));
    reader.add_device(node, &driver, items);
}

/// Defines a character device, and returns its name.
fn chardev(reader: &mut Reader, node: Node) -> String {
    let id = reader.backend("char");
    reader.add_list(node, "chardev", [("backend", "pty"), ("id", &id)]);
    id
}

/// Adds a device with a character device behind it, and nothing else.
fn on_chardev(reader: &mut Reader, node: Node, driver: &str) {
    let id = chardev(reader, node);
    reader.add_device(node, driver, [("chardev", &*id)]);
}

fn serial(reader: &mut Reader, node: Node) {
    let id = chardev(reader, node);
    let named = attribute(node, "target/model", "name");
    let driver = match (named, attribute(node, "target", "type")) {
        // They are part of the board.
        (Some("pl011" | "16550a"), _) => None,
        (Some(_), _) => named,
        (None, kind @ Some("usb-serial" | "pci-serial")) => kind,
        (None, _) => reader.is_x86().then_some("isa-serial"),
    };
    let Some(driver) = driver else {
        return reader.add(node, "serial", format!("chardev:{id}"));
    };
    let mut items = Items::from([("chardev", &*id)]);
    if driver == "isa-serial" {
        items.set_some("index", attribute(node, "target", "port"));
    }
    reader.add_device(node, driver, items);
}

fn console(reader: &mut Reader, node: Node) {
    match attribute(node, "target", "type") {
        Some("virtio") => on_chardev(reader, node, "virtconsole"),
        // The same port again, as another element has it.
        _ => reader.leave_out(node, GuestReason::PartOfAnother),
    }
}

fn channel(reader: &mut Reader, node: Node) {
    if attribute(node, "target", "type") != Some("virtio") {
        return reader.leave_out(node, GuestReason::HostNetwork);
    }
    let id = chardev(reader, node);
    let mut items = Items::from([("chardev", &*id)]);
    items.set_some("name", attribute(node, "target", "name"));
    reader.add_device(node, "virtserialport", items);
}

fn input(reader: &mut Reader, node: Node) {
    let kind = node.attribute("type").unwrap_or_default();
    match (node.attribute("bus").unwrap_or("usb"), kind) {
        // The board has them.
        ("ps2", _) => reader.leave_out(node, GuestReason::PartOfAnother),
        (_, "passthrough" | "evdev") => reader.leave_out(node, GuestReason::HostDevice),
        ("virtio", kind) => {
            let driver = virtio(reader, &format!("virtio-{kind}"), model(node));
            reader.add_device(node, &driver, []);
        }
        (_, "keyboard") => reader.add_device(node, "usb-kbd", []),
        (_, kind) => reader.add_device(node, &format!("usb-{kind}"), []),
    }
}

fn sound(reader: &mut Reader, node: Node) {
    let driver = match model(node) {
        "ac97" => "AC97",
        "es1370" => "ES1370",
        "ich6" => "intel-hda",
        "ich9" => "ich9-intel-hda",
        "usb" => "usb-audio",
        "virtio" => "virtio-sound-pci",
        other => other,
    };
    if !driver.ends_with("intel-hda") {
        return reader.add_device(node, driver, []);
    }
    let id = reader.backend("migcompat-hda");
    reader.add_device(node, driver, [("id", &*id)]);
    let mut codecs: Vec<&str> = elements(node, "codec")
        .filter_map(|codec| codec.attribute("type"))
        .collect();
    if codecs.is_empty() {
        codecs.push("duplex");
    }
    for (cad, codec) in codecs.into_iter().enumerate() {
        let mut items = Items::default();
        items.set("driver", format!("hda-{codec}"));
        items.set("bus", format!("{id}.0"));
        items.set("cad", cad);
        reader.add_list(node, "device", items);
    }
}

fn video(reader: &mut Reader, node: Node, is_first: bool) {
    let Some(kind) = child(node, "model") else {
        return;
    };
    let kib = |name: &str| kind.attribute(name).and_then(c_number);
    let (to_bytes, mib) = (|kib: u64| kib << 10, |kib: u64| kib >> 10);
    let mut items = Items::default();
    let driver = match kind.attribute("type").unwrap_or_default() {
        "none" => return,
        "vga" => {
            items.set_some("vgamem_mb", kib("vram").map(mib));
            "VGA"
        }
        "cirrus" => "cirrus-vga",
        "vmvga" => "vmware-svga",
        "qxl" => {
            items.set_some("ram_size", kib("ram").map(to_bytes));
            items.set_some("vram_size", kib("vram").map(to_bytes));
            items.set_some("vgamem_mb", kib("vgamem").map(mib));
            if is_first { "qxl-vga" } else { "qxl" }
        }
        "virtio" => {
            let heads = kind.attribute("heads").filter(|heads| *heads != "1");
            items.set_some("max_outputs", heads);
            let accelerated = attribute(kind, "acceleration", "accel3d") == Some("yes");
            match (is_first && reader.arch == "x86_64", accelerated) {
                (true, false) => "virtio-vga",
                (true, true) => "virtio-vga-gl",
                (false, false) => "virtio-gpu-pci",
                (false, true) => "virtio-gpu-gl-pci",
            }
        }
        "bochs" => "bochs-display",
        "ramfb" => "ramfb",
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    reader.add_device(node, driver, items);
}

fn watchdog(reader: &mut Reader, node: Node) {
    match model(node) {
        // The chipset has it.
        "itco" => reader.leave_out(node, GuestReason::PartOfAnother),
        model => reader.add_device(node, model, []),
    }
}

fn memballoon(reader: &mut Reader, node: Node) {
    if model(node) == "none" {
        return;
    }
    let driver = virtio(reader, "virtio-balloon", model(node));
    let mut items = virtio_settings(node);
    for (attribute, property) in [
        ("autodeflate", "deflate-on-oom"),
        ("freePageReporting", "free-page-reporting"),
    ] {
        if node.attribute(attribute) == Some("on") {
            items.set(property, "on");
        }
    }
    reader.add_device(node, &driver, items);
}

fn rng(reader: &mut Reader, node: Node) {
    let id = reader.backend("objrng");
    reader.add_list(node, "object", [("qom-type", "rng-random"), ("id", &id)]);
    let mut items = Items::from([("rng", &*id)]);
    if let Some(rate) = child(node, "rate") {
        items.set_some("max-bytes", rate.attribute("bytes"));
        items.set("period", rate.attribute("period").unwrap_or("1000"));
    }
    items.extend(virtio_settings(node));
    let driver = virtio(reader, "virtio-rng", model(node));
    reader.add_device(node, &driver, items);
}

fn panic(reader: &mut Reader, node: Node) {
    match model(node) {
        "isa" | "" => reader.add_device(node, "pvpanic", []),
        "pvpanic" => reader.add_device(node, "pvpanic-pci", []),
        _ => reader.leave_out(node, GuestReason::PartOfAnother),
    }
}

fn iommu(reader: &mut Reader, node: Node) {
    let driver = match model(node) {
        "intel" => "intel-iommu",
        "virtio" => "virtio-iommu-pci",
        "amd" => "amd-iommu",
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    let mut items = Items::default();
    items.attributes(
        child(node, "driver"),
        &[
            ("intremap", "intremap"),
            ("caching_mode", "caching-mode"),
            ("eim", "eim"),
            ("iotlb", "device-iotlb"),
            ("aw_bits", "aw-bits"),
            ("dma_translation", "dma-translation"),
        ],
    );
    reader.add_device(node, driver, items);
}

fn memory(reader: &mut Reader, node: Node) {
    let id = reader.backend("mem");
    let driver = match model(node) {
        "dimm" => "pc-dimm",
        "nvdimm" => "nvdimm",
        "virtio-mem" => "virtio-mem-pci",
        "virtio-pmem" => "virtio-pmem-pci",
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    let of = |path| child(node, path).and_then(bytes);
    let mut object = Items::from([("qom-type", "memory-backend-ram"), ("id", &id)]);
    object.set("size", of("target/size").unwrap_or_default());
    reader.add_list(node, "object", object);
    let mut items = Items::from([("memdev", &*id)]);
    items.set_some("node", child(node, "target/node").map(text));
    if let Some(address) = child(node, "address").filter(|a| a.attribute("type") == Some("dimm")) {
        items.set_some("slot", address.attribute("slot"));
        items.set_some("addr", address.attribute("base").and_then(c_number));
    }
    if driver == "virtio-mem-pci" {
        items.set_some("block-size", of("target/block"));
        items.set_some("requested-size", of("target/requested"));
    }
    reader.add_device(node, driver, items);
}

fn filesystem(reader: &mut Reader, node: Node) {
    if attribute(node, "driver", "type") == Some("virtiofs") {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let id = reader.backend("fsdev-fs");
    reader.add_list(node, "fsdev", [("fsdriver", "local"), ("id", &id)]);
    let tag = attribute(node, "target", "dir")
        .unwrap_or_default()
        .replace('/', "_");
    let driver = virtio(reader, "virtio-9p", model(node));
    reader.add_device(node, &driver, [("fsdev", &*id), ("mount_tag", &tag)]);
}

fn smartcard(reader: &mut Reader, node: Node) {
    match node.attribute("mode") {
        Some("passthrough") => on_chardev(reader, node, "ccid-card-passthru"),
        _ => reader.leave_out(node, GuestReason::HostDevice),
    }
}

fn shmem(reader: &mut Reader, node: Node) {
    if child(node, "server").is_some() {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let id = reader.backend("shmmem");
    let size = child(node, "size").and_then(bytes).unwrap_or(4 << 20);
    let object = [
        ("qom-type", "memory-backend-file"),
        ("id", &id),
        ("share", "on"),
        ("size", &size.to_string()),
    ];
    reader.add_list(node, "object", object);
    reader.add_device(node, "ivshmem-plain", [("memdev", &*id)]);
}
