//! The search for the devices that do not migrate from one build to the other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::compare::streams::CommonWidth;
use crate::culprit::{Item, Search, Trial, Verdict};
use crate::devices::Device;
use crate::migration::calibration::OwnChanges;
use crate::migration::checks::changes::LoadChange;
use crate::migration::diagnosis::properties::may_drop_features;
use crate::model::{Direction, Route, SectionName};
use crate::report::Outcome;
use crate::sweep::case_id::{BARE, State};
use crate::sweep::machine::attribution::{accounts_for, without};
use crate::sweep::machine::bare::BareMachine;
use crate::sweep::machine::devices::Devices;
use crate::sweep::machine::evidence::Evidence;
use crate::sweep::machine::guest::{Guest, Moved, Purpose, Task};
use crate::sweep::machine::options::{Context, Packing};
use crate::sweep::machine::run::{Calibration, Run};

/// The number of times that a device is moved again which may have come through by chance. What isa-vga
/// of 8.0 sends kills 8.1 in every other move, so that one of thirty sweeps sees nothing of it.
const CHANCES: usize = 4;

/// Device types that did not migrate in a direction.
pub(crate) type FailedBefore = BTreeMap<(Direction, String), Before>;

/// The way in which a device did not migrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// A build does not start with it, so that it has no case.
    NotStarted,
    Failed,
}

/// Every device between the builds.
#[derive(Debug)]
pub(crate) struct AcrossSearch<'t> {
    pub bare: BareMachine,
    pub devices: Devices<'t>,
    pub search: Search<Arc<Run>>,
    /// The lengths that several devices have in common.
    pub widths: Vec<CommonWidth>,
    /// Set once there are such.
    widths_known: Arc<AtomicBool>,
    /// The devices that send something of such a length.
    of_width: BTreeSet<Item>,
    /// Failures on the way back that dumps or streams predicted before.
    predicted: BTreeSet<(Route, Item)>,
    /// The device types that do not migrate as they are after reset, where this is about devices with drivers:
    /// they are not tried again.
    pub failed_before: FailedBefore,
    /// The devices that others need: whether they pass decides whether those are tried.
    needed: BTreeSet<Item>,
    known: Vec<KnownChange>,
    /// The runs of devices that may have come through by chance, but for those that count.
    again: BTreeMap<(Route, Item), Vec<Arc<Run>>>,
}

/// A page of memory that the builds change by themselves, seen in a guest in which one device may have it.
#[derive(Debug)]
struct KnownChange {
    change: LoadChange,
    /// The labels of the builds.
    builds: BTreeSet<String>,
    owner: Item,
    /// All devices that may have it.
    owners: BTreeSet<Item>,
}

impl KnownChange {
    /// Tells whether it is known of a guest of these devices: the same device is among them, and no other one that
    /// may have it.
    fn is_of(&self, items: &[Item]) -> bool {
        let mut owners = items.iter().filter(|item| self.owners.contains(item));
        owners.next() == Some(&self.owner) && owners.next().is_none()
    }
}

