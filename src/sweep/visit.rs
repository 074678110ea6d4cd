//! One machine, from its first question to its last control.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::cases::{family, ids};
use super::catalogue::{Catalogue, Only};
use super::pack::pack;
use super::pairing::{Half, Pairing, beside, own};
use super::place::Place;
use super::rom;
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
use crate::stream::explain;
use crate::stream::fidelity::to_be_filled;
use crate::stream::graft::Graft;
use crate::vmstate::renames::NoRenames;

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
    /// Move the machine without any device, and ask what one could be plugged into.
    Bare(Way),
    /// Look for what it takes to get a machine across that does not.
    Bypass(Direction, Arc<Run>),
    /// Move a pack, and split it if it fails.
    Trial {
        stage: Stage,
        trial: Trial,
        set: DeviceSet,
        graft: Option<Arc<Graft>>,
        /// What arrives is to tell who is bound to fail on the way back.
        returns: bool,
        /// What the build that is to take it sent of the same devices.
        expected: Option<Arc<Stream>>,
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
    fn way(&self) -> Way {
        match self {
            Task::Bypass(direction, _) => Way::Across(*direction),
            Task::Bare(way) | Task::Whole { way, .. } | Task::Again { way, .. } => *way,
            Task::Trial { trial, .. } => trial.way,
        }
    }

    fn set(&self) -> Option<&DeviceSet> {
        match self {
            Task::Bare(_) | Task::Bypass(..) => None,
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
    /// Names of sections that the source is to be expected to refuse on the way back.
    pub doubtful: BTreeSet<String>,
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

/// A guest that came through but for one of its devices.
#[derive(Debug)]
struct Spoiled {
    by: Item,
    /// What it came to for the others.
    others: Arc<Run>,
}

/// All but one.
fn but(items: &[Item], without: Option<Item>) -> Vec<Item> {
    let items = items.iter().copied();
    items.filter(|item| Some(*item) != without).collect()
}

/// Whether what is wrong with one device alone accounts for what was with many.
fn accounts(pack: &Arc<Run>, alone: &Arc<Run>) -> bool {
    let names = |run: &Run| -> Option<BTreeSet<String>> {
        let wrong = run.attempt.wrong.iter().flatten();
        let names = wrong.map(|name| own(name).to_owned()).collect();
        run.attempt.wrong.is_some().then_some(names)
    };
    match (names(pack), names(alone)) {
        (Some(pack), Some(alone)) => pack.is_subset(&alone),
        _ => false,
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
    let way = task.way();
    let begun = Instant::now();
    let args = task.set().map(|set| bench.compose(set).args);
    let recipe = Recipe {
        graft: task.graft().cloned(),
        survey: matches!(task, Task::Bare(_)),
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
        let expected = match (task, &attempt.state.refused) {
            (
                Task::Trial {
                    expected: Some(more),
                    ..
                },
                Some(refused),
            ) => Some(beside(more, refused)),
            _ => None,
        };
        bench.explain(&mut attempt, &recipe, &route, expected).await;
    }
    // A stream that nobody looks at any more is not kept.
    let state = &mut attempt.state;
    state.refused = None;
    let (first, arrived) = (state.first.take(), state.arrived.take());
    let doubtful = match (&first, &arrived, task) {
        (Some(first), Some(arrived), Task::Trial { returns: true, .. }) => {
            doubtful(place, direction, first, arrived)
        }
        _ => BTreeSet::new(),
    };
    let run = Run {
        sent,
        doubtful,
        attempt,
        elapsed_ms: milliseconds(begun),
        shared_by: task.shared_by(),
    };
    Came::Moved(Arc::new(run), first.map(Arc::new))
}

/// Of what `arrived` at the destination, the sections that the build which sent it first would refuse if
/// it came back, or for which it would get filler.
fn doubtful(
    place: &Place,
    direction: Direction,
    first: &Stream,
    arrived: &Stream,
) -> BTreeSet<String> {
    let back = direction.reversed();
    let source = direction
        .source_destination(&place.bench.old, &place.bench.new)
        .0;
    let expected = (first, source.dump.as_deref());
    let refused = explain::doubtful(arrived, expected, &NoRenames, back);
    let refused = refused.into_iter().map(|section| section.name.clone());
    let filled = to_be_filled(arrived, first, place.bench.names.of_leg(back));
    let filled = filled.into_iter().map(|filling| filling.section);
    refused.chain(filled).collect()
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

impl Visit {
    pub fn begin(options: &Options) -> (Visit, Vec<Job<Task>>) {
        let ways = options.directions.iter().copied().map(Way::Across);
        let tasks: Vec<Task> = ways.map(Task::Bare).collect();
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
        came: Came,
    ) -> Vec<Job<Task>> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        self.open -= 1;
        let mut spoiled = None;
        if let Came::Moved(run, sent) = &came {
            spoiled = self.spoiled(place, &task, run);
            // What is to be learned of the one that spoiled it, its own guest shows.
            let (run, spoiler) = match &spoiled {
                Some(Spoiled { by, others }) => (others, Some(*by)),
                None => (run, None),
            };
            self.observe(place, &task, run, spoiler);
            if let Some(sent) = sent {
                self.keep(&task, run, sent, spoiler);
            }
        }
        let mut tasks = match (task, came) {
            (Task::Bare(way), Came::Moved(run, _)) => self.bare(place, way, run),
            (Task::Trial { stage, trial, .. }, Came::Moved(run, _)) => {
                self.tried(place, stage, &trial, run, spoiled)
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
            (_, Came::Bypassed(_)) | (Task::Bypass(..), _) => Vec::new(),
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
        let arch = place.bench.arch.as_str();
        let set = match task {
            Task::Bare(Way::Across(_)) => DeviceSet::union("pack", []),
            Task::Trial { trial, .. } if matches!(trial.way, Way::Across(_)) => {
                self.union(&but(&trial.items, spoiler))
            }
            _ => return,
        };
        let devices = &set.devices;
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
        let refused = || Err(run.refusal(&place.bench.old));
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
    fn graft(&self, way: Way) -> Option<Arc<Graft>> {
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
        spoiled: Option<Spoiled>,
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
            (_, Some(Spoiled { by, others })) => Answer::Sole {
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

    /// Whose alone everything was that did not arrive, and what the guest came to without that.
    fn spoiled(&self, place: &Place, task: &Task, run: &Run) -> Option<Spoiled> {
        let Task::Trial { trial, .. } = task else {
            return None;
        };
        let arch = place.bench.arch.as_str();
        let wrong = run
            .attempt
            .wrong
            .as_ref()
            .filter(|_| trial.items.len() > 1)?;
        let fits = |item: &Item, name: &str| {
            let devices = &self.catalogue.candidates[*item].set.devices;
            let mut drivers = devices.iter().map(|device| device.driver(arch));
            drivers.any(|driver| place.may_send(driver, own(name)))
        };
        let owners = wrong.iter().map(|name| {
            let mut owners = trial.items.iter().filter(|item| fits(item, name));
            owners.next().filter(|_| owners.next().is_none())
        });
        let owners: Option<BTreeSet<Item>> = owners.map(Option::<&Item>::copied).collect();
        let owners = owners?;
        let by = owners.first().copied().filter(|_| owners.len() == 1)?;
        let arrived = |section: &&SentSection| !fits(&by, &section.vmsd_name);
        let mut attempt = run.attempt.clone();
        attempt.outcome = Outcome::Pass;
        attempt.cause = None;
        attempt.state.diffs.clear();
        for leg in &mut attempt.legs {
            leg.outcome = Outcome::Pass;
        }
        let others = Arc::new(Run {
            attempt,
            elapsed_ms: run.elapsed_ms,
            shared_by: run.shared_by,
            sent: run.sent.iter().filter(arrived).cloned().collect(),
            doubtful: run.doubtful.clone(),
        });
        Some(Spoiled { by, others })
    }

    /// Whose section it was that failed: by its place on the root bus, or by its name.
    fn suspect(&self, place: &Place, run: &Run, items: &[Item]) -> Option<Item> {
        let arch = place.bench.arch.as_str();
        let section = || {
            let cause = run.attempt.cause.as_ref()?;
            // Of memory that differs, only what it is called is known.
            cause.section.as_deref().or(cause.field.as_deref())
        };
        let fits = |device: &Device| match &run.attempt.suspect {
            Some(id) => device.id == *id,
            None => {
                section().is_some_and(|section| place.may_send(device.driver(arch), own(section)))
            }
        };
        let devices = |item: Item| &self.catalogue.candidates[item].set.devices;
        let has = |item: &&Item| devices(**item).iter().any(fits);
        // Of all that hang on a controller, the controller itself.
        let needs = |item: &&Item| devices(**item).len();
        let found = items.iter().filter(has).min_by_key(needs).copied();
        found.or_else(|| self.lacks_rom(arch, run, items))
    }

    /// Whose ROM it may be that a build did not find.
    fn lacks_rom(&self, arch: &str, run: &Run, items: &[Item]) -> Option<Item> {
        let rom = rom::missing(&run.attempt.cause.as_ref()?.message)?;
        let like = items.iter().filter_map(|&item| {
            let devices = &self.catalogue.candidates[item].set.devices;
            let driver = devices.last()?.driver(arch);
            Some((rom::likeness(rom, driver)?, Reverse(driver.len()), item))
        });
        like.max().map(|(.., item)| item)
    }

    /// Whose sections are to be expected to be refused on the way back.
    fn doubted(&self, place: &Place, run: &Run, trial: &Trial) -> BTreeSet<Item> {
        let arch = place.bench.arch.as_str();
        let sends = |device: &Device| {
            let mut names = run.doubtful.iter();
            names.any(|section| place.may_send(device.driver(arch), own(section)))
        };
        let devices = |item: Item| &self.catalogue.candidates[item].set.devices;
        let has = |item: Item| devices(item).iter().any(sends);
        let back = match trial.way {
            Way::Across(direction) => Way::Across(direction.reversed()),
            at_home => at_home,
        };
        let items = trial.items.iter().copied();
        items
            .filter(|&item| has(item) || self.is_foretold(place, back, item))
            .collect()
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
        // Who is bound to fail on the way back alone still goes there with the others.
        let at_once = match ways.as_slice() {
            [there, _] => std::slice::from_ref(there),
            ways => ways,
        };
        let foretold = foretold.filter(|&item| {
            at_once
                .iter()
                .any(|&way| self.is_foretold(place, way, item))
        });
        let packs = self.packs(place, options, &all, &foretold.collect());
        let (search, trials) = match ways.as_slice() {
            &[there, back] => Search::there_and_back(&packs, there, back),
            ways => Search::new(&packs, ways),
        };
        let search = search.with_likeness(accounts);
        // One by one, every device is tried whatever is known.
        self.search = Some(match options.packing {
            Packing::Packed => search.with_needs(self.needs(&place.bench.arch)),
            Packing::OneByOne => search,
        });
        let tasks = self.tasks(Stage::Across, trials);
        if tasks.is_empty() {
            return self.begin_controls(place, options);
        }
        tasks
    }

    /// Which candidates need which others.
    fn needs(&self, arch: &str) -> BTreeMap<Item, Vec<Item>> {
        let candidates = &self.catalogue.candidates;
        let at = |driver: &str| candidates.iter().position(|c| c.driver == driver);
        let needs = candidates
            .iter()
            .map(|c| c.needs(arch).filter_map(at).collect());
        (0..).zip(needs).collect()
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
        // So does what fails either way for no reason that was known before.
        let mut apart = BTreeSet::new();
        let mut alike = BTreeSet::new();
        let mut ways: BTreeMap<Item, usize> = BTreeMap::new();
        let mut again = Vec::new();
        for (&(way, item), verdict) in search.verdicts() {
            if let Verdict::Culprit(run) = verdict
                && self.hangs_on(place, way, item).is_none()
            {
                // What was foretold is no accident, and what spoiled a pack before is none either.
                let foretold =
                    self.is_foretold(place, way, item) || self.foreseen.contains(&(way, item));
                if !foretold && self.before(way, item).is_none() {
                    again.push((way, item));
                }
                let failed = ways.entry(item).or_default();
                *failed += usize::from(!foretold);
                match run.attempt.outcome {
                    Outcome::Fail | Outcome::Lost if *failed < 2 => alike.insert(item),
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
        self.controls = Some(controls.with_likeness(accounts));
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
            let section = cause.section.as_deref().or(cause.field.as_deref());
            Some((
                run.attempt.outcome,
                section.map(|name| own(name).to_owned()),
            ))
        };
        (place(pack) == place(alone)).then_some(pack)
    }

    fn is_foretold(&self, place: &Place, way: Way, item: Item) -> bool {
        let set = &self.catalogue.candidates[item].set;
        match way {
            Way::Across(direction) => {
                let arch = &place.bench.arch;
                place.forecast.is_against(set, arch, direction)
            }
            Way::OldToOld | Way::NewToNew => false,
        }
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
