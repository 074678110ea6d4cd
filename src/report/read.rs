//! Reading reports.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compression::{UnpackError, unpacked};
use crate::model::visible_lines;
use crate::report::map::{MAP_SCHEMA, Map};
use crate::report::{REPORT_SCHEMA, Report};

/// A report that unpacks to more than this is refused. Real ones have some megabytes.
const MAX_BYTES: u64 = 1 << 30;

/// A report, and the file that it is from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub origin: String,
    pub report: Report,
}

/// A file that is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read the report {}: {source}", file.display())]
    Io {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{} has more than {MAX_BYTES} bytes, more than any report", file.display())]
    TooLarge { file: PathBuf },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("{origin} is not a report: {reason}; `--format json` writes one")]
    NoReport { origin: String, reason: String },
    #[error("{origin} is a report of the form {schema:?}; this migcompat reads {wanted:?}")]
    OtherSchema {
        origin: String,
        schema: String,
        wanted: &'static str,
    },
    #[error(
        "{origin} is of a run that was interrupted by {signal}, which judged nothing and left out what came later; run it again"
    )]
    Interrupted { origin: String, signal: String },
}

fn names_map(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    serde_json::from_slice::<Head>(text).is_ok_and(|head| head.schema == MAP_SCHEMA)
}

/// The contents of a file.
#[derive(Debug)]
pub(crate) enum Saved {
    Map(Map),
    Report(Box<Report>),
}

/// Reads a map or a report in JSON, plain, gzip or zstd; the file is read once, and may be a pipe.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn read_saved(file: &Path) -> Result<Saved, ReadError> {
    let (text, origin) = text(file)?;
    Ok(match names_map(&text) {
        true => Saved::Map(parse(&text, &origin, MAP_SCHEMA)?),
        false => Saved::Report(Box::new(parse(&text, &origin, REPORT_SCHEMA)?)),
    })
}

/// Reads the map or the report of a whole run, as [`read_saved`] does.
///
/// # Errors
/// As for that, or its run was interrupted.
pub(crate) fn read_whole(file: &Path) -> Result<Saved, ReadError> {
    let saved = read_saved(file)?;
    let interrupted = match &saved {
        Saved::Map(map) => map.interrupted.as_ref(),
        Saved::Report(report) => report.interrupted.as_ref(),
    };
    ended_by_itself(&file.display().to_string(), interrupted)?;
    Ok(saved)
}

/// Reads the report of a whole run in JSON, plain, gzip or zstd.
///
/// # Errors
/// The file cannot be read, or holds something else, or its run was interrupted.
pub(crate) fn read(file: &Path) -> Result<Input, ReadError> {
    let (text, origin) = text(file)?;
    let report = read_text(&text, &origin)?;
    ended_by_itself(&origin, report.interrupted.as_ref())?;
    Ok(Input { origin, report })
}

/// Reads the map of a whole run in JSON, plain, gzip or zstd.
///
/// # Errors
/// The file cannot be read, or holds something else, or its run was interrupted.
pub(crate) fn read_map(file: &Path) -> Result<Map, ReadError> {
    let (text, origin) = text(file)?;
    let map: Map = parse(&text, &origin, MAP_SCHEMA)?;
    ended_by_itself(&origin, map.interrupted.as_ref())?;
    Ok(map)
}

fn ended_by_itself(origin: &str, interrupted: Option<&String>) -> Result<(), ReadError> {
    match interrupted {
        None => Ok(()),
        Some(signal) => Err(ReadError::Interrupted {
            origin: origin.to_owned(),
            signal: signal.clone(),
        }),
    }
}

/// Reads the text of a report; `origin` names it in errors.
///
/// # Errors
/// It is none.
pub(crate) fn read_text(text: &[u8], origin: &str) -> Result<Report, ReadError> {
    parse(text, origin, REPORT_SCHEMA)
}

/// Returns what is in a file, unpacked, and the name for messages.
fn text(file: &Path) -> Result<(Vec<u8>, String), ReadError> {
    use std::io::Read;
    let io = |source| ReadError::Io {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .map_err(io)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge {
            file: file.to_owned(),
        });
    }
    let origin = file.display().to_string();
    let text = unpacked(&bytes, &origin, MAX_BYTES)?.into_owned();
    Ok((text, origin))
}

/// Reads what names this schema; `origin` names it in errors.
fn parse<T: DeserializeOwned>(
    text: &[u8],
    origin: &str,
    wanted: &'static str,
) -> Result<T, ReadError> {
    let no_report = |reason: String| ReadError::NoReport {
        origin: origin.to_owned(),
        reason,
    };
    // The schema first: in another one every key may be in another place.
    let mut any: Value =
        serde_json::from_slice(text).map_err(|error| no_report(error.to_string()))?;
    match any.get("schema").and_then(Value::as_str) {
        Some(schema) if schema == wanted => {}
        Some(schema) => {
            return Err(ReadError::OtherSchema {
                origin: origin.to_owned(),
                schema: schema.to_owned(),
                wanted,
            });
        }
        None => return Err(no_report("it names no schema".to_owned())),
    }
    show_all(&mut any);
    let mut track = serde_path_to_error::Track::new();
    let traced = serde_path_to_error::Deserializer::new(any, &mut track);
    let read = T::deserialize(traced);
    let path = track.path().to_string();
    read.map_err(|error| no_report(format!("at {path}: {error}")))
}

/// Makes every text of a report visible. Texts of rules have lines, and so do messages that quote a build.
fn show_all(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = visible_lines(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(show_all),
        Value::Object(entries) => entries.values_mut().for_each(show_all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
