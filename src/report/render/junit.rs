//! The report for CI systems: JUnit XML with one test case a finding above a note and one a
//! migration.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite, XmlString,
};

use crate::model::joined;
use crate::report::map::Map;
use crate::report::render::problem::{code_lines, defined_in, uncounted};
use crate::report::render::text;
use crate::report::{
    BaselineStatus, Case, Finding, Level, Memory, Outcome, Past, Report, RuleText, Verdict,
};

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_suites(suites(report), out)
}

/// Writes a map: the suites of each pair, which have the builds in their names.
///
/// # Errors
/// The output cannot be written.
pub fn write_map(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    let of_pairs = map.pairs.iter().flat_map(|pair| {
        let between = map.between(pair);
        suites(&pair.report).into_iter().map(move |mut suite| {
            suite.name = format!("{between}: {}", suite.name.as_str()).into();
            suite
        })
    });
    write_suites(of_pairs.collect(), out)
}

fn write_suites(suites: Vec<TestSuite>, out: &mut dyn Write) -> io::Result<()> {
    let mut junit = Junit::new("migcompat");
    junit.add_test_suites(suites);
    let times = junit.test_suites.iter().filter_map(|suite| suite.time);
    junit.set_time(times.sum());
    let document = junit.to_string().map_err(io::Error::other)?;
    out.write_all(as_jenkins_takes_it(&document).as_bytes())
}

fn suites(report: &Report) -> Vec<TestSuite> {
    let mut suites = vec![comparison(report)];
    if !report.cases.is_empty() {
        let mut suite = TestSuite::new("migration");
        suite.add_test_cases(report.cases.iter().map(|case| migration(case, report)));
        let times = report.cases.iter().map(|case| case.elapsed_ms);
        suite.set_time(Duration::from_millis(times.sum()));
        suites.push(suite);
    }
    if let Some(baseline) = &report.baseline
        && !baseline.past.is_empty()
    {
        let mut suite = TestSuite::new("baseline");
        suite.add_property(("baseline".to_owned(), baseline.file.clone()));
        suite.add_test_cases(baseline.past.iter().map(past));
        suites.push(suite);
    }
    suites
}

/// Returns the document without the count of skipped tests in its outermost element: the library writes it, and
/// Jenkins' schema has it for each suite alone.
fn as_jenkins_takes_it(text: &str) -> String {
    const OUTERMOST: &str = "<testsuites";
    let without = || {
        let (head, rest) = text.split_once(OUTERMOST)?;
        let (tag, body) = rest.split_once('>')?;
        let (before, skipped) = tag.split_once(" skipped=\"")?;
        let (_, after) = skipped.split_once('"')?;
        Some(format!("{head}{OUTERMOST}{before}{after}>{body}"))
    };
    without().unwrap_or_else(|| text.to_owned())
}

