//! Groups for every format: findings of one change, cases of one cause.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::Direction;
use crate::model::Rule;
use crate::report::{Case, Evidence, Finding, LeftOut, Outcome};

/// Findings about a whole type that one build lacks: there is nothing to show but the name.
const LONE: [Rule; 2] = [Rule::SectionRemoved, Rule::SectionAdded];

pub(crate) fn is_lone(finding: &Finding) -> bool {
    LONE.contains(&finding.rule)
}

/// Groups findings that differ in nothing but the direction, and all types that one build lacks. No group
/// is empty.
pub(crate) fn findings<'f>(
    findings: impl IntoIterator<Item = &'f Finding>,
) -> Vec<Vec<&'f Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for finding in findings {
        let Finding {
            rule,
            level,
            allowed_by,
            direction,
            ..
        } = finding;
        let key = if is_lone(finding) {
            format!("{rule} {level} {direction} {allowed_by:?}")
        } else {
            format!(
                "{rule} {level} {} {:?} {:?} {allowed_by:?} {:?} {:?} {:?}",
                finding.section,
                finding.path,
                finding.also_in,
                finding.machines,
                finding.old,
                finding.new
            )
        };
        match places.get(&key) {
            Some(&at) => groups[at].push(finding),
            None => {
                places.insert(key, groups.len());
                groups.push(vec![finding]);
            }
        }
    }
    groups
}

/// Returns the messages of a group, each once, with the direction where only one has it, or else
/// with their subject.
pub(crate) fn messages<'f>(group: &[&'f Finding]) -> Vec<(String, &'f str)> {
    let mut messages: Vec<(Option<Direction>, &Finding)> = Vec::new();
    for &finding in group {
        match messages
            .iter_mut()
            .find(|(_, known)| known.message == finding.message)
        {
            Some(same) => same.0 = None,
            None => messages.push((Some(finding.direction), finding)),
        }
    }
    let label = |direction: Option<Direction>, finding: &Finding| match direction {
        Some(direction) => direction.to_string(),
        None if finding.evidence == Evidence::Properties => "set-up".to_owned(),
        None => "wire".to_owned(),
    };
    let messages = messages.into_iter();
    messages
        .map(|(direction, finding)| (label(direction, finding), finding.message.as_str()))
        .collect()
}

/// Returns true if any guest moved between the builds, or failed to.
pub(crate) fn ran(cases: &[Case]) -> bool {
    let idle = |case: &Case| matches!(case.outcome, Outcome::Skip | Outcome::Broken);
    !cases.iter().all(idle)
}

/// Returns the outcomes of cases that need an explanation, each once, with it.
pub(crate) fn explained<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
) -> BTreeMap<Outcome, &'static str> {
    let outcomes = cases.into_iter().map(|case| case.outcome);
    outcomes
        .filter_map(|outcome| Some((outcome, outcome.explanation()?)))
        .collect()
}

/// Returns true if a reader has to look at a case.
pub(crate) fn is_bad(case: &Case) -> bool {
    !matches!(case.outcome, Outcome::Pass | Outcome::Skip)
}

/// The urgency with which a reader has to see a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// It fails the run.
    Failed,
    /// A build does not migrate it to itself.
    Broken,
    /// It failed, and a list or an option allows it.
    Allowed,
    NotTried,
    Passed,
}

pub(crate) fn urgency(case: &Case) -> Urgency {
    match case.outcome {
        _ if case.gates() => Urgency::Failed,
        Outcome::Pass => Urgency::Passed,
        Outcome::Skip => Urgency::NotTried,
        _ if case.allowed_by.is_some() => Urgency::Allowed,
        _ => Urgency::Broken,
    }
}

