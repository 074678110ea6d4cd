//! Finding the devices that make a case fail, and a case for each of them.

use std::time::Instant;

use crate::culprit::split::split;
use crate::devices::DeviceSet;
use crate::migration::config::{CaseSpec, MigrationConfig, Part};
use crate::migration::endpoint::vm::Endpoint;
use crate::migration::run;
use crate::model::Direction;
use crate::report::{Case, Outcome, Split};

/// Splits a set whose `devices` fail together on a route.
pub(crate) async fn find(
    config: &MigrationConfig,
    set: &DeviceSet,
    devices: &[String],
    route: &[&Endpoint],
    direction: Direction,
) -> Split {
    let end = Instant::now() + config.timeouts.culprits;
    let needs = |user: &String, needed: &String| {
        set.select(&[user])
            .is_ok_and(|set| set.devices.iter().any(|device| device.id == *needed))
    };
    let fails = async |some: &[String]| {
        if Instant::now() >= end {
            return None;
        }
        let ids: Vec<&str> = some.iter().map(String::as_str).collect();
        let launch = config.launch(config.compose(&set.select(&ids).ok()?).args);
        let run = run::run(config, route, &launch, direction, &|_| {}).await;
        (run.outcome != Outcome::Skip).then(|| run.failed())
    };
    let found = split(devices, needs, fails).await;
    Split {
        without_any: found.without_any,
        culprits: found.culprits,
        passed: found.passed,
        hidden: found.hidden,
        undecided: found.undecided,
    }
}

/// Makes a case of each culprit, so that it has a cause and controls of its own: one that cannot migrate
/// at all must not hide another that only this pair of builds breaks.
pub(crate) fn cases(spec: &CaseSpec, case: &Case) -> Vec<CaseSpec> {
    let split = case.split.iter();
    split
        .flat_map(|split| &split.culprits)
        .filter_map(|group| {
            let ids: Vec<&str> = group.iter().map(String::as_str).collect();
            let mut set = spec.set.select(&ids).ok()?;
            set.name = format!("{}:{}", spec.set.name, group.join("+"));
            Some(CaseSpec {
                set,
                direction: spec.direction,
                part: Part::Culprit,
            })
        })
        .collect()
}
