//! The findings of one machine: those of its dumps, confirmed or corrected by the guests.

use std::sync::Arc;

use crate::compare::dump::compare::compare;
use crate::compare::streams;
use crate::migration::diagnosis::layouts;
use crate::migration::diagnosis::link::{adopt_causes, link, link_features, link_symptom};
use crate::migration::diagnosis::properties;
use crate::migration::diagnosis::properties::{ProbeError, Senders};
use crate::migration::diagnosis::property_diff::Snapshots;
use crate::migration::diagnosis::survey::features;
use crate::migration::diagnosis::withdraw::withdraw_moot;
use crate::model::{Direction, Rule, SectionName};
use crate::qemu::block_on;
use crate::report::{Described, Finding};
use crate::rules::judge::{LevelOverrides, judge};
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::sweep::findings::Forecast;
use crate::sweep::pairing::Sent;
use crate::sweep::result::MachineResult;
use crate::sweep::target::SweepTarget;
use crate::vmstate::dump::Dump;

/// The findings of one machine, as far as they are known.
#[derive(Debug)]
pub(crate) struct Assessment<'l> {
    scope: Scope<'l>,
    overrides: &'l LevelOverrides,
    directions: &'l [Direction],
    /// The dumps of both builds, where they could be obtained.
    dumps: Option<(Arc<Dump>, Arc<Dump>)>,
    senders: Senders,
    findings: Vec<Finding>,
    described: Option<Described>,
    streamed: Vec<StreamFinding>,
}

#[derive(Debug)]
struct StreamFinding {
    finding: Finding,
    /// Set where the guest came through nonetheless.
    survived: bool,
}

impl<'l> Assessment<'l> {
    /// Begins with the findings of the dumps; `concerns` says which sections the sweep is about.
    pub(crate) fn of_dumps(
        scope: Scope<'l>,
        overrides: &'l LevelOverrides,
        directions: &'l [Direction],
        dumps: Option<(Arc<Dump>, Arc<Dump>)>,
        concerns: impl Fn(&str) -> bool,
    ) -> Assessment<'l> {
        let compared = |(old, new): &(Arc<Dump>, Arc<Dump>)| {
            let mut found = compare(old, new, directions, &scope);
            found.retain(|finding| concerns(&finding.section));
            judge(found, &scope, overrides)
        };
        let findings = dumps.as_ref().map_or_else(Vec::new, compared);
        Assessment::of_findings(scope, overrides, directions, dumps, findings)
    }

    /// Begins with findings that are judged already, of these dumps.
    pub(crate) fn of_findings(
        scope: Scope<'l>,
        overrides: &'l LevelOverrides,
        directions: &'l [Direction],
        dumps: Option<(Arc<Dump>, Arc<Dump>)>,
        findings: Vec<Finding>,
    ) -> Assessment<'l> {
        Assessment {
            scope,
            overrides,
            directions,
            senders: properties::senders(dumps.as_ref()),
            dumps,
            findings,
            described: None,
            streamed: Vec::new(),
        }
    }

    pub(crate) fn lists(&self) -> &'l KnownIssues {
        self.scope.lists
    }

    /// Returns the findings so far.
    pub(crate) fn findings(&mut self) -> &mut [Finding] {
        &mut self.findings
    }

    /// Returns the failures that the findings so far predict.
    pub(crate) fn forecast(&self) -> Forecast {
        Forecast::of(&self.findings)
    }

    /// Compares the layouts of what both builds sent. The place of a device in its guest depends on
    /// the packing: the findings name the section alone.
    pub(crate) fn compare_streams(&mut self, sent: &Sent) {
        let dumps = self.dumps.as_ref().map(|(old, new)| (&**old, &**new));
        let more = dumps.map(|dumps| layouts::described((sent.old, sent.new), dumps));
        self.described = Described::join(self.described.take().into_iter().chain(more));
        let found = layouts::findings(
            (sent.old, sent.new),
            dumps,
            self.directions,
            &self.scope,
            &mut self.findings,
            |finding| sent.has_survived(finding),
        );
        for mut finding in found {
            finding.section = SectionName::new(&finding.section).vmsd_name().to_owned();
            let survived = sent.has_survived(&finding);
            self.streamed.push(StreamFinding { finding, survived });
        }
    }

    /// Takes over the findings of the streams. A difference with which one guest came through stays
    /// a note, also where it was in another guest that failed for another reason.
    fn settle(&mut self) {
        let mut streamed = std::mem::take(&mut self.streamed);
        // The worst of those that are left, in whatever order the guests came.
        let order =
            |of: &StreamFinding| (!of.survived, of.finding.level, of.finding.message.clone());
        streamed.sort_by_cached_key(order);
        let mut distinct: Vec<Finding> = Vec::new();
        for StreamFinding { finding, .. } in streamed {
            let is_same = |known: &Finding| {
                known.section == finding.section
                    && (known.is_same_difference(&finding) || is_one_length(known, &finding))
            };
            if !distinct.iter().any(is_same) {
                distinct.push(finding);
            }
        }
        self.absorb(streams::join(distinct));
    }

    /// Links each failure to the finding that predicted it; where none did, both builds are asked for the
    /// properties of the devices; and the lists say what is allowed.
    ///
    /// # Errors
    /// A build could not be asked; the cases have failed nonetheless, and say so.
    pub(crate) fn conclude(
        &mut self,
        target: &SweepTarget,
        result: &mut MachineResult,
    ) -> Result<(), ProbeError> {
        self.settle();
        let mut asked = self.compare_features(target, result);
        for case in &mut result.cases {
            let predicted = link(case, &mut self.findings);
            case.allowed_by = self.scope.allows_case(case, predicted);
            if let Some(guest) = result.failed.get(&case.id)
                && asked.is_ok()
            {
                let config = &target.config;
                let launch = guest.launch(config);
                let (lists, findings) = (self.scope.lists, &self.findings);
                let senders = &self.senders;
                let explain =
                    properties::explain(case, config, &launch, senders, None, lists, findings);
                let explained = block_on(explain).map_err(ProbeError::from);
                match explained.and_then(|found| found.map_err(ProbeError::from)) {
                    Ok(more) => self.absorb(more),
                    Err(error) => asked = Err(error),
                }
            }
            if let Some(predicted) = link_symptom(case, &mut self.findings) {
                case.allowed_by = self.scope.allows_case(case, Some(predicted));
            }
        }
        link_features(&mut result.cases, &mut self.findings);
        self.findings.sort_by_cached_key(Finding::rank);
        withdraw_moot(&result.cases, &mut self.findings);
        adopt_causes(&mut result.cases);
        asked
    }

    /// Compares the features that the virtio devices offer.
    fn compare_features(
        &mut self,
        target: &SweepTarget,
        result: &MachineResult,
    ) -> Result<(), ProbeError> {
        let (config, lists) = (&target.config, self.scope.lists);
        let compared = |snapshots: &Snapshots| {
            let machine = &*config.machines;
            properties::dropped_features(snapshots, self.directions, machine, lists)
        };
        let mut found: Vec<Finding> = Vec::new();
        let mut asked = Ok(());
        for set in &result.not_asked {
            match block_on(features(config, set)) {
                Ok(Ok(snapshots)) => found.extend(compared(&snapshots)),
                Ok(Err(error)) => asked = Err(error),
                Err(error) => asked = Err(error.into()),
            }
        }
        self.absorb(found);
        asked
    }

    /// Returns how much of what the guests sent the dumps describe.
    pub(crate) fn described(&self) -> Option<Described> {
        self.described.clone()
    }

    /// Returns all findings, judged.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Takes more findings, which are judged.
    pub(crate) fn absorb(&mut self, found: Vec<Finding>) {
        properties::absorb(
            &mut self.findings,
            judge(found, &self.scope, self.overrides),
        );
    }
}

