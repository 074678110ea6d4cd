//! Ending a leg: the source leaves, and the guest goes on at the destination.

use std::time::Duration;

use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{
    GuestFault, LegError, LegErrorKind, Timeout, command_failed, ended,
};
use crate::qemu::output;
use crate::report::{LegSide, Phase};
use crate::workload::SerialLog;

/// Lets a workload guest go on where it arrived, and checks that it does; then checks whether the
/// destination complains.
///
/// # Errors
/// It does not go on, or the destination printed a complaint.
pub(crate) async fn resume(
    destination: &mut Vm,
    log: &mut SerialLog,
    heartbeat: Duration,
) -> Result<(), LegError> {
    let side = LegSide::Destination;
    if destination.workload().is_some() {
        let due = log.heartbeats_due();
        if let Err(error) = destination.cont().await {
            return Err(command_failed(destination, side, Phase::Resume, error).await);
        }
        let last = log.last_heartbeat();
        let next = destination
            .wait_for_heartbeats(log, last, due, heartbeat)
            .await;
        if let Err(error) = next {
            let kind: LegErrorKind = match ended(destination, Duration::ZERO).await {
                Some(how) => how.into(),
                None => GuestFault::AfterTheMove(error).into(),
            };
            return Err(LegError::new(side, Phase::Resume, kind));
        }
        // One that is stopped while it is sent is stopped between two rounds: then the next leg has to wait for one.
        if !destination.works_while_sent()
            && let Err(error) = destination.stop().await
        {
            return Err(command_failed(destination, side, Phase::Resume, error).await);
        }
    }
    no_complaint(destination, side, Phase::Resume)
}

/// Ends the source, which has done its work.
///
/// # Errors
/// It does not quit, not cleanly, or not without a complaint.
pub(crate) async fn quit_source(source: &mut Vm) -> Result<(), LegError> {
    let side = LegSide::Source;
    let deadline = source.command;
    if let Err(error) = source.monitored.session.quit(deadline).await {
        return Err(command_failed(source, side, Phase::Quit, error).await);
    }
    let kind: LegErrorKind = match ended(source, deadline).await {
        Some(how) if how.0.success() => return no_complaint(source, side, Phase::Quit),
        Some(how) => how.into(),
        None => Timeout::Quit(deadline).into(),
    };
    Err(LegError::new(side, Phase::Quit, kind))
}

fn no_complaint(vm: &Vm, side: LegSide, phase: Phase) -> Result<(), LegError> {
    match output::complaint(&vm.monitored.process.stderr()) {
        None => Ok(()),
        Some(line) => {
            let complaint = LegErrorKind::Complaint(line.to_owned());
            Err(LegError::new(side, phase, complaint))
        }
    }
}
