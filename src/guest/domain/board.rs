//! The board of a domain: machine, firmware, processors, memory, clock.

use roxmltree::Node;

use crate::guest::domain::{
    Items, Reader, amount, attribute, bytes, child, elements, on_off, text,
};
use crate::report::GuestReason;

/// Elements that concern the process, and not the guest.
const OF_THE_PROCESS: &[&str] = &[
    "name",
    "title",
    "description",
    "metadata",
    "resource",
    "seclabel",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "on_lockfailure",
    "iothreadids",
    "defaultiothread",
    "cputune",
    "blkiotune",
    "memtune",
    "numatune",
    "perf",
    "throttlegroups",
    "genid",
    "keywrap",
    "override",
    "deprecation",
    "capabilities",
];

/// Elements that are read here or elsewhere.
const READ: &[&str] = &[
    "uuid",
    "memory",
    "currentMemory",
    "maxMemory",
    "vcpu",
    "vcpus",
    "os",
    "features",
    "cpu",
    "clock",
    "pm",
    "devices",
    "sysinfo",
    "commandline",
    "iothreads",
    "memoryBacking",
    "bootloader",
];

pub(super) fn read(reader: &mut Reader, domain: Node) {
    machine(reader, domain);
    if let Some(uuid) = child(domain, "uuid") {
        reader.add(uuid, "uuid", text(uuid));
    }
    memory(reader, domain);
    processors(reader, domain);
    cpu(reader, domain);
    clock(reader, domain);
    boot(reader, domain);
    power(reader, domain);
    sysinfo(reader, domain);
    iothreads(reader, domain);
    for node in domain.children().filter(Node::is_element) {
        let name = node.tag_name().name();
        if OF_THE_PROCESS.contains(&name) {
            reader.leave_out(node, GuestReason::HostProcess);
        } else if name == "launchSecurity" {
            reader.leave_out(node, GuestReason::ConfidentialGuest);
        } else if name == "memoryBacking" {
            reader.leave_out(node, GuestReason::HostMemorySetting);
        } else if !READ.contains(&name) {
            reader.leave_out(node, GuestReason::UnknownElement);
        }
    }
}

fn machine(reader: &mut Reader, domain: Node) {
    // What libvirt passes to every QEMU.
    reader.options.push(crate::guest::given::Given {
        line: reader.line(domain),
        name: "nodefaults".to_owned(),
        value: None,
    });
    if domain.attribute("type") == Some("kvm") {
        reader.add(domain, "accel", "kvm");
    }
    let Some(os) = child(domain, "os") else {
        return;
    };
    let Some(kind) = child(os, "type") else {
        return;
    };
    let mut items = Items::default();
    // The one that QEMU itself takes, and so does libvirt.
    let usual = reader.is_x86().then_some("pc");
    items.set_some("type", kind.attribute("machine").or(usual));
    let features = child(domain, "features");
    let feature = |name| features.and_then(|features| child(features, name));
    if reader.is_x86() {
        items.set("usb", "off");
        items.set("acpi", on_off(feature("acpi").is_some()));
        for (element, option) in [("vmport", "vmport"), ("smm", "smm"), ("ps2", "i8042")] {
            let state = |node: Node<'_, '_>| node.attribute("state").unwrap_or("on").to_owned();
            items.set_some(option, feature(element).map(state));
        }
        let mut timers = child(domain, "clock")
            .into_iter()
            .flat_map(|clock| clock.children());
        let hpet = timers.find_map(|node| {
            let is_hpet = node.attribute("name") == Some("hpet");
            node.attribute("present").filter(|_| is_hpet)
        });
        items.set_some("hpet", hpet.map(|present| on_off(present == "yes")));
    }
    if let Some(driver) = attribute(domain, "features/ioapic", "driver") {
        let is_split = driver == "qemu";
        items.set("kernel_irqchip", if is_split { "split" } else { "on" });
    }
    items.set_some(
        "gic-version",
        feature("gic").and_then(|gic| gic.attribute("version")),
    );
    if memories(domain).any(|node| node.attribute("model") == Some("nvdimm")) {
        items.set("nvdimm", "on");
    }
    let loader = child(os, "loader");
    let is_efi = os.attribute("firmware") == Some("efi");
    match loader {
        Some(loader) if loader.attribute("type") != Some("pflash") && !is_efi => {
            reader.add(loader, "bios", text(loader));
        }
        None if !is_efi => {}
        _ => {
            for (flash, node, usual, read_only) in [
                ("pflash0", loader, "CODE_4M.fd", "on"),
                ("pflash1", child(os, "nvram"), "VARS_4M.fd", "off"),
            ] {
                let image = node.map(text).filter(|path| !path.is_empty());
                let name = format!("libvirt-{flash}-format");
                let blockdev = [
                    ("driver", "file"),
                    ("filename", image.unwrap_or(usual)),
                    ("node-name", &name),
                    ("read-only", read_only),
                ];
                reader.add_list(node.unwrap_or(os), "blockdev", blockdev);
                items.set(flash, name);
            }
        }
    }
    reader.add_list(kind, "machine", items);
    for name in ["kernel", "initrd", "cmdline", "dtb"] {
        if let Some(node) = child(os, name) {
            reader.leave_out(node, GuestReason::GuestKernel);
        }
    }
    for node in elements(os, "acpi") {
        reader.leave_out(node, GuestReason::HostFile);
    }
}

