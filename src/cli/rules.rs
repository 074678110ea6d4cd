//! `migcompat rules`: what the rules mean, and whether the lists are in order.

use std::io::Write;

use anyhow::Context;

use super::args::{RulesArgs, RulesCommand};
use super::{Exit, Failure, output};
use crate::rules::Rule;

pub(super) fn run(args: &RulesArgs) -> Result<Exit, Failure> {
    match args.command {
        RulesCommand::List => list(),
        RulesCommand::Explain { rule } => explain(rule),
    }
}

fn list() -> Result<Exit, Failure> {
    output::print(|out| {
        for rule in Rule::ALL {
            let entry = rule.entry();
            writeln!(out, "{:8} {:26} {}", entry.level, rule, entry.name)?;
        }
        Ok(())
    })
    .context("cannot print the rules")
    .map_err(Failure::usage)?;
    Ok(Exit::Compatible)
}

fn explain(rule: Rule) -> Result<Exit, Failure> {
    let entry = rule.entry();
    let width = textwrap::termwidth().min(100);
    output::print(|out| {
        writeln!(out, "{}[{rule}]: {}\n", entry.level, entry.name)?;
        for (heading, text) in [
            ("On the wire", &entry.wire),
            ("What happens", &entry.why),
            ("What to do", &entry.fix),
            ("Shown by", &entry.source),
        ] {
            let options = textwrap::Options::new(width)
                .initial_indent("  ")
                .subsequent_indent("  ");
            writeln!(out, "{heading}\n{}\n", textwrap::fill(text.trim(), options))?;
        }
        Ok(())
    })
    .context("cannot print the rule")
    .map_err(Failure::usage)?;
    Ok(Exit::Compatible)
}
