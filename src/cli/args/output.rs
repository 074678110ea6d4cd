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

impl Format {
    /// Returns the format that the name of a file asks for, if it does.
    pub(crate) fn of_file(file: &Path) -> Option<Format> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        // As GitLab's own documentation calls it.
        if name == "gl-code-quality-report.json" {
            return Some(Format::CodeQuality);
        }
        Format::BY_SUFFIX
            .into_iter()
            .find_map(|(suffix, format)| name.ends_with(suffix).then_some(format))
    }

    /// The endings of files; the longer of two comes first.
    const BY_SUFFIX: [(&str, Format); 8] = [
        (".codequality.json", Format::CodeQuality),
        (".sarif.json", Format::Sarif),
        (".sarif", Format::Sarif),
        (".json", Format::Json),
        (".xml", Format::Junit),
        (".html", Format::Html),
        (".md", Format::Markdown),
        (".txt", Format::Text),
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
