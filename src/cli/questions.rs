//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{
    CheckConfig, LiveConfig, LoadConfig, MapConfig, MergeConfig, Outcome, Progress, StaticConfig,
    SweepConfig,
};
use crate::cli::args::{
    CheckBuildsArgs, LiveArgs, LoadArgs, MapArgs, MergeArgs, OutputArgs, RenderArgs, StaticArgs,
    SweepArgs,
};
use crate::cli::events::EventLog;
use crate::cli::interruption::Interruptible;
use crate::cli::output::{Answer, Outputs};
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, in_tree};
use crate::report::read::{Form, form, read_saved};

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

fn answer(
    output: &OutputArgs,
    ask: impl FnOnce(&dyn Progress) -> Result<Outcome, Failure>,
) -> Result<Exit, Failure> {
    let outputs = Outputs::new(output)?;
    report_to(outputs, output, |progress| Ok(ask(progress)?.report))
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
