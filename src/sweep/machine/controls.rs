//! The controls: every culprit from each build to itself, and once more what nothing predicted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::culprit::{Item, Search, Trial, Verdict};
use crate::migration::calibration::{OwnChanges, add_own, are_unlike, explains, has_fields};
use crate::migration::case::{blamed, controls_of_failure};
use crate::migration::checks::changes::LoadChange;
use crate::migration::config::AGAIN;
use crate::model::Route;
use crate::report::Outcome;
use crate::sweep::machine::across::AcrossSearch;
use crate::sweep::machine::attribution::accounts_for;
use crate::sweep::machine::evidence::Evidence;
use crate::sweep::machine::guest::{Guest, Moved, Purpose, Task, endpoints};
use crate::sweep::machine::kind::{Kind, Represented};
use crate::sweep::machine::options::{Context, Packing};
use crate::sweep::machine::run::{Calibration, Run};
use crate::sweep::target::SweepTarget;

/// The culprits of a search from each build to itself.
#[derive(Debug)]
pub(crate) struct Controls<'t> {
    pub across: AcrossSearch<'t>,
    search: Search<Arc<Run>>,
    /// Other runs of what fails only together, by its place in the search's list.
    groups: BTreeMap<(usize, Route), Arc<Run>>,
    /// Culprits that were tried again.
    repeats: BTreeMap<(Route, Item), Vec<Arc<Run>>>,
    /// Controls that were tried again: a cause that sometimes kills a build need not do so the
    /// first time.
    again: BTreeMap<(Route, Item), Vec<Arc<Run>>>,
    /// Cases in which a build died, with the route of the build's control.
    died: Vec<(Route, Item, Route)>,
    /// Culprits that others stand for.
    represented: Represented,
    /// Culprits that failed for no reason that was known before.
    unpredicted: Vec<(Route, Item)>,
    /// Culprits whose controls said what is to be done with them.
    calibrated: BTreeSet<(Route, Item)>,
    /// Devices that were moved with other contents of uninitialised memory.
    refilled: BTreeSet<(Route, Item)>,
    /// Packs that failed of a culprit before it was tried alone.
    earlier: BTreeMap<(Route, Item), Arc<Run>>,
}

/// The culprits, by how they are controlled.
#[derive(Debug, Default)]
struct Culprits {
    /// These crash or hang, or fail in either direction for no reason that was known before: what
    /// crashes between the builds tends to crash within one build, where it would make the others'
    /// control fail.
    apart: BTreeSet<Item>,
    /// The others share guests.
    shared: BTreeSet<Item>,
    /// These failed for no reason that was known before.
    unpredicted: Vec<(Route, Item)>,
    /// Cases in which a build died, perhaps not each time; with the route of the build's control.
    died: Vec<(Route, Item, Route)>,
    /// Those whose stream a build refused.
    refused: Vec<(Route, Item, Arc<Run>)>,
}

impl Culprits {
    /// Those that only need another culprit are not among them.
    fn of(across: &AcrossSearch<'_>, represented: &Represented) -> Self {
        let mut culprits = Culprits::default();
        let mut surprises: BTreeMap<Item, usize> = BTreeMap::new();
        for (&(route, item), verdict) in across.search.verdicts() {
            let Verdict::Culprit(run) = verdict else {
                continue;
            };
            if across.needed_culprit(route, item).is_some() || represented.by(route, item).is_some()
            {
                continue;
            }
            if let (Outcome::Crash, Some(direction)) = (run.attempt.outcome, route.direction()) {
                let [old, new] = Route::CONTROLS;
                let control = blamed(&run.attempt, direction, old, new);
                culprits.died.push((route, item, control));
            }
            if run.attempt.state.refused.is_some() {
                culprits.refused.push((route, item, Arc::clone(run)));
            }
            // A predicted failure is no accident, and neither is one that was seen in a pack
            // before.
            let is_predicted = across.was_predicted(route, item);
            if !is_predicted && across.earlier_failure(route, item).is_none() {
                culprits.unpredicted.push((route, item));
            }
            let surprises = surprises.entry(item).or_default();
            *surprises += usize::from(!is_predicted);
            match run.attempt.outcome {
                Outcome::Fail | Outcome::Lost if *surprises < 2 => culprits.shared.insert(item),
                _ => culprits.apart.insert(item),
            };
        }
        culprits
            .shared
            .retain(|item| !culprits.apart.contains(item));
        culprits
    }
}

