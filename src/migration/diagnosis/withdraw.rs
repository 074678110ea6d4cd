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
    let is_refused = is_whole && cause.rule.is_some_and(Rule::is_of_version);
    is_refused.then(|| (vmsd.to_owned(), case.last_direction()))
}

/// Returns the section whose version does not fit by the dumps.
fn refused_by_dumps(finding: &Finding) -> Option<Refused> {
    match &*finding.path {
        [vmsd] if finding.evidence == Evidence::Dump && finding.rule.is_of_version() => {
            Some((vmsd.clone(), finding.direction))
        }
        _ => None,
    }
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

    /// A finding of a rule: its direction, its evidence and its path.
    fn finding(rule: Rule, of: &str) -> Finding {
        let [direction, evidence, path] = of.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{of}");
        };
        testing::finding(json!({
            "rule": rule.id(), "level": "warning", "direction": direction, "section": "cpu",
            "path": path.split('/').collect::<Vec<_>>(), "evidence": evidence,
        }))
    }

    fn resized(all: &[&str]) -> Vec<Finding> {
        let all = all.iter();
        all.map(|of| finding(Rule::FieldResized, of)).collect()
    }

    /// Returns how many of the findings a case leaves.
    fn left(all: &[&str], case: Case) -> usize {
        let mut findings = resized(all);
        withdraw_moot(&[case], &mut findings);
        findings.len()
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
        let all = [
            "forward stream cpu/opaque",
            "backward stream cpu/opaque",
            "forward stream cpu/another",
            "forward dump cpu/opaque",
        ];
        for (field, rule, stay) in [
            (Some("opaque"), Rule::PropertyDefaultChanged, 3),
            (Some("opaque"), Rule::FeatureDropped, 3),
            (Some("opaque"), Rule::FieldResized, 4),
            (None, Rule::PropertyDefaultChanged, 4),
        ] {
            assert_eq!(left(&all, refused(field, rule)), stay, "{field:?} {rule:?}");
        }
    }

    #[test]
    fn the_inside_of_a_section_that_is_not_read_says_nothing() {
        let all = [
            "forward stream cpu/env.mcounteren",
            "backward stream cpu/env.mcounteren",
            "forward stream cpu",
            "forward stream timer/a",
            "forward dump cpu/env.gpr",
        ];
        for (field, rule, stay) in [
            (None, Rule::VersionTooOld, 4),
            (Some("cpu"), Rule::VersionTooNew, 4),
            (Some("cpu/slb"), Rule::VersionTooNew, 5),
            (None, Rule::FieldAdded, 5),
        ] {
            assert_eq!(left(&all, refused(field, rule)), stay, "{field:?} {rule:?}");
        }
    }

    #[test]
    fn the_inside_of_a_section_that_cannot_be_read_by_the_dumps_says_nothing() {
        let of_stream = || {
            resized(&[
                "forward stream riscv_mtimer/time_delta",
                "backward stream riscv_mtimer/time_delta",
                "forward stream riscv_imsic/eidelivery",
                "forward dump riscv_mtimer/timers",
            ])
        };
        let (old, new) = (Rule::VersionTooOld, Rule::VersionTooNew);
        for (rule, of, left) in [
            (old, "forward dump riscv_mtimer", 3),
            (new, "backward dump riscv_mtimer", 3),
            (old, "forward dump riscv_imsic", 3),
            (old, "backward dump riscv_imsic", 4),
            // That of a part is read when all before it was.
            (new, "forward dump riscv_mtimer/part", 4),
            (Rule::FieldAdded, "forward dump riscv_mtimer", 4),
        ] {
            let mut findings = of_stream();
            findings.push(finding(rule, of));
            withdraw_moot(&[], &mut findings);
            assert_eq!(findings.len(), left + 1, "{of}");
        }
        // A guest that failed there knows better.
        let mut shown = of_stream();
        shown[0].confirmed_by = Some(Confirmation::Case("id".to_owned()));
        shown.push(finding(old, "forward dump riscv_mtimer"));
        withdraw_moot(&[], &mut shown);
        assert_eq!(shown.len(), 5);
    }
}
