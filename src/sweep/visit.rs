//! One machine, from its first question to its last control.

mod blame;
mod plan;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::culprit::search::{Answer, Item, Search, Together, Trial, Verdict, Way};
use crate::devices::{Device, DeviceSet};
use crate::migration::case::milliseconds;
use crate::migration::coverage::Observed;
use crate::migration::endpoint::buses::Buses;
use crate::migration::pool::Job;
use crate::model::{Direction, SectionName};
use crate::report::Outcome;
use crate::stream::Stream;
use crate::stream::section_override::SectionOverride;
use crate::sweep::catalogue::{Catalogue, Only};
use crate::sweep::pairing::{Half, Pairing};
use crate::sweep::place::Place;
use crate::sweep::shard::Shard;

use blame::{SingleCulprit, but};
use task::Stage;
pub(crate) use task::{Run, Task, TaskResult, perform, route};

/// How many devices travel in one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As many as there is room for.
    Packed,
    /// Each alone: slow, and the truth that packing has to equal.
    OneByOne,
}

/// What is wanted of every machine.
#[derive(Debug, Clone)]
pub struct Options {
    pub directions: Vec<Direction>,
    pub packing: Packing,
    pub only: Only,
    /// The part of the run that this is; a whole run has none.
    pub shard: Option<Shard>,
}

/// The state of a machine's sweep.
#[derive(Debug)]
pub(crate) struct MachineSweep {
    begun: Option<Instant>,
    pub elapsed_ms: u64,
    pub guests: usize,
    /// Tasks that are under way.
    open: usize,
    pub buses: Option<Result<Buses, String>>,
    pub bare: BTreeMap<Way, Arc<Run>>,
    /// What gets a machine across that does not get there by itself.
    pub grafts: BTreeMap<Direction, Arc<SectionOverride>>,
    pub catalogue: Catalogue,
    /// Candidates whose cases are this run's. The others are another shard's; what these need of
    /// them travels along, so that every case comes to what it does in a whole run.
    pub held: BTreeSet<Item>,
    /// What was sent from one build to the other.
    pub observed: Vec<Observed>,
    /// The cases of the whole run, as far as they are known before it.
    pub planned: Vec<String>,
    pub search: Option<Search<Arc<Run>>>,
    pub controls: Option<Search<Arc<Run>>>,
    /// Of what fails only together, by its place in the search's list.
    pub whole: BTreeMap<(usize, Way), Arc<Run>>,
    /// Culprits that were tried once more.
    pub again: BTreeMap<(Way, Item), Arc<Run>>,
    /// What streams foretold.
    foreseen: BTreeSet<(Way, Item)>,
    /// What was sent in all that.
    pub pairing: Pairing,
    pub done: bool,
}

const CONTROLS: [Way; 2] = [Way::OldToOld, Way::NewToNew];
/// More than any guest weighs: what others wait for comes first.
const FIRST: usize = 10_000;

/// How long a guest takes, beside others: memory that is plugged in is compared as well.
fn weight(set: &DeviceSet) -> usize {
    let memory = |device: &Device| device.board_options().any(|(option, _)| option == "-m");
    let plugged = set.devices.iter().filter(|device| memory(device));
    set.devices.len() + 100 * plugged.count()
}

impl MachineSweep {
    pub fn begin(options: &Options) -> (MachineSweep, Vec<Job<Task>>) {
        let ways = options.directions.iter().copied().map(Way::Across);
        let tasks: Vec<Task> = ways.map(Task::Bare).collect();
        let mut visit = MachineSweep {
            begun: None,
            elapsed_ms: 0,
            guests: 0,
            open: 0,
            buses: None,
            bare: BTreeMap::new(),
            grafts: BTreeMap::new(),
            catalogue: Catalogue::default(),
            held: BTreeSet::new(),
            observed: Vec::new(),
            planned: Vec::new(),
            search: None,
            controls: None,
            whole: BTreeMap::new(),
            again: BTreeMap::new(),
            foreseen: BTreeSet::new(),
            pairing: Pairing::default(),
            done: false,
        };
        let jobs = visit.jobs(tasks);
        (visit, jobs)
    }

    fn jobs(&mut self, tasks: Vec<Task>) -> Vec<Job<Task>> {
        self.open += tasks.len();
        self.guests += tasks.len();
        let job = |job: Task| Job {
            weight: match &job {
                Task::Bare(_) | Task::Bypass(..) => FIRST,
                Task::Trial { set, .. } | Task::Whole { set, .. } | Task::Again { set, .. } => {
                    weight(set)
                }
            },
            job,
        };
        tasks.into_iter().map(job).collect()
    }

