//! Problems of a report, one by one: for formats that list them and know nothing of migrations.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::report::render::groups::is_before;
use crate::report::{
    BaselineStatus, Case, Code, Finding, Gate, Level, Memory, Outcome, Policy, Report, RuleText,
    Source,
};

/// A finding above a note, or a case that did not pass.
pub(crate) struct Problem<'r> {
    /// The id of the finding or the case, which stays from run to run.
    pub id: &'r str,
    /// The id of the rule, or else the way in which a migration failed: `migration-fail`.
    pub rule: String,
    /// The meaning of the rule, where there is one.
    pub text: Option<&'r RuleText>,
    /// An error or a warning.
    pub level: Level,
    /// The reason why it does not count, of a problem that would, or why a reader does not look for it.
    pub excused: Option<String>,
    /// The place within the machine: a section with the path in it, or the id of a case.
    pub place: String,
    /// A sentence for people.
    pub message: String,
    /// The relation to the baseline, where there is one.
    pub baseline: Option<BaselineStatus>,
    /// The description that it is about, in the tree of QEMU's sources, where there is one.
    pub source: Option<&'r Source>,
    /// The owners, each with the people to tell.
    pub owners: Vec<String>,
    /// The remedies as code.
    pub code: &'r [Code],
}

/// Returns the line that says where a description is defined, if that is known.
pub(crate) fn defined_in(source: Option<&Source>) -> Option<String> {
    source.map(|source| format!("defined in: {source}"))
}

/// Returns each remedy as its title and its code.
pub(crate) fn code_lines(code: &[Code]) -> impl Iterator<Item = String> {
    let text = |Code { title, code }: &Code| format!("code: {title}:\n{code}");
    code.iter().map(text)
}

/// Returns all of a report, its findings first.
pub(crate) fn problems(report: &Report) -> Vec<Problem<'_>> {
    let findings = report.findings.iter().filter_map(|f| finding(f, report));
    let cases = report.cases.iter().filter_map(|c| case(c, report));
    findings.chain(cases).collect()
}

/// Returns a name for each problem that is its own, and the same in another run.
pub(crate) fn fingerprints(problems: &[Problem<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut fingerprints = Vec::new();
    for problem in problems {
        let before = seen.entry(problem.id).or_default();
        let name = format!("{} {before}", problem.id);
        *before += 1;
        fingerprints.push(format!("{:032x}", xxh3_128(name.as_bytes())));
    }
    fingerprints
}

fn finding<'r>(finding: &'r Finding, report: &'r Report) -> Option<Problem<'r>> {
    let level = match finding.level {
        Level::Note => return None,
        Level::Warning if report.policy.strict => Level::Error,
        level => level,
    };
    let counts = level != Level::Error || report.policy.counts_finding(finding);
    let counts = counts && !is_before(finding.baseline, &report.policy);
    Some(Problem {
        id: &finding.id,
        rule: finding.rule.id().to_owned(),
        text: report.rules.get(&finding.rule),
        level,
        excused: excused(&finding.allowed_by, counts, report, &finding.memory),
        place: finding.place("/"),
        message: format!("{}: {}", finding.direction, finding.message),
        baseline: finding.baseline,
        source: finding.source.as_ref(),
        owners: report.owners_with_people(&finding.owners),
        code: &finding.code,
    })
}

fn case<'r>(case: &'r Case, report: &'r Report) -> Option<Problem<'r>> {
    let level = match case.outcome {
        Outcome::Pass | Outcome::Skip => return None,
        Outcome::Broken if !report.policy.counts_case(case) => Level::Warning,
        _ => Level::Error,
    };
    let counts = level != Level::Error || report.policy.counts_case(case);
    let counts = counts && !is_before(case.baseline, &report.policy);
    let cause = case.cause.as_ref();
    let rule = cause.and_then(|cause| cause.rule);
    // The finding that it confirms says where it is mended.
    let mut findings = report.findings.iter();
    let proved = findings.find(|finding| finding.is_confirmed_by(&case.id));
    Some(Problem {
        id: &case.id,
        rule: match rule {
            Some(rule) => rule.id().to_owned(),
            None => format!("migration-{}", case.outcome),
        },
        text: rule.and_then(|rule| report.rules.get(&rule)),
        level,
        excused: excused(&case.allowed_by, counts, report, &case.memory),
        place: case.id.clone(),
        message: message(case),
        baseline: case.baseline,
        source: proved.and_then(|finding| finding.source.as_ref()),
        owners: report.owners_with_people(&case.owners),
        code: proved.map_or(&[], |finding| &finding.code),
    })
}

fn excused(
    allowed_by: &Option<String>,
    counts: bool,
    report: &Report,
    memory: &Option<Memory>,
) -> Option<String> {
    let allowed = allowed_by.as_ref();
    let allowed = allowed.map(|reason| format!("allowed by {reason}"));
    allowed.or_else(|| uncounted(&report.policy, memory.as_ref()).filter(|_| !counts))
}

/// Returns the outcome of a case and its cause, in one line.
pub(crate) fn message(case: &Case) -> String {
    match case.message().or_else(|| case.outcome.explanation()) {
        Some(why) => format!("{}: {why}", case.outcome),
        None => case.outcome.to_string(),
    }
}

/// Returns why a break does not count that no list allows, if there is a reason.
pub(crate) fn uncounted(policy: &Policy, memory: Option<&Memory>) -> Option<String> {
    match (policy.gate, memory) {
        _ if policy.case.is_some() => Some("not the case that decides".to_owned()),
        (Gate::All, _) => None,
        (Gate::New, _) => Some("in the baseline too".to_owned()),
        (Gate::Regression, Some(memory)) => Some(memory.to_string()),
        (Gate::Regression, None) => Some("not known to be a regression".to_owned()),
        (Gate::Tier, _) => Some("only observed".to_owned()),
    }
}
