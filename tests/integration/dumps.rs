//! Dumps of another shape than usual: one odd section, a defect of one build, two machines, a folder of builds.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{migcompat, report, stderr, stdout, with_builds};

/// A description with one field and these subsections.
fn description(name: &str, size: u64, subsections: &[Value]) -> Value {
    json!({
        "name": name, "version_id": 1, "minimum_version_id": 1,
        "Fields": [{"field": "f", "version_id": 0, "field_exists": false, "size": size}],
        "Subsections": subsections,
    })
}

fn section(description: Value) -> Value {
    json!({"Name": "x", "version_id": 1, "minimum_version_id": 1, "Description": description})
}

/// A dump of a machine with these sections.
fn write(folder: &Path, name: &str, machine: &str, sections: Value) -> String {
    let mut dump = sections;
    dump["vmschkmachine"] = json!({"Name": machine});
    let file = folder.join(name);
    std::fs::write(&file, dump.to_string()).expect("writable");
    file.display().to_string()
}

#[apply(test)]
fn an_odd_section_is_reported_and_the_others_are_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let sections = |size| {
        json!({
            "dev": section(description("dev", size, &[])),
            "other": section(description("other", 4, &[])),
        })
    };
    let old = write(folder.path(), "old.json", "pc-q35-8.2", sections(4));
    for (odd, reason) in [
        (json!({"Name": "other"}), "missing field `Description`"),
        (
            json!([]),
            "invalid length 0, expected an object with a Description",
        ),
        (
            section(json!({"version_id": 1, "minimum_version_id": 1})),
            "at Description: missing field `name`",
        ),
        (
            section(json!({"name": "other", "version_id": "1", "minimum_version_id": 1})),
            "at Description.version_id: invalid type: string",
        ),
    ] {
        let mut with_odd = sections(8);
        with_odd["other"] = odd.clone();
        let new = write(folder.path(), "new.json", "pc-q35-8.2", with_odd);
        // Of a dump and itself it is told once.
        let same = report(&migcompat(&["static", &new, &new, "--format", "json"]));
        let notices = same["notices"].as_array().expect("a list");
        assert_eq!(notices.len(), 1, "{notices:?}");
        for files in [[&old, &new], [&new, &old]] {
            let output = migcompat(&["static", files[0], files[1], "--format", "json"]);
            assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
            let report = report(&output);
            let notices = report["notices"].as_array().expect("a list");
            assert_eq!(notices.len(), 1, "{odd}: {notices:?}");
            assert_eq!(notices[0]["kind"], "section-unreadable");
            assert_eq!(notices[0]["subject"], format!("other of {new}"));
            let detail = notices[0]["detail"].as_str().expect("text");
            assert!(
                detail.starts_with(reason),
                "wanted {reason:?} in {detail:?}"
            );
            // The section is neither gone nor new.
            let findings = report["findings"].as_array().expect("a list");
            assert!(!findings.is_empty());
            assert!(
                findings.iter().all(|f| f["section"] == "dev"),
                "{findings:?}"
            );
        }
    }
}

#[apply(test)]
fn a_loader_takes_the_first_of_two_subsections_of_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = |name: &str, subsections: &[(&str, u64)]| {
        let subsections: Vec<Value> = subsections
            .iter()
            .map(|(name, size)| description(name, *size, &[]))
            .collect();
        let dev = section(description("dev", 4, &subsections));
        write(folder.path(), name, "pc-q35-8.2", json!({"dev": dev}))
    };
    let twice = dump("twice.json", &[("dev/tlb6xx", 4), ("dev/tlb6xx", 16)]);
    let renamed = dump("renamed.json", &[("dev/tlb6xx", 4), ("dev/tlbemb", 16)]);
    let second = dump("second.json", &[("dev/tlb6xx", 16)]);
    let found = |old: &str, new: &str| -> Vec<String> {
        let report = report(&migcompat(&["static", old, new, "--format", "json"]));
        let findings = report["findings"].as_array().expect("a list").iter();
        findings
            .map(|f| {
                let word = |key: &str| f[key].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", word("level"), word("rule"), word("direction"))
            })
            .collect()
    };
    let ambiguous = |direction: &str| format!("warning subsection-ambiguous {direction}");
    // Reported once, though both have it.
    assert_eq!(found(&twice, &twice), [ambiguous("forward")]);
    let unknown = "warning subsection-unknown backward".to_owned();
    assert_eq!(found(&twice, &renamed), [ambiguous("forward"), unknown]);
    // What is sent once is read by the layout of the first.
    let resized = |direction: &str| format!("warning field-resized {direction}");
    assert_eq!(
        found(&second, &twice),
        [
            ambiguous("backward"),
            resized("forward"),
            resized("backward")
        ]
    );
}

