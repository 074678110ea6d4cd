//! A machine's part of the report.

use std::collections::{BTreeMap, BTreeSet};

use crate::culprit::{Item, Verdict};
use crate::devices::DeviceSet;
use crate::migration::coverage::{Observed, Reach};
use crate::model::Route;
use crate::report::{Case, Grafted, LeftOut, Swept};
use crate::sweep::case_id::{BARE, CaseId, State};
use crate::sweep::cases::{bare_case, device_case, excluded_case, failed_before, group_case};
use crate::sweep::catalogue::{Catalogue, How};
use crate::sweep::machine::{Before, Context, Controls, Cost, Evidence, Finished};

/// A machine's part of the report.
#[derive(Debug, Clone)]
pub(crate) struct MachineResult {
    pub swept: Swept,
    pub cases: Vec<Case>,
    /// The cases of the whole run, whichever part of it this is; without those that only come up in a
    /// run.
    pub planned: Vec<CaseId>,
    /// The sections that were sent from one build to the other.
    pub observed: Vec<Observed>,
    /// The device types that a user can add to the machine.
    pub reach: Reach,
    /// The devices of the cases that did not pass, by their ids.
    pub failed: BTreeMap<String, DeviceSet>,
    /// Guests that have, between them, all the virtio devices that were tried and may offer other features in one
    /// build than in the other.
    pub not_asked: Vec<DeviceSet>,
    /// The reason why Linux does not work on the machine without any device, if it was to and does not.
    pub no_linux: Option<String>,
}

/// The cases of a machine, and the counts that come with them.
#[derive(Debug, Default)]
struct Collected {
    cases: Vec<Case>,
    failed: BTreeMap<String, DeviceSet>,
    exercised: usize,
    fall_back: Vec<String>,
    left_out: Vec<LeftOut>,
    not_asked: Vec<DeviceSet>,
}

impl Collected {
    fn add(&mut self, case: Case, set: &DeviceSet) {
        if case.gates() {
            self.failed.insert(case.id.clone(), set.clone());
        }
        self.cases.push(case);
    }
}

impl MachineResult {
    pub(crate) fn of(
        context: Context<'_>,
        finished: &Finished,
        evidence: &Evidence,
        cost: &Cost,
    ) -> Self {
        let Context { target, options } = context;
        let nothing = Catalogue::default();
        let catalogue = match finished {
            Finished::BareMachine(_) => &nothing,
            Finished::Devices(controls) => &controls.across.devices.catalogue,
        };
        let mut collected = Collected {
            left_out: catalogue.left_out.clone(),
            ..Collected::default()
        };
        let bare = target.bare_family();
        if bare.is_in(options.shard) {
            for &direction in &options.directions {
                let case = match finished.failed_before(direction, BARE) {
                    true => failed_before(target, BARE, bare.case(direction)),
                    false => bare_case(target, finished.bare(), direction),
                };
                collected.add(case, &DeviceSet::union(BARE, []));
            }
        }
        let planned = match finished {
            // The machine itself is all there is.
            Finished::BareMachine(_) => {
                let directions = options.directions.iter();
                directions.map(|&direction| bare.case(direction)).collect()
            }
            Finished::Devices(controls) => {
                collected.add_devices(context, controls, &evidence.asked);
                collected.add_groups(context, controls);
                controls.across.devices.planned.clone()
            }
        };
        let Collected {
            cases,
            failed,
            exercised,
            fall_back,
            mut left_out,
            not_asked,
        } = collected;
        left_out.sort_by(|a, b| a.device.cmp(&b.device));
        let candidates = catalogue.candidates.iter();
        let overrides = finished.bare().overrides.iter();
        MachineResult {
            planned,
            observed: evidence.observed.clone(),
            reach: Reach {
                possible: candidates.map(|c| c.driver.clone()).collect(),
                not_created: left_out
                    .iter()
                    .map(|left| (left.device.clone(), left.reason.clone()))
                    .collect(),
            },
            swept: Swept {
                architecture: target.config.arch.clone(),
                machine: target.config.machine.clone(),
                shared: catalogue.shared(),
                cpu_models: catalogue.cpu_models,
                exercised,
                by_fall_back: fall_back.len(),
                fall_back,
                left_out,
                grafted: overrides
                    .map(|(&direction, sections)| Grafted {
                        direction,
                        sections: sections.names().to_vec(),
                    })
                    .collect(),
                only_old: catalogue.only_old.clone(),
                only_new: catalogue.only_new.clone(),
                guests: cost.guests,
                elapsed_ms: cost.elapsed_ms,
            },
            cases,
            failed,
            not_asked,
            no_linux: match target.state() {
                State::Linux => finished.bare().refusal(&target.config.old),
                State::Reset | State::Driven => None,
            },
        }
    }
}

