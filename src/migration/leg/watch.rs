//! Following both sides while the stream goes over.

use std::time::{Duration, Instant};

use crate::migration::endpoint::capability::PASSES;
use crate::migration::endpoint::commands::{MigrationReply, QueryMigrate, SetParameters};
use crate::migration::endpoint::vm::{TIME_TO_EXPLAIN, Vm};
use crate::migration::leg::error::{LegError, LegErrorKind, Timeout, checked};
use crate::model::{Direction, Version};
use crate::qemu::qmp::{Event, QmpError, Session};
use crate::qemu::{Ended, ProcessState};
use crate::report::{Leg, LegSide, Outcome, Phase};

/// The first QEMU whose destination stays after a failed load and can be asked for the reason.
pub(super) const STAYS_SINCE: Version = Version::new(9, 1, 0);

/// Time between two queries of both sides, in case an event is never sent.
const POLL: Duration = Duration::from_millis(100);

/// The time to answer the last query. A side that is well answers at once, if its host lets it run.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// The numbers that a source gives of a migration that completed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub total_ms: Option<u64>,
    pub downtime_ms: Option<u64>,
    pub setup_ms: Option<u64>,
    pub bytes: Option<u64>,
    pub pages: Option<u64>,
    pub passes: Option<u64>,
}

impl Stats {
    /// Tells whether the source has computed the times. Every migration takes some time; a machine
    /// that does not run may have no downtime.
    fn is_worked_out(&self) -> bool {
        self.total_ms != Some(0)
    }

    /// Returns a leg with these numbers.
    pub(crate) fn leg(self, index: usize, direction: Direction, outcome: Outcome) -> Leg {
        Leg {
            index,
            direction,
            outcome,
            total_ms: self.total_ms,
            downtime_ms: self.downtime_ms,
            setup_ms: self.setup_ms,
            bytes: self.bytes,
            pages: self.pages,
            passes: self.passes,
        }
    }

    /// Returns the numbers without those that were never computed.
    fn or_unknown(self) -> Stats {
        match self.is_worked_out() {
            true => self,
            false => Stats {
                total_ms: None,
                downtime_ms: None,
                ..self
            },
        }
    }
}

fn number(told: Option<i64>) -> Option<u64> {
    told.and_then(|told| u64::try_from(told).ok())
}

impl From<MigrationReply> for Stats {
    fn from(reply: MigrationReply) -> Self {
        let ram = reply.ram.unwrap_or_default();
        Stats {
            total_ms: number(reply.total_time),
            downtime_ms: number(reply.downtime),
            setup_ms: number(reply.setup_time),
            bytes: number(ram.transferred),
            pages: number(ram.normal).map(|n| n + number(ram.duplicate).unwrap_or(0)),
            passes: number(ram.dirty_sync_count),
        }
    }
}

/// The state of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    UnderWay,
    Completed,
    Failed(Option<String>),
    /// Its monitor closed or talks what is no QMP; its process may be about to end.
    Mute(QmpError),
    Ended(Ended),
}

impl State {
    fn of(status: &str, reason: Option<String>) -> State {
        match status {
            "completed" => State::Completed,
            // A source waits like this for ever, once its destination has gone.
            "failed" | "cancelled" | "postcopy-paused" => State::Failed(reason),
            _ => State::UnderWay,
        }
    }

    fn is_over(&self) -> bool {
        !matches!(self, State::UnderWay | State::Mute(_))
    }

    fn has_failed(&self) -> bool {
        matches!(self, State::Failed(_) | State::Mute(_) | State::Ended(_))
    }

    /// Takes note that the monitor broke. A side that is done has nothing more to say.
    fn break_off(&mut self, why: QmpError) {
        if !self.is_over() {
            *self = State::Mute(why);
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, State::Ended(_))
    }
}

/// One side of a transfer.
#[derive(Debug, Default)]
struct Side {
    state: State,
    /// Since when it has not answered a question.
    silent: Option<Instant>,
    /// Set once its session is over: it has no more events.
    is_mute: bool,
}

