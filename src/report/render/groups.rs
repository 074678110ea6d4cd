//! Groups for every format: findings of one change, cases of one cause.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::model::{Direction, Rule, first_few};
use crate::report::{
    BaselineStatus, Case, Change, Control, Evidence, FailureKind, Finding, Gate, LeftOut, LegSide,
    Level, LoneType, MemoryLabel, Outcome, Phase, Policy, Report, Shape, is_lone,
};

/// Returns the headline of findings about lone types, where it is not the name of their rule.
pub(crate) fn lone_headline(finding: &Finding) -> Option<&'static str> {
    match (finding.evidence, finding.lone_type) {
        (Evidence::Stream, _) => Some("section that one build alone sends"),
        (_, Some(LoneType::Undescribed)) => Some("device type that one dump alone describes"),
        (_, Some(LoneType::Abstract)) => Some("abstract type of one build alone"),
        (_, None) => None,
    }
}

/// Returns what a lone type is called, and what the build that does not have it does.
pub(crate) fn lone_kind(finding: &Finding) -> (&'static str, String) {
    let (_, build) = finding.direction.source_destination("old", "new");
    let (kind, what) = match (finding.evidence, finding.lone_type) {
        (Evidence::Stream, _) => ("section", "does not send"),
        (_, None) => ("device type", "lacks"),
        (_, Some(LoneType::Undescribed)) => ("device type", "does not describe"),
        (_, Some(LoneType::Abstract)) => ("abstract type", "lacks"),
    };
    (kind, format!("{build} {what}"))
}

/// Groups findings that differ in nothing but the direction, and all types that one build lacks. No group
/// is empty.
pub(crate) fn findings<'f>(
    findings: impl IntoIterator<Item = &'f Finding>,
) -> Vec<Vec<&'f Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    let mut places: FxHashMap<FindingKey, usize> = FxHashMap::default();
    for finding in findings {
        let key = FindingKey::of(finding);
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

/// Counts findings as a reader does: one that goes both ways is one.
pub(crate) fn changes<'f>(of: impl IntoIterator<Item = &'f Finding>) -> usize {
    let groups = findings(of);
    let in_group = |group: &Vec<&Finding>| match group.first() {
        Some(first) if is_lone(first) => group.len(),
        _ => 1,
    };
    groups.iter().map(in_group).sum()
}

/// Returns the findings above a note that nothing excuses, in their groups.
pub(crate) fn open_changes(report: &Report) -> Vec<Vec<&Finding>> {
    let is_open = |finding: &&Finding| {
        finding.allowed_by.is_none()
            && finding.level != Level::Note
            && !is_before(finding.baseline, &report.policy)
    };
    findings(report.findings.iter().filter(is_open))
}

/// Returns the cases that failed, or that a build does not migrate to itself, in their groups.
pub(crate) fn open_causes(report: &Report) -> Vec<Vec<&Case>> {
    let urgency = |case: &Case| urgency(case, &report.policy);
    let is_open = |case: &&Case| matches!(urgency(case), Urgency::Failed | Urgency::Broken);
    causes(report.cases.iter().filter(is_open))
}

/// A key that is equal for findings of one group.
#[derive(PartialEq, Eq, Hash)]
struct FindingKey<'f> {
    rule: Rule,
    level: Level,
    allowed_by: Option<&'f str>,
    baseline: Option<BaselineStatus>,
    memory: Option<MemoryLabel>,
    what: Subject<'f>,
}

#[derive(PartialEq, Eq, Hash)]
enum Subject<'f> {
    /// Any type that one build lacks, or any section that it does not send.
    LoneType(Direction, Evidence, Option<LoneType>),
    /// A change in one place.
    Change {
        section: &'f str,
        path: &'f [String],
        also_in: &'f [String],
        machines: &'f [String],
        old: Option<&'f Shape>,
        new: Option<&'f Shape>,
    },
}

