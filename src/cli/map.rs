//! `migcompat map`: many builds, pair by pair.

use anyhow::anyhow;

use crate::api;
use crate::api::MapConfig;
use crate::cli::args::{Format, MapArgs, MapFormat};
use crate::cli::output::{Form, Outputs};
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

/// Writes a map that was joined to every place, which has the options of any report.
///
/// # Errors
/// It cannot be written, or not in this form.
pub(crate) fn write_merged(found: &Map, outputs: Outputs) -> Result<Exit, Failure> {
    let quiet = outputs.quiet();
    let form = |form| match form {
        Form::Report(Format::Text) => Ok(MapFormat::Text),
        Form::Report(Format::Json) => Ok(MapFormat::Json),
        Form::Report(Format::Html) => Ok(MapFormat::Html),
        Form::Report(_) => Err("a map is written as text, json or html, and has no other form"),
        Form::Suggestions => {
            Err("entries for lists are suggested for two builds: use `sweep --suggest`")
        }
    };
    let places: Result<Vec<_>, _> = outputs
        .into_places()
        .map(|(of, target)| Ok((form(of)?, target)))
        .collect();
    let places = places.map_err(|why: &str| Failure::usage(anyhow!(why)))?;
    for (format, target) in places {
        write(found, target, format, quiet)?;
    }
    Ok(found.verdict.into())
}

fn write(found: &Map, target: Target, format: MapFormat, quiet: bool) -> Result<Exit, Failure> {
    target.write_text(|out| match format {
        MapFormat::Text => map::text(found, quiet, out),
        MapFormat::Json => map::json(found, out),
        MapFormat::Html => map::html(found, out),
    })?;
    Ok(found.verdict.into())
}
