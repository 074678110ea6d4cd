//! The board of a domain: machine, firmware, processors, memory, clock.

use roxmltree::Node;

use crate::guest::domain::{Named, Reader, bytes, child, elements, text};
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

fn is_x86(reader: &Reader) -> bool {
    matches!(reader.arch.as_str(), "x86_64" | "i386")
}

fn machine(reader: &mut Reader, domain: Node) {
    // What libvirt passes to every QEMU.
    reader.options.push(crate::guest::given::Given {
        line: reader.line(domain),
        name: "nodefaults".to_owned(),
        value: None,
    });
    let Some(os) = child(domain, "os") else {
        return;
    };
    let Some(kind) = child(os, "type") else {
        return;
    };
    let mut items = Vec::new();
    // The one that QEMU itself takes, and so does libvirt.
    let usual = is_x86(reader).then_some("pc");
    if let Some(machine) = kind.attribute("machine").or(usual) {
        items.push(("type", machine.to_owned()));
    }
    let features = child(domain, "features");
    let feature = |name: &str| features.and_then(|features| child(features, name));
    let state = |name: &str| {
        let state = feature(name)?.attribute("state").unwrap_or("on");
        Some(state.to_owned())
    };
    if is_x86(reader) {
        items.push(("usb", "off".to_owned()));
        let acpi = if feature("acpi").is_some() {
            "on"
        } else {
            "off"
        };
        items.push(("acpi", acpi.to_owned()));
        for (element, option) in [("vmport", "vmport"), ("smm", "smm"), ("ps2", "i8042")] {
            items.extend(state(element).map(|state| (option, state)));
        }
        let timers = child(domain, "clock")
            .into_iter()
            .flat_map(|clock| clock.children());
        let hpet = timers
            .filter(|node| node.attribute("name") == Some("hpet"))
            .find_map(|node| node.attribute("present"));
        if let Some(present) = hpet {
            let on = if present == "yes" { "on" } else { "off" };
            items.push(("hpet", on.to_owned()));
        }
    }
    if let Some(gic) = feature("gic").and_then(|gic| gic.attribute("version")) {
        items.push(("gic-version", gic.to_owned()));
    }
    let memories = child(domain, "devices")
        .into_iter()
        .flat_map(|node| node.children());
    if memories
        .filter(|node| node.has_tag_name_of("memory"))
        .any(|node| node.attribute("model") == Some("nvdimm"))
    {
        items.push(("nvdimm", "on".to_owned()));
    }
    let loader = child(os, "loader");
    let is_efi = os.attribute("firmware") == Some("efi");
    match loader {
        Some(loader) if loader.attribute("type") != Some("pflash") && !is_efi => {
            reader.add(loader, "bios", text(loader));
        }
        None if !is_efi => {}
        _ => {
            let code = loader.map(text).filter(|path| !path.is_empty());
            let nvram = child(os, "nvram");
            let variables = nvram.map(text).filter(|path| !path.is_empty());
            let images = [
                ("pflash0", loader, code.unwrap_or("OVMF_CODE_4M.fd"), "on"),
                (
                    "pflash1",
                    nvram,
                    variables.unwrap_or("OVMF_VARS_4M.fd"),
                    "off",
                ),
            ];
            for (flash, node, image, read_only) in images {
                let node_name = format!("libvirt-{flash}-format");
                items.push((flash, node_name.clone()));
                reader.add_list(
                    node.unwrap_or(os),
                    "blockdev",
                    &[
                        ("driver", "file".to_owned()),
                        ("filename", image.to_owned()),
                        ("node-name", node_name),
                        ("read-only", read_only.to_owned()),
                    ],
                );
            }
        }
    }
    reader.add_list(kind, "machine", &items);
    for name in ["kernel", "initrd", "cmdline", "dtb"] {
        if let Some(node) = child(os, name) {
            reader.leave_out(node, GuestReason::GuestKernel);
        }
    }
    for node in elements(os, "acpi") {
        reader.leave_out(node, GuestReason::HostFile);
    }
}

