//! The outputs of a command: a report in each of the requested formats, and the verdict.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::anyhow;

use crate::cli::args::{BisectArgs, BySuffix, DataFormat, Format, OutputArgs};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, hint};
use crate::model::visible;
use crate::report::bisection::{Bisection, Conclusion};
use crate::report::map::Map;
use crate::report::render::{
    bisection, codequality, github, html, json, junit, map, markdown, sarif, text,
};
use crate::report::{Report, Verdict};
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
    /// The text shows remedies as code.
    pub(super) code: bool,
}

#[derive(Debug)]
struct Output {
    form: Form,
    target: Target,
}

/// A report in the form for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Report(Format),
    Suggestions,
}

impl Outputs {
    /// Checks the places, and chooses a format for each.
    ///
    /// # Errors
    /// One cannot be written or has a suffix that no format has, or the formats are not as many as the places.
    pub(crate) fn new(args: &OutputArgs) -> Result<Outputs, Failure> {
        let files: Vec<Option<&Path>> = match args.output.as_slice() {
            [] => vec![None],
            files => files.iter().map(|file| Some(file.as_path())).collect(),
        };
        let mut outputs = Vec::new();
        for (index, &file) in files.iter().enumerate() {
            let typed = match args.format.as_slice() {
                [] => None,
                [one] => Some(*one),
                several if several.len() == files.len() => Some(several[index]),
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
                false => Form::Report(Format::chosen(typed, file).map_err(Failure::usage)?),
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

    /// Checks the place of a search's answer.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn of_search(args: &BisectArgs) -> Result<Outputs, Failure> {
        let file = args.output.as_deref();
        let format = match DataFormat::chosen(args.format, file).map_err(Failure::usage)? {
            DataFormat::Text => Format::Text,
            DataFormat::Json => Format::Json,
        };
        let form = Form::Report(format);
        let target = Target::new(file)?;
        Ok(Outputs {
            outputs: vec![Output { form, target }],
            verbose: false,
            quiet: args.quiet,
            code: false,
        })
    }

    /// Writes the answer to every place; its verdict decides the exit status, and is the last line on standard
    /// error.
    ///
    /// # Errors
    /// One cannot be written. The others are written nonetheless.
    pub(crate) fn write(self, answer: &dyn Answer) -> Result<Exit, Failure> {
        let is_seen = self.outputs.iter().any(Output::shows_verdict);
        let doubt = answer.hint().filter(|_| !self.quiet);
        self.write_all(answer)?;
        if let Some(text) = doubt {
            hint(&text);
        }
        // The text ends with it: whoever has just read that there does not need it again.
        if !is_seen {
            print_verdict(answer);
        }
        Ok(answer.verdict().into())
    }

    /// Writes the answer of a run that was interrupted, without a verdict. No text is printed: what was known is on
    /// the screen already.
    ///
    /// # Errors
    /// As for [`Outputs::write`].
    pub(crate) fn write_interrupted(mut self, answer: &dyn Answer) -> Result<(), Failure> {
        self.outputs.retain(|output| !output.is_printed());
        self.write_all(answer)
    }

    /// Returns whether one of them is standard output.
    pub(crate) fn have_stdout(&self) -> bool {
        self.outputs.iter().any(|output| output.target.is_stdout())
    }

    /// Writes the answer to every place.
    ///
    /// # Errors
    /// As for [`Outputs::write`].
    pub(crate) fn write_all(self, answer: &dyn Answer) -> Result<(), Failure> {
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
            let written = target.write_text(|out| answer.write(form, options, out));
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

/// The result of a command, in each form.
pub(crate) trait Answer {
    fn verdict(&self) -> Verdict;

    /// Returns what was compared and the counts in one line.
    fn summary(&self) -> String;

    /// Returns what whoever asked may not have meant.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Writes it.
    ///
    /// # Errors
    /// The output cannot be written.
    fn write(&self, form: Form, options: text::Options, out: &mut dyn Write) -> io::Result<()>;
}

impl Answer for Report {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn summary(&self) -> String {
        text::summary(self)
    }

    fn hint(&self) -> Option<String> {
        self.is_back_in_time().then(|| {
            format!(
                "old {} is a newer release than new {}: forward leads back in time here, and a fix is worded for the builds \
                 in the order of their releases",
                text::build(&self.old),
                text::build(&self.new)
            )
        })
    }

    fn write(&self, form: Form, options: text::Options, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Suggestions => suggest::write(self, out),
            Form::Report(Format::Text) => text::write(self, options, out),
            Form::Report(Format::Json) => json::write(self, out),
            Form::Report(Format::Junit) => junit::write(self, out),
            Form::Report(Format::Html) => html::write(self, out),
            Form::Report(Format::CodeQuality) => codequality::write(self, out),
            Form::Report(Format::Sarif) => sarif::write(self, out),
            Form::Report(Format::Github) => github::write(self, out),
            Form::Report(Format::Markdown) => markdown::write(self, out),
        }
    }
}

impl Answer for Map {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn summary(&self) -> String {
        map::summary(self)
    }

    fn hint(&self) -> Option<String> {
        let mut reports = self.pairs.iter().map(|pair| &pair.report);
        let report = reports.find(|report| report.is_back_in_time())?;
        Some(format!(
            "the builds are not in the order of their releases, since {} comes before {}: what a map says of when a case \
             broke is the other way round between them",
            text::build(&report.old),
            text::build(&report.new)
        ))
    }

    fn write(&self, form: Form, options: text::Options, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Suggestions => self.pairs.iter().try_for_each(|pair| {
                writeln!(out, "# {}", self.between(pair))?;
                suggest::write(&pair.report, out)
            }),
            Form::Report(Format::Text) => map::text(self, options, out),
            Form::Report(Format::Json) => map::json(self, out),
            Form::Report(Format::Junit) => junit::write_map(self, out),
            Form::Report(Format::Html) => map::html(self, out),
            Form::Report(Format::CodeQuality) => codequality::write_map(self, out),
            Form::Report(Format::Sarif) => sarif::write_map(self, out),
            Form::Report(Format::Github) => github::write_map(self, out),
            Form::Report(Format::Markdown) => markdown::write_map(self, out),
        }
    }
}

impl Answer for Bisection {
    fn verdict(&self) -> Verdict {
        match self.conclusion {
            Conclusion::Unchanged { .. } => Verdict::Incompatible,
            conclusion if conclusion.is_exact() => Verdict::Compatible,
            _ => Verdict::Untested,
        }
    }

    fn summary(&self) -> String {
        self.case.to_string()
    }

    fn write(&self, form: Form, options: text::Options, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Report(Format::Json) => bisection::json(self, out),
            Form::Report(_) | Form::Suggestions => bisection::text(self, options.quiet, out),
        }
    }
}

/// Says on standard error what the verdict is.
fn print_verdict(answer: &dyn Answer) {
    let verdict = answer.verdict();
    let style = text::style_of(verdict);
    let line = answer.summary();
    let line = visible(&line);
    // The exit status says it where the line cannot be written.
    let _nobody_reads = writeln!(anstream::stderr(), "{style}{verdict}{style:#}: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BuildKind, BuildRef, Version};
    use crate::report::map::MapPair;

    #[test]
    fn a_map_of_builds_that_are_out_of_order_says_so() {
        let hint = |versions: &[(u32, u32)]| {
            let build = |&(major, minor): &(u32, u32)| BuildRef {
                label: format!("qemu-{major}.{minor}"),
                kind: BuildKind::Binary,
                version: Some(Version::new(major, minor, 0)),
            };
            let builds: Vec<BuildRef> = versions.iter().map(build).collect();
            let pair = |at: usize| MapPair {
                old: at,
                new: at + 1,
                report: Report::new(builds[at].clone(), builds[at + 1].clone(), None),
            };
            let pairs = (0..versions.len() - 1).map(pair).collect();
            Map::of(builds.clone(), pairs, 0).hint()
        };
        assert_eq!(hint(&[(7, 2), (9, 0), (10, 0)]), None);
        let told = hint(&[(7, 2), (10, 0), (9, 0)]).unwrap();
        let wanted = "qemu-10.0 (10.0.0) comes before qemu-9.0 (9.0.0)";
        assert!(told.contains(wanted), "{told}");
    }

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
            ("a.log", Some(Format::Text)),
            ("json", None),
            ("/dev/stdout", None),
            ("a.json.d/report", None),
        ] {
            assert_eq!(Format::of_file(Path::new(file)), format, "{file}");
        }
    }
}
