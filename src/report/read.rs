//! Reading reports.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compression::{UnpackError, unpacked};
use crate::input::as_utf8;
use crate::model::visible_lines;
use crate::report::map::{MAP_SCHEMA, Map};
use crate::report::{REPORT_SCHEMA, Report};

/// A report that unpacks to more than this is refused. Real ones have some megabytes.
const MAX_BYTES: u64 = 256 << 20;

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

/// Returns the schema that a text names, without a look at the rest of it.
fn schema(text: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    match serde_json::from_slice::<Head>(text) {
        Ok(head) => Ok(head.schema),
        Err(error) if error.is_data() => Err("it names no schema".to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
    Ok(
        match schema(&text).is_ok_and(|schema| schema == MAP_SCHEMA) {
            true => Saved::Map(parse(&text, &origin, MAP_SCHEMA)?),
            false => Saved::Report(Box::new(parse(&text, &origin, REPORT_SCHEMA)?)),
        },
    )
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
    let bytes = match unpacked(&bytes, &origin, MAX_BYTES)? {
        Cow::Owned(text) => text,
        Cow::Borrowed(_) => bytes,
    };
    let text = match as_utf8(&bytes) {
        Cow::Borrowed(text) if text.len() == bytes.len() => bytes,
        text => text.into_owned(),
    };
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
    let schema = schema(text).map_err(no_report)?;
    if schema != wanted {
        return Err(ReadError::OtherSchema {
            origin: origin.to_owned(),
            schema,
            wanted,
        });
    }
    let text = shown(text);
    let mut track = serde_path_to_error::Track::new();
    // Not by way of a tree of values, which takes many times the memory of the text.
    let mut json = serde_json::Deserializer::from_slice(&text);
    let read = T::deserialize(serde_path_to_error::Deserializer::new(
        &mut json, &mut track,
    ));
    let path = track.path().to_string();
    read.map_err(|error| no_report(format!("at {path}: {error}")))
}

/// Makes every text of a report visible. Texts of rules have lines, and so do messages that quote a build.
fn shown(json: &[u8]) -> Cow<'_, [u8]> {
    let mut shown = Vec::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(start) = position(json, at, |byte| byte == b'"') {
        let mut is_escaped = false;
        let end = position(json, start + 1, |byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        });
        let Some(end) = end else { break };
        at = end + 1;
        let quoted = &json[start..at];
        if (!quoted.is_ascii() || quoted.contains(&b'\\'))
            && let Ok(text) = serde_json::from_slice::<String>(quoted)
            && let Cow::Owned(visible) = visible_lines(&text)
        {
            shown.extend_from_slice(&json[done..start]);
            shown.extend(Value::from(visible).to_string().bytes());
            done = at;
        }
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    shown.extend_from_slice(&json[done..]);
    Cow::Owned(shown)
}

/// Returns the place of the first such byte from a place on.
fn position(bytes: &[u8], from: usize, is_wanted: impl FnMut(u8) -> bool) -> Option<usize> {
    let mut rest = bytes.get(from..)?.iter().copied();
    Some(from + rest.position(is_wanted)?)
}
