//! Explaining why a destination refused a stream, out of the stream itself.

use std::sync::Arc;

use crate::compare::explain::{Blamed, Explanation, Objection, explain};
use crate::compare::renames::NoRenames;
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::leg::save::save_new_machine;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::qemu::output::load::{LoadFailure, Refused};
use crate::report::{Cause, Outcome, Phase};
use crate::stream::Stream;
use crate::vmstate::dump::Dump;
use crate::vmstate::read::parse_dump;

/// Adds to the cause of a run that failed where what was sent and what the destination reads part. For
/// that the destination's build is started once more, with the same machine, and saves it, unless the
/// section in question is in a stream of it that is `known` already.
pub(crate) async fn explain_refusal(spec: RunSpec<'_>, run: &mut RunResult, known: Option<Stream>) {
    let RunSpec {
        config,
        launch,
        route,
        ..
    } = spec;
    let Some(sent) = run.state.refused.take() else {
        return;
    };
    let (Some(leg), Some(cause)) = (run.legs.last(), &mut run.cause) else {
        return;
    };
    let Some(&destination) = route.get(leg.index + 1) else {
        return;
    };
    if !cause.features.is_empty() {
        // The build itself says what it lacks.
        return;
    }
    let has_no_say = run
        .error
        .as_ref()
        .is_some_and(|error| error.source_gave_up() || error.is_killed_by_others());
    // What died later than the load, or nowhere in it, refused nothing.
    let died_elsewhere = run.outcome == Outcome::Crash
        && (cause.phase != Some(Phase::Transfer) || cause.section.is_none());
    let is_refusal = matches!(run.outcome, Outcome::Fail | Outcome::Crash);
    if !is_refusal || has_no_say || died_elsewhere {
        return;
    }
    let known = known.filter(|known| {
        let mut sections = known.devices();
        let blamed = (cause.section.as_ref(), cause.instance);
        sections.any(|s| blamed == (Some(&s.name), Some(s.instance_id.into())))
    });
    let save = async {
        match known {
            Some(known) => Ok(known),
            None => save_new_machine(destination, launch, config.timeouts.leg).await,
        }
    };
    let source = route[leg.index];
    let (saved, dump, source_dump) = tokio::join!(
        save,
        dump_of(destination, destination.machine(&config.machine)),
        dump_of(source, source.machine(&config.machine))
    );
    // Without it the cause is what the build printed.
    let Ok(expected) = saved else {
        return;
    };
    let minimum = run.printed.as_ref().and_then(|printed| {
        let minimum = printed.minimum_version.as_ref()?;
        Some((minimum.of.as_str(), minimum.version))
    });
    let blamed = cause.section.as_ref().map(|section| Blamed {
        section: section.as_str(),
        instance: cause.instance.and_then(|number| number.try_into().ok()),
        field: cause.field.as_deref(),
        minimum,
        objection: match run.outcome {
            Outcome::Crash => Some(Objection::Death),
            _ => run.printed.as_ref().and_then(objection),
        },
    });
    // Only the bytes distinguish a rename that no list knows from a break.
    let why = |sent: &Stream| {
        let expected = (&expected, dump.as_deref());
        let sent = (sent, source_dump.as_deref());
        explain(sent, expected, blamed, &NoRenames, leg.direction)
    };
    let mut found = why(&sent);
    // The state of a guest that ran has its own lengths: a machine of the source's build that never
    // ran has those of the expected one.
    if launch.workload.is_some()
        && found.as_ref().is_some_and(Explanation::is_of_state)
        && let Ok(idle) = save_new_machine(source, launch, config.timeouts.leg).await
    {
        found = why(&idle).map(Explanation::after_reset);
    }
    if launch.workload.is_some() {
        found = found.map(Explanation::after_a_run);
    }
    // A build that died did not refuse: only the place where the two sides part explains that.
    let explains_death = |found: &Explanation| found.offset.is_some() || found.is_same_layout();
    let found = found.filter(|found| run.outcome == Outcome::Fail || explains_death(found));
    if let Some(found) = found {
        *cause = Cause {
            message: format!("{}; {found}", cause.message),
            sent: found.reason.sent(),
            expected: found.reason.expected(),
            section: Some(found.section),
            instance: Some(found.instance_id.into()),
            field: found.field.or(cause.field.take()),
            rule: found.rule,
            offset: found.offset,
            ..std::mem::take(cause)
        };
    }
}

/// Returns what a build says it refused of a section.
fn objection(printed: &LoadFailure) -> Option<Objection> {
    match printed.refused? {
        Refused::ConfigByte { at, sent, own } => Some(Objection::ConfigByte { at, sent, own }),
        Refused::Value => Some(Objection::Value),
        Refused::Length => Some(Objection::Length),
        Refused::Subsection => Some(Objection::Subsection),
        Refused::Command(_) | Refused::Features { .. } => None,
    }
}

/// Returns a build's dump of the machine: it distinguishes a field that is always read from one
/// that a test decides.
async fn dump_of(endpoint: &Endpoint, machine: &str) -> Option<Arc<Dump>> {
    if endpoint.dump.is_some() {
        return endpoint.dump.clone();
    }
    let json = endpoint.build.dump(machine).await.ok()?;
    parse_dump(&json, endpoint.build.label()).ok().map(Arc::new)
}