impl Side {
    /// Takes the next event; nothing where the session is over.
    fn take_event(&mut self, event: Option<&Event>, session: &Session) {
        let Some(event) = event else {
            self.is_mute = true;
            return self.state.break_off(session.failure());
        };
        if let Some(status) = status(event) {
            let new = State::of(status, None);
            if new.is_over() && !self.state.is_over() {
                self.state = new;
            }
        }
    }

    /// Asks how it stands, where an event has not told that, or not why.
    async fn ask(&self, vm: &Vm, left: Duration) -> Option<Result<MigrationReply, QmpError>> {
        match self.state {
            State::UnderWay | State::Failed(None) => {
                let session = &vm.monitored.session;
                let deadline = vm.command.min(left);
                Some(session.execute(QueryMigrate {}, deadline).await)
            }
            _ => None,
        }
    }

    /// Takes note of the answer to a question that was asked at a moment.
    fn take_answer(&mut self, answer: Result<MigrationReply, QmpError>, asked: Instant) {
        self.silent = match &answer {
            Err(QmpError::Deadline { .. }) => Some(self.silent.unwrap_or(asked)),
            _ => None,
        };
        match answer {
            Ok(MigrationReply {
                status: Some(status),
                error_desc,
                ..
            }) => {
                let new = State::of(&status, error_desc);
                if new.is_over() {
                    self.state = new;
                }
            }
            Err(error @ (QmpError::Closed | QmpError::NotQmp(_) | QmpError::Io(_))) => {
                self.state.break_off(error);
            }
            // It may answer the next one.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Both sides of a transfer that is under way.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    source: Side,
    destination: Side,
    /// The source has begun to send its devices.
    sends_devices: bool,
    /// The source has gone over to sending what was not sent yet after the guest.
    pub postcopy: bool,
    /// The parameters that a source gets once it has made so many passes that its guest may be stopped; nothing where
    /// it may from the start.
    pub limited: Option<SetParameters>,
    passes: u64,
    /// The numbers of a source that is done.
    stats: Option<Stats>,
}

/// The goal that a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The source has begun its first pass over the guest's memory, or will not.
    Begun,
    /// The source is done.
    Sent,
    /// Both sides are done, or one has failed and the other one had the time to say why.
    BothThrough,
}

impl Watch {
    /// Tells whether the source has sent everything.
    pub(crate) fn has_sent(&self) -> bool {
        self.source.state == State::Completed
    }

    /// Follows the events of both sides until the goal is reached, or the deadline passed.
    pub(crate) async fn until(
        &mut self,
        goal: Goal,
        source: &mut Vm,
        destination: &mut Vm,
        end: Instant,
    ) {
        let mut last = end;
        let mut asked = Instant::now();
        loop {
            let now = Instant::now();
            let through = match goal {
                Goal::Begun => self.passes > 0 || self.source.state.is_over(),
                Goal::Sent => self.source.state.is_over(),
                Goal::BothThrough => {
                    self.source.state.is_over() && self.destination.state.is_over()
                }
            };
            if through || now >= last {
                // What is known of a failure from an event alone has no reason yet.
                self.ask(source, destination, now + LAST_ANSWER).await;
                let exits = destination.version < STAYS_SINCE;
                if goal == Goal::BothThrough
                    && exits
                    && matches!(self.destination.state, State::Failed(_))
                {
                    // A destination says that it has failed, then prints why, and exits, unless it was told to stay.
                    let _how = destination.ended(TIME_TO_EXPLAIN).await;
                }
                return;
            }
            if self.source.state.has_failed() || self.destination.state.has_failed() {
                if goal != Goal::BothThrough {
                    return;
                }
                last = last.min(now + TIME_TO_EXPLAIN);
            }
            let quiet = self.next(source, destination, POLL.min(last - now)).await;
            if let Some(command) = self.limited.take_if(|_| self.passes >= PASSES) {
                let left = last.saturating_duration_since(Instant::now());
                let session = &source.monitored.session;
                // A source that is done or has failed meanwhile says that itself.
                let _over = session.execute(command, source.command.min(left)).await;
            }
            if self.has_sent() && self.stats.is_none() {
                // The destination takes a moment longer. A source that does not answer is asked again.
                let left = last.saturating_duration_since(Instant::now());
                self.stats = query_stats(source, source.command.min(left)).await.ok();
            }
            // A build may also send one event after the other.
            if quiet || asked.elapsed() >= POLL {
                asked = Instant::now();
                self.ask(source, destination, last).await;
            }
        }
    }

