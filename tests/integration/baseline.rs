//! A run held against an earlier report: what is new, the same, fixed or gone, in every format, and what
//! then decides the exit status.

use std::fs;
use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{
    changed, dump, follows_the_schema, migcompat, report, stderr, stdout, with_builds, words,
};

/// Writes the report of a command into a folder, and returns its name.
fn saved(folder: &Path, name: &str, args: &[&str]) -> String {
    let file = folder.join(name).display().to_string();
    let args = [args, &["--format", "json", "-o", &file]].concat();
    let output = with_cache(&args);
    assert!(Path::new(&file).exists(), "{}", stderr(&output));
    file
}

fn with_cache(args: &[&str]) -> std::process::Output {
    match args.first() {
        Some(&"static" | &"merge") => migcompat(args),
        _ => with_builds(args).output().expect("it starts"),
    }
}

fn held(args: &[&str], baseline: &str) -> (Value, Option<i32>) {
    let args = [
        args,
        &["--baseline", baseline, "--gate", "new", "--format", "json"],
    ]
    .concat();
    let output = with_cache(&args);
    (report(&output), output.status.code())
}

fn counts(report: &Value) -> [u64; 4] {
    let counts = &report["baseline"]["counts"];
    ["new", "same", "fixed", "gone"].map(|key| counts[key].as_u64().expect("a count"))
}

