//! The judgement of findings: what the known issues allow, what the user set for a rule, and which
//! findings are one.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::{Finding, Level};
use crate::rules::known_issues::{Match, Place, Scope};

pub(crate) use crate::report::{LevelOverride, LevelOverrides};

/// Findings as they are reported, and the entries that had a part in them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged<'k> {
    /// Errors first, then by section and path.
    pub findings: Vec<Finding>,
    pub used: BTreeSet<&'k Place>,
}

/// Judges findings and joins those that have one cause. The result is sorted: errors first, then by
/// section and path.
pub fn judge(findings: Vec<Finding>, scope: &Scope, overrides: &LevelOverrides) -> Vec<Finding> {
    judge_and_note(findings, scope, overrides).findings
}

/// Judges as [`judge`] does, and notes which entries were used.
pub(crate) fn judge_and_note<'k>(
    mut findings: Vec<Finding>,
    scope: &Scope<'k>,
    overrides: &LevelOverrides,
) -> Judged<'k> {
    let mut used = BTreeSet::new();
    for finding in &mut findings {
        apply(finding, scope, &mut used);
        match overrides.get(&finding.rule) {
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
    Judged {
        findings: join(findings),
        used,
    }
}

/// Applies the known issues to a finding.
fn apply<'k>(finding: &mut Finding, scope: &Scope<'k>, used: &mut BTreeSet<&'k Place>) {
    finding.allowed_by = scope.allows(finding).map(|found| {
        used.insert(found.entry);
        found.reason
    });
    if finding.level == Level::Warning {
        let settled = scope.settles(finding);
        if !settled.is_empty() {
            finding.level = Level::Note;
            let reasons = reasons(settled, used);
            finding.message = format!("{}; it cannot matter here: {reasons}", finding.message);
        }
    }
    let mut explained = Vec::new();
    for item in &finding.items {
        if let (Some(old), Some(new)) = (&item.old, &item.new)
            && let Some(found) = scope.explains(finding, &item.description, old, new)
        {
            used.insert(found.entry);
            if !item.known {
                explained.push(found);
            }
        }
    }
    if !explained.is_empty() {
        finding.message = format!("{}: {}", finding.message, reasons(explained, used));
    }
}

/// Joins the reasons of entries, each once.
fn reasons<'k>(matches: Vec<Match<'k>>, used: &mut BTreeSet<&'k Place>) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for found in matches {
        used.insert(found.entry);
        if !reasons.contains(&found.reason) {
            reasons.push(found.reason);
        }
    }
    reasons.join("; ")
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
                    first.also_paths.push(finding.path);
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
