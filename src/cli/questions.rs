//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{MapConfig, MergeConfig, Outcome, Progress};
use crate::cli::args::{MapArgs, MergeArgs, OutputArgs, RenderArgs};
use crate::cli::events::EventLog;
use crate::cli::interruption::Interruptible;
use crate::cli::output::{Answer, Outputs};
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure};
use crate::report::read::{Form, form, read_saved};

/// Asks a question of the library as the arguments configure it.
pub(crate) fn ask<'a, A, C: TryFrom<&'a A, Error = Failure>>(
    args: &'a A,
    output: &OutputArgs,
    question: impl FnOnce(&C, &dyn Progress) -> Result<Outcome, api::Error>,
) -> Result<Exit, Failure> {
    report_to(Outputs::new(output)?, output, |progress| {
        Ok(question(&C::try_from(args)?, progress)?.report)
    })
}

pub(crate) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
    // Before anything is read, which may never come.
    let outputs = Outputs::new(&args.output)?;
    let config = MergeConfig::from(args);
    let first = args.reports.first();
    if let Some(Form::Map) = first
        .map(|file| form(file))
        .transpose()
        .map_err(api::Error::from)?
    {
        return report_to(outputs, &args.output, |_| Ok(api::merge_maps(&config)?));
    }
    let merged = || Ok::<_, Failure>(api::merge(&config)?.report);
    report_to(outputs, &args.output, |_| merged())
}

pub(crate) fn render(args: &RenderArgs) -> Result<Exit, Failure> {
    let saved = || read_saved(&args.report).map_err(Failure::usage);
    report_to(Outputs::new(&args.output)?, &args.output, |_| saved())
}

pub(crate) fn map(args: &MapArgs) -> Result<Exit, Failure> {
    report_to(Outputs::new(&args.output)?, &args.output, |progress| {
        let config = MapConfig::try_from(args)?;
        Ok(api::map(&config, progress)?)
    })
}

/// Makes an answer and writes it to all places that were checked before; a signal has what is known by then written
/// there.
pub(super) fn report_to<A: Answer>(
    outputs: Outputs,
    output: &OutputArgs,
    make: impl FnOnce(&dyn Progress) -> Result<A, Failure>,
) -> Result<Exit, Failure> {
    let events = EventLog::new(output.events.as_deref(), outputs.have_stdout())?;
    let display = Display::new(output.quiet);
    let run = Interruptible::begin(outputs, events);
    let made = make(&run.watcher(&display));
    drop(display);
    run.end(made)
}
