//! The reports of shards joined into one.

use crate::api::Outcome;
use crate::api::config::MergeConfig;
use crate::api::error::Error;
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
    let mut inputs = Vec::new();
    for file in &config.reports {
        inputs.push(merge::read(file)?);
    }
    let missing = if config.partial {
        Missing::Allow
    } else {
        Missing::Refuse
    };
    let report = merge::merge(inputs, missing, config.required_coverage)?;
    Ok(Outcome::of(report))
}
