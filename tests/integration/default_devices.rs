//! The devices that QEMU adds to a machine by itself, which guests with `-nodefaults` do not show.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{build, changed, report, script, with_builds, words};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

fn run(args: &[&str]) -> (Value, Option<i32>) {
    let args = [args, &["--format", "json", "-q"]].concat();
    let output = with_builds(&args).output().expect("it runs");
    (report(&output), output.status.code())
}

/// The findings about the devices of a machine.
fn about_devices(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().expect("findings");
    let is_about = |finding: &&Value| finding["path"] == json!(["devices"]);
    findings.iter().filter(is_about).collect()
}

/// Direction and outcome of guests with what the builds add.
fn with_defaults(report: &Value) -> Vec<(&str, &str)> {
    let cases = report["cases"].as_array().expect("cases");
    let cases = cases.iter().filter(|case| case["device_set"] == "defaults");
    cases
        .filter_map(|case| Some((case["direction"].as_str()?, case["outcome"].as_str()?)))
        .collect()
}

/// A build that adds a device to the machine unless it is told not to add any.
fn adds(folder: &Path, suite: &str, device: &str) -> String {
    let first = format!(
        "case \"$*\" in *-nodefaults*) ;; *pc-q35*) set -- \"$@\" -device {device} ;; esac"
    );
    changed(folder, suite, &first)
}

/// No guest with `-nodefaults` shows that the old build has a card more: the guest without it does.
#[apply(test)]
#[needs(Builds)]
fn a_default_that_breaks_is_judged_by_a_guest_that_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = adds(folder.path(), "debian:bookworm", "rtl8139");
    for command in [
        words!("live {old} {OLD} -M q35 --device-set bare --paused"),
        words!("check {old} {OLD} -M q35 --device-set bare"),
        words!("sweep {old} {OLD} -M q35 --only e1000"),
    ] {
        let (found, status) = run(&command);
        assert_eq!(status, Some(1), "{command:?}");
        assert_eq!(found["verdict"], "incompatible");
        let outcomes = with_defaults(&found);
        assert!(
            outcomes.contains(&("forward", "fail")),
            "{command:?}: {outcomes:?}"
        );
        let about = about_devices(&found);
        let forward = about
            .iter()
            .find(|finding| finding["direction"] == "forward");
        let forward = forward.unwrap_or_else(|| panic!("{command:?}: {about:#?}"));
        let message = forward["message"].as_str().expect("a text");
        assert!(
            message.contains("rtl8139 in old, none of these in new"),
            "{message}"
        );
        assert_eq!(forward["level"], "warning");
        let cases = found["cases"].as_array().expect("cases");
        let by = cases
            .iter()
            .find(|case| case["id"] == forward["confirmed_by"]);
        let by = by.unwrap_or_else(|| panic!("{command:?}: {forward:#}"));
        assert_eq!(by["outcome"], "fail", "{by:#}");
        // What was asked for is no part of it.
        let others = cases.iter().filter(|case| case["device_set"] != "defaults");
        assert!(others.clone().count() > 0);
        assert!(others.into_iter().all(|case| case["outcome"] == "pass"));
    }
    // An option for a card takes away the one that QEMU would add.
    let prefix = build(OLD).shell_prefix();
    let text = format!("exec env {prefix} -global VGA.xres=1024 \"$@\"");
    let old = script(folder.path(), "qemu-system-i386", &text);
    let (found, status) = run(&words!(
        "live {old} {OLD} -M q35 --device-set bare --paused"
    ));
    assert_eq!(status, Some(1), "{found:#}");
    assert!(!about_devices(&found).is_empty(), "{found:#}");
    assert!(
        with_defaults(&found).contains(&("backward", "fail")),
        "{found:#}"
    );
    // The same in both builds, or nothing: no guest more.
    let both = adds(folder.path(), "debian:bookworm", "e1000");
    for old in [&*both, OLD] {
        let (found, status) = run(&words!(
            "live {old} {old} -M q35 --device-set bare --paused"
        ));
        assert_eq!((with_defaults(&found), status), (Vec::new(), Some(0)));
        assert_eq!(about_devices(&found), Vec::<&Value>::new());
    }
}

