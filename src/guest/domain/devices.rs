//! Devices of a domain.

use roxmltree::Node;

use crate::guest::domain::controllers::virtio;
use crate::guest::domain::disks::disk;
use crate::guest::domain::{Reader, bytes, child, elements, number, text};
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
            "parallel" => parallel(reader, node),
            "channel" => channel(reader, node),
            "input" => input(reader, node),
            "graphics" => reader.leave_out(node, GuestReason::HostDisplay),
            "sound" => sound(reader, node),
            "audio" => reader.leave_out(node, GuestReason::HostAudio),
            "video" => video(reader, node, screens.first() == Some(&node)),
            "hostdev" => reader.leave_out(node, GuestReason::HostDevice),
            "redirdev" => redirdev(reader, node),
            "watchdog" => watchdog(reader, node),
            "memballoon" => memballoon(reader, node),
            "rng" => rng(reader, node),
            "tpm" | "vsock" => reader.leave_out(node, GuestReason::NeedsProcess),
            "panic" => panic(reader, node),
            "hub" => reader.add_device(node, "usb-hub", Vec::new()),
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

/// Returns an attribute of the `driver` element of a virtio device, as a property.
fn virtio_settings(node: Node) -> Vec<(&'static str, String)> {
    let settings = child(node, "driver");
    [
        ("iommu", "iommu_platform"),
        ("ats", "ats"),
        ("packed", "packed"),
        ("page_per_vq", "page-per-vq"),
        ("rx_queue_size", "rx_queue_size"),
        ("tx_queue_size", "tx_queue_size"),
    ]
    .into_iter()
    .filter_map(|(attribute, property)| {
        let value = settings?.attribute(attribute)?;
        Some((property, value.to_owned()))
    })
    .collect()
}

fn interface(reader: &mut Reader, node: Node) {
    match node.attribute("type") {
        Some("hostdev") => return reader.leave_out(node, GuestReason::HostDevice),
        Some("vhostuser" | "vdpa") => {}
        _ => {}
    }
    let netdev = reader.backend("hostnet");
    let queues = child(node, "driver").and_then(|driver| driver.attribute("queues"));
    let mut backend = vec![("type", "user".to_owned()), ("id", netdev.clone())];
    backend.extend(queues.map(|queues| ("queues", queues.to_owned())));
    reader.add_list(node, "netdev", &backend);
    let mut items = vec![("netdev", netdev)];
    let kind = child(node, "model").and_then(|model| model.attribute("type"));
    let driver = match kind.unwrap_or("rtl8139") {
        kind @ ("virtio" | "virtio-transitional" | "virtio-non-transitional") => {
            if let Some(vectors) = queues.and_then(number).filter(|queues| *queues > 1) {
                items.push(("mq", "on".to_owned()));
                items.push(("vectors", (2 * vectors + 2).to_string()));
            }
            items.extend(virtio_settings(node));
            let settings = child(node, "driver");
            let host = settings.and_then(|driver| child(driver, "host"));
            for (attribute, property) in [
                ("csum", "csum"),
                ("gso", "gso"),
                ("tso4", "host_tso4"),
                ("tso6", "host_tso6"),
                ("ecn", "host_ecn"),
                ("ufo", "host_ufo"),
                ("mrg_rxbuf", "mrg_rxbuf"),
            ] {
                let value = host.and_then(|host| host.attribute(attribute));
                items.extend(value.map(|value| (property, value.to_owned())));
            }
            let mtu = child(node, "mtu").and_then(|mtu| mtu.attribute("size"));
            items.extend(mtu.map(|size| ("host_mtu", size.to_owned())));
            virtio(reader, "virtio-net", kind)
        }
        other => other.to_owned(),
    };
    let mac = child(node, "mac").and_then(|mac| mac.attribute("address"));
    items.extend(mac.map(|mac| ("mac", mac.to_owned())));
    reader.add_device(node, &driver, items);
}

/// Defines a character device, and returns its name.
fn chardev(reader: &mut Reader, node: Node) -> String {
    let id = reader.backend("char");
    let items = [("backend", "pty".to_owned()), ("id", id.clone())];
    reader.add_list(node, "chardev", &items);
    id
}

fn port_of(node: Node) -> Option<String> {
    let target = child(node, "target")?;
    target.attribute("port").map(str::to_owned)
}

