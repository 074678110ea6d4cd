//! Which devices of a failed case are to blame, and a case for each of them.

use std::time::Instant;

use crate::culprit::split::split;
use crate::devices::DeviceSet;
use crate::migration::config::{CaseSpec, MigrationConfig, Part};
use crate::migration::endpoint::vm::Endpoint;
use crate::model::Direction;
use crate::report::{Case, Outcome, Split};

impl MigrationConfig {
    /// Splits a set of which these devices fail together on a route.
    pub(crate) async fn blame(
        &self,
        set: &DeviceSet,
        devices: &[String],
        route: &[&Endpoint],
        direction: Direction,
    ) -> Split {
        let end = Instant::now() + self.timeouts.blame;
        let needs = |user: &String, needed: &String| {
            set.select(&[user])
                .is_ok_and(|set| set.devices.iter().any(|device| device.id == *needed))
        };
        let fails = async |some: &[String]| {
            if Instant::now() >= end {
                return None;
            }
            let ids: Vec<&str> = some.iter().map(String::as_str).collect();
            let launch = self.launch(self.compose(&set.select(&ids).ok()?).args);
            let attempt = self.attempt(route, &launch, direction, &|_| {}).await;
            (attempt.outcome != Outcome::Skip).then(|| attempt.failed())
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

    /// What to run so that each culprit of a case has a cause and controls of its own: one that cannot
    /// migrate at all must not hide another that only this pair of builds breaks.
    pub fn culprits(&self, wanted: &CaseSpec, case: &Case) -> Vec<CaseSpec> {
        let split = case.split.iter();
        split
            .flat_map(|split| &split.culprits)
            .filter_map(|group| {
                let ids: Vec<&str> = group.iter().map(String::as_str).collect();
                let mut set = wanted.set.select(&ids).ok()?;
                set.name = format!("{}:{}", wanted.set.name, group.join("+"));
                Some(CaseSpec {
                    set,
                    direction: wanted.direction,
                    part: Part::Culprit,
                })
            })
            .collect()
    }
}
