//! `migcompat map`: many builds, pair by pair.

use anyhow::anyhow;

use crate::api;
use crate::api::MapConfig;
use crate::cli::args::{Format, MapArgs, MapFormat, OutputArgs};
use crate::cli::progress::Display;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::report::map::Map;
use crate::report::render::map;

pub(crate) fn run(args: &MapArgs) -> Result<Exit, Failure> {
    let target = Target::new(args.output.as_deref())?;
    let found = api::map(&MapConfig::from(args), &Display::new(args.quiet))?;
    write(&found, target, args.format, args.quiet)
}

/// Writes a map that was joined; `args` are those of any report.
///
/// # Errors
/// It cannot be written, or not in this form.
pub(crate) fn write_merged(
    found: &Map,
    target: Target,
    args: &OutputArgs,
) -> Result<Exit, Failure> {
    let format = match args.format {
        _ if args.suggest => {
            Err("entries for lists are suggested for two builds: use `sweep --suggest`")
        }
        Format::Text => Ok(MapFormat::Text),
        Format::Json => Ok(MapFormat::Json),
        Format::Html => Ok(MapFormat::Html),
        Format::Junit => Err("a map has no JUnit form; use --format text, json or html"),
    };
    let format = format.map_err(|why| Failure::usage(anyhow!(why)))?;
    write(found, target, format, args.quiet)
}

fn write(found: &Map, target: Target, format: MapFormat, quiet: bool) -> Result<Exit, Failure> {
    target.write_text(|out| match format {
        MapFormat::Text => map::text(found, quiet, out),
        MapFormat::Json => map::json(found, out),
        MapFormat::Html => map::html(found, out),
    })?;
    Ok(found.verdict.into())
}