impl<'t> Controls<'t> {
    pub(crate) fn begin(across: AcrossSearch<'t>, evidence: &Evidence) -> (Self, Vec<Task>) {
        let Context { target, options } = across.devices.context;
        let represented = match options.packing {
            Packing::Packed => {
                Represented::of(&across.search, |route, item, run| {
                    // Of devices that depend on a culprit, only the culprit is examined.
                    let hangs = across.needed_culprit(route, item).is_some();
                    let kind = Kind::of(target, &across.widths, route, &run.attempt);
                    kind.filter(|_| !hangs)
                })
            }
            // One by one, every device is examined in full.
            Packing::OneByOne => Represented::default(),
        };
        let culprits = Culprits::of(&across, &represented);
        let devices = &across.devices;
        let shared: Vec<Item> = culprits.shared.into_iter().collect();
        let mut packs = devices.packs(&shared, &BTreeSet::new());
        packs.extend(culprits.apart.into_iter().map(|item| vec![item]));
        let (mut search, trials) = Search::of_packs(&packs, &Route::CONTROLS);
        search.accounts_for = accounts_for;
        let guest = |items: &[Item], route| across.guest(route, items);
        let groups = across.search.groups_by_items().into_iter().enumerate();
        let groups = groups.flat_map(|(at, group)| {
            let across = group.iter().map(|group| group.route);
            let routes: Vec<Route> = across.chain(Route::CONTROLS).collect();
            let items = group[0].items.clone();
            routes.into_iter().map(move |route| Task {
                purpose: Purpose::Group(at),
                guest: guest(&items, route),
            })
        });
        let died = culprits.died.iter();
        let died_again = died.clone().flat_map(|&(route, item, _)| {
            let seen = usize::from(across.earlier_failure(route, item).is_some());
            std::iter::repeat_n((route, item), AGAIN - seen)
        });
        let is_tried =
            |of: &(Route, Item)| died.clone().any(|&(route, item, _)| *of == (route, item));
        let once = culprits.unpredicted.iter().copied();
        let is_calibrated = |&(route, item): &(Route, Item)| {
            let verdict = across.search.verdict(route, item);
            matches!(verdict, Some(Verdict::Culprit(run)) if may_be_calibrated(run))
        };
        let once = once.filter(|of| !is_tried(of) && !is_calibrated(of));
        let repeats = once.chain(died_again).map(|(route, item)| Task {
            purpose: Purpose::Repeat(item),
            guest: guest(&across.company(route, item), route),
        });
        let explained = culprits.refused.iter().map(|(route, item, run)| Task {
            purpose: Purpose::Explain {
                item: *item,
                run: Arc::clone(run),
                expected: route
                    .direction()
                    .and_then(|direction| evidence.pairing.across(*item, direction)),
            },
            guest: guest(&[*item], *route),
        });
        let more = groups.chain(repeats).chain(explained);
        let more: Vec<Task> = more.collect();
        let earlier = across.search.verdicts().keys();
        let earlier = earlier.filter_map(|&(route, item)| {
            let failed = across.earlier_failure(route, item)?;
            Some(((route, item), Arc::clone(failed)))
        });
        let mut controls = Controls {
            search,
            groups: BTreeMap::new(),
            repeats: BTreeMap::new(),
            again: BTreeMap::new(),
            died: culprits.died,
            unpredicted: culprits.unpredicted,
            represented,
            calibrated: BTreeSet::new(),
            refilled: BTreeSet::new(),
            earlier: earlier.collect(),
            across,
        };
        let mut tasks = controls.tasks(trials);
        tasks.extend(more);
        let verdicts = controls.across.search.verdicts().iter();
        let broken = verdicts.filter_map(|(&(route, item), verdict)| match verdict {
            Verdict::Culprit(run) if run.attempt.outcome == Outcome::Broken => {
                Some((route, item, Arc::clone(run)))
            }
            _ => None,
        });
        let broken: Vec<(Route, Item, Arc<Run>)> = broken.collect();
        for (route, item, run) in broken {
            tasks.extend(controls.refill_back(route, item, &run));
        }
        (controls, tasks)
    }

