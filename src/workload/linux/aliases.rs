//! Names by which the kernel finds the driver of a device: each device has one (`modalias` in its folder of `/sys`), and each
//! module lists patterns (`alias=` in its `.modinfo`).

use wildmatch::WildMatch;

/// The beginnings of patterns that name a class of devices and no product: the driver of such a device is known as
/// soon as there is a bus that it can be on.
const CLASSES: [&str; 7] = [
    "usb:v*p*d*dc*dsc*dp*ic",
    "hid:b*g*v*p*",
    "input:b*v*p*",
    "scsi:t-",
    "mmc:block",
    "nd:t",
    // Of QEMU's own making.
    "acpi*:QEMU",
];

/// A function of a PCI device, as far as QEMU describes it before the machine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PciFunction {
    pub vendor: u16,
    pub device: u16,
    /// Vendor and device of the subsystem, where QEMU tells it.
    pub subsystem: Option<(u16, u16)>,
    /// Base class and subclass; the programming interface is not known.
    pub class: u16,
}

impl PciFunction {
    /// The vendor of virtio devices.
    const VIRTIO: u16 = 0x1af4;
    /// A device that older drivers know too has its kind as the subsystem ("Virtio 1.3", section 4.1.2).
    const TRANSITIONAL: std::ops::Range<u16> = 0x1000..0x1040;
    /// Any other one has its kind above this number.
    const MODERN: std::ops::Range<u16> = 0x1040..0x1080;

    /// Returns the number of the kind of virtio device that it is.
    pub(crate) fn virtio_kind(&self) -> Option<u32> {
        if self.vendor != Self::VIRTIO {
            return None;
        }
        match self.device {
            modern if Self::MODERN.contains(&modern) => {
                Some(u32::from(modern - Self::MODERN.start))
            }
            older if Self::TRANSITIONAL.contains(&older) => {
                self.subsystem.map(|(_, device)| u32::from(device))
            }
            _ => None,
        }
    }

    /// Tells whether a module with this pattern drives the function itself.
    pub(crate) fn is_driven_by(&self, pattern: &str) -> bool {
        let fields = pattern.strip_prefix("pci:");
        fields.is_some_and(|fields| self.fits(fields).unwrap_or(false))
    }

    /// Tells whether a module with this pattern drives the virtio device of the function.
    pub(crate) fn has_virtio_driven_by(&self, pattern: &str) -> bool {
        let begins = |kind| pattern.starts_with(&format!("virtio:d{kind:08X}v"));
        self.virtio_kind().is_some_and(begins)
    }

    /// Compares with the fields of a pattern, `v00001AF4d*sv*sd*bc02sc00i*`. `None` if it has not that form.
    fn fits(&self, fields: &str) -> Option<bool> {
        let mut rest = fields;
        while !rest.is_empty() {
            let value_at = rest.find(|c: char| !c.is_ascii_lowercase())?;
            let (key, value) = rest.split_at_checked(value_at)?;
            let end = value.find(|c: char| c.is_ascii_lowercase());
            let (value, next) = value.split_at_checked(end.unwrap_or(value.len()))?;
            rest = next;
            let known = match key {
                "v" => Some(self.vendor),
                "d" => Some(self.device),
                "sv" => self.subsystem.map(|(vendor, _)| vendor),
                "sd" => self.subsystem.map(|(_, device)| device),
                "bc" => Some(self.class >> 8),
                "sc" => Some(self.class & 0xff),
                "i" => None,
                _ => return None,
            };
            // The last one may go on.
            let value = value.strip_suffix('*').unwrap_or(value);
            if !value.is_empty() {
                let wanted = u32::from_str_radix(value, 16).ok()?;
                // What is not known may be it.
                if known.is_some_and(|known| u32::from(known) != wanted) {
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}

/// Tells whether a pattern names a class of devices and no product.
pub(crate) fn is_of_class(pattern: &str) -> bool {
    CLASSES.iter().any(|class| pattern.starts_with(class))
}

/// Tells whether a pattern fits the name of a device.
pub(crate) fn fits(pattern: &str, alias: &str) -> bool {
    // Most differ in the bus.
    bus(pattern) == bus(alias) && WildMatch::new(pattern).matches(alias)
}

fn bus(name: &str) -> &str {
    name.split([':', '*']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: PciFunction = PciFunction {
        vendor: 0x1af4,
        device: 0x1000,
        subsystem: Some((0x1af4, 1)),
        class: 0x0200,
    };

    #[test]
    fn a_function_is_driven_by_what_lists_it_or_its_class() {
        for (pattern, expected) in [
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", true),
            ("pci:v00001AF4d00001000sv*sd*bc*sc*i*", true),
            ("pci:v00001AF4d00001001sv*sd*bc*sc*i*", false),
            ("pci:v00001AF4d00001000sv00001AF4sd00000002bc*sc*i*", false),
            ("pci:v*d*sv*sd*bc02sc00i01*", true),
            ("pci:v*d*sv*sd*bc02sc00*", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", false),
            ("usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*", false),
            ("pci:nonsense", false),
            ("pci:v0x1", false),
        ] {
            assert_eq!(NET.is_driven_by(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn a_virtio_device_has_its_kind_in_its_own_number_or_the_subsystems() {
        assert_eq!(NET.virtio_kind(), Some(1));
        let with = |device, subsystem| PciFunction {
            device,
            subsystem,
            ..NET
        };
        assert_eq!(with(0x1050, Some((0x1af4, 0x1100))).virtio_kind(), Some(16));
        assert_eq!(with(0x1000, None).virtio_kind(), None);
        assert_eq!(with(0x1110, None).virtio_kind(), None);
        assert!(NET.has_virtio_driven_by("virtio:d00000001v*"));
        assert!(!NET.has_virtio_driven_by("virtio:d00000010v*"));
    }

    #[test]
    fn a_pattern_fits_a_name_of_its_bus() {
        let serial = "usb:v0403p6001d0400dc00dsc00dp00icFFiscFFipFFin00";
        assert!(fits("usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*", serial));
        assert!(!fits("usb:v0403p6010d*dc*dsc*dp*ic*isc*ip*in*", serial));
        assert!(fits("acpi*:PNP0700:*", "acpi:PNP0700:"));
        assert!(!fits("pnp:dPNP0700*", "acpi:PNP0700:"));
        assert!(fits("snd-hda-codec-generic", "snd-hda-codec-generic"));
    }

    #[test]
    fn a_class_is_told_from_a_product() {
        for class in ["usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*", "scsi:t-0x00*"] {
            assert!(is_of_class(class), "{class}");
        }
        for product in [
            "usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*",
            "hid:b0003g*v0000045Ep*",
        ] {
            assert!(!is_of_class(product), "{product}");
        }
    }
}
