//! A sweep for people: the devices, those that did not pass, and why. One line a device, and the
//! cause once where many share it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;

use crate::model::count;
use crate::report::render::cases::{colour, explain, failure};
use crate::report::render::groups;
use crate::report::{Case, Outcome, Report};

const BOLD: Style = Style::new().bold();

/// Writes the sweep; `verbose` lists what passed and what was left out as well.
///
/// # Errors
/// `out` cannot be written.
pub fn write(report: &Report, verbose: bool, quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    if !quiet {
        machines(report, verbose, out)?;
    }
    // Cases that fail the run come first, in the table and below it.
    let shown = |case: &&Case| verbose || !groups::is_before(case.baseline, &report.policy);
    let mut cases: Vec<&Case> = report.cases.iter().filter(shown).collect();
    cases.sort_by_key(|case| groups::urgency(case, &report.policy));
    let causes = groups::causes(cases.iter().copied());
    let mut numbers = BTreeMap::new();
    for (at, group) in causes.iter().enumerate() {
        numbers.extend(group.iter().map(|case| (case.id.as_str(), at + 1)));
    }
    table(&cases, &numbers, verbose, quiet, out)?;
    // The first of those with one cause stands for all.
    for (at, group) in causes.iter().enumerate() {
        if let Some((first, others)) = group.split_first() {
            failure(first, Some(at + 1), others, out)?;
        }
    }
    Ok(())
}

fn machines(report: &Report, verbose: bool, out: &mut dyn Write) -> io::Result<()> {
    for swept in &report.swept {
        let others = match swept.others() {
            0 => String::new(),
            others if report.shard.is_some() => format!(", {others} in other shards"),
            // The machine alone does not migrate, or a shard is missing.
            others => format!(", {others} not tried"),
        };
        let models = match swept.cpu_models_compared {
            0 => String::new(),
            models => format!("; {} compared", count(models, "CPU model")),
        };
        writeln!(
            out,
            "{BOLD}{} {}{BOLD:#}: {} in both builds: {} exercised, {} left out{others}; \
             {} in the old build alone, {} in the new one alone{models}",
            swept.architecture,
            swept.machine,
            count(swept.shared, "device type"),
            swept.exercised,
            swept.left_out.len(),
            swept.only_old.len(),
            swept.only_new.len()
        )?;
        for grafted in &swept.grafted {
            writeln!(out, "  {grafted}")?;
        }
        if verbose {
            if !swept.fall_back.is_empty() {
                writeln!(
                    out,
                    "  in no device set, plugged in as bus and properties suggest: {}",
                    swept.fall_back.join(", ")
                )?;
            }
            for (reason, devices) in groups::left_out(&swept.left_out) {
                writeln!(out, "  left out: {reason}: {}", devices.join(", "))?;
            }
            for (which, devices) in [("old", &swept.only_old), ("new", &swept.only_new)] {
                if !devices.is_empty() {
                    writeln!(out, "  in the {which} build alone: {}", devices.join(", "))?;
                }
            }
        }
    }
    let left_out = report.swept.iter().any(|swept| !swept.left_out.is_empty());
    if left_out && !verbose {
        writeln!(
            out,
            "-v lists what was left out, with the reasons, and what passed"
        )?;
    }
    writeln!(out)
}

/// A line a case; `numbers` are of the causes below, by the case.
fn table(
    cases: &[&Case],
    numbers: &BTreeMap<&str, usize>,
    verbose: bool,
    quiet: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let shown = |case: &&Case| match case.outcome {
        Outcome::Pass => verbose,
        Outcome::Skip => !quiet,
        _ => true,
    };
    // Where a whole machine does not migrate, its devices would be as many equal lines.
    let (mut lines, mut same): (Vec<&Case>, BTreeMap<&str, usize>) = Default::default();
    for case in cases.iter().copied().filter(shown) {
        match case
            .message()
            .filter(|_| case.outcome == Outcome::Skip && !verbose)
        {
            Some(reason) => {
                let count = same.entry(reason).or_default();
                *count += 1;
                if *count == 1 {
                    lines.push(case);
                }
            }
            None => lines.push(case),
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let width = lines.iter().map(|case| case.id.len()).max().unwrap_or(0);
    writeln!(out, "{BOLD}outcome  {:width$}  cause{BOLD:#}", "case")?;
    for case in lines {
        let style = colour(case.outcome).on_default().bold();
        let message = case.message().and_then(|message| message.lines().next());
        let message = message.unwrap_or_default();
        let more = same.get(message).filter(|_| case.outcome == Outcome::Skip);
        let more = match more {
            Some(count @ 2..) => format!(" (and {} more)", count - 1),
            _ => String::new(),
        };
        let number = numbers.get(case.id.as_str());
        let allowed = if case.allowed_by.is_some() {
            "allowed: "
        } else {
            ""
        };
        let number = number.map_or_else(String::new, |number| format!("[{number}] {allowed}"));
        let line = format!("{:width$}  {number}{message}{more}", case.id);
        writeln!(
            out,
            "{style}{:7}{style:#}  {}",
            case.outcome,
            line.trim_end()
        )?;
    }
    writeln!(out)?;
    explain(cases.iter().copied(), out)
}
