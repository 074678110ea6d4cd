//! The error of a leg: the side that failed, the phase and the kind. The outcome is derived from that, and
//! so is the sentence for people, in `Display` alone.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qapi::qmp::QmpCommand;

use crate::driver::DriveError;
use crate::migration::boot::BootError;
use crate::migration::checks::pages::PageDifference;
use crate::migration::checks::state::sentence;
use crate::migration::endpoint::capability::Capability;
use crate::migration::endpoint::vm::{HeartbeatError, TIME_TO_EXPLAIN, Vm};
use crate::model::{SectionName, Version};
use crate::qemu::qmp::{Exchange, QmpError};
use crate::qemu::{Ended, Problem, ProcessState, StartError, output};
use crate::report::{FailureKind, LegSide, Message, Outcome, Phase, StateDiff, Waiting};
use crate::workload::{SerialEvent, WorkloadError};

/// A leg that did not pass.
#[derive(Debug, Clone)]
pub(crate) struct LegError {
    /// The side that failed, where it is one of them alone.
    pub side: Option<LegSide>,
    pub phase: Phase,
    pub kind: LegErrorKind,
    /// The reasons that both builds gave over their monitors.
    pub reasons: Vec<String>,
    /// The state of the side that a deadline passed for.
    pub waited: Option<Box<Waited>>,
}

/// A side that was waited for in vain.
#[derive(Debug, Clone)]
pub(crate) struct Waited {
    /// The state of its process, if the system tells.
    process: Option<ProcessState>,
    last: Exchange,
    /// The moment at which it was looked at.
    at: Instant,
}

impl Waited {
    /// Looks at a side.
    pub(crate) fn of(vm: &Vm) -> Waited {
        Waited {
            process: vm.monitored.state(),
            last: vm.monitored.session.last_exchange(),
            at: Instant::now(),
        }
    }

    /// Returns the facts as reports have them.
    pub(crate) fn facts(&self) -> Waiting {
        let message = |said: &Option<(String, Instant)>| {
            let (text, at) = said.clone()?;
            let ago = self.at.saturating_duration_since(at).as_millis();
            let ago_ms = u64::try_from(ago).unwrap_or(u64::MAX);
            Some(Message { text, ago_ms })
        };
        Waiting {
            process: self.process.map(|process| process.to_string()),
            last_sent: message(&self.last.asked),
            last_received: message(&self.last.answered),
        }
    }
}

/// Writes what is the same each time, so that cases of one kind have one sentence.
impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(process) = self.process {
            write!(f, "; its process {process}")?;
        }
        let command = self
            .last
            .asked
            .as_ref()
            .and_then(|(text, _)| text.split(' ').next());
        match command {
            Some(command) => write!(f, ", and the last command was {command}"),
            None => Ok(()),
        }
    }
}

/// The ways in which a leg fails.
#[derive(Debug, Clone)]
pub(crate) enum LegErrorKind {
    CannotBeSetUp(Obstacle),
    /// A build does not start with the machine at all.
    DoesNotStart(Arc<StartError>),
    /// A build does not start as the destination of this leg, counted from 1, and did start before.
    NoLongerStarts {
        leg: usize,
        error: Arc<StartError>,
    },
    /// The workload guest does not work in the first build.
    NoWorkload {
        label: String,
        why: BootError,
        stderr: String,
    },
    /// The first build does not bear what a driver does to its devices before any migration.
    NotDriven {
        label: String,
        why: Arc<DriveError>,
        /// The end of its process, where it ended.
        end: Option<Ended>,
        stderr: String,
    },
    /// The monitor refused a command, with this reason.
    CommandRefused(String),
    /// The migration has the status "failed", for this reason if one is given.
    MigrationFailed(Option<String>),
    /// The process ended.
    Ended(Ended),
    /// The process ended for what this host lacks, in its own words.
    HostLacks {
        how: Ended,
        words: String,
    },
    TimedOut(Timeout),
    /// The session on the monitor broke, and the process goes on.
    Monitor(QmpError),
    Memory(Box<MemoryFault>),
    /// Fields do not have the value that was sent: the first one, and how many.
    State {
        first: Box<StateDiff>,
        count: usize,
    },
    Guest(GuestFault),
    /// The line that a QEMU printed after it had done its work.
    Complaint(String),
}

