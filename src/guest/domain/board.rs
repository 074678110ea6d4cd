//! The board of a domain: machine, firmware, processors, memory, clock.

use crate::guest::domain::node::Node;
use crate::guest::domain::{
    Items, Reader, all, attribute, child, cpu, features, memory, on_off, timer,
};
use crate::model::c_number;
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
    "idmap",
    "deprecation",
    "capabilities",
];

pub(super) fn read(reader: &mut Reader, domain: Node) {
    machine(reader, domain);
    if let Some(uuid) = child(domain, "uuid") {
        reader.add(uuid, "uuid", uuid.text());
    }
    memory::base(reader, domain);
    processors(reader, domain);
    cpu::read(reader, domain);
    clock(reader, domain);
    boot(reader, domain);
    power(reader, domain);
    sysinfo(reader, domain);
    iothreads(reader, domain);
    for (names, reason) in [
        (OF_THE_PROCESS, GuestReason::HostProcess),
        (&["launchSecurity"], GuestReason::ConfidentialGuest),
        (&["memoryBacking"], GuestReason::HostMemorySetting),
    ] {
        for node in names.iter().flat_map(|name| domain.elements(name)) {
            reader.leave_out(node, reason);
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
    items.set("usb", "off");
    features::read(reader, domain, &mut items);
    if memory::modules(domain).any(|node| node.attribute("model") == Some("nvdimm")) {
        items.set("nvdimm", "on");
    }
    let loader = child(os, "loader");
    let is_efi = os.attribute("firmware") == Some("efi");
    match loader {
        Some(loader) if loader.attribute("type") != Some("pflash") && !is_efi => {
            reader.add(loader, "bios", loader.text());
        }
        None if !is_efi => {}
        _ => {
            for (flash, node, usual, read_only) in [
                ("pflash0", loader, "CODE_4M.fd", "on"),
                ("pflash1", child(os, "nvram"), "VARS_4M.fd", "off"),
            ] {
                let image = node.map(Node::text).filter(|path| !path.is_empty());
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
    for name in ["kernel", "initrd", "cmdline", "dtb", "shim"] {
        if let Some(node) = child(os, name) {
            reader.leave_out(node, GuestReason::GuestKernel);
        }
    }
    for node in os.elements("acpi") {
        reader.leave_out(node, GuestReason::HostFile);
    }
}

fn processors(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "vcpu") else {
        return;
    };
    let most = node.text();
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
    // Those that are there at the start are the first ones.
    let count = current.unwrap_or(most);
    for (index, vcpu) in all(domain, "vcpus/vcpu").enumerate() {
        let id = vcpu
            .attribute("id")
            .and_then(c_number)
            .unwrap_or(index as u64);
        let is_first = c_number(count).is_none_or(|count| id < count);
        if (vcpu.attribute("enabled") == Some("yes")) != is_first {
            reader.leave_out(vcpu, GuestReason::Unread);
        }
    }
}

fn clock(reader: &mut Reader, domain: Node) {
    let Some(node) = child(domain, "clock") else {
        return;
    };
    let base = match node.attribute("offset") {
        Some("localtime" | "timezone") => "localtime",
        _ => "utc",
    };
    let mut items = Items::from([("base", base)]);
    if let Some(rtc) = timer(domain, "rtc") {
        match rtc.attribute("track") {
            Some("guest") => items.set("clock", "vm"),
            Some("wall") => items.set("clock", "host"),
            Some("realtime") => items.set("clock", "rt"),
            _ => {}
        }
        if rtc.attribute("tickpolicy") == Some("catchup") {
            items.set("driftfix", "slew");
        }
    }
    reader.add_list(node, "rtc", items);
    if let Some(pit) = timer(domain, "pit")
        && let Some(policy @ ("delay" | "discard")) = pit.attribute("tickpolicy")
    {
        reader.add(pit, "global", format!("kvm-pit.lost_tick_policy={policy}"));
    }
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
    items.set_some("splash-time", attribute(os, "bootmenu", "timeout"));
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
    for node in domain.elements("sysinfo") {
        if node.attribute("type") == Some("fwcfg") {
            for entry in node.elements("entry") {
                let name = entry.attribute("name").unwrap_or_default();
                match entry.attribute("file") {
                    Some(_) => reader.leave_out(entry, GuestReason::HostFile),
                    None => {
                        let items = [("name", name), ("string", entry.text())];
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
            for table in node.elements(element) {
                let mut items = Items::from([("type", kind)]);
                for entry in table.elements("entry") {
                    if let Some(name) = entry.attribute("name") {
                        items.set(name, entry.text());
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
    let ids = all(domain, "iothreadids/iothread");
    let ids: Vec<String> = ids
        .filter_map(|thread| thread.attribute("id").map(str::to_owned))
        .collect();
    let count: usize = node.text().parse().unwrap_or_default();
    let free = (1..=MOST_THREADS).map(|id| id.to_string());
    let more: Vec<String> = free.filter(|id| !ids.contains(id)).collect();
    for id in ids.iter().chain(&more).take(count.min(MOST_THREADS)) {
        let id = format!("iothread{id}");
        reader.add_list(node, "object", [("qom-type", "iothread"), ("id", &id)]);
    }
}

/// The most I/O threads that are started.
const MOST_THREADS: usize = 64;
