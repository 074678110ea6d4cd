//! Memory of a domain: what the machine has from the start, and what is plugged in. A block of it has a name in the stream.

use crate::guest::domain::controllers::virtio;
use crate::guest::domain::node::Node;
use crate::guest::domain::{Items, Reader, all, amount, attribute, bytes, child, on_off};
use crate::model::c_number;
use crate::report::GuestReason;

/// Returns the modules of memory that are plugged in.
pub(super) fn modules<'d>(domain: Node<'d>) -> impl Iterator<Item = Node<'d>> {
    all(domain, "devices/memory")
}

/// Returns the bytes of a cell of NUMA, where the memory is divided.
fn cell_bytes(cell: Node) -> Option<u64> {
    amount(cell, cell.attribute("memory")?)
}

pub(super) fn base(reader: &mut Reader, domain: Node) {
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
    let plugged: u64 = modules(domain)
        .filter_map(|memory| child(memory, "target/size").and_then(bytes))
        .fold(0, u64::saturating_add);
    let cells: Vec<Node> = all(domain, "cpu/numa/cell").collect();
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
    let id_of = |index: usize, cell: Node| {
        let id = cell.attribute("id");
        id.map_or_else(|| index.to_string(), str::to_owned)
    };
    for (index, cell) in cells.iter().enumerate() {
        let id = id_of(index, *cell);
        let mut node = Items::from([("type", "node"), ("nodeid", &id)]);
        let cpus = cell.attribute("cpus").unwrap_or_default().split(',');
        for cpus in cpus.filter(|cpus| !cpus.is_empty()) {
            node.set("cpus", cpus);
        }
        let size = cell_bytes(*cell).filter(|bytes| *bytes > 0).map(aligned);
        if let Some(size) = size.filter(|_| !has_backends) {
            node.set("mem", size >> 20);
        } else if let Some(size) = size {
            let (name, size) = (format!("ram-node{id}"), size.to_string());
            let backend = [
                ("qom-type", "memory-backend-ram"),
                ("id", &name),
                ("size", &size),
            ];
            reader.add_list(*cell, "object", backend);
            node.set("memdev", name);
        }
        reader.add_list(*cell, "numa", node);
    }
    // A distance is one of two cells, both of which are known by now.
    for (index, cell) in cells.iter().enumerate() {
        let source = id_of(index, *cell);
        for sibling in all(*cell, "distances/sibling") {
            let mut items = Items::from([("type", "dist"), ("src", &source)]);
            items.attributes(Some(sibling), &[("id", "dst"), ("value", "val")]);
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
    let is_divided = version.is_ok_and(|version| version.len() == 2 && version[..] <= DIVIDED[..]);
    let backing = child(domain, "memoryBacking");
    let of_backing = |path, attribute| {
        let node = backing.and_then(|backing| child(backing, path))?;
        node.attribute(attribute)
    };
    let is_shared = of_backing("access", "mode").is_some();
    let is_file = of_backing("source", "type").is_some_and(|kind| kind != "anonymous");
    let is_huge = of_backing("hugepages/page", "nodeset").is_some();
    let is_bound = child(domain, "numatune/memnode").is_some();
    let mut cells = all(domain, "cpu/numa/cell");
    let is_own = cells.any(|cell| cell.attribute("memAccess").is_some());
    !is_divided || is_shared || is_file || is_huge || is_bound || is_own
}

pub(super) fn module(reader: &mut Reader, node: Node) {
    let model = node.attribute("model").unwrap_or_default();
    let kind = model.replace('-', "");
    let driver = match model {
        "dimm" => "pc-dimm",
        "nvdimm" => "nvdimm",
        of @ ("virtio-mem" | "virtio-pmem") => &virtio(reader, node, of, ""),
        "sgx-epc" => return reader.leave_out(node, GuestReason::HostDevice),
        _ => return reader.leave_out(node, GuestReason::UnknownElement),
    };
    // The block of memory in the stream has this name.
    let alias = reader.alias(node, &kind);
    let id = format!("mem{alias}");
    let of = |path| child(node, path).and_then(bytes);
    let mut object = Items::from([("qom-type", "memory-backend-ram"), ("id", &id)]);
    object.set("size", of("target/size").unwrap_or_default());
    reader.add_list(node, "object", object);
    let mut items = Items::from([("memdev", &*id), ("id", &alias)]);
    items.set_some("node", child(node, "target/node").map(Node::text));
    items.set_some("label-size", of("target/label/size"));
    items.set_some("uuid", child(node, "uuid").map(Node::text));
    items.set_some("unarmed", child(node, "target/readonly").map(|_| "on"));
    let at = attribute(node, "target/address", "base").and_then(c_number);
    items.set_some("memaddr", at);
    if let Some(address) = child(node, "address").filter(|a| a.attribute("type") == Some("dimm")) {
        items.set_some("slot", address.attribute("slot"));
        items.set_some("addr", address.attribute("base").and_then(c_number));
    }
    items.set_some("block-size", of("target/block"));
    items.set_some("requested-size", of("target/requested"));
    let slots = attribute(node, "target", "dynamicMemslots");
    items.set_some(
        "dynamic-memslots",
        slots.map(|slots| on_off(slots == "yes")),
    );
    reader.add_device(node, driver, items);
}

pub(super) fn shared(reader: &mut Reader, node: Node) {
    if child(node, "server").is_some() {
        return reader.leave_out(node, GuestReason::NeedsProcess);
    }
    let alias = reader.alias(node, "shmem");
    let id = format!("shmmem-{alias}");
    let size = child(node, "size").and_then(bytes).unwrap_or(4 << 20);
    let object = [
        ("qom-type", "memory-backend-file"),
        ("id", &id),
        ("share", "on"),
        ("size", &size.to_string()),
    ];
    reader.add_list(node, "object", object);
    let mut items = Items::from([("memdev", &*id), ("id", &alias)]);
    match node.attribute("role") {
        Some("master") => items.set("master", "on"),
        Some(_) => items.set("master", "off"),
        None => {}
    }
    reader.add_device(node, "ivshmem-plain", items);
}

/// Adds the memory in which a guest keeps its errors.
pub(super) fn errors(reader: &mut Reader, node: Node) {
    if node.attribute("backend") != Some("acpi-erst") {
        return reader.leave_out(node, GuestReason::UnknownElement);
    }
    let alias = reader.alias(node, "pstore");
    let id = format!("mem{alias}");
    let mut object = Items::from([("qom-type", "memory-backend-file"), ("id", &id)]);
    object.set(
        "size",
        child(node, "size").and_then(bytes).unwrap_or_default(),
    );
    object.set("share", "on");
    reader.add_list(node, "object", object);
    reader.add_device(node, "acpi-erst", [("memdev", &*id), ("id", &alias)]);
}
