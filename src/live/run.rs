//! Many cases at once, and the end of them all on a signal.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::case::{Bench, Part, Step, Wanted};
use crate::model::Case;

/// The run was ended by Ctrl-C or the like; every QEMU is gone.
#[derive(Debug, thiserror::Error)]
pub enum RunFailure {
    #[error("interrupted")]
    Interrupted,
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// Something that happened to a case.
#[derive(Debug)]
pub enum Event<'c> {
    Began,
    Step(Step),
    Ended(&'c Case),
}

/// Which case it happened to.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'c> {
    /// Of those at once; counts from 0.
    pub worker: usize,
    pub id: &'c str,
    pub part: Part,
}

/// Runs the cases, so many at once, and tells what happens, from several threads. They come back in
/// their own order, each with those of its culprits behind it.
///
/// # Errors
/// A signal, or no resources.
pub fn run(
    bench: &Bench,
    cases: &[Wanted],
    jobs: usize,
    told: impl Fn(Subject, Event) + Sync,
) -> Result<Vec<Case>, RunFailure> {
    let queue: Mutex<VecDeque<(usize, &Wanted)>> = Mutex::new(cases.iter().enumerate().collect());
    let (stop, stopped) = watch::channel(false);
    let (sender, results) = mpsc::channel();
    let mut done: Vec<Vec<Case>> = cases.iter().map(|_| Vec::new()).collect();
    let told = &told;
    let outcome = thread::scope(|scope| {
        // The listener ends with the workers: it holds the other end of this.
        let (alive, mut over) = watch::channel(());
        scope.spawn(move || listen(&stop, &mut over));
        let mut workers = Vec::new();
        for worker in 0..jobs.clamp(1, cases.len().max(1)) {
            let (queue, sender, mut stopped) = (&queue, sender.clone(), stopped.clone());
            // A runtime of its own each: a QEMU is killed when the thread that started it ends, so
            // that thread has to last as long as the case.
            workers.push(scope.spawn(move || -> Result<(), RunFailure> {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                loop {
                    let next = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some((at, wanted)) = next else {
                        return Ok(());
                    };
                    let mut waiting = VecDeque::from([wanted.clone()]);
                    while let Some(wanted) = waiting.pop_front() {
                        let id = bench.id(&wanted);
                        let subject = Subject {
                            worker,
                            id: &id,
                            part: wanted.part,
                        };
                        told(subject, Event::Began);
                        let watcher = |step| told(subject, Event::Step(step));
                        let case = runtime.block_on(async {
                            tokio::select! {
                                biased;
                                // Dropping the case kills its QEMUs and removes its folder.
                                Ok(_) = stopped.wait_for(|&stopped| stopped) => None,
                                case = bench.run(&wanted, &watcher) => Some(case),
                            }
                        });
                        let case = case.ok_or(RunFailure::Interrupted)?;
                        told(subject, Event::Ended(&case));
                        waiting.extend(bench.culprits(&wanted, &case));
                        let _nobody_left = sender.send((at, case));
                    }
                }
            }));
        }
        drop(sender);
        for (at, case) in results {
            done[at].push(case);
        }
        let mut outcome = Ok(());
        for worker in workers {
            match worker.join() {
                Ok(result) => outcome = outcome.and(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        drop(alive);
        outcome
    });
    outcome?;
    Ok(done.into_iter().flatten().collect())
}

/// Waits for a signal to end, or for the end of the run.
fn listen(stop: &watch::Sender<bool>, over: &mut watch::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    runtime.block_on(async {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else {
            return;
        };
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
                _ = over.changed() => return,
            }
            if *stop.borrow() {
                // Asked twice: the system ends the QEMUs when we are gone.
                std::process::exit(130);
            }
            let _nobody_left = stop.send(true);
        }
    });
}