impl<'f> FindingKey<'f> {
    fn of(finding: &'f Finding) -> Self {
        let what = match is_lone(finding) {
            true => Subject::LoneType(finding.direction, finding.evidence, finding.lone_type),
            false => Subject::Change {
                section: &finding.section,
                path: &finding.path,
                also_in: &finding.also_in,
                machines: &finding.machines,
                old: finding.old.as_ref(),
                new: finding.new.as_ref(),
            },
        };
        FindingKey {
            rule: finding.rule,
            level: finding.level,
            allowed_by: finding.allowed_by.as_deref(),
            baseline: finding.baseline,
            memory: finding.memory.as_ref().map(|memory| memory.label),
            what,
        }
    }
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

/// Returns names, or some of them and how many more there are.
pub(crate) fn few(all: &[String]) -> String {
    const MOST: usize = 16;
    // What says how many more there are takes the place of a name.
    let named = if all.len() > MOST { MOST - 1 } else { MOST };
    first_few(all, named)
}

/// Returns true if any guest moved between the builds, or failed to.
pub(crate) fn ran(cases: &[Case]) -> bool {
    !cases.iter().all(|case| case.outcome.is_idle())
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
    /// It failed, and does not count beside the baseline.
    Before,
    /// A build does not migrate it to itself.
    Broken,
    /// It failed, and a list or an option allows it.
    Allowed,
    NotTried,
    /// It is left out on purpose.
    Excluded,
    Passed,
}

pub(crate) fn urgency(case: &Case, policy: &Policy) -> Urgency {
    match case.outcome {
        _ if policy.counts_case(case) => Urgency::Failed,
        _ if case.gates() => Urgency::Before,
        Outcome::Pass => Urgency::Passed,
        _ if case.excluded.is_some() => Urgency::Excluded,
        Outcome::Skip => Urgency::NotTried,
        _ if case.allowed_by.is_some() => Urgency::Allowed,
        _ if is_before(case.baseline, policy) => Urgency::Before,
        _ => Urgency::Broken,
    }
}

/// Tells whether the reader looks for what differs from the baseline alone, and this does not.
pub(crate) fn is_before(status: Option<BaselineStatus>, policy: &Policy) -> bool {
    policy.gate == Gate::New && status == Some(BaselineStatus::Same)
}

/// Returns the number of findings and cases that decide the verdict.
pub(crate) fn counting(report: &Report) -> usize {
    let policy = &report.policy;
    let findings = report.findings.iter().filter(|f| policy.counts_finding(f));
    let cases = report.cases.iter().filter(|c| policy.counts_case(c));
    findings.count() + cases.count()
}

/// Cases that did not pass, by their outcome. No group is empty.
pub(crate) fn causes<'c>(cases: impl IntoIterator<Item = &'c Case>) -> Vec<Vec<&'c Case>> {
    let mut groups: Vec<(CaseKey, Vec<&Case>)> = Vec::new();
    let bad = cases.into_iter().filter(|case| is_bad(case));
    let (alike, own): (Vec<&Case>, Vec<&Case>) = bad.partition(|case| case.same_as.is_some());
    // Those that another one stands for come after it.
    for case in own.into_iter().chain(alike) {
        let stands = |group: &[&Case]| {
            let mut group = group.iter();
            group.any(|other| Some(&other.id) == case.same_as.as_ref())
        };
        if let Some((_, group)) = groups.iter_mut().find(|(_, group)| stands(group)) {
            group.push(case);
            continue;
        }
        let key = CaseKey {
            outcome: case.outcome,
            direction: case.direction,
            control: case.control.as_ref(),
            allowed_by: case.allowed_by.as_deref(),
            baseline: case.baseline,
            memory: case.memory.as_ref().map(|memory| memory.label),
            failure: Failure::of(case),
        };
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(case),
            None => groups.push((key, vec![case])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// A key that is equal for cases of one group.
#[derive(PartialEq, Eq)]
struct CaseKey<'c> {
    outcome: Outcome,
    direction: Direction,
    control: Option<&'c Control>,
    allowed_by: Option<&'c str>,
    baseline: Option<BaselineStatus>,
    memory: Option<MemoryLabel>,
    failure: Failure<'c>,
}

/// Equal for cases that fail in the same way: on the same fields, wherever the device sits.
#[derive(PartialEq, Eq)]
enum Failure<'c> {
    Unknown,
    /// Values that did not arrive.
    State(BTreeSet<(&'c str, Change, Option<&'c str>)>),
    Cause {
        side: Option<LegSide>,
        phase: Option<Phase>,
        kind: Option<FailureKind>,
        rule: Option<Rule>,
        expected: Option<&'c str>,
        place: Place<'c>,
    },
}

