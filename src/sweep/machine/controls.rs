//! The controls: every culprit from each build to itself, and once more what nothing predicted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::culprit::{Item, Search, Trial, Verdict};
use crate::model::Route;
use crate::report::Outcome;
use crate::sweep::machine::Context;
use crate::sweep::machine::across::AcrossSearch;
use crate::sweep::machine::attribution::{Attribution, accounts_for};
use crate::sweep::machine::guest::{Guest, Purpose, Run, Task};

/// The culprits of a search from each build to itself.
#[derive(Debug)]
pub(crate) struct Controls {
    pub across: AcrossSearch,
    search: Search<Arc<Run>>,
    /// Controls of what fails only together, by its place in the search's list.
    groups: BTreeMap<(usize, Route), Arc<Run>>,
    /// Culprits that were tried once more.
    repeats: BTreeMap<(Route, Item), Arc<Run>>,
}

/// The culprits, by how they are controlled.
#[derive(Debug, Default)]
struct Culprits {
    /// These crash or hang, or fail either way for no reason that was known before: what crashes on the
    /// way across tends to crash within one build, where it would spoil the others' control.
    apart: BTreeSet<Item>,
    /// The others share guests.
    shared: BTreeSet<Item>,
    /// These failed for no reason that was known before.
    unpredicted: Vec<(Route, Item)>,
}

impl Culprits {
    /// Those that only need another culprit are not among them.
    fn of(across: &AcrossSearch, context: Context<'_>) -> Self {
        let mut culprits = Culprits::default();
        let mut surprises: BTreeMap<Item, usize> = BTreeMap::new();
        for (&(route, item), verdict) in across.search.verdicts() {
            let Verdict::Culprit(run) = verdict else {
                continue;
            };
            if across.needed_culprit(context, route, item).is_some() {
                continue;
            }
            // What was predicted is no accident, and what failed in a pack before is none either.
            let is_predicted = across.was_predicted(context, route, item);
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

impl Controls {
    pub(crate) fn begin(context: Context<'_>, across: AcrossSearch) -> (Self, Vec<Task>) {
        let culprits = Culprits::of(&across, context);
        let devices = &across.devices;
        let shared: Vec<Item> = culprits.shared.into_iter().collect();
        let mut packs = devices.packs(context, &shared, &BTreeSet::new());
        packs.extend(culprits.apart.into_iter().map(|item| vec![item]));
        let (search, trials) = Search::of_packs(&packs, &Route::CONTROLS);
        let guest = |items: &[Item], route| Guest {
            route,
            set: devices.union(items),
            section_override: across.bare.section_override(route),
            tolerated: across.bare.tolerated(route),
        };
        let groups = across.search.groups().into_iter().enumerate();
        let groups = groups.flat_map(|(at, group)| {
            Route::CONTROLS.map(|route| Task {
                purpose: Purpose::ControlGroup(at),
                guest: guest(&group.items, route),
            })
        });
        let repeats = culprits.unpredicted.into_iter();
        let repeats = repeats.map(|(route, item)| Task {
            purpose: Purpose::Repeat(item),
            guest: guest(&[item], route),
        });
        let more: Vec<Task> = groups.chain(repeats).collect();
        let controls = Controls {
            search: search.with_likeness(accounts_for),
            groups: BTreeMap::new(),
            repeats: BTreeMap::new(),
            across,
        };
        let mut tasks = controls.tasks(trials);
        tasks.extend(more);
        (controls, tasks)
    }

    fn tasks(&self, trials: Vec<Trial>) -> Vec<Task> {
        let task = |trial: Trial| Task {
            guest: Guest {
                route: trial.route,
                set: self.across.devices.union(&trial.items),
                section_override: None,
                tolerated: Arc::default(),
            },
            purpose: Purpose::Control(trial),
        };
        trials.into_iter().map(task).collect()
    }

    /// Takes what came of a trial; returns what to do next.
    pub(crate) fn record(
        &mut self,
        context: Context<'_>,
        trial: &Trial,
        run: Arc<Run>,
    ) -> Vec<Task> {
        let attribution = Attribution {
            target: context.target,
            catalogue: &self.across.devices.catalogue,
        };
        let single = attribution.single_culprit(trial, &run);
        let answer = attribution.answer(trial, run, single, BTreeSet::new());
        let trials = self.search.record(trial, answer);
        self.tasks(trials)
    }

    /// Takes the control of a group.
    pub(crate) fn record_group(&mut self, at: usize, route: Route, run: Arc<Run>) {
        self.groups.insert((at, route), run);
    }

    /// Takes the second run of a culprit.
    pub(crate) fn record_repeat(&mut self, item: Item, route: Route, run: Arc<Run>) {
        self.repeats.insert((route, item), run);
    }

    /// Returns the control of an item, if it had one.
    pub(crate) fn of_item(&self, route: Route, item: Item) -> Option<&Run> {
        match self.search.verdict(route, item)? {
            Verdict::Passed(run) | Verdict::Refused(run) | Verdict::Culprit(run) => Some(run),
            Verdict::NeedsCulprit(_) => None,
        }
    }

    /// Returns the control of a group, by its place in the search's list.
    pub(crate) fn of_group(&self, at: usize, route: Route) -> Option<&Run> {
        self.groups.get(&(at, route)).map(|run| &**run)
    }

    /// Returns another run that a culprit had, alone or in a pack.
    pub(crate) fn other_run(&self, route: Route, item: Item) -> Option<&Run> {
        let again = self.repeats.get(&(route, item)).map(|run| &**run);
        again.or_else(|| self.across.earlier_failure(route, item))
    }
}