/// Machines of Debian's builds of which one build alone has a device by default.
#[apply(test)]
#[needs(Builds)]
fn real_machines_with_other_defaults_are_moved_with_them() {
    for (arch, machine, old, new) in [
        ("aarch64", "highbank", "xgmac", "none of these"),
        ("aarch64", "kzm", "none of these", "lan9118-phy"),
        ("ppc64", "sam460ex", "ppc4xx-host-bridge", "ide-cd"),
    ] {
        let args = ["sweep", OLD, NEW, "--arch", arch, "-M", machine];
        let (found, _) = run(&[&args[..], &["--only", "loader"]].concat());
        let about = about_devices(&found);
        assert_eq!(about.len(), 2, "{machine}: {about:#?}");
        let message = about[0]["message"].as_str().expect("a text");
        let says = format!("{machine} has other devices by default: {old} in old, {new} in new");
        assert!(message.starts_with(&says), "{message}");
        assert_eq!(with_defaults(&found).len(), 2, "{machine}");
    }
}

/// A guest that fails for its memory does not fail for the devices that it has beside that.
#[apply(test)]
#[needs(Builds)]
fn other_devices_are_not_blamed_for_the_memory_of_a_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = adds(folder.path(), "debian:bookworm", "rtl8139 -m 256");
    let own = old.as_str();
    for (old, new, arch, machine) in [
        ("debian:bullseye", OLD, "ppc64", "powernv9"),
        (own, OLD, "x86_64", "pc-q35-7.2"),
        (own, NEW, "x86_64", "pc-q35-7.2"),
    ] {
        let args = ["check", old, new, "--arch", arch, "-M", machine];
        let (found, status) = run(&[&args[..], &["--device-set", "bare", "--paused"]].concat());
        assert_eq!(status, Some(1), "{machine}");
        let cases = found["cases"].as_array().expect("cases");
        let of = |case: &&Value| case["device_set"] == "defaults";
        for case in cases.iter().filter(of) {
            assert_eq!(case["outcome"], "fail", "{case:#}");
            let message = case["cause"]["message"].as_str().expect("a text");
            assert!(message.contains("`memory.size` is "), "{message}");
            assert!(!message.contains("other devices"), "{message}");
            let findings = found["findings"].as_array().expect("findings");
            let mut by = findings
                .iter()
                .filter(|finding| finding["confirmed_by"] == case["id"]);
            let finding = by.next().expect("a finding");
            assert_eq!(finding["path"], json!(["memory.size"]), "{finding:#}");
            assert_eq!(by.next(), None);
        }
        assert_eq!(with_defaults(&found).len(), 2, "{machine}");
        for finding in about_devices(&found) {
            assert_eq!(finding["confirmed_by"], Value::Null, "{finding:#}");
        }
    }
}

/// Another CPU has nothing to do with a block of memory, nor with what a build cannot do to itself.
#[apply(test)]
#[needs(Builds)]
fn another_cpu_is_not_blamed_for_what_it_does_not_explain() {
    let pair = ["sweep", NEW, "debian:trixie-backports", "--arch", "hppa"];
    let (found, _) = run(&[&pair[..], &["-M", "B160L", "--only", "loader"]].concat());
    assert_eq!(
        with_defaults(&found),
        [("backward", "fail"), ("forward", "broken")]
    );
    let cases = found["cases"].as_array().expect("cases");
    let of = |case: &&Value| case["device_set"] == "defaults";
    for case in cases.iter().filter(of) {
        let message = case["cause"]["message"].as_str().expect("a text");
        assert!(!message.contains("another CPU"), "{message}");
        assert_eq!(case["cause"]["rule"], Value::Null, "{case:#}");
    }
    let findings = found["findings"].as_array().expect("findings").iter();
    let mut of_cpu = findings.filter(|finding| finding["path"] == json!(["cpu"]));
    assert!(of_cpu.all(|finding| finding["confirmed_by"].is_null()));
}

/// What every guest shows needs no guest more.
#[apply(test)]
#[needs(Builds)]
fn other_devices_that_every_guest_has_are_told_and_no_more() {
    let args = ["sweep", OLD, NEW, "--arch", "aarch64", "-M", "lm3s6965evb"];
    let (found, _) = run(&[&args[..], &["--only", "loader"]].concat());
    let about = about_devices(&found);
    assert_eq!(about.len(), 2, "{about:#?}");
    for finding in about {
        let message = finding["message"].as_str().expect("a text");
        assert!(message.contains("sd-card, "), "{message}");
        assert!(message.contains("sd-card-spi, "), "{message}");
        assert_eq!(finding["level"], "note");
    }
    assert_eq!(with_defaults(&found), Vec::new());
}