#[derive(PartialEq, Eq)]
enum Place<'c> {
    /// The device of a known field does not matter: many embed the same description.
    Field(&'c str),
    /// Nor does the device that reads a file which differs.
    File(&'c str),
    /// The bus address of a section does not matter.
    Vmsd(&'c str),
    /// Two devices that crash are two crashes; one on two machines is not.
    DeviceSet(&'c str),
}

impl<'c> Failure<'c> {
    fn of(case: &'c Case) -> Self {
        if !case.state_diff.is_empty() {
            let diffs = case.state_diff.iter();
            let lost = diffs.map(|diff| {
                let landed_in = diff.landed_in.as_deref();
                (diff.field.as_str(), diff.change, landed_in)
            });
            return Failure::State(lost.collect());
        }
        let Some(cause) = &case.cause else {
            return Failure::Unknown;
        };
        Failure::Cause {
            side: cause.side,
            phase: cause.phase,
            kind: cause.kind,
            rule: cause.rule,
            expected: cause.expected.as_deref(),
            place: match (&cause.file, &cause.section, &cause.field) {
                (Some(file), ..) => Place::File(file),
                (None, Some(_), Some(field)) => Place::Field(field),
                (None, Some(section), None) => Place::Vmsd(section.vmsd_name()),
                (None, None, _) => Place::DeviceSet(&case.device_set),
            },
        }
    }
}

/// Ids of cases that could not be tried, by the reason: where a whole machine does not migrate,
/// its devices all say the same.
pub(crate) fn skipped<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
) -> BTreeMap<&'c str, Vec<&'c str>> {
    let cases = cases.into_iter().filter(|c| c.outcome == Outcome::Skip);
    by_reason(cases.map(|case| (case.message().unwrap_or("no reason is known"), &*case.id)))
}

/// Groups the ids of cases that passed without a look at the devices' state by the reason: such a pass
/// must not look like one with it.
pub(crate) fn unchecked<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
) -> BTreeMap<&'c str, Vec<&'c str>> {
    let cases = cases.into_iter().filter(|c| c.outcome == Outcome::Pass);
    by_reason(cases.filter_map(|case| Some((case.state_unchecked.as_deref()?, &*case.id))))
}

/// Devices by what keeps them out.
pub(crate) fn left_out<'l>(
    left_out: impl IntoIterator<Item = &'l LeftOut>,
) -> BTreeMap<&'l str, Vec<&'l str>> {
    let left_out = left_out.into_iter();
    by_reason(left_out.map(|LeftOut { device, reason }| (&**reason, &**device)))
}

fn by_reason<'r>(
    reasons: impl Iterator<Item = (&'r str, &'r str)>,
) -> BTreeMap<&'r str, Vec<&'r str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (reason, name) in reasons {
        groups.entry(reason).or_default().push(name);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cause, testing};

    #[test]
    fn a_change_that_goes_both_ways_counts_once_and_each_type_that_is_gone_too() {
        let finding = |rule: &str, direction: &str, section: &str| -> Finding {
            testing::finding(serde_json::json!({
                "rule": rule, "direction": direction, "section": section, "message": direction
            }))
        };
        let all = [
            finding("field-added", "forward", "am53c974"),
            finding("field-added", "backward", "am53c974"),
            finding("field-added", "backward", "sb16"),
            finding("section-removed", "forward", "qxl"),
            finding("section-removed", "forward", "qxl-vga"),
        ];
        assert_eq!(changes(&all), 4);
        assert_eq!(changes([]), 0);
    }

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
        let with_rule = |mut case: Case| {
            if let Some(cause) = &mut case.cause {
                cause.rule = Some(Rule::FieldAdded);
            }
            case
        };
        let with_file = |mut case: Case| {
            if let Some(cause) = &mut case.cause {
                cause.file = Some("pxe.rom".to_owned());
            }
            case
        };
        let killed = "the destination was killed by SIGSEGV";
        let size = "Size mismatch";
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
            with_rule(case(
                "another rule",
                Some("0000:00:01.0/y"),
                Some("esp/lun"),
                "no offset",
            )),
            with_file(case("a ROM", Some("ram"), Some("x.rom"), size)),
            with_file(case("its other device", Some("ram"), Some("y.rom"), size)),
            case("another block", Some("ram"), Some("x.rom"), size),
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
                vec!["another rule"],
                vec!["a ROM", "its other device"],
                vec!["another block"],
                vec!["a crash", "a crash"],
                vec!["another crash"],
            ]
        );
    }
}
