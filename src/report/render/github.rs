//! The report for the log of a GitHub job: workflow commands, of which the site makes annotations.
//!
//! A job shows ten errors and ten warnings of a step, so that findings of one change and cases of one cause are one
//! annotation each.

use std::io::{self, Write};

use crate::model::joined;
use crate::report::map::Map;
use crate::report::render::groups::{self, Urgency};
use crate::report::render::map::summary;
use crate::report::render::problem::{code_lines, defined_in, message};
use crate::report::render::text;
use crate::report::{Report, Source, is_lone};

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    annotations(report, "", out)?;
    let verdict = format!("{}: {}", report.verdict, text::summary(report));
    Annotation::new("notice", "verdict").write(&verdict, out)
}

/// Writes a map: the annotations of all pairs, which say of which builds they are.
///
/// # Errors
/// The output cannot be written.
pub fn write_map(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    for pair in &map.pairs {
        let between = format!("{}: ", map.between(pair));
        annotations(&pair.report, &between, out)?;
    }
    let verdict = format!("{}: {}", map.verdict, summary(map));
    Annotation::new("notice", "verdict").write(&verdict, out)
}

/// Writes all but the verdict, each with this text before its title.
fn annotations(report: &Report, before: &str, out: &mut dyn Write) -> io::Result<()> {
    let policy = &report.policy;
    for group in groups::open_changes(report) {
        let first = group[0];
        let command = match group.iter().any(|f| policy.counts_finding(f)) {
            true => "error",
            false => "warning",
        };
        let mut lines = vec![first.place("/")];
        match is_lone(first) {
            true => {
                let sections = joined(group.iter().map(|f| f.section.as_str()), ", ");
                lines = vec![format!("{}: {sections}", first.direction)];
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
        lines.extend(defined_in(first.source.as_ref()));
        let owners = report.owners_with_people(&first.owners);
        lines.extend(owners.iter().map(|owner| format!("owner: {owner}")));
        lines.extend(code_lines(&first.code));
        let annotation = Annotation {
            command,
            title: &format!("{before}{}", first.rule),
            source: first.source.as_ref(),
        };
        annotation.write(&lines.join("\n"), out)?;
    }
    for group in groups::open_causes(report) {
        let first = group[0];
        let command = match groups::urgency(first, policy) {
            Urgency::Failed => "error",
            _ => "warning",
        };
        let mut lines = vec![message(first)];
        let others: Vec<&str> = group[1..].iter().map(|case| case.id.as_str()).collect();
        if !others.is_empty() {
            lines.push(format!("also: {}", others.join(", ")));
        }
        Annotation::new(command, &format!("{before}{}", first.id)).write(&lines.join("\n"), out)?;
    }
    for notice in &report.notices {
        let title = format!("{before}evidence that is missing");
        Annotation::new("notice", &title).write(&notice.to_string(), out)?;
    }
    Ok(())
}

struct Annotation<'r> {
    command: &'static str,
    title: &'r str,
    /// The line that it is shown at, where a change is looked at.
    source: Option<&'r Source>,
}

impl<'r> Annotation<'r> {
    fn new(command: &'static str, title: &'r str) -> Self {
        Annotation {
            command,
            title,
            source: None,
        }
    }

    /// Writes the command; whatever is in the text ends neither it nor its properties.
    fn write(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "::{} ", self.command)?;
        if let Some(Source { file, line, .. }) = self.source {
            write!(out, "file={},line={},", property(file), line)?;
        }
        let title = property(&format!("migcompat: {}", self.title));
        writeln!(out, "title={title}::{}", data(text))
    }
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
