//! One leg up to the comparison of memory, after which both sides stand still.

use crate::migration::channel::proxy::Captured;
use crate::migration::checks::changes::LoadChanges;
use crate::migration::checks::memory;
use crate::migration::checks::pages::PageDifference;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::commands::Stop;
use crate::migration::endpoint::vm::{LaunchSpec, Vm};
use crate::migration::leg::error::{GuestFault, LegError, MemoryFault, execute};
use crate::migration::leg::save::{save, wait_until_saved};
use crate::migration::leg::transfer::transfer;
use crate::migration::leg::watch::Stats;
use crate::report::{LegSide, Phase};
use crate::workload::{SerialLog, Workload};

/// The point at which the state that arrived is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateCheck {
    /// The guest goes on, or there is no further leg.
    Now,
    /// A guest that does not run is sent on as it arrived.
    InNextLeg,
}

/// The result of a leg whose source has not left yet.
pub(crate) struct LegResult {
    pub outcome: Result<Stats, LegError>,
    /// Memory that did not arrive, of a machine that never runs.
    pub memory: Option<PageDifference>,
    pub sent: Captured,
    /// The stream that the destination saved, to be compared now.
    pub arrived: Option<Captured>,
}

impl LegResult {
    /// Makes the result of a leg that failed before anything could be compared.
    pub(crate) fn failed(error: LegError, sent: Captured) -> LegResult {
        LegResult {
            outcome: Err(error),
            memory: None,
            sent,
            arrived: None,
        }
    }
}

/// Moves the guest and compares its memory. Both sides are stopped then.
pub(crate) async fn run(
    config: &MigrationConfig,
    source: &mut Vm,
    destination: &mut Vm,
    launch: &LaunchSpec,
    log: &mut SerialLog,
    state_check: StateCheck,
) -> LegResult {
    let deadline = config.timeouts.leg;
    if let Err(error) = stop_linux(source, log).await {
        return LegResult::failed(error, Captured::nothing("there was no migration"));
    }
    let (outcome, mut sent) = transfer(config, source, destination).await;
    if let Some(replaced) = &launch.section_override {
        // The destination cannot have what it was not given.
        sent.stream = sent.stream.map(|stream| replaced.without(stream));
    }
    let stats = match outcome {
        Ok(stats) => stats,
        Err(error) => return LegResult::failed(error, sent),
    };
    // Nothing writes to the memory of a machine that does not run, or was stopped first: the pages that
    // were sent are those that it has. A guest that runs does write, and the page that was sent last need
    // not be the one that it wrote last.
    let by_stream = !source.works_while_sent() && sent.memory.is_ok();
    let stopped = &*destination;
    let tiny = launch.workload.as_ref().and_then(Workload::tiny);
    let compare = async {
        match by_stream {
            true => memory::shared_map(source, stopped).await.map(drop),
            false => memory::compare(source, stopped, tiny, &launch.tolerated, log).await,
        }
    };
    let save_again = async {
        if state_check == StateCheck::InNextLeg || (sent.stream.is_err() && !by_stream) {
            return None;
        }
        let saved = save(stopped, deadline).await;
        let ready = match &launch.workload {
            Some(_) => wait_until_saved(stopped, deadline).await,
            None => Ok(()),
        };
        Some(match ready {
            Ok(()) => saved,
            Err(why) => Captured::nothing(&why),
        })
    };
    // Saving does not change what is compared, and takes as long.
    let (arrived, mut compared) = tokio::join!(save_again, compare);
    let mut differs = None;
    if let (true, true, Some(arrived)) = (by_stream, compared.is_ok(), &arrived) {
        match (&sent.memory, &arrived.memory) {
            (Ok(sent), Ok(arrived)) => {
                let pages = sent.difference(arrived);
                differs = pages.and_then(|pages| launch.tolerated.leave_out(pages));
            }
            _ => {
                let read = memory::compare(source, destination, None, &launch.tolerated, log);
                compared = read.await;
            }
        }
    }
    let outcome = match compared {
        Ok(()) => Ok(stats),
        // A side that does not answer may have ended.
        Err(error) => Err(match error.side {
            Some(LegSide::Source) => error.with_end_of(source).await,
            _ => error.with_end_of(destination).await,
        }),
    };
    LegResult {
        outcome,
        memory: differs,
        sent,
        arrived,
    }
}

/// Stops a Linux guest, so that what is sent is all that it has. A guest that works while it is sent is the tiny one.
async fn stop_linux(source: &mut Vm, log: &mut SerialLog) -> Result<(), LegError> {
    if !matches!(source.workload(), Some(Workload::Linux(_))) {
        return Ok(());
    }
    let side = LegSide::Source;
    execute(source, side, Phase::SetUp, Stop {}).await?;
    match source.read_console(log) {
        Some(bad) => {
            let fault = GuestFault::OnSourceConsole(bad);
            Err(LegError::new(side, Phase::SetUp, fault))
        }
        None => Ok(()),
    }
}

/// Makes the error of memory that did not arrive.
pub(crate) fn memory_differs(pages: PageDifference) -> LegError {
    LegError::new(None, Phase::MemoryCheck, MemoryFault::Pages(pages))
}

/// Compares the memory that a guest was sent with in a leg with what it is sent on with, except for
/// pages that a load is known to change.
pub(crate) fn memory_sent_on(
    leg: usize,
    sent: &Captured,
    sent_on: &Captured,
    tolerated: &LoadChanges,
) -> Option<LegError> {
    match (&sent.memory, &sent_on.memory) {
        (Ok(sent), Ok(sent_on)) => {
            let pages = sent.difference(sent_on)?;
            tolerated.leave_out(pages).map(memory_differs)
        }
        (Ok(_), Err(why)) => {
            let why = why.clone();
            let fault = MemoryFault::NotSeenAgain { leg, why };
            Some(LegError::new(None, Phase::MemoryCheck, fault))
        }
        // It was read from both sides then.
        (Err(_), _) => None,
    }
}