    fn tasks(&self, trials: Vec<Trial>) -> Vec<Task> {
        let task = |trial: Trial| Task {
            guest: Guest {
                tolerated: self.across.bare.tolerated(trial.route),
                ..Guest::new(trial.route, self.across.devices.union(&trial.items))
            },
            purpose: Purpose::Control(trial),
        };
        trials.into_iter().map(task).collect()
    }

    /// Takes the result of a trial; returns the next tasks.
    pub(crate) fn record(&mut self, trial: &Trial, run: Arc<Run>) -> Vec<Task> {
        let devices = &self.across.devices;
        let single = devices.single_culprit(trial, &run);
        let answer = devices.answer(trial, run, single, BTreeSet::new());
        let trials = self.search.record(trial, answer);
        let mut tasks = self.tasks(trials);
        tasks.extend(self.calibrations(|controls| controls.len() == Route::CONTROLS.len()));
        tasks
    }

    /// Returns what is left to be done when all else is.
    pub(crate) fn last_tasks(&mut self) -> Vec<Task> {
        // What fails only together is the control of nothing: one control may have to do.
        let mut tasks = self.calibrations(|_| true);
        tasks.extend(self.more_controls());
        tasks
    }

    /// Returns more controls of what killed a build, and of what it refuses now and then. As long as it never did so by
    /// itself it is asked again, and more often where it does not do so each time of what the other build sends: what
    /// kills it in every third load must not pass for a break of the pair.
    fn more_controls(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut asked = BTreeSet::new();
        let died = self.died.iter().copied();
        for (route, item, control) in died.chain(self.refused_now_and_then()) {
            let tried = self.again.get(&(control, item)).map_or(0, Vec::len);
            let most = controls_of_failure(self.comes_and_goes(route, item));
            let of_item = self.of_item(control, item);
            let died = of_item.is_some_and(|run| run.attempt.outcome == Outcome::Crash);
            let refused = of_item.is_some_and(|run| run.attempt.outcome == Outcome::Fail);
            let is_own = died || (refused && !self.died.contains(&(route, item, control)));
            if of_item.is_some() && !is_own && tried < most && asked.insert((control, item)) {
                let company = self.across.company(route, item);
                let task = || Task {
                    purpose: Purpose::ControlAgain(item),
                    guest: self.across.guest(control, &company),
                };
                tasks.extend(std::iter::repeat_with(task).take(AGAIN.min(most - tried)));
            }
        }
        tasks
    }

    /// Returns the culprits whose stream a build refused and took another time, with the route of that build's control.
    fn refused_now_and_then(&self) -> impl Iterator<Item = (Route, Item, Route)> {
        self.unpredicted.iter().filter_map(|&(route, item)| {
            let Some(Verdict::Culprit(run)) = self.across.search.verdict(route, item) else {
                return None;
            };
            let is_refusal = run.attempt.outcome == Outcome::Fail;
            let [old, new] = Route::CONTROLS;
            let control = blamed(&run.attempt, route.direction()?, old, new);
            (is_refusal && self.comes_and_goes(route, item)).then_some((route, item, control))
        })
    }

