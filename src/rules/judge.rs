//! Findings in, judged findings out: what the lists allow, what the user said of a rule, and which
//! findings are one.

use std::collections::BTreeMap;

use crate::report::{Finding, Level};
use crate::rules::lists::Scope;

pub use crate::report::{LevelOverride, LevelOverrides};

/// Judges findings and joins those that have one cause. The result is sorted: errors first, then by
/// section and path.
pub fn judge(findings: Vec<Finding>, scope: &Scope, wishes: &LevelOverrides) -> Vec<Finding> {
    let mut judged = findings;
    for finding in &mut judged {
        finding.allowed_by = scope.allows(finding);
        if finding.level == Level::Warning
            && let Some(reason) = scope.settles(finding)
        {
            finding.level = Level::Note;
            finding.message = format!("{}; it cannot matter here: {reason}", finding.message);
        }
        if let Some(reason) = scope.explains(finding) {
            finding.message = format!("{}: {reason}", finding.message);
        }
        let wish = Some(finding.rule).and_then(|rule| wishes.get(&rule));
        match wish {
            Some(LevelOverride::Deny) => finding.level = Level::Error,
            Some(LevelOverride::Warn) => finding.level = Level::Warning,
            Some(LevelOverride::Allow)
                if finding.allowed_by.is_none() && finding.level != Level::Note =>
            {
                finding.allowed_by = Some(format!("--allow {}", finding.rule));
            }
            Some(LevelOverride::Allow) | None => {}
        }
    }
    join(judged)
}

/// One change in QEMU shows in every section that embeds the description it was made in. It is one
/// finding, of the first section by name, and the others are listed with it.
fn join(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_cached_key(Finding::rank);
    let mut joined: Vec<Finding> = Vec::new();
    let mut seen = BTreeMap::new();
    for finding in findings {
        let key = (
            (finding.level, finding.direction, finding.rule),
            finding.change.clone(),
            finding.allowed_by.clone(),
        );
        match seen.get(&key) {
            Some(&at) => {
                let first: &mut Finding = &mut joined[at];
                if first.section != finding.section && !first.also_in.contains(&finding.section) {
                    first.also_in.push(finding.section);
                }
            }
            None => {
                seen.insert(key, joined.len());
                joined.push(finding);
            }
        }
    }
    joined
}
