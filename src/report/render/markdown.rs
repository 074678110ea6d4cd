//! The report as a summary in Markdown, for a comment on a change or the page of a job: GitHub's and GitLab's
//! dialect, of which tables are used. There is no HTML in it.

use std::io::{self, Write};

use crate::model::joined;
use crate::report::map::Map;
use crate::report::render::map::summary;
use crate::report::render::problem::{defined_in, message};
use crate::report::render::{groups, text};
use crate::report::{Case, Code, Finding, Level, Outcome, Report, Source, is_lone};

/// Rows of a table; both sites cut off long pages.
const MOST: usize = 50;
/// Changes whose remedies are shown.
const MOST_REMEDIES: usize = 10;

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## migcompat: {}\n", report.verdict)?;
    writeln!(out, "{}\n", escaped(&text::summary(report)))?;
    let causes = groups::open_causes(report);
    let rows: Vec<[String; 4]> = causes.iter().map(|group| of_cases(group)).collect();
    let heads = ["case", "outcome", "cause", "also"];
    table("Migrations that did not pass", heads, &rows, out)?;
    let found = groups::open_changes(report);
    let of_findings = |group: &Vec<&Finding>| of_findings(group, report);
    let rows: Vec<[String; 4]> = found.iter().map(of_findings).collect();
    table("Findings", ["level", "rule", "place", "what"], &rows, out)?;
    if !report.notices.is_empty() {
        writeln!(out, "### Evidence that is missing\n")?;
        for notice in &report.notices {
            writeln!(out, "- {}", escaped(&notice.to_string()))?;
        }
        writeln!(out)?;
    }
    mended(&found, report, out)?;
    let mut fixes = Vec::new();
    for finding in found.iter().map(|group| group[0]) {
        if !fixes.contains(&finding.rule) && report.rules.contains_key(&finding.rule) {
            fixes.push(finding.rule);
        }
    }
    if fixes.is_empty() {
        return Ok(());
    }
    writeln!(out, "### Fixes\n")?;
    for rule in fixes {
        let fix = escaped(&report.rules[&rule].fix);
        writeln!(out, "- **{}**: {fix}", escaped(rule.id()))?;
    }
    writeln!(out)
}

/// Writes a map: the pairs, what does not pass everywhere, and the causes.
///
/// # Errors
/// The output cannot be written.
pub fn write_map(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## migcompat: {}\n", map.verdict)?;
    writeln!(out, "{}\n", escaped(&summary(map)))?;
    let pairs = map.pairs.iter().map(|pair| {
        let verdict = pair.report.verdict.to_string();
        [map.between(pair), verdict, map.outcome(pair)]
    });
    let heads = ["pair", "verdict", "outcome"];
    table("Pairs", heads, &pairs.collect::<Vec<_>>(), out)?;
    let rows = map.shown(false).into_iter().map(|row| {
        let failed = map.pairs.iter().zip(&row.cells).filter_map(|(pair, cell)| {
            let cell = cell.filter(|cell| cell.outcome != Outcome::Pass)?;
            Some(format!("{} {}", map.between(pair), cell.outcome))
        });
        let broke = map.told(row).into_iter().map(|(build, cause)| match cause {
            Some(at) => format!("{build} (cause {})", at + 1),
            None => build,
        });
        let join = |parts: Vec<String>| parts.join("; ");
        [
            row.case.clone(),
            join(failed.collect()),
            join(broke.collect()),
        ]
    });
    let heads = ["case", "between", "broke"];
    table(
        "What does not pass everywhere",
        heads,
        &rows.collect::<Vec<_>>(),
        out,
    )?;
    let causes = map.causes.iter().enumerate().map(|(at, cause)| {
        [
            (at + 1).to_string(),
            cause.outcome.to_string(),
            cause.place().unwrap_or_default(),
            cause.message.clone(),
        ]
    });
    let heads = ["", "outcome", "place", "cause"];
    table("Causes", heads, &causes.collect::<Vec<_>>(), out)
}