/// Ids of findings and cases of a status that would fail the run without a baseline.
fn breaks_of(report: &Value, status: &str) -> Vec<String> {
    let of = |key: &str| report[key].as_array().expect("a list").clone();
    let findings = of("findings").into_iter().filter(|f| f["level"] == "error");
    let bad = ["fail", "crash", "hang", "lost"];
    let is_bad = |case: &Value| bad.contains(&case["outcome"].as_str().expect("an outcome"));
    let cases = of("cases").into_iter().filter(is_bad);
    let all = findings
        .chain(cases)
        .filter(|one| one["allowed_by"].is_null());
    let all = all.filter(|one| one["baseline"] == status);
    all.map(|one| one["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[apply(test)]
fn the_same_breaks_do_not_count_and_one_more_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (dump("7.2.22", "x86_64-q35"), dump("10.0.13", "x86_64-q35"));
    let compared = ["static", &old, &new];
    let baseline = saved(folder.path(), "base.json", &compared);
    assert_eq!(migcompat(&compared).status.code(), Some(1));

    let (again, status) = held(&compared, &baseline);
    let [new_ones, same, fixed, gone] = counts(&again);
    assert_eq!((new_ones, fixed, gone, status), (0, 0, 0, Some(0)));
    assert_eq!(same as usize, again["findings"].as_array().unwrap().len());
    assert_eq!(again["verdict"], "compatible");
    assert_eq!(again["policy"]["gate"], "new");

    // A field more in a section that had no break: the new build of before, changed.
    let text = zstd_text(&new);
    let mut changed: Value = serde_json::from_str(&text).expect("a dump");
    let fields = changed["i8042"]["Description"]["Fields"].as_array_mut();
    let fields = fields.expect("the fields");
    fields.insert(
        1,
        serde_json::json!({"field": "one_more", "version_id": 0, "field_exists": false, "size": 4}),
    );
    let changed_file = folder.path().join("changed.json");
    fs::write(&changed_file, changed.to_string()).expect("written");
    let changed_file = changed_file.display().to_string();
    let compared = ["static", &old, &changed_file];
    let (more, status) = held(&compared, &baseline);
    assert_eq!(status, Some(1));
    let wanted =
        ["forward", "backward"].map(|way| format!("{way}/field-added/i8042/pckbd/one_more"));
    assert_eq!(breaks_of(&more, "new"), wanted);
    assert!(!breaks_of(&more, "same").is_empty());

    // It alone is shown.
    let shown = migcompat(&[&compared[..], &["--baseline", &baseline, "--gate", "new"]].concat());
    let text = stdout(&shown);
    assert!(text.contains("one_more"), "{text}");
    assert!(!text.contains("am53c974"), "{text}");
    assert!(text.contains("2 new (2 of them count)"), "{text}");
    let all = migcompat(&[&compared[..], &["--baseline", &baseline]].concat());
    assert_eq!(all.status.code(), Some(1));
    let text = stdout(&all);
    assert!(
        text.contains("am53c974") && text.contains("baseline: same"),
        "{text}"
    );

    // And fixed again, held against what had it.
    let later = saved(folder.path(), "later.json", &compared);
    let (mended, status) = held(&["static", &old, &new], &later);
    assert_eq!((counts(&mended)[2], status), (2, Some(0)));
    let past = mended["baseline"]["past"].as_array().expect("a list");
    assert_eq!(past.len(), 2);
    assert!(past.iter().all(|one| one["status"] == "fixed"), "{past:?}");
    // A direction that was not looked at says nothing of the other.
    let (one_way, _) = held(&["static", &old, &new, "--direction", "forward"], &later);
    let past = one_way["baseline"]["past"].as_array().expect("a list");
    let status_of = |way: &str| {
        let id = format!("{way}/field-added/i8042/pckbd/one_more");
        let one = past.iter().find(|one| one["id"] == id.as_str());
        one.expect(&id)["status"].clone()
    };
    assert_eq!(status_of("forward"), "fixed");
    assert_eq!(status_of("backward"), "gone");
}

fn zstd_text(file: &str) -> String {
    let packed = fs::read(crate::common::root().join(file)).expect("the dump");
    let text = zstd::decode_all(packed.as_slice()).expect("zstd");
    String::from_utf8(text).expect("UTF-8")
}

#[apply(test)]
fn every_format_says_what_is_new() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let (old, new) = (rule("old"), rule("new"));
    let none = saved(folder.path(), "none.json", &["static", &old, &old]);
    let all = saved(folder.path(), "all.json", &["static", &old, &new]);
    for (baseline, gate, text, junit, html, status) in [
        (
            &none,
            "new",
            "baseline: new",
            "failures=\"2\"",
            "2 new, 0 same",
            1,
        ),
        (
            &all,
            "new",
            "0 new (0 of them count), 2 same",
            "failures=\"0\"",
            "In the baseline too",
            0,
        ),
        (
            &all,
            "all",
            "baseline: same",
            "failures=\"2\"",
            "0 new, 2 same",
            1,
        ),
    ] {
        for (format, wanted) in [("text", text), ("junit", junit), ("html", html)] {
            let output = migcompat(&words!(
                "static {old} {new} --baseline {baseline} --gate {gate} --format {format}"
            ));
            assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
            let shown = stdout(&output);
            assert!(
                shown.contains(wanted),
                "{format} {gate}: {wanted} in {shown}"
            );
        }
    }
    // What is fixed passes in JUnit.
    let output = migcompat(&words!(
        "static {old} {old} --baseline {all} --format junit"
    ));
    let shown = stdout(&output);
    assert!(
        shown.contains("testsuite name=\"baseline\" tests=\"2\""),
        "{shown}"
    );
}

#[apply(test)]
fn a_baseline_that_cannot_be_used_is_refused_before_any_work() {
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let (old, new) = (rule("old"), rule("new"));
    for (more, wanted) in [
        (vec!["--gate", "new"], "--baseline"),
        (
            vec!["--baseline", "nowhere.json"],
            "cannot read the report nowhere.json",
        ),
        (vec!["--baseline", &old], "is not a report"),
    ] {
        let output = migcompat(&[&["static", &old, &new], &more[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}

#[apply(test)]
fn a_run_that_was_interrupted_is_no_evidence() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let (old, new) = (rule("old"), rule("new"));
    let compared = ["static", &old, &new];
    let whole = saved(folder.path(), "whole.json", &compared);
    let text = fs::read(&whole).expect("there");
    let mut cut: Value = serde_json::from_slice(&text).expect("JSON");
    cut["interrupted"] = json!("SIGINT");
    let map = json!({
        "schema": "migcompat-map-1", "tool": cut["tool"], "builds": [cut["old"], cut["new"]],
        "pairs": [{"old": 0, "new": 1, "report": cut}], "rows": [], "causes": [],
        "verdict": "untested", "elapsed_ms": 1, "interrupted": "SIGINT",
    });
    let written = |name: &str, value: &Value| {
        let file = folder.path().join(name);
        fs::write(&file, value.to_string()).expect("written");
        file.display().to_string()
    };
    let (cut, map) = (written("cut.json", &cut), written("map.json", &map));
    let history = folder.path().join("h.db").display().to_string();
    for args in [
        [&compared[..], &["--baseline", &cut]].concat(),
        vec!["history", "import", &cut, "--history", &history],
        vec!["merge", &cut],
        vec!["merge", &map],
        vec!["map", "/bin/true", "/bin/false", "--baseline", &map],
    ] {
        let output = migcompat(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let words = stderr(&output);
        let wanted = ".json is of a run that was interrupted by SIGINT";
        assert!(
            words.contains(wanted) && words.contains("run it again"),
            "{words}"
        );
    }
    let shown = migcompat(&["render", &cut]);
    assert!(!stdout(&shown).is_empty(), "it can be shown");
}

/// A real build whose NEW sets a property differently: a script around it that sets it.
fn with_global(folder: &Path, suite: &str, global: &str) -> String {
    let first = format!("set -- -global {global} \"$@\"");
    changed(folder, &format!("debian:{suite}"), &first)
}

#[apply(test)]
#[needs(Builds)]
fn bookworm_and_trixie_are_green_beside_a_baseline_and_red_for_one_more_break() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |new: &str| {
        [
            "check",
            "debian:bookworm",
            new,
            "-M",
            "q35",
            "--retries",
            "1",
        ]
        .map(str::to_owned)
    };
    let args = of("debian:trixie");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let baseline = saved(folder.path(), "base.json", &args);
    let saved: Value = serde_json::from_slice(&fs::read(&baseline).unwrap()).unwrap();
    follows_the_schema(&saved);
    assert_eq!(saved["verdict"], "incompatible");

    let (again, status) = held(&args, &baseline);
    assert_eq!(status, Some(0), "{:#}", again["baseline"]);
    assert_eq!(breaks_of(&again, "new"), [""; 0]);
    assert!(!breaks_of(&again, "same").is_empty());

    // Another label and another path, and one property.
    let changed = with_global(folder.path(), "trixie", "qemu-xhci.msix=off");
    let args = of(&changed);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let page = folder.path().join("broken.txt").display().to_string();
    let outputs = ["-o", &page, "-o", "-", "--format", "text"];
    let (broken, status) = held(&[&args[..], &outputs].concat(), &baseline);
    assert_eq!(status, Some(1));
    let new = breaks_of(&broken, "new");
    assert!(!new.is_empty());
    let about_it =
        |id: &String| id.contains("qemu-xhci") || id.contains("usb0") || id.contains("q35/default");
    assert!(new.iter().all(about_it), "{new:?}");
    assert!(!breaks_of(&broken, "same").is_empty());
    let text = fs::read_to_string(&page).expect("written");
    assert!(text.contains("xhci"), "{text}");
    assert!(!text.contains("am53c974"), "{text}");
}
