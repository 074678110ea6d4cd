//! Devices of a domain.

use crate::guest::domain::controllers::{transport, virtio};
use crate::guest::domain::disks::disk;
use crate::guest::domain::node::Node;
use crate::guest::domain::{Items, Reader, attribute, child, memory, on_off};
use crate::model::c_number;
use crate::report::GuestReason;

pub(super) fn read(reader: &mut Reader, devices: Node) {
    let screens: Vec<Node> = devices.elements("video").collect();
    let has_serial = child(devices, "serial").is_some();
    let plain = |node: &Node| matches!(attribute(*node, "target", "type"), None | Some("serial"));
    let consoles: Vec<Node> = devices.elements("console").filter(plain).collect();
    for node in devices.children() {
        match node.name() {
            "emulator" => reader.leave_out(node, GuestReason::NoOption),
            // They are there already.
            "controller" | "hub" => {}
            "lease" => reader.leave_out(node, GuestReason::HostDisk),
            "redirfilter" => reader.leave_out(node, GuestReason::HostChannel),
            "nvram" => nvram(reader, node),
            "crypto" => crypto(reader, node),
            "pstore" => memory::errors(reader, node),
            "disk" => disk(reader, node),
            "interface" => interface(reader, node),
            "serial" => serial(reader, node),
            // Without a serial port, libvirt makes one of the first console.
            "console" if !has_serial && consoles.first() == Some(&node) => serial(reader, node),
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
            "tpm" => tpm(reader, node),
            "vsock" => reader.leave_out(node, GuestReason::NeedsProcess),
            "panic" => panic(reader, node),
            "iommu" => iommu(reader, node),
            "memory" => memory::module(reader, node),
            "filesystem" => filesystem(reader, node),
            "smartcard" => smartcard(reader, node),
            "shmem" => memory::shared(reader, node),
            _ => reader.leave_out(node, GuestReason::UnknownElement),
        }
    }
    let gets_balloon = reader.is_as_written && reader.gets_defaults;
    if gets_balloon && child(devices, "memballoon").is_none() {
        let driver = virtio(reader, devices, "virtio-balloon", "");
        reader.add_list(
            devices,
            "device",
            [("driver", &*driver), ("id", "balloon0")],
        );
    }
}

fn model<'d>(node: Node<'d>) -> &'d str {
    node.attribute("model").unwrap_or_default()
}

/// The attributes of a network card of virtio by the elements that have them, with the properties that they are.
const CARD: &[(&str, &[(&str, &str)])] = &[
    (
        "driver",
        &[
            ("ioeventfd", "ioeventfd"),
            ("event_idx", "event_idx"),
            ("rx_queue_size", "rx_queue_size"),
            ("tx_queue_size", "tx_queue_size"),
            ("rss", "rss"),
            ("rss_hash_report", "hash"),
        ],
    ),
    (
        "driver/host",
        &[
            ("csum", "csum"),
            ("gso", "gso"),
            ("tso4", "host_tso4"),
            ("tso6", "host_tso6"),
            ("ecn", "host_ecn"),
            ("ufo", "host_ufo"),
            ("mrg_rxbuf", "mrg_rxbuf"),
        ],
    ),
    (
        "driver/guest",
        &[
            ("csum", "guest_csum"),
            ("tso4", "guest_tso4"),
            ("tso6", "guest_tso6"),
            ("ecn", "guest_ecn"),
            ("ufo", "guest_ufo"),
        ],
    ),
    ("mtu", &[("size", "host_mtu")]),
];

