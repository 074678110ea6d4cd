//! `migcompat bisect`: the first build with which a case breaks, or is mended.

use crate::api;
use crate::api::BisectConfig;
use crate::cli::args::{BisectArgs, DataFormat};
use crate::cli::events::EventLog;
use crate::cli::interruption::Interruptible;
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::report::bisection::Conclusion;
use crate::report::render::bisection;

pub(crate) fn run(args: &BisectArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.as_deref())?;
    let config = BisectConfig::try_from(args)?;
    let events = EventLog::new(args.events.as_deref(), target.is_stdout())?;
    let display = Display::new(args.quiet);
    let run = Interruptible::begin(None, events);
    let found = api::bisect(&config, &run.watcher(&display)).map_err(Failure::from);
    drop(display);
    run.end_with(found, |found, _| {
        target.write_text(|out| match args.format {
            DataFormat::Text => bisection::text(&found, args.quiet, out),
            DataFormat::Json => bisection::json(&found, out),
        })?;
        let exit = match found.conclusion {
            Conclusion::Unchanged { .. } => Exit::Incompatible,
            conclusion if conclusion.is_exact() => Exit::Compatible,
            _ => Exit::Untested,
        };
        Ok((exit, None))
    })
}
