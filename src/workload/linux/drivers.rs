//! The kernel's drivers for QEMU's devices: `guests/linux/drivers.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use wildmatch::WildMatch;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    driver: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    devices: Vec<String>,
    modules: Vec<String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // Not external input: the file is part of the program, and a test reads it.
    toml::from_str(include_str!("../../../guests/linux/drivers.toml"))
        .unwrap_or_else(|error| unreachable!("guests/linux/drivers.toml: {error}"))
});

/// Returns the modules that drive devices, by the names that `-device` takes, each once.
pub(crate) fn modules<'d>(devices: impl IntoIterator<Item = &'d str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for device in devices {
        let fits = |pattern: &String| WildMatch::new(pattern).matches(device);
        let entries = TABLE.driver.iter();
        for entry in entries.filter(|entry| entry.devices.iter().any(fits)) {
            for module in &entry.modules {
                if !found.contains(module) {
                    found.push(module.clone());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_driver_of_its_bus_and_its_own() {
        assert_eq!(
            modules(["virtio-net-pci", "virtio-net-pci-transitional", "scsi-hd"]),
            ["virtio_pci", "virtio_net", "sd_mod"]
        );
        assert!(modules(["edu"]).is_empty());
    }

    #[test]
    fn every_entry_has_something_in_it() {
        let whole = |entry: &Entry| !entry.devices.is_empty() && !entry.modules.is_empty();
        assert!(TABLE.driver.iter().all(whole));
    }
}
