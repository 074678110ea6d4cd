//! Ending a leg: the source leaves, and the guest goes on at the destination.

use std::time::Duration;

use crate::migration::endpoint::commands::{Cont, QueryStatus, Stop};
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{GuestFault, LegError, LegErrorKind, Timeout, checked, execute};
use crate::report::{LegSide, Phase};
use crate::workload::SerialLog;

/// The part of a guest's life that is left to it at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    UntilTheNextLeg,
    ToTheEnd,
}

/// Lets a workload guest go on where it arrived, and checks that it does; then checks whether the
/// destination complains.
///
/// # Errors
/// It does not go on, or the destination printed a complaint.
pub(crate) async fn resume(
    destination: &mut Vm,
    log: &mut SerialLog,
    heartbeat: Duration,
    stay: Stay,
) -> Result<(), LegError> {
    let side = LegSide::Destination;
    if let Some(workload) = destination.workload() {
        let due = match stay {
            Stay::UntilTheNextLeg => log.heartbeats_due(),
            Stay::ToTheEnd => workload.heartbeats_at_the_end().max(log.heartbeats_due()),
        };
        execute(destination, side, Phase::Resume, Cont {}).await?;
        let last = log.last_heartbeat();
        let next = destination
            .wait_for_heartbeats(log, last, due, heartbeat)
            .await;
        if let Err(error) = next {
            let kind: LegErrorKind = match destination.ended(Duration::ZERO).await {
                Some(how) => how.into(),
                // A build that does not answer is what hangs, not the guest that says nothing in it.
                None => {
                    execute(destination, side, Phase::Resume, QueryStatus {}).await?;
                    GuestFault::AfterTheMove(error).into()
                }
            };
            return Err(LegError::new(side, Phase::Resume, kind));
        }
        // One that is stopped while it is sent is stopped between two rounds: then the next leg has to wait for one.
        if !destination.works_while_sent() {
            execute(destination, side, Phase::Resume, Stop {}).await?;
        }
    }
    no_complaint(destination, side, Phase::Resume)
}

/// Ends a side that has done its work: the source after a leg, the destination after the last one.
///
/// # Errors
/// It does not quit, not cleanly, or not without a complaint.
pub(crate) async fn quit(vm: &mut Vm, side: LegSide) -> Result<(), LegError> {
    let deadline = vm.command;
    let asked = vm.monitored.session.quit(deadline).await;
    checked(vm, side, Phase::Quit, asked).await?;
    match vm.ended(deadline).await {
        Some(how) if how.0.success() => no_complaint(vm, side, Phase::Quit),
        Some(how) => Err(LegError::new(side, Phase::Quit, how)),
        None => {
            let timeout = Timeout::Quit(deadline);
            Err(LegError::new(side, Phase::Quit, timeout).waiting_for(vm))
        }
    }
}

fn no_complaint(vm: &Vm, side: LegSide, phase: Phase) -> Result<(), LegError> {
    match vm.complaint() {
        None => Ok(()),
        Some(line) => {
            let complaint = LegErrorKind::Complaint(line);
            Err(LegError::new(side, phase, complaint))
        }
    }
}
