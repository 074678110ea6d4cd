//! List entries to paste: one for each finding and each case that an entry could settle.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::model::{Rule, Version, joined};
use crate::report::{AD_HOC, Case, Changed, Finding, Level, Report, Shape};
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
        .filter(|case| case.gates() || report.policy.counts_case(case))
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
    let mut lines = vec![format!("# {}: {}", finding.direction, finding.message)];
    let releases = Releases::of(report);
    // An entry goes from the older release to the newer one, whichever way the builds were named.
    let (rule, direction) = match releases.are_swapped {
        true => (finding.rule.mirror(), finding.direction.reversed()),
        false => (finding.rule, finding.direction),
    };
    // A break names its commit where there is one; the others name their source.
    let grounds = match (rule, finding.items.as_slice()) {
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
            let names = items
                .iter()
                .filter_map(|i| i.new.as_ref().or(i.old.as_ref()));
            let why =
                "if a compat property decides so for every machine type that both builds know";
            lines.extend([
                format!("# {why}:\n[[condition]]"),
                key("section", section),
                key("description", &first.description),
                keys("items", names),
                key("sent", sent),
            ]);
            key("source", FILL_IN)
        }
        (
            Rule::SizeUndecided | Rule::OpaqueFieldChanged | Rule::ConditionalFieldChanged,
            [
                Changed {
                    description,
                    old: Some(old),
                    new: Some(new),
                    moved: false,
                    ..
                },
            ],
        ) if !is_same_but_for_number(finding, old == new) => {
            let size =
                |shape: &Option<Shape>| shape.as_ref().and_then(|s| s.size).unwrap_or_default();
            let mut names = [(old, size(&finding.old)), (new, size(&finding.new))];
            if releases.are_swapped {
                names.reverse();
            }
            let [(old, old_size), (new, new_size)] = names;
            lines.extend([
                "# if the bytes on the wire are the same:\n[[field]]".to_owned(),
                key("section", section),
                key("description", description),
                key("old", old),
                key("new", new),
            ]);
            if old == new {
                let change = format!("old {old_size}, new {new_size}");
                lines.push(key("size_change", &change));
            }
            key("source", FILL_IN)
        }
        _ => {
            let fill_in = [FILL_IN.to_owned()];
            lines.extend([
                "# if the break is meant:\n[[break]]".to_owned(),
                key("section", section),
                key("rule", rule.id()),
                match path {
                    Some(path) => keys("path", path),
                    // A report that was read does not have it.
                    None => keys("path", &fill_in) + "  # from the section's vmsd name down",
                },
                key("direction", &direction.to_string()),
                keys("machines", [report.machine.as_ref().unwrap_or(&fill_in[0])]),
            ]);
            key("commit", FILL_IN) + "  # QEMU's; this line goes where none is known"
        }
    };
    lines.extend(releases.lines());
    lines.extend([grounds, key("reason", FILL_IN)]);
    writeln!(out, "{}\n", lines.join("\n"))
}

/// Tells whether the dumps print one size for the two sides of a finding, so that it is about the number of elements or, of
/// one field, about what decides whether it is sent. No entry about fields says that these are alike.
fn is_same_but_for_number(finding: &Finding, one_name: bool) -> bool {
    let (Some(old), Some(new)) = (&finding.old, &finding.new) else {
        return false;
    };
    old.size == new.size && (one_name || old.num != new.num)
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
        keys("outcomes", [&case.outcome.to_string()]),
        keys("devices", [device]),
    ];
    if let Some(cause) = &case.cause {
        let section = cause.section_or_memory();
        lines.extend(section.map(|section| key("section", section.vmsd_name())));
    }
    lines.push(keys("machines", [&case.machine]));
    lines.push(key("direction", &direction.to_string()));
    if let (Some(after), Some(by)) = (after, by)
        && after != by
    {
        lines.push(format!("after = \"{}.{}\"", after.0, after.1));
        lines.push(format!("by = \"{}.{}\"", by.0, by.1));
    }
    lines.extend(["reason", "owner"].map(|name| key(name, FILL_IN)));
    lines.push(key("link", FILL_IN) + "  # this line goes where there is none");
    let expires = key("expires", FILL_IN);
    lines.push(expires + "  # the last day, or the release in which it has to be mended\n");
    lines.join("\n")
}

/// The releases that an entry is between, the older one first.
struct Releases {
    after: Option<Version>,
    by: Option<Version>,
    /// The builds were named the other way round.
    are_swapped: bool,
}

impl Releases {
    fn of(report: &Report) -> Releases {
        let (old, new) = (report.old.version, report.new.version);
        let are_swapped = report.is_back_in_time();
        let (after, by) = match are_swapped {
            true => (new, old),
            false => (old, new),
        };
        Releases {
            after,
            by,
            are_swapped,
        }
    }

    fn lines(&self) -> Vec<String> {
        match (self.after, self.by) {
            (Some(after), Some(by)) if after == by => {
                vec![key("by", FILL_IN) + &format!("  # both builds are {by}")]
            }
            // The point release is what sets them apart.
            (Some(after), Some(by)) if (after.major, after.minor) == (by.major, by.minor) => {
                vec![key("after", &after.to_string()), key("by", &by.to_string())]
            }
            (after, by) => vec![version("after", after), version("by", by)],
        }
    }
}

fn version(name: &str, version: Option<Version>) -> String {
    match version {
        Some(v) => format!("{name} = \"{}.{}\"", v.major, v.minor),
        None => key(name, FILL_IN) + "  # a dump does not say its version",
    }
}

fn key(name: &str, value: &str) -> String {
    format!("{name} = {}", quote(value))
}

fn keys<'t>(name: &str, values: impl IntoIterator<Item = &'t String>) -> String {
    let values = joined(values.into_iter().map(|value| quote(value)), ", ");
    format!("{name} = [{values}]")
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
