//! The machine without any device: does it migrate, and what could be plugged into it?

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::devices::DeviceSet;
use crate::migration::checks::changes::LoadChanges;
use crate::migration::endpoint::buses::Buses;
use crate::migration::endpoint::vm::Endpoint;
use crate::model::{Direction, Route};
use crate::report::Outcome;
use crate::stream::section_override::SectionOverride;
use crate::sweep::case_id::{BARE, State};
use crate::sweep::machine::Context;
use crate::sweep::machine::guest::{Guest, Purpose, Task};
use crate::sweep::machine::run::Run;

/// The machine without any device.
#[derive(Debug, Default)]
pub(crate) struct BareMachine {
    pub runs: BTreeMap<Route, Arc<Run>>,
    /// The buses to plug a device into, or why they are not known; of the first guest.
    pub buses: Option<Result<Buses, String>>,
    /// The sections to override so that a machine migrates that does not by itself.
    pub overrides: BTreeMap<Direction, Arc<SectionOverride>>,
}

impl BareMachine {
    pub(crate) fn begin(directions: &[Direction]) -> Vec<Task> {
        let routes = directions.iter().copied().map(Route::Across);
        routes
            .map(|route| task(route, Purpose::BareMachine))
            .collect()
    }

    /// Takes a run; the controls of a machine that does not migrate are run at once.
    pub(crate) fn record(
        &mut self,
        context: Context<'_>,
        route: Route,
        run: &Arc<Run>,
    ) -> Vec<Task> {
        let surveyed = run.attempt.buses.clone();
        let refused = || Err(run.refusal(&context.target.config.old));
        self.buses
            .get_or_insert_with(|| surveyed.unwrap_or_else(refused));
        let mut tasks = Vec::new();
        if route.direction().is_some() && run.attempt.failed() {
            // One that loaded needs no other sections, and a guest that works cannot go on with those of a reset.
            let works = context.target.state() == State::Linux;
            if run.attempt.only_changes().is_none() && !works {
                tasks.push(task(route, Purpose::FindOverride(Arc::clone(run))));
            }
            let failed_before = self.runs.values().any(|run| run.attempt.failed());
            if !failed_before {
                tasks.extend(Route::CONTROLS.map(|route| task(route, Purpose::BareMachine)));
            }
        }
        self.runs.insert(route, Arc::clone(run));
        tasks
    }

    /// Tells whether devices can be tried on a route. A machine that loads with wrong values says
    /// nothing about its devices.
    pub(crate) fn gets_across(&self, route: Route) -> bool {
        let loads = |run: &Arc<Run>| run.passed() || run.attempt.only_changes().is_some();
        self.runs.get(&route).is_some_and(loads) || self.section_override(route).is_some()
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
        let run = self.runs.get(&route);
        run.map_or_else(Arc::default, |run| Arc::clone(&run.differing))
    }

    /// Returns the sections that guests need on a route.
    pub(crate) fn section_override(&self, route: Route) -> Option<Arc<SectionOverride>> {
        self.overrides.get(&route.direction()?).cloned()
    }
}

fn task(route: Route, purpose: Purpose) -> Task {
    Task {
        purpose,
        guest: Guest {
            route,
            set: DeviceSet::union(BARE, []),
            section_override: None,
            tolerated: Arc::default(),
        },
    }
}
