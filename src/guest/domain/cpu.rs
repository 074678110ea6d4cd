//! The CPU of a domain, and its flags.

use crate::guest::domain::node::Node;
use crate::guest::domain::{Reader, all, attribute, child, on_off, timer};

pub(super) fn read(reader: &mut Reader, domain: Node) {
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
    for feature in all(domain, "cpu/feature") {
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
    let mut devices = all(domain, "devices/panic");
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
