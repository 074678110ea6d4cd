//! The report as one page, for a maintainer to read before a freeze, or to attach to a mail. It is
//! self-contained: nothing from elsewhere, and its script only helps to find and copy.
//!
//! The contents of the page are gathered here, in its order; `templates/` has its appearance.
//! Templates escape whatever they are given: no text of a build or a file can become markup.

use std::collections::BTreeMap;
use std::io::{self, Write};

use askama::Template;

use crate::model::{BuildRef, Direction, joined};
use crate::report::render::cases::{alone, apart, became};
use crate::report::render::groups;
use crate::report::render::matrix::{Cell, Matrix, Row, facets};
use crate::report::render::page::{
    SCRIPT_HASH, case_anchor, finding_anchors, finding_id, lasted, typed, when,
};
use crate::report::{
    BaselineStatus, Case, Change, Confirmation, Coverage, CoveredSection, Finding, Level, Outcome,
    Reached, Report, RuleText, Shortfall, Swept, Treatment, Verdict, is_lone,
};

/// Number of failures above which all are folded.
const UNFOLDED: usize = 3;
/// Number of passed cases above which they are folded.
const UNFOLDED_PASSED: usize = 12;

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    Page::of(report).write_into(out).map_err(io::Error::other)
}

#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page<'r> {
    report: &'r Report,
    /// Directions of the cases: the columns of the matrix. A comparison of dumps has none.
    directions: Vec<Direction>,
    matrix: Matrix<'r>,
    anchors: Vec<(&'r Finding, String)>,
    failures: Vec<Failure<'r>>,
    allowed_failures: Vec<Failure<'r>>,
    allowed_findings: Vec<OfRule<'r>>,
    /// Failures that do not count, since the baseline has them.
    before_failures: Vec<Failure<'r>>,
    before_findings: Vec<OfRule<'r>>,
    unfolded: bool,
}

/// A number of things, what they are, the part of the page that has the details, and its class.
type Count = (usize, &'static str, &'static str, &'static str);

/// Devices by the reason for which they were left out.
type LeftOut<'r> = BTreeMap<&'r str, Vec<&'r str>>;

/// Cases with one cause; the first is shown in full.
struct Failure<'r> {
    number: usize,
    case: &'r Case,
    others: Vec<&'r Case>,
    rule: Option<&'r RuleText>,
    /// The findings that it confirms.
    findings: Vec<&'r Finding>,
}

impl<'r> Failure<'r> {
    fn cases(&self) -> Vec<&'r Case> {
        std::iter::once(self.case)
            .chain(self.others.iter().copied())
            .collect()
    }

    /// Tells whether the baseline lacks one of its cases.
    fn is_change(&self) -> bool {
        self.cases().iter().any(|case| is_change(case.baseline))
    }

    fn cause(&self) -> &str {
        self.case.message().unwrap_or("no cause is known")
    }

    /// The end of what each side printed.
    fn printed(&self) -> [(&'static str, &str); 2] {
        [
            ("source", &self.case.source_stderr),
            ("destination", &self.case.destination_stderr),
        ]
    }

    /// The leg of a loop that failed.
    fn leg(&self) -> Option<usize> {
        Some(self.case.legs.len()).filter(|&legs| legs > 1)
    }
}

struct Findings<'r> {
    level: Level,
    title: &'static str,
    number: usize,
    rules: Vec<OfRule<'r>>,
}

/// The findings of one rule, whose meaning is shown once.
struct OfRule<'r> {
    id: &'r str,
    text: Option<&'r RuleText>,
    places: Vec<Place<'r>>,
}

impl OfRule<'_> {
    /// Notes and allowed findings are listed for reference.
    fn unfolded(&self) -> bool {
        let first = self.places.first().map(|place| place.finding);
        first.is_some_and(|f| f.allowed_by.is_none() && f.level != Level::Note)
    }
}