/// An obstacle to setting up a migration.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("a QEMU {version}, has no {capability}")]
    NoCapability {
        version: Version,
        capability: Capability,
    },
    #[error("a QEMU {version}: {reason}")]
    CapabilityRefused { version: Version, reason: String },
    /// This host does not provide what the stream needs: a socket or a pipe.
    #[error("no {needs} for the stream: {error}")]
    NoChannel { needs: &'static str, error: String },
    #[error("all memory was across before postcopy began")]
    PostcopyTooLate,
    /// The memory is in no address space that can be read, and the stream does not show it either.
    #[error(
        "this machine's memory cannot be read from outside, and the stream does not show it with these capabilities"
    )]
    MemoryOutOfReach,
}

/// A deadline that passed; in words, what a side failed to do.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Timeout {
    /// One command.
    #[error(": {0}")]
    Command(QmpError),
    /// A side does not answer so long after the migration began.
    #[error(" does not answer {} s after the migration began", .0.as_secs_f32())]
    NoAnswer(Duration),
    /// A side answers, and has not completed.
    #[error(" is not through {} s after the migration began", .0.as_secs_f32())]
    NotCompleted(Duration),
    #[error(" did not quit within {} s", .0.as_secs())]
    Quit(Duration),
}

/// A way in which memory did not arrive.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum MemoryFault {
    /// The two sides have memory at other addresses; in bytes.
    #[error(
        "the source has {sent} bytes of memory, the destination {arrived}, at the same addresses {shared}"
    )]
    Sizes {
        sent: u64,
        arrived: u64,
        shared: u64,
    },
    #[error("{0}")]
    Pages(PageDifference),
    /// Pages differ, and the workload says more about them.
    #[error("{0}; {1}")]
    PagesOfWorkload(PageDifference, WorkloadError),
    #[error("the memory that leg {leg} left was not found again: {why}")]
    NotSeenAgain { leg: usize, why: String },
}

impl MemoryFault {
    /// Returns the pages that differ, where that is all that is wrong.
    pub(crate) fn pages(&self) -> Option<&PageDifference> {
        match self {
            MemoryFault::Pages(pages) => Some(pages),
            MemoryFault::Sizes { .. }
            | MemoryFault::PagesOfWorkload(..)
            | MemoryFault::NotSeenAgain { .. } => None,
        }
    }

    fn first_block(&self) -> Option<&str> {
        match self {
            MemoryFault::Pages(pages) | MemoryFault::PagesOfWorkload(pages, _) => {
                pages.first_block()
            }
            MemoryFault::Sizes { .. } | MemoryFault::NotSeenAgain { .. } => None,
        }
    }
}

/// Damage that the workload guest shows.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum GuestFault {
    #[error("before the migration was over, {0}")]
    BeforeTheMove(WorkloadError),
    #[error("on the source's console, {0}")]
    SourceConsole(WorkloadError),
    #[error("on the source, {0}")]
    OnSourceConsole(SerialEvent),
    #[error("after the migration, {0}")]
    AfterTheMove(HeartbeatError),
}

impl LegError {
    pub(crate) fn new(
        side: impl Into<Option<LegSide>>,
        phase: Phase,
        kind: impl Into<LegErrorKind>,
    ) -> Self {
        LegError {
            side: side.into(),
            phase,
            kind: kind.into(),
            reasons: Vec::new(),
            waited: None,
        }
    }

    /// Makes an error of this host's, which does not provide what the stream needs: neither side is to blame.
    pub(crate) fn no_channel(phase: Phase, needs: &'static str, error: &dyn fmt::Display) -> Self {
        let error = error.to_string();
        LegError::new(None, phase, Obstacle::NoChannel { needs, error })
    }

    /// Makes an error of a command that failed. Its process may have ended: see
    /// [`LegError::with_end_of`].
    pub(crate) fn of_command(side: LegSide, phase: Phase, error: QmpError) -> Self {
        match error {
            QmpError::Refused { description, .. } => LegError {
                reasons: vec![description.clone()],
                ..LegError::new(side, phase, LegErrorKind::CommandRefused(description))
            },
            QmpError::Deadline { .. } => LegError::new(side, phase, Timeout::Command(error)),
            error => LegError::new(side, phase, LegErrorKind::Monitor(error)),
        }
    }

