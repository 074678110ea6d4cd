//! Which side did what to a leg that did not pass.

use std::fmt;
use std::time::Duration;

use crate::migration::endpoint::vm::Vm;
use crate::model::SectionName;
use crate::qemu::Ended;
use crate::qemu::qmp::QmpError;
use crate::report::Outcome;

/// How long the other side gets to say why, once one side has failed.
pub(crate) const AFTERWORD: Duration = Duration::from_secs(2);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Source => "the source",
            End::Destination => "the destination",
        })
    }
}

/// A leg that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegError {
    pub outcome: Outcome,
    /// In our words.
    pub message: String,
    /// What the builds gave as reasons over their monitors.
    pub reasons: Vec<String>,
    /// The section that differs, and its instance.
    pub section: Option<(SectionName, u64)>,
    /// The field, or the memory by the build's name for it, that differs.
    pub place: Option<String>,
}

impl LegError {
    pub(crate) fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        LegError {
            outcome,
            message: message.into(),
            reasons: Vec::new(),
            section: None,
            place: None,
        }
    }
}

/// What a failed command on one side means for the leg.
pub(crate) async fn broken(vm: &mut Vm, end: End, error: QmpError) -> LegError {
    match error {
        QmpError::Refused { description, .. } => LegError {
            outcome: Outcome::Fail,
            message: format!("{end} refused: {description}"),
            reasons: vec![description],
            section: None,
            place: None,
        },
        QmpError::Deadline { .. } => LegError::new(Outcome::Hang, format!("{end}: {error}")),
        error => match ended(vm, AFTERWORD).await {
            Some(how) => dead(end, how),
            None => LegError::new(Outcome::Crash, format!("{end}: {error}")),
        },
    }
}

/// How a process ended, if it does so in time; unlike a plain wait this kills nobody.
pub(crate) async fn ended(vm: &mut Vm, within: Duration) -> Option<Ended> {
    let exit = vm.monitored.process.wait(Duration::MAX);
    match tokio::time::timeout(within, exit).await {
        Ok(Ok(status)) => Some(Ended(status)),
        _ => None,
    }
}

/// A QEMU that ended where it should have gone on. A destination up to 9.0 exits with status 1 when
/// it refuses a stream.
pub(crate) fn dead(end: End, how: Ended) -> LegError {
    let refused = end == End::Destination && how.0.code() == Some(1);
    let outcome = if refused {
        Outcome::Fail
    } else {
        Outcome::Crash
    };
    LegError::new(outcome, format!("{end} {how}"))
}