/// Findings that decide the exit status fail. Those that a list allows or that only warn pass, and say so: they were
/// looked for. A comparison without either is one test that passed.
fn comparison(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("comparison");
    for (key, build) in [("old", &report.old), ("new", &report.new)] {
        suite.add_property((key.to_owned(), text::build(build)));
    }
    if let Some(machine) = &report.machine {
        suite.add_property(("machine".to_owned(), machine.clone()));
    }
    for owner in report.owners.iter().filter(|owner| owner.name.is_some()) {
        let people = joined(owner.to_notify(), ", ");
        suite.add_property((format!("owner {}", owner.title()), people));
    }
    let above_note = report.findings.iter().filter(|f| f.level != Level::Note);
    suite.add_test_cases(above_note.map(|f| finding(f, report)));
    if suite.test_cases.is_empty() {
        let status = match report.verdict {
            Verdict::Untested if report.cases.is_empty() => {
                let mut why = report
                    .notices
                    .iter()
                    .filter(|notice| notice.is_of_verdict());
                let why = why.next();
                skipped(why.map_or("untested".to_owned(), ToString::to_string))
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

fn skipped(why: impl Into<XmlString>) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

/// Lines that say more of a test. Jenkins' schema has no properties for a single one.
#[derive(Default)]
struct Remarks(Vec<String>);

impl Remarks {
    fn add(&mut self, label: &str, text: impl std::fmt::Display) {
        self.0.push(format!("{label}: {text}"));
    }

    /// Adds the relation to the baseline, what the history says, and the owners, as far as they are known.
    fn place(
        &mut self,
        status: Option<BaselineStatus>,
        memory: Option<&Memory>,
        owners: &[String],
    ) {
        if let Some(status) = status {
            self.add("baseline", status);
        }
        if let Some(memory) = memory {
            self.add("history", memory);
        }
        for owner in owners {
            self.add("owner", owner);
        }
    }

    /// Adds what a rule means and how it is mended.
    fn explain(&mut self, text: Option<&RuleText>) {
        if let Some(RuleText { effect, fix, .. }) = text {
            self.add("effect", effect.trim());
            self.add("fix", fix.trim());
        }
    }

    fn write_into(self, test: &mut TestCase) {
        if !self.0.is_empty() {
            test.set_system_out(self.0.join("\n"));
        }
    }
}

/// A test case for what the baseline alone has: fixed, or not looked for.
fn past(past: &Past) -> TestCase {
    let status = match past.status {
        BaselineStatus::Fixed => TestCaseStatus::success(),
        BaselineStatus::New | BaselineStatus::Same | BaselineStatus::Gone => {
            skipped(past.status.explanation())
        }
    };
    let mut test = TestCase::new(past.to_string(), status);
    test.set_classname("migcompat.baseline");
    let mut remarks = Remarks::default();
    remarks.place(Some(past.status), None, &[]);
    remarks.write_into(&mut test);
    test
}

fn finding(finding: &Finding, report: &Report) -> TestCase {
    let policy = &report.policy;
    let mut remarks = Remarks::default();
    let status = if policy.counts_finding(finding) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_message(&finding.message)
            .set_type(finding.rule.id());
        let mut lines: Vec<String> = Vec::new();
        if !finding.also_in.is_empty() {
            lines.push(format!("also in: {}", finding.also_in.join(", ")));
        }
        lines.extend(
            finding
                .context
                .iter()
                .map(|line| format!("{} {}", line.side.mark(), line.text)),
        );
        let mut meaning = Remarks::default();
        meaning.explain(report.rules.get(&finding.rule));
        lines.extend(meaning.0);
        lines.extend(defined_in(finding.source.as_ref()));
        lines.extend(code_lines(&finding.code));
        status.set_description(lines.join("\n"));
        status
    } else {
        match &finding.allowed_by {
            Some(reason) => remarks.add(&format!("allowed {}", finding.level), reason),
            None => match uncounted(policy, finding.memory.as_ref()) {
                Some(why) if finding.gates(policy.strict) => {
                    remarks.add(&format!("{} {why}", finding.level), &finding.message);
                }
                _ => remarks.add(&finding.level.to_string(), &finding.message),
            },
        }
        remarks.explain(report.rules.get(&finding.rule));
        TestCaseStatus::success()
    };
    let name = format!(
        "{} {} {}",
        finding.direction,
        finding.rule,
        finding.place("/")
    );
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("migcompat.comparison.{}", finding.section));
    let owners = report.owners_with_people(&finding.owners);
    remarks.place(finding.baseline, finding.memory.as_ref(), &owners);
    remarks.write_into(&mut case);
    case
}

fn migration(case: &Case, report: &Report) -> TestCase {
    let policy = &report.policy;
    let mut remarks = Remarks::default();
    let message = case.message();
    let message = message.map_or_else(|| case.outcome.to_string(), str::to_owned);
    let status = match case.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        // Neither says anything of a migration between the builds: there was none that could.
        Outcome::Skip | Outcome::Broken if !policy.counts_case(case) => {
            skipped(format!("{}: {message}", case.outcome))
        }
        _ => match &case.allowed_by {
            Some(reason) => {
                remarks.add(&format!("allowed {}", case.outcome), reason);
                TestCaseStatus::success()
            }
            None if !policy.counts_case(case) => {
                let why = uncounted(policy, case.memory.as_ref()).unwrap_or_default();
                remarks.add(&format!("{} ({why})", case.outcome), &message);
                TestCaseStatus::success()
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
                let with = case.passes_with.as_ref();
                let with = with.map_or_else(String::new, |with| format!("{with}\n"));
                let rule = case.cause.as_ref().and_then(|cause| cause.rule);
                let mut meaning = Remarks::default();
                meaning.explain(rule.and_then(|rule| report.rules.get(&rule)));
                let meaning: String = meaning.0.iter().map(|line| format!("{line}\n")).collect();
                let by_hand = case.reproduce.as_deref().unwrap_or("-");
                status
                    .set_description(format!("{again}{without}{with}{meaning}by hand: {by_hand}"));
                status
            }
        },
    };
    let mut test = TestCase::new(&*case.id, status);
    test.set_classname(format!("migcompat.migration.{}", case.machine));
    test.set_time(Duration::from_millis(case.elapsed_ms));
    let owners = report.owners_with_people(&case.owners);
    remarks.place(case.baseline, case.memory.as_ref(), &owners);
    if let Some(tier) = &case.tier {
        remarks.add("tier", tier);
    }
    if case.outcome != Outcome::Pass {
        let stderr = format!(
            "source:\n{}\ndestination:\n{}",
            case.source_stderr, case.destination_stderr
        );
        test.set_system_err(stderr);
    } else if let Some(reason) = &case.state_unchecked {
        remarks.add("device state not compared", reason);
    }
    remarks.write_into(&mut test);
    test
}
