//! Findings, builds and lost values for tests.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::model::{BuildKind, BuildRef};
use crate::report::{Change, Finding, StateDiff};

/// A field that a dump has more, an error of the way forward, but for these keys.
pub(crate) fn finding(keys: Value) -> Finding {
    let mut whole = json!({
        "rule": "field-added", "level": "error", "direction": "forward", "section": "dev", "also_in": [],
        "path": ["dev", "x"], "message": "m", "old": null, "new": null, "allowed_by": null,
        "evidence": "dump", "confirmed_by": null, "context": []
    });
    for (key, value) in keys.as_object().expect("keys of a finding") {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).expect("a finding")
}

/// The text that is written, without colours.
pub(crate) fn plain(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    write(&mut out).expect("written");
    String::from_utf8(out.into_inner()).expect("text")
}

/// A build of which nothing but the label is known.
pub(crate) fn build(label: &str) -> BuildRef {
    BuildRef {
        label: label.to_owned(),
        kind: BuildKind::Binary,
        version: None,
    }
}

/// A value of a device that came through as another one.
pub(crate) fn diff(field: &str) -> StateDiff {
    StateDiff {
        leg: 0,
        section: "dev".into(),
        instance: 0,
        field: field.to_owned(),
        change: Change::Changed,
        sent: "0x0".to_owned(),
        held: Some("0x1".to_owned()),
        landed_in: None,
        fresh: None,
    }
}
