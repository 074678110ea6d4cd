//! Linking cases that failed to the findings that predicted them.

use std::collections::BTreeMap;

use crate::model::{Direction, Rule};
use crate::report::{Case, Cause, Confirmation, Evidence, Finding, Level, Outcome};

/// Tells whether a finding only says what differs in what builds sent, and the state or the set-up of the device may make
/// the difference.
fn is_symptom(finding: &Finding) -> bool {
    finding.evidence == Evidence::Stream && finding.level != Level::Error
}

/// Returns the finding of a comparison that predicted the failure, among those: same direction, same description, and the
/// same field, unless nothing of that description migrates whatever the state is.
fn explain<'f>(
    cause: &Cause,
    direction: Direction,
    findings: &'f mut [Finding],
    is_among: impl Fn(&Finding) -> bool,
) -> Option<&'f mut Finding> {
    let name = cause.section.as_ref()?.vmsd_name();
    // `esp/drq_state`, or a field alone. Names of subsections have slashes themselves.
    let names_it = |finding: &Finding| {
        let last = finding.path.iter().skip(1).next_back();
        let rest = cause.field.as_deref().zip(last);
        let rest = rest.and_then(|(field, last)| field.strip_suffix(last.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    // What is known of the section as a whole.
    let is_whole = |finding: &Finding| finding.path.len() == 1 && cause.rule == Some(finding.rule);
    let explains = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Warning => names_it(finding) || is_whole(finding),
        // A note says that nothing breaks: for padded bytes that is true of the load alone.
        Level::Note => finding.rule == Rule::FieldPadded && names_it(finding),
    };
    // A build that refuses the version has not looked at what else differs.
    let refused = cause.rule.filter(|rule| rule.is_of_version());
    findings
        .iter_mut()
        .filter(|f| f.direction == direction && f.is_about(name))
        .filter(|f| refused.is_none_or(|rule| f.rule == rule))
        .filter(|f| explains(f) && !f.is_common_width() && is_among(f))
        .min_by_key(|f| {
            let is_other = cause
                .section
                .as_ref()
                .is_none_or(|section| f.section != section.as_str());
            (!names_it(f), f.level, f.allowed_by.is_some(), is_other)
        })
}

/// Links a case that failed to what differs in its section in what builds sent, if no other set-up of the device explains it. A
/// length that several kinds of section have in common is added to its cause. To be called last, and once for a case.
pub(crate) fn link_symptom<'f>(
    case: &mut Case,
    findings: &'f mut [Finding],
) -> Option<&'f Finding> {
    let direction = case.last_direction();
    // What explains another one of its kind explains it.
    let gates = case.gates() && case.same_as.is_none();
    let cause = case.cause.as_mut();
    let is_open = |cause: &&mut Cause| cause.rule != Some(Rule::PropertyDefaultChanged);
    let cause = cause.filter(|cause| gates && is_open(cause))?;
    let section = cause.section.as_ref()?.vmsd_name();
    // No byte of a section is read whose version is refused.
    let is_read = !cause.rule.is_some_and(Rule::is_of_version);
    let is_common = |finding: &Finding| {
        let mut paths = std::iter::once(&finding.path).chain(&finding.also_paths);
        is_read
            && finding.is_common_width()
            && finding.direction == direction
            && paths.any(|path| path.first().is_some_and(|first| first == section))
    };
    let Some(at) = findings.iter().position(is_common) else {
        // What is certain explains what nothing else does.
        let rule = cause.rule;
        let was_sent = |finding: &Finding| {
            let is_open = rule.is_none_or(|rule| rule == finding.rule);
            is_symptom(finding) || finding.evidence == Evidence::Stream && is_open
        };
        let finding = explain(cause, direction, findings, was_sent)?;
        cause.rule = Some(finding.rule);
        confirm(finding, &case.id);
        return Some(finding);
    };
    let finding = &mut findings[at];
    cause.message.push_str("; ");
    cause.message.push_str(&finding.message);
    cause.rule = Some(finding.rule);
    // It is observed, and no state makes it.
    finding.level = finding.level.min(Level::Error);
    confirm(finding, &case.id);
    Some(finding)
}

