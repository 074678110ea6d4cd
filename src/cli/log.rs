//! The debug log: `--log FILE`, and `MIGCOMPAT_LOG` for what goes into it.
//!
//! Modules write events wherever something is started, asked or answered; without a log nothing
//! listens to them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::cli::Failure;

/// The filter: `trace`, or levels by module as in `info,migcompat::qemu=trace`.
const FILTER: &str = "MIGCOMPAT_LOG";

/// Starts the log, if one is asked for: into the file, or, where only the filter is set, to standard
/// error.
///
/// # Errors
/// The file cannot be made, or the filter cannot be read.
pub(crate) fn start(file: Option<&Path>) -> Result<(), Failure> {
    let filter = match std::env::var_os(FILTER).filter(|filter| !filter.is_empty()) {
        Some(filter) => filter
            .to_string_lossy()
            .parse::<Targets>()
            .with_context(|| format!("cannot use {FILTER}={}", filter.display()))?,
        None if file.is_none() => return Ok(()),
        None => Targets::new().with_target("migcompat", Level::DEBUG),
    };
    match file {
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("cannot write the log {}", path.display()))?;
            listen(filter, Arc::new(file))
        }
        None => listen(filter, io::stderr),
    }
    .context("cannot start the log")?;
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?args, "started");
    Ok(())
}

fn listen<W>(filter: Targets, writer: W) -> Result<(), tracing::subscriber::SetGlobalDefaultError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line is one write, so that a run that is killed leaves every line.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    let log = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::set_global_default(log)
}