/// Findings that differ in nothing but the direction.
struct Place<'r> {
    finding: &'r Finding,
    /// All of them.
    findings: Vec<&'r Finding>,
    directions: String,
    messages: Vec<(String, &'r str)>,
    /// Types that one build lacks, instead of a place.
    lacks: Vec<&'r str>,
    confirmed_by: Vec<&'r str>,
    refuted_by: Vec<&'r str>,
}

struct Part<'r> {
    class: &'static str,
    title: &'static str,
    sections: Vec<&'r CoveredSection>,
}

impl<'r> Page<'r> {
    fn of(report: &'r Report) -> Self {
        let failures = failures(report);
        let matrix = Matrix::of(&report.cases, &numbers(&failures));
        let (allowed_failures, failures): (Vec<_>, Vec<_>) = failures
            .into_iter()
            .partition(|failure| failure.case.allowed_by.is_some());
        let (before_failures, failures): (Vec<_>, Vec<_>) = failures
            .into_iter()
            .partition(|failure| groups::is_before(failure.case.baseline, &report.policy));
        let allowed = report.findings.iter().filter(|f| f.allowed_by.is_some());
        let before = report.findings.iter();
        let before = before.filter(|f| f.allowed_by.is_none() && is_before(f, report));
        Page {
            report,
            directions: among(|direction| report.cases.iter().any(|c| c.direction == direction)),
            matrix,
            anchors: finding_anchors(&report.findings),
            unfolded: failures.len() <= UNFOLDED,
            failures,
            allowed_failures,
            allowed_findings: of_rules(report, allowed),
            before_failures,
            before_findings: of_rules(report, before),
        }
    }

    /// Returns the directions of all legs: a loop has both directions.
    fn moved(&self) -> Vec<Direction> {
        let has = |case: &Case, direction| {
            let mut legs = case.legs.iter();
            case.direction == direction || legs.any(|leg| leg.direction == direction)
        };
        among(|direction| self.report.cases.iter().any(|case| has(case, direction)))
    }

