//! Many jobs at once on threads of their own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use crate::cleanup::until_the_end;
use crate::parallel::STACK;
use tracing::{Instrument, Span, debug, debug_span};

/// The run could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunFailure {
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
    /// The panic itself is passed on.
    #[error("a worker panicked")]
    Panicked,
}

/// Something to do, and how long it may take beside the others: the longest begins first.
#[derive(Debug)]
pub(crate) struct Job<J> {
    pub weight: usize,
    pub job: J,
}

/// The jobs that wait, by weight, for workers that wait for them.
struct Queue<J> {
    waiting: Mutex<Waiting<J>>,
    ready: Condvar,
}

struct Waiting<J> {
    /// By weight, and in the order of arrival where that is the same.
    jobs: BTreeMap<(Reverse<usize>, usize), J>,
    /// Jobs that were added so far.
    added: usize,
    /// No more will come.
    closed: bool,
}

impl<J> Queue<J> {
    fn new() -> Queue<J> {
        Queue {
            waiting: Mutex::new(Waiting {
                jobs: BTreeMap::new(),
                added: 0,
                closed: false,
            }),
            ready: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, jobs: Vec<Job<J>>) {
        let mut waiting = self.lock();
        for Job { weight, job } in jobs {
            waiting.added += 1;
            let place = (Reverse(weight), waiting.added);
            waiting.jobs.insert(place, job);
        }
        self.ready.notify_all();
    }

    /// Takes the heaviest job, once there is one; none when no more will come.
    fn next(&self) -> Option<J> {
        let mut waiting = self.lock();
        loop {
            if let Some((_, job)) = waiting.jobs.pop_first() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .ready
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs jobs, so many at once or fewer where the system gives no more threads, until none is left. Each result is passed
/// to `done`, which may ask for more jobs.
///
/// # Errors
/// The system gives no thread or no runtime.
pub(crate) fn run<J: Send, R: Send>(
    workers: usize,
    first: Vec<Job<J>>,
    work: impl AsyncFn(&J) -> R + Sync,
    mut done: impl FnMut(J, R) -> Vec<Job<J>>,
) -> Result<(), RunFailure> {
    let queue = Queue::new();
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for worker in 0..workers.max(1) {
            let span = debug_span!("worker", worker);
            let (queue, work) = (&queue, &work);
            let sender = sender.clone();
            let no_thread = sender.clone();
            // A runtime of its own each: a QEMU is killed when the thread that started it ends, so
            // that thread has to last as long as the job.
            let thread = thread::Builder::new().stack_size(STACK);
            let spawned = thread.spawn_scoped(scope, move || {
                let _said = SaysPanic(&sender);
                if let Err(error) = do_jobs(queue, work, &sender, &span) {
                    let _nobody_left = sender.send(Err(error.into()));
                }
            });
            if let Err(error) = spawned {
                // Fewer do it as well.
                if worker == 0 {
                    let _nobody_left = no_thread.send(Err(error.into()));
                }
                break;
            }
        }
        drop(sender);
        // However this ends, the workers must not wait for more.
        let closing = Closing(&queue);
        let mut open = first.len();
        queue.add(first);
        let mut outcome = Ok(());
        while open > 0 {
            match results.recv() {
                Ok(Ok((job, result))) => {
                    let more = done(job, result);
                    open = open - 1 + more.len();
                    queue.add(more);
                }
                Ok(Err(failure)) => {
                    outcome = Err(failure);
                    break;
                }
                // Every worker is gone.
                Err(_) => break,
            }
        }
        drop(closing);
        outcome
    })
}

/// A job with its result, or the end of all.
type Done<J, R> = Result<(J, R), RunFailure>;

/// Runs jobs, one after the other, until no more come.
fn do_jobs<J, R>(
    queue: &Queue<J>,
    work: &impl AsyncFn(&J) -> R,
    sender: &mpsc::Sender<Done<J, R>>,
    span: &Span,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    while let Some(job) = queue.next() {
        let done = async {
            debug!("a job begins");
            work(&job).await
        };
        let result = runtime.block_on(until_the_end(done).instrument(span.clone()));
        span.in_scope(|| debug!("a job is over"));
        if sender.send(Ok((job, result))).is_err() {
            break;
        }
    }
    Ok(())
}

/// Says that a worker panicked, when it is dropped by that: the others would wait for ever for what it was to do.
struct SaysPanic<'s, J, R>(&'s mpsc::Sender<Done<J, R>>);

impl<J, R> Drop for SaysPanic<'_, J, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _nobody_left = self.0.send(Err(RunFailure::Panicked));
        }
    }
}

/// Closes the queue when dropped, by a panic too.
struct Closing<'q, J>(&'q Queue<J>);

impl<J> Drop for Closing<'_, J> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        self.0.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(weights: &[usize]) -> Vec<Job<usize>> {
        let job = |&weight| Job {
            weight,
            job: weight,
        };
        weights.iter().map(job).collect()
    }

    #[test]
    fn the_heaviest_comes_first_and_a_result_may_ask_for_more() {
        let mut order = Vec::new();
        let work = async |job: &usize| *job;
        run(1, jobs(&[2, 5, 2, 9]), work, |job, result| {
            assert_eq!(job, result);
            order.push(job);
            jobs(if job == 2 { &[1] } else { &[] })
        })
        .expect("a runtime");
        let early: Vec<usize> = order.iter().copied().filter(|&job| job > 1).collect();
        assert_eq!(early, [9, 5, 2, 2]);
        assert_eq!(order.len(), 6);
    }

    #[test]
    fn all_jobs_are_done_by_however_many_workers() {
        for workers in [0, 1, 3, 64] {
            let mut sum = 0;
            run(
                workers,
                jobs(&[1, 2, 3, 4, 5]),
                async |job| *job,
                |_, n| {
                    sum += n;
                    Vec::new()
                },
            )
            .expect("a runtime");
            assert_eq!(sum, 15);
        }
        run(2, jobs(&[]), async |job| *job, |_, _: usize| Vec::new()).expect("nothing to do");
    }

    #[test]
    fn a_panic_of_a_worker_ends_the_run_and_is_passed_on() {
        for workers in [1, 2, 8] {
            let ran = std::panic::catch_unwind(|| {
                let work = async |job: &usize| assert_ne!(*job, 3, "three is too much");
                run(workers, jobs(&[1, 2, 3, 4, 5]), work, |_, ()| Vec::new())
            });
            assert!(ran.is_err(), "{workers}");
        }
    }
}