impl<'t> AcrossSearch<'t> {
    pub(crate) fn begin(
        context: Context<'t>,
        bare: BareMachine,
        evidence: &Evidence,
        mut failed_before: FailedBefore,
    ) -> (Self, Vec<Task>) {
        // Where no device can be tried, the machine itself is looked at, whatever it did before.
        if bare.known_buses().is_none() {
            failed_before.clear();
        }
        let Context { target, options } = context;
        let devices = Devices::of(context, bare.known_buses());
        let routes = options.directions.iter().copied().map(Route::Across);
        let routes: Vec<Route> = routes.filter(|&route| bare.gets_across(route)).collect();
        let all = devices.to_try();
        // A device that is bound to fail only on the way back still goes there with the others.
        let at_once = match routes.as_slice() {
            [there, _] => std::slice::from_ref(there),
            routes => routes,
        };
        // A device that is bound to fail would only have its neighbours tried again.
        let is_predicted = |item| {
            let mut routes = at_once.iter();
            routes.any(|&route| devices.is_predicted(route, item))
        };
        let apart = all.iter().copied().filter(|&item| is_predicted(item));
        let packs = devices.packs(&all, &apart.collect());
        let needs = devices.needs();
        let (mut search, trials) = match (target.state(), routes.as_slice()) {
            (State::Driven | State::Linux, routes) => {
                let fails = |route: Route, item: Item| {
                    let mut items = needs[&item].iter().chain([&item]);
                    let name = |item: &Item| devices.driver(*item).to_owned();
                    let direction = route.direction();
                    direction.is_some_and(|way| {
                        items.any(|of| failed_before.contains_key(&(way, name(of))))
                    })
                };
                // A guest that does not boot is found out slowly, and its neighbours are tried again.
                let is_apart = |item: &Item| {
                    let mut devices = devices.catalogue.candidates[*item].set.devices.iter();
                    target.state() == State::Linux && devices.any(Device::boots_alone)
                };
                let packs = routes.iter().map(|&route| {
                    let items = all.iter().copied().filter(|&item| !fails(route, item));
                    let items: Vec<Item> = items.collect();
                    let apart = items.iter().copied().filter(is_apart).collect();
                    (route, devices.packs(&items, &apart))
                });
                Search::of_routes(packs)
            }
            (State::Reset, &[there, back]) => Search::there_and_back(&packs, there, back),
            (State::Reset, routes) => Search::of_packs(&packs, routes),
        };
        if let Some(&back) = routes.last() {
            let is_predicted = |&item: &Item| devices.is_predicted(back, item);
            let predicted = all.iter().copied().filter(is_predicted);
            search.predict_back(&predicted.collect());
        }
        search.accounts_for = accounts_for;
        search.comes_and_goes =
            |run| matches!(run.attempt.outcome, Outcome::Crash | Outcome::Broken);
        let needed = needs.values().flatten().copied().collect();
        // One by one, every device is tried whatever the prediction.
        if options.packing == Packing::Packed {
            search.needs = needs;
        }
        let across = AcrossSearch {
            bare,
            devices,
            search,
            widths: Vec::new(),
            widths_known: Arc::default(),
            of_width: BTreeSet::new(),
            predicted: BTreeSet::new(),
            failed_before,
            needed,
            known: Vec::new(),
            again: BTreeMap::new(),
        };
        let tasks = across.tasks(trials, evidence);
        (across, tasks)
    }

    fn tasks(&self, trials: Vec<Trial>, evidence: &Evidence) -> Vec<Task> {
        let is_new = |item: Item| !evidence.asked.contains(&item);
        let task = |trial: Trial| {
            // What they offer depends on no driver, and was asked before.
            let features = self.devices.context.target.state() == State::Reset
                && self.devices.virtio(&trial.items).any(is_new);
            let route = trial.route;
            Task {
                guest: self.guest(route, &trial.items),
                purpose: Purpose::Search {
                    goes_back: self.search.goes_back(route),
                    features,
                    widths: Arc::clone(&self.widths_known),
                    calibration: self.calibration(&trial),
                    trial,
                },
            }
        };
        trials.into_iter().map(task).collect()
    }

    /// Returns the device types that do not migrate, and the bare machine if it does not. `None` where no device could be
    /// tried.
    pub(crate) fn failed(&self) -> Option<FailedBefore> {
        self.bare.known_buses()?;
        let verdicts = self.search.verdicts().iter();
        let devices = verdicts.filter_map(|(&(route, item), verdict)| {
            let before = match verdict {
                Verdict::Passed(_) => return None,
                Verdict::Refused(_) => Before::NotStarted,
                Verdict::Culprit(_) | Verdict::NeedsCulprit(_) => Before::Failed,
            };
            Some((
                (route.direction()?, self.devices.driver(item).to_owned()),
                before,
            ))
        });
        let bare = self.bare.runs.iter().filter(|(_, run)| !run.passed());
        let bare = bare
            .filter_map(|(route, _)| Some(((route.direction()?, BARE.to_owned()), Before::Failed)));
        Some(devices.chain(bare).collect())
    }

    /// Tells whether this is about devices with drivers, and one did not migrate without: it was not tried.
    pub(crate) fn has_failed_before(&self, direction: Direction, subject: &str) -> bool {
        let failed = &self.failed_before;
        failed.contains_key(&(direction, subject.to_owned()))
    }

    /// Returns the device types of some items.
    pub(super) fn types(&self, items: &[Item]) -> BTreeSet<String> {
        let devices = self.devices.union(items).devices;
        let arch = self.devices.context.target.config.arch.as_str();
        devices.iter().map(|d| d.driver(arch).to_owned()).collect()
    }

    /// Decides when a trial is calibrated.
    fn calibration(&self, trial: &Trial) -> Calibration {
        match (self.devices.context.options.packing, &*trial.items) {
            (Packing::Packed, [item]) if !self.needed.contains(item) => Calibration::WithControls,
            _ => Calibration::AtOnce,
        }
    }

