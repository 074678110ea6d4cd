//! To which of many devices in a guest something is put down: its failure, what to expect of its way back,
//! a build that does not start.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::culprit::search::{Item, Trial, Way};
use crate::devices::Device;
use crate::migration::coverage::SentSection;
use crate::report::Outcome;
use crate::sweep::pairing::own;
use crate::sweep::place::Place;
use crate::sweep::rom;
use crate::sweep::visit::MachineSweep;
use crate::sweep::visit::task::{Run, Task};

/// A guest that came through but for one of its devices.
#[derive(Debug)]
pub(crate) struct SingleCulprit {
    pub by: Item,
    /// What it came to for the others.
    pub others: Arc<Run>,
}

/// All but one.
pub(crate) fn but(items: &[Item], without: Option<Item>) -> Vec<Item> {
    let items = items.iter().copied();
    items.filter(|item| Some(*item) != without).collect()
}

/// Whether what is wrong with one device alone accounts for what was with many.
pub(crate) fn accounts(pack: &Arc<Run>, alone: &Arc<Run>) -> bool {
    let names = |run: &Run| -> Option<BTreeSet<String>> {
        let wrong = run.attempt.wrong.iter().flatten();
        let names = wrong.map(|name| own(name).to_owned()).collect();
        run.attempt.wrong.is_some().then_some(names)
    };
    match (names(pack), names(alone)) {
        (Some(pack), Some(alone)) => pack.is_subset(&alone),
        _ => false,
    }
}

impl MachineSweep {
    /// Whose alone everything was that did not arrive, and what the guest came to without that.
    pub(crate) fn spoiled(&self, place: &Place, task: &Task, run: &Run) -> Option<SingleCulprit> {
        let Task::Trial { trial, .. } = task else {
            return None;
        };
        let arch = place.config.arch.as_str();
        let wrong = run
            .attempt
            .wrong
            .as_ref()
            .filter(|_| trial.items.len() > 1)?;
        let fits = |item: &Item, name: &str| {
            let devices = &self.catalogue.candidates[*item].set.devices;
            let mut drivers = devices.iter().map(|device| device.driver(arch));
            drivers.any(|driver| place.may_send(driver, own(name)))
        };
        let owners = wrong.iter().map(|name| {
            let mut owners = trial.items.iter().filter(|item| fits(item, name));
            owners.next().filter(|_| owners.next().is_none())
        });
        let owners: Option<BTreeSet<Item>> = owners.map(Option::<&Item>::copied).collect();
        let owners = owners?;
        let by = owners.first().copied().filter(|_| owners.len() == 1)?;
        let arrived = |section: &&SentSection| !fits(&by, &section.vmsd_name);
        let mut attempt = run.attempt.clone();
        attempt.outcome = Outcome::Pass;
        attempt.cause = None;
        attempt.state.diffs.clear();
        for leg in &mut attempt.legs {
            leg.outcome = Outcome::Pass;
        }
        let others = Arc::new(Run {
            attempt,
            elapsed_ms: run.elapsed_ms,
            shared_by: run.shared_by,
            sent: run.sent.iter().filter(arrived).cloned().collect(),
            doubtful: run.doubtful.clone(),
        });
        Some(SingleCulprit { by, others })
    }

    /// Whose section it was that failed: by its place on the root bus, or by its name.
    pub(crate) fn suspect(&self, place: &Place, run: &Run, items: &[Item]) -> Option<Item> {
        let arch = place.config.arch.as_str();
        let section = || {
            let cause = run.attempt.cause.as_ref()?;
            // Of memory that differs, only what it is called is known.
            cause.section.as_deref().or(cause.field.as_deref())
        };
        let fits = |device: &Device| match &run.attempt.suspect {
            Some(id) => device.id == *id,
            None => {
                section().is_some_and(|section| place.may_send(device.driver(arch), own(section)))
            }
        };
        let devices = |item: Item| &self.catalogue.candidates[item].set.devices;
        let has = |item: &&Item| devices(**item).iter().any(fits);
        // Of all that hang on a controller, the controller itself.
        let needs = |item: &&Item| devices(**item).len();
        let found = items.iter().filter(has).min_by_key(needs).copied();
        found.or_else(|| self.lacks_rom(arch, run, items))
    }

    /// Whose ROM it may be that a build did not find.
    fn lacks_rom(&self, arch: &str, run: &Run, items: &[Item]) -> Option<Item> {
        let drivers = items.iter().filter_map(|&item| {
            let devices = &self.catalogue.candidates[item].set.devices;
            Some((item, devices.last()?.driver(arch)))
        });
        rom::whose(&run.attempt.cause.as_ref()?.message, drivers)
    }

    /// Whose sections are to be expected to be refused on the way back.
    pub(crate) fn doubted(&self, place: &Place, run: &Run, trial: &Trial) -> BTreeSet<Item> {
        let arch = place.config.arch.as_str();
        let sends = |device: &Device| {
            let mut names = run.doubtful.iter();
            names.any(|section| place.may_send(device.driver(arch), own(section)))
        };
        let devices = |item: Item| &self.catalogue.candidates[item].set.devices;
        let has = |item: Item| devices(item).iter().any(sends);
        let back = match trial.way {
            Way::Across(direction) => Way::Across(direction.reversed()),
            at_home => at_home,
        };
        let items = trial.items.iter().copied();
        items
            .filter(|&item| has(item) || self.is_foretold(place, back, item))
            .collect()
    }

    /// Whom a build that does not start names: `-device e1000,id=e1000: ...`
    pub(crate) fn refused(&self, run: &Run, items: &[Item]) -> Option<Item> {
        let named = run
            .attempt
            .refusals
            .first()?
            .words
            .split([',', ':', ' '])
            .find_map(|part| part.strip_prefix("id="))?;
        let target = |item: &&Item| {
            let devices = &self.catalogue.candidates[**item].set.devices;
            devices.last().is_some_and(|device| device.id == named)
        };
        items.iter().find(target).copied()
    }
}
