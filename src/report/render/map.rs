//! A map of many builds: for a terminal, for programs, and as a page for a browser.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use askama::Template;

use crate::model::{count, joined};
use crate::report::map::{Map, MapCause, MapCell, MapPair, MapRow};
use crate::report::render::cases::colour;
use crate::report::render::json::write_value;
use crate::report::render::page::{SCRIPT_HASH, case_anchor, lasted, typed, when};
use crate::report::render::text;
use crate::report::{BaselineCounts, BaselineStatus, Gate, Notice, NoticeKind, Outcome, RunRecord};

/// The JSON Schema of what [`json()`] writes.
pub const SCHEMA: &str = include_str!("../../../map-schema.json");

const BOLD: Style = Style::new().bold();
/// Pairs above which a line has no place for each.
const MOST_COLUMNS: usize = 60;

/// Writes the map for programs.
///
/// # Errors
/// The output cannot be written.
pub fn json(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    write_value(map, out)
}

/// Writes the map as a page of its own: nothing from elsewhere, and a script that only helps to find.
///
/// # Errors
/// The output cannot be written.
pub fn html(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    Page { map }.write_into(out).map_err(io::Error::other)
}

/// Writes the pairs, the table and the causes; a quiet one has what breaks alone.
///
/// # Errors
/// The output cannot be written.
pub fn text(map: &Map, options: text::Options, out: &mut dyn Write) -> io::Result<()> {
    if !options.quiet {
        pairs(map, out)?;
    }
    let rows = map.shown(options.verbose);
    table(map, &rows, out)?;
    if !options.quiet {
        let named = map.named(&rows);
        let causes = map.causes.iter().enumerate();
        for (at, cause) in causes.filter(|(at, _)| named.contains(at)) {
            reason(at, cause, out)?;
        }
    }
    // Also when quiet: a verdict is not to be read without the evidence that is missing.
    // The line of a pair that could not be tested has the reason.
    let is_told = |notice: &Notice| notice.kind == NoticeKind::PairNotTested && !options.quiet;
    for notice in
        map.notices(|notice| (options.verbose || notice.is_of_verdict()) && !is_told(notice))
    {
        let style = AnsiColor::Yellow.on_default().bold();
        writeln!(out, "{style}notice{style:#}: {notice}")?;
    }
    if let Some((
        file,
        BaselineCounts {
            new,
            same,
            fixed,
            gone,
        },
    )) = map.baseline()
    {
        writeln!(
            out,
            "{BOLD}baseline{BOLD:#} {file}: {new} new, {same} same, {fixed} fixed, {gone} gone"
        )?;
    }
    let style = text::style_of(map.verdict);
    writeln!(out, "{style}{}{style:#}: {}", map.verdict, summary(map))
}

/// Returns the builds and the counts of a map in one line.
pub(crate) fn summary(map: &Map) -> String {
    let (tried, failed) = map.counts();
    let untested = map.pairs.iter().filter(|pair| pair.untested().is_some());
    let untested = match untested.count() {
        0 => String::new(),
        some => format!(" ({some} could not be tested)"),
    };
    format!(
        "{} builds, {}{untested}: {failed} of {} fail{}, {} not pass everywhere, {:.1} s",
        map.builds.len(),
        count(map.pairs.len(), "pair"),
        count(tried, "migration case"),
        errors(failed, map.pairs.iter().map(MapPair::errors).sum()),
        match map.rows.len() {
            1 => "1 case does".to_owned(),
            rows => format!("{rows} cases do"),
        },
        map.elapsed_ms as f64 / 1000.0
    )
}

impl Map {
    /// Returns the rows that a reader looks for: where new breaks alone count, those that are new between some pair.
    pub(super) fn shown(&self, all: bool) -> Vec<&MapRow> {
        let mut pairs = self.pairs.iter();
        let all = all || !pairs.any(|pair| pair.report.policy.gate == Gate::New);
        let rows = self.rows.iter();
        rows.filter(|row| all || row.is_new()).collect()
    }

    /// Returns the names of the builds of a pair.
    pub(crate) fn between(&self, pair: &MapPair) -> String {
        format!("{} to {}", self.name(pair.old), self.name(pair.new))
    }

    /// Returns the sentences of the notices that are wanted, each with its pair; that a signal ended the run is told once.
    fn notices(&self, is_wanted: impl Fn(&Notice) -> bool) -> Vec<String> {
        let all = self.pairs.iter().flat_map(|pair| {
            let notices = pair.report.notices.iter();
            notices.map(move |notice| (pair, notice))
        });
        let is_interruption = |notice: &Notice| notice.kind == NoticeKind::Interrupted;
        let mut interruptions = all.clone().filter(|(_, notice)| is_interruption(notice));
        let interruption = interruptions.next().map(|(_, notice)| notice.to_string());
        let others = all.filter(|(_, notice)| !is_interruption(notice) && is_wanted(notice));
        let others = others.map(|(pair, notice)| format!("{}: {notice}", self.between(pair)));
        interruption.into_iter().chain(others).collect()
    }

