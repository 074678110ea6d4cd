//! Reading reports.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::compression::{UnpackError, unpacked};
use crate::model::visible_lines;
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
    #[error("{origin} is a report of the form {schema:?}; this migcompat reads {REPORT_SCHEMA:?}")]
    OtherSchema { origin: String, schema: String },
}

/// Reads a report in JSON, plain, gzip or zstd.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn read(file: &Path) -> Result<Input, ReadError> {
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
    parse(&bytes, &file.display().to_string())
}

/// Reads a report from memory; `origin` names it in errors.
///
/// # Errors
/// As [`read()`].
fn parse(bytes: &[u8], origin: &str) -> Result<Input, ReadError> {
    let no_report = |reason: String| ReadError::NoReport {
        origin: origin.to_owned(),
        reason,
    };
    let text = unpacked(bytes, origin, MAX_BYTES)?;
    // The schema first: in another one every key may be in another place.
    let mut any: Value =
        serde_json::from_slice(&text).map_err(|error| no_report(error.to_string()))?;
    match any.get("schema").and_then(Value::as_str) {
        Some(REPORT_SCHEMA) => {}
        Some(schema) => {
            return Err(ReadError::OtherSchema {
                origin: origin.to_owned(),
                schema: schema.to_owned(),
            });
        }
        None => return Err(no_report("it names no schema".to_owned())),
    }
    show_all(&mut any);
    let mut track = serde_path_to_error::Track::new();
    let traced = serde_path_to_error::Deserializer::new(any, &mut track);
    let report = Report::deserialize(traced);
    let path = track.path().to_string();
    match report {
        Ok(report) => Ok(Input {
            origin: origin.to_owned(),
            report,
        }),
        Err(error) => Err(no_report(format!("at {path}: {error}"))),
    }
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
