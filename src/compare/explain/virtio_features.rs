//! Names of the features that a virtio device offers its driver, by their bits.
//!
//! The numbers are those of the VIRTIO specification (1.3, sections 5 and 6), with those of the drafts before it
//! that devices still offer.

/// The bits that mean the same in every device: 24 to 49.
const COMMON: &[(u32, &str)] = &[
    (24, "NOTIFY_ON_EMPTY"),
    (27, "ANY_LAYOUT"),
    (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"),
    (32, "VERSION_1"),
    (33, "ACCESS_PLATFORM"),
    (34, "RING_PACKED"),
    (35, "IN_ORDER"),
    (36, "ORDER_PLATFORM"),
    (37, "SR_IOV"),
    (38, "NOTIFICATION_DATA"),
    (39, "NOTIF_CONFIG_DATA"),
    (40, "RING_RESET"),
    (41, "ADMIN_VQ"),
];

const NET: &[(u32, &str)] = &[
    (0, "CSUM"),
    (1, "GUEST_CSUM"),
    (2, "CTRL_GUEST_OFFLOADS"),
    (3, "MTU"),
    (5, "MAC"),
    (6, "GSO"),
    (7, "GUEST_TSO4"),
    (8, "GUEST_TSO6"),
    (9, "GUEST_ECN"),
    (10, "GUEST_UFO"),
    (11, "HOST_TSO4"),
    (12, "HOST_TSO6"),
    (13, "HOST_ECN"),
    (14, "HOST_UFO"),
    (15, "MRG_RXBUF"),
    (16, "STATUS"),
    (17, "CTRL_VQ"),
    (18, "CTRL_RX"),
    (19, "CTRL_VLAN"),
    (20, "CTRL_RX_EXTRA"),
    (21, "GUEST_ANNOUNCE"),
    (22, "MQ"),
    (23, "CTRL_MAC_ADDR"),
    (52, "VQ_NOTF_COAL"),
    (53, "NOTF_COAL"),
    (54, "GUEST_USO4"),
    (55, "GUEST_USO6"),
    (56, "HOST_USO"),
    (57, "HASH_REPORT"),
    (59, "GUEST_HDRLEN"),
    (60, "RSS"),
    (61, "RSC_EXT"),
    (62, "STANDBY"),
    (63, "SPEED_DUPLEX"),
    (65, "GUEST_UDP_TUNNEL_GSO"),
    (66, "GUEST_UDP_TUNNEL_GSO_CSUM"),
    (67, "HOST_UDP_TUNNEL_GSO"),
    (68, "HOST_UDP_TUNNEL_GSO_CSUM"),
];

const BLOCK: &[(u32, &str)] = &[
    (0, "BARRIER"),
    (1, "SIZE_MAX"),
    (2, "SEG_MAX"),
    (4, "GEOMETRY"),
    (5, "RO"),
    (6, "BLK_SIZE"),
    (7, "SCSI"),
    (9, "FLUSH"),
    (10, "TOPOLOGY"),
    (11, "CONFIG_WCE"),
    (12, "MQ"),
    (13, "DISCARD"),
    (14, "WRITE_ZEROES"),
    (16, "SECURE_ERASE"),
    (17, "ZONED"),
];

const SCSI: &[(u32, &str)] = &[(0, "INOUT"), (1, "HOTPLUG"), (2, "CHANGE"), (3, "T10_PI")];

const BALLOON: &[(u32, &str)] = &[
    (0, "MUST_TELL_HOST"),
    (1, "STATS_VQ"),
    (2, "DEFLATE_ON_OOM"),
    (3, "FREE_PAGE_HINT"),
    (4, "PAGE_POISON"),
    (5, "PAGE_REPORTING"),
];

const GPU: &[(u32, &str)] = &[
    (0, "VIRGL"),
    (1, "EDID"),
    (2, "RESOURCE_UUID"),
    (3, "RESOURCE_BLOB"),
    (4, "CONTEXT_INIT"),
];

const CONSOLE: &[(u32, &str)] = &[(0, "SIZE"), (1, "MULTIPORT"), (2, "EMERG_WRITE")];

const IOMMU: &[(u32, &str)] = &[
    (0, "INPUT_RANGE"),
    (1, "DOMAIN_RANGE"),
    (2, "MAP_UNMAP"),
    (3, "BYPASS"),
    (4, "PROBE"),
    (5, "MMIO"),
    (6, "BYPASS_CONFIG"),
];

const MEM: &[(u32, &str)] = &[
    (0, "ACPI_PXM"),
    (1, "UNPLUGGED_INACCESSIBLE"),
    (2, "PERSISTENT_SUSPEND"),
];

/// The devices by the names of their descriptions in QEMU.
const DEVICES: &[(&str, &[(u32, &str)])] = &[
    ("virtio-net", NET),
    ("virtio-blk", BLOCK),
    ("vhost-user-blk", BLOCK),
    ("virtio-scsi", SCSI),
    ("vhost-scsi", SCSI),
    ("virtio-balloon", BALLOON),
    ("virtio-gpu", GPU),
    ("virtio-console", CONSOLE),
    ("virtio-iommu", IOMMU),
    ("virtio-mem", MEM),
];

/// Names a feature of a device by its bit: `ACCESS_PLATFORM`; `bit 50` where it has no name.
pub(crate) fn name(vmsd: &str, bit: u32) -> String {
    let own = DEVICES.iter().find(|(device, _)| *device == vmsd);
    let own = own.map_or(&[][..], |(_, bits)| bits);
    let mut known = own.iter().chain(COMMON);
    let named = known.find(|(of, _)| *of == bit);
    named.map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
}

/// Returns the bits of a mask.
pub(crate) fn bits(mask: u128) -> Vec<u32> {
    (0..u128::BITS).filter(|bit| mask >> bit & 1 == 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_has_its_name_in_its_device() {
        for (vmsd, bit, expected) in [
            ("virtio-blk", 33, "ACCESS_PLATFORM"),
            ("virtio-blk", 13, "DISCARD"),
            ("virtio-scsi", 1, "HOTPLUG"),
            ("virtio-net", 15, "MRG_RXBUF"),
            ("virtio-net", 65, "GUEST_UDP_TUNNEL_GSO"),
            ("virtio-sound", 3, "bit 3"),
            ("another", 40, "RING_RESET"),
        ] {
            assert_eq!(name(vmsd, bit), expected, "{vmsd} {bit}");
        }
    }

    #[test]
    fn no_bit_of_a_device_has_two_names() {
        for (device, bits) in DEVICES.iter().chain(&[("every", COMMON)]) {
            assert!(bits.is_sorted_by(|a, b| a.0 < b.0), "{device}");
        }
        assert_eq!(bits(0x3_0000_0044), [2, 6, 32, 33]);
    }
}