    /// Checks that all fields arrived.
    ///
    /// # Errors
    /// There are some that did not.
    pub(crate) fn if_lost(diffs: &[StateDiff]) -> Result<(), LegError> {
        let Some(first) = diffs.first() else {
            return Ok(());
        };
        let kind = LegErrorKind::State {
            first: Box::new(first.clone()),
            count: diffs.len(),
        };
        Err(LegError::new(None, Phase::StateCheck, kind))
    }

    /// Replaces a monitor that broke by the end of its process, if that has ended. `vm` is the side of the
    /// error.
    pub(crate) async fn with_end_of(self, vm: &mut Vm) -> Self {
        match &self.kind {
            LegErrorKind::Monitor(error) => match vm.ended(TIME_TO_EXPLAIN).await {
                // Asked to quit, it ends well whatever it has said.
                Some(how) if how.0.success() && matches!(error, QmpError::NotQmp(_)) => self,
                Some(how) => LegError {
                    kind: LegErrorKind::Ended(how),
                    ..self
                },
                None => self,
            },
            LegErrorKind::TimedOut(_) => self.waiting_for(vm),
            _ => self,
        }
    }

    /// Adds what a side does that a deadline passed for.
    pub(crate) fn waiting_for(self, vm: &Vm) -> Self {
        LegError {
            waited: Some(Box::new(Waited::of(vm))),
            ..self
        }
    }

    /// Returns how a process ended, where that is what went wrong.
    fn end(&self) -> Option<Ended> {
        match &self.kind {
            LegErrorKind::Ended(how) => Some(*how),
            LegErrorKind::DoesNotStart(error) => match error.problem {
                Problem::Ended(how) => Some(how),
                _ => None,
            },
            LegErrorKind::NoWorkload { why, .. } => match why {
                BootError::Ended(how) => Some(*how),
                BootError::Failed(_) | BootError::Silent { .. } => None,
            },
            LegErrorKind::NotDriven { end, .. } => *end,
            _ => None,
        }
    }

    /// Tells whether a process was killed by somebody else, so that nothing was refused.
    pub(crate) fn is_killed_by_others(&self) -> bool {
        self.end().is_some_and(Ended::is_by_others)
    }

    /// Takes an end for which this host is at fault for that: by what the side printed, or because the system killed
    /// something for want of memory meanwhile.
    pub(crate) fn unless_of_host(
        self,
        source: &str,
        destination: &str,
        memory_ran_out: bool,
    ) -> Self {
        let printed = match self.side {
            Some(LegSide::Source) => source,
            _ => destination,
        };
        let Some(how) = self.end().filter(|how| how.is_by_signal()) else {
            return self;
        };
        let words = match output::start::lacking(printed) {
            Some(words) => words.to_owned(),
            None if memory_ran_out && how.is_by_others() => {
                "the system is out of memory".to_owned()
            }
            None => return self,
        };
        LegError {
            kind: LegErrorKind::HostLacks { how, words },
            ..self
        }
    }

    /// Tells whether this host is at fault, and no build.
    fn is_of_this_host(&self) -> bool {
        match &self.kind {
            LegErrorKind::HostLacks { .. }
            | LegErrorKind::CannotBeSetUp(Obstacle::NoChannel { .. }) => true,
            LegErrorKind::DoesNotStart(error) => error.is_of_this_host(),
            // It did start before, and was started again.
            LegErrorKind::NoLongerStarts { error, .. } => error.may_pass(),
            LegErrorKind::NotDriven { stderr, .. } | LegErrorKind::NoWorkload { stderr, .. } => {
                output::start::lacking(stderr).is_some()
            }
            _ => false,
        }
    }

