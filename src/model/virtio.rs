//! Virtio devices: their kinds and features, by the numbers of the specification (version 1.3, sections 2.2, 5
//! and 6). The names are those of QEMU's properties, where one turns the feature on.

/// A kind of virtio device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioKind {
    /// The number by which a driver knows it.
    pub number: u32,
    /// The name: `net`, `blk`.
    pub name: &'static str,
    features: &'static [(u32, &'static str)],
}

/// The features that are not of one kind.
const COMMON: &[(u32, &str)] = &[
    (24, "notify_on_empty"),
    (27, "any_layout"),
    (28, "indirect_desc"),
    (29, "event_idx"),
    (32, "version_1"),
    (33, "iommu_platform"),
    (34, "packed"),
    (35, "in_order"),
    (36, "order_platform"),
    (37, "sr_iov"),
    (38, "notification_data"),
    (39, "notif_config_data"),
    (40, "queue_reset"),
];

const KINDS: &[VirtioKind] = &[
    kind(
        1,
        "net",
        &[
            (0, "csum"),
            (1, "guest_csum"),
            (2, "ctrl_guest_offloads"),
            (3, "host_mtu"),
            (5, "mac"),
            (7, "guest_tso4"),
            (8, "guest_tso6"),
            (9, "guest_ecn"),
            (10, "guest_ufo"),
            (11, "host_tso4"),
            (12, "host_tso6"),
            (13, "host_ecn"),
            (14, "host_ufo"),
            (15, "mrg_rxbuf"),
            (16, "status"),
            (17, "ctrl_vq"),
            (18, "ctrl_rx"),
            (19, "ctrl_vlan"),
            (20, "ctrl_rx_extra"),
            (21, "guest_announce"),
            (22, "mq"),
            (23, "ctrl_mac_addr"),
            (52, "host_tunnel"),
            (54, "guest_uso4"),
            (55, "guest_uso6"),
            (56, "host_uso"),
            (57, "hash"),
            (59, "guest_hdrlen"),
            (60, "rss"),
            (61, "guest_rsc_ext"),
            (62, "failover"),
            (63, "speed_duplex"),
        ],
    ),
    kind(
        2,
        "blk",
        &[
            (1, "size_max"),
            (2, "seg_max"),
            (4, "geometry"),
            (5, "ro"),
            (6, "blk_size"),
            (9, "flush"),
            (10, "topology"),
            (11, "config-wce"),
            (12, "mq"),
            (13, "discard"),
            (14, "write-zeroes"),
            (16, "secure_erase"),
            (17, "zoned"),
        ],
    ),
    kind(
        3,
        "serial",
        &[(0, "size"), (1, "multiport"), (2, "emergency-write")],
    ),
    kind(4, "rng", &[]),
    kind(
        5,
        "balloon",
        &[
            (0, "must_tell_host"),
            (1, "stats_vq"),
            (2, "deflate-on-oom"),
            (3, "free-page-hint"),
            (4, "page-poison"),
            (5, "free-page-reporting"),
        ],
    ),
    kind(
        8,
        "scsi",
        &[
            (0, "inout"),
            (1, "hotplug"),
            (2, "param_change"),
            (3, "t10_pi"),
        ],
    ),
    kind(9, "9p", &[(0, "mount_tag")]),
    kind(
        16,
        "gpu",
        &[
            (0, "virgl"),
            (1, "edid"),
            (2, "resource_uuid"),
            (3, "blob"),
            (4, "context_init"),
        ],
    ),
    kind(18, "input", &[]),
    kind(19, "vsock", &[(0, "stream"), (1, "seqpacket")]),
    kind(20, "crypto", &[]),
    kind(
        23,
        "iommu",
        &[
            (0, "input_range"),
            (1, "domain_range"),
            (2, "map_unmap"),
            (3, "bypass"),
            (4, "probe"),
            (5, "mmio"),
            (6, "bypass_config"),
        ],
    ),
    kind(
        24,
        "mem",
        &[
            (0, "acpi_pxm"),
            (1, "unplugged-inaccessible"),
            (2, "persistent-suspend"),
        ],
    ),
    kind(25, "sound", &[]),
    kind(26, "fs", &[(0, "notification")]),
    kind(27, "pmem", &[(0, "shmem_region")]),
];

const fn kind(
    number: u32,
    name: &'static str,
    features: &'static [(u32, &'static str)],
) -> VirtioKind {
    VirtioKind {
        number,
        name,
        features,
    }
}

impl VirtioKind {
    /// Returns the kind of a number.
    pub fn numbered(number: u32) -> Option<VirtioKind> {
        KINDS.iter().copied().find(|kind| kind.number == number)
    }

    /// Returns the kind whose state a vmsd describes: `virtio-net` and the like.
    pub fn of_vmsd(name: &str) -> Option<VirtioKind> {
        let of = name.strip_prefix("virtio-")?;
        let of = if of == "console" { "serial" } else { of };
        KINDS.iter().copied().find(|kind| kind.name == of)
    }
}

/// Returns the name of a feature by its bit, of a device whose kind may not be known.
pub fn feature_name(kind: Option<VirtioKind>, bit: u32) -> String {
    let own = kind.map_or(&[][..], |kind| kind.features);
    let mut known = own.iter().chain(COMMON);
    match known.find(|(of, _)| *of == bit) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("bit {bit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_names_of_properties() {
        let net = VirtioKind::of_vmsd("virtio-net");
        assert_eq!(net, VirtioKind::numbered(1));
        assert_eq!(feature_name(net, 15), "mrg_rxbuf");
        assert_eq!(feature_name(net, 56), "host_uso");
        assert_eq!(
            feature_name(VirtioKind::of_vmsd("virtio-console"), 1),
            "multiport"
        );
        assert_eq!(feature_name(None, 32), "version_1");
        assert_eq!(feature_name(None, 15), "bit 15");
        assert_eq!(VirtioKind::of_vmsd("e1000"), None);
    }

    #[test]
    fn no_kind_has_a_feature_twice() {
        for kind in KINDS {
            let mut bits: Vec<u32> = kind
                .features
                .iter()
                .chain(COMMON)
                .map(|(bit, _)| *bit)
                .collect();
            let all = bits.len();
            bits.sort_unstable();
            bits.dedup();
            assert_eq!(bits.len(), all, "{}", kind.name);
        }
    }
}
