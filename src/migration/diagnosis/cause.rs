//! The cause of a leg that did not pass, out of the error, of what both builds printed and of how far
//! the load got.

use crate::migration::diagnosis::load_trace::Reached;
use crate::migration::leg::error::{LegError, LegErrorKind};
use crate::model::{Rule, VirtioKind, feature_name};
use crate::qemu::output::load::{LoadFailure, Printed, Refused, is_io_error};
use crate::report::{Cause, Change, LegSide, Outcome};
use crate::stream::tree::Command;

/// The error outputs of both sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stderr {
    pub source: String,
    pub destination: String,
}

/// Diagnoses an error: returns its cause, and the failure as QEMU printed it. `reached` is how far the destination got.
pub(crate) fn diagnose(
    error: &LegError,
    stderr: &Stderr,
    reached: &Reached,
) -> (Cause, Option<LoadFailure>) {
    let printed = read(error, stderr);
    let failure = printed.failure();
    let mut cause = facts(error);
    if let Some(failure) = failure {
        cause.section = failure.section.clone();
        cause.instance = failure.instance;
        cause.field = failure.field.clone();
    }
    let mut place = None;
    if let Reached::Section { name, instance } = reached
        && cause.section.is_none()
        && has_place(error, &printed)
    {
        cause.section = Some(name.clone());
        cause.instance = Some(*instance);
        place = Some(reached);
    }
    cause.features = missing_features(&printed);
    cause.message = sentence(error, &printed, place);
    if !cause.features.is_empty() {
        let names = cause.features.join(", ");
        let lacks = "which the destination's build does not offer";
        cause.message = format!(
            "{}: the guest's driver accepted {names}, {lacks}",
            cause.message
        );
    }
    (cause, failure.cloned())
}

/// Returns the names of the features of a virtio device that a build misses.
fn missing_features(printed: &Printed) -> Vec<String> {
    let Some(Refused::Features { missing }) = refused(printed) else {
        return Vec::new();
    };
    let section = printed
        .failure()
        .and_then(|failure| failure.section.as_ref());
    let kind = section.and_then(|section| VirtioKind::of_vmsd(section.vmsd_name()));
    (0..u64::BITS)
        .filter(|bit| missing >> bit & 1 == 1)
        .map(|bit| feature_name(kind, bit))
        .collect()
}

/// Returns what the error alone says, without a sentence.
fn facts(error: &LegError) -> Cause {
    let section = error.section();
    Cause {
        side: error.side,
        phase: Some(error.phase),
        kind: Some(error.failure_kind()),
        section: section.map(|(name, _)| name.to_owned()),
        instance: section.map(|(_, instance)| instance),
        field: error.field().map(str::to_owned),
        // A loss that is an example of a rule by itself.
        rule: match &error.kind {
            LegErrorKind::State { first, .. } if first.change == Change::Filled => {
                Some(Rule::FieldPadded)
            }
            _ => None,
        },
        waiting: error.waited.as_ref().map(|waited| waited.facts()),
        ..Cause::default()
    }
}

/// Returns the cause of an error of which nothing else is known.
pub(crate) fn of_error(error: &LegError) -> Cause {
    Cause {
        message: error.to_string(),
        ..facts(error)
    }
}

/// Reads from what was printed why a side failed, where that can say more than the error.
fn read(error: &LegError, stderr: &Stderr) -> Printed {
    match error.outcome() {
        // Its words are in the error.
        _ if matches!(error.kind, LegErrorKind::HostLacks { .. }) => Printed::Nothing,
        // Nothing that was printed says more than what was found to be different.
        Outcome::Lost | Outcome::Hang => Printed::Nothing,
        // What the other side prints is an effect.
        Outcome::Crash => Printed::read(&[match error.side {
            Some(LegSide::Source) => stderr.source.as_str(),
            _ => stderr.destination.as_str(),
        }]),
        _ => {
            let reasons = error.reasons.iter().map(String::as_str);
            let texts: Vec<&str> = std::iter::once(stderr.destination.as_str())
                .chain(reasons)
                .chain([stderr.source.as_str()])
                .collect();
            Printed::read(&texts)
        }
    }
}