/// Tells whether both are about the length of one field, which the state decides: each guest has its own.
fn is_one_length(one: &Finding, other: &Finding) -> bool {
    let resized = |finding: &Finding| finding.rule == Rule::FieldResized;
    resized(one) && resized(other) && one.direction == other.direction && one.path == other.path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    fn streamed(rule: Rule, direction: &str, bytes: usize, level: &str) -> Finding {
        testing::finding(json!({
            "rule": rule.id(), "level": level, "direction": direction, "section": "spapr",
            "path": ["spapr", "spapr_dtb", "fdt_blob"], "message": format!("{bytes} bytes"),
            "new": {"size": bytes}, "evidence": "stream",
        }))
    }

    #[test]
    fn a_length_that_each_guest_has_of_its_own_is_one_finding() {
        let lists = KnownIssues::default();
        let scope = Scope::of(&lists, None, None, Some("pseries-7.2"));
        let overrides = LevelOverrides::default();
        let both = [Direction::Forward, Direction::Backward];
        let mut assessment = Assessment::of_dumps(scope, &overrides, &both, None, |_| true);
        let resized = |direction, bytes, level| StreamFinding {
            finding: streamed(Rule::FieldResized, direction, bytes, level),
            survived: level == "note",
        };
        assessment.streamed = vec![
            resized("forward", 14398, "warning"),
            // A guest came through with it.
            resized("forward", 14402, "note"),
            resized("backward", 13962, "warning"),
            resized("forward", 14110, "note"),
            StreamFinding {
                finding: streamed(Rule::FieldAdded, "forward", 4, "error"),
                survived: false,
            },
        ];
        assessment.settle();
        let found = assessment.findings.iter();
        let found: Vec<_> = found
            .map(|f| (f.rule.id(), f.direction, f.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("field-added", Direction::Forward, "4 bytes"),
                ("field-resized", Direction::Backward, "13962 bytes"),
                ("field-resized", Direction::Forward, "14110 bytes"),
            ]
        );
    }
}
