//! Trying a stream that failed between the sections of devices without what one build does to every stream and the other
//! one does not know: memory is sent in a way of each release's own, too.

use std::collections::BTreeMap;

use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::capability::Capability;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{RAM, SectionName, Side};
use crate::qemu::{StartError, Switch};
use crate::report::{LegSide, Outcome, PassesWith};

/// Looks for switches that one build alone has, the source's first, with which set the other way the case passes. The compat
/// properties of a machine type set them so; a machine type without a version has none, so that whoever runs it has to.
/// It has to pass so often.
///
/// # Errors
/// A build cannot be asked any more.
pub(crate) async fn passes_with(
    guest: RunSpec<'_>,
    result: &RunResult,
    is_intermittent: bool,
    times: usize,
) -> Result<Option<PassesWith>, StartError> {
    let Some(cause) = &result.cause else {
        return Ok(None);
    };
    let section = cause.section.as_ref().map(SectionName::vmsd_name);
    let is_of_device = section.is_some_and(|section| section != RAM);
    // A source that waits for ever does so for the destination.
    let is_of_source = result.outcome != Outcome::Hang && result.failed_side() == LegSide::Source;
    let config = guest.config;
    if is_of_device
        || is_of_source
        || !may_be_switched(result, is_intermittent, &config.capabilities)
    {
        return Ok(None);
    }
    let (old, new) = tokio::join!(
        config.old.build.migration_switches(),
        config.new.build.migration_switches()
    );
    let (old, new) = (old?, new?);
    let direction = result.last_direction(guest.direction);
    let (source, destination) = direction.source_destination(Side::Old, Side::New);
    for side in [source, destination] {
        let switches = match side {
            Side::New => alone(&new, &old),
            Side::Old | Side::Both => alone(&old, &new),
        };
        let needed = needed(guest, side, switches, times).await;
        if !needed.is_empty() {
            let args = needed.join(" ");
            return Ok(Some(PassesWith { side, args }));
        }
    }
    Ok(None)
}

/// Tells whether a failure is of the kind that switches make. What a build does not know in the main stream it refuses, each
/// time: only with the channels of a capability a side waits for it, or fails now and then.
fn may_be_switched(result: &RunResult, is_intermittent: bool, capabilities: &[Capability]) -> bool {
    match result.outcome {
        Outcome::Fail | Outcome::Lost => !is_intermittent || !capabilities.is_empty(),
        Outcome::Hang => !capabilities.is_empty(),
        _ => false,
    }
}

/// Returns the options that set the switches which one build alone has the other way.
fn alone(ours: &BTreeMap<String, Switch>, theirs: &BTreeMap<String, Switch>) -> Vec<String> {
    let alone = ours
        .iter()
        .filter(|(name, switch)| !switch.is_capability && !theirs.contains_key(*name));
    let option = |(name, switch): (&String, &Switch)| {
        let other = if switch.is_on { "off" } else { "on" };
        format!("-global migration.{name}={other}")
    };
    alone.map(option).collect()
}

/// Returns those of the options without which the case does not pass, where it passes with all of them. One that does not
/// may take until its deadline, so that no other choice of them is tried.
async fn needed(
    guest: RunSpec<'_>,
    side: Side,
    mut options: Vec<String>,
    times: usize,
) -> Vec<String> {
    if options.is_empty() || !passes(guest, side, &options, times).await {
        return Vec::new();
    }
    // One by one, and the last one as well: a case that passes without any is one of chance.
    let mut at = 0;
    while at < options.len() {
        let mut fewer = options.clone();
        fewer.remove(at);
        match passes(guest, side, &fewer, times).await {
            true => options = fewer,
            false => at += 1,
        }
    }
    options
}

/// Tells whether the case passes so often where the build of a side is given these options.
async fn passes(guest: RunSpec<'_>, side: Side, options: &[String], times: usize) -> bool {
    let mut config = MigrationConfig::clone(guest.config);
    let endpoint = match side {
        Side::New => &mut config.new,
        Side::Old | Side::Both => &mut config.old,
    };
    let words = options.iter().flat_map(|option| option.split(' '));
    endpoint.args.extend(words.map(str::to_owned));
    let route = config.route(guest.direction);
    let run = RunSpec {
        config: &config,
        route: &route,
        ..guest
    };
    run.until_failure(times).await.failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_that_one_build_alone_has_are_set_the_other_way() {
        let of = |switches: &[(&str, bool, bool)]| -> BTreeMap<String, Switch> {
            let switches = switches.iter().map(|&(name, is_on, is_capability)| {
                let switch = Switch {
                    is_on,
                    is_capability,
                };
                (name.to_owned(), switch)
            });
            switches.collect()
        };
        let ours = of(&[
            ("a", true, false),
            ("b", false, false),
            ("both", true, false),
            ("x-multifd", false, true),
            // A build may be unable to use a capability, and not list it.
            ("x-block", false, false),
        ]);
        let theirs = of(&[
            ("both", false, false),
            ("theirs", true, false),
            ("x-block", false, true),
        ]);
        let options = ["-global migration.a=off", "-global migration.b=on"];
        assert_eq!(alone(&ours, &theirs), options);
        assert_eq!(alone(&theirs, &ours), ["-global migration.theirs=off"]);
        assert_eq!(alone(&ours, &ours), [""; 0]);
    }
}