/// Tells whether the section that was begun last is where the load failed. A source that gave up has not
/// sent the next one: the destination knows nothing of it.
fn has_place(error: &LegError, printed: &Printed) -> bool {
    // What was printed in a known wording takes the place of the reason in the error.
    let reason = match (&error.kind, printed) {
        (_, Printed::Failure(_)) => None,
        (LegErrorKind::MigrationFailed(reason), _) => reason.as_deref(),
        (LegErrorKind::CommandRefused(reason), _) => Some(reason.as_str()),
        _ => None,
    };
    let cut_off = printed.is_io_error() || reason.is_some_and(is_io_error);
    let loads = matches!(
        error.outcome(),
        Outcome::Crash | Outcome::Fail | Outcome::Hang
    );
    let between = matches!(refused(printed), Some(Refused::Command(_)));
    loads && !error.is_killed_by_others() && !error.source_gave_up() && !cut_off && !between
}

fn refused(printed: &Printed) -> Option<Refused> {
    printed.failure().and_then(|failure| failure.refused)
}

/// Makes the sentence for people.
fn sentence(error: &LegError, printed: &Printed, place: Option<&Reached>) -> String {
    let died = error.outcome() == Outcome::Crash;
    let place = match place {
        None => String::new(),
        Some(section) if died => format!(" while it loaded {section}"),
        Some(section) => format!(", loading {section}"),
    };
    match printed {
        Printed::Nothing => format!("{error}{place}"),
        Printed::Unrecognised(line) => format!("{error}{place}; it said: {line}"),
        Printed::Failure(failure) if died => format!("{error}{place}; {}", failure.words),
        Printed::Failure(LoadFailure {
            refused: Some(Refused::Command(number)),
            words,
            ..
        }) => {
            let name =
                Command::name_of(*number).map_or_else(String::new, |name| format!(" {name}"));
            format!(
                "{words}: the source sends the command{name} between sections, which the destination's build does \
                 not know"
            )
        }
        // That a side refused goes without saying.
        Printed::Failure(failure) => format!("{}{place}", failure.words),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;
    use crate::migration::leg::error::Timeout;
    use crate::qemu::Ended;
    use crate::report::{FailureKind, Phase, StateDiff, testing};

    const SIGABRT: i32 = 6;
    const EXIT_1: i32 = 1 << 8;

    fn ended(side: LegSide, wait_status: i32) -> LegError {
        let how = Ended(ExitStatus::from_raw(wait_status));
        LegError::new(side, Phase::Transfer, how)
    }

    fn not_completed(side: LegSide) -> LegError {
        let timeout = Timeout::NotCompleted(Duration::from_secs(60));
        LegError::new(side, Phase::Transfer, timeout)
    }

    /// The cause of a leg with its destination last heard of in `vga` instance 2.
    fn placed(error: &LegError, destination: &str) -> Cause {
        let stderr = Stderr {
            source: String::new(),
            destination: destination.to_owned(),
        };
        let reached = Reached::Section {
            name: "vga".into(),
            instance: 2,
        };
        diagnose(error, &stderr, &reached).0
    }

    #[test]
    fn a_cause_without_a_section_gets_the_one_begun_last() {
        use LegSide::Destination;
        for (error, printed, kind, message) in [
            (
                ended(Destination, SIGABRT),
                "x.c:1: f: Assertion `n' failed.",
                FailureKind::Died,
                "the destination was killed by SIGABRT while it loaded vga instance 2; x.c:1: f: Assertion `n' failed.",
            ),
            (
                not_completed(Destination),
                "",
                FailureKind::TimedOut,
                "the destination is not through 60 s after the migration began, loading vga instance 2",
            ),
            (
                ended(Destination, EXIT_1),
                "qemu-system-arm: load of migration failed: Invalid argument",
                FailureKind::Refused,
                "load of migration failed: Invalid argument, loading vga instance 2",
            ),
            (
                ended(Destination, EXIT_1),
                "odd words",
                FailureKind::Refused,
                "the destination exited with status 1, loading vga instance 2; it said: odd words",
            ),
        ] {
            let cause = placed(&error, printed);
            assert_eq!(cause.message, message);
            assert_eq!(cause.section, Some("vga".into()));
            assert_eq!(cause.instance, Some(2));
            assert_eq!(cause.kind, Some(kind));
            assert_eq!(cause.side, Some(Destination));
        }
    }

    #[test]
    fn a_stream_that_the_source_cut_off_has_no_place() {
        let failed = |reason: &str| {
            let kind = LegErrorKind::MigrationFailed(Some(reason.to_owned()));
            LegError::new(LegSide::Destination, Phase::Transfer, kind)
        };
        let killed = "the source was killed by SIGSEGV";
        let late = "the source is not through 60 s after the migration began";
        let load = "load of migration failed: Input/output error";
        let channel = "channel: Input/output error";
        for (error, printed, message) in [
            (ended(LegSide::Source, 11), "", killed),
            (not_completed(LegSide::Source), "", late),
            (ended(LegSide::Destination, EXIT_1), load, load),
            (failed(channel), "", channel),
        ] {
            let cause = placed(&error, printed);
            assert_eq!((cause.section, cause.message.as_str()), (None, message));
        }
    }

    #[test]
    fn a_source_whose_migration_failed_may_have_lost_its_destination() {
        let kind = LegErrorKind::MigrationFailed(None);
        let error = LegError::new(LegSide::Source, Phase::Transfer, kind);
        let cause = placed(&error, "");
        assert_eq!(cause.message, "the save failed, loading vga instance 2");
        assert_eq!(cause.side, Some(LegSide::Source));
    }

    #[test]
    fn a_command_between_sections_is_of_no_section() {
        let error = ended(LegSide::Destination, EXIT_1);
        let cause = placed(&error, "qemu-system-x86_64: MIG_CMD 0xb unknown (len 0x0)");
        assert_eq!((cause.section, cause.instance), (None, None));
        assert!(
            cause.message.contains("command switchover-start"),
            "{}",
            cause.message
        );
    }

    #[test]
    fn a_section_that_was_printed_stays() {
        let error = ended(LegSide::Destination, EXIT_1);
        let cause = placed(&error, "Failed to load uefi-vars:variables");
        assert_eq!(cause.section, Some("uefi-vars".into()));
        assert_eq!(cause.field.as_deref(), Some("variables"));
        assert_eq!(cause.message, "Failed to load uefi-vars:variables");
    }

    #[test]
    fn a_value_that_comes_from_padding_is_known_by_its_rule_without_any_dump() {
        for (change, rule) in [
            (Change::Filled, Some(Rule::FieldPadded)),
            (Change::Changed, None),
            (Change::Displaced, None),
            (Change::Vanished, None),
        ] {
            let diff = StateDiff {
                change,
                ..testing::diff("enable")
            };
            let error = LegError::if_lost(&[diff]).expect_err("a difference");
            assert_eq!(placed(&error, "").rule, rule, "{change:?}");
        }
    }

    #[test]
    fn a_destination_that_exits_once_the_guest_is_there_has_crashed() {
        let mut error = ended(LegSide::Destination, EXIT_1);
        assert_eq!(error.outcome(), Outcome::Fail);
        error.phase = Phase::Resume;
        assert_eq!(error.outcome(), Outcome::Crash);
        assert_eq!(
            error.to_string(),
            "the destination exited with status 1 when the guest went on"
        );
        assert_eq!(ended(LegSide::Source, EXIT_1).outcome(), Outcome::Crash);
    }
}
