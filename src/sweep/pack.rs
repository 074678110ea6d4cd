//! The distribution of devices over guests.

use std::collections::BTreeMap;

use crate::culprit::Item;
use crate::devices::{Device, Drivers};
use crate::sweep::catalogue::{Candidate, How};

/// The slots of a root bus that devices may take: 32, of which the board has some.
const SLOTS: usize = 28;
/// The most devices in one guest. More take longer to split than they save.
const DEVICES: usize = 48;

/// The most devices that are not worth a guest of their own.
const FEW: usize = 2;

/// The share of a guest that a device takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Share {
    /// Ids of the devices, those that it needs among them, and whether each takes a slot.
    devices: BTreeMap<String, bool>,
    /// Kinds of which a guest has one, and the id that is it.
    only: BTreeMap<String, String>,
}

/// A guest that is being filled.
#[derive(Debug, Clone, Default)]
struct Guest {
    items: Vec<Item>,
    /// The share of these items.
    share: Share,
}

impl Guest {
    fn admits(&self, share: &Share) -> bool {
        let mut devices = self.share.devices.clone();
        devices.extend(share.devices.clone());
        let slots = devices.values().filter(|slot| **slot).count();
        let conflict = share
            .only
            .iter()
            .any(|(kind, id)| self.share.only.get(kind).is_some_and(|other| other != id));
        devices.len() <= DEVICES && slots <= SLOTS && !conflict
    }

    fn admit(&mut self, items: &[Item], share: Share) {
        self.items.extend(items);
        self.share.devices.extend(share.devices);
        self.share.only.extend(share.only);
    }
}

/// Distributes some of the candidates over as few guests as it takes. Every item is in exactly one.
///
/// Devices that hang on one controller, or are named alike, go together: similar devices tend to
/// fail together, and where all of a guest fail none that pass is tried again. Devices that change
/// where others land travel apart, and so do those that nobody has tried before, which may not
/// start. What comes with options for the machine itself, memory mostly, is put where there is
/// space last, so that few guests have them. The last few of a kind go to where others are apart,
/// if they take no slot and so land where they would anyway.
pub(crate) fn pack(
    candidates: &[Candidate],
    items: &[Item],
    drivers: Option<&Drivers>,
    arch: &str,
) -> Vec<Vec<Item>> {
    let mut groups: BTreeMap<(How, bool), Vec<Item>> = BTreeMap::new();
    for &item in items {
        let candidate = &candidates[item];
        let elsewhere = candidate.set.devices.iter().any(Device::is_alone);
        let group = groups.entry((candidate.how, elsewhere)).or_default();
        group.push(item);
    }
    let mut packed: BTreeMap<(How, bool), Vec<Guest>> = BTreeMap::new();
    for (key, mut group) in groups {
        group.sort_by_key(|&item| {
            let candidate = &candidates[item];
            let first = candidate.set.devices.first();
            let first = first.map_or("", |device| device.driver(arch));
            (first.to_owned(), &candidate.driver)
        });
        let mut shares: Vec<(Item, Share)> = group
            .into_iter()
            .map(|item| (item, share(&candidates[item], drivers, arch)))
            .collect();
        // What keeps others out finds its guest first: the rest fits in between.
        let options = |item: Item| {
            let mut devices = candidates[item].set.devices.iter();
            devices.any(|device| device.board_options().next().is_some())
        };
        shares.sort_by_key(|&(item, ref share)| (options(item), share.only.is_empty()));
        let mut guests: Vec<Guest> = Vec::new();
        for (item, share) in shares {
            match guests.iter_mut().find(|guest| guest.admits(&share)) {
                Some(guest) => guest.admit(&[item], share),
                None => {
                    let mut guest = Guest::default();
                    guest.admit(&[item], share);
                    guests.push(guest);
                }
            }
        }
        packed.insert(key, guests);
    }
    let mut apart = packed.remove(&(How::DeviceSet, true)).unwrap_or_default();
    if let Some(most) = packed.get_mut(&(How::DeviceSet, false)) {
        most.retain(|few| {
            let slotless = few.share.devices.values().all(|slot| !slot);
            if few.items.len() > FEW || !slotless {
                return true;
            }
            let host = apart.iter_mut().find(|guest| guest.admits(&few.share));
            let moved = host.map(|guest| guest.admit(&few.items, few.share.clone()));
            moved.is_none()
        });
    }
    packed.insert((How::DeviceSet, true), apart);
    let guests = packed.into_values().flatten();
    guests.map(|guest| guest.items).collect()
}