    /// Returns the findings that the baseline does not have.
    fn changed_findings(&self) -> impl Iterator<Item = &'r Finding> {
        self.report
            .findings
            .iter()
            .filter(|f| is_change(f.baseline) && f.level != Level::Note && f.allowed_by.is_none())
    }

    fn passed(&self) -> Vec<&'r Case> {
        let cases = self.report.cases.iter();
        cases.filter(|case| case.outcome == Outcome::Pass).collect()
    }

    fn machines(&self) -> Vec<String> {
        let swept = self.report.swept.iter();
        match self.report.swept.is_empty() {
            true => self.report.machine.iter().cloned().collect(),
            false => swept
                .map(|s| format!("{} {}", s.architecture, s.machine))
                .collect(),
        }
    }

    fn untested(&self) -> Option<String> {
        if self.report.verdict != Verdict::Untested {
            return None;
        }
        let coverage = self.report.coverage.iter();
        let mut short = coverage.flat_map(|coverage| coverage.shortfalls(coverage.required()));
        Some(match short.next() {
            Some(Shortfall { part, sent, least }) => format!(
                "Nothing that was tried fails, but only {sent}% of the {} were sent, and {least}% were \
                 asked for.",
                part.unwrap_or("sections")
            ),
            None if groups::ran(&self.report.cases) => {
                "Nothing that was tried fails, but the run is not whole, or its coverage is unknown."
                    .to_owned()
            }
            None => "No case could be run between the builds.".to_owned(),
        })
    }

    fn counts(&self) -> Vec<Count> {
        let report = self.report;
        let cases = |is: &dyn Fn(&Case) -> bool| report.cases.iter().filter(|c| is(c)).count();
        let changes = |is: &dyn Fn(&Finding) -> bool| {
            groups::changes(report.findings.iter().filter(|finding| is(finding)))
        };
        let of = |outcome| cases(&|case| case.outcome == outcome);
        let shown = |level| {
            changes(&|f| f.level == level && f.allowed_by.is_none() && !is_before(f, report))
        };
        let allowed = changes(&|finding| finding.allowed_by.is_some())
            + cases(&|case| case.allowed_by.is_some() && groups::is_bad(case));
        let is_known = |case: &Case| groups::is_before(case.baseline, &report.policy);
        let before = changes(&|f| f.allowed_by.is_none() && is_before(f, report))
            + cases(&|c| c.allowed_by.is_none() && groups::is_bad(c) && is_known(c));
        let failed = cases(&|case| report.policy.counts_case(case));
        let broken = of(Outcome::Broken);
        let all = [
            (failed, "failed", "failed", "bad"),
            (shown(Level::Error), "errors", "error", "bad"),
            (shown(Level::Warning), "warnings", "warning", "doubt"),
            (broken, "broken within a build", "failed", "doubt"),
            (of(Outcome::Skip), "not tried", "left-out", "doubt"),
            (allowed, "allowed", "allowed", "note"),
            (before, "in the baseline too", "before", "note"),
            (shown(Level::Note), "notes", "note", "note"),
            (report.summary.passed, "passed", "passed", "good"),
        ];
        let some = all.into_iter().filter(|(number, ..)| *number > 0);
        some.map(|(number, what, place, class)| match number {
            1 => (number, what.trim_end_matches('s'), place, class),
            _ => (number, what, place, class),
        })
        .collect()
    }

    fn findings(&self) -> Vec<Findings<'r>> {
        let of = |level, title| {
            let own = self.report.findings.iter();
            let own = own.filter(move |f| f.level == level && f.allowed_by.is_none());
            let own = own.filter(|f| !is_before(f, self.report));
            Findings {
                level,
                title,
                number: groups::changes(own.clone()),
                rules: of_rules(self.report, own),
            }
        };
        let all = [
            of(Level::Error, "Errors"),
            of(Level::Warning, "Warnings"),
            of(Level::Note, "Notes"),
        ];
        all.into_iter().filter(|f| f.number > 0).collect()
    }

    /// Both directions of a set lack the same.
    fn lacking(&self) -> Vec<(&'r str, LeftOut<'r>)> {
        let mut all = Vec::new();
        for case in self.report.cases.iter().filter(|c| !c.left_out.is_empty()) {
            let entry = (case.device_set.as_str(), groups::left_out(&case.left_out));
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
        all
    }

    fn builds(&self) -> [(&'static str, &BuildRef); 2] {
        [("old", &self.report.old), ("new", &self.report.new)]
    }

    /// Returns the anchor of a finding of the report.
    fn anchor(&self, finding: &Finding) -> &str {
        let mut anchors = self.anchors.iter();
        let own = anchors.find(|(other, _)| std::ptr::eq(*other, finding));
        own.map_or("", |(_, anchor)| anchor)
    }

    /// Returns the cases of a row by the columns of the table.
    fn cells<'p>(&'p self, row: &'p Row<'r>) -> Vec<(&'r str, Option<&'p Cell<'r>>)> {
        let machines = self.matrix.columns.iter();
        let cells = machines.flat_map(|&machine| {
            let directions = self.directions.iter();
            directions.map(move |&direction| (machine, row.cell(machine, direction)))
        });
        cells.collect()
    }

    fn has_allowed(&self) -> bool {
        !self.allowed_failures.is_empty() || !self.allowed_findings.is_empty()
    }

    fn has_before(&self) -> bool {
        !self.before_failures.is_empty() || !self.before_findings.is_empty()
    }
}

/// Tells whether the baseline does not have it.
fn is_change(status: Option<BaselineStatus>) -> bool {
    status == Some(BaselineStatus::New)
}

/// Tells whether a finding does not count, since the baseline has it.
fn is_before(finding: &Finding, report: &Report) -> bool {
    groups::is_before(finding.baseline, &report.policy)
}

