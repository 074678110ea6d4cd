//! A search for the first build that breaks or mends a case, for people and for programs.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::report::bisection::{Bisection, Candidate, Conclusion, Judgement, Step};
use crate::report::render::cases::fact;
use crate::report::render::json::write_value;

/// The JSON Schema of what [`json()`] writes.
pub const SCHEMA: &str = include_str!("../../../bisection-schema.json");

const BOLD: Style = Style::new().bold();

/// Writes the report for programs.
///
/// # Errors
/// The output cannot be written.
pub fn json(found: &Bisection, out: &mut dyn Write) -> io::Result<()> {
    write_value(found, out)
}

/// Writes the log of the decisions, and the answer.
///
/// # Errors
/// The output cannot be written.
pub fn text(found: &Bisection, quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    if !quiet {
        for (number, step) in found.steps.iter().enumerate() {
            decision(found, number + 1, step, out)?;
        }
        writeln!(out)?;
    }
    conclusion(found, out)
}

fn decision(found: &Bisection, number: usize, step: &Step, out: &mut dyn Write) -> io::Result<()> {
    let colour = match step.judgement {
        Judgement::Passes => AnsiColor::Green,
        Judgement::Fails => AnsiColor::Red,
        Judgement::Untested => AnsiColor::Yellow,
    };
    let style = colour.on_default().bold();
    write!(
        out,
        "{number:2}  {:7}  {style}{:8}{style:#}  {}",
        step.place,
        step.judgement,
        name(found, step.build)
    )?;
    if step.tries > 1 {
        write!(out, ", {} of {} tries failed", step.failed, step.tries)?;
    }
    if let Some(needed) = step.passes_needed {
        write!(
            out,
            ", flaky by the history: {needed} passes in a row make it believable that it passes"
        )?;
    }
    match (&step.untested, &step.cause, step.outcome) {
        (Some(why), _, _) => write!(out, ": {}", first_line(why))?,
        (None, Some(cause), Some(outcome)) => {
            write!(out, ": {outcome}: {}", first_line(&cause.message))?;
        }
        _ => {}
    }
    writeln!(out)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Returns a build as it is listed, with its version where it was asked.
fn name(found: &Bisection, at: usize) -> String {
    let label = found.builds.get(at).map(Candidate::to_string);
    let label = label.unwrap_or_default();
    match found.step(at).and_then(|step| step.version) {
        Some(version) => format!("{label} ({version})"),
        None => label,
    }
}

fn conclusion(found: &Bisection, out: &mut dyn Write) -> io::Result<()> {
    let case = &found.case;
    let machine = found.machine.as_deref().unwrap_or("no machine");
    write!(out, "{BOLD}{case}{BOLD:#}, {machine}, from {}: ", found.old)?;
    match found.conclusion {
        Conclusion::Broke { before, first } => {
            changed(found, ("breaks", "passes"), before, first, out)?;
        }
        Conclusion::Mended { before, first } => {
            changed(found, ("is mended", "fails"), before, first, out)?;
        }
        Conclusion::Unchanged { judgement } => {
            writeln!(
                out,
                "it {judgement} at both ends, so that there is nothing to find"
            )?;
        }
        Conclusion::Unfinished { before, first } => writeln!(
            out,
            "the search did not end; if it changes, it is behind {} and with {} at the latest",
            name(found, before),
            name(found, first)
        )?,
        Conclusion::Untested { build } => {
            writeln!(
                out,
                "{} is an end and could not be tested, so that nothing can be found",
                name(found, build)
            )?;
        }
    }
    if let Some(signal) = &found.interrupted {
        writeln!(out, "the search was interrupted by {signal}")?;
    }
    let tried = found.steps.len();
    writeln!(out, "{tried} of {} builds tried", found.builds.len())
}

/// Says between which builds it changed.
fn changed(
    found: &Bisection,
    (word, like): (&str, &str),
    before: usize,
    first: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    if !found.conclusion.is_exact() {
        writeln!(
            out,
            "it {word} with one of these, of which the others could not be tested:"
        )?;
        for at in before + 1..=first {
            writeln!(out, "  {}", name(found, at))?;
        }
        writeln!(
            out,
            "the last build that {like} before them is {}",
            name(found, before)
        )?;
    } else {
        writeln!(
            out,
            "it {word} with {BOLD}{}{BOLD:#}; the last build that {like} is {}",
            name(found, first),
            name(found, before)
        )?;
    }
    let failing = [first, before].into_iter().filter_map(|at| found.step(at));
    let cause = failing.filter_map(|step| step.cause.as_ref()).next();
    let Some(cause) = cause else {
        return Ok(());
    };
    let message = cause.message.replace('\n', "\n             ");
    fact("cause", Some(message), out)?;
    let place = [cause.vmsd_name(), cause.field.as_deref()];
    let place: Vec<&str> = place.into_iter().flatten().collect();
    let place = Some(place.join(" ")).filter(|place| !place.is_empty());
    fact("place", place, out)?;
    fact("rule", cause.rule, out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::testing;

    fn printed(conclusion: Value) -> String {
        let builds: Vec<Value> = (0..5)
            .map(|at| json!({"label": format!("r{at}"), "subject": null}))
            .collect();
        let found = json!({
            "schema": "migcompat-bisection-1",
            "tool": {"name": "migcompat", "version": "1"},
            "case": "q35/e1000/unix/forward",
            "machine": "pc-q35-7.2",
            "old": "v7.2",
            "builds": builds,
            "steps": [],
            "conclusion": conclusion,
            "interrupted": null,
        });
        let found: Bisection = serde_json::from_value(found).unwrap();
        testing::plain(|out| text(&found, true, out))
    }

    #[test]
    fn every_answer_says_what_is_known() {
        let begin = "q35/e1000/unix/forward, pc-q35-7.2, from v7.2: ";
        for (conclusion, answer) in [
            (
                json!({"kind": "broke", "before": 1, "first": 2}),
                "it breaks with r2; the last build that passes is r1",
            ),
            (
                json!({"kind": "mended", "before": 1, "first": 2}),
                "it is mended with r2; the last build that fails is r1",
            ),
            (
                json!({"kind": "mended", "before": 1, "first": 3}),
                "it is mended with one of these, of which the others could not be tested:\n  r2\n  r3\n\
                 the last build that fails before them is r1",
            ),
            (
                json!({"kind": "unchanged", "judgement": "fails"}),
                "it fails at both ends, so that there is nothing to find",
            ),
            (
                json!({"kind": "untested", "build": 4}),
                "r4 is an end and could not be tested, so that nothing can be found",
            ),
            (
                json!({"kind": "unfinished", "before": 0, "first": 3}),
                "the search did not end; if it changes, it is behind r0 and with r3 at the latest",
            ),
        ] {
            let expected = format!("{begin}{answer}\n0 of 5 builds tried\n");
            assert_eq!(printed(conclusion), expected);
        }
    }
}