fn interface(reader: &mut Reader, node: Node) {
    // What a network gave the guest, where it runs.
    let kind = attribute(node, "actual", "type").or(node.attribute("type"));
    if kind == Some("hostdev") {
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
    // What libvirt takes for a domain that names none.
    let usual = match reader.is_virt || reader.arch == "s390x" {
        true => "virtio",
        false => "rtl8139",
    };
    let driver = match attribute(node, "model", "type").unwrap_or(usual) {
        kind @ ("virtio" | "virtio-transitional" | "virtio-non-transitional") => {
            if let Some(queues) = queues.and_then(c_number).filter(|queues| *queues > 1) {
                items.set("mq", "on");
                // Each queue of a channel device has its own interrupt.
                if transport(reader, node) != "ccw" {
                    let both = queues.checked_mul(2);
                    items.set_some("vectors", both.and_then(|both| both.checked_add(2)));
                }
            }
            match attribute(node, "driver", "txmode") {
                Some("iothread") => items.set("tx", "bh"),
                txmode => items.set_some("tx", txmode),
            }
            for (path, attributes) in CARD {
                items.attributes(child(node, path), attributes);
            }
            if attribute(node, "teaming", "type") == Some("persistent") {
                items.set("failover", "on");
            }
            virtio(reader, node, "virtio-net", kind)
        }
        other => other.to_owned(),
    };
    items.set_some("mac", attribute(node, "mac", "address"));
    reader.add_device(node, &driver, items);
}

/// Adds a device with a character device behind it, and nothing else.
fn on_chardev(reader: &mut Reader, node: Node, driver: &str) {
    let id = reader.chardev(node);
    reader.add_device(node, driver, [("chardev", &*id)]);
}

fn serial(reader: &mut Reader, node: Node) {
    let id = reader.chardev(node);
    let named = attribute(node, "target/model", "name");
    let driver = match (named, attribute(node, "target", "type")) {
        // They are part of the board.
        (Some("pl011" | "16550a"), _) => None,
        (Some(_), _) => named,
        (None, kind @ Some("usb-serial" | "pci-serial")) => kind,
        (None, Some("isa-debug")) => Some("isa-debugcon"),
        (None, _) => match reader.arch.as_str() {
            "x86_64" | "i386" => Some("isa-serial"),
            "s390x" => Some("sclpconsole"),
            "ppc64" => Some("spapr-vty"),
            _ => None,
        },
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
        Some("sclp") => on_chardev(reader, node, "sclpconsole"),
        Some("sclplm") => on_chardev(reader, node, "sclplmconsole"),
        // The same port again, as another element has it.
        _ => reader.leave_out(node, GuestReason::PartOfAnother),
    }
}

fn channel(reader: &mut Reader, node: Node) {
    if attribute(node, "target", "type") != Some("virtio") {
        return reader.leave_out(node, GuestReason::HostNetwork);
    }
    let id = reader.chardev(node);
    let mut items = Items::from([("chardev", &*id)]);
    let is_agent = node.attribute("type") == Some("spicevmc");
    let usual = is_agent.then_some("com.redhat.spice.0");
    items.set_some("name", attribute(node, "target", "name").or(usual));
    reader.add_device(node, "virtserialport", items);
}

fn input(reader: &mut Reader, node: Node) {
    let kind = node.attribute("type").unwrap_or_default();
    match (node.attribute("bus").unwrap_or("usb"), kind) {
        // The board has them.
        ("ps2", _) => reader.leave_out(node, GuestReason::PartOfAnother),
        (_, "passthrough" | "evdev") => reader.leave_out(node, GuestReason::HostDevice),
        ("virtio", kind) => {
            let driver = virtio(reader, node, &format!("virtio-{kind}"), model(node));
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
        "virtio" => &virtio(reader, node, "virtio-sound", ""),
        "pcspk" => return reader.leave_out(node, GuestReason::PartOfAnother),
        other => other,
    };
    let mut items = Items::default();
    if !driver.ends_with("intel-hda") {
        items.set_some("streams", node.attribute("streams"));
        let channels = node.attribute("multichannel");
        items.set_some("multi", channels.map(|multi| on_off(multi == "yes")));
        return reader.add_device(node, driver, items);
    }
    let id = attribute(node, "alias", "name").map(str::to_owned);
    let id = id.unwrap_or_else(|| reader.backend("migcompat-hda"));
    items.set("id", &id);
    reader.add_device(node, driver, items);
    let mut codecs: Vec<&str> = node
        .elements("codec")
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

/// Architectures on which the first card of virtio has a part of VGA. libvirt asks QEMU, which has such a card for no others
/// since 7.2, or not in each build.
const VGA: &[&str] = &["x86_64", "i386", "riscv64"];

fn video(reader: &mut Reader, node: Node, is_first: bool) {
    let Some(kind) = child(node, "model") else {
        return;
    };
    if attribute(node, "driver", "name") == Some("vhostuser") {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let kib = |name: &str| kind.attribute(name).and_then(c_number);
    let (to_bytes, mib) = (|kib: u64| kib << 10, |kib: u64| kib >> 10);
    let heads = || kind.attribute("heads").filter(|heads| *heads != "1");
    let is_first = match kind.attribute("primary") {
        Some(primary) => primary == "yes",
        None => is_first,
    };
    let mut items = Items::default();
    let driver = match kind.attribute("type").unwrap_or_default() {
        "none" => return,
        "vga" => {
            items.set_some("vgamem_mb", kib("vram").map(mib));
            "VGA"
        }
        "cirrus" => "cirrus-vga",
        "vmvga" => {
            items.set_some("vgamem_mb", kib("vram").map(mib));
            "vmware-svga"
        }
        "qxl" => {
            items.set_some("ram_size", kib("ram").map(to_bytes));
            items.set_some("vram_size", kib("vram").map(to_bytes));
            items.set_some("vram64_size_mb", kib("vram64").map(mib));
            items.set_some("vgamem_mb", kib("vgamem").map(mib));
            items.set_some("max_outputs", heads());
            if is_first { "qxl-vga" } else { "qxl" }
        }
        "virtio" => {
            items.set_some("max_outputs", heads());
            items.attributes(Some(kind), &[("blob", "blob")]);
            let is_gl = attribute(kind, "acceleration", "accel3d") == Some("yes");
            let gl = if is_gl { "-gl" } else { "" };
            match (
                transport(reader, node),
                is_first && VGA.contains(&reader.arch.as_str()),
            ) {
                ("pci", true) => &format!("virtio-vga{gl}"),
                (bus, _) => &format!("virtio-gpu{gl}-{bus}"),
            }
        }
        "bochs" => {
            items.set_some("vgamem", kib("vram").map(to_bytes));
            "bochs-display"
        }
        "ramfb" => "ramfb",
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    items.attributes(child(kind, "resolution"), &[("x", "xres"), ("y", "yres")]);
    reader.add_device(node, driver, items);
}

fn watchdog(reader: &mut Reader, node: Node) {
    match model(node) {
        // The chipset has it, and is told to let it act.
        "itco" => reader.add(node, "global", "ICH9-LPC.noreboot=off"),
        model => reader.add_device(node, model, []),
    }
}

fn memballoon(reader: &mut Reader, node: Node) {
    if model(node) == "none" {
        return;
    }
    let driver = virtio(reader, node, "virtio-balloon", model(node));
    let mut items = Items::default();
    for (attribute, property) in [
        ("autodeflate", "deflate-on-oom"),
        ("freePageReporting", "free-page-reporting"),
    ] {
        items.set_some(property, node.attribute(attribute));
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
    let driver = virtio(reader, node, "virtio-rng", model(node));
    reader.add_device(node, &driver, items);
}

/// Adds a TPM, as the model that libvirt chooses where none is named: it writes that down as it defines the guest.
fn tpm(reader: &mut Reader, node: Node) {
    let usual = match (reader.is_x86(), reader.arch.as_str()) {
        (true, _) if attribute(node, "backend", "version") == Some("2.0") => "tpm-crb",
        (false, "ppc64") => "tpm-spapr",
        _ => "tpm-tis",
    };
    let driver = match node.attribute("model").unwrap_or(usual) {
        "tpm-tis" if !reader.is_x86() => "tpm-tis-device",
        driver @ ("tpm-tis" | "tpm-crb" | "tpm-spapr") => driver,
        // A connection to the hypervisor's.
        "spapr-tpm-proxy" => return reader.leave_out(node, GuestReason::HostDevice),
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    // Whether it is one of the host or an emulator, the guest has one of ours.
    let id = reader.backend("tpm-tpm");
    reader.add_list(node, "tpmdev", [("type", "passthrough"), ("id", &id)]);
    reader.add_device(node, driver, [("tpmdev", &*id)]);
}

fn panic(reader: &mut Reader, node: Node) {
    let usual = match (reader.is_x86(), reader.is_virt) {
        (true, _) => "isa",
        (false, true) => "pvpanic",
        (false, false) => "",
    };
    match node.attribute("model").unwrap_or(usual) {
        "isa" => {
            let mut items = Items::from([("driver", "pvpanic")]);
            // Its address is one port, under a name of its own.
            items.attributes(child(node, "address"), &[("iobase", "ioport")]);
            items.set_some("id", attribute(node, "alias", "name"));
            reader.add_list(node, "device", items);
        }
        "pvpanic" => reader.add_device(node, "pvpanic-pci", []),
        _ => reader.leave_out(node, GuestReason::PartOfAnother),
    }
}

fn iommu(reader: &mut Reader, node: Node) {
    let driver = match model(node) {
        "intel" => "intel-iommu",
        "virtio" => "virtio-iommu-pci",
        "amd" => "amd-iommu",
        // An option of the machine stands for it.
        "smmuv3" => return node.settle(),
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
            ("passthrough", "pt"),
            ("xtsup", "xtsup"),
        ],
    );
    reader.add_device(node, driver, items);
}

fn filesystem(reader: &mut Reader, node: Node) {
    match attribute(node, "driver", "type") {
        Some("virtiofs") => return shared_folder(reader, node),
        Some("mtp") => return reader.leave_out(node, GuestReason::HostFolder),
        _ => {}
    }
    let id = reader.backend("fsdev-fs");
    reader.add_list(node, "fsdev", [("fsdriver", "local"), ("id", &id)]);
    let tag = attribute(node, "target", "dir").unwrap_or_default();
    let driver = virtio(reader, node, "virtio-9p", model(node));
    reader.add_device(node, &driver, [("fsdev", &*id), ("mount_tag", tag)]);
}

/// A folder whose files another program has, as virtiofsd.
fn shared_folder(reader: &mut Reader, node: Node) {
    let mut items = Items::default();
    items.set("chardev", reader.chardev(node));
    items.attributes(child(node, "driver"), &[("queue", "queue-size")]);
    items.set_some("tag", attribute(node, "target", "dir"));
    let driver = virtio(reader, node, "vhost-user-fs", model(node));
    reader.add_device(node, &driver, items);
}

fn smartcard(reader: &mut Reader, node: Node) {
    match node.attribute("mode") {
        Some("passthrough") => on_chardev(reader, node, "ccid-card-passthru"),
        _ => reader.leave_out(node, GuestReason::HostDevice),
    }
}

/// Sets the address of the memory that a board of POWER keeps.
fn nvram(reader: &mut Reader, node: Node) {
    match attribute(node, "address", "reg") {
        Some(reg) => reader.add(node, "global", format!("spapr-nvram.reg={reg}")),
        None => node.settle(),
    }
}

fn crypto(reader: &mut Reader, node: Node) {
    let is_of_qemu = model(node) == "virtio" && node.attribute("type") == Some("qemu");
    if !is_of_qemu || attribute(node, "backend", "model") != Some("builtin") {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let id = reader.backend("objcrypto");
    let mut object = Items::from([("qom-type", "cryptodev-backend-builtin"), ("id", &id)]);
    object.attributes(child(node, "backend"), &[("queues", "queues")]);
    reader.add_list(node, "object", object);
    let driver = virtio(reader, node, "virtio-crypto", "");
    reader.add_device(node, &driver, [("cryptodev", &*id)]);
}