    /// Returns the guest of these devices.
    pub(crate) fn guest(&self, route: Route, items: &[Item]) -> Guest {
        let known = self.known.iter().filter(|known| known.is_of(items));
        let known = known.map(|known| (known.change.clone(), known.builds.clone()));
        Guest {
            route,
            set: self.devices.union(items),
            section_override: self.bare.section_override(route),
            with: self.bare.with(route).cloned(),
            tolerated: self.bare.tolerated(route),
            known: known.collect(),
        }
    }

    /// Takes pages that the builds change by themselves in a guest of these devices. A field may be garbage where another
    /// build loads it, which is found out on each way.
    fn learn(&mut self, items: &[Item], changes: OwnChanges) {
        for (change, builds) in changes {
            let Some(block) = change.block() else {
                continue;
            };
            let owners = self.devices.senders_of([block].into());
            let mut in_guest = items.iter().filter(|item| owners.contains(item));
            if let (Some(&owner), None) = (in_guest.next(), in_guest.next()) {
                self.known.push(KnownChange {
                    change,
                    builds,
                    owner,
                    owners,
                });
            }
        }
    }

    /// Takes the result of a trial; returns the next tasks.
    pub(crate) fn record(
        &mut self,
        trial: &Trial,
        moved: Moved,
        evidence: &mut Evidence,
    ) -> Vec<Task> {
        let Moved {
            run,
            stream,
            features,
            widths,
            own_changes,
            ..
        } = moved;
        self.learn(&trial.items, own_changes);
        // Where they differ, machines of their own are asked what that means.
        if features.is_some_and(|features| !may_drop_features(&features)) {
            evidence.asked.extend(self.devices.virtio(&trial.items));
        }
        let single = self.devices.single_culprit(trial, &run);
        // The guest of a single culprit shows all that there is to know of it.
        let (others, culprit) = match &single {
            Some(single) => (&single.others, Some(single.culprit)),
            None => (&run, None),
        };
        let items = without(&trial.items, culprit);
        if let Some(direction) = trial.route.direction() {
            let types = self.types(&items);
            let in_guest = trial.items.len();
            evidence.add(direction, &items, in_guest, types, others, stream.as_ref());
        }

        // What has another length there fails whichever way it goes.
        if !widths.is_empty() {
            self.of_width.extend(self.devices.of_width(&widths));
            self.widths.extend(widths);
        }
        let mut likely_to_fail = match (run.attempt.outcome, &single) {
            (Outcome::Pass, _) | (_, Some(_)) => self.devices.likely_to_fail(&run, trial),
            _ => BTreeSet::new(),
        };
        let of_width = |item: &&Item| self.of_width.contains(item);
        likely_to_fail.extend(trial.items.iter().filter(of_width));
        // What dies of another process's addresses takes its neighbours along.
        let addresses = self.own_addresses(trial.route, &run);
        let addresses: Vec<SectionName> = addresses.into_iter().cloned().collect();
        let doubtful = self.devices.senders_at(&addresses, &trial.items);
        likely_to_fail.extend(&doubtful);
        self.search.predict_back(&self.of_width);
        let back = trial.route.reversed();
        let predicted = likely_to_fail.iter().map(|&item| (back, item));
        self.predicted.extend(predicted);
        let answer = self.devices.answer(trial, run, single, likely_to_fail);
        let trials = self.search.record(trial, answer);
        let mut tasks = self.tasks(trials, evidence);
        tasks.extend(self.try_again(trial.route, doubtful));
        tasks
    }

