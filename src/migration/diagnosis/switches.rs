//! Trying a stream that failed between the sections of devices without what one build does to every stream and the other
//! one does not know: memory is sent in a way of each release's own, too.

use crate::migration::config::MigrationConfig;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{Direction, RAM, SectionName, Side};
use crate::qemu::{StartError, Switch, Switches};
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
    if !is_between_devices(result) || !may_be_switched(result, is_intermittent, guest.config) {
        return Ok(None);
    }
    let direction = result.last_direction(guest.direction);
    for way in ways(guest.config, direction).await? {
        // One that does not pass may take until its deadline, so that no other choice of them is tried.
        if passes(guest, &way, times).await {
            let fewest = fewest(way, async |way| passes(guest, way, times).await).await;
            return Ok(fewest.into());
        }
    }
    Ok(None)
}

/// Options that one build is given.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub side: Side,
    pub options: Vec<String>,
}

impl Way {
    /// Returns the configuration with these options.
    pub(crate) fn taken(&self, config: &MigrationConfig) -> MigrationConfig {
        with_options(config, self.side, self.options.iter().map(String::as_str))
    }
}

impl From<Way> for Option<PassesWith> {
    fn from(Way { side, options }: Way) -> Self {
        let args = options.join(" ");
        (!args.is_empty()).then_some(PassesWith { side, args })
    }
}

impl PassesWith {
    /// Returns the configuration with these options.
    pub(crate) fn taken(&self, config: &MigrationConfig) -> MigrationConfig {
        with_options(config, self.side, [self.args.as_str()])
    }
}

fn with_options<'o>(
    config: &MigrationConfig,
    side: Side,
    options: impl IntoIterator<Item = &'o str>,
) -> MigrationConfig {
    let mut config = config.clone();
    let endpoint = match side {
        Side::New => &mut config.new,
        Side::Old | Side::Both => &mut config.old,
    };
    let words = options.into_iter().flat_map(|option| option.split(' '));
    endpoint.args.extend(words.map(str::to_owned));
    config
}

/// Returns the switches that each build alone has, set the other way: the source's first.
///
/// # Errors
/// A build cannot be asked any more.
pub(crate) async fn ways(
    config: &MigrationConfig,
    direction: Direction,
) -> Result<Vec<Way>, StartError> {
    let (old, new) = tokio::join!(
        config.old.build.migration_switches(),
        config.new.build.migration_switches()
    );
    let (old, new) = (old?, new?);
    let (source, destination) = direction.source_destination(Side::Old, Side::New);
    let way = |side| Way {
        side,
        options: match side {
            Side::New => alone(&new, &old),
            Side::Old | Side::Both => alone(&old, &new),
        },
    };
    let ways = [source, destination].map(way).into_iter();
    Ok(ways.filter(|way| !way.options.is_empty()).collect())
}

/// Tells whether a case failed outside of the sections of devices, and not for its source alone.
fn is_between_devices(result: &RunResult) -> bool {
    let Some(cause) = &result.cause else {
        return false;
    };
    let section = cause.section.as_ref().map(SectionName::vmsd_name);
    let is_of_device = section.is_some_and(|section| section != RAM);
    // A source that waits for ever does so for the destination.
    let is_of_source = result.outcome != Outcome::Hang && result.failed_side() == LegSide::Source;
    !is_of_device && !is_of_source
}

/// Tells whether a failure is of the kind that switches make. What a build does not know in the main stream it refuses, each
/// time: only with the channels of a capability a side waits for it, or fails now and then.
fn may_be_switched(result: &RunResult, is_intermittent: bool, config: &MigrationConfig) -> bool {
    let capabilities = &config.capabilities;
    match result.outcome {
        Outcome::Fail | Outcome::Lost => !is_intermittent || !capabilities.is_empty(),
        Outcome::Hang => !capabilities.is_empty(),
        _ => false,
    }
}

/// Returns the options that set the switches which one build alone has the other way.
fn alone(ours: &Switches, theirs: &Switches) -> Vec<String> {
    let alone = ours
        .iter()
        .filter(|(name, switch)| !switch.is_capability && !theirs.contains_key(*name));
    let option = |(name, switch): (&String, &Switch)| {
        let other = if switch.is_on { "off" } else { "on" };
        format!("-global migration.{name}={other}")
    };
    alone.map(option).collect()
}

/// Leaves out the options without which it helps as well, one by one; the last one, too, for what passes without any does so
/// by chance.
pub(crate) async fn fewest(mut way: Way, helps: impl AsyncFn(&Way) -> bool) -> Way {
    let mut at = 0;
    while at < way.options.len() {
        let mut fewer = way.clone();
        fewer.options.remove(at);
        match helps(&fewer).await {
            true => way = fewer,
            false => at += 1,
        }
    }
    way
}

/// Tells whether the case passes so often where a build is given these options.
async fn passes(guest: RunSpec<'_>, way: &Way, times: usize) -> bool {
    let config = way.taken(guest.config);
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
        let of = |switches: &[(&str, bool, bool)]| -> Switches {
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
