//! What both sides left of a leg that did not pass, and what that tells.

use crate::migration::checks::state;
use crate::migration::checks::state::Seen;
use crate::migration::diagnosis::cause;
use crate::migration::diagnosis::load_trace::Reached;
use crate::migration::endpoint::commands::QueryPci;
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{End, LegError};
use crate::migration::result::{RunResult, tail};
use crate::model::SectionName;
use crate::report::{Cause, Leg, Outcome};

/// The end of a case with a failed leg.
pub(crate) async fn of_leg(
    unfit: LegError,
    legs: Vec<Leg>,
    state: Seen,
    mut source: Vm,
    mut destination: Vm,
) -> RunResult {
    let mut files = Vec::new();
    let layout = match layout(&source).await {
        // A source that has done its work is gone.
        none if none.is_empty() => layout(&destination).await,
        some => some,
    };
    for (vm, name) in [(&mut source, "source"), (&mut destination, "destination")] {
        vm.monitored.process.kill().await;
        files.push((format!("{name}.cmd"), format!("{}\n", vm.command_line)));
        files.push((format!("{name}.qmp"), vm.monitored.session.transcript()));
        files.push((format!("{name}.stderr"), vm.monitored.process.stderr()));
    }
    let traced = destination.traced();
    let reached = Reached::from_trace(&traced);
    if !traced.is_empty() {
        files.push(("destination.trace".to_owned(), traced));
    }
    let source_stderr = source.monitored.process.stderr();
    let destination_stderr = destination.monitored.process.stderr();
    let mut cause = match unfit.outcome {
        // Nothing that was printed tells more than what was found to be different.
        Outcome::Lost | Outcome::Hang => Cause {
            section: unfit.section.as_ref().map(|(section, _)| section.clone()),
            instance: unfit.section.as_ref().map(|&(_, instance)| instance),
            field: unfit.place.clone(),
            message: unfit.message.clone(),
            ..Cause::default()
        },
        // What the other side says of it is an effect.
        Outcome::Crash => {
            let of_source = unfit.message.starts_with(&End::Source.to_string());
            let said = if of_source {
                &source_stderr
            } else {
                &destination_stderr
            };
            let mut cause = cause::read(&[said], &unfit.message);
            if !cause.message.starts_with(&unfit.message) {
                cause.message = format!("{}; {}", unfit.message, cause.message);
            }
            cause
        }
        _ => {
            let mut texts: Vec<&str> = vec![&destination_stderr];
            texts.extend(unfit.reasons.iter().map(String::as_str));
            texts.push(&source_stderr);
            cause::read(&texts, &unfit.message)
        }
    };
    place(&mut cause, &unfit, reached);
    let suspect = suspect(&layout, cause.section.as_ref());
    RunResult {
        outcome: unfit.outcome,
        cause: Some(cause),
        legs,
        source_stderr: tail(&source_stderr),
        destination_stderr: tail(&destination_stderr),
        files,
        refusals: Vec::new(),
        state,
        values_differ: false,
        wrong: None,
        suspect,
        buses: None,
    }
}

/// The end of a case whose values did not arrive as they were sent.
pub(crate) async fn of_values(
    state: Seen,
    legs: Vec<Leg>,
    source: Vm,
    destination: Vm,
) -> RunResult {
    let first = state.diffs.first();
    let message = first.map_or_else(String::new, |diff| state::sentence(diff, state.diffs.len()));
    let mut unfit = LegError::new(Outcome::Lost, message);
    unfit.section = first.map(|diff| (diff.section.clone(), diff.instance));
    unfit.place = first.map(|diff| diff.field.clone());
    let mut attempt = of_leg(unfit, legs, state, source, destination).await;
    attempt.values_differ = true;
    attempt
}

