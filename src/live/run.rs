//! Many cases at once, and the end of them all on a signal.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::case::{Bench, Wanted};
use crate::model::Case;

/// The run was ended by Ctrl-C or the like; every QEMU is gone.
#[derive(Debug, thiserror::Error)]
pub enum RunFailure {
    #[error("interrupted")]
    Interrupted,
    #[error("no runtime: {0}")]
    Runtime(#[from] io::Error),
}

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
    let queue: Mutex<VecDeque<(usize, &Wanted)>> = Mutex::new(cases.iter().enumerate().collect());
    let (stop, stopped) = watch::channel(false);
    let (sender, results) = mpsc::channel();
    let mut done: Vec<Option<Case>> = cases.iter().map(|_| None).collect();
    let outcome = thread::scope(|scope| {
        // The listener ends with the workers: it holds the other end of this.
        let (alive, mut over) = watch::channel(());
        scope.spawn(move || listen(&stop, &mut over));
        let mut workers = Vec::new();
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
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
                    let case = runtime.block_on(async {
                        tokio::select! {
                            biased;
                            // Dropping the case kills its QEMUs and removes its folder.
                            Ok(_) = stopped.wait_for(|&stopped| stopped) => None,
                            case = bench.run(wanted) => Some(case),
                        }
                    });
                    match case {
                        Some(case) => {
                            let _nobody_left = sender.send((at, case));
                        }
                        None => return Err(RunFailure::Interrupted),
                    }
                }
            }));
        }
        drop(sender);
        for (at, case) in results {
            told(&case);
            done[at] = Some(case);
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