#[apply(test)]
fn dumps_of_different_machines_are_never_compatible() {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = |machine: &str| {
        let dev = section(description("dev", 4, &[]));
        let name = format!("{machine}.json");
        write(folder.path(), &name, machine, json!({"dev": dev}))
    };
    let words =
        |old: &str, new: &str| format!("Machine type received is '{old}' and local is '{new}'");
    let (older, newer) = (dump("pc-q35-8.2"), dump("pc-q35-9.0"));
    let output = migcompat(&["static", &older, &newer]);
    assert_eq!(output.status.code(), Some(125), "{}", stdout(&output));
    let text = stdout(&output);
    assert!(text.contains(&words("pc-q35-8.2", "pc-q35-9.0")), "{text}");
    assert!(text.contains("untested: pc-q35,"), "{text}");
    for other in ["virt-9.0", "pc-i440fx-8.2", "isapc"] {
        let output = migcompat(&["static", &older, &dump(other)]);
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        let text = stderr(&output);
        assert!(text.contains(&words("pc-q35-8.2", other)), "{text}");
    }
    // Two names that a user pairs, each for its side.
    let (noble, resolute) = (dump("pc-q35-noble"), dump("pc-q35-resolute"));
    let text = stderr(&migcompat(&["static", &noble, &resolute]));
    let pair = "pc-q35-noble=pc-q35-resolute";
    assert!(text.contains(&format!("-M {pair} compares")), "{text}");
    for (pair, status) in [
        (pair, 0),
        ("pc-q35-resolute=pc-q35-noble", 2),
        ("pc-q35-noble=pc-q35-plucky", 2),
    ] {
        let output = migcompat(&["static", &noble, &resolute, "-M", pair]);
        assert_eq!(output.status.code(), Some(status), "{pair}");
        let text = stdout(&output);
        let is_told = text.contains(&words("pc-q35-noble", "pc-q35-resolute"));
        assert_eq!(is_told, status == 0, "{text}");
    }
    // A dump of no machine goes with any.
    for other in ["pc-q35-8.2", "none"] {
        let output = migcompat(&["static", &older, &dump(other)]);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
}

#[apply(test)]
#[needs(Builds)]
fn without_a_machine_the_usual_one_of_both_builds_is_compared() {
    let run = |args: &[&str]| {
        let output = with_builds(&[args, &["--format", "json"]].concat()).output();
        report(&output.expect("it starts"))
    };
    let picked = run(&["static", "debian:bookworm", "debian:trixie"]);
    assert_eq!(picked["machine"], "pc-q35-7.2");
    assert_eq!(picked["notices"], json!([]));
    // Beside a dump, a build is asked for the same machine.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.json").display().to_string();
    let dump = with_builds(&["dump", "debian:bookworm", "-M", "pc-q35-6.2", "-o", &file]).status();
    assert!(dump.expect("it starts").success());
    for machine in [&[][..], &["-M", "q35"]] {
        let beside = run(&[&["static", &file, "debian:trixie"], machine].concat());
        assert_eq!(beside["machine"], "pc-q35-6.2");
        assert_eq!(beside["notices"], json!([]));
    }
}