    /// Returns the sections in which the devices of a run sent addresses of their process.
    pub(crate) fn own_addresses<'r>(&self, route: Route, run: &'r Run) -> Vec<&'r SectionName> {
        let of_machine = self.bare.runs.get(&route);
        let of_machine = of_machine.map(|bare| &bare.attempt.state.own_addresses);
        let is_of_device =
            |name: &&SectionName| !of_machine.is_some_and(|names| names.contains(*name));
        let sections = run.attempt.state.own_addresses.iter();
        sections.filter(is_of_device).collect()
    }

    /// Returns the moves, once more and alone, of devices that may have sent addresses: what becomes of these is chance.
    fn try_again(&mut self, route: Route, mut senders: Vec<Item>) -> Vec<Task> {
        senders.retain(|&item| {
            let is_doubtful = self.may_pass_by_chance(route, item);
            match self.again.entry((route, item)) {
                Entry::Vacant(unknown) if is_doubtful => {
                    unknown.insert(Vec::new());
                    true
                }
                _ => false,
            }
        });
        let tasks = senders.iter().map(|&item| self.once_more(route, item));
        tasks.collect()
    }

    fn once_more(&self, route: Route, item: Item) -> Task {
        Task {
            purpose: Purpose::TryAgain(item),
            guest: self.guest(route, &[item]),
        }
    }

    /// Tells whether a device came through alone, or in a pack, so that another run of it alone may say more.
    fn may_pass_by_chance(&self, route: Route, item: Item) -> bool {
        match self.search.verdict(route, item) {
            Some(Verdict::Passed(_)) => true,
            Some(Verdict::Culprit(run)) => run.shared_by.len() > 1,
            _ => false,
        }
    }

    /// Takes another run of a device alone, which counts if it fails and none did before. The first one shows whether the
    /// addresses are in what this device sends; returns the moves that this calls for.
    pub(crate) fn record_again(&mut self, item: Item, route: Route, run: Arc<Run>) -> Vec<Task> {
        let is_first = self.runs_by_chance(route, item).is_empty();
        let is_own = !self.own_addresses(route, &run).is_empty();
        let counts = run.attempt.failed() && self.may_pass_by_chance(route, item);
        let known = self.search.verdict(route, item).and_then(Verdict::evidence);
        let other = match known.filter(|_| counts) {
            Some(known) => {
                let known = Arc::clone(known);
                self.search.decide(route, item, Verdict::Culprit(run));
                known
            }
            None => run,
        };
        if other.attempt.outcome != Outcome::Skip {
            self.again.entry((route, item)).or_default().push(other);
        }
        let more = match is_first && is_own && !counts {
            true => CHANCES - 1,
            false => 0,
        };
        (0..more).map(|_| self.once_more(route, item)).collect()
    }

    /// Returns the runs of a device that may have come through by chance, but for the one that counts.
    pub(crate) fn runs_by_chance(&self, route: Route, item: Item) -> &[Arc<Run>] {
        let runs = self.again.get(&(route, item));
        runs.map(Vec::as_slice).unwrap_or_default()
    }

    /// Tells whether a failure was predicted, by the dumps or by what the other build sent.
    pub(crate) fn was_predicted(&self, route: Route, item: Item) -> bool {
        self.devices.is_predicted(route, item) || self.predicted.contains(&(route, item))
    }

    /// Returns the devices of the guest in which one is to blame for a failure: itself, where it fails alone.
    pub(crate) fn company(&self, route: Route, item: Item) -> Vec<Item> {
        match self.search.verdict(route, item) {
            Some(Verdict::Culprit(run)) if run.shared_by.len() > 1 => run.shared_by.clone(),
            _ => vec![item],
        }
    }

    /// Returns the pack that failed in the same place as a culprit before that was tried alone.
    pub(crate) fn earlier_failure(&self, route: Route, item: Item) -> Option<&Arc<Run>> {
        let pack = self.search.pointed_at(route, item)?;
        let Some(Verdict::Culprit(alone)) = self.search.verdict(route, item) else {
            return None;
        };
        let place = |run: &Run| {
            let cause = run.attempt.cause.as_ref()?;
            // Only a guest of its own shows which field it was.
            let section = cause.section_or_memory();
            let section = section.map(|name| name.vmsd_name().to_owned());
            Some((run.attempt.outcome, section))
        };
        // The failure of the pack may be the only one.
        let is_other = !std::ptr::eq::<Run>(&**pack, &**alone);
        (is_other && place(pack) == place(alone)).then_some(pack)
    }

    /// Returns the device that a culprit needs and that is a culprit itself: that one has the
    /// cause.
    pub(crate) fn needed_culprit(&self, route: Route, item: Item) -> Option<&str> {
        let culprit = match self.search.verdict(route, item)? {
            Verdict::NeedsCulprit(culprit) => *culprit,
            Verdict::Culprit(_) => self.devices.needed_by(item).find(|&needed| {
                let verdict = self.search.verdict(route, needed);
                needed != item && matches!(verdict, Some(Verdict::Culprit(_)))
            })?,
            Verdict::Passed(_) | Verdict::Refused(_) => return None,
        };
        Some(self.devices.driver(culprit))
    }
}
