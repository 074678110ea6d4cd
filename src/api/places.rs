//! The places that a machine has for devices: what of a set has none is left out of the guests, so that the others can
//! be moved.

use std::collections::BTreeSet;

use crate::api::config::Guests;
use crate::devices::{DeviceSet, Exclusion, Reason};
use crate::migration::config::MigrationConfig;
use crate::migration::default_devices;
use crate::qemu::block_on;
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
    let asked = block_on(default_devices::buses(config));
    config.buses = asked.ok().and_then(Result::ok);
    let mut places = Places::default();
    let is_chosen = !guests.device_sets.is_empty() || !guests.devices.is_empty();
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
