//! `migcompat stream`: a migration stream, readable, and two compared.

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, anyhow};

use crate::cli::args::{
    BySuffix, DataFormat, DiffArgs, ShowArgs, StreamArgs, StreamCommand, StreamOutputArgs,
};
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::compare::diff::{Change, ChangeKind, Difference, SectionDiff, Side, diff};
use crate::model::{Pattern, SectionName, visible_json};
use crate::rules::known_issues::{KnownIssues, Scope};
use crate::stream::{self, Contained, Options, Place, Reading, Section, Stream, show};

pub(crate) fn run(args: &StreamArgs) -> Result<Exit, Failure> {
    match &args.command {
        StreamCommand::Show(args) => show_stream(args),
        StreamCommand::Diff(args) => diff_streams(args),
    }
}

fn show_stream(args: &ShowArgs) -> Result<Exit, Failure> {
    let (format, target) = output(&args.output)?;
    let sections = Sections::new(&args.output.section);
    let reading = read(&args.file, &args.output)?;
    let Reading { stream, error, .. } = &reading;
    let wanted = |section: &Section| sections.wanted(section.name.as_str());
    target.write_text(|out| match format {
        DataFormat::Text => show::text(stream, error.as_ref(), wanted, out),
        DataFormat::Json => show::json(stream, error.as_ref(), wanted, out),
    })?;
    sound(&args.file, &reading)?;
    sections.all_found(stream.sections.iter().map(|s| s.name.as_str()))?;
    Ok(Exit::Compatible)
}

fn diff_streams(args: &DiffArgs) -> Result<Exit, Failure> {
    let (format, target) = output(&args.output)?;
    let sections = Sections::new(&args.output.section);
    let lists = KnownIssues::load(&args.lists).context("cannot use the lists")?;
    let whole = |file: &Path| -> Result<Stream, Failure> {
        let reading = read(file, &args.output)?;
        sound(file, &reading)?;
        Ok(reading.stream)
    };
    let (old, new) = (whole(&args.old)?, whole(&args.new)?);
    let all = old.sections.iter().chain(&new.sections);
    sections.all_found(all.map(|section| section.name.as_str()))?;
    let scope = Scope {
        old: args.old_version,
        new: args.new_version,
        ..Scope::anywhere(&lists)
    };
    let diffs = diff(&old, &new, &scope, |s| sections.wanted(s.name.as_str()));
    let labels = (args.old.display(), args.new.display());
    target.write_text(|out| match format {
        DataFormat::Text => {
            writeln!(out, "old: {}\nnew: {}", labels.0, labels.1)?;
            diff_text(&diffs, out)
        }
        DataFormat::Json => {
            let whole = serde_json::json!({
                "schema": "migcompat-stream-diff-1",
                "old": labels.0.to_string(),
                "new": labels.1.to_string(),
                "sections": diffs,
            });
            writeln!(out, "{}", visible_json(&serde_json::to_string(&whole)?))
        }
    })?;
    let is_renamed = |diff: &SectionDiff| diff.difference == Difference::Renamed;
    Ok(Exit::of(diffs.iter().all(is_renamed)))
}

fn output(args: &StreamOutputArgs) -> Result<(DataFormat, Target), Failure> {
    let file = args.output.as_deref();
    let format = DataFormat::chosen(args.format, file).map_err(Failure::usage)?;
    Ok((format, Target::new(file)?))
}

fn read(file: &Path, args: &StreamOutputArgs) -> Result<Reading, Failure> {
    let place = Place {
        offset: args.offset,
        snapshot: args.snapshot.clone(),
    };
    let Contained { input, offset, .. } = stream::open_at(file, &place).map_err(Failure::usage)?;
    let options = Options {
        page_size: args.page_size,
        before: offset,
        ..Options::default()
    };
    let reading = stream::read(input, options, ());
    match &reading.error {
        // There is no part of a stream to show.
        Some(error) if error.kind.is_other_data() => {
            let file = file.display();
            let hint = match args.offset {
                0 => {
                    "; one that was saved with `file:FILE,offset=BYTES` is read with `--offset BYTES`"
                }
                _ => "",
            };
            Err(Failure::usage(anyhow!("{file}: {}{hint}", error.kind)))
        }
        _ => Ok(reading),
    }
}