fn serial(reader: &mut Reader, node: Node) {
    let target = child(node, "target");
    let kind = target.and_then(|target| target.attribute("type"));
    let named = target.and_then(|target| child(target, "model"));
    let named = named.and_then(|model| model.attribute("name"));
    let id = chardev(reader, node);
    let mut items = vec![("chardev", id.clone())];
    let driver = match (named, kind) {
        (Some(name @ ("pl011" | "16550a" | "sclpconsole" | "sclplmconsole")), _) => {
            // It is part of the board.
            return match name {
                "sclpconsole" | "sclplmconsole" => reader.add_device(node, name, items),
                _ => reader.add(node, "serial", format!("chardev:{id}")),
            };
        }
        (Some(name), _) => name.to_owned(),
        (None, Some("usb-serial")) => "usb-serial".to_owned(),
        (None, Some("pci-serial")) => "pci-serial".to_owned(),
        (None, _) if matches!(reader.arch.as_str(), "x86_64" | "i386") => "isa-serial".to_owned(),
        (None, _) => return reader.add(node, "serial", format!("chardev:{id}")),
    };
    if driver == "isa-serial" {
        items.extend(port_of(node).map(|port| ("index", port)));
    }
    reader.add_device(node, &driver, items);
}

fn console(reader: &mut Reader, node: Node) {
    let target = child(node, "target");
    match target.and_then(|target| target.attribute("type")) {
        Some("virtio") => {
            let id = chardev(reader, node);
            reader.add_device(node, "virtconsole", vec![("chardev", id)]);
        }
        // The same port again, as another element has it.
        _ => reader.leave_out(node, GuestReason::PartOfAnother),
    }
}

fn parallel(reader: &mut Reader, node: Node) {
    let id = chardev(reader, node);
    reader.add_device(node, "isa-parallel", vec![("chardev", id)]);
}

fn channel(reader: &mut Reader, node: Node) {
    let target = child(node, "target");
    let of = |name| target.and_then(|target| target.attribute(name));
    match of("type") {
        Some("virtio") => {
            let id = chardev(reader, node);
            let mut items = vec![("chardev", id)];
            let name = of("name").map(str::to_owned);
            items.extend(name.map(|name| ("name", name)));
            reader.add_device(node, "virtserialport", items);
        }
        _ => reader.leave_out(node, GuestReason::HostNetwork),
    }
}

fn input(reader: &mut Reader, node: Node) {
    let kind = node.attribute("type").unwrap_or_default();
    match (node.attribute("bus").unwrap_or("usb"), kind) {
        // The board has them.
        ("ps2", _) => reader.leave_out(node, GuestReason::PartOfAnother),
        (_, "passthrough" | "evdev") => reader.leave_out(node, GuestReason::HostDevice),
        ("virtio", kind) => {
            let driver = virtio(reader, &format!("virtio-{kind}"), model(node));
            reader.add_device(node, &driver, Vec::new());
        }
        (_, kind) => {
            let kind = if kind == "keyboard" { "kbd" } else { kind };
            reader.add_device(node, &format!("usb-{kind}"), Vec::new());
        }
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
        return reader.add_device(node, driver, Vec::new());
    }
    let id = reader.backend("migcompat-hda");
    reader.add_device(node, driver, vec![("id", id.clone())]);
    let mut codecs: Vec<&str> = elements(node, "codec")
        .filter_map(|codec| codec.attribute("type"))
        .collect();
    if codecs.is_empty() {
        codecs.push("duplex");
    }
    for (cad, codec) in codecs.into_iter().enumerate() {
        let items = [
            ("driver", format!("hda-{codec}")),
            ("bus", format!("{id}.0")),
            ("cad", cad.to_string()),
        ];
        reader.add_list(node, "device", &items);
    }
}

