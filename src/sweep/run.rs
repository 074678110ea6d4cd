//! A whole sweep: all machines at once, as many guests at a time as there are workers.

use crate::migration::pool;
use crate::migration::pool::{Job, RunFailure};
use crate::sweep::case_id::State;
use crate::sweep::machine::{Advance, FailedBefore, MachineSweep, Options, Task, perform};
use crate::sweep::pairing::Sent;
use crate::sweep::result::MachineResult;
use crate::sweep::target::SweepTarget;

/// Something to know while a sweep lasts, of the target with this index.
#[derive(Debug)]
pub(crate) enum SweepEvent<'e> {
    /// Both builds have sent one guest.
    Sent { target: usize, sent: Sent<'e> },
    /// A guest of a machine has moved.
    Advanced { target: usize, advance: Advance },
    /// A machine is done.
    Done {
        target: usize,
        result: &'e MachineResult,
    },
}

/// A task, the index of its target and the state of its devices.
struct TargetTask {
    target: usize,
    state: State,
    task: Task,
}

/// Sweeps the targets and reports events meanwhile. The results come back in their order.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn sweep(
    targets: &[SweepTarget],
    options: &Options,
    jobs: usize,
    mut on_event: impl FnMut(SweepEvent),
) -> Result<Vec<MachineResult>, RunFailure> {
    let of_target = |target: usize, state: State| {
        move |Job { weight, job: task }: Job<Task>| Job {
            weight,
            job: TargetTask {
                target,
                state,
                task,
            },
        }
    };
    let driven: Vec<Option<SweepTarget>> = targets
        .iter()
        .map(|target| target.driven(options.driven?))
        .collect();
    let mut sweeps = Vec::new();
    let mut first = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let (sweep, jobs) = MachineSweep::begin(target, options, FailedBefore::new());
        sweeps.push(sweep);
        first.extend(jobs.into_iter().map(of_target(index, State::Reset)));
    }
    let mut results: Vec<Option<MachineResult>> = targets.iter().map(|_| None).collect();
    let work = async |job: &TargetTask| {
        let driven = driven[job.target].as_ref();
        let target = driven.filter(|_| job.state == State::Driven);
        perform(target.unwrap_or(&targets[job.target]), &job.task).await
    };
    pool::run(jobs, first, work, |job, result| {
        let TargetTask {
            target,
            state,
            task,
        } = job;
        let sweep = &mut sweeps[target];
        let mut next = sweep.record(task, result);
        let mut next_state = state;
        sweep.evidence.pairing.take_complete(|sent| {
            // What devices with drivers send depends on what was done to them, too.
            if state == State::Reset {
                on_event(SweepEvent::Sent { target, sent });
            }
        });
        let advance = sweep.advance_so_far();
        on_event(SweepEvent::Advanced { target, advance });
        if let Some(finished) = sweep.finished() {
            let found = MachineResult::of(sweep.context, finished, &sweep.evidence, &sweep.cost);
            let failed = finished.failed();
            match results[target].as_mut() {
                Some(result) => result.add_driven(found),
                None => results[target] = Some(found),
            }
            match (&driven[target], failed, state) {
                // Its devices once more, with drivers at work.
                (Some(driven), Some(failed), State::Reset) => {
                    (*sweep, next) = MachineSweep::begin(driven, options, failed);
                    next_state = State::Driven;
                }
                _ => results[target]
                    .iter()
                    .for_each(|result| on_event(SweepEvent::Done { target, result })),
            }
        }
        next.into_iter()
            .map(of_target(target, next_state))
            .collect()
    })?;
    Ok(results.into_iter().flatten().collect())
}
