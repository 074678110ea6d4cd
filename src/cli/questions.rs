//! The commands that ask the library whether guests migrate: arguments in, report out.

use crate::api;
use crate::api::{CheckConfig, LiveConfig, LoadConfig, MergeConfig, StaticConfig, SweepConfig};
use crate::cli::args::{CheckBuildsArgs, LiveArgs, LoadArgs, MergeArgs, StaticArgs, SweepArgs};
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure, output};

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
    let outcome = api::merge(&MergeConfig::from(args))?;
    output::write_report(&outcome.report, target, &args.output)
}
