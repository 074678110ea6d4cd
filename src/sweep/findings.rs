//! Findings of a whole run, and what those of a machine predict.

use std::collections::BTreeSet;

use crate::devices::DeviceSet;
use crate::model::Direction;
use crate::report::{Finding, Level};

/// The device types that do not migrate in one direction or the other according to the dumps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forecast(BTreeSet<(Direction, String)>);

impl Forecast {
    /// Predicts by findings. An error that a list allows fails a guest nonetheless.
    pub(crate) fn of(findings: &[Finding]) -> Forecast {
        let errors = findings.iter().filter(|f| f.level == Level::Error);
        let types = errors.flat_map(|finding| {
            let types = finding.sections();
            types.map(|of| (finding.direction, of.clone()))
        });
        Forecast(types.collect())
    }

    /// Tells whether a guest with these devices is expected to fail in a direction.
    pub(crate) fn predicts_failure(
        &self,
        set: &DeviceSet,
        arch: &str,
        direction: Direction,
    ) -> bool {
        let mut drivers = set.devices.iter().map(|device| device.driver(arch));
        drivers.any(|driver| self.0.contains(&(direction, driver.to_owned())))
    }
}

/// Joins the findings of all machines to those of one run. In a run over one machine, which the report
/// names anyway, none names its machine.
pub(crate) fn join(machines: Vec<(String, Vec<Finding>)>) -> Vec<Finding> {
    let several = machines.len() > 1;
    let named = machines.into_iter().flat_map(|(machine, findings)| {
        findings.into_iter().map(move |finding| match several {
            true => Finding {
                machines: vec![machine.clone()],
                ..finding
            },
            false => finding,
        })
    });
    unite(named, |known, _| known.confirmed_by.is_none())
}

/// Makes one of the findings that are the same, on all machines that it is about. `later` says
/// whether the confirmation of the second replaces that of the first.
pub(crate) fn unite(
    findings: impl IntoIterator<Item = Finding>,
    later: impl Fn(&Finding, &Finding) -> bool,
) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for finding in findings {
        match all.iter_mut().find(|known| is_same(known, &finding)) {
            Some(known) => {
                known.level = known.level.min(finding.level);
                if later(known, &finding) {
                    known.confirmed_by = finding.confirmed_by;
                }
                known.machines.extend(finding.machines);
            }
            None => all.push(finding),
        }
    }
    for finding in &mut all {
        finding.machines.sort();
        finding.machines.dedup();
    }
    all.sort_by_cached_key(Finding::rank);
    all
}

/// Tells whether two findings differ only in their machines and in their cases.
fn is_same(one: &Finding, other: &Finding) -> bool {
    one.is_same_difference(other)
        && one.section == other.section
        && one.message == other.message
        && one.allowed_by == other.allowed_by
        && one.also_in == other.also_in
}
