//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{
    CheckConfig, LiveConfig, LoadConfig, MergeConfig, Outcome, Progress, StaticConfig, SweepConfig,
};
use crate::cli::args::{
    CheckBuildsArgs, LiveArgs, LoadArgs, MergeArgs, OutputArgs, RenderArgs, StaticArgs, SweepArgs,
};
use crate::cli::events::EventLog;
use crate::cli::interruption::{Interruptible, Known};
use crate::cli::output::Outputs;
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, in_tree, map};
use crate::report::Report;
use crate::report::read::{Form, form, read};

pub(crate) fn check(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    if in_tree::is_meant(args) {
        return in_tree::check(args);
    }
    answer(&args.output, |progress| {
        let config = CheckConfig::try_from(args)?;
        Ok(api::check(&config, progress)?)
    })
}

pub(crate) fn live(args: &LiveArgs) -> Result<Exit, Failure> {
    answer(&args.output, |progress| {
        let config = LiveConfig::try_from(args)?;
        Ok(api::live(&config, progress)?)
    })
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<Exit, Failure> {
    answer(&args.output, |progress| {
        let config = SweepConfig::try_from(args)?;
        Ok(api::sweep(&config, progress)?)
    })
}

pub(crate) fn static_(args: &StaticArgs) -> Result<Exit, Failure> {
    answer(&args.output, |progress| {
        let config = StaticConfig::try_from(args)?;
        Ok(api::static_check(&config, progress)?)
    })
}

pub(crate) fn load(args: &LoadArgs) -> Result<Exit, Failure> {
    answer(&args.output, |progress| {
        let config = LoadConfig::try_from(args)?;
        Ok(api::load(&config, progress)?)
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
        let map = api::merge_maps(&config)?;
        return map::write_merged(&map, outputs);
    }
    let merged = || Ok::<_, Failure>(api::merge(&config)?.report);
    report_to(outputs, &args.output, |_| merged())
}

pub(crate) fn render(args: &RenderArgs) -> Result<Exit, Failure> {
    let saved = || read(&args.report).map_err(Failure::usage);
    report(&args.output, |_| Ok(saved()?.report))
}

fn answer(
    output: &OutputArgs,
    ask: impl FnOnce(&dyn Progress) -> Result<Outcome, Failure>,
) -> Result<Exit, Failure> {
    report(output, |progress| Ok(ask(progress)?.report))
}

/// Makes a report and writes it to all places that were checked before; a signal has what is known by then written
/// there.
fn report(
    output: &OutputArgs,
    make: impl FnOnce(&dyn Progress) -> Result<Report, Failure>,
) -> Result<Exit, Failure> {
    report_to(Outputs::new(output)?, output, make)
}

/// The same, with places that are checked already.
pub(super) fn report_to(
    outputs: Outputs,
    output: &OutputArgs,
    make: impl FnOnce(&dyn Progress) -> Result<Report, Failure>,
) -> Result<Exit, Failure> {
    let events = EventLog::new(output.events.as_deref(), &outputs)?;
    let display = Display::new(output.quiet);
    let known = Known::default();
    let run = Interruptible::begin(outputs, known, events);
    let made = make(&run.watcher(&display));
    drop(display);
    run.end(made)
}
