//! The user's own guest for people: what became of its lines, and whether it moves.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::model::count;
use crate::report::{
    Advice, GuestAnswer, GuestFile, GuestLine, GuestReason, LegSide, Outcome, Treatment,
};

/// Characters of an option that one line shows.
const SHOWN: usize = 100;

/// Writes the lines that the guest was changed in, or all of them, and the answers.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn write(
    guest: &GuestFile,
    verbose: bool,
    quiet: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let treated = |treatment| guest.count(treatment);
    writeln!(
        out,
        "guest: {} with {}: {} kept, {} replaced, {} left out",
        guest.format,
        count(guest.lines.len(), "part"),
        treated(Treatment::Kept),
        treated(Treatment::Replaced),
        treated(Treatment::LeftOut),
    )?;
    if !quiet {
        for line in guest.lines.iter().filter(|line| verbose || is_told(line)) {
            write_line(line, out)?;
        }
        let untold = guest.lines.iter().filter(|line| !is_told(line)).count();
        if !verbose && untold > 0 {
            writeln!(
                out,
                "  {untold} more that are kept as they are or that no guest sees (-v)"
            )?;
        }
    }
    for answer in &guest.answers {
        write_answer(guest, answer, out)?;
    }
    if guest.other_findings > 0 && !quiet {
        writeln!(
            out,
            "  not counted: {} about devices that the guest does not have",
            count(guest.other_findings, "finding")
        )?;
    }
    writeln!(out)
}

/// Tells whether a line shows without being asked for.
fn is_told(line: &GuestLine) -> bool {
    match line.treatment {
        Treatment::Kept => !line.without.is_empty(),
        Treatment::Replaced => true,
        Treatment::LeftOut => line.reason.is_none_or(|reason| !reason.is_unseen()),
    }
}

fn write_line(line: &GuestLine, out: &mut dyn Write) -> io::Result<()> {
    let colour = match line.treatment {
        Treatment::Kept => Style::new(),
        Treatment::Replaced => AnsiColor::Cyan.on_default(),
        Treatment::LeftOut => AnsiColor::Yellow.on_default(),
    };
    let word = line.treatment;
    writeln!(
        out,
        "  {colour}{word:8}{colour:#}  {:>4}  {}",
        line.line,
        short(&line.given)
    )?;
    if line.treatment == Treatment::Replaced {
        for now in &line.now {
            writeln!(out, "                  now {}", short(now))?;
        }
    }
    if let Some(reason) = line.reason {
        match &line.detail {
            Some(detail) => writeln!(out, "                  {reason}; {detail}")?,
            None => writeln!(out, "                  {reason}")?,
        }
    }
    for gone in &line.without {
        writeln!(
            out,
            "                  without {}: {}",
            gone.name, gone.reason
        )?;
    }
    Ok(())
}

fn write_answer(guest: &GuestFile, answer: &GuestAnswer, out: &mut dyn Write) -> io::Result<()> {
    let (word, colour) = match answer.outcome {
        Outcome::Pass => ("it moves", AnsiColor::Green),
        Outcome::Skip => ("it was not moved", AnsiColor::Yellow),
        Outcome::Broken => (
            "it does not move within one build either",
            AnsiColor::Yellow,
        ),
        Outcome::Fail | Outcome::Crash | Outcome::Hang | Outcome::Lost => {
            ("it does not move", AnsiColor::Red)
        }
    };
    let style = colour.on_default().bold();
    writeln!(out, "  {}: {style}{word}{style:#}", answer.direction)?;
    // It may be for want of them that it did not start, and no answer is about them.
    if matches!(answer.outcome, Outcome::Skip | Outcome::Pass) {
        for line in guest.lines.iter().filter(|line| may_be_wanted(line)) {
            writeln!(
                out,
                "            without line {}: {}",
                line.line,
                short(&line.given)
            )?;
        }
    }
    if answer.board {
        writeln!(
            out,
            "            to blame: the board, since it fails without any device"
        )?;
    }
    for blamed in &answer.blamed {
        let line = guest.of_device(&blamed.device);
        let given = line.map_or("", |line| line.given.as_str());
        writeln!(
            out,
            "            to blame: line {}: {}",
            blamed.line,
            short(given)
        )?;
    }
    for advice in &answer.advice {
        let when = match advice.side {
            LegSide::Destination => "for guests that run already",
            LegSide::Source => "for guests that are started anew",
        };
        let Advice {
            build,
            side,
            option,
        } = advice;
        writeln!(
            out,
            "            until it is mended, {when}: {option} on {build} ({side})"
        )?;
    }
    Ok(())
}

/// Tells whether a guest may lack a device for a line that is left out.
fn may_be_wanted(line: &GuestLine) -> bool {
    let is_left_out = line.treatment == Treatment::LeftOut;
    is_left_out && line.reason.is_some_and(GuestReason::may_be_a_device)
}

/// Returns the beginning of a long text.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