    /// Returns the number of cases that were tried between the pairs, and of those that count against them.
    fn counts(&self) -> (usize, usize) {
        let cases = self.pairs.iter().flat_map(|pair| &pair.report.cases);
        let tried = cases.clone().filter(|case| case.outcome != Outcome::Skip);
        (tried.count(), cases.filter(|case| case.gates()).count())
    }

    /// Returns the causes that the table names, by their places.
    fn named(&self, rows: &[&MapRow]) -> BTreeSet<usize> {
        let rows = rows.iter();
        rows.flat_map(|row| self.told(row))
            .filter_map(|(_, cause)| cause)
            .collect()
    }

    /// Returns what came of a pair: how much fails on which machines, or why nothing could be tried.
    pub(super) fn outcome(&self, pair: &MapPair) -> String {
        if let Some(notice) = pair.untested() {
            return format!("nothing was tried: {}", notice.detail);
        }
        if self.interrupted.is_some() && pair.report.swept.is_empty() {
            return "nothing was known by then".to_owned();
        }
        // No machine type is one of both builds.
        let mut causes = pair
            .report
            .cases
            .iter()
            .filter_map(|case| case.cause.as_ref());
        if pair.report.swept.is_empty()
            && let Some(cause) = causes.next()
        {
            return format!("nothing was tried: {}", cause.message);
        }
        let new = match &pair.report.baseline {
            Some(baseline) => format!(", {} new", baseline.counts.new),
            None => String::new(),
        };
        let counts = format!(
            "{} of {} cases fail{new}{}",
            pair.failing(),
            pair.report.cases.len(),
            errors(pair.failing(), pair.errors()),
        );
        joined(std::iter::once(&*counts).chain(self.machines(pair)), ", ")
    }

    /// Returns the machine types of a pair.
    fn machines<'p>(&self, pair: &'p MapPair) -> Vec<&'p str> {
        let swept = pair.report.swept.iter();
        swept.map(|swept| swept.machine.as_str()).collect()
    }

    /// Says which builds broke a row and which mended it, each with the cause. A row that only fails within builds
    /// has its first cause.
    pub(super) fn told(&self, row: &MapRow) -> Vec<(String, Option<usize>)> {
        if row.changes.is_empty() {
            let cause = row.cells.iter().flatten().find_map(|cell| cell.cause);
            return vec![("-".to_owned(), cause)];
        }
        let told = row.changes.iter().map(|change| {
            let mut text = self.name(change.broke);
            if let Some(mended) = change.mended {
                text.push_str(&format!(", mended {}", self.name(mended)));
            }
            (text, change.cause)
        });
        told.collect()
    }
}

/// Says how many findings are errors where no case fails: they alone count then.
fn errors(failing: usize, errors: usize) -> String {
    match (failing, errors) {
        (0, 1..) => format!(", {}", count(errors, "error")),
        _ => String::new(),
    }
}

