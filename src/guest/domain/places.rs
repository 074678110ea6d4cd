//! Places of disks: their buses, and where on them they are.

use crate::guest::domain::node::Node;
use crate::guest::domain::{attribute, child};
use crate::model::c_number;

/// Returns the bus that a disk is on: by its name, unless it says so.
pub(super) fn bus_of<'d>(node: Node<'d>) -> &'d str {
    let of = |name| attribute(node, "target", name);
    let name = of("dev").unwrap_or_default();
    of("bus").unwrap_or(match name.get(..2) {
        Some("sd") => "scsi",
        Some("hd") => "ide",
        Some("fd") => "fdc",
        _ => "virtio",
    })
}

/// Returns the SCSI controller that a disk is on, if it is on one.
pub(super) fn scsi_controller(node: Node) -> Option<u64> {
    let bus = bus_of(node);
    let controller = match child(node, "address") {
        Some(address) => address.attribute("controller").and_then(c_number),
        None => {
            let name = attribute(node, "target", "dev");
            Some(by_name(bus, name.unwrap_or_default(), "controller"))
        }
    };
    (bus == "scsi").then(|| controller.unwrap_or_default())
}

/// Returns the place that a disk without an address has by the letter in its name, as libvirt counts: `hdc` is the first one
/// on the second bus.
pub(super) fn by_name(bus: &str, name: &str, place: &str) -> u64 {
    let letters = name.get(2..).unwrap_or_default();
    let counted = letters.bytes().try_fold(0_u64, |number, letter| {
        let digit = u64::from(letter.wrapping_sub(b'a')) + 1;
        let known = letter.is_ascii_lowercase().then_some(digit)?;
        number.checked_mul(26)?.checked_add(known)
    });
    let index = counted.unwrap_or_default().saturating_sub(1);
    let (buses, units) = match bus {
        "ide" => (2, 2),
        "sata" => (1, 6),
        "scsi" => (1, 7),
        "fdc" => (1, 2),
        _ => return 0,
    };
    match place {
        "controller" => index / (buses * units),
        "bus" => index / units % buses,
        "unit" => index % units,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_place_as_libvirt_counts() {
        for (bus, name, place) in [
            ("ide", "hda", [0, 0, 0]),
            ("ide", "hdc", [0, 1, 0]),
            ("ide", "hdf", [1, 0, 1]),
            ("sata", "sdg", [1, 0, 0]),
            ("scsi", "sdaa", [3, 0, 5]),
            ("fdc", "fdb", [0, 0, 1]),
            ("virtio", "vdc", [0, 0, 0]),
            ("ide", "", [0, 0, 0]),
            ("ide", "hd1", [0, 0, 0]),
            ("scsi", "sdzzzzzzzzzzzzzzzzzzzz", [0, 0, 0]),
        ] {
            let found = ["controller", "bus", "unit"].map(|of| by_name(bus, name, of));
            assert_eq!(found, place, "{bus} {name}");
        }
    }
}
