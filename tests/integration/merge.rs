//! A run spread over several, and its reports joined.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Output;

use macro_rules_attribute::apply;
use migcompat::report::{Case, Report};
use serde_json::{Value, json};

use crate::common::{dump, follows_the_schema, program, root, words};

const DEVICES: [&str; 6] = [
    "am53c974",
    "e1000e",
    "intel-hda",
    "nvme",
    "rtl8139",
    "virtio-net-pci",
];

fn migcompat(args: &[&str], folder: &Path) -> Output {
    let mut command = program(args);
    command.current_dir(folder).output().expect("it starts")
}

/// The report of a run that no shards were made of: real findings, and a case a device and direction.
fn whole() -> Value {
    let [old, new] = ["7.2.22", "10.0.13"].map(|version| dump(version, "x86_64-q35"));
    let output = migcompat(&["static", &old, &new, "--format", "json"], &root());
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let mut cases = Vec::new();
    for device in DEVICES {
        for direction in ["backward", "forward"] {
            let fails = device == "am53c974";
            let case = json!({
                "id": format!("q35/{device}/unix/{direction}/paused"),
                "machine": report["machine"], "device_set": device, "devices": [device], "left_out": [],
                "transport": "unix", "capabilities": [], "direction": direction, "running": false,
                "outcome": if fails { "fail" } else { "pass" },
                "cause": null, "control": null, "repeated": null, "legs": [], "state_diff": [],
                "allowed_by": null, "reproduce": null, "source_stderr": "",
                "destination_stderr": "", "logs": null, "elapsed_ms": 40
            });
            // Through the model, which knows of fields that are none of this test's business.
            let case: Case = serde_json::from_value(case).expect("a case");
            cases.push(serde_json::to_value(case).expect("JSON"));
        }
    }
    report["summary"]["cases"] = json!(cases.len());
    report["summary"]["passed"] = json!(cases.len() - 2);
    report["cases"] = json!(cases);
    let confirmed = report["findings"]
        .as_array_mut()
        .expect("a list")
        .iter_mut()
        .find(|f| f["section"] == "am53c974" && f["direction"] == "forward");
    confirmed.expect("a known break")["confirmed_by"] = json!("q35/am53c974/unix/forward/paused");
    report
}

/// What shard `index` of `of` would report of it: the findings, and its own cases.
fn part(whole: &Value, index: usize, of: usize) -> Value {
    let mut report = whole.clone();
    report["shard"] = json!({
        "index": index, "of": of, "plan": "0123456789abcdef", "options": ["--direction both"],
    });
    let cases = report["cases"].as_array_mut().expect("a list");
    let mut at = 0;
    cases.retain(|_| {
        at += 1;
        at % of == index % of
    });
    // Runs end in any order.
    cases.reverse();
    let own: Vec<Value> = cases.iter().map(|case| case["id"].clone()).collect();
    let fails = cases
        .iter()
        .filter(|case| case["outcome"] == "fail")
        .count();
    report["summary"]["cases"] = json!(own.len());
    report["summary"]["passed"] = json!(own.len() - fails);
    for finding in report["findings"].as_array_mut().expect("a list") {
        if !own.contains(&finding["confirmed_by"]) {
            finding["confirmed_by"] = Value::Null;
        }
    }
    report
}

/// Writes reports as `1.json`, `2.json` and so on into a folder.
fn written(reports: &[Value]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (at, report) in reports.iter().enumerate() {
        let text = serde_json::to_vec_pretty(report).expect("JSON");
        std::fs::write(folder.path().join(format!("{}.json", at + 1)), text).expect("written");
    }
    folder
}

#[apply(test)]
fn shards_joined_in_any_order_are_the_whole_run_byte_for_byte() {
    let whole = whole();
    follows_the_schema(&whole);
    let parts: Vec<Value> = (1..=3).map(|index| part(&whole, index, 3)).collect();
    parts.iter().for_each(follows_the_schema);
    let folder = written(&parts);
    let args = ["merge", "3.json", "1.json", "2.json", "--format", "json"];
    let output = migcompat(&args, folder.path());
    assert_eq!(
        output.status.code(),
        Some(1),
        "the break of am53c974 is in it"
    );
    let whole: Report = serde_json::from_value(whole).expect("a report");
    let mut text = Vec::new();
    migcompat::report::render::json::write(&whole, &mut text).expect("written");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&text)
    );
}

