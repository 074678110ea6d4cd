//! The device types that both builds can create on a machine, and how each is tried, or why not.

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::{Composition, DeviceSet, Driver, Drivers, Exclusion, FallBack, Reason};
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::vm::Endpoint;
use crate::model::Pattern;
use crate::report::LeftOut;

/// The source of a recipe to plug in a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// A shipped set has it.
    DeviceSet,
    /// The device's bus and properties decide.
    FallBack,
}

/// A device type that is tried.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub driver: String,
    /// The device and what it needs.
    pub set: DeviceSet,
    pub how: How,
}

impl Candidate {
    /// Returns the drivers of what it needs, what they need before them.
    pub(crate) fn needs<'c>(&'c self, arch: &'c str) -> impl Iterator<Item = &'c str> {
        let drivers = self.set.devices.iter().map(move |d| d.driver(arch));
        drivers.filter(|driver| *driver != self.driver)
    }
}

/// The device types of one machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue {
    /// The device types by name.
    pub candidates: Vec<Candidate>,
    /// The others that both builds can create, by name.
    pub left_out: Vec<LeftOut>,
    /// The number of CPU models that both builds list: a guest is given one by `-cpu`, and none by `-device`.
    pub cpu_models: usize,
    /// Device types that one build can create and the other cannot.
    pub only_old: Vec<String>,
    pub only_new: Vec<String>,
}

/// The names and types of the properties of device types as both builds have them, by device type.
pub(crate) type Properties = BTreeMap<String, Vec<(String, String)>>;

/// The device types that are selected: all, or those that a pattern matches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Only(Vec<Pattern>);

impl Only {
    /// Selects the device types that one of the patterns fits; with none, all.
    pub(crate) fn new(patterns: &[String]) -> Only {
        let patterns = patterns.iter().map(|pattern| pattern.as_str().into());
        Only(patterns.collect())
    }

    /// Tells whether a device type is selected.
    pub(crate) fn covers(&self, driver: &str) -> bool {
        self.0.is_empty() || Pattern::any(&self.0, driver)
    }
}

impl Catalogue {
    /// Returns the candidate of a device type, if there is one.
    pub(crate) fn find(&self, driver: &str) -> Option<usize> {
        let mut candidates = self.candidates.iter();
        candidates.position(|candidate| candidate.driver == driver)
    }

    /// Looks up what both builds share, on their machine.
    pub(crate) fn of(
        config: &MigrationConfig,
        buses: &Buses,
        properties: &Properties,
        only: &Only,
    ) -> Catalogue {
        let mut catalogue = Catalogue::default();
        let drivers = |endpoint: &Endpoint| endpoint.drivers.clone().unwrap_or_default();
        let (old, new) = (&drivers(&config.old), &drivers(&config.new));
        let names: BTreeSet<&str> = old.names().chain(new.names()).collect();
        for (number, driver) in names.into_iter().enumerate() {
            if !only.covers(driver) {
                continue;
            }
            match (old.contains(driver), new.contains(driver)) {
                (true, false) => catalogue.only_old.push(driver.to_owned()),
                (false, true) => catalogue.only_new.push(driver.to_owned()),
                _ if old.get(driver).is_some_and(Driver::is_cpu) => catalogue.cpu_models += 1,
                _ => {
                    let known = properties.get(driver).map_or(&[][..], Vec::as_slice);
                    match plan(config, buses, old, driver, known, number) {
                        Ok(candidate) => catalogue.candidates.push(candidate),
                        Err(reason) => catalogue.left_out.push(LeftOut {
                            device: driver.to_owned(),
                            reason,
                        }),
                    }
                }
            }
        }
        catalogue
    }

    /// Returns how many device types both builds can create.
    pub(crate) fn shared(&self) -> usize {
        self.candidates.len() + self.left_out.len()
    }
}

/// Returns the device types whose properties are worth asking for: those that a fall-back may have to plug
/// in on one of these machines.
pub(crate) fn worth_asking(configs: &[MigrationConfig], only: &Only) -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for config in configs {
        let (Some(old), Some(new)) = (&config.old.drivers, &config.new.drivers) else {
            continue;
        };
        let arch = config.arch.as_str();
        let drivers = old
            .names()
            .filter(|driver| new.contains(driver) && only.covers(driver))
            .filter(|driver| DeviceSet::left_out(driver).is_none())
            .filter(|driver| {
                old.get(driver)
                    .is_some_and(|facts| FallBack::left_out(driver, facts, arch).is_none())
            });
        for driver in drivers {
            if !asked.contains(driver) && falls_back(config, driver) {
                asked.insert(driver.to_owned());
            }
        }
    }
    asked
}

