//! The device types that may send a section, by the dumps and by its name.

use std::collections::BTreeSet;

use crate::model::Accelerator;
use crate::vmstate::dump::Dump;

/// The senders of a section, or owners of a block of memory, by its name.
#[derive(Debug)]
pub(crate) struct Senders<'a> {
    name: &'a str,
    /// The types that send it by the dumps.
    types: BTreeSet<&'a str>,
}

impl<'a> Senders<'a> {
    /// Looks for the senders of a section of this vmsd name.
    pub(crate) fn of(name: &'a str, dumps: impl IntoIterator<Item = &'a Dump>) -> Senders<'a> {
        let sections = dumps.into_iter().flat_map(|dump| &dump.sections);
        let sent = sections.filter(|section| section.description.name == name);
        let types = sent.map(|section| section.type_name.as_str()).collect();
        Senders { name, types }
    }

    /// Tells whether a driver may be among them. Where its dump does not say it, a guess: good for what is tried
    /// first, never for what is concluded.
    pub(crate) fn may_include(&self, driver: &str) -> bool {
        let mut types = self.types.iter();
        types.any(|type_name| is_part_of(type_name, driver)) || is_named_after(self.name, driver)
    }

    /// Tells whether no type of a device sends it: it is of a processor, the machine or a backend.
    pub(crate) fn is_none(&self) -> bool {
        self.types.is_empty()
    }

    /// Tells whether a device of an accelerator is among them: it has its own of some kinds, and QEMU names them after
    /// it (`kvmclock`, `kvm-apic`, `arm-its-kvm`).
    pub(crate) fn include_one_of(&self, accelerator: Accelerator) -> bool {
        self.types.iter().any(|of| is_of(of, accelerator))
    }

    /// Tells whether devices of an accelerator are all of them, as far as any is known.
    pub(crate) fn are_of(&self, accelerator: Accelerator) -> bool {
        !self.is_none() && self.types.iter().all(|of| is_of(of, accelerator))
    }
}

fn is_of(type_name: &str, accelerator: Accelerator) -> bool {
    type_name.contains(&accelerator.to_string())
}

/// Tells whether a type that sends a section is a driver, or a device that the driver plugs into its own bus:
/// `virtio-keyboard-device` is in `virtio-keyboard-pci`.
pub(crate) fn is_part_of(type_name: &str, driver: &str) -> bool {
    let plugged = type_name.strip_suffix("-device");
    type_name == driver || plugged.is_some_and(|name| is_named_after(name, driver))
}

/// Tells whether a description in a stream, or a block of memory, may be a driver's: `vga-isa` is that of
/// `isa-vga`, `vmclock_page` is of `vmclock`. A guess: it says what is tried first, never what is
/// concluded.
fn is_named_after(description: &str, driver: &str) -> bool {
    fn words(name: &str) -> impl Iterator<Item = &str> {
        let parts = name.split(['-', '_', '.']);
        parts.filter(|word| !word.is_empty())
    }
    let are_words_of = |some: &str, other: &str| {
        let is_in_other = |word: &str| words(other).any(|other| other.eq_ignore_ascii_case(word));
        words(some).next().is_some() && words(some).all(is_in_other)
    };
    are_words_of(description, driver) || are_words_of(driver, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_on_a_bus_of_its_own_is_part_of_its_driver() {
        for (type_name, driver, fits) in [
            ("virtio-keyboard-device", "virtio-keyboard-pci", true),
            ("virtio-net-device", "virtio-net-pci-non-transitional", true),
            ("virtio-serial-device", "virtio-serial-ccw", true),
            ("virtio-mouse-device", "virtio-keyboard-pci", false),
            ("e1000", "e1000", true),
            ("e1000", "e1000-82545em", false),
        ] {
            assert_eq!(is_part_of(type_name, driver), fits, "{type_name}");
        }
    }

    #[test]
    fn a_description_points_at_a_driver() {
        for (description, driver, fits) in [
            ("ipmi-bmc-sim", "ipmi-bmc-sim", true),
            ("vga-isa", "isa-vga", true),
            ("uefi-vars", "uefi-vars-x64", true),
            ("vmclock_page", "vmclock", true),
            ("uefi-vars-sysbus", "uefi-vars-x64", false),
            ("ES1370", "es1370", true),
            ("vga", "e1000", false),
            ("", "e1000", false),
        ] {
            assert_eq!(is_named_after(description, driver), fits, "{description}");
        }
    }

    #[test]
    fn a_section_is_an_accelerators_if_all_who_send_it_are() {
        for (types, is_any, is_all) in [
            (&["kvmclock"][..], true, true),
            (&["kvm-apic", "apic"], true, false),
            (&["e1000"], false, false),
            (&[], false, false),
        ] {
            let types = BTreeSet::from_iter(types.iter().copied());
            let senders = Senders { name: "it", types };
            assert_eq!(senders.include_one_of(Accelerator::Kvm), is_any);
            assert_eq!(senders.are_of(Accelerator::Kvm), is_all);
        }
    }
}