    /// Returns the outcome of a leg that ends so.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.is_of_this_host() {
            return Outcome::Skip;
        }
        match &self.kind {
            LegErrorKind::CannotBeSetUp(_)
            | LegErrorKind::HostLacks { .. }
            | LegErrorKind::DoesNotStart(_)
            | LegErrorKind::NoWorkload { .. } => Outcome::Skip,
            LegErrorKind::NotDriven { .. } if self.is_killed_by_others() => Outcome::Skip,
            LegErrorKind::NotDriven { .. } => Outcome::Broken,
            LegErrorKind::CommandRefused(_) | LegErrorKind::MigrationFailed(_) => Outcome::Fail,
            LegErrorKind::Ended(how) if self.is_refusal(*how) => Outcome::Fail,
            LegErrorKind::NoLongerStarts { .. }
            | LegErrorKind::Ended(_)
            | LegErrorKind::Monitor(_) => Outcome::Crash,
            LegErrorKind::TimedOut(_) => Outcome::Hang,
            LegErrorKind::Memory(_)
            | LegErrorKind::State { .. }
            | LegErrorKind::Guest(_)
            | LegErrorKind::Complaint(_) => Outcome::Lost,
        }
    }

    /// Distinguishes a destination that refused the stream from one that died: up to 9.0 it exits
    /// with status 1 then. One that has taken the stream refuses it no more.
    fn is_refusal(&self, how: Ended) -> bool {
        self.side == Some(LegSide::Destination)
            && self.phase <= Phase::Transfer
            && how.0.code() == Some(1)
    }

    /// Returns the kind of failure as reports name it.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        if self.is_of_this_host() {
            return FailureKind::HostLacks;
        }
        match &self.kind {
            LegErrorKind::CannotBeSetUp(_) => FailureKind::CannotBeSetUp,
            LegErrorKind::HostLacks { .. } => FailureKind::HostLacks,
            LegErrorKind::DoesNotStart(_) | LegErrorKind::NoLongerStarts { .. } => {
                FailureKind::DoesNotStart
            }
            LegErrorKind::CommandRefused(_) | LegErrorKind::MigrationFailed(_) => {
                FailureKind::Refused
            }
            LegErrorKind::Ended(how) if self.is_refusal(*how) => FailureKind::Refused,
            LegErrorKind::Ended(_) => FailureKind::Died,
            LegErrorKind::NotDriven { why, .. } if why.is_deadline() => FailureKind::TimedOut,
            LegErrorKind::NotDriven { .. } => FailureKind::Died,
            LegErrorKind::TimedOut(_) => FailureKind::TimedOut,
            LegErrorKind::Monitor(_) => FailureKind::MonitorFailed,
            LegErrorKind::Memory(_) => FailureKind::MemoryDiffers,
            LegErrorKind::State { .. } => FailureKind::StateDiffers,
            LegErrorKind::NoWorkload { .. } if self.end().is_some() => FailureKind::Died,
            LegErrorKind::NoWorkload { .. } | LegErrorKind::Guest(_) => FailureKind::GuestFailed,
            LegErrorKind::Complaint(_) => FailureKind::Complaint,
        }
    }

    /// Tells whether the source gave up, so that the destination had no whole stream to refuse. A source
    /// whose migration has the status "failed" may only have lost its destination.
    pub(crate) fn source_gave_up(&self) -> bool {
        self.side == Some(LegSide::Source) && !matches!(self.kind, LegErrorKind::MigrationFailed(_))
    }

    /// Returns who may have killed a process, for the end of a sentence.
    fn killer(&self) -> &'static str {
        match self.is_killed_by_others() {
            true => ", by a person or by a system that is out of memory",
            false => "",
        }
    }

    /// Returns the section that differs, and its instance.
    pub(crate) fn section(&self) -> Option<(&SectionName, u64)> {
        match &self.kind {
            LegErrorKind::State { first, .. } => Some((&first.section, first.instance)),
            _ => None,
        }
    }

    /// Returns the field that differs, or the memory by the build's name for it.
    pub(crate) fn field(&self) -> Option<&str> {
        match &self.kind {
            LegErrorKind::State { first, .. } => Some(&first.field),
            LegErrorKind::Memory(fault) => fault.first_block(),
            _ => None,
        }
    }
}

/// The end of a sentence that quotes the line in which a build complains, if it has printed one.
fn said(stderr: &str) -> String {
    let line = output::reason(stderr);
    line.map_or_else(String::new, |line| format!("; it said: {line}"))
}

