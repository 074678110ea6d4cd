//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{CheckConfig, LiveConfig, LoadConfig, MergeConfig, StaticConfig, SweepConfig};
use crate::cli::args::{
    CheckBuildsArgs, LiveArgs, LoadArgs, MergeArgs, RenderArgs, StaticArgs, SweepArgs,
};
use crate::cli::output::Outputs;
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, map};
use crate::report::read::{Form, form, read};

pub(crate) fn check(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let config = CheckConfig::try_from(args)?;
    let outcome = api::check(&config, &Display::new(args.output.quiet))?;
    outputs.write(&outcome.report)
}

pub(crate) fn live(args: &LiveArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let config = LiveConfig::try_from(args)?;
    let outcome = api::live(&config, &Display::new(args.output.quiet))?;
    outputs.write(&outcome.report)
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let config = SweepConfig::try_from(args)?;
    let outcome = api::sweep(&config, &Display::new(args.output.quiet))?;
    outputs.write(&outcome.report)
}

pub(crate) fn static_(args: &StaticArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let config = StaticConfig::from(args);
    let outcome = api::static_check(&config, &Display::new(args.output.quiet))?;
    outputs.write(&outcome.report)
}

pub(crate) fn load(args: &LoadArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let config = LoadConfig::try_from(args)?;
    let outcome = api::load(&config, &Display::new(args.output.quiet))?;
    outputs.write(&outcome.report)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
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
    let outcome = api::merge(&config)?;
    outputs.write(&outcome.report)
}

pub(crate) fn render(args: &RenderArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::new(&args.output)?;
    let saved = read(&args.report).map_err(Failure::usage)?;
    outputs.write(&saved.report)
}
