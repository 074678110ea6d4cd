//! The places that a machine has for devices, and the properties that builds know of them: what of a set has none is left
//! out of the guests, so that the others can be moved.

use std::collections::BTreeSet;

use crate::api::config::Guests;
use crate::devices::{Device, DeviceSet, Exclusion, ListedProperties, Reason};
use crate::migration::config::MigrationConfig;
use crate::migration::default_devices::Trees;
use crate::migration::endpoint::vm::Endpoint;
use crate::parallel::side_by_side;
use crate::qemu::{block_on, machine};
use crate::report::{Notice, NoticeKind};

/// The set of a machine that has a place for no device of those that an ordinary guest has.
const BARE_SET: &str = "bare";

/// The sets of the guests on a machine whose buses were asked for.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub sets: Vec<DeviceSet>,
    pub notices: Vec<Notice>,
}

/// Asks both builds for the buses of the machine, so that devices without a place on it are in no guest, and says which
/// these are. A machine that takes nothing of an ordinary guest, and for which no other devices are asked for, is moved
/// as it is. One that cannot be asked gets all devices, and the cases say what comes of it.
pub(crate) fn settle(
    config: &mut MigrationConfig,
    sets: Vec<DeviceSet>,
    guests: &Guests,
) -> Places {
    let is_chosen = !guests.device_sets.is_empty() || !guests.devices.is_empty();
    // Those of an ordinary guest are plugged in as every build takes them.
    if is_chosen {
        ask_properties(config, &sets);
    }
    if sets
        .iter()
        .all(|set| has_place(&config.machine, &config.arch, set))
    {
        return Places {
            sets,
            ..Places::default()
        };
    }
    let asked = block_on(Trees::plain(config));
    config.buses = asked.ok().and_then(Result::ok).map(|trees| trees.buses());
    let mut places = Places::default();
    for set in sets {
        let composition = config.compose(&set);
        let is_empty = composition.included.is_empty();
        let left_out = without_place(&composition.excluded, is_empty);
        if !left_out.is_empty() {
            let detail = left_out.join("; ");
            let notice = NoticeKind::DevicesWithoutPlace.about(&set.name, detail);
            places.notices.push(notice);
        }
        let bare = DeviceSet::shipped(BARE_SET).ok();
        let bare = bare.filter(|_| is_empty && !left_out.is_empty() && !is_chosen);
        places.sets.push(bare.cloned().unwrap_or(set));
    }
    places
}

/// Asks both builds which properties they have of the devices to which these sets give some, so that one that a build does
/// not know keeps its device alone out of the guests. A build that does not answer is taken to know all.
fn ask_properties(config: &mut MigrationConfig, sets: &[DeviceSet]) {
    let (Some(old), Some(new)) = (&config.old.drivers, &config.new.drivers) else {
        return;
    };
    let devices = sets.iter().flat_map(|set| &set.devices);
    let asked: BTreeSet<String> = devices
        .filter(|device| device.is_given_properties())
        .map(|device| device.driver(&config.arch))
        .filter(|driver| old.contains(driver) && new.contains(driver))
        .map(str::to_owned)
        .collect();
    if asked.is_empty() {
        return;
    }
    let asked = Vec::from_iter(asked);
    let ask = |endpoint: &Endpoint| {
        let answer = endpoint.build.devices(&asked, &[]).unwrap_or_default();
        let names = |of: Vec<(String, String)>| of.into_iter().map(|(name, _)| name).collect();
        let listed = answer.properties.into_iter();
        listed
            .map(|(driver, of)| (driver, names(of)))
            .collect::<ListedProperties>()
    };
    let (old, new) = side_by_side(|| ask(&config.old), || ask(&config.new));
    (config.old.properties, config.new.properties) = (old, new);
}

/// Tells whether a machine is known to have a place for all devices of a set. It costs two starts to ask for them, as
/// many as to migrate.
fn has_place(machine: &str, arch: &str, set: &DeviceSet) -> bool {
    let map = machine::profile(machine, Some(arch)).and_then(|profile| profile.map.as_ref());
    map.is_some_and(|map| map.pci.is_some()) || set.devices.iter().all(Device::is_verbatim)
}

/// Returns the devices that have no place and those that need one of them, by the reasons; of a set of which nothing is
/// left, those that a build does not have as well.
fn without_place(excluded: &[Exclusion], is_empty: bool) -> Vec<String> {
    let mut lacking: BTreeSet<&str> = BTreeSet::new();
    let mut said: Vec<(&Reason, Vec<&str>)> = Vec::new();
    for Exclusion { device, reason, .. } in excluded {
        let is_lacking = match reason {
            Reason::NoBus { .. } | Reason::BusFull { .. } => true,
            Reason::Absent { .. } => is_empty,
            Reason::Needs { device } => lacking.contains(device.as_str()),
            _ => false,
        };
        if !is_lacking {
            continue;
        }
        lacking.insert(device);
        match said.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, devices)) => devices.push(device),
            None => said.push((reason, vec![device])),
        }
    }
    let said = said.into_iter();
    said.map(|(reason, devices)| format!("{}: {reason}", devices.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_asked_for_places_where_it_may_lack_one() {
        for (machine, arch, set, is_known) in [
            ("pc-q35-7.2", "x86_64", "default", true),
            ("virt-10.0", "aarch64", "default", true),
            ("virt-10.0", "m68k", "default", false),
            ("isapc", "x86_64", "default", false),
            ("isapc", "x86_64", "bare", true),
        ] {
            let set = DeviceSet::shipped(set).expect("shipped");
            let found = has_place(machine, arch, set);
            assert_eq!(found, is_known, "{machine} {}", set.name);
        }
    }
}
