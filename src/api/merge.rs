//! The reports of shards joined into one.

use crate::api::Outcome;
use crate::api::config::MergeConfig;
use crate::api::error::Error;
use crate::api::memory::{Means, Recalled};
use crate::model::Direction;
use crate::report::Sought;
use crate::report::read::read;
use crate::sweep::merge;
use crate::sweep::merge::Missing;

/// Joins the reports of the shards of one sweep into what the whole run would have reported.
///
/// Shards that are missing are notices of the report, whose verdict is then never better than untested.
///
/// # Errors
/// A file is no report, the reports are not of one run, one is there twice, or one is missing and
/// [`MergeConfig::partial`] does not allow that.
pub fn merge(config: &MergeConfig) -> Result<Outcome, Error> {
    let recalled = Recalled::read(&config.memory)?;
    let mut inputs = Vec::new();
    for file in &config.reports {
        inputs.push(read(file)?);
    }
    let missing = if config.partial {
        Missing::Allow
    } else {
        Missing::Refuse
    };
    let shards = inputs
        .iter()
        .filter_map(|input| input.report.shard.as_ref());
    let options = shards.map(|shard| shard.options.clone()).next();
    let report = merge::merge(inputs, missing, config.required_coverage)?;
    let of_cases = |direction: &Direction| report.cases.iter().any(|c| c.direction == *direction);
    let directions: Vec<Direction> = Direction::BOTH.into_iter().filter(of_cases).collect();
    let policy = report.policy.clone();
    Ok(recalled.conclude(
        report,
        policy,
        Means {
            sought: Sought::with_dumps(&directions).among(options.unwrap_or_default()),
            lists: None,
            builds: None,
        },
    ))
}
