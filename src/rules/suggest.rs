//! List entries to paste: one for each finding that an entry could settle.

use std::io::{self, Write};

use crate::model::{Rule, Version};
use crate::report::{Changed, Finding, Level, Report};
use crate::rules::known_issues::FILL_IN;

/// Writes a TOML stanza for each finding that is not allowed and not a note. The reason is left to
/// be written by a person who knows it.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut stanzas = 0;
    for finding in &report.findings {
        if finding.allowed_by.is_some() || finding.level == Level::Note {
            continue;
        }
        let own = (&finding.section, Some(&finding.path));
        let others = finding.also_in.iter().enumerate();
        let others = others.map(|(at, section)| (section, finding.also_paths.get(at)));
        for (section, path) in std::iter::once(own).chain(others) {
            stanza(section, path, finding, report, out)?;
            stanzas += 1;
        }
    }
    if stanzas == 0 {
        writeln!(out, "# nothing that a list entry could settle")?;
    }
    Ok(())
}

fn stanza(
    section: &str,
    path: Option<&Vec<String>>,
    finding: &Finding,
    report: &Report,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "# {}: {}", finding.direction, finding.message)?;
    let rule = finding.rule;
    // A break names its commit where there is one; the others name their source.
    let needs_source = match (rule, finding.items.as_slice()) {
        (
            Rule::ConditionalFieldAdded
            | Rule::ConditionalFieldRemoved
            | Rule::SubsectionUnknown
            | Rule::ConditionAdded
            | Rule::ConditionRemoved,
            items @ [first, ..],
        ) if items.iter().all(|i| i.description == first.description) => {
            let sent = match rule {
                Rule::ConditionAdded | Rule::ConditionRemoved => "always",
                _ => "never",
            };
            let names: Vec<String> = items
                .iter()
                .filter_map(|i| i.new.as_ref().or(i.old.as_ref()))
                .map(|name| quote(name))
                .collect();
            writeln!(
                out,
                "# if a compat property decides so for every machine type that both builds know:"
            )?;
            writeln!(out, "[[condition]]")?;
            writeln!(out, "section = {}", quote(section))?;
            writeln!(out, "description = {}", quote(&first.description))?;
            writeln!(out, "items = [{}]", names.join(", "))?;
            writeln!(out, "sent = {}", quote(sent))?;
            true
        }
        (
            Rule::SizeUndecided | Rule::OpaqueFieldChanged | Rule::ConditionalFieldChanged,
            [
                Changed {
                    description,
                    old: Some(old),
                    new: Some(new),
                    ..
                },
            ],
        ) => {
            writeln!(out, "# if the bytes on the wire are the same:")?;
            writeln!(out, "[[field]]")?;
            writeln!(out, "section = {}", quote(section))?;
            writeln!(out, "description = {}", quote(description))?;
            writeln!(out, "old = {}", quote(old))?;
            writeln!(out, "new = {}", quote(new))?;
            if old == new {
                let size = |shape: &Option<crate::report::Shape>| {
                    shape.as_ref().and_then(|s| s.size).unwrap_or_default()
                };
                let change = format!("old {}, new {}", size(&finding.old), size(&finding.new));
                writeln!(out, "size_change = {}", quote(&change))?;
            }
            true
        }
        _ => {
            writeln!(out, "# if the break is meant:")?;
            writeln!(out, "[[break]]")?;
            writeln!(out, "section = {}", quote(section))?;
            writeln!(out, "rule = {}", quote(rule.id()))?;
            match path {
                Some(path) => {
                    let path: Vec<String> = path.iter().map(|part| quote(part)).collect();
                    writeln!(out, "path = [{}]", path.join(", "))?;
                }
                // A report that was read does not have it.
                None => writeln!(
                    out,
                    "path = [{}]  # from the section's vmsd name down",
                    quote(FILL_IN)
                )?,
            }
            writeln!(out, "direction = {}", quote(&finding.direction.to_string()))?;
            writeln!(
                out,
                "machines = [{}]",
                quote(report.machine.as_deref().unwrap_or(FILL_IN))
            )?;
            false
        }
    };
    version("after", report.old.version, out)?;
    version("by", report.new.version, out)?;
    if needs_source {
        writeln!(out, "source = {}", quote(FILL_IN))?;
    }
    writeln!(out, "reason = {}\n", quote(FILL_IN))
}

fn version(key: &str, version: Option<Version>, out: &mut dyn Write) -> io::Result<()> {
    match version {
        Some(v) => writeln!(out, "{key} = \"{}.{}\"", v.major, v.minor),
        None => writeln!(
            out,
            "{key} = {}  # a dump does not say its version",
            quote(FILL_IN)
        ),
    }
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