fn pairs(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<String> = map.pairs.iter().map(|pair| map.between(pair)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (at, (pair, name)) in map.pairs.iter().zip(&names).enumerate() {
        let verdict = pair.report.verdict;
        let style = text::style_of(verdict);
        writeln!(
            out,
            "{:>3}  {name:width$}  {style}{verdict:12}{style:#}  {}",
            at + 1,
            map.outcome(pair)
        )?;
    }
    writeln!(out)
}

/// Writes a line a case that does not pass everywhere, with a letter a pair.
fn table(map: &Map, rows: &[&MapRow], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = map.pairs.len() <= MOST_COLUMNS;
    let width = rows.iter().map(|row| row.case.len()).max().unwrap_or(0);
    let pairs = match columns {
        true => map.pairs.len().max("pairs".len()),
        false => 0,
    };
    if columns {
        let numbers = 1..=map.pairs.len();
        let numbers: String = numbers.map(|at| (at % 10).to_string()).collect();
        writeln!(out, "{:width$}  {numbers:pairs$}", "")?;
    }
    let heading = if columns { "pairs" } else { "" };
    writeln!(
        out,
        "{BOLD}{:width$}  {heading:pairs$}  broke [cause]{BOLD:#}",
        "case"
    )?;
    for row in rows {
        write!(out, "{:width$}  ", row.case)?;
        if columns {
            for cell in &row.cells {
                let (letter, style) = letter(cell.as_ref());
                write!(out, "{style}{letter}{style:#}")?;
            }
            write!(out, "{:1$}", "", pairs - row.cells.len().min(pairs))?;
        }
        let told = map.told(row).into_iter().map(|(build, cause)| match cause {
            Some(at) => format!("{build} [{}]", at + 1),
            None => build,
        });
        let new = if row.is_new() { ", new" } else { "" };
        writeln!(out, "  {}{new}", joined(told, "; "))?;
    }
    writeln!(out)?;
    if columns {
        writeln!(
            out,
            ". pass, F fail, C crash, H hang, L lost (loaded, with other contents), B broken (fails within a build \
             too),\nsmall where a list excuses it, - not tried"
        )?;
    }
    writeln!(out)
}

/// Returns the letter for an outcome.
fn letter(cell: Option<&MapCell>) -> (char, Style) {
    let Some(cell) = cell else {
        return ('-', Style::new());
    };
    let letter = match cell.outcome {
        Outcome::Pass => '.',
        Outcome::Fail => 'F',
        Outcome::Crash => 'C',
        Outcome::Hang => 'H',
        Outcome::Lost => 'L',
        Outcome::Broken => 'B',
        Outcome::Skip => '-',
    };
    let style = match cell.outcome {
        Outcome::Pass | Outcome::Skip => Style::new(),
        outcome => colour(outcome).on_default().bold(),
    };
    match cell.allowed {
        true => (letter.to_ascii_lowercase(), style),
        false => (letter, style),
    }
}

fn reason(at: usize, cause: &MapCause, out: &mut dyn Write) -> io::Result<()> {
    let style = colour(cause.outcome).on_default().bold();
    let first = cause.message.lines().next().unwrap_or_default();
    writeln!(
        out,
        "[{}] {style}{}{style:#}: {first}",
        at + 1,
        cause.outcome
    )?;
    if let Some(place) = cause.place() {
        writeln!(out, "    place    {place}")?;
    }
    if let Some(rule) = cause.rule {
        writeln!(out, "    rule     {rule}")?;
    }
    if let Some(allowed) = &cause.allowed_by {
        writeln!(out, "    allowed  {allowed}")?;
    }
    Ok(())
}

impl MapRow {
    /// Tells whether the baseline lacks a failure of it.
    fn is_new(&self) -> bool {
        let mut cells = self.cells.iter().flatten();
        cells.any(|cell| cell.baseline == Some(BaselineStatus::New) && cell.fails())
    }
}

impl MapCause {
    /// Returns the section and the field, as far as they are known.
    pub(super) fn place(&self) -> Option<String> {
        let section = self.section.as_ref()?;
        Some(match &self.field {
            Some(field) => format!("{section} {field}"),
            None => section.clone(),
        })
    }
}

#[derive(Template)]
#[template(path = "map.html", whitespace = "minimize")]
struct Page<'m> {
    map: &'m Map,
}

/// Pairs from one old build, side by side.
struct Group {
    old: String,
    news: Vec<String>,
}

impl Page<'_> {
    fn notices(&self) -> Vec<String> {
        self.map.notices(Notice::is_of_verdict)
    }

    /// Returns the columns of the table by the old build.
    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for pair in &self.map.pairs {
            let (old, new) = (self.map.name(pair.old), self.map.name(pair.new));
            match groups.last_mut().filter(|group| group.old == old) {
                Some(group) => group.news.push(new),
                None => groups.push(Group {
                    old,
                    news: vec![new],
                }),
            }
        }
        groups
    }

    /// Returns when, where and how the map was made, as each of its pairs has it.
    fn run(&self) -> Option<&RunRecord> {
        self.map
            .pairs
            .iter()
            .find_map(|pair| pair.report.run.as_ref())
    }

    fn old_name(&self, pair: &MapPair) -> String {
        self.map.name(pair.old)
    }

    fn new_name(&self, pair: &MapPair) -> String {
        self.map.name(pair.new)
    }

    fn told(&self, row: &MapRow) -> String {
        let told = self.map.told(row).into_iter().map(|(build, _)| build);
        joined(told, "; ")
    }

    /// Returns the causes that the table names, with their numbers.
    fn causes(&self) -> Vec<(usize, &MapCause)> {
        let causes = self.map.causes.iter().enumerate();
        let named = |row: &MapRow, at| {
            row.cells
                .iter()
                .flatten()
                .any(|cell| cell.cause == Some(at))
        };
        causes
            .filter(|&(at, _)| self.map.rows.iter().any(|row| named(row, at)))
            .map(|(at, cause)| (at + 1, cause))
            .collect()
    }
}

/// Tells whether the baseline lacks it.
fn is_new(cell: &MapCell) -> bool {
    cell.baseline == Some(BaselineStatus::New)
}

/// Returns the outcomes of a row, for the script of the page.
fn outcomes(row: &MapRow) -> String {
    let outcomes = row
        .cells
        .iter()
        .flatten()
        .map(|cell| cell.outcome.to_string());
    let outcomes: BTreeSet<String> = outcomes.collect();
    joined(outcomes, "|")
}
