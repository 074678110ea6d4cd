//! The reports of shards joined into one.

use crate::api::Outcome;
use crate::api::config::MergeConfig;
use crate::api::error::{Error, Problem};
use crate::api::map::past::Past;
use crate::api::memory::{Means, Recalled};
use crate::model::Direction;
use crate::report::map::{Map, MapPair};
use crate::report::read::{Input, Saved, read, read_map, read_whole};
use crate::report::{Report, Sought};
use crate::sweep::merge::{self, MergeError};

/// Joins reports, or maps if the first file is one. Each file is read once, and may be a pipe.
///
/// # Errors
/// As for [`merge()`] and [`merge_maps`].
pub(crate) fn merge_saved(config: &MergeConfig) -> Result<Saved, Error> {
    let file = config.reports.first().ok_or(MergeError::Nothing)?;
    let origin = file.display().to_string();
    Ok(match read_whole(file)? {
        Saved::Map(map) => Saved::Map(join_maps(config, vec![(origin, map)])?),
        Saved::Report(report) => {
            let report = *report;
            let outcome = join(config, vec![Input { origin, report }])?;
            Saved::Report(Box::new(outcome.report))
        }
    })
}

/// Joins the reports of the shards of one sweep into what the whole run would have reported.
///
/// Shards that are missing are notices of the report, whose verdict is then never better than untested.
///
/// # Errors
/// A file is no report, the reports are not of one run, one is there twice, or one is missing and
/// [`MergeConfig::partial`] does not allow that.
pub fn merge(config: &MergeConfig) -> Result<Outcome, Error> {
    join(config, Vec::new())
}

/// Joins the reports, of which the first ones are read already.
fn join(config: &MergeConfig, mut inputs: Vec<Input>) -> Result<Outcome, Error> {
    let recalled = Recalled::read(&config.memory)?;
    for file in config.reports.iter().skip(inputs.len()) {
        inputs.push(read(file)?);
    }
    let options = options(&inputs);
    let report = merge::merge(inputs, config.partial, config.required_coverage)?;
    Ok(concluded(report, options, recalled))
}

/// Holds a report that was joined from shards with these options against what was before.
fn concluded(report: Report, options: Option<Vec<String>>, recalled: Recalled) -> Outcome {
    let recorded = report.run.as_ref().and_then(|run| run.sought.clone());
    // Reports of an earlier version do not say it.
    let sought = recorded.unwrap_or_else(|| {
        let has = |way: &Direction| report.cases.iter().any(|case| case.direction == *way);
        let directions: Vec<Direction> = Direction::BOTH.into_iter().filter(has).collect();
        Sought::with_dumps(&directions).among(options.unwrap_or_default())
    });
    let policy = report.policy.clone();
    recalled.conclude(
        report,
        policy,
        Means {
            sought,
            lists: None,
            builds: None,
            shown: None,
        },
    )
}

/// Returns the options of the run that the shards are of.
fn options(inputs: &[Input]) -> Option<Vec<String>> {
    let mut shards = inputs
        .iter()
        .filter_map(|input| input.report.shard.as_ref());
    shards.next().map(|shard| shard.options.clone())
}

/// Joins the maps of the shards of one [`map`](crate::api::map()) into what the whole run would have found out,
/// pair by pair.
///
/// # Errors
/// A file is no map, the maps are not of one run, one is there twice, or one is missing and
/// [`MergeConfig::partial`] does not allow that. The baseline is no map.
pub fn merge_maps(config: &MergeConfig) -> Result<Map, Error> {
    join_maps(config, Vec::new())
}

/// Joins the maps, of which the first ones are read already.
fn join_maps(config: &MergeConfig, mut maps: Vec<(String, Map)>) -> Result<Map, Error> {
    let past = Past::read(&config.memory)?;
    for file in config.reports.iter().skip(maps.len()) {
        maps.push((file.display().to_string(), read_map(file)?));
    }
    let Some((first, one)) = maps.first().cloned() else {
        return Err(MergeError::Nothing.into());
    };
    let places = |map: &Map| -> Vec<(usize, usize)> {
        map.pairs.iter().map(|pair| (pair.old, pair.new)).collect()
    };
    for (origin, map) in &maps {
        if map.builds != one.builds || places(map) != places(&one) {
            return Err(Problem::OtherMap {
                origin: origin.clone(),
                first,
            }
            .into());
        }
    }
    let mut pairs = Vec::new();
    for (at, &MapPair { old, new, .. }) in one.pairs.iter().enumerate() {
        let inputs = maps.iter().filter_map(|(origin, map)| {
            Some(Input {
                origin: origin.clone(),
                report: map.pairs.get(at)?.report.clone(),
            })
        });
        let inputs: Vec<Input> = inputs.collect();
        let options = options(&inputs);
        let report = merge::merge(inputs, config.partial, config.required_coverage)?;
        let recalled = past.of_pair(&report.old, &report.new)?;
        let report = concluded(report, options, recalled).report;
        pairs.push(MapPair { old, new, report });
    }
    let elapsed = maps.iter().map(|(_, map)| map.elapsed_ms).sum();
    Ok(Map::of(one.builds, pairs, elapsed))
}