/// Takes a case for the confirmation of a finding, unless another one is: a migration that failed proves more than a
/// layout that was seen.
fn confirm(finding: &mut Finding, case: &str) {
    match &finding.confirmed_by {
        Some(Confirmation::Case(_)) => {}
        _ => finding.confirmed_by = Some(Confirmation::Case(case.to_owned())),
    }
}

/// Links a case that failed to the finding that predicted it.
pub(crate) fn link<'f>(case: &mut Case, findings: &'f mut [Finding]) -> Option<&'f Finding> {
    if !case.outcome.is_failure() {
        return None;
    }
    let direction = case.last_direction();
    let cause = case.cause.as_mut()?;
    if matches!(
        cause.rule,
        Some(Rule::PropertyDefaultChanged | Rule::FeatureDropped)
    ) {
        // How the device is set up explains what it sends.
        let mut findings = findings.iter();
        return findings.find(|finding| finding.is_confirmed_by(&case.id));
    }
    let finding = explain(cause, direction, findings, |finding| !is_symptom(finding))?;
    cause.rule = Some(finding.rule);
    // A reader of the findings alone is to know that it happened. A loss that was seen on a machine
    // after reset does not depend on state.
    let seen = match (finding.rule, case.outcome) {
        (Rule::FieldPadded, Outcome::Lost) => Level::Error,
        _ => Level::Warning,
    };
    finding.level = finding.level.min(seen);
    // A build may say no more than the section: the finding knows the place in it.
    if cause.field.is_none() && finding.path.len() > 1 {
        cause.field = Some(finding.path[1..].join("/"));
    }
    confirm(finding, &case.id);
    Some(finding)
}

/// Links cases that failed for a feature which a driver had accepted to the findings that warned of it.
pub(crate) fn link_features(cases: &mut [Case], findings: &mut [Finding]) {
    for case in cases
        .iter_mut()
        .filter(|case| case.outcome == Outcome::Fail)
    {
        let direction = case.last_direction();
        let Some(cause) = case.cause.as_mut().filter(|of| !of.features.is_empty()) else {
            continue;
        };
        cause.rule = Some(Rule::FeatureDropped);
        let warned = findings.iter_mut().filter(|finding| {
            finding.rule == Rule::FeatureDropped
                && finding.direction == direction
                && finding
                    .path
                    .last()
                    .is_some_and(|name| cause.features.contains(name))
        });
        for finding in warned {
            finding.confirmed_by = Some(Confirmation::Case(case.id.clone()));
        }
    }
}

