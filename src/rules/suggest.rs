//! List entries to paste: one for each finding and each case that an entry could settle.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::model::{Rule, Version};
use crate::report::{AD_HOC, Case, Changed, Finding, Level, Report};
use crate::rules::known_issues::FILL_IN;

/// Writes a TOML stanza for each finding that is not allowed and not a note, and for each case that
/// fails the run. The reason is left to be written by a person who knows it.
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
    let mut known = BTreeSet::new();
    // Of a set whose culprits are known, these have cases of their own.
    let separated = |case: &&Case| {
        case.split
            .as_ref()
            .is_none_or(|split| split.culprits.is_empty())
    };
    for case in report
        .cases
        .iter()
        .filter(|case| case.gates())
        .filter(separated)
    {
        let text = failure(case, report);
        if known.insert(text.clone()) {
            let cause = case
                .cause
                .as_ref()
                .and_then(|cause| cause.message.lines().next());
            writeln!(
                out,
                "# {} {}: {}",
                case.outcome,
                case.id,
                cause.unwrap_or("no cause is known")
            )?;
            writeln!(out, "{text}")?;
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

/// Returns the stanza that excuses the failure of a case for a time.
fn failure(case: &Case, report: &Report) -> String {
    let leg = case.last_direction();
    let releases = match (report.old.version, report.new.version) {
        (Some(old), Some(new)) => [old, new].map(|v| (v.major, v.minor)),
        _ => [(0, 0); 2],
    };
    let [after, by] = [releases.iter().min(), releases.iter().max()];
    let direction = match releases[0] > releases[1] {
        true => leg.reversed(),
        false => leg,
    };
    // A case about one device names it last, behind what that needs.
    let alone = case.part_of.is_some() || case.device_set == AD_HOC;
    let device = case.devices.last().filter(|_| alone);
    let device = device.unwrap_or(&case.device_set);
    let mut lines = vec![
        "# until it is mended:".to_owned(),
        "[[failure]]".to_owned(),
        format!("outcomes = [{}]", quote(&case.outcome.to_string())),
        format!("devices = [{}]", quote(device)),
    ];
    if let Some(cause) = &case.cause {
        let section = cause.section_or_memory();
        let section = section.map(|section| format!("section = {}", quote(section.vmsd_name())));
        lines.extend(section);
    }
    lines.push(format!("machines = [{}]", quote(&case.machine)));
    lines.push(format!("direction = {}", quote(&direction.to_string())));
    if let (Some(after), Some(by)) = (after, by)
        && after != by
    {
        lines.push(format!("after = \"{}.{}\"", after.0, after.1));
        lines.push(format!("by = \"{}.{}\"", by.0, by.1));
    }
    for key in ["reason", "owner", "link"] {
        lines.push(format!("{key} = {}", quote(FILL_IN)));
    }
    lines.push(format!(
        "expires = {}  # the last day, or the release in which it has to be mended\n",
        quote(FILL_IN)
    ));
    lines.join("\n")
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