/// Cells of NUMA, where the memory is divided.
fn cells<'a, 'i>(domain: Node<'a, 'i>) -> Vec<Node<'a, 'i>> {
    let numa = child(domain, "cpu").and_then(|cpu| child(cpu, "numa"));
    let cells = numa.into_iter().flat_map(|numa| elements(numa, "cell"));
    cells.collect()
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
    let memories = child(domain, "devices").into_iter();
    let plugged: u64 = memories
        .flat_map(|devices| elements(devices, "memory"))
        .filter_map(|memory| child(child(memory, "target")?, "size").and_then(bytes))
        .sum();
    let cells = cells(domain);
    let of_cells: u64 = cells
        .iter()
        .filter_map(|cell| {
            let amount: u64 = cell.attribute("memory")?.parse().ok()?;
            let unit = match cell.attribute("unit").unwrap_or("KiB") {
                "MiB" | "M" => 1 << 20,
                "GiB" | "G" => 1 << 30,
                _ => 1 << 10,
            };
            amount.checked_mul(unit).map(&aligned)
        })
        .sum();
    // Memory in slots is part of the total.
    let base = match of_cells {
        0 => aligned(total.saturating_sub(plugged)),
        of_cells => of_cells,
    };
    let mut items = vec![("size", format!("{}k", base >> 10))];
    if let Some(most) = child(domain, "maxMemory") {
        if let Some(slots) = most.attribute("slots") {
            items.push(("slots", slots.to_owned()));
        }
        items.push((
            "maxmem",
            format!("{}k", bytes(most).unwrap_or_default() >> 10),
        ));
    }
    reader.add_list(node, "m", &items);
    for (index, cell) in cells.iter().enumerate() {
        let id = cell
            .attribute("id")
            .map_or_else(|| index.to_string(), str::to_owned);
        let name = format!("ram-node{id}");
        let amount: u64 = cell
            .attribute("memory")
            .and_then(|m| m.parse().ok())
            .unwrap_or_default();
        let unit = match cell.attribute("unit").unwrap_or("KiB") {
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            _ => 1_u64 << 10,
        };
        let mut node = vec![("type", "node".to_owned()), ("nodeid", id)];
        for cpus in cell.attribute("cpus").unwrap_or_default().split(',') {
            if !cpus.is_empty() {
                node.push(("cpus", cpus.to_owned()));
            }
        }
        if amount > 0 {
            reader.add_list(
                *cell,
                "object",
                &[
                    ("qom-type", "memory-backend-ram".to_owned()),
                    ("id", name.clone()),
                    ("size", aligned(amount.saturating_mul(unit)).to_string()),
                ],
            );
            node.push(("memdev", name));
        }
        reader.add_list(*cell, "numa", &node);
    }
}

fn processors(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "vcpu") else {
        return;
    };
    let most = text(node).to_owned();
    let mut items = vec![(
        "cpus",
        node.attribute("current").unwrap_or(&most).to_owned(),
    )];
    if node.attribute("current").is_some() {
        items.push(("maxcpus", most.clone()));
    }
    let topology = child(domain, "cpu").and_then(|cpu| child(cpu, "topology"));
    match topology {
        Some(topology) => {
            for name in ["sockets", "dies", "clusters", "cores", "threads"] {
                // QEMU refuses what a machine has not, and one is no division.
                let value = topology.attribute(name);
                let divides = |value: &&str| !matches!(name, "dies" | "clusters") || *value != "1";
                items.extend(value.filter(divides).map(|value| (name, value.to_owned())));
            }
        }
        None => items.extend([
            ("sockets", most),
            ("cores", "1".to_owned()),
            ("threads", "1".to_owned()),
        ]),
    }
    reader.add_list(node, "smp", &items);
}

