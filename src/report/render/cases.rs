//! Migrations for people: a table of all, then what is known of each that did not pass.

use std::fmt::Display;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::report::render::groups;
use crate::report::{Case, Change, FailsAlone, Outcome, Split, StateDiff};

const BOLD: Style = Style::new().bold();
/// Lost fields that are listed of a case; the JSON report has more.
const FIELDS: usize = 12;

/// The table and the failures; nothing where there was no migration. With `quiet`, failures alone.
///
/// # Errors
/// `out` cannot be written.
pub(super) fn write(cases: &[&Case], quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    if !quiet && !cases.is_empty() {
        table(cases, out)?;
        not_compared(cases, out)?;
    }
    for group in groups::causes(cases.iter().copied()) {
        if let Some((first, others)) = group.split_first() {
            failure(first, None, others, out)?;
        }
    }
    for case in cases.iter().filter(|case| case.outcome == Outcome::Skip) {
        failure(case, None, &[], out)?;
    }
    Ok(())
}

fn table(cases: &[&Case], out: &mut dyn Write) -> io::Result<()> {
    let width = cases.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let width = width.max("case".len());
    let held = cases.iter().any(|case| case.baseline.is_some());
    writeln!(
        out,
        "{BOLD}outcome  {:width$}  legs  total ms  downtime ms  devices{}{BOLD:#}",
        "case",
        if held { "  baseline" } else { "" }
    )?;
    for case in cases {
        let most = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let style = colour(case.outcome).on_default().bold();
        writeln!(
            out,
            "{style}{:7}{style:#}  {:width$}  {:4}  {:>8}  {:>11}  {:7}{}",
            case.outcome,
            case.id,
            case.legs.len(),
            most(case.slowest(|leg| leg.total_ms)),
            most(case.slowest(|leg| leg.downtime_ms)),
            case.devices.len(),
            case.baseline
                .map_or_else(String::new, |status| format!("  {status}")),
        )?;
    }
    writeln!(out)?;
    repeated(cases, out)?;
    explain(cases.iter().copied(), out)
}

/// Says how often those passed that were run again; of the others, it stands with the failure.
fn repeated(cases: &[&Case], out: &mut dyn Write) -> io::Result<()> {
    let passed = cases.iter().filter(|case| case.outcome == Outcome::Pass);
    let mut any = false;
    for (case, rate) in passed.filter_map(|case| Some((case, case.repeated?))) {
        any = true;
        let passed = rate.of.saturating_sub(rate.failed);
        writeln!(
            out,
            "{BOLD}repeated{BOLD:#}: {} passed {passed} of {}",
            case.id, rate.of
        )?;
    }
    if any {
        writeln!(out)?;
    }
    Ok(())
}

/// Explains the outcomes that need it, where they first appear.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn explain<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let explained = groups::explained(cases);
    for (outcome, meaning) in &explained {
        writeln!(out, "{BOLD}{outcome}{BOLD:#}: {meaning}")?;
    }
    if !explained.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

