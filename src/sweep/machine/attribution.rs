//! Attribution of an event to one of many devices in a guest: a failure, an expected failure on the
//! way back, a build that does not start.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compare::streams::CommonWidth;
use crate::culprit::{Answer, Item, Trial};
use crate::devices::Device;
use crate::migration::coverage::SentSection;
use crate::model::{Route, SectionName};
use crate::qemu::output;
use crate::report::{Cause, Outcome};
use crate::sweep::machine::devices::Devices;
use crate::sweep::machine::kind::{sections_alike, sections_of_width};
use crate::sweep::machine::rom;
use crate::sweep::machine::run::Run;
use crate::sweep::target::SweepTarget;
use crate::vmstate::senders::Senders;

/// A guest that came through except for one of its devices.
#[derive(Debug)]
pub(crate) struct SingleCulprit {
    pub culprit: Item,
    /// The run as it was for the others.
    pub others: Arc<Run>,
}

/// Returns the items but for one.
pub(crate) fn without(items: &[Item], left_out: Option<Item>) -> Vec<Item> {
    let items = items.iter().copied();
    items.filter(|item| Some(*item) != left_out).collect()
}

/// Tells whether the failure of one device alone accounts for that of a guest with many.
pub(crate) fn accounts_for(pack: &Arc<Run>, alone: &Arc<Run>) -> bool {
    let names = |run: &Run| -> Option<BTreeSet<String>> {
        let wrong = run.attempt.wrong.as_ref()?.iter();
        let vmsd_name = |name: &String| SectionName::new(name).vmsd_name().to_owned();
        Some(wrong.map(vmsd_name).collect())
    };
    match (names(pack), names(alone)) {
        (Some(pack), Some(alone)) => pack.is_subset(&alone),
        _ => false,
    }
}