fn cpu(reader: &mut Reader, domain: Node) {
    let node = child(domain, "cpu");
    let model = node.and_then(|node| child(node, "model")).map(text);
    let mode = node.and_then(|node| node.attribute("mode"));
    let mut parts = Vec::new();
    match (mode, model.filter(|model| !model.is_empty())) {
        (Some("host-passthrough" | "maximum"), _) | (Some("host-model"), None) => {
            parts.push(
                if mode == Some("maximum") {
                    "max"
                } else {
                    "host"
                }
                .to_owned(),
            );
        }
        (_, Some(model)) => parts.push(model.to_owned()),
        (_, None) => {}
    }
    for feature in node.into_iter().flat_map(|node| elements(node, "feature")) {
        let name = feature.attribute("name").unwrap_or_default();
        let on = match feature.attribute("policy") {
            Some("disable" | "forbid") => "off",
            _ => "on",
        };
        parts.push(format!("{name}={on}"));
    }
    let features = child(domain, "features");
    let hyperv = features.and_then(|features| child(features, "hyperv"));
    for node in hyperv.into_iter().flat_map(|node| node.children()) {
        if !node.is_element() || node.attribute("state") != Some("on") {
            continue;
        }
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
    let kvm = features.and_then(|features| child(features, "kvm"));
    let hidden = kvm.and_then(|kvm| child(kvm, "hidden"));
    if hidden.is_some_and(|hidden| hidden.attribute("state") == Some("on")) {
        parts.push("kvm=off".to_owned());
    }
    // Flags alone are those of the usual model.
    let has_model =
        model.is_some_and(|model| !model.is_empty()) || mode.is_some_and(|m| m != "custom");
    if !parts.is_empty() && !has_model && is_x86(reader) {
        let model = if reader.arch == "i386" {
            "qemu32"
        } else {
            "qemu64"
        };
        parts.insert(0, model.to_owned());
    }
    if !parts.is_empty() {
        reader.add(node.or(features).unwrap_or(domain), "cpu", parts.join(","));
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
    let mut items = vec![("base", base.to_owned())];
    let rtc = elements(node, "timer").find(|timer| timer.attribute("name") == Some("rtc"));
    if rtc.is_some_and(|rtc| rtc.attribute("tickpolicy") == Some("catchup")) {
        items.push(("driftfix", "slew".to_owned()));
    }
    reader.add_list(node, "rtc", &items);
}

fn boot(reader: &mut Reader, domain: Node) {
    let Some(os) = child(domain, "os") else {
        return;
    };
    let mut items = Vec::new();
    if let Some(menu) = child(os, "bootmenu") {
        let on = if menu.attribute("enable") == Some("yes") {
            "on"
        } else {
            "off"
        };
        items.push(("menu", on.to_owned()));
    }
    let bios = child(os, "bios").and_then(|bios| bios.attribute("rebootTimeout"));
    items.extend(bios.map(|timeout| ("reboot-timeout", timeout.to_owned())));
    items.push(("strict", "on".to_owned()));
    reader.add_list(os, "boot", &items);
}

fn power(reader: &mut Reader, domain: Node) {
    let Some(pm) = child(domain, "pm") else {
        return;
    };
    let driver = if reader.is_q35 {
        "ICH9-LPC"
    } else {
        "PIIX4_PM"
    };
    for (element, property) in [
        ("suspend-to-mem", "disable_s3"),
        ("suspend-to-disk", "disable_s4"),
    ] {
        if let Some(node) = child(pm, element) {
            let off = node.attribute("enabled") == Some("no");
            reader.add(
                node,
                "global",
                format!("{driver}.{property}={}", u8::from(off)),
            );
        }
    }
}

fn sysinfo(reader: &mut Reader, domain: Node) {
    for node in elements(domain, "sysinfo") {
        if node.attribute("type") == Some("fwcfg") {
            for entry in elements(node, "entry") {
                let name = entry.attribute("name").unwrap_or_default().to_owned();
                match entry.attribute("file") {
                    Some(_) => reader.leave_out(entry, GuestReason::HostFile),
                    None => reader.add_list(
                        entry,
                        "fw_cfg",
                        &[("name", name), ("string", text(entry).to_owned())],
                    ),
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
                let mut items = vec![("type", kind.to_owned())];
                for entry in elements(table, "entry") {
                    if let Some(name) = entry.attribute("name") {
                        items.push((name, text(entry).to_owned()));
                    }
                }
                reader.add_list(table, "smbios", &items);
            }
        }
    }
}

fn iothreads(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "iothreads") else {
        return;
    };
    let ids: Vec<String> = child(domain, "iothreadids")
        .into_iter()
        .flat_map(|ids| elements(ids, "iothread"))
        .filter_map(|thread| thread.attribute("id").map(str::to_owned))
        .collect();
    let count: usize = text(node).parse().unwrap_or_default();
    let free = (1..=MOST_THREADS).map(|id| id.to_string());
    let more: Vec<String> = free.filter(|id| !ids.contains(id)).collect();
    for id in ids.iter().chain(&more).take(count.min(MOST_THREADS)) {
        let items = [
            ("qom-type", "iothread".to_owned()),
            ("id", format!("iothread{id}")),
        ];
        reader.add_list(node, "object", &items);
    }
}

/// The most I/O threads that are started.
const MOST_THREADS: usize = 64;
