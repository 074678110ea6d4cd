//! Many cases at once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Instrument, debug_span};

use crate::migration::case;
use crate::migration::case::Ran;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Step};
use crate::migration::diagnosis::culprits;
use crate::migration::pool;
use crate::migration::pool::Job;
use crate::migration::result::RunResult;
use crate::report::{Case, Outcome};

pub(crate) use crate::migration::pool::RunFailure;

/// Something that happens to a case.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'c> {
    /// It began.
    Began,
    /// It does something else from now on.
    Step(Step),
    /// It is over.
    Ended(&'c Case),
}

/// The case that an event is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'c> {
    /// The number of the case in this run.
    pub number: usize,
    pub id: &'c str,
    pub part: Part,
}

/// A case that is to be run.
struct Planned {
    /// The number of the case in the list, or of that which it is a part of.
    at: usize,
    /// The place among the parts of that one, from 1; 0 is the whole.
    place: usize,
    spec: CaseSpec,
    /// The run of its guest that there is already.
    first: Cell<Option<RunResult>>,
}

/// Runs so many cases at once and reports events, from several threads. The cases come back in
/// their own order, each followed by those of its culprits.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn run(
    config: &MigrationConfig,
    cases: &[CaseSpec],
    jobs: usize,
    on_event: impl Fn(Subject, Event) + Sync,
) -> Result<Vec<Ran>, RunFailure> {
    // By the number of the case in the list, and the place among its parts, whichever was through first.
    let mut done: BTreeMap<(usize, usize), Ran> = BTreeMap::new();
    let count = AtomicUsize::new(0);
    // The numbers follow the order of the list, as far as the cases begin one after the other.
    let first = cases.iter().cloned().enumerate();
    let first = first.map(|(at, spec)| Job {
        weight: 0,
        job: Planned {
            at,
            place: 0,
            spec,
            first: Cell::new(None),
        },
    });
    let work = async |planned: &Planned| {
        let spec = &planned.spec;
        let id = case::id(config, spec);
        let subject = Subject {
            number: count.fetch_add(1, Ordering::Relaxed),
            id: &id,
            part: spec.part,
        };
        on_event(subject, Event::Began);
        let watcher = |step| on_event(subject, Event::Step(step));
        let span = debug_span!("case", id);
        // A job is done once.
        let first = planned.first.take();
        let ran = case::run_from(config, spec, first, &watcher);
        let ran = ran.instrument(span).await;
        on_event(subject, Event::Ended(&ran.case));
        ran
    };
    pool::run(jobs, first.collect(), work, |planned, mut ran| {
        let Planned {
            at, place, spec, ..
        } = planned;
        let culprits = culprits::cases(&spec, ran.case.split.as_ref(), &ran.alike).into_iter();
        let alone = &mut ran.alone;
        let more = culprits.enumerate().map(|(index, culprit)| Job {
            // Jobs that explain a failure come before those that are still to be tried.
            weight: 1,
            job: Planned {
                at,
                place: index + 1,
                first: Cell::new(alone.remove(&culprit.id)),
                spec: culprit.spec,
            },
        });
        let more = more.collect();
        done.insert((at, place), ran);
        more
    })?;
    let mut done: Vec<((usize, usize), Ran)> = done.into_iter().collect();
    for cases in done.chunk_by_mut(|((one, _), _), ((other, _), _)| one == other) {
        if let [(_, whole), parts @ ..] = cases {
            for (_, part) in parts.iter_mut() {
                part.case.part_of = Some(whole.case.id.clone());
            }
            represent(whole, parts);
        }
    }
    Ok(done.into_iter().map(|(_, ran)| ran).collect())
}

/// Names the case that stands for each one that fails of the same cause; the controls are that one's.
fn represent(whole: &Ran, parts: &mut [((usize, usize), Ran)]) {
    let device = |ran: &Ran| ran.case.devices.last().cloned();
    let firsts: BTreeMap<String, Case> = parts
        .iter()
        .filter_map(|(_, ran)| Some((device(ran)?, ran.case.clone())))
        .collect();
    for (_, part) in parts {
        let first = device(part).and_then(|id| whole.alike.get(&id));
        let Some(first) = first.and_then(|id| firsts.get(id)) else {
            continue;
        };
        part.case.same_as = Some(first.id.clone());
        part.case.control.clone_from(&first.control);
        if first.outcome == Outcome::Broken && part.case.gates() {
            part.case.outcome = Outcome::Broken;
        }
    }
}