    /// Takes what came of a task; what is to be done next comes back.
    pub fn told(
        &mut self,
        place: &Place,
        options: &Options,
        task: Task,
        came: TaskResult,
    ) -> Vec<Job<Task>> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        self.open -= 1;
        let mut spoiled = None;
        if let TaskResult::Moved(run, sent) = &came {
            spoiled = self.spoiled(place, &task, run);
            // What is to be learned of the one that spoiled it, its own guest shows.
            let (run, spoiler) = match &spoiled {
                Some(SingleCulprit { by, others }) => (others, Some(*by)),
                None => (run, None),
            };
            self.observe(place, &task, run, spoiler);
            if let Some(sent) = sent {
                self.keep(&task, run, sent, spoiler);
            }
        }
        let mut tasks = match (task, came) {
            (Task::Bare(way), TaskResult::Moved(run, _)) => self.bare(place, way, run),
            (Task::Trial { stage, trial, .. }, TaskResult::Moved(run, _)) => {
                self.tried(place, stage, &trial, run, spoiled)
            }
            (Task::Whole { at, way, .. }, TaskResult::Moved(run, _)) => {
                self.whole.insert((at, way), run);
                Vec::new()
            }
            (Task::Again { item, way, .. }, TaskResult::Moved(run, _)) => {
                self.again.insert((way, item), run);
                Vec::new()
            }
            (Task::Bypass(direction, _), TaskResult::Bypassed(Some(graft))) => {
                self.grafts.insert(direction, graft);
                Vec::new()
            }
            (_, TaskResult::Bypassed(_)) | (Task::Bypass(..), _) => Vec::new(),
        };
        if tasks.is_empty() && self.open == 0 {
            tasks = self.next_stage(place, options);
            self.done = tasks.is_empty();
        }
        self.elapsed_ms = milliseconds(begun);
        self.jobs(tasks)
    }

    /// Controls say nothing of what gets across.
    fn observe(&mut self, place: &Place, task: &Task, run: &Run, spoiler: Option<Item>) {
        let arch = place.config.arch.as_str();
        let items = match task {
            Task::Bare(Way::Across(_)) => &[][..],
            Task::Trial { trial, .. } if matches!(trial.way, Way::Across(_)) => &trial.items,
            _ => return,
        };
        let devices = self.union(&but(items, spoiler)).devices;
        self.observed.push(Observed {
            sections: run.sent.iter().cloned().collect(),
            passed: run.attempt.outcome == Outcome::Pass,
            types: devices.iter().map(|d| d.driver(arch).to_owned()).collect(),
        });
    }

    /// Keeps what was sent, to be compared with what the other build sends of the same devices. Of a
    /// pack that failed its parts are waited for.
    fn keep(&mut self, task: &Task, run: &Run, stream: &Arc<Stream>, spoiler: Option<Item>) {
        let passed = run.attempt.outcome == Outcome::Pass;
        let (way, all) = match task {
            Task::Bare(way) => (*way, &[][..]),
            Task::Trial { stage, trial, .. }
                if *stage == Stage::Across && (passed || trial.items.len() == 1) =>
            {
                (trial.way, trial.items.as_slice())
            }
            _ => return,
        };
        if let Way::Across(direction) = way {
            let half = Half {
                direction,
                stream: Arc::clone(stream),
                passed,
                items: all.len(),
            };
            self.pairing.keep(&but(all, spoiler), half);
        }
    }

    /// A bare machine that does not get across is controlled at once.
    fn bare(&mut self, place: &Place, way: Way, run: Arc<Run>) -> Vec<Task> {
        let surveyed = run.attempt.buses.clone();
        let refused = || Err(run.refusal(&place.config.old));
        self.buses
            .get_or_insert_with(|| surveyed.unwrap_or_else(refused));
        let mut tasks = Vec::new();
        if let Way::Across(direction) = way
            && run.attempt.failed()
        {
            tasks.push(Task::Bypass(direction, Arc::clone(&run)));
            let failed_before = self.bare.values().any(|run| run.attempt.failed());
            if !failed_before {
                tasks.extend(CONTROLS.map(Task::Bare));
            }
        }
        self.bare.insert(way, run);
        tasks
    }

    /// What guests need on a way.
    fn graft(&self, way: Way) -> Option<Arc<SectionOverride>> {
        match way {
            Way::Across(direction) => self.grafts.get(&direction).cloned(),
            Way::OldToOld | Way::NewToNew => None,
        }
    }

    fn tried(
        &mut self,
        place: &Place,
        stage: Stage,
        trial: &Trial,
        run: Arc<Run>,
        spoiled: Option<SingleCulprit>,
    ) -> Vec<Task> {
        let mut doubtful = || {
            let doubtful = self.doubted(place, &run, trial);
            if let Way::Across(direction) = trial.way {
                let back = Way::Across(direction.reversed());
                let items = doubtful.iter().map(|&item| (back, item));
                self.foreseen.extend(items);
            }
            doubtful
        };
        let answer = match (run.attempt.outcome, spoiled) {
            (_, Some(SingleCulprit { by, others })) => Answer::Sole {
                doubtful: doubtful(),
                failed: run,
                culprit: by,
                others,
            },
            (Outcome::Pass, None) => {
                let doubtful = doubtful();
                Answer::Passed(run, doubtful)
            }
            (Outcome::Skip, None) => {
                let named = self.refused(&run, &trial.items);
                Answer::Refused(run, named)
            }
            (_, None) => {
                let suspect = self.suspect(place, &run, &trial.items);
                Answer::Failed(run, suspect)
            }
        };
        let search = match stage {
            Stage::Across => &mut self.search,
            Stage::Control => &mut self.controls,
        };
        let trials = search
            .as_mut()
            .map_or_else(Vec::new, |search| search.told(trial, answer));
        self.tasks(stage, trials)
    }

    fn tasks(&self, stage: Stage, trials: Vec<Trial>) -> Vec<Task> {
        trials
            .into_iter()
            .map(|trial| Task::Trial {
                stage,
                returns: stage == Stage::Across
                    && self.search.as_ref().is_some_and(|s| s.returns(trial.way)),
                set: self.union(&trial.items),
                graft: self.graft(trial.way),
                expected: match (stage, trial.way, trial.items.as_slice()) {
                    (Stage::Across, Way::Across(direction), &[item]) => {
                        self.pairing.across(item, direction)
                    }
                    _ => None,
                },
                trial,
            })
            .collect()
    }

    /// The devices of some items, in one guest.
    pub fn union(&self, items: &[Item]) -> DeviceSet {
        let sets = items
            .iter()
            .map(|&item| &self.catalogue.candidates[item].set);
        DeviceSet::union("pack", sets)
    }

    /// Of a culprit, the pack that failed in the same place before it was tried alone.
    pub fn before(&self, way: Way, item: Item) -> Option<&Run> {
        let search = self.search.as_ref()?;
        let pack = search.pointed_at(way, item)?;
        let Some(Verdict::Culprit(alone)) = search.verdicts().get(&(way, item)) else {
            return None;
        };
        let place = |run: &Run| {
            let cause = run.attempt.cause.as_ref()?;
            // Which field it was, only a guest of its own is asked.
            let section = cause.section.as_ref().map(SectionName::as_str);
            let section = section.or(cause.field.as_deref());
            Some((
                run.attempt.outcome,
                section.map(|name| SectionName::new(name).vmsd_name().to_owned()),
            ))
        };
        (place(pack) == place(alone)).then_some(pack)
    }

    fn is_foretold(&self, place: &Place, way: Way, item: Item) -> bool {
        let set = &self.catalogue.candidates[item].set;
        match way {
            Way::Across(direction) => {
                let arch = &place.config.arch;
                place.forecast.is_against(set, arch, direction)
            }
            Way::OldToOld | Way::NewToNew => false,
        }
    }

    /// Of a culprit, the device that it needs and that is a culprit itself: there the cause is.
    pub fn hangs_on(&self, place: &Place, way: Way, item: Item) -> Option<&str> {
        let search = self.search.as_ref()?;
        let candidates = &self.catalogue.candidates;
        candidates[item].needs(&place.config.arch).find_map(|need| {
            let needed = self.catalogue.find(need)?;
            let verdict = search.verdicts().get(&(way, needed))?;
            let culprit = needed != item && matches!(verdict, Verdict::Culprit(_));
            culprit.then(|| candidates[needed].driver.as_str())
        })
    }

    /// What came of an item's control, if it had one.
    pub fn control(&self, way: Way, item: Item) -> Option<&Run> {
        let verdict = self.controls.as_ref()?.verdicts().get(&(way, item))?;
        Some(match verdict {
            Verdict::Passed(run) | Verdict::Refused(run) | Verdict::Culprit(run) => run,
        })
    }

    /// What fails only together, in a stable order.
    pub fn together(&self) -> Vec<&Together<Arc<Run>>> {
        self.search.as_ref().map_or_else(Vec::new, Search::together)
    }
}