/// Sorted: those that fail the run first, then those that one build breaks alone, then the allowed
/// ones.
fn failures(report: &Report) -> Vec<Failure<'_>> {
    let mut found = groups::causes(&report.cases);
    found.sort_by_key(|group| groups::urgency(group[0], &report.policy));
    let mut failures = Vec::new();
    for mut group in found {
        // The fewer devices, the shorter the way to the culprit.
        group.sort_by_key(|case| case.devices.len());
        let Some((&case, others)) = group.split_first() else {
            continue;
        };
        let rule = case.cause.as_ref().and_then(|cause| cause.rule);
        let confirmed = report.findings.iter().filter(|finding| {
            let by = finding.confirmed_by.as_ref().map(Confirmation::as_str);
            by.is_some_and(|by| case.id == by || others.iter().any(|other| other.id == by))
        });
        failures.push(Failure {
            findings: confirmed.collect(),
            number: failures.len() + 1,
            case,
            others: others.to_vec(),
            rule: rule.and_then(|rule| report.rules.get(&rule)),
        });
    }
    failures
}

/// Returns the number of the failure that explains a case, for each that has one.
fn numbers<'r>(failures: &[Failure<'r>]) -> BTreeMap<&'r str, usize> {
    let each = failures.iter().flat_map(|failure| {
        let cases = failure.cases().into_iter();
        cases.map(|case| (case.id.as_str(), failure.number))
    });
    each.collect()
}

fn of_rules<'r>(
    report: &'r Report,
    findings: impl IntoIterator<Item = &'r Finding>,
) -> Vec<OfRule<'r>> {
    let mut rules: Vec<OfRule> = Vec::new();
    for group in groups::findings(findings) {
        let finding = group[0];
        let (directions, messages, lacks) = match is_lone(finding) {
            true => {
                let lacks = group.iter().map(|f| f.section.as_str()).collect();
                (finding.direction.to_string(), Vec::new(), lacks)
            }
            false => {
                let directions = joined(group.iter().map(|f| f.direction), ", ");
                (directions, groups::messages(&group), Vec::new())
            }
        };
        let place = Place {
            finding,
            findings: group.clone(),
            directions,
            messages,
            lacks,
            confirmed_by: group
                .iter()
                .filter_map(|f| f.confirmed_by.as_ref().map(Confirmation::as_str))
                .collect(),
            refuted_by: group
                .iter()
                .filter_map(|f| f.refuted_by.as_deref())
                .collect(),
        };
        match rules.iter_mut().find(|rule| rule.id == finding.rule.id()) {
            Some(rule) => rule.places.push(place),
            None => rules.push(OfRule {
                id: finding.rule.id(),
                text: report.rules.get(&finding.rule),
                places: vec![place],
            }),
        }
    }
    rules
}

/// Returns the bar of the coverage, and the tables below it.
fn parts(coverage: &Coverage) -> Vec<Part<'_>> {
    let part = |reached, class, title| Part {
        class,
        title,
        sections: coverage
            .sections
            .iter()
            .filter(|section| section.possible && section.reached == reached)
            .collect(),
    };
    let mut parts = vec![
        part(Reached::Passed, "good", "sent in a case that passed"),
        part(Reached::Sent, "bad", "sent, but in no case that passed"),
        part(Reached::NotCreated, "doubt", "could not be created"),
        part(Reached::Compared, "note", "compared statically only"),
    ];
    parts.retain(|part| !part.sections.is_empty());
    parts
}

/// The subsections of a section that no case sent.
fn silent(section: &CoveredSection) -> Vec<&str> {
    let silent = section.subsections.iter().filter(|s| !s.sent);
    silent.map(|s| s.name.as_str()).collect()
}

/// Returns the device types that one build has and the other does not.
fn lone_types(swept: &Swept) -> [(&'static str, &[String]); 2] {
    [("old", &swept.only_old), ("new", &swept.only_new)]
}

fn total(case: &Case) -> String {
    time(case.slowest(|leg| leg.total_ms))
}

fn downtime(case: &Case) -> String {
    time(case.slowest(|leg| leg.downtime_ms))
}

fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
}

fn among(is_there: impl Fn(Direction) -> bool) -> Vec<Direction> {
    let both = Direction::BOTH.into_iter();
    both.filter(|&direction| is_there(direction)).collect()
}
