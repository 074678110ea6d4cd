//! The report for programs: `migcompat-report-1`, described by `report-schema.json`.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::visible_json;
use crate::report::Report;

/// The JSON Schema of what [`write()`] writes.
pub const SCHEMA: &str = include_str!("../../../report-schema.json");

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_value(report, out)
}

/// Writes a value as JSON that shows all that it has.
pub(super) fn write_value(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(out, "{}", visible_json(&text))
}
