//! Many jobs at once on threads of their own.

use std::collections::BinaryHeap;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use tracing::{Instrument, debug, debug_span};

use crate::cleanup::until_the_end;

/// The run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunFailure {
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// Something to do, and how long it may take beside the others: the longest begins first.
#[derive(Debug)]
pub struct Job<J> {
    pub weight: usize,
    pub job: J,
}

/// A job in the queue: by weight, and in the order of arrival where that is the same.
struct Queued<J> {
    weight: usize,
    number: usize,
    job: J,
}

impl<J> Queued<J> {
    fn rank(&self) -> (usize, std::cmp::Reverse<usize>) {
        (self.weight, std::cmp::Reverse(self.number))
    }
}

impl<J> PartialEq for Queued<J> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<J> Eq for Queued<J> {}

impl<J> PartialOrd for Queued<J> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<J> Ord for Queued<J> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// What is to be done, and whether more may come.
struct Queue<J> {
    jobs: BinaryHeap<Queued<J>>,
    closed: bool,
}

/// Runs jobs, so many at once, until none is left. What each comes to is told to `done`, which may
/// ask for more.
///
/// # Errors
/// The system gives no runtime.
pub fn run<J: Send, R: Send>(
    workers: usize,
    first: Vec<Job<J>>,
    work: impl AsyncFn(&J) -> R + Sync,
    mut done: impl FnMut(J, R) -> Vec<Job<J>>,
) -> Result<(), RunFailure> {
    let queue = Mutex::new(Queue {
        jobs: BinaryHeap::new(),
        closed: false,
    });
    let ready = Condvar::new();
    let (sender, results) = mpsc::channel::<Result<(J, R), RunFailure>>();
    thread::scope(|scope| {
        for worker in 0..workers.max(1) {
            let span = debug_span!("worker", worker);
            let (queue, ready, work) = (&queue, &ready, &work);
            let sender = sender.clone();
            // A runtime of its own each: a QEMU is killed when the thread that started it ends, so
            // that thread has to last as long as the job.
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _nobody_left = sender.send(Err(error.into()));
                        return;
                    }
                };
                while let Some(job) = next(queue, ready) {
                    let done = async {
                        debug!("a job begins");
                        let result = work(&job).await;
                        debug!("a job is over");
                        result
                    };
                    let result = runtime.block_on(until_the_end(done.instrument(span.clone())));
                    if sender.send(Ok((job, result))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // However this ends, the workers must not wait for more.
        let closing = Closing {
            queue: &queue,
            ready: &ready,
        };
        let mut number = 0;
        let mut open = 0usize;
        let mut add = |jobs: Vec<Job<J>>, open: &mut usize| {
            *open += jobs.len();
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            for Job { weight, job } in jobs {
                number += 1;
                queue.jobs.push(Queued {
                    weight,
                    number,
                    job,
                });
            }
            ready.notify_all();
        };
        add(first, &mut open);
        let mut outcome = Ok(());
        while open > 0 {
            match results.recv() {
                Ok(Ok((job, result))) => {
                    open -= 1;
                    add(done(job, result), &mut open);
                }
                Ok(Err(failure)) => {
                    outcome = Err(failure);
                    break;
                }
                // Every worker is gone: one panicked, and the scope tells it.
                Err(_) => break,
            }
        }
        drop(closing);
        outcome
    })
}

/// Closes the queue when dropped, by a panic too.
struct Closing<'q, J> {
    queue: &'q Mutex<Queue<J>>,
    ready: &'q Condvar,
}

impl<J> Drop for Closing<'_, J> {
    fn drop(&mut self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.jobs.clear();
        self.ready.notify_all();
    }
}

/// The heaviest job; none when no more will come.
fn next<J>(queue: &Mutex<Queue<J>>, ready: &Condvar) -> Option<J> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(queued) = queue.jobs.pop() {
            return Some(queued.job);
        }
        if queue.closed {
            return None;
        }
        queue = ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
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
}