impl fmt::Display for LegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every kind that is of one side has it.
        let side = self.side.unwrap_or(LegSide::Destination);
        match &self.kind {
            LegErrorKind::CannotBeSetUp(obstacle) => {
                // Some obstacles are of neither side, such as what this host lacks.
                if let Some(side) = self.side {
                    write!(f, "{side}, ")?;
                }
                obstacle.fmt(f)
            }
            LegErrorKind::DoesNotStart(error) => error.fmt(f),
            LegErrorKind::NoLongerStarts { leg, error } => write!(
                f,
                "the destination of leg {leg} does not start, as its build did before: {}: {}",
                error.label, error.problem
            ),
            LegErrorKind::NoWorkload { label, why, stderr } => {
                let (killer, words) = (self.killer(), said(stderr));
                write!(
                    f,
                    "{label}: the guest does not work before any migration: {why}{killer}{words}"
                )
            }
            LegErrorKind::NotDriven {
                label,
                why,
                end,
                stderr,
            } => {
                write!(
                    f,
                    "{label} does not bear what a driver does to its devices, before any migration: {why}"
                )?;
                if let Some(how) = end {
                    write!(f, ", and {how}{}", self.killer())?;
                }
                f.write_str(&said(stderr))
            }
            LegErrorKind::CommandRefused(reason) => write!(f, "{side} refused: {reason}"),
            LegErrorKind::MigrationFailed(Some(reason)) => f.write_str(reason),
            LegErrorKind::MigrationFailed(None) => f.write_str(match side {
                LegSide::Source => "the save failed",
                LegSide::Destination => "the load failed",
            }),
            LegErrorKind::Ended(how) => {
                let when = match self.phase {
                    Phase::Quit => " when it was asked to quit",
                    Phase::Resume => " when the guest went on",
                    _ => "",
                };
                write!(f, "{side} {how}{when}{}", self.killer())
            }
            LegErrorKind::HostLacks { how, words } => {
                write!(f, "{side} {how}, for this host has no room for it: {words}")
            }
            LegErrorKind::TimedOut(timeout) => {
                write!(f, "{side}{timeout}")?;
                self.waited.as_ref().map_or(Ok(()), |waited| waited.fmt(f))
            }
            LegErrorKind::Monitor(error) => write!(f, "{side}: {error}"),
            LegErrorKind::Memory(fault) => fault.fmt(f),
            LegErrorKind::State { first, count } => f.write_str(&sentence(first, *count)),
            LegErrorKind::Guest(fault) => fault.fmt(f),
            LegErrorKind::Complaint(line) => match side {
                LegSide::Source => {
                    write!(f, "the migration completed, but the source says: {line}")
                }
                LegSide::Destination => write!(f, "it loaded, but the destination says: {line}"),
            },
        }
    }
}

macro_rules! from {
    ($($type:ident => $kind:ident),*) => {
        $(impl From<$type> for LegErrorKind {
            fn from(value: $type) -> Self {
                LegErrorKind::$kind(value)
            }
        })*
    };
}
from!(
    Obstacle => CannotBeSetUp,
    Timeout => TimedOut,
    Ended => Ended,
    GuestFault => Guest
);

impl From<MemoryFault> for LegErrorKind {
    fn from(fault: MemoryFault) -> Self {
        LegErrorKind::Memory(Box::new(fault))
    }
}

/// Has a side execute a command. One that fails is an error of the leg.
pub(crate) async fn execute<C>(
    vm: &mut Vm,
    side: LegSide,
    phase: Phase,
    command: C,
) -> Result<C::Ok, LegError>
where
    C: QmpCommand<Ok: Send> + 'static,
{
    let answer = vm.execute(command).await;
    checked(vm, side, phase, answer).await
}

