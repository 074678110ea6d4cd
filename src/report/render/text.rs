//! The report for people: the change, its place, old beside new, the effect and the fix.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::model::{Accelerator, BuildRef, Rule, Side, count, joined};
use crate::report::render::groups::{self, Urgency};
use crate::report::{
    AcceleratorUsed, Baseline, BaselineCounts, Case, Described, Finding, Gate, Level, Outcome,
    Past, PastKind, Report, RuleText, Verdict, is_lone,
};

/// The options of printing; colour is the stream's business, which strips what is not wanted.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Columns to wrap prose at.
    pub width: usize,
    /// Notes too, and the explanation at every finding.
    pub verbose: bool,
    /// Errors and the closing line alone.
    pub quiet: bool,
    /// Remedies as code.
    pub code: bool,
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
const FRAME: Style = AnsiColor::Blue.on_default().bold();

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, options: Options, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = FindingWriter {
        options,
        explained: BTreeSet::new(),
        out: &mut *out,
    };
    let kept = |status| options.verbose || !groups::is_before(status, &report.policy);
    let findings = report.findings.iter().filter(|f| kept(f.baseline));
    for group in groups::findings(findings) {
        let first = group[0];
        // A sweep is a page of breaks; possible breaks by state are a list of the same length.
        if !report.swept.is_empty() && !options.verbose && !breaks(first) {
            continue;
        }
        let shown = match (first.level, options.quiet) {
            (Level::Error, _) => first.allowed_by.is_none() || !options.quiet,
            (Level::Warning, quiet) => !quiet,
            (Level::Note, quiet) => options.verbose && !quiet,
        };
        if shown {
            writer.finding(&group, report.rules.get(&first.rule))?;
        }
    }
    if let Some(guest) = &report.guest {
        crate::report::render::guest::write(guest, options.verbose, options.quiet, out)?;
    }
    if report.swept.is_empty() {
        let cases: Vec<&Case> = report.cases.iter().filter(|c| kept(c.baseline)).collect();
        crate::report::render::cases::write(&cases, options.quiet, out)?;
    } else {
        crate::report::render::sweep::write(report, options.verbose, options.quiet, out)?;
    }
    if let Some(Described { old, new }) = report.described.as_ref().filter(|_| !options.quiet) {
        writeln!(
            out,
            "kinds of section that were sent: {} by old, of which its dump describes {}; {} by new, {} \
             described",
            old.count(),
            old.described.len(),
            new.count(),
            new.described.len()
        )?;
        let neither = &old.undescribed | &new.undescribed;
        if options.verbose && !neither.is_empty() {
            writeln!(out, "  a dump lacks: {}", joined(&neither, ", "))?;
        }
    }
    if let Some(coverage) = report.coverage.as_ref().filter(|_| !options.quiet) {
        crate::report::render::coverage::write(coverage, options.verbose, out)?;
        if report.lacks_drivers() {
            writeln!(
                out,
                "drivers: none was at work; with --driven or --workload linux more of that may be sent"
            )?;
        }
    }
    for used in report.accelerators.iter().filter(|_| !options.quiet) {
        if used.accelerator != Accelerator::Tcg || !used.passed_over.is_empty() {
            let AcceleratorUsed {
                architecture,
                accelerator,
                ..
            } = used;
            writeln!(out, "accelerator: {accelerator} ({architecture})")?;
        }
    }
    for build in report.confinement.iter().filter(|_| options.verbose) {
        writeln!(out, "confinement: {build}")?;
    }
    // Also when quiet: a verdict is not to be read without the evidence that is missing.
    for notice in &report.notices {
        let style = AnsiColor::Yellow.on_default().bold();
        writeln!(out, "{style}notice{style:#}: {notice}")?;
    }
    mended(report, out)?;
    if let Some(baseline) = &report.baseline {
        held_against(report, baseline, options, out)?;
    }
    if !options.quiet {
        by_owner(report, options, out)?;
    }
    closing(report, options, out)
}

/// Breaks of one owner that are listed; the JSON report and `-v` have all.
const OWNED: usize = 8;

