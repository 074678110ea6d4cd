//! A whole sweep: all machines at once, as many guests at a time as there are workers.

use crate::migration::pool;
use crate::migration::pool::{Job, RunFailure};
use crate::sweep::machine::{MachineSweep, Options, Task, perform};
use crate::sweep::pairing::Sent;
use crate::sweep::result::MachineResult;
use crate::sweep::target::SweepTarget;

/// Something to know while a sweep lasts, of the target with this index.
#[derive(Debug)]
pub(crate) enum SweepEvent<'e> {
    /// Both builds have sent one guest.
    Sent { target: usize, sent: Sent<'e> },
    /// A machine is done.
    Done {
        target: usize,
        result: &'e MachineResult,
    },
}

/// A task, and the index of its target.
struct TargetTask {
    target: usize,
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
    let of_target = |target: usize| {
        move |Job { weight, job: task }: Job<Task>| Job {
            weight,
            job: TargetTask { target, task },
        }
    };
    let mut sweeps = Vec::new();
    let mut first = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let (sweep, jobs) = MachineSweep::begin(target, options);
        sweeps.push(sweep);
        first.extend(jobs.into_iter().map(of_target(index)));
    }
    let mut results: Vec<Option<MachineResult>> = targets.iter().map(|_| None).collect();
    let work = async |job: &TargetTask| perform(&targets[job.target], &job.task).await;
    pool::run(jobs, first, work, |TargetTask { target, task }, result| {
        let sweep = &mut sweeps[target];
        let next = sweep.record(task, result);
        sweep
            .evidence
            .pairing
            .take_complete(|sent| on_event(SweepEvent::Sent { target, sent }));
        if let Some(finished) = sweep.finished() {
            let result = MachineResult::of(sweep.context, finished, &sweep.evidence, &sweep.cost);
            on_event(SweepEvent::Done {
                target,
                result: &result,
            });
            results[target] = Some(result);
        }
        next.into_iter().map(of_target(target)).collect()
    })?;
    Ok(results.into_iter().flatten().collect())
}
