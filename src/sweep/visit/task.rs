//! One guest of a sweep: why it is moved, and what comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::compare::explain;
use crate::compare::fidelity::to_be_filled;
use crate::compare::renames::NoRenames;
use crate::culprit::search::{Item, Trial, Way};
use crate::devices::DeviceSet;
use crate::migration::case::milliseconds;
use crate::migration::coverage::SentSection;
use crate::migration::diagnosis::explain::explain_refusal;
use crate::migration::diagnosis::section_override;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::result::{Refusal, RunResult};
use crate::migration::run;
use crate::model::Direction;
use crate::stream::Stream;
use crate::stream::section_override::SectionOverride;
use crate::sweep::pairing::beside;
use crate::sweep::place::Place;

/// Something to do on one machine.
#[derive(Debug)]
pub(crate) enum Task {
    /// Move the machine without any device, and ask what one could be plugged into.
    Bare(Way),
    /// Look for what it takes to get a machine across that does not.
    Bypass(Direction, Arc<Run>),
    /// Move a pack, and split it if it fails.
    Trial {
        stage: Stage,
        trial: Trial,
        set: DeviceSet,
        graft: Option<Arc<SectionOverride>>,
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
        graft: Option<Arc<SectionOverride>>,
    },
}

impl Task {
    pub fn way(&self) -> Way {
        match self {
            Task::Bypass(direction, _) => Way::Across(*direction),
            Task::Bare(way) | Task::Whole { way, .. } | Task::Again { way, .. } => *way,
            Task::Trial { trial, .. } => trial.way,
        }
    }

    pub fn set(&self) -> Option<&DeviceSet> {
        match self {
            Task::Bare(_) | Task::Bypass(..) => None,
            Task::Trial { set, .. } | Task::Whole { set, .. } | Task::Again { set, .. } => {
                Some(set)
            }
        }
    }

    fn graft(&self) -> Option<&Arc<SectionOverride>> {
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
pub(crate) enum Stage {
    /// Between the builds.
    Across,
    /// The culprits from each build to itself.
    Control,
}

/// What came of a task.
#[derive(Debug)]
pub(crate) enum TaskResult {
    /// What the first build sent, too, where it got that far.
    Moved(Arc<Run>, Option<Arc<Stream>>),
    Bypassed(Option<Arc<SectionOverride>>),
}

/// A guest that moved, or did not.
#[derive(Debug)]
pub(crate) struct Run {
    pub attempt: RunResult,
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
    pub fn refusal(&self, old: &Endpoint) -> String {
        let refusals = &self.attempt.refusals;
        let label = old.build.label();
        let first = refusals.iter().find(|refusal| refusal.label == label);
        match first.or(refusals.first()) {
            Some(Refusal { label, words }) => format!("{label} does not start with it: {words}"),
            None => {
                let cause = self.attempt.cause.as_ref();
                cause.map_or_else(String::new, |cause| cause.message.clone())
            }
        }
    }
}

/// From where to where.
pub(crate) fn route(place: &Place, way: Way) -> (Vec<&Endpoint>, Direction) {
    let (old, new) = (&place.config.old, &place.config.new);
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
pub(crate) async fn perform(place: &Place, task: &Task) -> TaskResult {
    let config = &place.config;
    let way = task.way();
    let begun = Instant::now();
    let args = task.set().map(|set| config.compose(set).args);
    let launch = LaunchSpec {
        section_override: task.graft().cloned(),
        survey: matches!(task, Task::Bare(_)),
        ..config.launch(args.unwrap_or_default())
    };
    let (route, direction) = route(place, way);
    if let Task::Bypass(_, failed) = task {
        let bypass = section_override::find(config, &route, &launch, direction, &failed.attempt);
        return TaskResult::Bypassed(bypass.await);
    }
    let mut attempt = run::run(config, &route, &launch, direction, &|_| {}).await;
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
        explain_refusal(config, &mut attempt, &launch, &route, expected).await;
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
    TaskResult::Moved(Arc::new(run), first.map(Arc::new))
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
        .source_destination(&place.config.old, &place.config.new)
        .0;
    let expected = (first, source.dump.as_deref());
    let refused = explain::doubtful(arrived, expected, &NoRenames, back);
    let refused = refused.into_iter().map(|section| section.name.clone());
    let filled = to_be_filled(arrived, first, place.config.names.of_leg(back));
    let filled = filled.into_iter().map(|filling| filling.section);
    refused.chain(filled).collect()
}
