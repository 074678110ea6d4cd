//! Where a report goes.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;

use crate::cli::args::{Format, OutputArgs};
use crate::cli::{Exit, Failure};
use crate::report::render::{html, json, junit, text};
use crate::report::{Report, Verdict};

/// Columns for output that is no terminal.
const PIPE_WIDTH: usize = 100;
/// Wider lines than this are hard to read.
const MOST_WIDTH: usize = 120;

/// Writes the report in the form that was asked for; its verdict decides the exit status.
pub(crate) fn write_report(report: &Report, args: &OutputArgs) -> Result<Exit, Failure> {
    let to_terminal = args.output.is_none() && io::stdout().is_terminal();
    let options = text::Options {
        width: if to_terminal {
            textwrap::termwidth().min(MOST_WIDTH)
        } else {
            PIPE_WIDTH
        },
        verbose: args.verbose,
        quiet: args.quiet,
    };
    let render = |out: &mut dyn Write| match args.format {
        Format::Text => text::write(report, options, out),
        Format::Json => json::write(report, out),
        Format::Junit => junit::write(report, out),
        Format::Html => html::write(report, out),
    };
    match &args.output {
        Some(file) => write_file(file, |out| {
            let mut coloured = Vec::new();
            render(&mut coloured)?;
            // A file is read by programs and pagers: never coloured.
            let plain = anstream::adapter::strip_bytes(&coloured).into_vec();
            out.write_all(&plain)
        })?,
        None => match print(render) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            result => result
                .context("cannot write the report")
                .map_err(Failure::usage)?,
        },
    }
    Ok(match report.verdict {
        Verdict::Compatible => Exit::Compatible,
        Verdict::Incompatible => Exit::Incompatible,
        Verdict::Untested => Exit::Untested,
    })
}

/// To standard output in one write, with colours or without as the terminal wants.
pub(crate) fn print(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut text = Vec::new();
    render(&mut text)?;
    let mut out = anstream::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}

/// The file appears whole or not at all; one that was there is kept until then.
pub(crate) fn write_file(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let attempt = || -> io::Result<()> {
        let mut content = Vec::new();
        write(&mut content)?;
        let mut temporary = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder)?;
        temporary.write_all(&content)?;
        temporary.persist(file)?;
        Ok(())
    };
    attempt()
        .with_context(|| format!("cannot write {}", file.display()))
        .map_err(Failure::usage)
}
