//! One machine, from its first question to its last control.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::assessment::Sent;
use super::cases::{family, ids};
use super::catalogue::{Catalogue, Only};
use super::pack::pack;
use super::place::Place;
use super::shard::Shard;
use super::split::{Answer, Item, Search, Together, Trial, Verdict, Way};
use crate::live::attempt::Attempt;
use crate::live::buses::Buses;
use crate::live::case::milliseconds;
use crate::live::coverage::{Observed, SentSection};
use crate::live::devices::{Device, DeviceSet};
use crate::live::pool::Job;
use crate::live::vm::{Party, Recipe};
use crate::model::{Direction, Outcome};
use crate::stream::Stream;
use crate::stream::graft::Graft;

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

/// Something to do on one machine.
#[derive(Debug)]
pub(super) enum Task {
    /// Ask for the buses of the bare machine.
    Buses,
    /// Move the machine without any device.
    Bare(Way),
    /// Look for what it takes to get a machine across that does not.
    Bypass(Direction, Arc<Run>),
    /// Move a pack, and split it if it fails.
    Trial {
        stage: Stage,
        trial: Trial,
        set: DeviceSet,
        graft: Option<Arc<Graft>>,
    },
    /// Control what fails only together.
    Whole { at: usize, way: Way, set: DeviceSet },
    /// Move what failed alone once more: does it every time?
    Again {
        item: Item,
        way: Way,
        set: DeviceSet,
        graft: Option<Arc<Graft>>,
    },
}

impl Task {
    fn way(&self) -> Option<Way> {
        match self {
            Task::Buses => None,
            Task::Bypass(direction, _) => Some(Way::Across(*direction)),
            Task::Bare(way) | Task::Whole { way, .. } | Task::Again { way, .. } => Some(*way),
            Task::Trial { trial, .. } => Some(trial.way),
        }
    }

    fn set(&self) -> Option<&DeviceSet> {
        match self {
            Task::Buses | Task::Bare(_) | Task::Bypass(..) => None,
            Task::Trial { set, .. } | Task::Whole { set, .. } | Task::Again { set, .. } => {
                Some(set)
            }
        }
    }

    fn graft(&self) -> Option<&Arc<Graft>> {
        match self {
            Task::Trial { graft, .. } | Task::Again { graft, .. } => graft.as_ref(),
            _ => None,
        }
    }

    /// How many device types share the guest.
    fn shared_by(&self) -> usize {
        match self {
            Task::Trial { trial, .. } => trial.items.len(),
            _ => 1,
        }
    }

    /// Whether a failure of this is one of nothing else, so that it is worth an explanation.
    fn is_alone(&self) -> bool {
        match self {
            Task::Bare(Way::Across(_)) => true,
            Task::Trial { stage, trial, .. } => *stage == Stage::Across && trial.items.len() == 1,
            _ => false,
        }
    }
}

/// Which of the two searches a trial is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Between the builds.
    Across,
    /// The culprits from each build to itself.
    Control,
}

/// What came of a task.
#[derive(Debug)]
pub(super) enum Came {
    Buses(Result<Buses, String>),
    /// What the first build sent, too, where it got that far.
    Moved(Arc<Run>, Option<Arc<Stream>>),
    Bypassed(Option<Arc<Graft>>),
}

/// A guest that moved, or did not.
#[derive(Debug)]
pub(super) struct Run {
    pub attempt: Attempt,
    pub elapsed_ms: u64,
    /// How many device types shared it.
    pub shared_by: usize,
    /// What the source sent; the streams themselves are not kept.
    pub sent: BTreeSet<SentSection>,
}

impl Run {
    /// Why it was not moved at all, in the words of the old build if that was it.
    pub fn refusal(&self, old: &Party) -> String {
        let refusals = &self.attempt.refusals;
        let label = old.build.label();
        let first = refusals.iter().find(|(of, _)| of == label);
        match first.or(refusals.first()) {
            Some((label, words)) => format!("{label} does not start with it: {words}"),
            None => {
                let cause = self.attempt.cause.as_ref();
                cause.map_or_else(String::new, |cause| cause.message.clone())
            }
        }
    }
}