/// Returns the modules of memory that are plugged in.
fn memories<'a, 'i>(domain: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    let devices = child(domain, "devices").into_iter();
    devices.flat_map(|devices| elements(devices, "memory"))
}

/// Returns the bytes of a cell of NUMA, where the memory is divided.
fn cell_bytes(cell: Node) -> Option<u64> {
    amount(cell, cell.attribute("memory")?)
}

fn memory(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "memory") else {
        return;
    };
    let total = bytes(node).unwrap_or_default();
    // libvirt rounds what it passes on: QEMU adds cells up, and rounds the whole alone.
    let unit = match reader.arch.as_str() {
        "ppc64" | "ppc64le" => 256 << 20,
        _ => 1 << 20,
    };
    let aligned = |bytes: u64| bytes.checked_next_multiple_of(unit).unwrap_or(bytes);
    let plugged: u64 = memories(domain)
        .filter_map(|memory| child(memory, "target/size").and_then(bytes))
        .sum();
    let numa = child(domain, "cpu/numa").into_iter();
    let cells: Vec<Node> = numa.flat_map(|numa| elements(numa, "cell")).collect();
    let of_cells = cells
        .iter()
        .filter_map(|cell| cell_bytes(*cell).map(aligned));
    // Memory in slots is part of the total.
    let base = match of_cells.sum::<u64>() {
        0 => aligned(total.saturating_sub(plugged)),
        of_cells => of_cells,
    };
    let kib = |bytes: u64| format!("{}k", bytes >> 10);
    let mut items = Items::default();
    items.set("size", kib(base));
    if let Some(most) = child(domain, "maxMemory") {
        items.set_some("slots", most.attribute("slots"));
        items.set("maxmem", kib(bytes(most).unwrap_or_default()));
    }
    reader.add_list(node, "m", items);
    for (index, cell) in cells.into_iter().enumerate() {
        let id = cell
            .attribute("id")
            .map_or_else(|| index.to_string(), str::to_owned);
        let mut node = Items::from([("type", "node"), ("nodeid", &id)]);
        let cpus = cell.attribute("cpus").unwrap_or_default().split(',');
        for cpus in cpus.filter(|cpus| !cpus.is_empty()) {
            node.set("cpus", cpus);
        }
        if let Some(size) = cell_bytes(cell).filter(|bytes| *bytes > 0) {
            let (name, size) = (format!("ram-node{id}"), aligned(size).to_string());
            let backend = [
                ("qom-type", "memory-backend-ram"),
                ("id", &name),
                ("size", &size),
            ];
            reader.add_list(cell, "object", backend);
            node.set("memdev", name);
        }
        reader.add_list(cell, "numa", node);
    }
}

fn processors(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "vcpu") else {
        return;
    };
    let most = text(node);
    let current = node.attribute("current");
    let mut items = Items::from([("cpus", current.unwrap_or(most))]);
    items.set_some("maxcpus", current.map(|_| most));
    match child(domain, "cpu/topology") {
        Some(topology) => {
            for name in ["sockets", "dies", "clusters", "cores", "threads"] {
                // QEMU refuses what a machine has not, and one is no division.
                let divides = |value: &&str| !matches!(name, "dies" | "clusters") || *value != "1";
                items.set_some(name, topology.attribute(name).filter(divides));
            }
        }
        None => items.extend([("sockets", most), ("cores", "1"), ("threads", "1")].into()),
    }
    reader.add_list(node, "smp", items);
}

