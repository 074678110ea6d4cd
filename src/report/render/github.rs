//! The report for the log of a GitHub job: workflow commands, of which the site makes annotations.
//!
//! A job shows ten errors and ten warnings of a step, so that findings of one change and cases of one cause are one
//! annotation each.

use std::io::{self, Write};

use crate::report::Report;
use crate::report::render::groups;
use crate::report::render::groups::Urgency;
use crate::report::render::problem::{message, place};
use crate::report::render::text;

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let policy = &report.policy;
    let open = |finding: &&crate::report::Finding| {
        finding.allowed_by.is_none() && !groups::is_before(finding.baseline, policy)
    };
    for group in groups::findings(report.findings.iter().filter(open)) {
        let Some(&first) = group.first() else {
            continue;
        };
        let command = match first.level {
            _ if group.iter().any(|f| policy.counts_finding(f)) => "error",
            crate::report::Level::Note => continue,
            _ => "warning",
        };
        let mut lines = vec![place(first)];
        match groups::is_lone(first) {
            true => {
                let sections: Vec<&str> = group.iter().map(|f| f.section.as_str()).collect();
                lines = vec![format!("{}: {}", first.direction, sections.join(", "))];
            }
            false => lines.extend(
                groups::messages(&group)
                    .into_iter()
                    .map(|(label, message)| format!("{label}: {message}")),
            ),
        }
        if let Some(rule) = report.rules.get(&first.rule) {
            lines.push(format!("fix: {}", rule.fix.trim()));
        }
        annotate(command, first.rule.id(), &lines.join("\n"), out)?;
    }
    let cases = report.cases.iter();
    let open = cases.filter(|case| {
        let urgency = groups::urgency(case, policy);
        matches!(urgency, Urgency::Failed | Urgency::Broken)
    });
    for group in groups::causes(open) {
        let Some(&first) = group.first() else {
            continue;
        };
        let command = match groups::urgency(first, policy) {
            Urgency::Failed => "error",
            _ => "warning",
        };
        let mut lines = vec![message(first)];
        let others: Vec<&str> = group[1..].iter().map(|case| case.id.as_str()).collect();
        if !others.is_empty() {
            lines.push(format!("also: {}", others.join(", ")));
        }
        annotate(command, &first.id, &lines.join("\n"), out)?;
    }
    for notice in &report.notices {
        annotate(
            "notice",
            "evidence that is missing",
            &notice.to_string(),
            out,
        )?;
    }
    let verdict = format!("{}: {}", report.verdict, text::summary(report));
    annotate("notice", "verdict", &verdict, out)
}

/// Writes a command; whatever is in the text ends neither it nor its title.
fn annotate(command: &str, title: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = property(&format!("migcompat: {title}"));
    writeln!(out, "::{command} title={title}::{}", data(text))
}

/// Escapes the data of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
