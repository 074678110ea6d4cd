//! The output of a command: a report in the requested format.

use std::io::{self, IsTerminal, Write};

use crate::cli::args::{Format, OutputArgs};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::report::Report;
use crate::report::render::{html, json, junit, text};
use crate::rules::suggest;

/// Columns for output that is no terminal.
const PIPE_WIDTH: usize = 100;
/// Wider lines than this are hard to read.
const MOST_WIDTH: usize = 120;

/// Writes the report in the form that was asked for; its verdict decides the exit status.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_report(
    report: &Report,
    target: Target,
    args: &OutputArgs,
) -> Result<Exit, Failure> {
    if args.suggest {
        target.write_text(|out| suggest::write(report, out))?;
        return Ok(report.verdict.into());
    }
    let to_terminal = target.is_stdout() && io::stdout().is_terminal();
    let options = text::Options {
        width: if to_terminal {
            textwrap::termwidth().min(MOST_WIDTH)
        } else {
            PIPE_WIDTH
        },
        verbose: args.verbose,
        quiet: args.quiet,
    };
    target.write_text(|out: &mut dyn Write| match args.format {
        Format::Text => text::write(report, options, out),
        Format::Json => json::write(report, out),
        Format::Junit => junit::write(report, out),
        Format::Html => html::write(report, out),
    })?;
    Ok(report.verdict.into())
}
