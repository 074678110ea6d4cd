//! The sets that come with the program, and how they plug in a driver.

use std::path::Path;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::data::data_files;
use crate::devices::{Device, DeviceError, DeviceSet};
use crate::model::joined;

/// The sets that come with the program; a run without a choice takes the first one.
const SHIPPED: &[(&str, &str)] = data_files!(
    "device-sets":
    "default",
    "bare",
    "network",
    "storage",
    "usb",
    "display",
    "sound",
    "platform",
    "memory",
    "bridges",
    "can",
    "cxl",
    // Behind the others: what it has too is plugged in as they have it where a device is asked for by its driver.
    "drivers",
);

/// The accesses of a driver from outside to devices; [`crate::driver`] reads them.
pub(crate) const DRIVEN: &str = include_str!("../../device-sets/driven.toml");

/// The shipped sets, parsed once; their validity is checked by this package's tests, and depends on
/// no input.
static SETS: LazyLock<Vec<DeviceSet>> = LazyLock::new(|| {
    SHIPPED
        .iter()
        .map(|(file, text)| {
            DeviceSet::parse(file, text).unwrap_or_else(|e| panic!("a shipped device set: {e}"))
        })
        .collect()
});

/// Returns a hash of the shipped sets, of what a driver does to their devices, and of the user's own files, wherever they are.
pub(crate) fn digest(own: &[&Path]) -> String {
    let own = own
        .iter()
        .map(|file| std::fs::read(file).unwrap_or_default());
    let shipped = SHIPPED.iter().map(|(_, text)| text.as_bytes().to_vec());
    let driven = [DRIVEN.as_bytes().to_vec()];
    let texts: Vec<Vec<u8>> = shipped.chain(driven).chain(own).collect();
    format!("{:016x}", xxh3_64(&texts.concat()))
}

impl DeviceSet {
    /// Returns the shipped sets, `default` first.
    pub fn all() -> &'static [DeviceSet] {
        &SETS
    }

    /// Returns a shipped set by name.
    ///
    /// # Errors
    /// There is no such set.
    pub fn shipped(name: &str) -> Result<&'static DeviceSet, DeviceError> {
        let found = SETS.iter().find(|set| set.name == name);
        found.ok_or_else(|| DeviceError::UnknownSet {
            wanted: name.to_owned(),
            known: joined(SETS.iter().map(|set| &set.name), ", "),
        })
    }

    /// Returns the plainest way to plug in one driver: the device as a shipped set has it, and what it
    /// needs.
    pub fn recipe(driver: &str, arch: &str) -> Option<DeviceSet> {
        DeviceSet::recipes(driver, arch).into_iter().next()
    }

    /// Returns all ways to plug in one driver that the shipped sets have for an architecture, the
    /// plainest first.
    pub fn recipes(driver: &str, arch: &str) -> Vec<DeviceSet> {
        let is_of_driver =
            |device: &Device| device.driver(arch) == driver && device.is_for_arch(arch);
        let mut found: Vec<(&Device, DeviceSet)> = chosen(driver, is_of_driver).collect();
        // An entry of the driver's own name is plainer than one that another device wanted in a
        // certain place.
        found.sort_by_key(|(device, _)| device.id != driver);
        found.into_iter().map(|(_, recipe)| recipe).collect()
    }

    /// Returns the ways to plug in a driver that a shipped set has for machines without the bus of another one.
    pub(crate) fn other_forms(driver: &str, arch: &str) -> Vec<DeviceSet> {
        let has_form = |device: &Device| {
            device.is_for_arch(arch) && device.other_drivers(arch).any(|other| other == driver)
        };
        chosen(driver, has_form).map(|(_, form)| form).collect()
    }

    /// Returns a shipped device by its id, with all that it needs.
    pub fn with(id: &str) -> Option<DeviceSet> {
        SETS.iter().find_map(|set| set.select(&[id]).ok())
    }

    /// Returns the shipped device of an id that an architecture has, with what it needs.
    pub(crate) fn of_id(id: &str, arch: &str) -> Option<DeviceSet> {
        let has = |set: &&DeviceSet| {
            let mut devices = set.devices.iter();
            devices.any(|device| device.id == id && device.is_for_arch(arch))
        };
        SETS.iter().find(has)?.select(&[id]).ok()
    }

    /// Tells whether a shipped set has a driver for an architecture.
    pub(crate) fn knows(driver: &str, arch: &str) -> bool {
        let mut devices = SETS.iter().flat_map(|set| &set.devices);
        devices.any(|device| device.driver(arch) == driver && device.is_for_arch(arch))
    }

    /// Tells whether a driver plays or records sound, and has to be given a backend for it.
    pub(crate) fn plays(driver: &str, arch: &str) -> bool {
        let mut devices = SETS.iter().flat_map(|set| &set.devices);
        devices.any(|device| device.driver(arch) == driver && device.has_property("audiodev"))
    }

    /// Returns why no shipped set has a driver, if it is left out.
    pub fn left_out(driver: &str) -> Option<&'static str> {
        SETS.iter()
            .flat_map(|set| &set.left_out)
            .find(|entry| entry.covers(driver))
            .map(|entry| entry.reason.as_str())
    }
}

/// Returns the shipped devices that are wanted, each with a set of this name that has it and what it needs.
fn chosen(
    name: &str,
    is_wanted: impl Fn(&Device) -> bool,
) -> impl Iterator<Item = (&'static Device, DeviceSet)> {
    let devices = SETS
        .iter()
        .flat_map(|set| set.devices.iter().map(move |device| (set, device)));
    let wanted = devices.filter(move |(_, device)| is_wanted(device));
    wanted.filter_map(move |(set, device)| {
        let mut chosen = set.select(&[device.id.as_str()]).ok()?;
        chosen.name = name.to_owned();
        Some((device, chosen))
    })
}
