//! Parts that every page for a browser has: anchors, the script, and when and how a run was made.

use std::collections::HashMap;
use std::time::Duration;

use crate::report::identity::FindingId;
use crate::report::{Finding, RunRecord};

/// The hash of the one script that a browser may run in a page, for its content security policy. The script filters,
/// opens what an address names and copies lines; a page says everything without it, too.
pub(super) const SCRIPT_HASH: &str = "sha256-ilH5eLOhLEz/paQJnKdaoELLX43Yr60UzcbzcedRsj8=";

pub(super) fn case_anchor(id: &str) -> String {
    anchor("case", id)
}

/// Returns an anchor for each finding. Where several on different machines have one name, the later ones have a number.
pub(super) fn finding_anchors(findings: &[Finding]) -> Vec<(&Finding, String)> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let anchors = findings.iter().map(|finding| {
        let anchor = anchor("finding", &finding_id(finding));
        let times = taken.entry(anchor.clone()).or_default();
        *times += 1;
        match *times {
            1 => (finding, anchor),
            times => (finding, format!("{anchor}-{times}")),
        }
    });
    anchors.collect()
}

/// Returns the name of a finding that stays from run to run.
pub(super) fn finding_id(finding: &Finding) -> String {
    FindingId(finding).to_string()
}

/// An address needs no escapes in it.
fn anchor(kind: &str, name: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "/.-_".contains(c) => c,
        _ => '_',
    };
    format!("{kind}-{}", name.chars().map(plain).collect::<String>())
}

/// Returns the moment at which a run began, for a reader.
pub(super) fn when(run: &RunRecord) -> String {
    run.started.replace('T', " ").replace('Z', " UTC")
}

/// Returns a time for a reader: `1.5 s`, `2m 5s`.
pub(super) fn lasted(milliseconds: &u64) -> String {
    match *milliseconds {
        0..60_000 => format!("{:.1} s", *milliseconds as f64 / 1000.0),
        _ => humantime::format_duration(Duration::from_secs(milliseconds / 1000)).to_string(),
    }
}

/// Returns the command line of a run, as one types it.
pub(super) fn typed(run: &RunRecord) -> String {
    let words = run.command.iter().map(String::as_str);
    shlex::try_join(words).unwrap_or_else(|_| run.command.join(" "))
}
