//! Trying a stream that was refused between its sections without what the source's build adds to every stream by itself.

use crate::migration::config::MigrationConfig;
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::Side;
use crate::qemu::StartError;
use crate::report::{LegSide, PassesWith};

/// Looks for a switch of the source's build that the destination's does not know, and without which the case passes. The
/// compat properties of a machine type turn it off; a machine type without a version has none, so that whoever runs it has to.
/// It has to pass so often.
///
/// # Errors
/// A build cannot be asked any more.
pub(crate) async fn passes_without(
    guest: RunSpec<'_>,
    result: &RunResult,
    times: usize,
) -> Result<Option<PassesWith>, StartError> {
    let between_sections = result
        .cause
        .as_ref()
        .is_some_and(|cause| cause.section.is_none());
    if !between_sections || result.failed_side() != LegSide::Destination {
        return Ok(None);
    }
    let config = guest.config;
    let direction = result.last_direction(guest.direction);
    let (source, destination) = direction.source_destination(&config.old, &config.new);
    let (ours, theirs) = tokio::join!(
        source.build.migration_switches(),
        destination.build.migration_switches()
    );
    let (ours, theirs) = (ours?, theirs?);
    let added = ours
        .iter()
        .filter(|(name, on)| **on && !theirs.contains_key(*name));
    for (name, _) in added {
        let args = ["-global".to_owned(), format!("migration.{name}=off")];
        let (side, _) = direction.source_destination(Side::Old, Side::New);
        let mut config = MigrationConfig::clone(config);
        let (endpoint, _) = direction.source_destination(&mut config.old, &mut config.new);
        endpoint.args.extend(args.clone());
        let route = config.route(guest.direction);
        let run = RunSpec {
            config: &config,
            route: &route,
            ..guest
        };
        if run.until_failure(times).await.failed == 0 {
            let args = args.join(" ");
            return Ok(Some(PassesWith { side, args }));
        }
    }
    Ok(None)
}