#[apply(test)]
fn compressed_reports_are_read_too() {
    let whole = whole();
    let parts: Vec<Value> = (1..=2).map(|index| part(&whole, index, 2)).collect();
    let folder = written(&parts);
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("written");
    let gz = std::fs::File::create(folder.path().join("1.json.gz")).expect("a file");
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
    gz.write_all(&read("1.json"))
        .and_then(|()| gz.finish())
        .expect("written");
    let zst = zstd::encode_all(&read("2.json")[..], 1).expect("compressed");
    std::fs::write(folder.path().join("2.json.zst"), zst).expect("written");
    let plain = migcompat(
        &["merge", "1.json", "2.json", "--format", "json"],
        folder.path(),
    );
    let packed = migcompat(
        &["merge", "1.json.gz", "2.json.zst", "--format", "json"],
        folder.path(),
    );
    assert!(!plain.stdout.is_empty());
    assert_eq!(plain.stdout, packed.stdout);
}

/// A pipe can be read once.
#[apply(test)]
fn a_saved_report_may_come_through_a_pipe_wherever_one_is_read() {
    let whole = whole();
    let parts: Vec<Value> = (1..=2).map(|index| part(&whole, index, 2)).collect();
    let folder = written(&parts);
    let maps = parts.iter().map(|report| {
        json!({
            "schema": "migcompat-map-1", "tool": report["tool"], "builds": [report["old"], report["new"]],
            "pairs": [{"old": 0, "new": 1, "report": report}], "rows": [], "causes": [],
            "verdict": "incompatible", "elapsed_ms": 1, "interrupted": null,
        })
    });
    for (at, map) in maps.enumerate() {
        let file = folder.path().join(format!("map{}.json", at + 1));
        std::fs::write(file, map.to_string()).expect("written");
    }
    let run = |line: &str| {
        let mut command = program(&[]);
        let program = command.get_program().to_owned();
        command = std::process::Command::new("sh");
        command.arg("-c").arg(line).arg(program);
        command
            .current_dir(folder.path())
            .output()
            .expect("a shell")
    };
    for (line, piped) in [
        ("merge FILE 2.json", "1.json"),
        ("merge 2.json FILE", "1.json"),
        ("merge FILE map2.json", "map1.json"),
        ("merge map2.json FILE", "map1.json"),
        ("merge 1.json 2.json --baseline FILE", "1.json"),
        ("merge map1.json map2.json --baseline FILE", "map1.json"),
        ("render FILE", "1.json"),
        ("render FILE", "map1.json"),
    ] {
        let line = format!("\"$0\" {line} --format json");
        let named = run(&line.replace("FILE", piped));
        let by_pipe = run(&format!(
            "cat {piped} | {}",
            line.replace("FILE", "/dev/stdin")
        ));
        let printed = String::from_utf8_lossy(&by_pipe.stderr).into_owned();
        assert_eq!(by_pipe.status.code(), Some(1), "{line}: {printed}");
        let by_pipe = String::from_utf8_lossy(&by_pipe.stdout).replace("/dev/stdin", piped);
        assert_eq!(by_pipe, String::from_utf8_lossy(&named.stdout), "{line}");
    }
}

/// Nothing failed in the shards that are there, and still the run as a whole has no result.
#[apply(test)]
fn what_is_missing_is_named_and_nothing_is_compatible_without_it() {
    let mut whole = whole();
    whole["findings"] = json!([]);
    whole["rules"] = json!({});
    for case in whole["cases"].as_array_mut().expect("a list") {
        case["outcome"] = json!("pass");
    }
    let parts: Vec<Value> = [1, 3].map(|index| part(&whole, index, 4)).into();
    let folder = written(&parts);
    let output = migcompat(&["merge", "1.json", "2.json"], folder.path());
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty());
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        printed,
        "untested: shards 2, 4 are missing of 4; --partial merges the others\n"
    );

    let args = ["merge", "1.json", "2.json", "--partial", "--format", "json"];
    let output = migcompat(&args, folder.path());
    assert_eq!(output.status.code(), Some(125));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    follows_the_schema(&report);
    assert_eq!(report["verdict"], "untested");
    assert_eq!(report["summary"]["cases"], 6);
    let notice = |shard: &str| json!({"kind": "shard-missing", "subject": shard, "detail": "the report is not whole"});
    assert_eq!(report["notices"], json!([notice("2/4"), notice("4/4")]));
    for format in ["text", "junit", "html"] {
        let args = words!("merge 1.json 2.json --partial -q --format {format}");
        let output = migcompat(&args, folder.path());
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let notice = "shard 4/4 is missing: the report is not whole";
        assert!(shown.contains(notice), "{format}: {shown}");
        // The verdict alone.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("untested: "), "{format}: {said}");
        assert_eq!(said.lines().count(), 1, "{format}: {said}");
    }

    let all: Vec<Value> = (1..=4).map(|index| part(&whole, index, 4)).collect();
    let folder = written(&all);
    let args = ["merge", "1.json", "2.json", "3.json", "4.json"];
    assert_eq!(migcompat(&args, folder.path()).status.code(), Some(0));
}

