//! The report for CI systems: JUnit XML with one test case a finding above a note and one a
//! migration.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::model::BuildRef;
use crate::report::{
    BaselineStatus, Case, Finding, Gate, Level, Memory, Outcome, Past, Policy, Report, Verdict,
};

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut junit = Junit::new("migcompat");
    junit.add_test_suite(comparison(report));
    if !report.cases.is_empty() {
        let mut suite = TestSuite::new("migration");
        suite.add_test_cases(
            report
                .cases
                .iter()
                .map(|case| migration(case, &report.policy)),
        );
        junit.add_test_suite(suite);
    }
    if let Some(baseline) = &report.baseline
        && !baseline.past.is_empty()
    {
        let mut suite = TestSuite::new("baseline");
        suite.add_property(("baseline".to_owned(), baseline.file.clone()));
        suite.add_test_cases(baseline.past.iter().map(past));
        junit.add_test_suite(suite);
    }
    let text = junit.to_string().map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}

/// Findings that decide the exit status fail, those that a list allows or that only warn are skipped with
/// the reason, and a comparison without either is one test that passed.
fn comparison(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("comparison");
    for (key, build) in [("old", &report.old), ("new", &report.new)] {
        suite.add_property((key.to_owned(), name_of(build)));
    }
    if let Some(machine) = &report.machine {
        suite.add_property(("machine".to_owned(), machine.clone()));
    }
    for owner in report.owners.iter().filter(|owner| owner.name.is_some()) {
        let people: Vec<&str> = owner.to_notify().collect();
        suite.add_property((format!("owner {}", owner.title()), people.join(", ")));
    }
    let above_note = report.findings.iter().filter(|f| f.level != Level::Note);
    suite.add_test_cases(above_note.map(|f| finding(f, &report.policy)));
    if suite.test_cases.is_empty() {
        let status = match report.verdict {
            Verdict::Untested if report.cases.is_empty() => {
                TestCaseStatus::skipped().set_message("untested").clone()
            }
            _ => TestCaseStatus::success(),
        };
        suite.add_test_case(TestCase::new("no difference above a note", status));
    }
    if !report.notices.is_empty() {
        let lines = report.notices.iter().map(|n| format!("notice: {n}\n"));
        suite.set_system_out(lines.collect::<String>());
    }
    suite
}

/// Adds the relation to the baseline, where there is one.
fn held_against(test: &mut TestCase, status: Option<BaselineStatus>) {
    if let Some(status) = status {
        test.add_property(("baseline".to_owned(), status.to_string()));
    }
}

/// Adds what the history says, where there is one.
fn remembered(test: &mut TestCase, memory: Option<&Memory>) {
    if let Some(memory) = memory {
        test.add_property(("history".to_owned(), memory.label.to_string()));
        test.add_property(("history-evidence".to_owned(), memory.evidence.clone()));
    }
}

/// Adds the owners, where a file says who they are.
fn owned(test: &mut TestCase, owners: &[String]) {
    for owner in owners {
        test.add_property(("owner".to_owned(), owner.clone()));
    }
}

/// Returns why a break does not count that no list allows.
fn uncounted(policy: &Policy, memory: Option<&Memory>) -> Option<String> {
    match (policy.gate, memory) {
        _ if policy.case.is_some() => Some("not the case that decides".to_owned()),
        (Gate::All, _) => None,
        (Gate::New, _) => Some("in the baseline too".to_owned()),
        (Gate::Regression, Some(memory)) => Some(format!("{}: {}", memory.label, memory.evidence)),
        (Gate::Regression, None) => Some("not known to be a regression".to_owned()),
        (Gate::Tier, _) => Some("only observed".to_owned()),
    }
}

