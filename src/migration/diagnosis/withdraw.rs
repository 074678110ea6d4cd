//! Findings that better evidence makes moot.

use std::collections::BTreeSet;

use crate::model::{Direction, Rule};
use crate::report::{Case, Confirmation, Evidence, Finding};

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

/// The vmsd name of a section whose version a destination refuses, and the direction.
type Refused = (String, Direction);

/// Returns the section that a case failed at for its version.
fn refused_in(case: &Case) -> Option<Refused> {
    let cause = case.cause.as_ref()?;
    let vmsd = cause.section.as_ref()?.vmsd_name();
    // The version of a part of it is another matter.
    let is_whole = cause.field.as_deref().is_none_or(|field| field == vmsd);
    let is_refused = is_whole && cause.rule.is_some_and(is_version);
    is_refused.then(|| (vmsd.to_owned(), case.last_direction()))
}

/// Returns the section whose version does not fit by the dumps.
fn refused_by_dumps(finding: &Finding) -> Option<Refused> {
    match &*finding.path {
        [vmsd] if finding.evidence == Evidence::Dump && is_version(finding.rule) => {
            Some((vmsd.clone(), finding.direction))
        }
        _ => None,
    }
}

fn is_version(rule: Rule) -> bool {
    matches!(rule, Rule::VersionTooNew | Rule::VersionTooOld)
}

/// Withdraws what streams say of the inside of a section whose version a build refuses, of which no byte is read, unless a
/// case has shown it all the same.
fn withdraw_unread(cases: &[Case], findings: &mut Vec<Finding>) {
    let by_dumps = findings.iter().filter_map(refused_by_dumps);
    let refused: BTreeSet<Refused> = cases
        .iter()
        .filter_map(refused_in)
        .chain(by_dumps)
        .collect();
    findings.retain(|finding| {
        let [vmsd, _, ..] = &*finding.path else {
            return true;
        };
        let is_unread = refused.contains(&(vmsd.clone(), finding.direction));
        let is_shown = matches!(finding.confirmed_by, Some(Confirmation::Case(_)));
        !is_unread || finding.evidence != Evidence::Stream || is_shown
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
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

    #[test]
    fn the_inside_of_a_section_that_cannot_be_read_by_the_dumps_says_nothing() {
        let of_stream = || {
            vec![
                finding(&["riscv_mtimer", "time_delta"], "forward", "stream"),
                finding(&["riscv_mtimer", "time_delta"], "backward", "stream"),
                finding(&["riscv_imsic", "eidelivery"], "forward", "stream"),
                finding(&["riscv_mtimer", "timers"], "forward", "dump"),
            ]
        };
        let version = |rule, path: &[&str], direction, evidence| Finding {
            rule,
            ..finding(path, direction, evidence)
        };
        let (old, new) = (Rule::VersionTooOld, Rule::VersionTooNew);
        for (by, left) in [
            (version(old, &["riscv_mtimer"], "forward", "dump"), 3),
            (version(new, &["riscv_mtimer"], "backward", "dump"), 3),
            (version(old, &["riscv_imsic"], "forward", "dump"), 3),
            (version(old, &["riscv_imsic"], "backward", "dump"), 4),
            // That of a part is read when all before it was.
            (
                version(new, &["riscv_mtimer", "part"], "forward", "dump"),
                4,
            ),
            (
                version(Rule::FieldAdded, &["riscv_mtimer"], "forward", "dump"),
                4,
            ),
        ] {
            let mut findings = of_stream();
            findings.push(by.clone());
            withdraw_moot(&[], &mut findings);
            assert_eq!(findings.len(), left + 1, "{by:?}");
        }
        // A guest that failed there knows better.
        let mut shown = of_stream();
        shown[0].confirmed_by = Some(Confirmation::Case("id".to_owned()));
        shown.push(version(old, &["riscv_mtimer"], "forward", "dump"));
        withdraw_moot(&[], &mut shown);
        assert_eq!(shown.len(), 5);
    }
}
