//! Entries that `--suggest` prints: filled in, each settles what it was printed for.

use std::collections::BTreeSet;
use std::path::Path;

use macro_rules_attribute::apply;
use migcompat::model::Rule;
use migcompat::report::Evidence;
use serde_json::{Value, json};

use crate::common::{migcompat, report, stderr, stdout};

/// Holds that nothing is left to be settled between two dumps once the entries that are suggested are in a list.
fn settled(old: &str, new: &str) -> String {
    let suggested = stdout(&migcompat(&["static", old, new, "--suggest"]));
    let filled = suggested
        .replace("after = \"FILL IN\"", "")
        .replace("by = \"FILL IN\"", "by = \"10.0\"")
        .replace("machines = [\"FILL IN\"]", "machines = [\"*\"]")
        .replace("FILL IN", "known");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own.toml"), &filled).expect("writable");
    let lists = folder.path().display().to_string();
    let args = [
        "static", old, new, "--lists", &lists, "--strict", "--format", "json",
    ];
    let output = migcompat(&args);
    let left: Vec<String> = match output.status.code() {
        Some(0 | 1) => {
            let report = report(&output);
            let findings = report["findings"].as_array().expect("a list").iter();
            let left = findings.filter(|f| f["level"] != "note" && f["allowed_by"].is_null());
            left.map(|f| format!("{} {} {}", f["direction"], f["rule"], f["message"]))
                .collect()
        }
        _ => vec![stderr(&output)],
    };
    assert!(left.is_empty(), "{left:#?} of {old} {new} with\n{filled}");
    suggested
}

#[apply(test)]
fn an_entry_settles_its_finding_whatever_the_rule() {
    for &rule in Rule::ALL {
        if rule.entry().fixture.evidence != Evidence::Dump {
            continue;
        }
        let file = |side: &str| format!("fixtures/rules/{rule}/{side}.json");
        settled(&file("old"), &file("new"));
        settled(&file("new"), &file("old"));
    }
}

fn description(name: &str, fields: &[Value]) -> Value {
    json!({"name": name, "version_id": 1, "minimum_version_id": 1, "Fields": fields})
}

fn field(name: &str, size: u64) -> Value {
    json!({"field": name, "version_id": 0, "field_exists": false, "size": size})
}

fn with_test(name: &str, size: u64) -> Value {
    json!({"field": name, "version_id": 0, "field_exists": true, "size": size})
}

/// An array of four.
fn array(name: &str, size: u64) -> Value {
    json!({"field": name, "version_id": 0, "field_exists": false, "size": size, "num": 4})
}

fn tested(mut field: Value) -> Value {
    field["field_exists"] = true.into();
    field
}

fn array_of(name: &str, fields: &[Value]) -> Value {
    let mut array = array(name, 64);
    array["Description"] = description("element", fields);
    array
}

fn structure(name: &str, of: &str, fields: &[Value]) -> Value {
    let mut structure = field(name, 64);
    structure["Description"] = description(of, fields);
    structure
}

fn write(folder: &Path, name: &str, fields: &[Value]) -> String {
    let fields = [&[array("regs", 4)], fields].concat();
    let dump = json!({
        "vmschkmachine": {"Name": "none"},
        "dev": {
            "Name": "dev", "version_id": 1, "minimum_version_id": 1,
            "Description": description("dev", &fields),
        },
    });
    let file = folder.join(name);
    std::fs::write(&file, dump.to_string()).expect("writable");
    file.display().to_string()
}

#[apply(test)]
fn an_entry_settles_its_finding_whatever_became_of_the_field() {
    let folder = tempfile::tempdir().expect("a folder");
    // What became of it, and which entry says so.
    for (what, old, new, table) in [
        (
            "another name for a field with a test",
            vec![field("a", 4), with_test("q", 4)],
            vec![field("a", 4), with_test("r", 4)],
            "field",
        ),
        (
            "two neighbours with tests",
            vec![with_test("q", 4), with_test("r", 4)],
            vec![with_test("q1", 4), with_test("r1", 4)],
            "break",
        ),
        (
            "another place for a field with a test",
            vec![with_test("q", 4), with_test("r", 4)],
            vec![with_test("r", 4), with_test("q", 4)],
            "break",
        ),
        (
            "another place for a field of unknown width",
            vec![field("q", 0), field("a", 4)],
            vec![field("a", 4), field("q", 0)],
            "break",
        ),
        (
            "another place in a structure",
            vec![with_test("s.q", 4), field("a", 4)],
            vec![field("a", 4), structure("s", "part", &[with_test("q", 4)])],
            "break",
        ),
        (
            "a width that is known now",
            vec![field("q", 0), field("a", 4)],
            vec![array("q", 4), field("a", 4)],
            "field",
        ),
        (
            "a width that is known now, in a description with another name",
            vec![structure("s", "part", &[field("q", 0)])],
            vec![structure("s", "piece", &[array("q", 4)])],
            "field",
        ),
        (
            "a number in the place of a field of unknown width",
            vec![field("q", 0), field("a", 4)],
            vec![field("r", 8), field("a", 4)],
            "field",
        ),
        (
            "several numbers in its place",
            vec![field("q", 0), field("a", 4)],
            vec![field("r", 8), field("s", 2), field("a", 4)],
            "break",
        ),
        (
            "a number that took up padding",
            vec![field("unused", 2), field("q", 2)],
            vec![field("q", 4)],
            "break",
        ),
        (
            "a test",
            vec![field("q", 4), field("a", 4)],
            vec![with_test("q", 4), field("a", 4)],
            "condition",
        ),
        (
            "a test of a field in a structure that has one",
            vec![tested(structure("s", "part", &[with_test("q", 4)]))],
            vec![tested(structure("s", "part", &[field("q", 4)]))],
            "break",
        ),
        (
            "another number of elements, when a test says so",
            vec![tested(array("q", 4)), field("a", 4)],
            vec![with_test("q", 4), field("a", 4)],
            "break",
        ),
        (
            "another number of elements and another name, when a test says so",
            vec![tested(array("q", 1)), field("a", 4)],
            vec![with_test("r", 4), field("a", 4)],
            "field",
        ),
        (
            "elements of which a test decides",
            vec![array_of("e", &[with_test("q", 4)]), field("a", 4)],
            vec![field("a", 4)],
            "condition",
        ),
    ] {
        let old = write(folder.path(), "old.json", &old);
        let new = write(folder.path(), "new.json", &new);
        for suggested in [settled(&old, &new), settled(&new, &old)] {
            let tables = suggested.lines().filter(|line| line.starts_with("[["));
            let tables: BTreeSet<&str> = tables.collect();
            assert_eq!(
                tables,
                [&*format!("[[{table}]]")].into(),
                "{what}: {suggested}"
            );
        }
    }
}