    /// Tells whether a culprit came through in another run.
    fn comes_and_goes(&self, route: Route, item: Item) -> bool {
        let others = self.other_runs(route, item);
        others.iter().any(|run| run.passed())
    }

    /// Returns the calibrations that the controls of a culprit call for, where these are enough of them; what no control
    /// explains is tried again.
    fn calibrations(&mut self, are_enough: impl Fn(&[(Route, &Run)]) -> bool) -> Vec<Task> {
        let target = self.across.devices.context.target;
        let mut due = Vec::new();
        for (&(route, item), verdict) in self.across.search.verdicts() {
            let Verdict::Culprit(across) = verdict else {
                continue;
            };
            if !may_be_calibrated(across) || self.calibrated.contains(&(route, item)) {
                continue;
            }
            // What another device stands for has the controls of that one.
            let stands_for = self.represented.by(route, item).unwrap_or(item);
            let controls = Route::CONTROLS.into_iter().filter_map(|route| {
                match self.search.verdict(route, stands_for)? {
                    Verdict::Passed(run) | Verdict::Culprit(run) => Some((route, &**run)),
                    Verdict::Refused(_) | Verdict::NeedsCulprit(_) => None,
                }
            });
            let controls: Vec<(Route, &Run)> = controls.collect();
            if !are_enough(&controls) {
                continue;
            }
            let explain = |(_, control): &(_, &Run)| explains(&control.attempt, &across.attempt);
            let are_both = controls.len() == Route::CONTROLS.len();
            let own = (are_both && stands_for == item).then(|| own_changes(target, &controls));
            let purpose = match controls.iter().any(explain) {
                true => Purpose::Calibrate {
                    item,
                    run: Arc::clone(across),
                    controls: own,
                },
                false if self.unpredicted.contains(&(route, item)) => Purpose::Repeat(item),
                false => continue,
            };
            due.push((route, item, purpose));
        }
        let calibrated = due.iter().map(|&(route, item, _)| (route, item));
        self.calibrated.extend(calibrated);
        let task = |(route, item, purpose)| Task {
            guest: self.across.guest(route, &[item]),
            purpose,
        };
        due.into_iter().map(task).collect()
    }

    /// Puts the run of a culprit in the place of the one before, which may have passed.
    pub(crate) fn correct(&mut self, item: Item, route: Route, run: Arc<Run>) {
        let verdict = Verdict::Culprit(run);
        self.across.search.decide(route, item, verdict);
    }

    /// Takes the calibrated run of a culprit, which may be none any more; returns what is to be tried for that. Garbage
    /// that a load leaves on one way may have been harmless by chance on the other.
    pub(crate) fn record_calibrated(
        &mut self,
        item: Item,
        route: Route,
        moved: Moved,
        evidence: &mut Evidence,
    ) -> Vec<Task> {
        let Moved { run, stream, .. } = moved;
        let verdict = match run.passed() {
            true => Verdict::Passed(Arc::clone(&run)),
            false => Verdict::Culprit(Arc::clone(&run)),
        };
        self.across.search.decide(route, item, verdict);
        // Where nothing was moved again there is nothing new.
        if let (Some(direction), Some(stream)) = (route.direction(), &stream) {
            let types = self.across.types(&[item]);
            evidence.add(direction, &[item], 1, types, &run, Some(stream));
        }
        self.refill_back(route, item, &run)
    }

    /// Moves a device, of which a load leaves garbage on a route, on the way back with other contents of uninitialised
    /// memory, if it came through there.
    fn refill_back(&mut self, route: Route, item: Item, run: &Run) -> Vec<Task> {
        let back = route.reversed();
        let verdict = self.across.search.verdict(back, item);
        let passed_back = matches!(verdict, Some(Verdict::Passed(_)));
        if run.attempt.outcome != Outcome::Broken || !passed_back {
            return Vec::new();
        }
        self.refill(back, item, run.attempt.only_changes())
    }

