//! The devices that a vhost-user backend stands for.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::{
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_ANY_LAYOUT, VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_bindings::virtio_scsi::{
    VIRTIO_SCSI_F_CHANGE, VIRTIO_SCSI_F_HOTPLUG, VIRTIO_SCSI_F_INOUT, VIRTIO_SCSI_F_T10_PI,
};

/// The kind of a device whose rings are worked outside of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::beside) enum Kind {
    Block,
    Scsi,
    FileSystem,
}

/// The addresses that a driver gives a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::beside) enum Addresses {
    /// Those of the guest's memory.
    Plain,
    /// Those that an IOMMU of the guest translates, which no backend here asks.
    Translated,
}

/// The features that concern the rings of any device.
const OF_RINGS: [u32; 5] = [
    VIRTIO_F_NOTIFY_ON_EMPTY,
    VIRTIO_F_ANY_LAYOUT,
    VIRTIO_RING_F_INDIRECT_DESC,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_F_VERSION_1,
];
/// The features of a disk.
const OF_BLOCK: [u32; 7] = [
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_BLK_SIZE,
    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_CONFIG_WCE,
    VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_DISCARD,
    VIRTIO_BLK_F_WRITE_ZEROES,
];

/// The features of a SCSI host. QEMU lets a driver have some of them without a question.
const OF_SCSI: [u32; 4] = [
    VIRTIO_SCSI_F_INOUT,
    VIRTIO_SCSI_F_HOTPLUG,
    VIRTIO_SCSI_F_CHANGE,
    VIRTIO_SCSI_F_T10_PI,
];

/// The ends of the names of drivers, for the buses that they are on.
const BUSES: [&str; 6] = [
    "",
    "device",
    "ccw",
    "pci",
    "pci-transitional",
    "pci-non-transitional",
];

impl Kind {
    /// Returns the kind of a device by the name of its driver, for instance `vhost-user-blk-pci`. Most others are such as no
    /// QEMU migrates; none has a backend here.
    pub(in crate::beside) fn of_driver(driver: &str) -> Option<Kind> {
        let device = driver.strip_prefix("vhost-user-")?;
        let (kind, bus) = device.split_once('-').unwrap_or((device, ""));
        if !BUSES.contains(&bus) {
            return None;
        }
        Some(match kind {
            "blk" => Kind::Block,
            "scsi" => Kind::Scsi,
            "fs" => Kind::FileSystem,
            _ => return None,
        })
    }

    /// Returns the name of the device on a virtio bus.
    pub(in crate::beside) fn driver(self) -> &'static str {
        match self {
            Kind::Block => "vhost-user-blk",
            Kind::Scsi => "vhost-user-scsi",
            Kind::FileSystem => "vhost-user-fs-device",
        }
    }

    /// Returns the features that a driver may use, a bit each.
    pub(super) fn features(self, addresses: Addresses) -> u64 {
        let own = match self {
            Kind::Block => &OF_BLOCK[..],
            Kind::Scsi => &OF_SCSI,
            Kind::FileSystem => &[],
        };
        // QEMU refuses a device that is said to be behind an IOMMU if its backend is not.
        let plain = (addresses == Addresses::Plain).then_some(&VIRTIO_F_ACCESS_PLATFORM);
        let bits = OF_RINGS.iter().chain(own).chain(plain).map(|bit| 1 << bit);
        let of_vhost =
            VhostUserVirtioFeatures::PROTOCOL_FEATURES | VhostUserVirtioFeatures::LOG_ALL;
        bits.fold(of_vhost.bits(), |all, bit: u64| all | bit)
    }

    /// Returns what QEMU may use of the protocol. It migrates no device whose backend does not say where it writes
    /// (`LOG_SHMFD`), and no file system whose backend has no state for it (`DEVICE_STATE`). A guest may have more than eight
    /// pieces of memory (`CONFIGURE_MEM_SLOTS`), and be told to look for an IOMMU that it has not got (`BACKEND_REQ`).
    pub(super) fn protocol_features(self) -> VhostUserProtocolFeatures {
        let all = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::REPLY_ACK;
        all | match self {
            Kind::Block => VhostUserProtocolFeatures::CONFIG,
            Kind::FileSystem => VhostUserProtocolFeatures::DEVICE_STATE,
            Kind::Scsi => VhostUserProtocolFeatures::empty(),
        }
    }

    /// Tells whether a ring carries requests that a driver waits for.
    pub(super) fn answers(self, ring: u16) -> bool {
        match self {
            Kind::Block | Kind::FileSystem => true,
            // The second one is for events, of which there are none.
            Kind::Scsi => ring != 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_of_one_kind_on_every_bus() {
        for (driver, kind) in [
            ("vhost-user-blk", Some(Kind::Block)),
            ("vhost-user-blk-pci-non-transitional", Some(Kind::Block)),
            ("vhost-user-scsi-pci", Some(Kind::Scsi)),
            ("vhost-user-fs-ccw", Some(Kind::FileSystem)),
            ("vhost-user-vsock-device", None),
            ("vhost-user-gpu-pci", None),
            ("vhost-user-blk-nonsense", None),
            ("vhost-user-scmi", None),
            ("vhost-vsock-pci", None),
            ("virtio-blk-pci", None),
        ] {
            assert_eq!(Kind::of_driver(driver), kind, "{driver}");
        }
    }
}
