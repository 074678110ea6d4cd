//! The report for programs: `migcompat-report-1`, described by `report-schema.json`.

use std::io::{self, Write};

use crate::model::visible_json;
use crate::report::Report;

/// The JSON Schema of what [`write()`] writes.
pub const SCHEMA: &str = include_str!("../../../report-schema.json");

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    writeln!(out, "{}", visible_json(&text))
}