fn not_compared(cases: &[&Case], out: &mut dyn Write) -> io::Result<()> {
    let reasons = groups::unchecked(cases.iter().copied());
    for (reason, ids) in &reasons {
        writeln!(
            out,
            "{BOLD}device state not compared{BOLD:#}: {reason}: {}",
            ids.join(", ")
        )?;
    }
    if !reasons.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

/// Describes the change of a value.
pub(crate) fn became(diff: &StateDiff) -> String {
    if diff.change == Change::Filled {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        let (held, fresh) = (value(&diff.held), value(&diff.fresh));
        return format!("holds {held} from padding, {fresh} on a machine that never ran");
    }
    match (&diff.landed_in, &diff.held) {
        (Some(field), _) => format!("went into {field}"),
        (None, Some(value)) => format!("holds {value}"),
        (None, None) => "is gone".to_owned(),
    }
}

/// Every field that did not arrive; the cause names the first.
fn lost(diffs: &[StateDiff], out: &mut dyn Write) -> io::Result<()> {
    for diff in diffs.iter().take(FIELDS) {
        let sent = match diff.change {
            Change::Filled => "not sent".to_owned(),
            _ => format!("sent as {}", diff.sent),
        };
        writeln!(
            out,
            "  lost       {} {}: {sent}, {}",
            diff.section,
            diff.field,
            became(diff)
        )?;
    }
    if let Some(more) = diffs.len().checked_sub(FIELDS).filter(|&n| n > 0) {
        writeln!(out, "  lost       and {more} more fields")?;
    }
    Ok(())
}

/// Writes all that is known of a failure, under its number if there are many, and the others with its cause.
///
/// # Errors
/// `out` cannot be written.
pub(crate) fn failure(
    case: &Case,
    number: Option<usize>,
    others: &[&Case],
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = colour(case.outcome).on_default().bold();
    if let Some(number) = number {
        write!(out, "[{number}] ")?;
    }
    write!(out, "{style}{}{style:#}: {}", case.outcome, case.id)?;
    if case.legs.len() > 1 {
        write!(out, ", leg {}", case.legs.len())?;
    }
    writeln!(out)?;
    if let Some(cause) = &case.cause {
        fact("cause", Some(&cause.message), out)?;
        let instance = cause.instance.map(|n| format!(" instance {n}"));
        let field = cause.field.as_ref().map(|f| format!(" field {f}"));
        let (instance, field) = (instance.unwrap_or_default(), field.unwrap_or_default());
        let section = cause.section.as_ref();
        let section = section.map(|section| format!("{section}{instance}{field}"));
        fact("section", section, out)?;
        if let (Some(sent), Some(expected)) = (&cause.sent, &cause.expected) {
            let at = cause.offset.map(|at| format!(" at byte {at}"));
            fact(
                "sent",
                Some(format!("{sent}{}", at.unwrap_or_default())),
                out,
            )?;
            fact("expected", Some(expected), out)?;
        }
        fact("rule", cause.rule, out)?;
    }
    // One alone is in the cause.
    if case.state_diff.len() > 1 {
        lost(&case.state_diff, out)?;
    }
    let control = case.control.as_ref().map(|control| {
        let whose = alone(case).map_or_else(String::new, |whose| format!("; {whose}"));
        let (old, new) = (control.old_to_old, control.new_to_new);
        format!("old to old: {old}, new to new: {new}{whose}")
    });
    fact("control", control, out)?;
    let repeated = case.repeated;
    let failed = repeated.map(|repeated| format!("{} of {}", repeated.failed, repeated.of));
    fact("failed", failed, out)?;
    for without in &case.without_capability {
        fact("capability", Some(without), out)?;
    }
    fact("way around", case.passes_with.as_ref(), out)?;
    fact("allowed", case.allowed_by.as_ref(), out)?;
    let status = case.baseline;
    let status = status.map(|status| format!("{status}: {}", status.explanation()));
    fact("baseline", status, out)?;
    fact("history", case.memory.as_ref(), out)?;
    fact("tier", case.tier.as_ref(), out)?;
    if let Some(split) = &case.split {
        blame(split, out)?;
    }
    let names: Vec<&str> = others.iter().map(|case| case.id.as_str()).collect();
    let names = Some(names.join(", ")).filter(|names| !names.is_empty());
    fact("same in", names, out)?;
    for (side, text) in [
        ("source", &case.source_stderr),
        ("destination", &case.destination_stderr),
    ] {
        if !text.is_empty() {
            writeln!(out, "  {side} printed:")?;
            for line in text.lines() {
                writeln!(out, "    {line}")?;
            }
        }
    }
    // The fewer devices, the shorter the way to the culprit.
    let all = std::iter::once(case).chain(others.iter().copied());
    let least = all.min_by_key(|case| case.devices.len()).unwrap_or(case);
    fact("logs", least.logs.as_ref(), out)?;
    fact("by hand", least.by_hand(), out)?;
    writeln!(out)
}

/// Writes a line about a failure, if it is known.
pub(super) fn fact(
    label: &str,
    value: Option<impl Display>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match value {
        Some(value) => writeln!(out, "  {label:10} {value}"),
        None => Ok(()),
    }
}

/// Says which build or builds fail by themselves, where a case is `broken`.
pub(crate) fn alone(case: &Case) -> Option<&'static str> {
    Some(match case.fails_alone()? {
        FailsAlone::Both => "neither build migrates it to itself",
        FailsAlone::Old => "the old build does not migrate it to itself",
        FailsAlone::New => "the new build does not migrate it to itself",
    })
}