/// Says of each change where it is mended, by whom and with which code, as far as that is known.
fn mended(found: &[Vec<&Finding>], report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let firsts = found.iter().map(|group| group[0]);
    let mut remedies = firsts.filter_map(|first| {
        let owners = report.owners_with_people(&first.owners);
        let text = remedies(first.source.as_ref(), &owners, &first.code);
        (!text.is_empty()).then(|| (first.place("/"), text))
    });
    for (at, (place, text)) in remedies.by_ref().take(MOST_REMEDIES).enumerate() {
        if at == 0 {
            writeln!(out, "### Where and how\n")?;
        }
        writeln!(out, "**{}**\n\n{text}", escaped(&place))?;
    }
    match remedies.count() {
        0 => Ok(()),
        more => writeln!(out, "and {more} more in the whole report\n"),
    }
}

/// Returns where something is mended, by whom and with which code, in Markdown; nothing where nothing is known.
pub(crate) fn remedies(source: Option<&Source>, owners: &[String], code: &[Code]) -> String {
    let mut text = String::new();
    if let Some(line) = defined_in(source) {
        text.push_str(&format!("{}\n\n", escaped(&line)));
    }
    for owner in owners {
        text.push_str(&format!("owner: {}\n\n", escaped(owner)));
    }
    for Code { title, code } in code {
        let fence = fence(code);
        text.push_str(&format!(
            "{}:\n\n{fence}c\n{code}\n{fence}\n\n",
            escaped(title)
        ));
    }
    text
}

/// Returns a fence that nothing in the code ends.
fn fence(code: &str) -> String {
    let runs = code.split(|c| c != '`').map(str::len);
    "`".repeat(runs.max().unwrap_or(0).max(2) + 1)
}

/// Returns the row of cases of one cause.
fn of_cases(group: &[&Case]) -> [String; 4] {
    let first = group[0];
    let others: Vec<String> = group[1..].iter().map(|case| case.id.clone()).collect();
    [
        first.id.clone(),
        first.outcome.to_string(),
        message(first),
        groups::few(&others),
    ]
}

/// Returns the row of findings of one change.
fn of_findings(group: &[&Finding], report: &Report) -> [String; 4] {
    let first = group[0];
    let level = match group.iter().any(|f| report.policy.counts_finding(f)) {
        true => Level::Error,
        false => first.level,
    };
    let (place, what) = match is_lone(first) {
        true => {
            let types = joined(group.iter().map(|f| f.section.as_str()), ", ");
            (types, first.direction.to_string())
        }
        false => {
            let messages = groups::messages(group).into_iter();
            let messages = messages.map(|(label, message)| format!("{label}: {message}"));
            (first.place("/"), joined(messages, "; "))
        }
    };
    [level.to_string(), first.rule.id().to_owned(), place, what]
}

fn table<const N: usize>(
    title: &str,
    heads: [&str; N],
    rows: &[[String; N]],
    out: &mut dyn Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "### {title}\n")?;
    writeln!(out, "| {} |", heads.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(N))?;
    for row in rows.iter().take(MOST) {
        let cells = row.each_ref().map(|cell| escaped(cell));
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    if let Some(more) = rows.len().checked_sub(MOST).filter(|&more| more > 0) {
        writeln!(out, "\nand {more} more in the whole report")?;
    }
    writeln!(out)
}

/// Returns a text that is shown as it stands, in one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let mut chars = text.trim().chars().peekable();
    // True in what may be the mark of a list: digits at the start.
    let mut in_mark = true;
    while let Some(char) = chars.next() {
        let is_markup = match char {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' | '!' => true,
            '#' | '+' | '-' | '=' | '.' | ')' => in_mark,
            // An address, or the name of a picture.
            ':' => chars.peek().is_some_and(|next| !next.is_whitespace()),
            _ => false,
        };
        in_mark &= char.is_ascii_digit();
        if is_markup {
            escaped.push('\\');
        }
        escaped.push(match char {
            '\n' | '\r' => ' ',
            char => char,
        });
    }
    escaped
}