/// The reports say how warnings count, and in an earlier version their options alone do.
#[apply(test)]
fn a_strict_run_is_strict_when_joined() {
    let mut whole = whole();
    let warning =
        |finding: &&Value| finding["level"] == "warning" && finding["allowed_by"].is_null();
    let findings = whole["findings"].as_array().expect("a list");
    let warnings: Vec<Value> = findings.iter().filter(warning).cloned().collect();
    assert!(!warnings.is_empty());
    whole["findings"] = json!(warnings);
    whole["cases"] = json!([]);
    let status = |change: &dyn Fn(&mut Value)| {
        let mut part = part(&whole, 1, 1);
        change(&mut part);
        let folder = written(&[part]);
        let output = migcompat(&["merge", "1.json", "--format", "json"], folder.path());
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        follows_the_schema(&report);
        (output.status.code(), report["policy"]["strict"].clone())
    };
    assert_eq!(status(&|_| ()), (Some(0), json!(false)));
    let strict = |part: &mut Value| part["policy"]["strict"] = json!(true);
    assert_eq!(status(&strict), (Some(1), json!(true)));
    let earlier = |part: &mut Value| {
        part["shard"]["options"] = json!(["--direction both", "--strict"]);
        let keys = part.as_object_mut().expect("an object");
        keys.remove("policy");
        keys.remove("notices");
    };
    assert_eq!(status(&earlier), (Some(1), json!(true)));
}

#[apply(test)]
fn joined_shards_have_the_past_of_a_run_in_one_piece() {
    let mut whole = whole();
    whole["run"]["sought"]["among"] = json!(["e1000"]);
    let mut clean = whole.clone();
    clean["run"]["started"] = json!("2026-01-02T03:04:05.678Z");
    clean["run"]["new_hash"] = json!("another");
    for what in ["findings", "cases"] {
        clean[what] = json!([]);
    }
    let shards = |options: Value| {
        [1, 2].map(|index| {
            let mut part = part(&whole, index, 2);
            part["shard"]["options"] = options.clone();
            part
        })
    };
    let [one, two] = shards(json!(["--direction both", "--only e1000"]));
    // What was typed is no part of what was looked at.
    let [three, four] = shards(json!(["--only e1000", "--timeout 30"]));
    let folder = written(&[clean, one, two, three, four, whole]);
    let run = |args: &str| {
        let args: Vec<&str> = args.split(' ').collect();
        migcompat(&args, folder.path())
    };
    let labels = |args: &str| {
        let output = run(&format!("{args} --gate regression --format json"));
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let findings = report["findings"].as_array().expect("a list").iter();
        let above = findings
            .filter(|finding| finding["level"] != "note" && finding["allowed_by"].is_null());
        let labels: BTreeSet<String> = above
            .filter_map(|finding| Some(finding["memory"]["label"].as_str()?.to_owned()))
            .collect();
        (labels, output.status.code())
    };
    let only = |label: &str, status| (BTreeSet::from([label.to_owned()]), Some(status));
    let beside = "merge 2.json 3.json --history first.db --baseline 1.json";
    assert_eq!(labels(beside), only("regression", 1));
    let import = |args: &str| assert!(run(&format!("history import {args}")).status.success());
    import("1.json --history second.db");
    let imported = "merge 2.json 3.json --history second.db";
    assert_eq!(labels(imported), only("regression", 1));
    import("6.json --history third.db");
    for shards in ["2.json 3.json", "4.json 5.json"] {
        let again = format!("merge {shards} --history third.db");
        assert_eq!(labels(&again), only("known", 0), "{shards}");
    }
}

