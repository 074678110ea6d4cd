//! `migcompat bisect`: the first build with which a case breaks, or is mended.

use crate::api;
use crate::cli::args::BisectArgs;
use crate::cli::events::EventLog;
use crate::cli::interruption::Interruptible;
use crate::cli::output::{Answer, Outputs};
use crate::cli::progress::Display;
use crate::cli::{Exit, Failure, config};

pub(crate) fn run(args: &BisectArgs) -> Result<Exit, Failure> {
    let outputs = Outputs::of_search(args)?;
    let config = config::bisect(args)?;
    let events = EventLog::new(args.events.as_deref(), outputs.have_stdout())?;
    let display = Display::new(args.quiet);
    let run = Interruptible::begin(outputs, events);
    let found = api::bisect(&config, &run.watcher(&display)).map_err(Failure::from);
    drop(display);
    // The text has the answer; a line about it would say no more.
    run.end_with(found, |found, outputs| {
        outputs.write_all(&found)?;
        Ok((Exit::from(found.verdict()), None))
    })
}