fn video(reader: &mut Reader, node: Node, is_first: bool) {
    let Some(kind) = child(node, "model") else {
        return;
    };
    let of = |name| kind.attribute(name);
    let kib = |name: &str| kind.attribute(name).and_then(number);
    let mut items = Vec::new();
    let accelerated = child(kind, "acceleration")
        .is_some_and(|acceleration| acceleration.attribute("accel3d") == Some("yes"));
    let heads = of("heads").filter(|heads| *heads != "1").map(str::to_owned);
    let driver = match of("type").unwrap_or_default() {
        "none" => return,
        "vga" => {
            items.extend(kib("vram").map(|kib| ("vgamem_mb", (kib >> 10).to_string())));
            "VGA"
        }
        "cirrus" => "cirrus-vga",
        "vmvga" => "vmware-svga",
        "qxl" => {
            items.extend(kib("ram").map(|kib| ("ram_size", (kib << 10).to_string())));
            items.extend(kib("vram").map(|kib| ("vram_size", (kib << 10).to_string())));
            items.extend(kib("vgamem").map(|kib| ("vgamem_mb", (kib >> 10).to_string())));
            if is_first { "qxl-vga" } else { "qxl" }
        }
        "virtio" => {
            items.extend(heads.map(|heads| ("max_outputs", heads)));
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

fn redirdev(reader: &mut Reader, node: Node) {
    let id = chardev(reader, node);
    reader.add_device(node, "usb-redir", vec![("chardev", id)]);
}

fn watchdog(reader: &mut Reader, node: Node) {
    match model(node) {
        // The chipset has it.
        "itco" => reader.leave_out(node, GuestReason::PartOfAnother),
        model => reader.add_device(node, model, Vec::new()),
    }
}

fn memballoon(reader: &mut Reader, node: Node) {
    if model(node) == "none" {
        return;
    }
    let driver = virtio(reader, "virtio-balloon", model(node));
    let mut items = virtio_settings(node);
    if node.attribute("autodeflate") == Some("on") {
        items.push(("deflate-on-oom", "on".to_owned()));
    }
    if node.attribute("freePageReporting") == Some("on") {
        items.push(("free-page-reporting", "on".to_owned()));
    }
    reader.add_device(node, &driver, items);
}

fn rng(reader: &mut Reader, node: Node) {
    let id = reader.backend("objrng");
    let items = [("qom-type", "rng-random".to_owned()), ("id", id.clone())];
    reader.add_list(node, "object", &items);
    let mut items = vec![("rng", id)];
    if let Some(rate) = child(node, "rate") {
        let of = |name| rate.attribute(name).map(str::to_owned);
        items.extend(of("bytes").map(|bytes| ("max-bytes", bytes)));
        items.push(("period", of("period").unwrap_or_else(|| "1000".to_owned())));
    }
    items.extend(virtio_settings(node));
    let driver = virtio(reader, "virtio-rng", model(node));
    reader.add_device(node, &driver, items);
}

fn panic(reader: &mut Reader, node: Node) {
    match model(node) {
        "isa" | "" => reader.add_device(node, "pvpanic", Vec::new()),
        "pvpanic" => reader.add_device(node, "pvpanic-pci", Vec::new()),
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
    let settings = child(node, "driver");
    let mut items = Vec::new();
    for (attribute, property) in [
        ("intremap", "intremap"),
        ("caching_mode", "caching-mode"),
        ("eim", "eim"),
        ("iotlb", "device-iotlb"),
        ("aw_bits", "aw-bits"),
        ("dma_translation", "dma-translation"),
    ] {
        let value = settings.and_then(|settings| settings.attribute(attribute));
        items.extend(value.map(|value| (property, value.to_owned())));
    }
    reader.add_device(node, driver, items);
}

fn memory(reader: &mut Reader, node: Node) {
    let target = child(node, "target");
    let size = target
        .and_then(|target| child(target, "size"))
        .and_then(bytes);
    let id = reader.backend("mem");
    let object = [
        ("qom-type", "memory-backend-ram".to_owned()),
        ("id", id.clone()),
        ("size", size.unwrap_or_default().to_string()),
    ];
    let driver = match model(node) {
        "dimm" => "pc-dimm",
        "nvdimm" => "nvdimm",
        "virtio-mem" => "virtio-mem-pci",
        "virtio-pmem" => "virtio-pmem-pci",
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    reader.add_list(node, "object", &object);
    let mut items = vec![("memdev", id)];
    let place = target.and_then(|target| child(target, "node"));
    items.extend(place.map(|place| ("node", text(place).to_owned())));
    if let Some(address) = child(node, "address").filter(|a| a.attribute("type") == Some("dimm")) {
        let of = |name| address.attribute(name).map(str::to_owned);
        items.extend(of("slot").map(|slot| ("slot", slot)));
        let base = of("base").and_then(|base| number(&base));
        items.extend(base.map(|base| ("addr", base.to_string())));
    }
    if driver == "virtio-mem-pci" {
        let of = |name| {
            target
                .and_then(|target| child(target, name))
                .and_then(bytes)
        };
        items.extend(of("block").map(|bytes| ("block-size", bytes.to_string())));
        items.extend(of("requested").map(|bytes| ("requested-size", bytes.to_string())));
    }
    reader.add_device(node, driver, items);
}

fn filesystem(reader: &mut Reader, node: Node) {
    if child(node, "driver").is_some_and(|driver| driver.attribute("type") == Some("virtiofs")) {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let id = reader.backend("fsdev-fs");
    let items = [("fsdriver", "local".to_owned()), ("id", id.clone())];
    reader.add_list(node, "fsdev", &items);
    let tag = child(node, "target").and_then(|target| target.attribute("dir"));
    let tag = tag.unwrap_or_default().replace('/', "_");
    let driver = virtio(reader, "virtio-9p", model(node));
    reader.add_device(node, &driver, vec![("fsdev", id), ("mount_tag", tag)]);
}

fn smartcard(reader: &mut Reader, node: Node) {
    match node.attribute("mode") {
        Some("passthrough") => {
            let id = chardev(reader, node);
            reader.add_device(node, "ccid-card-passthru", vec![("chardev", id)]);
        }
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
        ("qom-type", "memory-backend-file".to_owned()),
        ("id", id.clone()),
        ("share", "on".to_owned()),
        ("size", size.to_string()),
    ];
    reader.add_list(node, "object", &object);
    reader.add_device(node, "ivshmem-plain", vec![("memdev", id)]);
}
