//! Features of a domain: options of its machine, and devices that libvirt adds for them.

use crate::guest::domain::node::Node;
use crate::guest::domain::{Items, Reader, all, attribute, bytes, child, on_off, timer};

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
pub(super) fn read(reader: &mut Reader, domain: Node, items: &mut Items) {
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
    for cipher in all(domain, "keywrap/cipher") {
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

/// Returns what the first device to boot from tells the loader of a mainframe.
fn load_parameter<'d>(domain: Node<'d>) -> Option<&'d str> {
    let mut devices = child(domain, "devices")?.children();
    devices.find_map(|device| {
        let boot = child(device, "boot")?;
        let is_first = boot.attribute("order") == Some("1");
        boot.attribute("loadparm").filter(|_| is_first)
    })
}