/// Each shard sends a half; together they send enough.
#[apply(test)]
fn coverage_is_joined_and_too_little_of_it_is_untested() {
    let mut whole = whole();
    whole["findings"] = json!([]);
    whole["rules"] = json!({});
    for case in whole["cases"].as_array_mut().expect("a list") {
        case["outcome"] = json!("pass");
    }
    let covered = |sent: &str| {
        let sections = ["e1000e", "rtl8139"].map(|name| {
            let reached = if name == sent { "passed" } else { "compared" };
            json!({"section": name, "vmsd": name, "possible": true, "reached": reached,
                   "reason": null, "subsections": []})
        });
        json!({
            "counts": {"sections": 2, "sent": 1, "passed": 1, "compared": 1, "not_created": 0,
                       "subsections": 0, "subsections_sent": 0, "percent": 50, "elsewhere": 0},
            "required": null, "sections": sections,
        })
    };
    let (mut one, mut other) = (part(&whole, 1, 2), part(&whole, 2, 2));
    one["coverage"] = covered("e1000e");
    other["coverage"] = covered("rtl8139");
    follows_the_schema(&one);
    let folder = written(&[one.clone(), other.clone()]);
    let args = ["merge", "1.json", "2.json", "--format", "json"];
    let enough = [&args[..], &["--min-coverage", "100"]].concat();
    let output = migcompat(&enough, folder.path());
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    follows_the_schema(&report);
    assert_eq!(report["coverage"]["counts"]["percent"], 100);

    other["coverage"] = covered("e1000e");
    let folder = written(&[one, other]);
    let output = migcompat(&enough, folder.path());
    assert_eq!(output.status.code(), Some(125));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    follows_the_schema(&report);
    assert_eq!(report["verdict"], "untested");
    assert_eq!(migcompat(&args, folder.path()).status.code(), Some(0));

    let bare = written(&[part(&whole, 1, 2), part(&whole, 2, 2)]);
    assert_eq!(migcompat(&enough, bare.path()).status.code(), Some(2));
}

#[apply(test)]
fn what_is_not_of_one_run_is_refused_with_both_names() {
    let whole = whole();
    let first = part(&whole, 1, 2);
    let second = part(&whole, 2, 2);
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 11] = [
        (
            |r| r["tool"]["version"] = json!("9.9.9"),
            "not of one run: migcompat is",
        ),
        (
            |r| r["old"]["label"] = json!("debian:bullseye"),
            "not of one run: the old build is",
        ),
        (
            |r| r["new"]["version"] = json!("11.1.0"),
            "not of one run: the new build is",
        ),
        (
            |r| r["machine"] = json!("pc-q35-6.0"),
            "not of one run: the machine is",
        ),
        (
            |r| r["shard"]["of"] = json!(3),
            "the number of shards is 2 in the first and 3",
        ),
        (
            |r| r["shard"]["options"] = json!(["--paused"]),
            "the request is --direction both in the first and --paused in the second",
        ),
        (
            |r| r["shard"]["plan"] = json!("fedcba9876543210"),
            "each planned other cases",
        ),
        (
            |r| r["shard"]["index"] = json!(1),
            "1.json and 2.json are both shard 1/2",
        ),
        (|r| r["shard"] = Value::Null, "2.json is of a whole run"),
        (
            |r| r["shard"]["index"] = json!(7),
            "2.json: it claims to be shard 7/2",
        ),
        // To name those that are missing would take gigabytes.
        (
            |r| r["shard"]["of"] = json!(u32::MAX),
            "2.json: it claims to be shard 2/4294967295",
        ),
    ];
    for (change, message) in changes {
        let mut other = second.clone();
        change(&mut other);
        let folder = written(&[first.clone(), other]);
        let output = migcompat(&["merge", "1.json", "2.json"], folder.path());
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}: {printed}");
        assert!(printed.contains(message), "{message}: {printed}");
        assert!(printed.contains("2.json"), "{printed}");
    }

    let mut other = second.clone();
    other["cases"] = first["cases"].clone();
    let folder = written(&[first.clone(), other]);
    let output = migcompat(&["merge", "1.json", "2.json"], folder.path());
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("both have the case q35/"), "{printed}");
}

#[apply(test)]
fn what_is_no_report_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    for (content, message) in [
        ("", "is not a report"),
        ("not JSON", "is not a report"),
        ("{}", "it names no schema"),
        (
            r#"{"schema": "migcompat-report-9"}"#,
            "of the form \"migcompat-report-9\"",
        ),
        (
            r#"{"schema": "migcompat-report-1", "tool": 3}"#,
            "at tool: ",
        ),
        ("\u{1f}\u{8b}", "is not a report"),
    ] {
        std::fs::write(folder.path().join("r.json"), content).expect("written");
        let output = migcompat(&["merge", "r.json"], folder.path());
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{content:?}: {printed}");
        assert!(
            printed.contains(message) && printed.contains("r.json"),
            "{content:?}: {printed}"
        );
    }
    std::fs::write(folder.path().join("r.gz"), [0x1f, 0x8b, 8, 0]).expect("written");
    for name in ["r.gz", "none.json", "."] {
        let output = migcompat(&["merge", name], folder.path());
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}
