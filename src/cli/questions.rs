//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{CheckConfig, LiveConfig, LoadConfig, MergeConfig, StaticConfig, SweepConfig};
use crate::cli::args::{CheckBuildsArgs, LiveArgs, LoadArgs, MergeArgs, StaticArgs, SweepArgs};
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, map, output};
use crate::report::read::{Form, form};

pub(crate) fn check(args: &CheckBuildsArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = CheckConfig::try_from(args)?;
    let outcome = api::check(&config, &Display::new(args.output.quiet))?;
    output::write_report(&outcome.report, target, &args.output)
}

pub(crate) fn live(args: &LiveArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = LiveConfig::try_from(args)?;
    let outcome = api::live(&config, &Display::new(args.output.quiet))?;
    output::write_report(&outcome.report, target, &args.output)
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = SweepConfig::try_from(args)?;
    let outcome = api::sweep(&config, &Display::new(args.output.quiet))?;
    output::write_report(&outcome.report, target, &args.output)
}

pub(crate) fn static_(args: &StaticArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = StaticConfig::from(args);
    let outcome = api::static_check(&config, &Display::new(args.output.quiet))?;
    output::write_report(&outcome.report, target, &args.output)
}

pub(crate) fn load(args: &LoadArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = LoadConfig::try_from(args)?;
    let outcome = api::load(&config, &Display::new(args.output.quiet))?;
    output::write_report(&outcome.report, target, &args.output)
}

pub(crate) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.output.as_deref())?;
    let config = MergeConfig::from(args);
    let first = args.reports.first();
    if let Some(Form::Map) = first
        .map(|file| form(file))
        .transpose()
        .map_err(api::Error::from)?
    {
        let map = api::merge_maps(&config)?;
        return map::write_merged(&map, target, &args.output);
    }
    let outcome = api::merge(&config)?;
    output::write_report(&outcome.report, target, &args.output)
}