    /// Waits for the next thing that happens on either side. Returns whether nothing did.
    async fn next(&mut self, source: &mut Vm, destination: &mut Vm, pause: Duration) -> bool {
        let (s, d) = (&mut source.monitored, &mut destination.monitored);
        tokio::select! {
            Ok(event) = s.session.next_event(pause), if !self.source.is_mute => {
                if let Some(event) = &event {
                    self.note(event);
                }
                self.source.take_event(event.as_ref(), &s.session);
                false
            }
            Ok(event) = d.session.next_event(pause), if !self.destination.is_mute => {
                self.destination.take_event(event.as_ref(), &d.session);
                false
            }
            Ok(status) = s.process.wait(Duration::MAX), if !self.source.state.has_ended() => {
                self.source.state = State::Ended(Ended(status));
                false
            }
            Ok(status) = d.process.wait(Duration::MAX), if !self.destination.state.has_ended() => {
                self.destination.state = State::Ended(Ended(status));
                false
            }
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Takes note of what an event of the source tells beside the state.
    fn note(&mut self, event: &Event) {
        self.sends_devices |= status(event) == Some("device");
        self.postcopy |= status(event) == Some("postcopy-active");
        self.passes = self.passes.max(pass(event).unwrap_or(0));
    }

    /// Takes the events of both sides that have come already.
    fn catch_up(&mut self, source: &mut Vm, destination: &mut Vm) {
        let (s, d) = (
            &mut source.monitored.session,
            &mut destination.monitored.session,
        );
        while let Some(event) = s.queued_event() {
            self.note(&event);
            self.source.take_event(Some(&event), s);
        }
        while let Some(event) = d.queued_event() {
            self.destination.take_event(Some(&event), d);
        }
    }

    /// Asks both sides at once, so that one that does not answer takes none of the other's time.
    async fn ask(&mut self, source: &mut Vm, destination: &mut Vm, last: Instant) {
        let begun = Instant::now();
        let left = last.saturating_duration_since(begun);
        let (of_source, of_destination) = tokio::join!(
            self.source.ask(source, left),
            self.destination.ask(destination, left)
        );
        // In case no event tells.
        let ram = of_source
            .as_ref()
            .and_then(|answer| answer.as_ref().ok()?.ram.as_ref());
        let passes = ram.and_then(|ram| number(ram.dirty_sync_count));
        self.passes = self.passes.max(passes.unwrap_or(0));
        // An answer that all is over tells nothing of the way there, which the events before it do.
        self.catch_up(source, destination);
        for (side, answer) in [
            (&mut self.source, of_source),
            (&mut self.destination, of_destination),
        ] {
            if let Some(answer) = answer {
                side.take_answer(answer, begun);
            }
        }
    }

    /// Returns the side that does not answer, if one does not.
    ///
    /// Where neither does, one waits for the other. A source that sends its devices holds the lock that its monitor needs
    /// until they are read (migration_completion(), migration/migration.c); a destination that was connected to waits
    /// for the first bytes in the same way (migration_channel_read_peek(), migration/channel.c).
    fn silent(&self, source: &Vm, destination: &Vm) -> Option<LegSide> {
        let is_stopped = |vm: &Vm| vm.monitored.state() == Some(ProcessState::Stopped);
        match (self.source.silent, self.destination.silent) {
            (None, None) => None,
            (Some(_), None) => Some(LegSide::Source),
            (None, Some(_)) => Some(LegSide::Destination),
            (Some(first), Some(second)) if first != second => Some(match first < second {
                true => LegSide::Source,
                false => LegSide::Destination,
            }),
            (Some(_), Some(_)) => Some(match (is_stopped(source), is_stopped(destination)) {
                (true, false) => LegSide::Source,
                (false, true) => LegSide::Destination,
                _ if self.sends_devices => LegSide::Destination,
                _ => LegSide::Source,
            }),
        }
    }

    /// Concludes from how both sides stand.
    ///
    /// # Errors
    /// One of them failed, ended or is not done.
    pub(crate) async fn verdict(
        self,
        source: &mut Vm,
        destination: &Vm,
        deadline: Duration,
    ) -> Result<Stats, LegError> {
        use LegSide::{Destination, Source};
        let reasons = [&self.destination, &self.source]
            .into_iter()
            .filter_map(|side| match &side.state {
                State::Failed(reason) => reason.clone(),
                _ => None,
            })
            .collect();
        let failed = |side, kind| LegError::new(side, Phase::Transfer, kind);
        let refused = |how: &Ended| how.0.code() == Some(1);
        let silent = self.silent(source, destination);
        let error = match (self.source.state, self.destination.state) {
            (State::Completed, State::Completed) => {
                if let Some(stats) = self.stats {
                    return Ok(stats);
                }
                let stats = query_stats(source, source.command).await;
                return checked(source, Source, Phase::Transfer, stats).await;
            }
            // A destination that refused the stream may be the effect of a source that died.
            (_, State::Ended(how)) if !refused(&how) => failed(Destination, how.into()),
            (State::Ended(how), _) => failed(Source, how.into()),
            (_, State::Ended(how)) => failed(Destination, how.into()),
            (State::Mute(error), _) => failed(Source, LegErrorKind::Monitor(error)),
            (_, State::Mute(error)) => failed(Destination, LegErrorKind::Monitor(error)),
            (_, State::Failed(reason)) => {
                failed(Destination, LegErrorKind::MigrationFailed(reason))
            }
            (State::Failed(reason), _) => failed(Source, LegErrorKind::MigrationFailed(reason)),
            (state, _) => {
                let (side, timeout) = match (silent, state) {
                    (Some(side), _) => (side, Timeout::NoAnswer(deadline)),
                    (None, State::Completed) => (Destination, Timeout::NotCompleted(deadline)),
                    (None, _) => (Source, Timeout::NotCompleted(deadline)),
                };
                let waited_for = match side {
                    Source => &*source,
                    Destination => destination,
                };
                failed(side, timeout.into()).waiting_for(waited_for)
            }
        };
        Err(LegError { reasons, ..error })
    }
}

/// Number of times that a source is asked for numbers that it has not computed yet, and the pause
/// between.
const QUESTIONS: usize = 20;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(2);

/// Asks a source for the numbers of the migration that it made. It reports its completion before it
/// has computed the times (migration_completion() and migration_calculate_complete(),
/// migration/migration.c), so that a time of 0 is asked for again.
async fn query_stats(source: &Vm, deadline: Duration) -> Result<Stats, QmpError> {
    let ask = || source.monitored.session.execute(QueryMigrate {}, deadline);
    let mut stats = Stats::from(ask().await?);
    for _ in 1..QUESTIONS {
        if stats.is_worked_out() {
            break;
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
        stats = ask().await?.into();
    }
    Ok(stats.or_unknown())
}

/// Returns the status in a MIGRATION event.
fn status(event: &Event) -> Option<&str> {
    match event.name.as_str() {
        "MIGRATION" => event.data.get("status")?.as_str(),
        _ => None,
    }
}

/// Returns the number of the pass over memory in a MIGRATION_PASS event.
fn pass(event: &Event) -> Option<u64> {
    match event.name.as_str() {
        "MIGRATION_PASS" => event.data.get("pass")?.as_u64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_were_never_worked_out_are_not_known() {
        let stats = |total_ms, downtime_ms| Stats {
            total_ms,
            downtime_ms,
            bytes: Some(7),
            ..Stats::default()
        };
        assert_eq!(stats(Some(0), Some(0)).or_unknown(), stats(None, None));
        let paused = stats(Some(6), Some(0));
        assert_eq!(
            paused.or_unknown(),
            paused,
            "a paused machine has no downtime"
        );
        let silent = stats(None, None);
        assert!(
            silent.is_worked_out(),
            "a build that gives no number gives none later"
        );
    }
}
