//! Guests with drivers: what runs in the machine of a case, and what its drivers accepted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A Linux guest that used the devices of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxReport {
    /// The release of the kernel, as it names itself.
    pub kernel: String,
    /// The virtio devices that it found.
    pub virtio: Vec<VirtioReport>,
    /// What its rounds use, by kind: `disks`, `nets`, `ports`, `rng`, `watchdogs` by
    /// the names that they give themselves, and the number of devices on the USB.
    #[serde(default)]
    pub uses: BTreeMap<String, Vec<String>>,
    /// Devices for which it has no driver: ids of the device set, or places on the USB.
    pub undriven: Vec<String>,
    /// Errors that the kernel logged while it set the devices up, before the guest was saved.
    pub logged: Vec<String>,
}

impl LinuxReport {
    /// Returns what concerns one device of many, by its id.
    pub(crate) fn of_device(&self, id: &str) -> LinuxReport {
        let undriven = self.undriven.iter().filter(|of| *of == id);
        LinuxReport {
            kernel: self.kernel.clone(),
            undriven: undriven.cloned().collect(),
            ..LinuxReport::default()
        }
    }
}

/// A virtio device in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioReport {
    /// The kernel's name of it: `virtio0`.
    pub name: String,
    /// The kind of device: `net`, or a number that is not known.
    pub kind: String,
    /// The driver; `None` where it has none.
    pub driver: Option<String>,
    /// The features that the driver accepted, by QEMU's names.
    pub features: Vec<String>,
}

/// A driver from outside that used the devices of a machine which never ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrivenReport {
    /// The PCI functions that were given addresses and interrupts.
    pub functions: usize,
    /// The virtio devices that were driven, by their places.
    pub virtio: Vec<VirtioReport>,
    /// The states that other devices were brought into, by their names in `device-sets/driven.toml`.
    pub states: Vec<String>,
}
