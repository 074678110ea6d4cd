//! Options of what is written, and where.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// For programs: everything, as report-schema.json describes it
    Json,
    /// For CI systems
    Junit,
    /// One page for a browser, which loads nothing from elsewhere
    Html,
    /// For GitLab's code quality reports, in JSON
    #[value(name = "codequality")]
    CodeQuality,
    /// For code scanning: SARIF 2.1, in JSON
    Sarif,
    /// For the log of a GitHub job, which makes annotations of it
    Github,
    /// A summary for a comment, or a page of a CI system
    Markdown,
}

/// Formats of which the name of a file chooses one.
pub(crate) trait BySuffix: Copy + 'static {
    /// The format of what is read by people.
    const TEXT: Self;
    /// The endings of files; the longer of two comes first.
    const SUFFIXES: &'static [(&'static str, Self)];

    /// Returns the format that the name of a file asks for, if it does.
    fn of_file(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        let mut suffixes = Self::SUFFIXES.iter();
        suffixes.find_map(|&(suffix, format)| name.ends_with(suffix).then_some(format))
    }

    /// Returns the format of an output (standard output, if no file is named): the one that is typed, else that of the
    /// suffix. Without a suffix it is text, and so it is for what is no regular file: a device, a pipe.
    ///
    /// # Errors
    /// No format has the suffix.
    fn chosen(typed: Option<Self>, file: Option<&Path>) -> Result<Self, NoFormat> {
        let by_suffix = || file.and_then(Self::of_file);
        if let Some(format) = typed.or_else(by_suffix) {
            return Ok(format);
        }
        let is_special = |file: &Path| file.metadata().is_ok_and(|of| !of.is_file());
        match file.and_then(|file| Some((file, suffix(file)?))) {
            Some((file, suffix)) if !is_special(file) => Err(NoFormat {
                file: file.to_owned(),
                suffix,
                known: Self::SUFFIXES.iter().map(|(known, _)| *known).collect(),
            }),
            _ => Ok(Self::TEXT),
        }
    }
}

/// The longest suffix that names a kind of file: `sarif`.
const LONGEST_SUFFIX: usize = 5;

/// Returns the suffix of a file's name, with its dot. The end of a release, as in `report-10.0`, is none, and neither is that
/// of a name which `mktemp` made.
fn suffix(file: &Path) -> Option<String> {
    let suffix = file.extension()?.to_string_lossy();
    let is_word = suffix.bytes().all(|byte| byte.is_ascii_lowercase())
        || suffix.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_word && suffix.len() <= LONGEST_SUFFIX).then(|| format!(".{suffix}"))
}

/// A suffix by which no format can be chosen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write {}: no format has the suffix {suffix}, but these have one: {}; --format chooses one for any name",
    file.display(),
    known.join(", ")
)]
pub(crate) struct NoFormat {
    file: PathBuf,
    suffix: String,
    known: Vec<&'static str>,
}

impl BySuffix for Format {
    const TEXT: Format = Format::Text;
    const SUFFIXES: &'static [(&'static str, Format)] = &[
        // As GitLab's own documentation calls it.
        ("gl-code-quality-report.json", Format::CodeQuality),
        (".codequality.json", Format::CodeQuality),
        (".sarif.json", Format::Sarif),
        (".sarif", Format::Sarif),
        (".json", Format::Json),
        (".xml", Format::Junit),
        (".html", Format::Html),
        (".md", Format::Markdown),
        (".txt", Format::Text),
        (".log", Format::Text),
    ];
}

impl BySuffix for DataFormat {
    const TEXT: DataFormat = DataFormat::Text;
    const SUFFIXES: &'static [(&'static str, DataFormat)] = &[
        (".json", DataFormat::Json),
        (".txt", DataFormat::Text),
        (".log", DataFormat::Text),
    ];
}

/// The form of a report, and its place.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Format of the report; one for all outputs, or one for each -o in turn [default: by the suffix of FILE, else
    /// text]
    #[arg(long, value_enum)]
    pub format: Vec<Format>,
    /// Write the report to FILE instead of standard output, which - is (repeatable)
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Write a line of JSON to FILE for each thing that happens, as it happens; - is standard output
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Print list entries that would settle what failed, ready to fill in and paste
    #[arg(long, conflicts_with = "format")]
    pub suggest: bool,
    /// Print errors, notices and the closing line only, and no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print notes too, and the explanation of every finding
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataFormat {
    Text,
    Json,
}
