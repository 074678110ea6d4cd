//! Work on threads of its own, all of it done when the caller goes on.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Bytes of a thread's stack. A case runs the futures of guests, controls and splits one inside the other; without
/// optimisation these take more than the two megabytes that a thread gets. Memory that is not touched costs nothing.
pub(crate) const STACK: usize = 16 << 20;

fn builder() -> thread::Builder {
    thread::Builder::new().stack_size(STACK)
}

/// Takes what waits for a thread.
fn take<T>(waiting: &Mutex<Option<T>>) -> Option<T> {
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// Returns what a thread found, or passes its panic on.
fn found<T>(joined: thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs both at once, or one after the other where the system gives no thread; a panic of one is passed on.
pub(crate) fn side_by_side<A: Send, B: Send>(
    old: impl FnOnce() -> A + Send,
    new: impl FnOnce() -> B + Send,
) -> (A, B) {
    // What a thread that does not start was given is gone: it is given a share of it.
    let waiting = Mutex::new(Some(new));
    let new = || take(&waiting).map(|new| new());
    thread::scope(|scope| {
        let spawned = builder().spawn_scoped(scope, new);
        let old = old();
        let new = spawned.map_or_else(|_| new(), |thread| found(thread.join()));
        match new {
            Some(new) => (old, new),
            None => unreachable!("one thread alone takes it"),
        }
    })
}

/// Works on so many items at a time, or on fewer where the system gives no more threads, and returns the results in the
/// order of the items; a panic is passed on.
pub(crate) fn each<T: Send, R: Send>(
    jobs: usize,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let others = jobs.min(items.len()).saturating_sub(1);
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
    let mut done = thread::scope(|scope| {
        let spawned = (0..others).map(|_| builder().spawn_scoped(scope, worker));
        let workers: Vec<_> = spawned.map_while(Result::ok).collect();
        let mut done = worker();
        done.extend(workers.into_iter().flat_map(|thread| found(thread.join())));
        done
    });
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Something that is found out meanwhile.
#[derive(Debug)]
pub(crate) enum Meanwhile<T> {
    Coming(JoinHandle<Option<T>>),
    Done(T),
}

impl<T: Send + 'static> Meanwhile<T> {
    /// Begins with it, or does it at once where the system gives no thread.
    pub(crate) fn begin(task: impl FnOnce() -> T + Send + 'static) -> Meanwhile<T> {
        let waiting = Arc::new(Mutex::new(Some(task)));
        let run = move || take(&waiting).map(|task| task());
        match builder().spawn(run.clone()) {
            Ok(thread) => Meanwhile::Coming(thread),
            Err(_) => match run() {
                Some(done) => Meanwhile::Done(done),
                None => unreachable!("no thread has taken it"),
            },
        }
    }

    /// Waits for it; a panic is passed on.
    pub(crate) fn wait(self) -> T {
        match self {
            Meanwhile::Coming(thread) => match found(thread.join()) {
                Some(done) => done,
                None => unreachable!("one thread alone takes it"),
            },
            Meanwhile::Done(done) => done,
        }
    }
}

/// Begins with something that blocks, and returns its result as a future. tokio's own way to do so panics where the
/// system gives no thread, and has a runtime wait at its end for what may never be over.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<impl Future<Output = io::Result<T>>> {
    let (done, is_done) = oneshot::channel();
    builder().spawn(move || {
        let _nobody_waits = done.send(task());
    })?;
    Ok(async move {
        is_done
            .await
            .map_err(|_| io::Error::other("a thread panicked"))?
    })
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

    #[test]
    fn what_blocks_is_waited_for_and_a_panic_of_it_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let done = blocking(|| Ok(5)).expect("a thread");
        assert_eq!(runtime.block_on(done).expect("done"), 5);
        let refused = blocking(|| Err::<(), _>(io::ErrorKind::NotFound.into())).expect("a thread");
        let refused = runtime.block_on(refused).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        let panics = blocking(|| -> io::Result<()> { panic!("on purpose") }).expect("a thread");
        let panicked = runtime.block_on(panics).expect_err("an error");
        assert_eq!(panicked.to_string(), "a thread panicked");
    }
}
