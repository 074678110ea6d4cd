//! The board of a domain: machine, firmware, processors, memory, clock.

use crate::guest::domain::node::Node;
use crate::guest::domain::{Items, Reader, amount, attribute, bytes, child, on_off};
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
    memory(reader, domain);
    processors(reader, domain);
    cpu(reader, domain);
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
    features(reader, domain, &mut items);
    if memories(domain).any(|node| node.attribute("model") == Some("nvdimm")) {
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

/// Features of a domain that are options of the machine: the element, its attribute, and the option.
const FEATURES: &[(&str, &str, &str)] = &[
    ("vmport", "state", "vmport"),
    ("smm", "state", "smm"),
    ("ps2", "state", "i8042"),
    ("gic", "version", "gic-version"),
    ("hpt", "resizing", "resize-hpt"),
    ("htm", "state", "cap-htm"),
    ("nested-hv", "state", "cap-nested-hv"),
    ("ccf-assist", "state", "cap-ccf-assist"),
    ("cfpc", "value", "cap-cfpc"),
    ("sbbc", "value", "cap-sbbc"),
    ("ibs", "value", "cap-ibs"),
    ("ras", "state", "ras"),
    ("aia", "value", "aia"),
];

/// Architectures besides x86 on which every release has an option of the machine `virt` for ACPI.
const ACPI_OF_VIRT: &[&str] = &["aarch64", "arm", "loongarch64"];

/// Adds the options of the machine that the features of a domain and other parts of it are.
fn features(reader: &mut Reader, domain: Node, items: &mut Items) {
    let features = child(domain, "features");
    let feature = |name| features.and_then(|features| child(features, name));
    let has_acpi = feature("acpi").is_some();
    let of_virt = reader.is_virt && ACPI_OF_VIRT.contains(&reader.arch.as_str());
    if reader.is_x86() || of_virt {
        items.set("acpi", on_off(has_acpi));
    }
    for (element, attribute, option) in FEATURES {
        let value = feature(element).and_then(|node| node.attribute(attribute));
        // A switch without a position is on.
        let usual = feature(element)
            .filter(|_| *attribute == "state")
            .map(|_| "on");
        items.set_some(option, value.or(usual));
    }
    match feature("ioapic").and_then(|node| node.attribute("driver")) {
        Some("qemu") => items.set("kernel_irqchip", "split"),
        Some(_) => items.set("kernel_irqchip", "on"),
        None => {}
    }
    // A POWER machine runs as an older one on the CPU of the host.
    if reader.arch == "ppc64" && attribute(domain, "cpu", "mode") == Some("host-model") {
        items.set_some("max-cpu-compat", child(domain, "cpu/model").map(Node::text));
    }
    if let Some(size) = child(domain, "features/hpt/maxpagesize").and_then(bytes) {
        items.set("cap-hpt-max-page-size", size);
    }
    if let Some(tseg) = child(domain, "features/smm/tseg") {
        let mib = bytes(tseg).unwrap_or_default() >> 20;
        reader.add(tseg, "global", format!("mch.extended-tseg-mbytes={mib}"));
    }
    if let Some(loader) = child(domain, "os/loader")
        && loader.attribute("secure") == Some("yes")
    {
        reader.add(
            loader,
            "global",
            "driver=cfi.pflash01,property=secure,value=on",
        );
    }
    if let Some(node) = feature("vmcoreinfo")
        && node.attribute("state") != Some("off")
    {
        reader.add(node, "device", "vmcoreinfo");
    }
    if let Some(node) = child(domain, "genid") {
        // libvirt makes one up where the domain has none.
        let id = Some(node.text()).filter(|id| !id.is_empty());
        let items = [
            ("driver", "vmgenid"),
            ("guid", id.unwrap_or("auto")),
            ("id", "vmgenid0"),
        ];
        reader.add_list(node, "device", items);
    }
    for cipher in child(domain, "keywrap")
        .into_iter()
        .flat_map(|keys| keys.elements("cipher"))
    {
        let name = cipher.attribute("name").unwrap_or_default();
        items.set_some(&format!("{name}-key-wrap"), cipher.attribute("state"));
    }
    if attribute(domain, "devices/iommu", "model") == Some("smmuv3") {
        items.set("iommu", "smmuv3");
    }
    if attribute(domain, "os/bios", "useserial") == Some("yes") {
        items.set("graphics", "off");
    }
    items.set_some("loadparm", load_parameter(domain));
    let hpet = timer(domain, "hpet").and_then(|timer| timer.attribute("present"));
    items.set_some("hpet", hpet.map(|present| on_off(present == "yes")));
}

/// Returns the timer of a name.
fn timer<'d>(domain: Node<'d>, name: &str) -> Option<Node<'d>> {
    let mut timers = child(domain, "clock")?.elements("timer");
    timers.find(|timer| timer.attribute("name") == Some(name))
}

