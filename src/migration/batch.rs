//! Many cases at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Instrument, debug_span};

use crate::migration::case;
use crate::migration::case::Ran;
use crate::migration::config::{CaseSpec, MigrationConfig, Part, Step};
use crate::migration::diagnosis::culprits;
use crate::migration::pool;
use crate::migration::pool::Job;
use crate::report::Case;

pub(crate) use crate::migration::pool::RunFailure;

/// An event in the life of a case.
#[derive(Debug)]
pub(crate) enum Event<'c> {
    Began,
    Step(Step),
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
    let mut done: Vec<Vec<(usize, Ran)>> = cases.iter().map(|_| Vec::new()).collect();
    let count = AtomicUsize::new(0);
    // The numbers follow the order of the list, as far as the cases begin one after the other.
    let first = cases.iter().cloned().enumerate();
    let first = first.map(|(at, spec)| Job {
        weight: 0,
        job: (at, 0, spec),
    });
    let work = async |(_, _, spec): &(usize, usize, CaseSpec)| {
        let id = case::id(config, spec);
        let subject = Subject {
            number: count.fetch_add(1, Ordering::Relaxed),
            id: &id,
            part: spec.part,
        };
        on_event(subject, Event::Began);
        let watcher = |step| on_event(subject, Event::Step(step));
        let span = debug_span!("case", id);
        let ran = case::run(config, spec, &watcher).instrument(span).await;
        on_event(subject, Event::Ended(&ran.case));
        ran
    };
    pool::run(jobs, first.collect(), work, |(at, place, spec), ran| {
        let culprits = culprits::cases(&spec, &ran.case).into_iter();
        let more = culprits.enumerate().map(|(index, spec)| Job {
            // Jobs that explain a failure come before those that are still to be tried.
            weight: 1,
            job: (at, index + 1, spec),
        });
        let more = more.collect();
        if let Some(cases) = done.get_mut(at) {
            cases.push((place, ran));
        }
        more
    })?;
    for cases in &mut done {
        // Whichever culprit was through first.
        cases.sort_by_key(|&(place, _)| place);
        if let [(_, whole), parts @ ..] = cases.as_mut_slice() {
            for (_, part) in parts {
                part.case.part_of = Some(whole.case.id.clone());
            }
        }
    }
    Ok(done.into_iter().flatten().map(|(_, ran)| ran).collect())
}
