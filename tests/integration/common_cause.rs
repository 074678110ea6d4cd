//! One change that breaks many devices: found once, and looked at once.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{changed, report, stderr, with_builds, words};

const OLD: &str = "debian:bookworm";

/// The same build with two kinds of virtio device set up otherwise: what both send of them is as much shorter.
fn other_vectors(dir: &Path) -> String {
    let options = "-global virtio-rng-pci.vectors=0 -global virtio-blk-pci.vectors=0";
    changed(dir, OLD, &format!("set -- \"$@\" {options}"))
}

/// The finding about the length that both kinds of section have in common.
fn in_common(report: &Value) -> &Value {
    let findings = report["findings"].as_array().expect("findings");
    let mut common = findings.iter().filter(|finding| {
        finding["rule"] == "field-resized"
            && finding["direction"] == "forward"
            && finding["also_in"] != json!([])
    });
    let found = common.next().unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(common.next().is_none(), "{findings:#?}");
    let message = found["message"].as_str().expect("a text");
    let says = "`virtio` is 37 bytes longer in old than in new, in 2 kinds of section alike";
    assert!(message.starts_with(says), "{message}");
    found
}

#[apply(test)]
#[needs(Builds)]
fn one_device_stands_for_those_that_differ_in_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let new = other_vectors(dir.path());
    let args = words!("live {OLD} {new} -M q35 --paused --direction forward");
    let output = with_builds(&[&args[..], &["--format", "json"]].concat())
        .output()
        .expect("it runs");
    let report = report(&output);
    let cases = report["cases"].as_array().expect("cases");
    let ids: Vec<&str> = cases
        .iter()
        .filter_map(|case| case["id"].as_str())
        .collect();
    let whole = "q35/default/unix/forward/paused";
    assert_eq!(
        ids,
        [whole, "q35/default:blk0/unix/forward/paused"],
        "{}",
        stderr(&output)
    );
    let split = &cases[0]["split"];
    assert_eq!(split["culprits"], json!([["blk0"]]), "{split}");
    assert_eq!(split["alike"], json!(["rng0"]), "{split}");
    let passed = split["passed"].as_array().expect("devices");
    assert!(passed.contains(&json!("net0")), "{split}");
    // The property is the better explanation, and makes the length moot.
    assert_eq!(cases[0]["cause"]["rule"], "property-default-changed");
    let findings = report["findings"].as_array().expect("findings");
    assert!(
        findings
            .iter()
            .all(|finding| finding["rule"] != "field-resized"),
        "{findings:#?}"
    );
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_examines_one_device_of_a_length_that_several_have_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let new = other_vectors(dir.path());
    let only = [
        "virtio-rng-pci",
        "virtio-blk-pci",
        "virtio-balloon-pci",
        "e1000e",
    ];
    // Both ways: a stream of either build is compared.
    let mut args = vec!["sweep", OLD, &new, "-M", "q35"];
    args.extend(only.iter().flat_map(|driver| ["--only", driver]));
    args.extend(["--format", "json", "-q"]);
    let output = with_builds(&args).output().expect("it runs");
    let report = report(&output);
    in_common(&report);
    let case = |driver: &str| {
        let id = format!("q35/{driver}/unix/forward");
        let cases = report["cases"].as_array().expect("cases");
        let found = cases.iter().find(|case| case["id"] == id.as_str());
        found.unwrap_or_else(|| panic!("no {id}: {}", stderr(&output)))
    };
    for driver in ["virtio-balloon-pci", "e1000e"] {
        assert_eq!(case(driver)["outcome"], "pass", "{}", case(driver));
    }
    let culprits = ["virtio-rng-pci", "virtio-blk-pci"].map(case);
    let outcomes = culprits.map(|case| &case["outcome"]);
    assert_eq!(outcomes, [&json!("fail"), &json!("fail")]);
    let examined: Vec<&&Value> = culprits
        .iter()
        .filter(|c| c["same_as"] == Value::Null)
        .collect();
    assert_eq!(examined.len(), 1, "{culprits:#?}");
    let control = json!({"old_to_old": "pass", "new_to_new": "pass"});
    assert_eq!(examined[0]["control"], control, "{}", examined[0]);
}
