//! One leg of a guest's way, and what is looked at while both sides stand still after it.

use std::time::Duration;

use crate::migration::channel::proxy::Passed;
use crate::migration::checks::integrity;
use crate::migration::checks::integrity::IntegrityError;
use crate::migration::checks::memory::Difference;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{LaunchSpec, Vm};
use crate::migration::leg::error;
use crate::migration::leg::error::{End, LegError};
use crate::migration::leg::transfer;
use crate::migration::leg::transfer::Stats;
use crate::qemu::output;
use crate::report::Outcome;
use crate::workload::SerialLog;

/// When to look at how the state arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The guest goes on, or there is no further leg.
    Now,
    /// A guest that does not run is sent on as it arrived.
    InNextLeg,
}

/// A leg whose source has not left yet.
pub(crate) struct LegExecution {
    pub outcome: Result<Stats, LegError>,
    /// What of the memory did not arrive, of a machine that never runs.
    pub differs: Option<Difference>,
    pub sent: Passed,
    /// What the destination saved to be looked at now.
    pub held: Option<Passed>,
}

impl LegExecution {
    pub fn unfit(unfit: LegError, sent: Passed) -> LegExecution {
        LegExecution {
            outcome: Err(unfit),
            differs: None,
            sent,
            held: None,
        }
    }
}

impl MigrationConfig {
    /// One leg and what is compared after it. Both sides are stopped then.
    pub(crate) async fn stage(
        &self,
        source: &mut Vm,
        destination: &mut Vm,
        launch: &LaunchSpec,
        log: &mut SerialLog,
        look: Look,
    ) -> LegExecution {
        let timeouts = self.timeouts.leg;
        let how = (self.transport, self.capabilities.as_slice());
        let moved = transfer::migrate(source, destination, how.0, how.1, timeouts).await;
        let mut sent = moved.sent;
        if let Some(graft) = &launch.graft {
            // What the destination was not given is nothing that it could hold.
            sent.stream = sent.stream.map(|stream| graft.without(stream));
        }
        let stats = match moved.outcome {
            Ok(stats) => stats,
            Err(unfit) => return LegExecution::unfit(unfit, sent),
        };
        // Nothing writes to the memory of a machine that does not run: what passed by is what it has.
        // A guest that runs does, and what passed by last need not be what it wrote last.
        let by_stream = launch.guest.is_none() && sent.memory.is_ok();
        let arrived = &*destination;
        let compared = async {
            match by_stream {
                true => integrity::shared(source, arrived).await.map(drop),
                false => integrity::compare(source, arrived, launch.guest, log)
                    .await
                    .map(drop),
            }
        };
        let save = async {
            if look == Look::InNextLeg || (sent.stream.is_err() && !by_stream) {
                return None;
            }
            let saved = transfer::save(arrived, timeouts).await;
            let settled = match launch.guest {
                Some(_) => transfer::settle(arrived, timeouts).await,
                None => Ok(()),
            };
            Some(match settled {
                Ok(()) => saved,
                Err(why) => Passed::nothing(&why),
            })
        };
        // Saving changes nothing of what is compared, and takes as long.
        let (held, mut compared) = tokio::join!(save, compared);
        let mut differs = None;
        if let (true, true, Some(held)) = (by_stream, compared.is_ok(), &held) {
            match (&sent.memory, &held.memory) {
                (Ok(sent), Ok(held)) => differs = sent.difference(held),
                _ => {
                    let read = integrity::compare(source, destination, None, log);
                    compared = read.await.map(drop);
                }
            }
        }
        let outcome = match compared {
            Ok(()) => Ok(stats),
            Err(trouble) => Err(IntegrityError::unfit(trouble, source, destination).await),
        };
        LegExecution {
            outcome,
            differs,
            sent,
            held,
        }
    }

    /// Lets the guest go on where it arrived, and sees that it does.
    pub(crate) async fn resume(
        &self,
        destination: &mut Vm,
        launch: &LaunchSpec,
        log: &mut SerialLog,
    ) -> Result<(), LegError> {
        if launch.guest.is_some() {
            if let Err(error) = destination.cont().await {
                return Err(error::broken(destination, End::Destination, error).await);
            }
            let last = log.last_beat();
            let beat = destination.wait_for_beat(log, last, self.timeouts.beat);
            if let Err(why) = beat.await {
                return Err(match error::ended(destination, Duration::ZERO).await {
                    Some(how) => LegError::new(
                        Outcome::Crash,
                        format!("the destination {how} when the guest went on"),
                    ),
                    None => LegError::new(Outcome::Lost, format!("after the move, {why}")),
                });
            }
        }
        if let Some(line) = output::complaint(&destination.monitored.process.stderr()) {
            return Err(LegError::new(
                Outcome::Lost,
                format!("it loaded, but the destination says: {line}"),
            ));
        }
        Ok(())
    }
}

impl From<Difference> for LegError {
    fn from(found: Difference) -> Self {
        let mut unfit = LegError::new(Outcome::Lost, found.message);
        unfit.place = found.blocks.into_iter().next();
        unfit
    }
}

/// Why the memory that a guest was sent with in a leg is not what it is sent on with.
pub(crate) fn unlike(leg: usize, sent: &Passed, sent_on: &Passed) -> Option<LegError> {
    match (&sent.memory, &sent_on.memory) {
        (Ok(sent), Ok(sent_on)) => sent.difference(sent_on).map(LegError::from),
        (Ok(_), Err(why)) => Some(LegError::new(
            Outcome::Lost,
            format!("what leg {leg} left in memory was not seen again: {why}"),
        )),
        // It was read from both sides then.
        (Err(_), _) => None,
    }
}

/// Ends the source, which has done its work: it has to go without a complaint.
pub(crate) async fn leave(source: &mut Vm) -> Result<(), LegError> {
    let deadline = source.command;
    if let Err(error) = source.monitored.session.quit(deadline).await {
        return Err(error::broken(source, End::Source, error).await);
    }
    match error::ended(source, deadline).await {
        Some(how) if how.0.success() => {}
        Some(how) => {
            return Err(LegError::new(
                Outcome::Crash,
                format!("the source {how} when it was asked to quit"),
            ));
        }
        None => {
            return Err(LegError::new(
                Outcome::Hang,
                format!("the source did not quit within {} s", deadline.as_secs()),
            ));
        }
    }
    match output::complaint(&source.monitored.process.stderr()) {
        None => Ok(()),
        Some(line) => Err(LegError::new(
            Outcome::Lost,
            format!("the migration completed, but the source says: {line}"),
        )),
    }
}
