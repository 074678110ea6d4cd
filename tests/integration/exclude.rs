//! Cases that are left out on purpose: not run, not counted, and shown with the reason.

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{migcompat, report, stderr, stdout, with_builds};

fn run(args: &[&str]) -> std::process::Output {
    with_builds(args).output().expect("it starts")
}

#[apply(test)]
#[needs(Builds)]
fn an_excluded_case_is_not_run_and_every_format_says_why() {
    let live = ["live", "debian:bookworm", "debian:trixie", "-M", "q35"];
    let one = ["--paused", "--device", "am53c974", "--retries", "0"];
    let exclude = [
        "--exclude",
        "q35/*/forward/*",
        "--reason",
        "a driver is awaited",
    ];
    let args = [&live[..], &one, &exclude].concat();
    let both = report(&run(&[&args[..], &["--format", "json"]].concat()));
    let cases = both["cases"].as_array().expect("a list");
    let facts: Vec<(&Value, &Value)> = cases
        .iter()
        .map(|case| (&case["outcome"], &case["excluded"]))
        .collect();
    let wanted: [(Value, Value); 2] = [
        ("lost".into(), Value::Null),
        ("skip".into(), "a driver is awaited".into()),
    ];
    assert_eq!(
        facts,
        wanted.each_ref().map(|(outcome, why)| (outcome, why))
    );
    assert_eq!(cases[1]["legs"], serde_json::json!([]));
    assert_eq!(both["policy"]["exclude"][0]["cases"], "q35/*/forward/*");
    // What is left out does not count, and nothing else was tried.
    let all = ["--paused", "--device", "e1000", "--exclude", "*"];
    let all = [&live[..], &all, &["--reason", "a driver is awaited"]].concat();
    for (format, wanted) in [
        ("text", "2 excluded"),
        ("text", "excluded: a driver is awaited"),
        ("junit", "skip: excluded: a driver is awaited"),
        ("html", "not tried: excluded: a driver is awaited"),
    ] {
        let output = run(&[&all[..], &["--format", format]].concat());
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        let shown = stdout(&output);
        assert!(shown.contains(wanted), "{format}: {wanted} in {shown}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_leaves_out_a_device_or_one_direction_of_it() {
    let sweep = ["sweep", "debian:bookworm", "debian:trixie", "-M", "q35"];
    let only = ["--only", "rtl8139", "--only", "e1000", "--format", "json"];
    let of = |globs: &[&str]| {
        let mut args = [&sweep[..], &only].concat();
        for glob in globs {
            args.extend(["--exclude", glob, "--reason", glob]);
        }
        let output = run(&args);
        (report(&output), output.status.code())
    };
    let (whole, status) = of(&["q35/rtl8139/*"]);
    assert_eq!(status, Some(0), "{:#}", whole["cases"]);
    let excluded = |report: &Value| -> Vec<String> {
        let cases = report["cases"].as_array().expect("a list").iter();
        let left = cases.filter(|case| case["excluded"].is_string());
        left.map(|case| case["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let both = ["q35/rtl8139/unix/backward", "q35/rtl8139/unix/forward"];
    assert_eq!(excluded(&whole), both);
    let left = whole["swept"][0]["left_out"].as_array().expect("a list");
    assert!(
        left.iter().any(|one| one["device"] == "rtl8139"),
        "{left:?}"
    );
    let (half, status) = of(&["q35/rtl8139/*/forward", "q35/nowhere/*"]);
    assert_eq!(
        (excluded(&half), status),
        (vec![both[1].to_owned()], Some(0))
    );
    let notices = half["notices"].as_array().expect("a list").iter();
    let idle: Vec<&Value> = notices
        .filter(|notice| notice["kind"] == "exclusion-unmatched")
        .map(|notice| &notice["subject"])
        .collect();
    assert_eq!(idle, ["q35/nowhere/*"]);
}

#[apply(test)]
fn an_exclusion_needs_a_reason() {
    let live = ["live", "/bin/false", "/bin/false", "-M", "q35"];
    for (more, wanted) in [
        (vec!["--exclude", "*"], "--reason"),
        (vec!["--reason", "none"], "--exclude"),
        (
            vec![
                "--exclude",
                "a",
                "--exclude",
                "b",
                "--exclude",
                "c",
                "--reason",
                "d",
                "--reason",
                "e",
            ],
            "one reason for all",
        ),
    ] {
        let output = migcompat(&[&live[..], &more].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}
