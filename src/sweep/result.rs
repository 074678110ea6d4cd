//! A machine's part of the report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::culprit::{Group, Item, Verdict};
use crate::devices::DeviceSet;
use crate::migration::coverage::{Observed, Reach};
use crate::model::Route;
use crate::report::{Case, Grafted, LeftOut, Swept};
use crate::sweep::case_id::{BARE, CaseId, State};
use crate::sweep::cases::{bare_case, device_case, excluded_case, failed_before, group_case};
use crate::sweep::catalogue::How;
use crate::sweep::machine::{AcrossSearch, Before, Context, Controls, Cost, Evidence, Guest, Run};

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
    /// The guests of the cases that did not pass, by their ids.
    pub failed: BTreeMap<String, Guest>,
    /// Guests that have, between them, all the virtio devices that were tried and may offer other features in one
    /// build than in the other.
    pub not_asked: Vec<DeviceSet>,
    /// The reason why Linux does not work on the machine without any device, if it was to and does not.
    pub no_linux: Option<String>,
}

impl MachineResult {
    /// Makes it of the last phase of a machine's sweep.
    pub(crate) fn of(controls: &Controls<'_>, evidence: &Evidence, cost: &Cost) -> Self {
        let AcrossSearch { bare, devices, .. } = &controls.across;
        let Context { target, options } = devices.context;
        let catalogue = &devices.catalogue;
        let overrides = bare.overrides.iter();
        let mut result = MachineResult {
            planned: devices.planned.clone(),
            observed: evidence.observed.clone(),
            reach: Reach::default(),
            swept: Swept {
                architecture: target.config.arch.clone(),
                machine: target.config.machines.clone(),
                shared: catalogue.shared(),
                cpu_models: catalogue.cpu_models,
                cpu_models_compared: 0,
                exercised: 0,
                by_fall_back: 0,
                fall_back: Vec::new(),
                left_out: catalogue.left_out.clone(),
                grafted: overrides
                    .map(|(&direction, found)| Grafted {
                        direction,
                        sections: found.sections.names().to_vec(),
                        with: found.with.clone(),
                    })
                    .collect(),
                only_old: catalogue.only_old.clone(),
                only_new: catalogue.only_new.clone(),
                guests: cost.guests,
                elapsed_ms: cost.elapsed_ms,
            },
            cases: Vec::new(),
            failed: BTreeMap::new(),
            not_asked: Vec::new(),
            no_linux: match target.state() {
                State::Linux => bare.refusal(&target.config.old),
                State::Reset | State::Driven => None,
            },
        };
        let family = target.bare_family();
        if family.is_in(options.shard) {
            for &direction in &options.directions {
                let case = match controls.across.has_failed_before(direction, BARE) {
                    true => failed_before(target, BARE, family.case(direction)),
                    false => bare_case(target, bare, direction),
                };
                let set = DeviceSet::union(BARE, []);
                result.add(case, || Guest::new(Route::Across(direction), set));
            }
        }
        result.add_devices(controls, &evidence.asked);
        result.add_groups(controls);
        let swept = &mut result.swept;
        swept.by_fall_back = swept.fall_back.len();
        swept.left_out.sort_by(|a, b| a.device.cmp(&b.device));
        let not_created = swept.left_out.iter();
        let not_created = not_created.map(|left| (left.device.clone(), left.reason.clone()));
        result.reach = Reach {
            possible: catalogue
                .candidates
                .iter()
                .map(|c| c.driver.clone())
                .collect(),
            not_created: not_created.collect(),
        };
        result
    }

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

    fn add(&mut self, case: Case, guest: impl FnOnce() -> Guest) {
        if case.gates() {
            self.failed.insert(case.id.clone(), guest());
        }
        self.cases.push(case);
    }

    fn leave_out(&mut self, driver: &str, reason: impl Into<String>) {
        self.swept.left_out.push(LeftOut {
            device: driver.to_owned(),
            reason: reason.into(),
        });
    }

    fn add_devices(&mut self, controls: &Controls<'_>, asked: &BTreeSet<Item>) {
        let across = &controls.across;
        let devices = &across.devices;
        let Context { target, options } = devices.context;
        for &item in &devices.excluded {
            let driver = devices.driver(item);
            self.leave_out(driver, "all its cases are excluded");
            for &direction in &options.directions {
                let id = target.device_family(driver).case(direction);
                self.cases.push(excluded_case(target, &id, driver));
            }
        }
        let mut not_asked = Vec::new();
        for &item in &devices.own {
            let candidate = &devices.catalogue.candidates[item];
            match fate(across, item) {
                // As it is after reset it has no case. Where Linux does not work with it, that is said of each, and where
                // this host has no room for it.
                Fate::Refused(run)
                    if target.state() == State::Reset && !run.attempt.lacks_host() =>
                {
                    let reason = run.refusal(&target.config.old);
                    self.leave_out(&candidate.driver, reason);
                    continue;
                }
                Fate::Exercised => {
                    self.swept.exercised += 1;
                    if candidate.how == How::FallBack {
                        self.swept.fall_back.push(candidate.driver.clone());
                    }
                    if !asked.contains(&item) {
                        not_asked.extend(devices.virtio(&[item]));
                    }
                }
                Fate::Refused(_) => {}
                Fate::Untried => {
                    let before = across.failed_before.iter();
                    let mut mine = before.filter(|((_, name), _)| *name == candidate.driver);
                    if mine.any(|(_, before)| *before == Before::NotStarted) {
                        continue;
                    }
                }
            }
            for &direction in &options.directions {
                let case = device_case(across, Some(controls), item, direction);
                self.add(case, || across.guest(Route::Across(direction), &[item]));
            }
        }
        if !not_asked.is_empty() {
            let packs = devices.packs(&not_asked, &BTreeSet::new());
            let packs = packs.iter().map(|items| devices.union(items));
            self.not_asked.extend(packs);
        }
    }

    fn add_groups(&mut self, controls: &Controls<'_>) {
        let groups = controls.across.search.groups_by_items();
        for (at, group) in groups.iter().enumerate() {
            // The first device decides the shard of a group that two shards may find.
            let own = &controls.across.devices.own;
            let is_own =
                |group: &&&Group<Arc<Run>>| group.items.first().is_some_and(|of| own.contains(of));
            let cases = group.iter().filter(is_own);
            self.cases
                .extend(cases.filter_map(|group| group_case(controls, at, group)));
        }
    }
}

/// The fate of a device on all routes together.
enum Fate<'r> {
    /// No route was open to it.
    Untried,
    /// A build does not start with it.
    Refused(&'r Run),
    Exercised,
}

fn fate<'r>(across: &'r AcrossSearch<'_>, item: Item) -> Fate<'r> {
    let options = across.devices.context.options;
    let routes = options.directions.iter().copied().map(Route::Across);
    let mut fate = Fate::Untried;
    for verdict in routes.filter_map(|route| across.search.verdict(route, item)) {
        match verdict {
            Verdict::Refused(run) => {
                if matches!(fate, Fate::Untried) {
                    fate = Fate::Refused(run);
                }
            }
            Verdict::Passed(_) | Verdict::Culprit(_) | Verdict::NeedsCulprit(_) => {
                return Fate::Exercised;
            }
        }
    }
    fate
}
