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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::report::{
        BaselineStatus, Change, Evidence, FailureKind, GuestFormat, GuestReason, Level,
        MemoryLabel, NoticeKind, Outcome, Phase, Reached, Verdict,
    };

    /// Returns the words of a type: serde names them where it is given another one.
    fn words<T: DeserializeOwned + fmt::Debug>() -> BTreeSet<String> {
        let refused = serde_json::from_str::<T>("\"no such word\"").expect_err("no such word");
        let refused = refused.to_string();
        let (_, expected) = refused.split_once("expected").expect("what there is");
        expected
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_schema_has_the_words_of_each_type() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema");
        for (place, words) in [
            ("/properties/verdict", words::<Verdict>()),
            (
                "/properties/guest/properties/format",
                words::<GuestFormat>(),
            ),
            (
                "/properties/notices/items/properties/kind",
                words::<NoticeKind>(),
            ),
            (
                "/properties/coverage/properties/sections/items/properties/reached",
                words::<Reached>(),
            ),
            ("/$defs/guest_reason", words::<GuestReason>()),
            ("/$defs/baseline_status", words::<BaselineStatus>()),
            ("/$defs/outcome", words::<Outcome>()),
            (
                "/$defs/case/properties/cause/properties/phase",
                words::<Phase>(),
            ),
            (
                "/$defs/case/properties/cause/properties/kind",
                words::<FailureKind>(),
            ),
            (
                "/$defs/case/properties/state_diff/items/properties/change",
                words::<Change>(),
            ),
            ("/$defs/memory/properties/label", words::<MemoryLabel>()),
            ("/$defs/finding/properties/level", words::<Level>()),
            ("/$defs/finding/properties/evidence", words::<Evidence>()),
        ] {
            let listed = schema.pointer(place).and_then(|at| at["enum"].as_array());
            let listed = listed.expect(place).iter().filter_map(|word| word.as_str());
            assert_eq!(words, listed.map(str::to_owned).collect(), "{place}");
        }
    }
}