/// Adds the section that was begun last to a cause that names none. A source that failed has not sent
/// the next one: the destination knows nothing of it.
fn place(cause: &mut Cause, unfit: &LegError, reached: Reached) {
    let of_source = unfit.message.starts_with(&End::Source.to_string());
    let cut_off = cause.message.contains("Input/output error");
    if cause.section.is_some() || of_source || cut_off {
        return;
    }
    let Reached::Section { name, instance } = &reached else {
        return;
    };
    let (told, rest) = match cause.message.strip_prefix(&unfit.message) {
        Some(rest) => (unfit.message.as_str(), rest),
        None => (cause.message.as_str(), ""),
    };
    cause.message = match unfit.outcome {
        Outcome::Crash => format!("{told} while it loaded {reached}{rest}"),
        Outcome::Fail | Outcome::Hang => format!("{told}, loading {reached}{rest}"),
        _ => return,
    };
    cause.section = Some(name.as_str().into());
    cause.instance = Some(*instance);
}

/// The device that a section such as `0000:00:05.0/pciespscsi` belongs to.
fn suspect(layout: &[(String, String)], section: Option<&SectionName>) -> Option<String> {
    let section = section?;
    let found = layout.iter().find(|(address, _)| section.is_at(address));
    found.map(|(_, id)| id.clone())
}

/// Which device is where on the root buses of a build that still answers, as sections are named.
async fn layout(vm: &Vm) -> Vec<(String, String)> {
    let asked = vm.monitored.session.execute(QueryPci {}, vm.command);
    let buses = asked.await.unwrap_or_default();
    buses
        .into_iter()
        .flat_map(|bus| bus.devices)
        .filter(|device| !device.qdev_id.is_empty())
        .map(|at| {
            let address = format!("0000:{:02x}:{:02x}.{:x}", at.bus, at.slot, at.function);
            (address, at.qdev_id)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cause of a leg that ended so, with its destination last heard of in `vga` instance 2.
    fn placed(outcome: Outcome, ended: &str, said: &str) -> Cause {
        let unfit = LegError::new(outcome, ended);
        let mut cause = Cause {
            message: said.to_owned(),
            ..Cause::default()
        };
        let reached = Reached::Section {
            name: "vga".to_owned(),
            instance: 2,
        };
        place(&mut cause, &unfit, reached);
        cause
    }

    #[test]
    fn a_cause_without_a_section_gets_the_one_begun_last() {
        for (outcome, ended, said, tells) in [
            (
                Outcome::Crash,
                "the destination was killed by SIGABRT",
                "the destination was killed by SIGABRT; x.c:1: f: Assertion `n' failed.",
                "the destination was killed by SIGABRT while it loaded vga instance 2; x.c:1: f: Assertion `n' failed.",
            ),
            (
                Outcome::Hang,
                "the destination does not answer 60 s after the migration began",
                "the destination does not answer 60 s after the migration began",
                "the destination does not answer 60 s after the migration began, loading vga instance 2",
            ),
            (
                Outcome::Fail,
                "the destination exited with status 1",
                "load of migration failed: Invalid argument",
                "load of migration failed: Invalid argument, loading vga instance 2",
            ),
        ] {
            let cause = placed(outcome, ended, said);
            assert_eq!(cause.message, tells);
            assert_eq!(cause.section, Some("vga".into()));
            assert_eq!(cause.instance, Some(2));
        }
    }

    #[test]
    fn a_stream_that_the_source_cut_off_has_no_place() {
        for (outcome, ended, said) in [
            (Outcome::Crash, "the source was killed by SIGSEGV", ""),
            (
                Outcome::Hang,
                "the source is not through 60 s after the migration began",
                "",
            ),
            (
                Outcome::Fail,
                "the destination exited with status 1",
                "load of migration failed: Input/output error",
            ),
        ] {
            let said = if said.is_empty() { ended } else { said };
            let cause = placed(outcome, ended, said);
            assert_eq!((cause.section, cause.message.as_str()), (None, said));
        }
    }

    #[test]
    fn a_section_belongs_to_the_device_at_its_address() {
        let layout = [("0000:00:01.0", "a"), ("0000:00:01.1", "b")];
        let layout = layout.map(|(at, id)| (at.to_owned(), id.to_owned()));
        for (section, id) in [
            (Some("0000:00:01.1/vga"), Some("b")),
            (Some("0000:00:01.1f/vga"), None),
            (Some("vga"), None),
            (None, None),
        ] {
            let section = section.map(SectionName::new);
            assert_eq!(
                suspect(&layout, section.as_ref()).as_deref(),
                id,
                "{section:?}"
            );
        }
    }
}
