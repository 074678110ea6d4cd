//! Findings that better evidence makes moot.

use crate::model::Rule;
use crate::report::{Case, Evidence, Finding};

/// Withdraws what cases that failed make moot.
pub(crate) fn withdraw_moot(cases: &[Case], findings: &mut Vec<Finding>) {
    withdraw_unread(cases, findings);
    withdraw_lengths(cases, findings);
}

/// Withdraws what streams say of the length of an opaque field that a build refused for how its device is set up:
/// the setting makes the length too.
fn withdraw_lengths(cases: &[Case], findings: &mut Vec<Finding>) {
    for case in cases {
        let Some(cause) = &case.cause else {
            continue;
        };
        let is_set_up = matches!(
            cause.rule,
            Some(Rule::PropertyDefaultChanged | Rule::FeatureDropped)
        );
        let (Some(section), Some(field), true) = (&cause.section, &cause.field, is_set_up) else {
            continue;
        };
        let direction = case.last_direction();
        findings.retain(|finding| {
            let is_its_length = finding.rule == Rule::FieldResized
                && finding.evidence == Evidence::Stream
                && finding.direction == direction
                && finding.path == [section.vmsd_name(), field.as_str()];
            !is_its_length || finding.confirmed_by.is_some()
        });
    }
}

/// Withdraws what streams say of the inside of a section whose version a build refused: it was refused before a
/// byte of it was read.
fn withdraw_unread(cases: &[Case], findings: &mut Vec<Finding>) {
    for case in cases {
        let Some(cause) = &case.cause else {
            continue;
        };
        let is_version = |rule| matches!(rule, Rule::VersionTooNew | Rule::VersionTooOld);
        let (Some(section), true) = (&cause.section, cause.rule.is_some_and(is_version)) else {
            continue;
        };
        let vmsd = section.vmsd_name();
        // The version of a part of it is another matter.
        if cause.field.as_deref().is_some_and(|field| field != vmsd) {
            continue;
        }
        let direction = case.last_direction();
        findings.retain(|finding| {
            let is_inside = finding.direction == direction
                && finding.evidence == Evidence::Stream
                && finding.path.len() > 1
                && finding.path.first().is_some_and(|first| first == vmsd);
            !is_inside || finding.is_confirmed_by(&case.id)
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Direction;
    use crate::report::{Cause, Outcome, testing};

    fn finding(path: &[&str], direction: &str, evidence: &str) -> Finding {
        testing::finding(json!({
            "rule": "field-resized", "level": "warning", "direction": direction, "section": "cpu",
            "path": path, "evidence": evidence,
        }))
    }

    fn refused(field: Option<&str>, rule: Rule) -> Case {
        Case {
            outcome: Outcome::Fail,
            cause: Some(Cause {
                section: Some("cpu".into()),
                field: field.map(str::to_owned),
                rule: Some(rule),
                ..Cause::default()
            }),
            ..Case::untried("id".to_owned(), "virt", "bare", "unix", Direction::Forward)
        }
    }

    #[test]
    fn the_length_of_a_field_is_moot_where_its_devices_set_up_is_refused() {
        let all = || {
            vec![
                finding(&["cpu", "opaque"], "forward", "stream"),
                finding(&["cpu", "opaque"], "backward", "stream"),
                finding(&["cpu", "another"], "forward", "stream"),
                finding(&["cpu", "opaque"], "forward", "dump"),
            ]
        };
        for (case, left) in [
            (refused(Some("opaque"), Rule::PropertyDefaultChanged), 3),
            (refused(Some("opaque"), Rule::FeatureDropped), 3),
            (refused(Some("opaque"), Rule::FieldResized), 4),
            (refused(None, Rule::PropertyDefaultChanged), 4),
        ] {
            let mut findings = all();
            withdraw_moot(std::slice::from_ref(&case), &mut findings);
            assert_eq!(findings.len(), left, "{:?}", case.cause);
        }
    }

    #[test]
    fn the_inside_of_a_section_that_is_not_read_says_nothing() {
        let all = || {
            vec![
                finding(&["cpu", "env.mcounteren"], "forward", "stream"),
                finding(&["cpu", "env.mcounteren"], "backward", "stream"),
                finding(&["cpu"], "forward", "stream"),
                finding(&["timer", "a"], "forward", "stream"),
                finding(&["cpu", "env.gpr"], "forward", "dump"),
            ]
        };
        for (case, left) in [
            (refused(None, Rule::VersionTooOld), 4),
            (refused(Some("cpu"), Rule::VersionTooNew), 4),
            (refused(Some("cpu/slb"), Rule::VersionTooNew), 5),
            (refused(None, Rule::FieldAdded), 5),
        ] {
            let mut findings = all();
            withdraw_moot(std::slice::from_ref(&case), &mut findings);
            assert_eq!(findings.len(), left, "{:?}", case.cause);
        }
    }
}