/// Tells whether no recipe is meant for the machine.
fn falls_back(config: &MigrationConfig, driver: &str) -> bool {
    let recipes = DeviceSet::recipes(driver, &config.arch);
    recipes.iter().all(|set| {
        let composition = config.compose(set);
        exclusion(&composition).is_some_and(|exclusion| exclusion.reason.is_by_design())
    })
}

/// Returns the device types that guests with the selected ones may have: these, and what each needs.
pub(crate) fn in_guests(config: &MigrationConfig, only: &Only) -> BTreeSet<String> {
    let arch = config.arch.as_str();
    let mut types = BTreeSet::new();
    let Some(drivers) = &config.old.drivers else {
        return types;
    };
    for driver in drivers.names().filter(|driver| only.covers(driver)) {
        let mut sets = DeviceSet::recipes(driver, arch);
        if sets.is_empty() {
            let facts = drivers.get(driver).cloned().unwrap_or_default();
            sets.push(FallBack::recipe(driver, &facts, &[], arch, 0));
        }
        let devices = sets.iter().flat_map(|set| &set.devices);
        types.extend(devices.map(|device| device.driver(arch).to_owned()));
    }
    types
}

/// Returns why a recipe is not for the machine, if it is not.
fn exclusion(composition: &Composition) -> Option<&Exclusion> {
    let mut excluded = composition.excluded.iter();
    excluded.find(|exclusion| !matches!(exclusion.reason, Reason::Needs { .. }))
}

/// Plans how a device is plugged in, or says why it is not.
fn plan(
    config: &MigrationConfig,
    buses: &Buses,
    drivers: &Drivers,
    driver: &str,
    properties: &[(String, String)],
    number: usize,
) -> Result<Candidate, String> {
    let arch = config.arch.as_str();
    let candidate = |set, how| Candidate {
        driver: driver.to_owned(),
        set,
        how,
    };
    let mut by_design = true;
    let mut why = None;
    for set in DeviceSet::recipes(driver, arch) {
        let set = buses.place(&set, drivers, arch);
        if !set
            .devices
            .iter()
            .any(|device| device.driver(arch) == driver)
        {
            // Another one stands for it here.
            by_design = false;
            why = why.or(buses
                .no_place(driver, drivers, arch)
                .map(|reason| reason.to_string()));
            continue;
        }
        let composition = config.compose(&set);
        let obstacle = match exclusion(&composition) {
            Some(exclusion) => {
                by_design &= exclusion.reason.is_by_design();
                let needed = exclusion.driver != driver;
                let reason = exclusion.reason.to_string();
                Some(if needed {
                    format!("needs {}: {reason}", exclusion.driver)
                } else {
                    reason
                })
            }
            None => {
                let obstacle = buses.obstacle(&set, drivers, arch);
                by_design &= obstacle.is_none();
                obstacle
            }
        };
        match obstacle {
            None => return Ok(candidate(set, How::DeviceSet)),
            // The plainest way's reason is the one to report.
            Some(reason) => why = why.or(Some(reason)),
        }
    }
    // A set that has it for other machines says nothing about this one.
    if let Some(reason) = why.filter(|_| !by_design) {
        return Err(reason);
    }
    if let Some(form) = buses.other_form(driver, drivers, arch) {
        let set = buses.place(&form, drivers, arch);
        if config.compose(&set).excluded.is_empty() {
            return Ok(candidate(set, How::DeviceSet));
        }
    }
    if let Some(reason) = DeviceSet::left_out(driver) {
        return Err(reason.to_owned());
    }
    let facts = drivers.get(driver).cloned().unwrap_or_default();
    if let Some(reason) = FallBack::left_out(driver, &facts, arch) {
        return Err(reason.to_owned());
    }
    let set = FallBack::recipe(driver, &facts, properties, arch, number);
    let composition = config.compose(&set);
    if let Some(exclusion) = composition.excluded.first() {
        return Err(format!("needs {}: {}", exclusion.driver, exclusion.reason));
    }
    match buses.obstacle(&set, drivers, arch) {
        Some(reason) => Err(reason),
        None => Ok(candidate(set, How::FallBack)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_pattern_every_device_is_selected() {
        let only = Only::new(&["virtio-*-pci".to_owned(), "e1000".to_owned()]);
        assert!(only.covers("virtio-net-pci") && only.covers("e1000"));
        assert!(!only.covers("e1000e"));
        assert!(Only::default().covers("anything"));
    }
}