/// Gives cases that another one stands for the rule that explains that one.
pub(crate) fn adopt_causes(cases: &mut [Case]) {
    let rules = cases.iter().filter_map(|case| {
        let rule = case.cause.as_ref()?.rule?;
        Some((case.id.clone(), rule))
    });
    let rules: BTreeMap<String, Rule> = rules.collect();
    for case in cases {
        let rule = case.same_as.as_ref().and_then(|id| rules.get(id));
        if let (Some(cause), Some(&rule)) = (&mut case.cause, rule) {
            cause.rule.get_or_insert(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    fn case(outcome: Outcome, field: Option<&str>) -> Case {
        Case {
            outcome,
            cause: Some(Cause {
                section: Some("0000:00:01.0/sd".into()),
                instance: Some(0),
                field: field.map(str::to_owned),
                ..Cause::default()
            }),
            ..Case::untried(
                "x".to_owned(),
                "pc-q35-7.2",
                "x",
                "unix",
                Direction::Backward,
            )
        }
    }

    fn finding(rule: Rule, level: &str, direction: &str, path: &[&str]) -> Finding {
        testing::finding(json!({
            "rule": rule.id(), "level": level, "direction": direction, "section": "sd-card",
            "path": path,
        }))
    }

    #[test]
    fn a_section_that_was_renamed_is_known_by_both_names() {
        let renamed = |direction: &str| {
            testing::finding(json!({
                "rule": "vmsd-renamed", "level": "error", "direction": direction, "section": "isa-vga",
                "path": ["vga"], "old": {"name": "vga"}, "new": {"name": "vga-isa"},
            }))
        };
        for (section, direction, explains) in [
            ("vga-isa", "backward", true),
            ("vga", "backward", true),
            ("vga-isa", "forward", false),
            ("virtio-vga", "backward", false),
        ] {
            let mut case = case(Outcome::Fail, None);
            if let Some(cause) = &mut case.cause {
                cause.section = Some(section.into());
            }
            let mut findings = [renamed(direction)];
            assert_eq!(
                link(&mut case, &mut findings).is_some(),
                explains,
                "{section}"
            );
            let rule = case.cause.and_then(|cause| cause.rule);
            assert_eq!(rule, explains.then_some(Rule::VmsdRenamed));
            assert_eq!(findings[0].confirmed_by.is_some(), explains);
        }
    }

    #[test]
    fn a_version_that_was_refused_is_explained_by_that_alone() {
        use Rule::{FieldAdded, VersionTooOld};
        let other = finding(FieldAdded, "error", "backward", &["sd", "part"]);
        let version = finding(VersionTooOld, "error", "backward", &["sd"]);
        for known in [vec![], vec![&other], vec![&other, &version]] {
            let mut findings: Vec<Finding> = known.into_iter().cloned().collect();
            let mut case = case(Outcome::Fail, Some("sd"));
            let cause = case.cause.as_mut().expect("a cause");
            cause.rule = Some(VersionTooOld);
            link(&mut case, &mut findings);
            assert_eq!(case.cause.and_then(|cause| cause.rule), Some(VersionTooOld));
            for finding in findings {
                let met = finding.rule == VersionTooOld;
                assert_eq!(finding.confirmed_by.is_some(), met, "{finding:#?}");
            }
        }
        let mut common = [testing::finding(json!({
            "rule": "field-resized", "level": "error", "direction": "backward", "section": "sd-card",
            "path": ["sd", "part"], "evidence": "stream", "also_in": ["mmc"],
        }))];
        for (rule, is_linked) in [(None, true), (Some(VersionTooOld), false)] {
            let mut case = case(Outcome::Fail, Some("sd"));
            let cause = case.cause.as_mut().expect("a cause");
            cause.rule = rule;
            let linked = link_symptom(&mut case, &mut common).is_some();
            assert_eq!(linked, is_linked, "{rule:?}: {:#?}", common[0]);
        }
    }

    #[test]
    fn a_case_is_linked_to_the_finding_that_predicted_it_and_to_no_other() {
        use Rule::{FieldAdded, FieldPadded, FieldRenamed, SubsectionUnknown};
        let padded = finding(FieldPadded, "note", "backward", &["sd", "enable"]);
        let renamed = finding(FieldRenamed, "note", "backward", &["sd", "enable"]);
        let maybe = finding(
            SubsectionUnknown,
            "warning",
            "backward",
            &["sd", "sd/modes"],
        );
        let certain = finding(FieldAdded, "error", "backward", &["sd", "other"]);
        let elsewhere = finding(FieldAdded, "error", "backward", &["mmc", "enable"]);
        let forward = finding(FieldAdded, "error", "forward", &["sd", "enable"]);
        // The findings, the field of the cause, and the rule that explains it.
        let table: &[(&[&Finding], Option<&str>, Option<Rule>)] = &[
            (&[&maybe, &padded], Some("enable"), Some(FieldPadded)),
            (&[&maybe, &renamed], Some("enable"), None),
            (&[&maybe], Some("inner/sd/modes"), Some(SubsectionUnknown)),
            (&[&maybe], Some("inner/bsd/modes"), None),
            (&[&maybe], Some("sd/modes"), Some(SubsectionUnknown)),
            (&[&maybe, &certain], Some("enable"), Some(FieldAdded)),
            (&[&maybe, &certain], None, Some(FieldAdded)),
            (&[&maybe], None, None),
            (&[&elsewhere, &forward], Some("enable"), None),
        ];
        for (known, field, rule) in table {
            let mut findings: Vec<Finding> = known.iter().copied().cloned().collect();
            let mut case = case(Outcome::Lost, *field);
            link(&mut case, &mut findings);
            let rule_found = case.cause.and_then(|cause| cause.rule);
            assert_eq!(rule_found, *rule, "{field:?}: {findings:#?}");
            for finding in findings {
                let met = Some(finding.rule) == *rule;
                assert_eq!(finding.confirmed_by.is_some(), met, "{finding:#?}");
                assert!(!met || finding.level != Level::Note, "{finding:#?}");
                // It is observed, not predicted.
                let lost = met && finding.rule == FieldPadded;
                assert!(!lost || finding.level == Level::Error, "{finding:#?}");
            }
        }
        let mut findings = vec![certain];
        assert!(link(&mut case(Outcome::Pass, None), &mut findings).is_none());
    }

    /// Findings of streams come when cases are linked to those of dumps already.
    #[test]
    fn what_differs_in_what_was_sent_is_confirmed_by_the_case_that_fails_by_it() {
        use Rule::{FieldAdded, FieldsSwapped, SectionRemoved, VersionTooNew};
        let sent = |rule: Rule, level: &str, section: &str, path: &[&str]| {
            testing::finding(json!({
                "rule": rule.id(), "level": level, "direction": "backward", "section": section,
                "path": path, "evidence": "stream",
            }))
        };
        let ours = "0000:00:01.0/sd";
        let (gone, other) = (
            sent(SectionRemoved, "warning", ours, &["sd"]),
            sent(SectionRemoved, "warning", "0000:00:02.0/sd", &["sd"]),
        );
        let version = sent(VersionTooNew, "error", ours, &["sd"]);
        let swapped = sent(FieldsSwapped, "error", ours, &["sd", "other"]);
        // The findings, the rule of the cause before and after, and the finding that is confirmed.
        for (known, before, after, confirmed) in [
            (
                vec![&other, &gone],
                Some(SectionRemoved),
                Some(SectionRemoved),
                Some(1),
            ),
            (vec![&gone], None, None, None),
            (
                vec![&version],
                Some(VersionTooNew),
                Some(VersionTooNew),
                Some(0),
            ),
            (vec![&swapped], None, Some(FieldsSwapped), Some(0)),
            // A dump knows better.
            (vec![&swapped], Some(FieldAdded), Some(FieldAdded), None),
            (
                vec![&version, &swapped],
                Some(VersionTooNew),
                Some(VersionTooNew),
                Some(0),
            ),
        ] {
            let mut findings: Vec<Finding> = known.into_iter().cloned().collect();
            let mut case = case(Outcome::Fail, Some("size"));
            let cause = case.cause.as_mut().expect("a cause");
            cause.rule = before;
            link_symptom(&mut case, &mut findings);
            assert_eq!(
                case.cause.and_then(|cause| cause.rule),
                after,
                "{findings:#?}"
            );
            let found = findings.iter().position(|of| of.confirmed_by.is_some());
            assert_eq!(found, confirmed, "{findings:#?}");
        }
    }

    /// What the set-up of a device explains is not to be explained by what it brings about.
    #[test]
    fn what_the_state_may_make_is_the_last_explanation() {
        let length = |level: &str| {
            testing::finding(json!({
                "rule": "field-removed", "level": level, "direction": "backward", "section": "sd-card",
                "path": ["sd", "sizes"], "evidence": "stream",
            }))
        };
        for (level, rule, at_once, at_last) in [
            ("error", None, true, true),
            ("warning", None, false, true),
            ("warning", Some(Rule::PropertyDefaultChanged), false, false),
        ] {
            let mut findings = [length(level)];
            let mut case = case(Outcome::Lost, Some("sizes"));
            let cause = case.cause.as_mut().expect("a cause");
            cause.rule = rule;
            assert_eq!(link(&mut case, &mut findings).is_some(), at_once);
            assert_eq!(link_symptom(&mut case, &mut findings).is_some(), at_last);
        }
    }
}
