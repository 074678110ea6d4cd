//! A whole sweep: all machines at once, as many guests at a time as there are workers.

use crate::migration::pool;
use crate::migration::pool::{Job, RunFailure};
use crate::sweep::cases::{Found, found};
use crate::sweep::pairing::Sent;
use crate::sweep::place::Place;
use crate::sweep::visit::{MachineSweep, Options, Task, perform};

/// Something to know while a sweep lasts, of the place with this number.
#[derive(Debug)]
pub enum Told<'t> {
    /// What both builds sent of one guest.
    Sent(usize, Sent<'t>),
    /// A machine is through.
    Done(&'t Found),
}

/// Sweeps the places and tells of it meanwhile. What was found comes back in their order.
///
/// # Errors
/// A signal, or no resources.
pub fn sweep(
    places: &[Place],
    options: &Options,
    jobs: usize,
    mut told: impl FnMut(Told),
) -> Result<Vec<Found>, RunFailure> {
    let at = |at: usize| {
        move |Job { weight, job }: Job<Task>| Job {
            weight,
            job: (at, job),
        }
    };
    let mut visits = Vec::new();
    let mut first = Vec::new();
    for place in 0..places.len() {
        let (visit, jobs) = MachineSweep::begin(options);
        visits.push(visit);
        first.extend(jobs.into_iter().map(at(place)));
    }
    let mut results: Vec<Option<Found>> = places.iter().map(|_| None).collect();
    let work = async |(place, task): &(usize, Task)| perform(&places[*place], task).await;
    pool::run(jobs, first, work, |(index, task), came| {
        let (place, visit) = (&places[index], &mut visits[index]);
        let next = visit.told(place, options, task, came);
        visit.pairing.told(|sent| told(Told::Sent(index, sent)));
        if visit.done {
            let found = found(place, visit, options);
            told(Told::Done(&found));
            results[index] = Some(found);
        }
        next.into_iter().map(at(index)).collect()
    })?;
    Ok(results.into_iter().flatten().collect())
}
