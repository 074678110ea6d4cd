//! `migcompat history`: what earlier runs were, and what they say.

use std::io::Write;

use anyhow::Context;

use crate::api::history;
use crate::cli::args::{HistoryArgs, HistoryCommand};
use crate::cli::target::{Target, print};
use crate::cli::{Exit, Failure, config};
use crate::history::{Entry, Kind, Purpose, TierChange, Written, day, moment};
use crate::model::count;
use crate::report::Outcome;

pub(crate) fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    match &args.command {
        HistoryCommand::Show { file, case } => {
            let shown = history::show(&file.history, case)?;
            if shown.is_empty() {
                let why = anyhow::anyhow!("no case in {} fits {case}", file.history.display());
                return Err(Failure::usage(why));
            }
            printed(|out| {
                for case in &shown {
                    writeln!(out, "{}", case.name)?;
                    for entry in &case.entries {
                        writeln!(out, "  {}", line(case.kind, entry))?;
                    }
                    for change in &case.tiers {
                        let TierChange { tier, series, .. } = change;
                        writeln!(
                            out,
                            "  {}  {tier} tier, from {series}: {change}",
                            moment(change.at)
                        )?;
                    }
                    if let Some(memory) = &case.memory {
                        writeln!(out, "  {memory}")?;
                    }
                }
                Ok(())
            })?;
        }
        HistoryCommand::Stats { file } => {
            let stats = history::stats(&file.history)?;
            let days = stats
                .first
                .zip(stats.last)
                .map(|(first, last)| format!(" from {} to {}", day(first), day(last)));
            printed(|out| {
                writeln!(
                    out,
                    "{}{}, {}, {}, {} of them passed",
                    count(stats.runs, "run"),
                    days.unwrap_or_default(),
                    count(stats.cases, "case"),
                    count(stats.rows, "result"),
                    stats.passed
                )
            })?;
        }
        HistoryCommand::Import {
            file,
            reports,
            tiers,
        } => {
            let mut failed = None;
            history::import(
                &file.history,
                reports,
                config::tiers(tiers),
                |report, written| {
                    let word = match written {
                        Written::Added => "added",
                        Written::Known => "known",
                    };
                    // Said once it is in the file, and not before.
                    let told = print(|out| writeln!(out, "{word} {}", report.display()));
                    failed = failed.take().or(told.err());
                },
            )?;
            if let Some(error) = failed {
                return Err(Failure::usage(error));
            }
        }
        HistoryCommand::Export { file, output } => {
            let target = Target::new(output.as_deref())?;
            let lines = history::export(&file.history)?;
            target.write_bytes(|| Ok(lines))?;
        }
        HistoryCommand::Prune { file, before } => {
            let removed = history::prune(&file.history, *before)?;
            let removed = count(removed, "run");
            printed(|out| writeln!(out, "{removed} before {before} removed"))?;
        }
    }
    Ok(Exit::Compatible)
}

fn printed(render: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    print(render).context("cannot print the history")
}

fn line(kind: Kind, entry: &Entry) -> String {
    let Entry { run, trial } = entry;
    let outcome = match (kind, trial.outcome) {
        (Kind::Case, outcome) => outcome.to_string(),
        (_, Outcome::Pass) => "absent".to_owned(),
        (_, _) => "found".to_owned(),
    };
    let mut line = format!(
        "{}  {outcome:6}  {} to {}",
        moment(run.at),
        run.old.name(),
        run.new.name()
    );
    if run.purpose == Purpose::Search {
        line.push_str("  (a search)");
    }
    if trial.tries > 1 {
        line.push_str(&format!("  failed {} of {}", trial.failed, trial.tries));
    }
    let place = [&trial.section, &trial.field];
    let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
    if !place.is_empty() {
        line.push_str(&format!("  {}", place.join("/")));
    }
    line
}
