//! The report for GitLab's code quality widget: a JSON array in the form of Code Climate.
//!
//! What a list or the gate excuses is left out: the widget knows no such thing, and shows everything as a
//! degradation.

use std::io::{self, Write};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::report::map::Map;
use crate::report::render::json::write_value;
use crate::report::render::markdown;
use crate::report::render::problem::{Problem, fingerprints, problems};
use crate::report::{Level, Report};

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
    write_value(&issues(report), out)
}

/// Writes a map: the issues of all pairs, which say of which builds they are.
///
/// # Errors
/// The output cannot be written.
pub fn write_map(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    let of_pairs = map.pairs.iter().flat_map(|pair| {
        let between = map.between(pair);
        issues(&pair.report).into_iter().map(move |issue| {
            let own = format!("{between} {}", issue.fingerprint);
            Issue {
                description: format!("{between}: {}", issue.description),
                fingerprint: format!("{:032x}", xxh3_128(own.as_bytes())),
                ..issue
            }
        })
    });
    write_value(&of_pairs.collect::<Vec<_>>(), out)
}

fn issues(report: &Report) -> Vec<Issue> {
    let problems = problems(report);
    let fingerprints = fingerprints(&problems);
    let counted = problems.iter().zip(fingerprints);
    counted
        .filter(|(problem, _)| problem.excused.is_none())
        .map(|(of, fingerprint)| issue(of, fingerprint))
        .collect()
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
        severity: match problem.level {
            Level::Error => "critical",
            Level::Warning | Level::Note => "minor",
        },
        location: Location {
            // Without a file, the place is that within the machine.
            path: problem
                .source
                .map_or(&problem.place, |source| &source.file)
                .clone(),
            lines: Lines {
                begin: problem.source.map_or(1, |source| source.line.max(1)),
            },
        },
    }
}