/// Lists what is broken by the people to tell of it.
fn by_owner(report: &Report, options: Options, out: &mut dyn Write) -> io::Result<()> {
    for owner in &report.owners {
        let status = owner.status.as_ref();
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        let people: Vec<&str> = owner.to_notify().collect();
        let people = match people.is_empty() {
            true => String::new(),
            false => format!(": {}", people.join(", ")),
        };
        writeln!(out, "{BOLD}owner{BOLD:#} {}{status}{people}", owner.title())?;
        let broken: Vec<&String> = owner.cases.iter().chain(&owner.findings).collect();
        listed(&broken, OWNED, options, out)?;
    }
    Ok(())
}

/// Writes a line for each of some things, or for the first of them.
fn listed(
    all: &[impl Display],
    most: usize,
    options: Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let most = if options.verbose { all.len() } else { most };
    for one in all.iter().take(most) {
        writeln!(out, "  {one}")?;
    }
    match all.len().saturating_sub(most) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more (-v)"),
    }
}

/// Lists the cases that pass and of which the history has something to say, and those with another tier.
fn mended(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let passed = report.cases.iter().filter(|c| c.outcome == Outcome::Pass);
    for (case, memory) in passed.filter_map(|case| Some((case, case.memory.as_ref()?))) {
        writeln!(
            out,
            "{BOLD}{}{BOLD:#} {}: {}",
            memory.label, case.id, memory.evidence
        )?;
    }
    for (case, tier) in report
        .cases
        .iter()
        .filter_map(|case| Some((case, case.tier.as_ref()?)))
    {
        if tier.changed.is_some() {
            writeln!(out, "{BOLD}tier{BOLD:#} {}: {tier}", case.id)?;
        }
    }
    Ok(())
}

/// Past findings and cases that are listed; the JSON report and `-v` have all.
const PAST: usize = 12;

/// Says how the run differs from its baseline, and lists what the baseline alone has.
fn held_against(
    report: &Report,
    baseline: &Baseline,
    options: Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let BaselineCounts {
        new,
        same,
        fixed,
        gone,
    } = baseline.counts;
    let counting = match report.policy.gate {
        Gate::New => format!(" ({} of them count)", groups::counting(report)),
        Gate::All | Gate::Regression | Gate::Tier => String::new(),
    };
    writeln!(
        out,
        "{BOLD}baseline{BOLD:#} {}, old {}, new {}: {new} new{counting}, {same} same, {fixed} fixed, {gone} gone",
        baseline.file,
        build(&baseline.old),
        build(&baseline.new),
    )?;
    if options.quiet {
        return Ok(());
    }
    let is_shown = |past: &&Past| options.verbose || is_break(past);
    let shown = baseline.past.iter().filter(is_shown);
    let shown: Vec<String> = shown
        .map(|past| format!("{}: {past}", past.status))
        .collect();
    listed(&shown, PAST, options, out)
}

/// Tells whether it was worse than a note or a case that passed.
fn is_break(past: &Past) -> bool {
    match past.was {
        PastKind::Finding { level, .. } => level != Level::Note,
        PastKind::Case { outcome, .. } => outcome != Outcome::Pass,
    }
}

/// Returns true if a finding is a break that no list records as chosen.
fn breaks(finding: &Finding) -> bool {
    finding.level == Level::Error && finding.allowed_by.is_none()
}

/// Writes findings, one after the other.
struct FindingWriter<'w> {
    options: Options,
    /// The rules that were explained already.
    explained: BTreeSet<Rule>,
    out: &'w mut dyn Write,
}

