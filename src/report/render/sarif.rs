//! The report for code scanning: SARIF 2.1.0, with a result a problem.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::model::uri_path;
use crate::report::map::Map;
use crate::report::render::json::write_value;
use crate::report::render::problem::{Problem, fingerprints, problems};
use crate::report::render::text;
use crate::report::{BaselineStatus, Report, RuleText};

/// The address by which readers know the form; nothing is loaded from it.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Writes the report.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_runs(vec![run(report)], out)
}

/// Writes a map: a run a pair, each with a name of its own.
///
/// # Errors
/// The output cannot be written.
pub fn write_map(map: &Map, out: &mut dyn Write) -> io::Result<()> {
    let runs = map.pairs.iter().map(|pair| {
        let mut run = run(&pair.report);
        run["automationDetails"] = json!({"id": format!("migcompat/{}/", map.between(pair))});
        run
    });
    write_runs(runs.collect(), out)
}

fn write_runs(runs: Vec<Value>, out: &mut dyn Write) -> io::Result<()> {
    let log = json!({"$schema": SCHEMA, "version": "2.1.0", "runs": runs});
    write_value(&log, out)
}

fn run(report: &Report) -> Value {
    let problems = problems(report);
    let mut rules: Vec<(&str, Option<&RuleText>)> = Vec::new();
    for problem in &problems {
        if rules.iter().all(|(id, _)| *id != problem.rule) {
            rules.push((&problem.rule, problem.text));
        }
    }
    let results = problems.iter().zip(fingerprints(&problems));
    let results = results.map(|(problem, fingerprint)| {
        let index = rules.iter().position(|(id, _)| *id == problem.rule);
        result(problem, index, fingerprint, report.baseline.is_some())
    });
    let notices = report
        .notices
        .iter()
        .map(|notice| json!({"level": "warning", "message": {"text": notice.to_string()}}));
    json!({
        "tool": {"driver": {
            "name": report.tool.name,
            "version": report.tool.version,
            "rules": rules.iter().map(|(id, text)| rule(id, *text)).collect::<Vec<_>>(),
        }},
        "invocations": [{
            "executionSuccessful": report.interrupted.is_none(),
            "toolExecutionNotifications": notices.collect::<Vec<_>>(),
        }],
        "results": results.collect::<Vec<_>>(),
        "properties": {
            "verdict": report.verdict,
            "summary": text::summary(report),
            "machine": report.machine,
            "old": text::build(&report.old),
            "new": text::build(&report.new),
        },
    })
}

fn rule(id: &str, text: Option<&RuleText>) -> Value {
    let mut rule = serde_json::Map::from_iter([("id".to_owned(), json!(id))]);
    if let Some(RuleText { name, effect, fix }) = text {
        let message = |text: &str| json!({"text": text.trim()});
        rule.insert("shortDescription".to_owned(), message(name));
        rule.insert("fullDescription".to_owned(), message(effect));
        rule.insert("help".to_owned(), message(fix));
    }
    Value::Object(rule)
}

fn result(
    problem: &Problem<'_>,
    rule: Option<usize>,
    fingerprint: String,
    held_against: bool,
) -> Value {
    let suppressions = problem.excused.iter();
    let suppressions = suppressions.map(|why| json!({"kind": "external", "justification": why}));
    let mut result = json!({
        "ruleId": problem.rule,
        "ruleIndex": rule,
        "level": problem.level,
        "message": {"text": problem.message},
        "locations": [{
            "physicalLocation": physical(problem),
            "logicalLocations": [{"fullyQualifiedName": problem.place, "kind": "member"}],
        }],
        "partialFingerprints": {"migcompat/v1": fingerprint},
        "suppressions": suppressions.collect::<Vec<_>>(),
        "properties": {"owners": problem.owners, "code": problem.code},
    });
    // All results have it, or none.
    if held_against {
        result["baselineState"] = json!(match problem.baseline {
            Some(BaselineStatus::Same) => "unchanged",
            Some(BaselineStatus::New | BaselineStatus::Fixed | BaselineStatus::Gone) | None => {
                "new"
            }
        });
    }
    result
}

/// Returns where a description is defined, in the tree of QEMU's sources.
fn physical(problem: &Problem<'_>) -> Value {
    match problem.source {
        Some(source) => json!({
            "artifactLocation": {"uri": uri(&source.file), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": source.line.max(1)},
        }),
        // Code scanning takes no result without a file: the place within the machine stands for one.
        None => json!({
            "artifactLocation": {"uri": uri(&problem.place)},
            "region": {"startLine": 1},
        }),
    }
}

/// Returns a relative address for a place, which may have any characters.
fn uri(place: &str) -> String {
    let uri = uri_path(place.as_bytes());
    // Two slashes in front would name a host.
    match uri.starts_with('/') {
        true => format!(".{uri}"),
        false => uri,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_relative_address() {
        for (place, wanted) in [
            ("pciespscsi/esp/drq", "pciespscsi/esp/drq"),
            ("a:b c%", "a%3Ab%20c%25"),
            ("//host/x", ".//host/x"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(uri(place), wanted);
        }
    }
}