/// Returns devices of a failed set that are not to blame, or not known to be.
pub(super) fn apart(split: &Split) -> [(&'static str, &[String]); 4] {
    [
        ("passing", &split.passed),
        ("alike", &split.alike),
        ("untested", &split.hidden),
        ("undecided", &split.undecided),
    ]
}

fn blame(split: &Split, out: &mut dyn Write) -> io::Result<()> {
    if split.without_any {
        let why = "no device: it fails without any of them";
        fact("to blame", Some(why), out)?;
    }
    for group in &split.culprits {
        let together = if group.len() > 1 { ", together" } else { "" };
        let group = format!("{}{together}", group.join(" and "));
        fact("to blame", Some(group), out)?;
    }
    for (word, devices) in apart(split) {
        let is_told = !devices.is_empty() && !split.without_any;
        fact(word, is_told.then(|| devices.join(", ")), out)?;
    }
    Ok(())
}

pub(crate) fn colour(outcome: Outcome) -> AnsiColor {
    match outcome {
        Outcome::Pass => AnsiColor::Green,
        Outcome::Skip | Outcome::Broken => AnsiColor::Yellow,
        Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost => AnsiColor::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;
    use crate::report::{Cause, testing};

    fn text(cases: &[&Case], quiet: bool) -> String {
        testing::plain(|out| write(cases, quiet, out))
    }

    fn lost(state_diff: Vec<StateDiff>) -> String {
        let case = Case {
            outcome: Outcome::Lost,
            state_diff,
            ..Case::default()
        };
        text(&[&case], false)
    }

    fn diff(field: &str, held: Option<&str>, landed_in: Option<&str>) -> StateDiff {
        StateDiff {
            sent: "0x1".to_owned(),
            held: held.map(str::to_owned),
            landed_in: landed_in.map(str::to_owned),
            ..testing::diff(field)
        }
    }

    #[test]
    fn every_lost_field_is_listed() {
        let some = lost(vec![
            diff("a", Some("0x2"), None),
            diff("b", Some("0x1"), Some("c")),
            diff("d", None, None),
        ]);
        for line in [
            "  lost       dev a: sent as 0x1, holds 0x2\n",
            "  lost       dev b: sent as 0x1, went into c\n",
            "  lost       dev d: sent as 0x1, is gone\n",
        ] {
            assert!(some.contains(line), "{some}");
        }
        let filled = StateDiff {
            change: Change::Filled,
            fresh: Some("0x5".to_owned()),
            ..diff("e", Some("0x0"), None)
        };
        let filled = lost(vec![filled.clone(), filled]);
        let line = "  lost       dev e: not sent, holds 0x0 from padding, 0x5 on a machine that never ran\n";
        assert!(filled.contains(line), "{filled}");
        let many = lost(vec![diff("a", None, None); FIELDS + 2]);
        assert!(many.contains("  lost       and 2 more fields\n"), "{many}");
    }

    #[test]
    fn cases_of_one_cause_are_one_block() {
        let failed = |device: &str, field: &str, devices: usize| -> Case {
            let id = format!("q35/{device}/unix/forward");
            Case {
                outcome: Outcome::Fail,
                devices: vec![device.to_owned(); devices],
                cause: Some(Cause {
                    section: Some("0000:00:01.0/pciespscsi".into()),
                    field: Some(field.to_owned()),
                    message: format!("{device} is refused"),
                    ..Cause::default()
                }),
                reproduce: Some(format!("by hand {device}")),
                ..Case::untried(id, "q35", device, "unix", Direction::Forward)
            }
        };
        let cases = [
            failed("default", "esp/drq_state", 13),
            failed("other", "esp/lun", 1),
            failed("am53c974", "esp/drq_state", 1),
        ];
        let text = text(&cases.each_ref(), true);
        assert_eq!(text.matches("fail: ").count(), 2, "{text}");
        assert!(
            text.contains("same in    q35/am53c974/unix/forward\n"),
            "{text}"
        );
        // The shortest way to see it.
        assert!(text.contains("by hand    by hand am53c974\n"), "{text}");
    }

    #[test]
    fn a_pass_without_the_state_says_so() {
        let line = "device state not compared: it went another way: q35/bare\n";
        let mut case = Case {
            id: "q35/bare".to_owned(),
            outcome: Outcome::Pass,
            ..Case::default()
        };
        assert!(!text(&[&case], false).contains("not compared"));
        case.state_unchecked = Some("it went another way".to_owned());
        assert!(text(&[&case], false).contains(line));
    }
}
