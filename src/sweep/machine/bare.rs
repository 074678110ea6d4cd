//! The machine without any device: does it migrate, and what could be plugged into it?

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::devices::DeviceSet;
use crate::migration::checks::changes::LoadChanges;
use crate::migration::config::AGAIN;
use crate::migration::diagnosis::section_override::Overridden;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::vm::Endpoint;
use crate::model::{Direction, Route};
use crate::report::{Outcome, PassesWith, Repeated};
use crate::stream::section_override::SectionOverride;
use crate::sweep::case_id::{BARE, State};
use crate::sweep::machine::guest::{Guest, Moved, Purpose, Task};
use crate::sweep::machine::options::Context;
use crate::sweep::machine::run::Run;

/// The machine without any device.
#[derive(Debug, Default)]
pub(crate) struct BareMachine {
    pub runs: BTreeMap<Route, Arc<Run>>,
    /// Runs across in which a build died, before one that counts.
    died: BTreeMap<Route, Vec<Arc<Run>>>,
    /// The buses to plug a device into, or why they are not known; of the first guest that could be asked.
    pub buses: Option<Result<Buses, String>>,
    /// What it takes for a machine to migrate that does not by itself.
    pub overrides: BTreeMap<Direction, Overridden>,
    /// The changes that the builds make to it by themselves, on whichever route that was seen.
    of_builds: LoadChanges,
}

impl BareMachine {
    pub(crate) fn begin(directions: &[Direction]) -> Vec<Task> {
        let routes = directions.iter().copied().map(Route::Across);
        routes
            .map(|route| task(route, Purpose::BareMachine))
            .collect()
    }

    /// Returns the buses to plug a device into, where they are known.
    pub(crate) fn known_buses(&self) -> Option<&Buses> {
        self.buses.as_ref()?.as_ref().ok()
    }

    /// Takes a run; the controls of a machine that does not migrate are run at once. One in which a build died is
    /// tried again, for what dies now and then would hide all devices.
    pub(crate) fn record(
        &mut self,
        context: Context<'_>,
        route: Route,
        moved: &Moved,
    ) -> Vec<Task> {
        let run = &moved.run;
        self.of_builds.extend(moved.own_changes.keys().cloned());
        let surveyed = run.attempt.buses.clone();
        let refused = || Err(run.refusal(&context.target.config.old));
        // A guest that does not work on one side says nothing of the other one.
        if self.known_buses().is_none() {
            self.buses = Some(surveyed.unwrap_or_else(refused));
        }
        let mut tasks = Vec::new();
        let is_across = route.direction().is_some();
        if is_across && run.attempt.failed() && !self.has_failed() {
            let of_values = run.attempt.only_changes().is_some();
            tasks.extend(Route::CONTROLS.map(|route| match of_values {
                true => task(route, Purpose::BareMachine),
                false => task(route, Purpose::BareControl),
            }));
        }
        let before = self.died.get(&route).map_or(0, Vec::len);
        if is_across && before < most_deaths(run.attempt.outcome) {
            self.died.entry(route).or_default().push(Arc::clone(run));
            tasks.push(task(route, Purpose::BareMachine));
            return tasks;
        }
        // One that loaded needs no other sections, and a guest that works cannot go on with those of a reset.
        let works = context.target.state() == State::Linux;
        let is_refused = run.attempt.failed() && run.attempt.only_changes().is_none();
        if is_across && is_refused && !works {
            tasks.push(task(route, Purpose::FindOverride(Arc::clone(run))));
        }
        self.runs.insert(route, Arc::clone(run));
        tasks
    }

    fn has_failed(&self) -> bool {
        let mut failed = self.runs.values().filter(|run| run.attempt.failed());
        !self.died.is_empty() || failed.next().is_some()
    }

    /// Returns the run that says how the machine migrates on a route: the first that died, if one did.
    pub(crate) fn verdict(&self, route: Route) -> Option<&Run> {
        let died = self.died.get(&route).and_then(|died| died.first());
        died.or_else(|| self.runs.get(&route)).map(|run| &**run)
    }

    /// Returns how often the machine died where it was tried more than once.
    pub(crate) fn repeated(&self, route: Route) -> Option<Repeated> {
        let died = self.died.get(&route)?.len();
        let last = self.runs.get(&route)?;
        Some(Repeated {
            failed: died + usize::from(last.attempt.failed()),
            of: died + 1,
        })
    }

    /// Tells whether devices can be tried on a route. A machine that loads with wrong values says
    /// nothing about its devices.
    pub(crate) fn gets_across(&self, route: Route) -> bool {
        let loads = |run: &Arc<Run>| run.passed() || run.attempt.only_changes().is_some();
        self.runs.get(&route).is_some_and(loads) || self.overridden(route).is_some()
    }

    /// Returns why a build did not start with the machine, or its guest did not, if one did not.
    pub(crate) fn refusal(&self, old: &Endpoint) -> Option<String> {
        let mut runs = self.runs.values();
        let refused = runs.find(|run| run.attempt.outcome == Outcome::Skip)?;
        Some(refused.refusal(old))
    }

    /// Returns the changes of the machine itself on a route, so that they are not attributed to the
    /// devices of a guest.
    pub(crate) fn tolerated(&self, route: Route) -> Arc<LoadChanges> {
        let mut tolerated = self.of_builds.clone();
        let run = self.runs.get(&route).map(|run| &*run.differing);
        let overridden = self.overridden(route).map(|found| &found.differing);
        for changes in run.into_iter().chain(overridden) {
            tolerated.extend(changes.iter().cloned());
        }
        Arc::new(tolerated)
    }

    /// Returns the sections that guests need on a route.
    pub(crate) fn section_override(&self, route: Route) -> Option<Arc<SectionOverride>> {
        self.overridden(route)?.replaced()
    }

    /// Returns the options with which the machine passes on a route that it does not pass by itself.
    pub(crate) fn passes_with(&self, route: Route) -> Option<&PassesWith> {
        self.overridden(route)?.passes_with()
    }

    /// Returns the options of one build without which no guest migrates on a route.
    pub(crate) fn with(&self, route: Route) -> Option<&PassesWith> {
        self.overridden(route)?.with.as_ref()
    }

    fn overridden(&self, route: Route) -> Option<&Overridden> {
        self.overrides.get(&route.direction()?)
    }
}

/// Returns how many runs with such an end are not the last one of a route. A hang takes as long as it may.
fn most_deaths(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Crash => AGAIN,
        Outcome::Hang => 1,
        _ => 0,
    }
}

fn task(route: Route, purpose: Purpose) -> Task {
    Task {
        purpose,
        guest: Guest::new(route, DeviceSet::union(BARE, [])),
    }
}
