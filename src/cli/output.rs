//! The outputs of a command: a report in each of the requested formats, and the verdict.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::anyhow;

use crate::cli::args::{Format, OutputArgs};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::model::visible;
use crate::report::Report;
use crate::report::render::{codequality, github, html, json, junit, markdown, sarif, text};
use crate::rules::suggest;

/// Columns for output that is no terminal.
const PIPE_WIDTH: usize = 100;
/// Wider lines than this are hard to read.
const MOST_WIDTH: usize = 120;

/// The places that a report goes to, checked before it is made.
#[derive(Debug)]
pub(crate) struct Outputs {
    outputs: Vec<Output>,
    verbose: bool,
    quiet: bool,
    code: bool,
}

#[derive(Debug)]
struct Output {
    form: Form,
    target: Target,
}

/// What is written to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Report(Format),
    Suggestions,
}

impl Outputs {
    /// Checks the places, and chooses a format for each.
    ///
    /// # Errors
    /// One cannot be written, or the formats are not as many as the places.
    pub(crate) fn new(args: &OutputArgs) -> Result<Outputs, Failure> {
        let files: Vec<Option<&Path>> = match args.output.as_slice() {
            [] => vec![None],
            files => files.iter().map(|file| Some(file.as_path())).collect(),
        };
        let by_suffix = |file: Option<&Path>| file.and_then(Format::of_file);
        let mut outputs = Vec::new();
        for (index, &file) in files.iter().enumerate() {
            let format = match args.format.as_slice() {
                [] => by_suffix(file).unwrap_or(Format::Text),
                [one] => *one,
                several if several.len() == files.len() => several[index],
                several => {
                    return Err(Failure::usage(anyhow!(
                        "there are {} formats and {} outputs: give one --format for all, or one for each -o",
                        several.len(),
                        files.len()
                    )));
                }
            };
            let form = match args.suggest {
                true => Form::Suggestions,
                false => Form::Report(format),
            };
            let target = Target::new(file)?;
            outputs.push(Output { form, target });
        }
        Ok(Outputs {
            outputs,
            verbose: args.verbose,
            quiet: args.quiet,
            code: false,
        })
    }

    /// Has the text show remedies as code.
    pub(crate) fn with_code(self) -> Outputs {
        Outputs { code: true, ..self }
    }

    /// Returns whether as little as possible is to be written.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Returns each place with what is to be written there.
    pub(crate) fn into_places(self) -> impl Iterator<Item = (Form, Target)> {
        self.outputs
            .into_iter()
            .map(|output| (output.form, output.target))
    }

    /// Writes the report to every place; its verdict decides the exit status, and is the last line on standard
    /// error.
    ///
    /// # Errors
    /// One cannot be written. The others are written nonetheless.
    pub(crate) fn write(self, report: &Report) -> Result<Exit, Failure> {
        let is_seen = self.outputs.iter().any(Output::shows_verdict);
        self.write_all(report)?;
        // The text ends with it: whoever has just read that there does not need it again.
        if !is_seen {
            print_verdict(report);
        }
        Ok(report.verdict.into())
    }

    /// Writes the report of a run that was interrupted, without a verdict. No text is printed: what was known is on
    /// the screen already.
    ///
    /// # Errors
    /// As for [`Outputs::write`].
    pub(crate) fn write_interrupted(mut self, report: &Report) -> Result<(), Failure> {
        self.outputs.retain(|output| !output.is_printed());
        self.write_all(report)
    }

    /// Returns whether one of them is standard output.
    pub(crate) fn have_stdout(&self) -> bool {
        self.outputs.iter().any(|output| output.target.is_stdout())
    }

    fn write_all(self, report: &Report) -> Result<(), Failure> {
        let Outputs {
            outputs,
            verbose,
            quiet,
            code,
        } = self;
        let mut failed = None;
        for Output { form, target } in outputs {
            let to_terminal = target.is_stdout() && io::stdout().is_terminal();
            let options = text::Options {
                width: if to_terminal {
                    textwrap::termwidth().min(MOST_WIDTH)
                } else {
                    PIPE_WIDTH
                },
                verbose,
                quiet,
                code,
            };
            let written = target.write_text(|out| write(report, form, options, out));
            failed = failed.or(written.err());
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Output {
    /// Returns whether it is text for whoever started the run.
    fn is_printed(&self) -> bool {
        let is_text = matches!(self.form, Form::Report(Format::Text) | Form::Suggestions);
        is_text && (self.target.is_stdout() || self.target.is_stderr())
    }

    /// Returns whether it ends with the verdict where standard error is read.
    fn shows_verdict(&self) -> bool {
        let is_same = || io::stdout().is_terminal() && io::stderr().is_terminal();
        self.form == Form::Report(Format::Text)
            && (self.target.is_stderr() || self.target.is_stdout() && is_same())
    }
}

fn write(
    report: &Report,
    form: Form,
    options: text::Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    match form {
        Form::Suggestions => suggest::write(report, out),
        Form::Report(Format::Text) => text::write(report, options, out),
        Form::Report(Format::Json) => json::write(report, out),
        Form::Report(Format::Junit) => junit::write(report, out),
        Form::Report(Format::Html) => html::write(report, out),
        Form::Report(Format::CodeQuality) => codequality::write(report, out),
        Form::Report(Format::Sarif) => sarif::write(report, out),
        Form::Report(Format::Github) => github::write(report, out),
        Form::Report(Format::Markdown) => markdown::write(report, out),
    }
}

/// Says on standard error what the verdict is.
fn print_verdict(report: &Report) {
    let style = text::style_of(report.verdict);
    let line = text::summary(report);
    let line = visible(&line);
    // The exit status says it where the line cannot be written.
    let _nobody_reads = writeln!(
        anstream::stderr(),
        "{style}{}{style:#}: {line}",
        report.verdict
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_of_a_file_is_its_format() {
        for (file, format) in [
            ("a.json", Some(Format::Json)),
            ("out/A.XML", Some(Format::Junit)),
            ("a.b.html", Some(Format::Html)),
            ("a.sarif", Some(Format::Sarif)),
            ("a.sarif.json", Some(Format::Sarif)),
            ("a.codequality.json", Some(Format::CodeQuality)),
            ("gl-code-quality-report.json", Some(Format::CodeQuality)),
            ("summary.md", Some(Format::Markdown)),
            ("a.txt", Some(Format::Text)),
            ("json", None),
            ("/dev/stdout", None),
            ("a.json.d/report", None),
        ] {
            assert_eq!(Format::of_file(Path::new(file)), format, "{file}");
        }
    }
}
