//! Work on threads of its own, all of it done when the caller goes on.

use std::sync::{Mutex, PoisonError};

/// Runs both at once; a panic of one is passed on.
pub(crate) fn side_by_side<A: Send, B: Send>(
    old: impl FnOnce() -> A + Send,
    new: impl FnOnce() -> B + Send,
) -> (A, B) {
    std::thread::scope(|scope| {
        let new = scope.spawn(new);
        let old = old();
        match new.join() {
            Ok(new) => (old, new),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Works on so many items at a time, and returns the results in the order of the items; a panic is passed on.
pub(crate) fn each<T: Send, R: Send>(
    jobs: usize,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let jobs = jobs.max(1).min(items.len());
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.next()
    };
    let worker = || {
        let mut done = Vec::new();
        while let Some((at, item)) = next() {
            done.push((at, work(item)));
        }
        done
    };
    let mut done = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for jobs in [0, 1, 2, 7] {
            let squares = each(jobs, (0..50_u64).collect(), |item| item * item);
            assert_eq!(squares, Vec::from_iter((0..50).map(|item| item * item)));
            assert!(each(jobs, Vec::<u8>::new(), |item| item).is_empty());
        }
    }
}
