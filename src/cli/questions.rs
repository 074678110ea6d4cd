//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api::{self, Outcome, Progress};
use crate::cli::args::{MapArgs, MergeArgs, OutputArgs, RenderArgs};
use crate::cli::events::EventLog;
use crate::cli::interruption::Interruptible;
use crate::cli::output::{Answer, Outputs};
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, config};
use crate::report::read::{Saved, read_saved};

/// Asks a question of the library, as it is configured once the outputs are known to be in order.
pub(crate) fn ask<C>(
    output: &OutputArgs,
    config: impl FnOnce() -> Result<C, Failure>,
    question: impl FnOnce(&C, &dyn Progress) -> Result<Outcome, api::Error>,
) -> Result<Exit, Failure> {
    report_to(Outputs::new(output)?, output, |progress| {
        Ok(Box::new(question(&config()?, progress)?.report))
    })
}

pub(crate) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
    // Before anything is read, which may never come.
    let outputs = Outputs::new(&args.output)?;
    let config = config::merge(args);
    report_to(outputs, &args.output, |_| {
        Ok(api::merge_saved(&config)?.into())
    })
}

pub(crate) fn render(args: &RenderArgs) -> Result<Exit, Failure> {
    report_to(Outputs::new(&args.output)?, &args.output, |_| {
        Ok(read_saved(&args.report).map_err(Failure::usage)?.into())
    })
}

impl From<Saved> for Box<dyn Answer> {
    fn from(saved: Saved) -> Box<dyn Answer> {
        match saved {
            Saved::Map(map) => Box::new(map),
            Saved::Report(report) => report,
        }
    }
}

pub(crate) fn map(args: &MapArgs) -> Result<Exit, Failure> {
    report_to(Outputs::new(&args.output)?, &args.output, |progress| {
        Ok(Box::new(api::map(&config::map(args)?, progress)?))
    })
}

/// Makes an answer and writes it to all places that were checked before; a signal has what is known by then written
/// there.
pub(super) fn report_to(
    outputs: Outputs,
    output: &OutputArgs,
    make: impl FnOnce(&dyn Progress) -> Result<Box<dyn Answer>, Failure>,
) -> Result<Exit, Failure> {
    let events = EventLog::new(output.events.as_deref(), outputs.have_stdout())?;
    let display = Display::new(output.quiet);
    let run = Interruptible::begin(outputs, events);
    let made = make(&run.watcher(&display));
    drop(display);
    run.end(made)
}