/// Refuses a stream that could be read in part only.
fn sound(file: &Path, reading: &Reading) -> Result<(), Failure> {
    let file = file.display();
    if let Some(error) = &reading.error {
        return Err(Failure::usage(anyhow!("{file}, {error}")));
    }
    if let Some((section, error)) = reading.stream.broken().next() {
        let count = reading.stream.broken().count();
        return Err(Failure::usage(anyhow!(
            "{file}, section {} {}: {error}{}",
            section.name,
            section.instance_id,
            match count {
                1 => String::new(),
                _ => format!(" (and {} more sections)", count - 1),
            }
        )));
    }
    Ok(())
}

/// The sections that `--section` names; all without it.
struct Sections(Vec<Pattern>);

impl Sections {
    fn new(globs: &[String]) -> Self {
        Sections(globs.iter().map(|glob| glob.as_str().into()).collect())
    }

    fn wanted(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| Sections::fits(glob, name))
    }

    /// Tells whether a pattern fits a name. A device path need not be known: `e1000e` is enough for
    /// `0000:00:02.0/e1000e`.
    fn fits(glob: &Pattern, name: &str) -> bool {
        let ends = name.match_indices('/').map(|(at, _)| &name[at + 1..]);
        std::iter::once(name).chain(ends).any(|end| glob.fits(end))
    }

    /// Refuses a pattern that fits nothing: usually it is a typing error.
    fn all_found<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Result<(), Failure> {
        for glob in &self.0 {
            if !names.clone().any(|name| Sections::fits(glob, name)) {
                let near = names.min_by_key(|name| {
                    let name = SectionName::new(name);
                    strsim::damerau_levenshtein(name.vmsd_name(), &glob.to_string())
                });
                return Err(Failure::usage(anyhow!(
                    "no section fits --section {glob}{}",
                    match near {
                        Some(near) => format!("; there is {near}, for instance"),
                        None => String::new(),
                    }
                )));
            }
        }
        Ok(())
    }
}

const HEADING: Style = Style::new().bold();
const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();

fn diff_text(diffs: &[SectionDiff], out: &mut dyn Write) -> io::Result<()> {
    for diff in diffs {
        let remark = match diff.difference {
            Difference::OnlyOld => " (only in old)",
            Difference::OnlyNew => " (only in new)",
            Difference::Differs => "",
            Difference::Renamed => " (renamed, otherwise the same)",
        };
        writeln!(
            out,
            "\n{HEADING}{} {}{HEADING:#}{remark}",
            diff.section, diff.instance_id
        )?;
        for change in &diff.changes {
            change_text(change, out)?;
        }
    }
    let differing = diffs
        .iter()
        .filter(|d| d.difference != Difference::Renamed)
        .count();
    match differing {
        0 => writeln!(out, "\nno differences"),
        1 => writeln!(out, "\n1 section differs"),
        n => writeln!(out, "\n{n} sections differ"),
    }
}

fn change_text(change: &Change, out: &mut dyn Write) -> io::Result<()> {
    let what = match change.kind {
        ChangeKind::Layout => "layout",
        ChangeKind::Version => "version",
        ChangeKind::Value => "value",
        ChangeKind::Renamed => "renamed",
    };
    write!(out, "  {what}")?;
    if !change.path.is_empty() {
        write!(out, " {}", change.path.join("/"))?;
    }
    match &change.note {
        Some(note) => writeln!(out, " ({note})")?,
        None => writeln!(out)?,
    }
    for (style, word, side) in [(OLD, "old", &change.old), (NEW, "new", &change.new)] {
        match side {
            Some(side) => writeln!(out, "    {style}{word}{style:#} {}", side_text(side))?,
            None => writeln!(out, "    {style}{word}{style:#} not sent")?,
        }
    }
    Ok(())
}

fn side_text(side: &Side) -> String {
    let size = side.size.map(|size| format!("{size} bytes"));
    let form: Vec<String> = side.type_name.clone().into_iter().chain(size).collect();
    match side.offset {
        Some(offset) if !form.is_empty() => {
            format!("{} ({} at {offset:#x})", side.value, form.join(", "))
        }
        _ => side.value.clone(),
    }
}