fn cpu(reader: &mut Reader, domain: Node) {
    let node = child(domain, "cpu");
    let model = child(domain, "cpu/model")
        .map(text)
        .filter(|model| !model.is_empty());
    let mode = node.and_then(|node| node.attribute("mode"));
    let mut parts = Vec::new();
    match (mode, model) {
        (Some("maximum"), _) => parts.push("max".to_owned()),
        (Some("host-passthrough"), _) | (Some("host-model"), None) => parts.push("host".to_owned()),
        (_, model) => parts.extend(model.map(str::to_owned)),
    }
    for feature in node.into_iter().flat_map(|node| elements(node, "feature")) {
        let name = feature.attribute("name").unwrap_or_default();
        let is_off = matches!(feature.attribute("policy"), Some("disable" | "forbid"));
        parts.push(format!("{name}={}", on_off(!is_off)));
    }
    let hyperv = child(domain, "features/hyperv");
    let enlightenments = hyperv.into_iter().flat_map(|node| node.children());
    for node in enlightenments.filter(|node| node.attribute("state") == Some("on")) {
        match node.tag_name().name() {
            "spinlocks" => {
                let retries = node.attribute("retries").unwrap_or("4095");
                parts.push(format!("hv-spinlocks={retries}"));
            }
            "vendor_id" => {
                let value = node.attribute("value").unwrap_or_default();
                parts.push(format!("hv-vendor-id={value}"));
            }
            name => parts.push(format!("hv-{}=on", name.replace('_', "-"))),
        }
    }
    if attribute(domain, "features/kvm/hidden", "state") == Some("on") {
        parts.push("kvm=off".to_owned());
    }
    // Flags alone are those of the usual model.
    let has_model = model.is_some() || mode.is_some_and(|mode| mode != "custom");
    if !parts.is_empty() && !has_model && reader.is_x86() {
        let bits = if reader.arch == "i386" { 32 } else { 64 };
        parts.insert(0, format!("qemu{bits}"));
    }
    if !parts.is_empty() {
        let node = node.or(child(domain, "features"));
        reader.add(node.unwrap_or(domain), "cpu", parts.join(","));
    }
}

fn clock(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "clock") else {
        return;
    };
    let base = match node.attribute("offset") {
        Some("localtime") => "localtime",
        _ => "utc",
    };
    let mut items = Items::from([("base", base)]);
    let rtc = elements(node, "timer").find(|timer| timer.attribute("name") == Some("rtc"));
    if rtc.is_some_and(|rtc| rtc.attribute("tickpolicy") == Some("catchup")) {
        items.set("driftfix", "slew");
    }
    reader.add_list(node, "rtc", items);
}

fn boot(reader: &mut Reader, domain: Node) {
    let Some(os) = child(domain, "os") else {
        return;
    };
    let mut items = Items::default();
    let menu = child(os, "bootmenu");
    items.set_some(
        "menu",
        menu.map(|menu| on_off(menu.attribute("enable") == Some("yes"))),
    );
    items.set_some("reboot-timeout", attribute(os, "bios", "rebootTimeout"));
    items.set("strict", "on");
    reader.add_list(os, "boot", items);
}

fn power(reader: &mut Reader, domain: Node) {
    let Some(pm) = child(domain, "pm") else {
        return;
    };
    let driver = match reader.is_q35 {
        true => "ICH9-LPC",
        false => "PIIX4_PM",
    };
    for (element, property) in [
        ("suspend-to-mem", "disable_s3"),
        ("suspend-to-disk", "disable_s4"),
    ] {
        if let Some(node) = child(pm, element) {
            let off = u8::from(node.attribute("enabled") == Some("no"));
            reader.add(node, "global", format!("{driver}.{property}={off}"));
        }
    }
}

fn sysinfo(reader: &mut Reader, domain: Node) {
    for node in elements(domain, "sysinfo") {
        if node.attribute("type") == Some("fwcfg") {
            for entry in elements(node, "entry") {
                let name = entry.attribute("name").unwrap_or_default();
                match entry.attribute("file") {
                    Some(_) => reader.leave_out(entry, GuestReason::HostFile),
                    None => {
                        let items = [("name", name), ("string", text(entry))];
                        reader.add_list(entry, "fw_cfg", items);
                    }
                }
            }
        }
        for (element, kind) in [
            ("bios", "0"),
            ("system", "1"),
            ("baseBoard", "2"),
            ("chassis", "3"),
        ] {
            for table in elements(node, element) {
                let mut items = Items::from([("type", kind)]);
                for entry in elements(table, "entry") {
                    if let Some(name) = entry.attribute("name") {
                        items.set(name, text(entry));
                    }
                }
                reader.add_list(table, "smbios", items);
            }
        }
    }
}

fn iothreads(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "iothreads") else {
        return;
    };
    let ids = child(domain, "iothreadids").into_iter();
    let ids = ids.flat_map(|ids| elements(ids, "iothread"));
    let ids: Vec<String> = ids
        .filter_map(|thread| thread.attribute("id").map(str::to_owned))
        .collect();
    let count: usize = text(node).parse().unwrap_or_default();
    let free = (1..=MOST_THREADS).map(|id| id.to_string());
    let more: Vec<String> = free.filter(|id| !ids.contains(id)).collect();
    for id in ids.iter().chain(&more).take(count.min(MOST_THREADS)) {
        let id = format!("iothread{id}");
        reader.add_list(node, "object", [("qom-type", "iothread"), ("id", &id)]);
    }
}

/// The most I/O threads that are started.
const MOST_THREADS: usize = 64;