/// What the baseline alone has: fixed, or not looked for.
fn past(past: &Past) -> TestCase {
    let status = match past.status {
        BaselineStatus::Fixed => TestCaseStatus::success(),
        BaselineStatus::New | BaselineStatus::Same | BaselineStatus::Gone => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(past.status.explanation());
            status
        }
    };
    let mut test = TestCase::new(past.to_string(), status);
    test.set_classname("migcompat.baseline");
    held_against(&mut test, Some(past.status));
    test
}

fn name_of(build: &BuildRef) -> String {
    match build.version {
        Some(version) => format!("{} ({version})", build.label),
        None => build.label.clone(),
    }
}

fn finding(finding: &Finding, policy: &Policy) -> TestCase {
    let status = if policy.counts_finding(finding) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_message(&finding.message)
            .set_type(finding.rule.id());
        let mut lines: Vec<String> = Vec::new();
        if !finding.also_in.is_empty() {
            lines.push(format!("also in: {}", finding.also_in.join(", ")));
        }
        lines.extend(finding.context.iter().map(|line| {
            let mark = match line.side {
                crate::model::Side::Both => ' ',
                crate::model::Side::Old => '-',
                crate::model::Side::New => '+',
            };
            format!("{mark} {}", line.text)
        }));
        status.set_description(lines.join("\n"));
        status
    } else {
        let mut status = TestCaseStatus::skipped();
        status.set_message(match &finding.allowed_by {
            Some(reason) => format!("allowed {}: {reason}", finding.level),
            None => match uncounted(policy, finding.memory.as_ref()) {
                Some(why) if finding.gates(policy.strict) => {
                    format!("{} {why}: {}", finding.level, finding.message)
                }
                _ => format!("{}: {}", finding.level, finding.message),
            },
        });
        status
    };
    let place = [std::slice::from_ref(&finding.section), &finding.path].concat();
    let name = format!("{} {} {}", finding.direction, finding.rule, place.join("/"));
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("migcompat.comparison.{}", finding.section));
    held_against(&mut case, finding.baseline);
    remembered(&mut case, finding.memory.as_ref());
    owned(&mut case, &finding.owners);
    case
}

fn migration(case: &Case, policy: &Policy) -> TestCase {
    let message = case
        .cause
        .as_ref()
        .map_or_else(|| case.outcome.to_string(), |cause| cause.message.clone());
    let status = match case.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::Skip | Outcome::Broken => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{}: {message}", case.outcome));
            status
        }
        Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost => match &case.allowed_by {
            Some(reason) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(format!("allowed {}: {reason}", case.outcome));
                status
            }
            None if !policy.counts_case(case) => {
                let mut status = TestCaseStatus::skipped();
                let why = uncounted(policy, case.memory.as_ref()).unwrap_or_default();
                status.set_message(format!("{} ({why}): {message}", case.outcome));
                status
            }
            None => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status
                    .set_message(&message)
                    .set_type(case.outcome.to_string());
                let again = case.repeated.map_or_else(String::new, |r| {
                    format!("failed {} of {} times\n", r.failed, r.of)
                });
                let without = case.without_capability.iter();
                let without: String = without.map(|without| format!("{without}\n")).collect();
                let by_hand = case.reproduce.as_deref().unwrap_or("-");
                status.set_description(format!("{again}{without}by hand: {by_hand}"));
                status
            }
        },
    };
    let mut test = TestCase::new(&*case.id, status);
    test.set_classname(format!("migcompat.migration.{}", case.machine));
    test.set_time(Duration::from_millis(case.elapsed_ms));
    held_against(&mut test, case.baseline);
    remembered(&mut test, case.memory.as_ref());
    owned(&mut test, &case.owners);
    if let Some(tier) = &case.tier {
        test.add_property(("tier".to_owned(), tier.to_string()));
    }
    if case.outcome != Outcome::Pass {
        let stderr = format!(
            "source:\n{}\ndestination:\n{}",
            case.source_stderr, case.destination_stderr
        );
        test.set_system_err(stderr);
    } else if let Some(reason) = &case.state_unchecked {
        test.set_system_out(format!("device state not compared: {reason}"));
    }
    test
}