impl MachineResult {
    /// Adds what was found with drivers at work. The counts of device types stay: they are the same ones.
    pub(crate) fn add_second(&mut self, second: MachineResult) {
        self.cases.extend(second.cases);
        self.planned.extend(second.planned);
        self.observed.extend(second.observed);
        self.failed.extend(second.failed);
        self.swept.guests += second.swept.guests;
        self.swept.elapsed_ms += second.swept.elapsed_ms;
        self.no_linux = self.no_linux.take().or(second.no_linux);
    }
}

impl Collected {
    fn add_devices(&mut self, context: Context<'_>, controls: &Controls, asked: &BTreeSet<Item>) {
        let devices = &controls.across.devices;
        for &item in &devices.excluded {
            let driver = &devices.catalogue.candidates[item].driver;
            self.left_out.push(LeftOut {
                device: driver.clone(),
                reason: "all its cases are excluded".to_owned(),
            });
            for &direction in &context.options.directions {
                let family = context.target.device_family(driver);
                let case = excluded_case(context.target, &family.case(direction), driver);
                self.cases.push(case);
            }
        }
        let mut not_asked = Vec::new();
        for &item in &devices.own {
            let candidate = &devices.catalogue.candidates[item];
            match fate(context, controls, item) {
                // As it is after reset it has no case. Where Linux does not work with it, that is said of each.
                Fate::Refused(reason) if context.target.state() == State::Reset => {
                    self.left_out.push(LeftOut {
                        device: candidate.driver.clone(),
                        reason,
                    });
                    continue;
                }
                Fate::Exercised => {
                    self.exercised += 1;
                    if candidate.how == How::FallBack {
                        self.fall_back.push(candidate.driver.clone());
                    }
                    if !asked.contains(&item) {
                        not_asked.extend(devices.virtio(context, &[item]));
                    }
                }
                Fate::Refused(_) => {}
                Fate::Untried => {
                    let before = controls.across.failed_before.iter();
                    let mut mine = before.filter(|((_, name), _)| *name == candidate.driver);
                    if mine.any(|(_, before)| *before == Before::NotStarted) {
                        continue;
                    }
                }
            }
            for &direction in &context.options.directions {
                let case = device_case(context, &controls.across, Some(controls), item, direction);
                self.add(case, &candidate.set);
            }
        }
        if !not_asked.is_empty() {
            let packs = devices.packs(context, &not_asked, &BTreeSet::new());
            let packs = packs.iter().map(|items| devices.union(items));
            self.not_asked.extend(packs);
        }
    }

    fn add_groups(&mut self, context: Context<'_>, controls: &Controls) {
        let groups = controls.across.search.groups();
        for (at, group) in groups.into_iter().enumerate() {
            // The first device decides the shard of a group that two shards may find.
            let first = group.items.first();
            if first.is_some_and(|item| controls.across.devices.own.contains(item)) {
                self.cases.extend(group_case(context, controls, at, group));
            }
        }
    }
}

/// The fate of a device on all routes together.
enum Fate {
    /// No route was open to it.
    Untried,
    /// A build does not start with it, for this reason.
    Refused(String),
    Exercised,
}

fn fate(context: Context<'_>, controls: &Controls, item: Item) -> Fate {
    let directions = context.options.directions.iter();
    let routes = directions.map(|&direction| Route::Across(direction));
    let mut fate = Fate::Untried;
    for verdict in routes.filter_map(|route| controls.across.search.verdict(route, item)) {
        match verdict {
            Verdict::Refused(run) => {
                if matches!(fate, Fate::Untried) {
                    fate = Fate::Refused(run.refusal(&context.target.config.old));
                }
            }
            Verdict::Passed(_) | Verdict::Culprit(_) | Verdict::NeedsCulprit(_) => {
                return Fate::Exercised;
            }
        }
    }
    fate
}
