//! Many cases at once.

use super::case::{Bench, Wanted};
use super::pool::{self, Job};
use crate::model::Case;

pub use super::pool::RunFailure;

/// Runs the cases, so many at once, and tells of each as it ends. They come back in their own order.
///
/// # Errors
/// A signal, or no resources.
pub fn run(
    bench: &Bench,
    cases: &[Wanted],
    jobs: usize,
    mut told: impl FnMut(&Case),
) -> Result<Vec<Case>, RunFailure> {
    let mut done: Vec<Option<Case>> = cases.iter().map(|_| None).collect();
    // In the order of the list, as far as they begin one after the other.
    let first = (0..cases.len()).map(|job| Job { weight: 0, job }).collect();
    let work = async |&at: &usize| match cases.get(at) {
        Some(wanted) => Some(bench.run(wanted).await),
        None => None,
    };
    pool::run(jobs.min(cases.len()), first, work, |at, case| {
        if let Some(case) = &case {
            told(case);
        }
        done[at] = case;
        Vec::new()
    })?;
    Ok(done.into_iter().flatten().collect())
}