/// Cases that did not pass, by their outcome. No group is empty.
pub(crate) fn causes<'c>(cases: impl IntoIterator<Item = &'c Case>) -> Vec<Vec<&'c Case>> {
    let mut groups: Vec<(String, Vec<&Case>)> = Vec::new();
    for case in cases.into_iter().filter(|case| is_bad(case)) {
        let key = format!(
            "{} {} {:?} {:?} {}",
            case.outcome,
            case.direction,
            case.control,
            case.allowed_by,
            kind(case)
        );
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(case),
            None => groups.push((key, vec![case])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Equal for cases that fail in the same way: on the same fields, wherever the device sits.
fn kind(case: &Case) -> String {
    if !case.state_diff.is_empty() {
        let diffs = case.state_diff.iter();
        let lost: BTreeSet<_> = diffs
            .map(|diff| (&diff.field, diff.change, &diff.landed_in))
            .collect();
        return format!("{lost:?}");
    }
    let Some(cause) = &case.cause else {
        return String::new();
    };
    let mut words = cause.message.clone();
    match &cause.section {
        Some(section) => {
            // The bus address of a section does not matter, nor does the device of a known field:
            // many embed the same description.
            let device = section.vmsd_name();
            let kept = cause.field.as_ref().map_or(device, |_| "");
            words = words.replace(section.as_str(), kept);
        }
        // Two devices that crash are two crashes; one on two machines is not.
        None => words.push_str(&case.device_set),
    }
    // Addresses, offsets and instances.
    words.retain(|c| !c.is_ascii_digit());
    words
}

/// Ids of cases that could not be tried, by the reason: where a whole machine does not migrate,
/// its devices all say the same.
pub(crate) fn skipped<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
) -> BTreeMap<&'c str, Vec<&'c str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in cases.into_iter().filter(|c| c.outcome == Outcome::Skip) {
        let cause = case.cause.as_ref();
        let reason = cause.map_or("no reason is known", |cause| cause.message.as_str());
        reasons.entry(reason).or_default().push(&case.id);
    }
    reasons
}

/// Groups the ids of cases that passed without a look at the devices' state by the reason: such a pass
/// must not look like one with it.
pub(crate) fn unchecked<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
) -> BTreeMap<&'c str, Vec<&'c str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in cases.into_iter().filter(|c| c.outcome == Outcome::Pass) {
        if let Some(reason) = &case.state_unchecked {
            reasons.entry(reason).or_default().push(&case.id);
        }
    }
    reasons
}

/// Devices by what keeps them out.
pub(crate) fn left_out<'l>(
    left_out: impl IntoIterator<Item = &'l LeftOut>,
) -> BTreeMap<&'l str, Vec<&'l str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for LeftOut { device, reason } in left_out {
        reasons.entry(reason).or_default().push(device);
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Cause;

    #[test]
    fn cases_of_one_cause_and_no_others_are_one_group() {
        let case = |id: &str, section: Option<&str>, field: Option<&str>, words: &str| Case {
            outcome: Outcome::Fail,
            cause: Some(Cause {
                section: section.map(Into::into),
                field: field.map(str::to_owned),
                message: format!("{words} {}", section.unwrap_or_default()),
                ..Cause::default()
            }),
            ..Case::untried(id.to_owned(), "pc", id, "unix", Direction::Forward)
        };
        let killed = "the destination was killed by SIGSEGV";
        let footer = "Missing section footer for";
        let cases = [
            case("a", Some("0000:00:01.0/pciespscsi"), None, footer),
            case("elsewhere", Some("0000:00:02.0/pciespscsi"), None, footer),
            case("another device", Some("0000:00:01.0/megasas"), None, footer),
            case("b", Some("0000:00:01.0/x"), Some("esp/lun"), "offset 12"),
            case(
                "embeds it too",
                Some("0000:00:01.0/y"),
                Some("esp/lun"),
                "offset 13",
            ),
            case(
                "other words",
                Some("0000:00:01.0/y"),
                Some("esp/lun"),
                "no offset",
            ),
            case("a crash", None, None, killed),
            case("another crash", None, None, killed),
            Case {
                machine: "q35".to_owned(),
                ..case("a crash", None, None, killed)
            },
        ];
        let ids: Vec<Vec<&str>> = causes(&cases)
            .iter()
            .map(|group| group.iter().map(|case| case.id.as_str()).collect())
            .collect();
        assert_eq!(
            ids,
            [
                vec!["a", "elsewhere"],
                vec!["another device"],
                vec!["b", "embeds it too"],
                vec!["other words"],
                vec!["a crash", "a crash"],
                vec!["another crash"],
            ]
        );
    }
}
