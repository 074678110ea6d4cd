//! A whole sweep: all machines at once, as many guests at a time as there are workers.

use crate::migration::pool;
use crate::migration::pool::{Job, RunFailure};
use crate::report::Case;
use crate::sweep::cases;
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
    Advanced {
        target: usize,
        advance: Advance,
        /// The cases that this decided, but for their controls.
        decided: &'e [Case],
    },
    /// A machine is done.
    Done {
        target: usize,
        result: &'e MachineResult,
    },
}

/// A task, the index of its target and the pass that it is of: the plain one is 0.
struct TargetTask {
    target: usize,
    pass: usize,
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
    let of_target = |target: usize, pass: usize| {
        move |Job { weight, job: task }: Job<Task>| Job {
            weight,
            job: TargetTask { target, pass, task },
        }
    };
    let at_work: Vec<Vec<SweepTarget>> = targets
        .iter()
        .map(|target| {
            let passes = options.second.iter();
            passes.filter_map(|pass| target.at_work(pass)).collect()
        })
        .collect();
    let mut sweeps = Vec::new();
    let mut first = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let (sweep, jobs) = MachineSweep::begin(target, options, FailedBefore::new());
        sweeps.push(sweep);
        first.extend(jobs.into_iter().map(of_target(index, 0)));
    }
    // What does not migrate as it is after reset.
    let mut failed: Vec<Option<FailedBefore>> = targets.iter().map(|_| None).collect();
    let mut results: Vec<Option<MachineResult>> = targets.iter().map(|_| None).collect();
    let work = async |job: &TargetTask| {
        let second = job.pass.checked_sub(1);
        let target = second.map_or(&targets[job.target], |at| &at_work[job.target][at]);
        perform(target, &job.task).await
    };
    pool::run(jobs, first, work, |job, result| {
        let TargetTask { target, pass, task } = job;
        let sweep = &mut sweeps[target];
        let mut next = sweep.record(task, result);
        let mut next_pass = pass;
        sweep.evidence.pairing.take_complete(|sent| {
            // What devices with drivers send depends on what was done to them, too.
            if pass == 0 {
                on_event(SweepEvent::Sent { target, sent });
            }
        });
        let advance = sweep.advance_so_far();
        let decided = sweep.newly_decided();
        let across = sweep.across();
        let decided = across.map(|across| cases::decided(across, decided));
        on_event(SweepEvent::Advanced {
            target,
            advance,
            decided: decided.as_deref().unwrap_or_default(),
        });
        if let Some(controls) = sweep.finished() {
            let found = MachineResult::of(controls, &sweep.evidence, &sweep.cost);
            if pass == 0 {
                failed[target] = controls.across.failed();
            }
            match results[target].as_mut() {
                Some(result) => result.add_second(found),
                None => results[target] = Some(found),
            }
            match (at_work[target].get(pass), &failed[target]) {
                // Its devices once more, with drivers at work.
                (Some(at_work), Some(failed)) => {
                    (*sweep, next) = MachineSweep::begin(at_work, options, failed.clone());
                    next_pass = pass + 1;
                }
                _ => results[target]
                    .iter()
                    .for_each(|result| on_event(SweepEvent::Done { target, result })),
            }
        }
        next.into_iter().map(of_target(target, next_pass)).collect()
    })?;
    Ok(results.into_iter().flatten().collect())
}