/// Returns what the first device to boot from tells the loader of a mainframe.
fn load_parameter<'d>(domain: Node<'d>) -> Option<&'d str> {
    let mut devices = child(domain, "devices")?.children();
    devices.find_map(|device| {
        let boot = child(device, "boot")?;
        let is_first = boot.attribute("order") == Some("1");
        boot.attribute("loadparm").filter(|_| is_first)
    })
}

/// Returns the modules of memory that are plugged in.
fn memories<'d>(domain: Node<'d>) -> impl Iterator<Item = Node<'d>> {
    let devices = child(domain, "devices").into_iter();
    devices.flat_map(|devices| devices.elements("memory"))
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
        .fold(0, u64::saturating_add);
    let numa = child(domain, "cpu/numa").into_iter();
    let cells: Vec<Node> = numa.flat_map(|numa| numa.elements("cell")).collect();
    let of_cells = cells
        .iter()
        .filter_map(|cell| cell_bytes(*cell).map(aligned));
    // Memory in slots is part of the total.
    let base = match of_cells.fold(0, u64::saturating_add) {
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
    let has_backends = has_backends(domain);
    for (index, cell) in cells.into_iter().enumerate() {
        let id = cell
            .attribute("id")
            .map_or_else(|| index.to_string(), str::to_owned);
        let mut node = Items::from([("type", "node"), ("nodeid", &id)]);
        let cpus = cell.attribute("cpus").unwrap_or_default().split(',');
        for cpus in cpus.filter(|cpus| !cpus.is_empty()) {
            node.set("cpus", cpus);
        }
        let size = cell_bytes(cell).filter(|bytes| *bytes > 0).map(aligned);
        if let Some(size) = size.filter(|_| !has_backends) {
            node.set("mem", size >> 20);
        } else if let Some(size) = size {
            let (name, size) = (format!("ram-node{id}"), size.to_string());
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
    let numa = child(domain, "cpu/numa").into_iter();
    for (index, cell) in numa.flat_map(|numa| numa.elements("cell")).enumerate() {
        let own = cell
            .attribute("id")
            .map_or_else(|| index.to_string(), str::to_owned);
        let distances = child(cell, "distances").into_iter();
        for sibling in distances.flat_map(|distances| distances.elements("sibling")) {
            let of = |name| sibling.attribute(name).unwrap_or_default();
            let items = [
                ("type", "dist"),
                ("src", &*own),
                ("dst", of("id")),
                ("val", of("value")),
            ];
            reader.add_list(sibling, "numa", items);
        }
    }
}

/// The last version of machine types whose memory NUMA may divide by sizes alone.
const DIVIDED: [u32; 2] = [5, 0];

/// Tells whether each cell of NUMA has a block of memory of its own, and not a part of the one that the machine has.
fn has_backends(domain: Node) -> bool {
    let machine = attribute(domain, "os/type", "machine").unwrap_or_default();
    let version = machine.rsplit('-').next().unwrap_or_default();
    let version: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    let is_divided = version.is_ok_and(|version| version.len() == 2 && version <= DIVIDED.to_vec());
    let backing = child(domain, "memoryBacking");
    let of_backing = |path, attribute| {
        let node = backing.and_then(|backing| child(backing, path))?;
        node.attribute(attribute)
    };
    let is_shared = of_backing("access", "mode").is_some();
    let is_file = of_backing("source", "type").is_some_and(|kind| kind != "anonymous");
    let is_huge = of_backing("hugepages/page", "nodeset").is_some();
    let is_bound = child(domain, "numatune/memnode").is_some();
    let mut cells = child(domain, "cpu/numa")
        .into_iter()
        .flat_map(|numa| numa.elements("cell"));
    let is_own = cells.any(|cell| cell.attribute("memAccess").is_some());
    !is_divided || is_shared || is_file || is_huge || is_bound || is_own
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
    let each = child(domain, "vcpus")
        .into_iter()
        .flat_map(|each| each.elements("vcpu"));
    for (index, vcpu) in each.enumerate() {
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

fn cpu(reader: &mut Reader, domain: Node) {
    let node = child(domain, "cpu");
    let model = child(domain, "cpu/model")
        .map(Node::text)
        .filter(|model| !model.is_empty());
    let mode = node.and_then(|node| node.attribute("mode"));
    let mut parts = Vec::new();
    match (mode, model) {
        (Some("maximum"), _) => parts.push("max".to_owned()),
        (Some("host-passthrough"), _) | (Some("host-model"), None) => parts.push("host".to_owned()),
        (Some("host-model"), _) if reader.arch == "ppc64" => parts.push("host".to_owned()),
        (_, model) => parts.extend(model.map(str::to_owned)),
    }
    let vendor = attribute(domain, "cpu/model", "vendor_id");
    parts.extend(vendor.map(|vendor| format!("vendor={vendor}")));
    for feature in node.into_iter().flat_map(|node| node.elements("feature")) {
        let name = feature.attribute("name").unwrap_or_default();
        // Whether the guest has it is up to the host.
        if feature.attribute("policy") == Some("optional") {
            continue;
        }
        let is_off = matches!(feature.attribute("policy"), Some("disable" | "forbid"));
        parts.push(format!("{name}={}", on_off(!is_off)));
    }
    parts.extend(timer_flags(domain));
    parts.extend(feature_flags(domain));
    parts.extend(size_flags(domain));
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

/// Returns the flags of the CPU that timers are.
fn timer_flags(domain: Node) -> Vec<String> {
    let mut flags = Vec::new();
    let timer = |name| timer(domain, name);
    if let Some(present) = timer("kvmclock").and_then(|clock| clock.attribute("present")) {
        flags.push(format!("kvmclock={}", on_off(present == "yes")));
    }
    if timer("hypervclock").is_some_and(|clock| clock.attribute("present") == Some("yes")) {
        flags.push("hv-time=on".to_owned());
    }
    if let Some(hertz) = timer("tsc").and_then(|clock| clock.attribute("frequency")) {
        flags.push(format!("tsc-frequency={hertz}"));
    }
    match timer("armvtimer").and_then(|clock| clock.attribute("tickpolicy")) {
        Some("delay") => flags.push("kvm-no-adjvtime=off".to_owned()),
        Some("discard") => flags.push("kvm-no-adjvtime=on".to_owned()),
        _ => {}
    }
    flags
}

/// Features of a domain that are flags of the CPU where they have this state.
const FLAGS: &[(&str, &str, &str)] = &[
    ("kvm/hidden", "on", "kvm=off"),
    ("kvm/hint-dedicated", "on", "kvm-hint-dedicated=on"),
    ("kvm/poll-control", "on", "kvm-poll-control=on"),
    ("kvm/pv-ipi", "off", "kvm-pv-ipi=off"),
    ("pvspinlock", "on", "kvm-pv-unhalt=on"),
    ("pvspinlock", "off", "kvm-pv-unhalt=off"),
    ("pmu", "on", "pmu=on"),
    ("pmu", "off", "pmu=off"),
];

/// Returns the flags of the CPU that features of a domain are.
fn feature_flags(domain: Node) -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(eoi) = attribute(domain, "features/apic", "eoi") {
        flags.push(format!("kvm-pv-eoi={eoi}"));
    }
    let state_of = |node: Node| node.attribute("state").unwrap_or("on").to_owned();
    for (path, state, flag) in FLAGS {
        let node = child(domain, &format!("features/{path}"));
        if node.is_some_and(|node| state_of(node) == *state) {
            flags.push((*flag).to_owned());
        }
    }
    let hyperv = child(domain, "features/hyperv");
    if hyperv.is_some_and(|hyperv| hyperv.attribute("mode") == Some("passthrough")) {
        flags.push("hv-passthrough=on".to_owned());
    }
    let enlightenments = hyperv.into_iter().flat_map(Node::children);
    for node in enlightenments.filter(|node| node.attribute("state") == Some("on")) {
        let name = node.name().replace('_', "-");
        match &*name {
            "spinlocks" => {
                let retries = node.attribute("retries").unwrap_or("4095");
                flags.push(format!("hv-spinlocks={retries}"));
            }
            "vendor-id" => {
                let value = node.attribute("value").unwrap_or_default();
                flags.push(format!("hv-vendor-id={value}"));
            }
            _ => flags.push(format!("hv-{name}=on")),
        }
        for part in node
            .children()
            .filter(|part| part.attribute("state") == Some("on"))
        {
            let part = match part.name() {
                "extended" => "ext",
                other => other,
            };
            flags.push(format!("hv-{name}-{part}=on"));
        }
    }
    let mut devices = child(domain, "devices")
        .into_iter()
        .flat_map(|all| all.elements("panic"));
    if devices.any(|panic| panic.attribute("model") == Some("hyperv")) {
        flags.push("hv-crash".to_owned());
    }
    flags
}

/// Returns the flags of the CPU that say how it tells its caches and its addresses.
fn size_flags(domain: Node) -> Vec<String> {
    let mut flags = Vec::new();
    match attribute(domain, "cpu/cache", "mode") {
        Some("emulate") => flags.push("l3-cache=on".to_owned()),
        Some("passthrough") => {
            flags.extend(["host-cache-info=on", "l3-cache=off"].map(str::to_owned));
        }
        Some("disable") => flags.push("l3-cache=off".to_owned()),
        _ => {}
    }
    if let Some(node) = child(domain, "cpu/maxphysaddr") {
        match (node.attribute("mode"), node.attribute("bits")) {
            (Some("passthrough"), _) => {
                flags.push("host-phys-bits=on".to_owned());
                let limit = node.attribute("limit");
                flags.extend(limit.map(|limit| format!("host-phys-bits-limit={limit}")));
            }
            (_, Some(bits)) => flags.push(format!("phys-bits={bits}")),
            (_, None) => flags.push("host-phys-bits=off".to_owned()),
        }
    }
    flags
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
    let ids = child(domain, "iothreadids").into_iter();
    let ids = ids.flat_map(|ids| ids.elements("iothread"));
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