    /// Moves a device with other contents of uninitialised memory, once: one of these may be garbage.
    fn refill(
        &mut self,
        route: Route,
        item: Item,
        changes: Option<BTreeSet<LoadChange>>,
    ) -> Vec<Task> {
        let Some(changes) = changes.filter(has_fields) else {
            return Vec::new();
        };
        let task = self.refilled.insert((route, item)).then(|| Task {
            purpose: Purpose::Refill(item, changes),
            guest: self.across.guest(route, &[item]),
        });
        task.into_iter().collect()
    }

    /// Takes another run of a group.
    pub(crate) fn record_group(&mut self, at: usize, route: Route, run: Arc<Run>) {
        self.groups.insert((at, route), run);
    }

    /// Takes the second run of a culprit; returns what is to be tried for that. Values that are others each time may be
    /// garbage that the controls were spared by chance.
    pub(crate) fn record_repeat(&mut self, item: Item, route: Route, run: Arc<Run>) -> Vec<Task> {
        let first = self.across.search.verdict(route, item);
        let differs = match first {
            Some(Verdict::Culprit(first))
                if first.attempt.outcome == Outcome::Lost
                    && are_unlike(&first.attempt, &run.attempt) =>
            {
                first.attempt.only_changes()
            }
            _ => None,
        };
        self.repeats.entry((route, item)).or_default().push(run);
        self.refill(route, item, differs)
    }

    /// Takes another run of a control.
    pub(crate) fn record_again(&mut self, item: Item, route: Route, run: Arc<Run>) {
        self.again.entry((route, item)).or_default().push(run);
    }

    /// Returns the device that stands for a culprit of the same kind, if one does.
    pub(crate) fn representative(&self, route: Route, item: Item) -> Option<Item> {
        self.represented.by(route, item)
    }

    /// Returns the control of an item, if it had one; of several one in which a build died, or else one that it refused.
    pub(crate) fn of_item(&self, route: Route, item: Item) -> Option<&Run> {
        let first = self.search.verdict(route, item)?.evidence()?;
        let again = self.again.get(&(route, item)).into_iter().flatten();
        let severity = |run: &&Arc<Run>| match run.attempt.outcome {
            Outcome::Crash => 2,
            Outcome::Fail => 1,
            _ => 0,
        };
        // Of equal ones the first.
        let runs = std::iter::once(first).chain(again);
        runs.rev().max_by_key(severity).map(|run| &**run)
    }

    /// Returns the other run of a group on a route, by its place in the search's list.
    pub(crate) fn of_group(&self, at: usize, route: Route) -> Option<&Run> {
        self.groups.get(&(at, route)).map(|run| &**run)
    }

    /// Returns the other runs that a culprit had, alone or in a pack.
    pub(crate) fn other_runs(&self, route: Route, item: Item) -> Vec<&Run> {
        let again = self.repeats.get(&(route, item)).into_iter().flatten();
        let again = again.map(|run| &**run);
        let earlier = self.earlier.get(&(route, item)).map(|run| &**run);
        let by_chance = self.across.runs_by_chance(route, item).iter();
        // The pack may be among them, too.
        let is_earlier = |run: &&Run| earlier.is_some_and(|of| std::ptr::eq(of, *run));
        let by_chance = by_chance.map(|run| &**run).filter(|run| !is_earlier(run));
        again.chain(earlier).chain(by_chance).collect()
    }
}

/// Tells whether a culprit differs in values alone, which its controls may explain.
fn may_be_calibrated(run: &Run) -> bool {
    run.calibration == Calibration::WithControls && run.attempt.only_changes().is_some()
}

/// Returns what each build changes in a guest that is sent to itself.
fn own_changes(target: &SweepTarget, controls: &[(Route, &Run)]) -> OwnChanges {
    let mut own = OwnChanges::new();
    for &(route, control) in controls {
        let [build, _] = endpoints(&target.config, route);
        add_own(&mut own, build, &control.attempt);
    }
    own
}
