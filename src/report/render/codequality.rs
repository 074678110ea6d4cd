//! The report for GitLab's code quality widget: a JSON array in the form of Code Climate.
//!
//! What a list or the gate excuses is left out: the widget knows no such thing, and shows everything as a
//! degradation.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::visible_json;
use crate::report::Report;
use crate::report::render::markdown;
use crate::report::render::problem::{Problem, Severity, fingerprints, problems};

/// An issue as GitLab reads it.
#[derive(Serialize)]
struct Issue {
    #[serde(rename = "type")]
    kind: &'static str,
    description: String,
    /// More about it, in Markdown, for readers of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
    check_name: String,
    categories: [&'static str; 1],
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Content {
    body: String,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let problems = problems(report);
    let fingerprints = fingerprints(&problems);
    let counted = problems.iter().zip(fingerprints);
    let counted = counted.filter(|(problem, _)| problem.excused.is_none());
    let issues: Vec<Issue> = counted
        .map(|(of, fingerprint)| issue(of, fingerprint))
        .collect();
    let text = serde_json::to_string_pretty(&issues)?;
    writeln!(out, "{}", visible_json(&text))
}

fn issue(problem: &Problem<'_>, fingerprint: String) -> Issue {
    let fix = problem
        .text
        .map(|text| format!(" Fix: {}", text.fix.trim()));
    let body = markdown::remedies(problem.source, &problem.owners, problem.code);
    Issue {
        kind: "issue",
        description: format!("{}{}", problem.message, fix.unwrap_or_default()),
        content: (!body.is_empty()).then_some(Content { body }),
        check_name: problem.rule.clone(),
        categories: ["Compatibility"],
        fingerprint,
        severity: match problem.severity {
            Severity::Error => "critical",
            Severity::Warning => "minor",
        },
        location: match problem.source {
            Some(source) => Location {
                path: source.file.clone(),
                lines: Lines {
                    begin: source.line.max(1),
                },
            },
            // Without a file, the place is that within the machine.
            None => Location {
                path: problem.place.clone(),
                lines: Lines { begin: 1 },
            },
        },
    }
}