impl Devices<'_> {
    fn devices(&self, item: Item) -> &[Device] {
        &self.catalogue.candidates[item].set.devices
    }

    fn type_of<'d>(&self, device: &'d Device) -> &'d str {
        device.driver(&self.context.target.config.arch)
    }

    /// Tells, for any item, whether it, or what it needs, may have sent one of these sections or own a block of
    /// memory of such a name.
    pub(crate) fn may_send<'s>(
        &'s self,
        sections: impl IntoIterator<Item = &'s SectionName>,
    ) -> impl Fn(Item) -> bool + 's {
        let names = sections.into_iter().map(SectionName::vmsd_name);
        let senders: Vec<Senders<'s>> = names
            .map(|name| self.context.target.senders(name))
            .collect();
        move |item| {
            let mut devices = self.devices(item).iter().map(|device| self.type_of(device));
            devices.any(|driver| senders.iter().any(|senders| senders.may_include(driver)))
        }
    }

    /// Returns the items, of some, that may have sent one of these sections, by its name and by its place: those of PCI devices
    /// have a path.
    pub(super) fn senders_at(&self, sections: &[SectionName], items: &[Item]) -> Vec<Item> {
        let drivers = self.context.target.config.old.drivers.as_ref();
        let is_pci = |item: Item| {
            let device = self.devices(item).last().map(|device| self.type_of(device));
            let driver = device.and_then(|name| drivers?.get(name));
            driver.is_some_and(|driver| driver.bus.as_deref() == Some("PCI"))
        };
        let senders: Vec<_> = sections
            .iter()
            .map(|section| (section.device_path().is_some(), self.may_send([section])))
            .collect();
        let may_send = |item: Item| {
            senders
                .iter()
                .any(|(has_path, may_send)| (*has_path || !is_pci(item)) && may_send(item))
        };
        let items = items.iter().copied();
        items.filter(|&item| may_send(item)).collect()
    }

    /// Returns the answer of a run to a trial.
    pub(super) fn answer(
        &self,
        trial: &Trial,
        run: Arc<Run>,
        single: Option<SingleCulprit>,
        likely_to_fail: BTreeSet<Item>,
    ) -> Answer<Arc<Run>> {
        match (run.attempt.outcome, single) {
            (_, Some(SingleCulprit { culprit, others })) => Answer::SingleCulprit {
                failure: run,
                culprit,
                others,
                likely_to_fail,
            },
            (Outcome::Pass, None) => Answer::Passed {
                evidence: run,
                likely_to_fail,
            },
            (Outcome::Skip, None) => Answer::Refused {
                suspect: self.refused(&run, &trial.items),
                evidence: run,
            },
            (_, None) => {
                let suspect = self.suspect(&run, &trial.items);
                Answer::Failed {
                    alike: self.alike(&run),
                    suspect,
                    evidence: run,
                }
            }
        }
    }

    /// Returns the one item to which everything belongs that did not arrive, and the run without
    /// that.
    pub(super) fn single_culprit(&self, trial: &Trial, run: &Run) -> Option<SingleCulprit> {
        let wrong = run.attempt.wrong.as_ref();
        let wrong = wrong.filter(|_| trial.items.len() > 1)?;
        let owners = wrong.iter().map(|name| {
            let name = SectionName::new(name);
            let may_own = self.may_send([&name]);
            let mut owners = trial.items.iter().copied().filter(|&item| may_own(item));
            owners.next().filter(|_| owners.next().is_none())
        });
        let owners: BTreeSet<Item> = owners.collect::<Option<_>>()?;
        let culprit = owners.first().copied().filter(|_| owners.len() == 1)?;
        let arrived = |section: &SentSection| {
            !self.may_send([&SectionName::new(&section.vmsd_name)])(culprit)
        };
        let mut others = run.clone();
        others.sent.retain(arrived);
        others.differing = Arc::default();
        others.attempt.outcome = Outcome::Pass;
        others.attempt.cause = None;
        others.attempt.state.diffs.clear();
        for leg in &mut others.attempt.legs {
            leg.outcome = Outcome::Pass;
        }
        let others = Arc::new(others);
        Some(SingleCulprit { culprit, others })
    }

    /// Returns the item whose section failed: by its place on the root bus, or by its name.
    fn suspect(&self, run: &Run, items: &[Item]) -> Option<Item> {
        let section = run.attempt.cause.as_ref();
        let section = section.and_then(Cause::section_or_memory);
        let may_send = self.may_send(&section);
        let is_suspect = |item: Item| match &run.attempt.suspect {
            Some(id) => self.devices(item).iter().any(|device| device.id == *id),
            None => may_send(item),
        };
        let suspects = items.iter().copied().filter(|&item| is_suspect(item));
        // Of all devices on a controller, the controller itself.
        let suspect = suspects.min_by_key(|&item| self.devices(item).len());
        suspect.or_else(|| self.lacks_rom(run, items))
    }

    /// Returns the items, of all that are tried, that send a section with the part in it that failed.
    fn alike(&self, run: &Run) -> BTreeSet<Item> {
        self.senders_of(sections_alike(self.context.target, &run.attempt))
    }

    /// Returns the items, of all that are tried, that send a section with a part of another length in it.
    pub(super) fn of_width(&self, widths: &[CommonWidth]) -> BTreeSet<Item> {
        let sections = sections_of_width(self.context.target, widths);
        self.senders_of(sections)
    }

    /// Returns the items, of all that are tried, that may send one of these sections, or own a block of memory of such a
    /// name.
    pub(super) fn senders_of(&self, sections: BTreeSet<&str>) -> BTreeSet<Item> {
        let sections: Vec<SectionName> = sections.into_iter().map(SectionName::from).collect();
        let may_send = self.may_send(&sections);
        let items = 0..self.catalogue.candidates.len();
        items.filter(|&item| may_send(item)).collect()
    }

    /// Returns the item that may need a ROM which a build did not find.
    fn lacks_rom(&self, run: &Run, items: &[Item]) -> Option<Item> {
        let outputs = [&run.attempt.source_stderr, &run.attempt.destination_stderr];
        let rom = outputs
            .into_iter()
            .find_map(|stderr| output::start::missing_rom(stderr))?;
        let drivers = items
            .iter()
            .filter_map(|&item| Some((item, self.type_of(self.devices(item).last()?))));
        rom::likely_owner(rom, drivers)
    }

    /// Returns the items whose sections are likely to be refused on the way back.
    pub(super) fn likely_to_fail(&self, run: &Run, trial: &Trial) -> BTreeSet<Item> {
        let back = trial.route.reversed();
        let may_send = self.may_send(&run.likely_refused);
        let items = trial.items.iter().copied();
        items
            .filter(|&item| may_send(item) || self.is_predicted(back, item))
            .collect()
    }

    /// Tells whether the dumps predict that an item fails on a route.
    pub(super) fn is_predicted(&self, route: Route, item: Item) -> bool {
        let set = &self.catalogue.candidates[item].set;
        route.direction().is_some_and(|direction| {
            let SweepTarget {
                forecast, config, ..
            } = self.context.target;
            forecast.predicts_failure(set, &config.arch, direction)
        })
    }

    /// Returns the item that a build names as the reason why it does not start.
    fn refused(&self, run: &Run, items: &[Item]) -> Option<Item> {
        let named = run.attempt.refusals.first()?.device.as_ref()?;
        let is_named = |item: &Item| {
            let device = self.devices(*item).last();
            device.is_some_and(|device| device.id == *named)
        };
        items.iter().copied().find(is_named)
    }
}
