//! The devices of a machine that are tried: the list, the cases of this run, and the packing.

use std::collections::{BTreeMap, BTreeSet};

use crate::culprit::Item;
use crate::devices::DeviceSet;
use crate::migration::endpoint::buses::Buses;
use crate::sweep::case_id::{CaseFamily, CaseId};
use crate::sweep::catalogue::Catalogue;
use crate::sweep::machine::options::{Context, Packing};
use crate::sweep::pack::pack;

/// The devices of a machine.
#[derive(Debug)]
pub(crate) struct Devices<'t> {
    pub context: Context<'t>,
    pub catalogue: Catalogue,
    /// Candidates whose cases are this run's. The others are another shard's; those of them that
    /// these need travel along, so that every case has the result that it has in a whole run.
    pub own: BTreeSet<Item>,
    /// Candidates of this run that are left out on purpose, in all directions.
    pub excluded: BTreeSet<Item>,
    /// The cases of the whole run, as far as they are known before it.
    pub planned: Vec<CaseId>,
}

impl<'t> Devices<'t> {
    /// Looks up the devices of a machine with these buses; there are none where they are not known.
    pub(crate) fn of(context: Context<'t>, buses: Option<&Buses>) -> Self {
        let Context { target, options } = context;
        let catalogue = buses.map_or_else(Catalogue::default, |buses| {
            Catalogue::of(&target.config, buses, &target.properties, &options.only)
        });
        let candidates = &catalogue.candidates;
        let families = candidates.iter().map(|c| target.device_family(&c.driver));
        let is_excluded = |family: &CaseFamily| {
            options.directions.iter().all(|&direction| {
                let id = family.case(direction).to_string();
                options.exclude.iter().any(|exclusion| exclusion.fits(&id))
            })
        };
        let (mut own, mut excluded) = (BTreeSet::new(), BTreeSet::new());
        for (item, family) in families.clone().enumerate() {
            if family.is_in(options.shard) {
                let among = if is_excluded(&family) {
                    &mut excluded
                } else {
                    &mut own
                };
                among.insert(item);
            }
        }
        let planned = std::iter::once(target.bare_family())
            .chain(families)
            .flat_map(|family| {
                let directions = options.directions.iter();
                directions.map(move |&direction| family.case(direction))
            })
            .collect();
        Devices {
            context,
            catalogue,
            own,
            excluded,
            planned,
        }
    }

    /// Returns what this run has to try: the devices of its cases, and what they need.
    pub(crate) fn to_try(&self) -> Vec<Item> {
        let mut tried = self.own.clone();
        for &item in &self.own {
            tried.extend(self.needed_by(item));
        }
        tried.into_iter().collect()
    }

    /// Returns the name of a device type.
    pub(crate) fn driver(&self, item: Item) -> &str {
        &self.catalogue.candidates[item].driver
    }

    /// Returns the candidates that one needs, what they need before them.
    pub(crate) fn needed_by(&self, item: Item) -> impl Iterator<Item = Item> {
        let arch = &self.context.target.config.arch;
        let needs = self.catalogue.candidates[item].needs(arch);
        needs.filter_map(|driver| self.catalogue.find(driver))
    }

    /// Returns which candidates need which others.
    pub(crate) fn needs(&self) -> BTreeMap<Item, Vec<Item>> {
        let items = 0..self.catalogue.candidates.len();
        items
            .map(|item| (item, self.needed_by(item).collect()))
            .collect()
    }

    /// Returns those of some items that plug in a virtio device.
    pub(crate) fn virtio(&self, items: &[Item]) -> impl Iterator<Item = Item> {
        let virtio = &self.context.target.virtio;
        let items = items.iter().copied();
        items.filter(|&item| virtio.contains(self.driver(item)))
    }

    /// Returns the devices of some items, in one guest.
    pub(crate) fn union(&self, items: &[Item]) -> DeviceSet {
        let sets = items
            .iter()
            .map(|&item| &self.catalogue.candidates[item].set);
        DeviceSet::union("pack", sets)
    }

    /// Distributes items over guests; some get one of their own.
    pub(crate) fn packs(&self, items: &[Item], alone: &BTreeSet<Item>) -> Vec<Vec<Item>> {
        match self.context.options.packing {
            Packing::OneByOne => items.iter().map(|&item| vec![item]).collect(),
            Packing::Packed => {
                let config = &self.context.target.config;
                let rest = items.iter().filter(|item| !alone.contains(item));
                let rest: Vec<Item> = rest.copied().collect();
                let mut packs = pack(
                    &self.catalogue.candidates,
                    &rest,
                    config.old.drivers.as_ref(),
                    &config.arch,
                );
                packs.extend(alone.iter().map(|&item| vec![item]));
                packs
            }
        }
    }
}