/// From where to where.
pub(super) fn route(place: &Place, way: Way) -> (Vec<&Party>, Direction) {
    let (old, new) = (&place.bench.old, &place.bench.new);
    match way {
        Way::Across(direction) => {
            let (from, to) = direction.source_destination(old, new);
            (vec![from, to], direction)
        }
        Way::OldToOld => (vec![old, old], Direction::Forward),
        Way::NewToNew => (vec![new, new], Direction::Forward),
    }
}

/// Does what is to be done, on a worker.
pub(super) async fn perform(place: &Place, task: &Task) -> Came {
    let bench = &place.bench;
    let Some(way) = task.way() else {
        return Came::Buses(bench.buses().await);
    };
    let begun = Instant::now();
    let args = task.set().map(|set| bench.compose(set).args);
    let recipe = Recipe {
        graft: task.graft().cloned(),
        ..bench.recipe(args.unwrap_or_default())
    };
    let (route, direction) = route(place, way);
    if let Task::Bypass(_, failed) = task {
        let bypass = bench.bypass(&route, &recipe, direction, &failed.attempt);
        return Came::Bypassed(bypass.await);
    }
    let mut attempt = bench.attempt(&route, &recipe, direction, &|_| {}).await;
    let streams = [&attempt.state.first, &attempt.state.refused];
    let vmdescs = streams.into_iter().flatten().filter_map(Stream::vmdesc);
    let sent = vmdescs
        .flat_map(|vmdesc| SentSection::all(vmdesc))
        .collect();
    if task.is_alone() {
        bench.explain(&mut attempt, &recipe, &route).await;
    }
    let first = attempt.state.first.take().map(Arc::new);
    // A stream that nobody looks at any more is not kept.
    attempt.state.refused = None;
    let run = Run {
        sent,
        attempt,
        elapsed_ms: milliseconds(begun),
        shared_by: task.shared_by(),
    };
    Came::Moved(Arc::new(run), first)
}

/// One of the two streams of a guest: what its direction's source sent.
#[derive(Debug, Clone)]
struct Half {
    direction: Direction,
    stream: Arc<Stream>,
    passed: bool,
}

/// The state of a machine's sweep.
#[derive(Debug)]
pub(super) struct Visit {
    begun: Option<Instant>,
    pub elapsed_ms: u64,
    pub guests: usize,
    /// Tasks that are under way.
    open: usize,
    pub buses: Option<Result<Buses, String>>,
    pub bare: BTreeMap<Way, Arc<Run>>,
    /// What gets a machine across that does not get there by itself.
    pub grafts: BTreeMap<Direction, Arc<Graft>>,
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
    /// What one build sent of a guest that the other one has not sent yet.
    lone: BTreeMap<Vec<Item>, Half>,
    /// What both sent, until somebody asks for it.
    both: Vec<(Half, Half)>,
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

impl Visit {
    pub fn begin(options: &Options) -> (Visit, Vec<Job<Task>>) {
        let ways = options.directions.iter().copied().map(Way::Across);
        let tasks: Vec<Task> = std::iter::once(Task::Buses)
            .chain(ways.map(Task::Bare))
            .collect();
        let mut visit = Visit {
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
            lone: BTreeMap::new(),
            both: Vec::new(),
            done: false,
        };
        let jobs = visit.jobs(tasks);
        (visit, jobs)
    }