fn share(candidate: &Candidate, drivers: Option<&Drivers>, arch: &str) -> Share {
    let devices = &candidate.set.devices;
    let takes_slot = |device: &Device| {
        let driver = drivers.and_then(|drivers| drivers.get(device.driver(arch)));
        let bus = driver.and_then(|driver| driver.bus.as_deref());
        // Where nothing is known of it, it may.
        device.bus().is_none() && (drivers.is_none() || bus == Some("PCI"))
    };
    Share {
        devices: devices
            .iter()
            .map(|device| (device.id.clone(), takes_slot(device)))
            .collect(),
        only: devices
            .iter()
            .filter_map(|device| Some((device.one_of()?.to_owned(), device.id.clone())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::devices::DeviceSet;

    fn candidates() -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for device in DeviceSet::all().iter().flat_map(|set| &set.devices) {
            let driver = device.driver("x86_64");
            if candidates.iter().any(|known| known.driver == driver) {
                continue;
            }
            if let Some(set) = DeviceSet::recipe(driver, "x86_64") {
                candidates.push(Candidate {
                    driver: driver.to_owned(),
                    set,
                    how: How::DeviceSet,
                });
            }
        }
        candidates
    }

    #[test]
    fn everything_is_in_one_guest_and_no_guest_is_overfull() {
        let candidates = candidates();
        let all: Vec<Item> = (0..candidates.len()).collect();
        assert!(all.len() > 150, "{}", all.len());
        let packs = pack(&candidates, &all, None, "x86_64");
        let mut packed: Vec<Item> = packs.concat();
        packed.sort_unstable();
        assert_eq!(packed, all);
        for pack in &packs {
            let sets = pack.iter().map(|&item| &candidates[item].set);
            let union = DeviceSet::union("pack", sets);
            assert!(union.devices.len() <= DEVICES);
            let mut kinds = BTreeSet::new();
            for device in &union.devices {
                assert!(device.one_of().is_none_or(|kind| kinds.insert(kind)));
            }
        }
        assert!(packs.len() < all.len() / 8, "{} guests", packs.len());
        assert_eq!(
            packs,
            pack(&candidates, &all, None, "x86_64"),
            "always the same"
        );
    }

    #[test]
    fn the_last_interface_of_the_bmc_travels_with_what_is_apart() {
        let candidates = candidates();
        let at = |driver: &str| {
            let found = candidates.iter().position(|c| c.driver == driver);
            found.expect("a candidate")
        };
        let all = ["smbus-ipmi", "pci-ipmi-kcs", "pci-ipmi-bt", "pxb-pcie"].map(at);
        let help = [
            "name \"smbus-ipmi\", bus i2c-bus",
            "name \"ipmi-bmc-sim\"",
            "name \"pci-ipmi-kcs\", bus PCI",
            "name \"pci-ipmi-bt\", bus PCI",
            "name \"pxb-pcie\", bus PCI",
        ];
        let drivers = Drivers::from_help(&help.join("\n"));
        let packs = pack(&candidates, &all, Some(&drivers), "x86_64");
        let [smbus, kcs, bt, pxb] = all;
        assert_eq!(packs, [vec![bt], vec![kcs], vec![pxb, smbus]]);
        // Without them it has a guest of its own.
        let packs = pack(&candidates, &[smbus], Some(&drivers), "x86_64");
        assert_eq!(packs, [[smbus]]);
    }

    #[test]
    fn second_root_buses_stay_apart_and_few_guests_have_options_of_the_machine() {
        let candidates = candidates();
        let all: Vec<Item> = (0..candidates.len()).collect();
        let has = |item: Item, what: fn(&Device) -> bool| {
            let mut devices = candidates[item].set.devices.iter();
            devices.any(what)
        };
        let mut with_options = 0;
        for pack in pack(&candidates, &all, None, "x86_64") {
            let elsewhere = |item: &&Item| has(**item, Device::is_alone);
            let apart = pack.iter().filter(elsewhere).count();
            assert!(apart == 0 || apart == pack.len(), "{pack:?}");
            let options = |item: &Item| has(*item, |d| d.board_options().next().is_some());
            with_options += usize::from(pack.iter().any(options));
        }
        assert!(with_options <= 3, "{with_options}");
    }
}