impl FindingWriter<'_> {
    fn finding(&mut self, group: &[&Finding], rule: Option<&RuleText>) -> io::Result<()> {
        let first = group[0];
        let (name, colour) = match (&first.allowed_by, first.level) {
            (Some(_), level) => (format!("allowed {level}"), AnsiColor::Cyan),
            (None, Level::Error) => ("error".to_owned(), AnsiColor::Red),
            (None, Level::Warning) => ("warning".to_owned(), AnsiColor::Yellow),
            (None, Level::Note) => ("note".to_owned(), AnsiColor::Cyan),
        };
        let style = colour.on_default().bold();
        let name_of_rule = rule.map_or("", |rule| rule.name.as_str());
        let headline = groups::lone_headline(first).filter(|_| is_lone(first) && rule.is_some());
        let headline = headline.unwrap_or(name_of_rule);
        writeln!(
            self.out,
            "{style}{name}[{}]{style:#}{BOLD}: {headline}{BOLD:#}",
            first.rule
        )?;
        if is_lone(first) {
            return self.lone_types(group, rule);
        }
        writeln!(
            self.out,
            "  {FRAME}-->{FRAME:#} {}  {DIM}({}){DIM:#}",
            first.place(" › "),
            joined(group.iter().map(|f| f.direction), ", ")
        )?;
        if let Some(source) = &first.source {
            self.labelled("defined in", &source.to_string())?;
            if !first.owners.is_empty() {
                self.labelled("owners", &first.owners.join(", "))?;
            }
        }
        if !first.also_in.is_empty() {
            self.labelled("also in", &self.names(&first.also_in))?;
        }
        if !first.machines.is_empty() {
            self.labelled("machines", &self.names(&first.machines))?;
        }
        if !first.context.is_empty() {
            writeln!(self.out, "   {FRAME}|{FRAME:#}")?;
            for line in &first.context {
                let mark = line.side.mark();
                let style = match line.side {
                    Side::Both => Style::new(),
                    Side::Old => OLD,
                    Side::New => NEW,
                };
                writeln!(
                    self.out,
                    "   {FRAME}|{FRAME:#} {style}{mark} {}{style:#}",
                    line.text
                )?;
            }
            writeln!(self.out, "   {FRAME}|{FRAME:#}")?;
        }
        for (label, message) in groups::messages(group) {
            self.labelled(&label, message)?;
        }
        for finding in group {
            if let Some(case) = &finding.refuted_by {
                let text = format!("{case} passed, with the device as it is after reset");
                self.labelled("not seen", &text)?;
            }
        }
        self.ending(first, rule)
    }

    /// Writes the types that one build lacks together.
    fn lone_types(&mut self, group: &[&Finding], rule: Option<&RuleText>) -> io::Result<()> {
        let types: Vec<String> = group.iter().map(|f| f.section.clone()).collect();
        let first = group[0];
        let (kind, lacking) = groups::lone_kind(first);
        writeln!(
            self.out,
            "  {FRAME}-->{FRAME:#} {}  {DIM}({}){DIM:#}",
            count(types.len(), kind),
            first.direction
        )?;
        self.labelled(&lacking, &self.names(&types))?;
        self.ending(first, rule)
    }

    /// A few names, and how many more there are.
    fn names(&self, all: &[String]) -> String {
        let few = groups::few(all);
        match all.join(", ") {
            whole if self.options.verbose || whole == few => whole,
            _ => format!("{few} (-v)"),
        }
    }

    /// Writes the reason that excuses a finding, the meaning of its rule and a blank line.
    fn ending(&mut self, first: &Finding, rule: Option<&RuleText>) -> io::Result<()> {
        if let Some(reason) = &first.allowed_by {
            self.labelled("allowed by", reason)?;
        }
        if let Some(status) = first.baseline {
            let text = format!("{status}: {}", status.explanation());
            self.labelled("baseline", &text)?;
        }
        if let Some(memory) = &first.memory {
            self.labelled("history", &memory.to_string())?;
        }
        if let Some(rule) = rule {
            if self.explained.insert(first.rule) || self.options.verbose {
                if first.level != Level::Note {
                    self.labelled("effect", &rule.effect)?;
                    self.labelled("fix", &rule.fix)?;
                }
            } else {
                let command = format!("migcompat rules explain {}", first.rule);
                self.labelled("see", &command)?;
            }
        }
        if self.options.code || self.options.verbose {
            self.code(first)?;
        }
        writeln!(self.out)
    }

    /// Writes the remedies of a finding as code, ready to be copied.
    fn code(&mut self, finding: &Finding) -> io::Result<()> {
        for remedy in &finding.code {
            self.labelled("code", &format!("{}:", remedy.title))?;
            writeln!(self.out)?;
            for line in remedy.code.lines() {
                writeln!(self.out, "{line}")?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    /// `   = label: text`, wrapped under itself.
    fn labelled(&mut self, label: &str, text: &str) -> io::Result<()> {
        let hanging = " ".repeat(5 + label.len() + 2);
        let wrap = textwrap::Options::new(self.options.width.max(hanging.len() + 30))
            .initial_indent(&hanging)
            .subsequent_indent(&hanging)
            .break_words(false)
            // Names have hyphens; they are to be found by a search.
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        for (at, line) in textwrap::wrap(text.trim(), wrap).iter().enumerate() {
            if at == 0 {
                let rest = line.trim_start();
                writeln!(
                    self.out,
                    "   {FRAME}={FRAME:#} {BOLD}{label}:{BOLD:#} {rest}"
                )?;
            } else {
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }
}

fn closing(report: &Report, options: Options, out: &mut dyn Write) -> io::Result<()> {
    let style = style_of(report.verdict);
    let text = sentence(report, !options.verbose);
    writeln!(out, "{style}{}{style:#}: {text}", report.verdict)
}

/// Returns the style of a verdict's word.
pub(crate) fn style_of(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Compatible => AnsiColor::Green,
        Verdict::Incompatible => AnsiColor::Red,
        Verdict::Untested => AnsiColor::Yellow,
    };
    colour.on_default().bold()
}

/// Returns the machine, the builds and the counts of a report in one line.
pub(crate) fn summary(report: &Report) -> String {
    sentence(report, false)
}

/// The same, with `hints` that `-v` shows more where it does.
fn sentence(report: &Report, hints: bool) -> String {
    let summary = report.summary;
    let all = report.findings.iter();
    let (allowed, open): (Vec<&Finding>, Vec<&Finding>) = all.partition(|f| f.allowed_by.is_some());
    let of = |level| groups::changes(open.iter().copied().filter(|f| f.level == level));
    let (warnings, notes) = (of(Level::Warning), of(Level::Note));
    let mut counts = vec![
        count(of(Level::Error), "error"),
        count(warnings, "warning"),
        count(notes, "note"),
    ];
    if hints {
        if warnings > 0 && !report.swept.is_empty() {
            counts[1].push_str(" (-v shows them)");
        }
        if notes > 0 {
            counts[2].push_str(" (-v shows them)");
        }
    }
    if !allowed.is_empty() {
        counts.push(format!("{} allowed", groups::changes(allowed)));
    }
    if summary.cases > 0 {
        counts.push(format!(
            "{} of {} passed",
            summary.passed,
            count(summary.cases, "migration case")
        ));
        let before = match report.policy.gate {
            Gate::Regression => "failed and are no regression",
            Gate::Tier => "failed and are only observed",
            Gate::All | Gate::New => "failed in the baseline too",
        };
        let others = [
            (Urgency::Failed, "failed"),
            (Urgency::Before, before),
            (Urgency::Broken, "broken within a build"),
            (Urgency::Allowed, "allowed to fail"),
            (Urgency::NotTried, "not tried"),
            (Urgency::Excluded, "excluded"),
        ];
        for (urgency, word) in others {
            let cases = report.cases.iter();
            let number = cases
                .filter(|c| groups::urgency(c, &report.policy) == urgency)
                .count();
            if number > 0 {
                counts.push(format!("{number} {word}"));
            }
        }
    }
    if let Some(name) = &report.policy.case {
        let decides = report.case(name.as_str());
        let outcome = decides.map_or_else(|| "not run".to_owned(), |case| case.outcome.to_string());
        counts.insert(0, format!("{name}, which alone counts: {outcome}"));
    }
    let several = format!("{} machines", report.swept.len());
    let machine = match &report.machine {
        Some(machine) => machine,
        None if report.swept.len() > 1 => &several,
        None => "any machine",
    };
    format!(
        "{machine}, old {}, new {}: {}",
        build(&report.old),
        build(&report.new),
        counts.join(", ")
    )
}

/// Returns a build with its version, where that is known.
pub(crate) fn build(build: &BuildRef) -> String {
    match build.version {
        Some(version) => format!("{} ({version})", build.label),
        None => build.label.clone(),
    }
}