    fn jobs(&mut self, tasks: Vec<Task>) -> Vec<Job<Task>> {
        self.open += tasks.len();
        let guests = tasks.iter().filter(|task| !matches!(task, Task::Buses));
        self.guests += guests.count();
        let job = |job: Task| Job {
            weight: match &job {
                Task::Buses | Task::Bare(_) | Task::Bypass(..) => FIRST,
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
        came: Came,
    ) -> Vec<Job<Task>> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        self.open -= 1;
        if let Came::Moved(run, sent) = &came {
            self.observe(place, &task, run);
            if let Some(sent) = sent {
                self.keep(&task, run, sent);
            }
        }
        let mut tasks = match (task, came) {
            (_, Came::Buses(buses)) => {
                self.buses = Some(buses);
                Vec::new()
            }
            (Task::Bare(way), Came::Moved(run, _)) => self.bare(way, run),
            (Task::Trial { stage, trial, .. }, Came::Moved(run, _)) => {
                self.tried(place, stage, &trial, run)
            }
            (Task::Whole { at, way, .. }, Came::Moved(run, _)) => {
                self.whole.insert((at, way), run);
                Vec::new()
            }
            (Task::Again { item, way, .. }, Came::Moved(run, _)) => {
                self.again.insert((way, item), run);
                Vec::new()
            }
            (Task::Bypass(direction, _), Came::Bypassed(Some(graft))) => {
                self.grafts.insert(direction, graft);
                Vec::new()
            }
            (_, Came::Bypassed(_)) | (Task::Buses | Task::Bypass(..), _) => Vec::new(),
        };
        if tasks.is_empty() && self.open == 0 {
            tasks = self.next_stage(place, options);
            self.done = tasks.is_empty();
        }
        self.elapsed_ms = milliseconds(begun);
        self.jobs(tasks)
    }

    /// Controls say nothing of what gets across.
    fn observe(&mut self, place: &Place, task: &Task, run: &Run) {
        let arch = place.bench.arch.as_str();
        let devices = match task {
            Task::Bare(Way::Across(_)) => &[][..],
            Task::Trial { trial, set, .. } if matches!(trial.way, Way::Across(_)) => &set.devices,
            _ => return,
        };
        self.observed.push(Observed {
            sections: run.sent.iter().cloned().collect(),
            passed: run.attempt.outcome == Outcome::Pass,
            types: devices.iter().map(|d| d.driver(arch).to_owned()).collect(),
        });
    }

    /// Waits for what the other build sends of the same guest, to compare the two.
    fn keep(&mut self, task: &Task, run: &Run, stream: &Arc<Stream>) {
        let (direction, items) = match task {
            Task::Bare(Way::Across(direction)) => (*direction, Vec::new()),
            Task::Trial { stage, trial, .. } if *stage == Stage::Across => match trial.way {
                Way::Across(direction) => (direction, trial.items.clone()),
                _ => return,
            },
            _ => return,
        };
        let half = Half {
            direction,
            stream: Arc::clone(stream),
            passed: run.attempt.outcome == Outcome::Pass,
        };
        match self.lone.remove(&items) {
            Some(other) if other.direction != direction => self.both.push((half, other)),
            _ => {
                self.lone.insert(items, half);
            }
        }
    }

    /// Tells of the guests that both builds have sent by now, of each once.
    pub fn sent(&mut self, mut told: impl FnMut(Sent)) {
        for (one, other) in self.both.drain(..) {
            let survived = [&one, &other].into_iter().filter(|half| half.passed);
            let survived: Vec<Direction> = survived.map(|half| half.direction).collect();
            let (from_old, from_new) = match one.direction {
                Direction::Forward => (&one, &other),
                Direction::Backward => (&other, &one),
            };
            told(Sent {
                old: &from_old.stream,
                new: &from_new.stream,
                survived: &survived,
            });
        }
    }

    /// A bare machine that does not get across is controlled at once.
    fn bare(&mut self, way: Way, run: Arc<Run>) -> Vec<Task> {
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
    fn graft(&self, way: Way) -> Option<Arc<Graft>> {
        match way {
            Way::Across(direction) => self.grafts.get(&direction).cloned(),
            Way::OldToOld | Way::NewToNew => None,
        }
    }

    fn tried(&mut self, place: &Place, stage: Stage, trial: &Trial, run: Arc<Run>) -> Vec<Task> {
        let answer = match run.attempt.outcome {
            Outcome::Pass => Answer::Passed(run),
            Outcome::Skip => {
                let named = self.refused(&run, &trial.items);
                Answer::Refused(run, named)
            }
            _ => {
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

    /// Whose section it was that failed: by its place on the root bus, or by its name.
    fn suspect(&self, place: &Place, run: &Run, items: &[Item]) -> Option<Item> {
        let arch = place.bench.arch.as_str();
        let section = || {
            let cause = run.attempt.cause.as_ref()?;
            // Of memory that differs, only what it is called is known.
            cause.section.as_deref().or(cause.field.as_deref())
        };
        let name = section().map(|section| section.rsplit('/').next().unwrap_or(section));
        let dumps = [&place.bench.old.dump, &place.bench.new.dump];
        let sends = |driver: &str, name: &str| {
            let mut known = dumps
                .iter()
                .filter_map(|dump| dump.as_ref()?.section(driver));
            known.any(|section| section.description.name == name)
        };
        let fits = |device: &Device| match &run.attempt.suspect {
            Some(id) => device.id == *id,
            None => name.is_some_and(|name| {
                let driver = device.driver(arch);
                sends(driver, name) || is_named_after(name, driver)
            }),
        };
        let devices = |item: Item| &self.catalogue.candidates[item].set.devices;
        let has = |item: &&Item| devices(**item).iter().any(fits);
        // Of all that hang on a controller, the controller itself.
        let needs = |item: &&Item| devices(**item).len();
        items.iter().filter(has).min_by_key(needs).copied()
    }

    /// Whom a build that does not start names: `-device e1000,id=e1000: ...`
    fn refused(&self, run: &Run, items: &[Item]) -> Option<Item> {
        let (_, words) = run.attempt.refusals.first()?;
        let named = words
            .split([',', ':', ' '])
            .find_map(|part| part.strip_prefix("id="))?;
        let target = |item: &&Item| {
            let devices = &self.catalogue.candidates[**item].set.devices;
            devices.last().is_some_and(|device| device.id == named)
        };
        items.iter().find(target).copied()
    }

    fn tasks(&self, stage: Stage, trials: Vec<Trial>) -> Vec<Task> {
        trials
            .into_iter()
            .map(|trial| Task::Trial {
                stage,
                set: self.union(&trial.items),
                graft: self.graft(trial.way),
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

    /// When all that was asked for is known: the search, then its controls, then nothing.
    fn next_stage(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        if self.search.is_none() {
            return self.begin_search(place, options);
        }
        if self.controls.is_none() {
            return self.begin_controls(place, options);
        }
        Vec::new()
    }

    fn begin_search(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        let Some(Ok(buses)) = &self.buses else {
            return Vec::new();
        };
        self.catalogue = Catalogue::of(&place.bench, buses, &place.properties, &options.only);
        let ways: Vec<Way> = options
            .directions
            .iter()
            .map(|&direction| Way::Across(direction))
            .filter(|&way| {
                let bare = self.bare.get(&way);
                bare.is_some_and(|run| run.attempt.outcome == Outcome::Pass)
                    || self.graft(way).is_some()
            })
            .collect();
        self.planned = ids(place, &self.catalogue, &options.directions);
        let all = self.share(place, options.shard);
        // What is bound to fail would only have its neighbours tried again.
        let foretold = all.iter().copied();
        let foretold = foretold.filter(|&item| self.is_foretold(place, item));
        let packs = self.packs(place, options, &all, &foretold.collect());
        let (search, trials) = Search::new(&packs, &ways);
        self.search = Some(search);
        let tasks = self.tasks(Stage::Across, trials);
        if tasks.is_empty() {
            return self.begin_controls(place, options);
        }
        tasks
    }

    /// What this run has to try: the devices of its cases, and what they need.
    fn share(&mut self, place: &Place, shard: Option<Shard>) -> Vec<Item> {
        let arch = place.bench.arch.as_str();
        let candidates = &self.catalogue.candidates;
        let holds = |item: &Item| {
            let family = family(place, &candidates[*item].driver);
            shard.is_none_or(|shard| shard.holds(&family))
        };
        self.held = (0..candidates.len()).filter(holds).collect();
        let mut tried = self.held.clone();
        for &item in &self.held {
            let needed = candidates[item].needs(arch).filter_map(|need| {
                candidates
                    .iter()
                    .position(|candidate| candidate.driver == need)
            });
            tried.extend(needed);
        }
        tried.into_iter().collect()
    }

    /// Items in guests; some in one of their own.
    fn packs(
        &self,
        place: &Place,
        options: &Options,
        items: &[Item],
        alone: &BTreeSet<Item>,
    ) -> Vec<Vec<Item>> {
        match options.packing {
            Packing::OneByOne => items.iter().map(|&item| vec![item]).collect(),
            Packing::Packed => {
                let (drivers, arch) = (place.bench.old.drivers.as_ref(), &place.bench.arch);
                let rest = items.iter().filter(|item| !alone.contains(item));
                let rest: Vec<Item> = rest.copied().collect();
                let mut packs = pack(&self.catalogue.candidates, &rest, drivers, arch);
                packs.extend(alone.iter().map(|&item| vec![item]));
                packs
            }
        }
    }

    /// Every culprit from each build to itself; those that only hang on one are its business.
    fn begin_controls(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        let Some(search) = &self.search else {
            return Vec::new();
        };
        // What crashes on the way across tends to crash at home: it would spoil the others' control.
        let mut apart = BTreeSet::new();
        let mut alike = BTreeSet::new();
        let mut again = Vec::new();
        for (&(way, item), verdict) in search.verdicts() {
            if let Verdict::Culprit(run) = verdict
                && self.hangs_on(place, way, item).is_none()
            {
                // What the dumps foretold is no accident.
                if !self.is_foretold(place, item) {
                    again.push((way, item));
                }
                match run.attempt.outcome {
                    Outcome::Fail | Outcome::Lost => alike.insert(item),
                    _ => apart.insert(item),
                };
            }
        }
        let alike: Vec<Item> = alike.difference(&apart).copied().collect();
        let together = search.together();
        let whole: Vec<(usize, Vec<Item>)> = together
            .iter()
            .enumerate()
            .map(|(at, together)| (at, together.items.clone()))
            .collect();
        let mut packs = self.packs(place, options, &alike, &BTreeSet::new());
        packs.extend(apart.into_iter().map(|item| vec![item]));
        let (controls, trials) = Search::new(&packs, &CONTROLS);
        self.controls = Some(controls);
        let mut tasks = self.tasks(Stage::Control, trials);
        for (at, items) in whole {
            let set = self.union(&items);
            tasks.extend(CONTROLS.map(|way| Task::Whole {
                at,
                way,
                set: set.clone(),
            }));
        }
        tasks.extend(again.into_iter().map(|(way, item)| Task::Again {
            item,
            way,
            set: self.union(&[item]),
            graft: self.graft(way),
        }));
        tasks
    }

    fn is_foretold(&self, place: &Place, item: Item) -> bool {
        let set = &self.catalogue.candidates[item].set;
        place.forecast.is_against(set, &place.bench.arch)
    }

    /// Of a culprit, the device that it needs and that is a culprit itself: there the cause is.
    pub fn hangs_on(&self, place: &Place, way: Way, item: Item) -> Option<&str> {
        let search = self.search.as_ref()?;
        let candidates = &self.catalogue.candidates;
        candidates[item].needs(&place.bench.arch).find_map(|need| {
            let needed = candidates.iter().position(|c| c.driver == need)?;
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

/// Whether a description in a stream, or a block of memory, may be a driver's: `vga-isa` is that of
/// `isa-vga`, `vmclock_page` is of `vmclock`. A guess: it says what is tried first, never what is
/// concluded.
fn is_named_after(description: &str, driver: &str) -> bool {
    let words = |name: &str| -> BTreeSet<String> {
        let parts = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
        parts.map(str::to_lowercase).collect()
    };
    let (described, driver) = (words(description), words(driver));
    let (fewer, more) = match described.len() <= driver.len() {
        true => (&described, &driver),
        false => (&driver, &described),
    };
    !fewer.is_empty() && fewer.is_subset(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_points_at_a_driver() {
        for (description, driver, fits) in [
            ("ipmi-bmc-sim", "ipmi-bmc-sim", true),
            ("vga-isa", "isa-vga", true),
            ("uefi-vars", "uefi-vars-x64", true),
            ("vmclock_page", "vmclock", true),
            ("uefi-vars-sysbus", "uefi-vars-x64", false),
            ("ES1370", "es1370", true),
            ("vga", "e1000", false),
            ("", "e1000", false),
        ] {
            assert_eq!(is_named_after(description, driver), fits, "{description}");
        }
    }
}