/// Makes the error of a leg of that of a command which one side has executed.
pub(crate) async fn checked<T>(
    vm: &mut Vm,
    side: LegSide,
    phase: Phase,
    answer: Result<T, QmpError>,
) -> Result<T, LegError> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) => Err(LegError::of_command(side, phase, error)
            .with_end_of(vm)
            .await),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_build_that_is_killed_as_it_starts_is_told_from_one_that_refuses() {
        let (killed, died, refused) = (9, 11, 1 << 8);
        for (status, memory_ran_out, kind) in [
            (killed, true, FailureKind::HostLacks),
            (killed, false, FailureKind::DoesNotStart),
            (died, true, FailureKind::DoesNotStart),
            (refused, true, FailureKind::DoesNotStart),
        ] {
            let error = Arc::new(StartError {
                label: "a build".to_owned(),
                problem: Problem::Ended(Ended(ExitStatus::from_raw(status))),
                stderr: String::new(),
            });
            let kind_of_leg = LegErrorKind::DoesNotStart(error);
            let error = LegError::new(LegSide::Source, Phase::Launch, kind_of_leg);
            let error = error.unless_of_host("", "", memory_ran_out);
            assert_eq!(error.outcome(), Outcome::Skip, "{status}: {error}");
            assert_eq!(error.failure_kind(), kind, "{status}: {error}");
        }
    }

    #[test]
    fn a_source_that_dies_before_any_migration_is_told_from_a_guest_that_does_not_work() {
        let (killed, died, ended) = (9, 11, 1 << 8);
        let hub = "qemu-system-x86_64: warning: hub 0 is not connected to host network";
        let by = ", by a person or by a system that is out of memory";
        for (status, memory_ran_out, driven, kind, killer) in [
            (killed, false, Outcome::Skip, FailureKind::Died, by),
            (killed, true, Outcome::Skip, FailureKind::HostLacks, ""),
            (died, true, Outcome::Broken, FailureKind::Died, ""),
            (ended, false, Outcome::Broken, FailureKind::Died, ""),
        ] {
            let how = Ended(ExitStatus::from_raw(status));
            let (label, stderr) = ("a build".to_owned(), hub.to_owned());
            let boots = LegErrorKind::NoWorkload {
                label: label.clone(),
                why: BootError::Ended(how),
                stderr: stderr.clone(),
            };
            let after = "readb 0x8".to_owned();
            let drives = LegErrorKind::NotDriven {
                label,
                why: Arc::new(DriveError::Closed { after }),
                end: Some(how),
                stderr,
            };
            for (of_leg, outcome) in [(boots, Outcome::Skip), (drives, driven)] {
                let error = LegError::new(LegSide::Source, Phase::Boot, of_leg);
                let error = error.unless_of_host("", "", memory_ran_out);
                let text = error.to_string();
                assert_eq!(error.outcome(), outcome, "{text}");
                assert_eq!(error.failure_kind(), kind, "{text}");
                assert!(text.contains(&how.to_string()), "{text}");
                assert_eq!(text.contains(by), !killer.is_empty(), "{text}");
                assert!(!text.contains("hub"), "{text}");
            }
        }
    }

    #[test]
    fn a_side_that_died_for_want_of_memory_is_told_from_one_that_somebody_killed() {
        let (killed, aborted, refused) = (9, 6, 1 << 8);
        let memory = "q: cannot set up guest memory 'x': Cannot allocate memory\n";
        for (status, printed, memory_ran_out, outcome, kind) in [
            (killed, "", true, Outcome::Skip, FailureKind::HostLacks),
            (killed, "", false, Outcome::Crash, FailureKind::Died),
            (aborted, "", true, Outcome::Crash, FailureKind::Died),
            (
                aborted,
                memory,
                false,
                Outcome::Skip,
                FailureKind::HostLacks,
            ),
            // A size that the stream names, of which it does not die.
            (refused, memory, true, Outcome::Fail, FailureKind::Refused),
        ] {
            for side in [LegSide::Source, LegSide::Destination] {
                if status == refused && side == LegSide::Source {
                    continue;
                }
                let how = Ended(ExitStatus::from_raw(status));
                let error = LegError::new(side, Phase::Transfer, LegErrorKind::Ended(how));
                let [source, destination] = match side {
                    LegSide::Source => [printed, ""],
                    LegSide::Destination => ["", printed],
                };
                let error = error.unless_of_host(source, destination, memory_ran_out);
                assert_eq!(error.outcome(), outcome, "{status} {side:?}: {error}");
                assert_eq!(error.failure_kind(), kind, "{status} {side:?}: {error}");
            }
        }
    }
}
