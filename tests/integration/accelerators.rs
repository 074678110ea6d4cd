//! Accelerators: which one is taken, why not another, and builds that lack one.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, migcompat, script, stderr, with_builds, words};
use crate::live::Run;

const OLD: &str = "debian:trixie";
/// It brings the accelerator of QEMU's own tests along, so that it starts without another one.
const NEW: &str = "debian:trixie-backports";

/// A script that starts a build as one without an accelerator behaves: QEMU goes through the list that it is given.
fn without(accelerator: &str, suite: &str, folder: &Path) -> String {
    let prefix = build(suite).shell_prefix();
    let text = format!(
        r#"n=$# left= lacks=
while [ $n -gt 0 ]; do
    if [ "$1 $2" = "-accel {accelerator}" ]; then
        echo "qemu-system-x86_64: -accel {accelerator}: invalid accelerator {accelerator}" >&2
        lacks=1 n=$((n - 2))
        shift 2
    else
        [ "$1" = -accel ] && left=1
        set -- "$@" "$1"
        n=$((n - 1))
        shift
    fi
done
[ -n "$lacks" ] && [ -z "$left" ] && exit 1
exec env {prefix} "$@""#
    );
    script(
        folder,
        &format!("{}-without", suite.replace(':', "-")),
        &text,
    )
}

/// The accelerator that a report names for its only architecture, and those that were passed over.
fn used(report: &Value) -> (&str, Vec<&str>) {
    let used = &report["accelerators"][0];
    let passed_over = used["passed_over"].as_array().unwrap().iter();
    let names = passed_over.map(|of| of["accelerator"].as_str().unwrap());
    (used["accelerator"].as_str().unwrap(), names.collect())
}

#[apply(test)]
fn what_is_no_list_of_accelerators_is_refused() {
    for (list, words) in [
        ("hvf", "there are tcg, kvm"),
        ("kvm,kvm", "kvm is in the list twice"),
        ("tcg,", "there are tcg, kvm"),
    ] {
        let output = migcompat(&["live", "a", "b", "-M", "q35", "--accel", list]);
        assert_eq!(output.status.code(), Some(2), "{list}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[apply(test)]
#[needs(Builds)]
fn without_kvm_in_a_build_auto_is_emulation_and_kvm_is_untested() {
    let folder = tempfile::tempdir().unwrap();
    let lacking = without("kvm", NEW, folder.path());
    let args = words!("live {OLD} {lacking} -M q35 --device pvpanic-pci --paused");
    let run = Run::new(&[&args[..], &["--accel", "auto"]].concat());
    assert_eq!(run.outcomes(), ["pass", "pass"], "{}", run.said());
    assert_eq!(used(&run.report), ("tcg", vec!["kvm"]));
    let notices = run.report["notices"].as_array().unwrap();
    let passed_over = |notice: &&Value| notice["kind"] == "accelerator-passed-over";
    assert_eq!(notices.iter().filter(passed_over).count(), 1, "{notices:?}");
    run.leaves_nothing();

    let run = Run::new(&[&args[..], &["--accel", "kvm"]].concat());
    assert_eq!(run.status(), Some(125), "{}", run.said());
    assert!(run.said().contains("--accel auto"), "{}", run.said());

    let run = Run::new(&[&args[..], &["--accel", "tcg,kvm"]].concat());
    assert_eq!(used(&run.report), ("tcg", vec![]), "{}", run.said());
    assert_eq!(run.status(), Some(0), "{}", run.said());
}

#[apply(test)]
#[needs(Builds)]
fn a_build_without_tcg_is_asked_and_dumped_and_its_guests_are_untested() {
    let folder = tempfile::tempdir().unwrap();
    let lacking = without("tcg", NEW, folder.path());
    let run = Run::new(&["static", &lacking, NEW, "-M", "q35"]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let args = words!("live {lacking} {NEW} -M q35 --device pvpanic-pci");
    let run = Run::new(&args);
    assert_eq!(run.status(), Some(125), "{}", run.said());
    assert!(
        run.said().contains("invalid accelerator tcg") || run.outcomes() == ["skip", "skip"],
        "{}",
        run.said()
    );
}

#[apply(test)]
#[needs(Builds, Kvm)]
fn a_build_without_tcg_moves_guests_with_kvm() {
    let folder = tempfile::tempdir().unwrap();
    let lacking = without("tcg", OLD, folder.path());
    let args = ["sweep", &lacking, NEW, "-M", "q35", "--only", "pvpanic-pci"];
    let run = Run::new(&[&args[..], &["--accel", "tcg,kvm"]].concat());
    assert_eq!(run.status(), Some(0), "{}", run.said());
    assert!(
        run.outcomes().iter().all(|outcome| *outcome == "pass"),
        "{}",
        run.said()
    );
    assert_eq!(used(&run.report), ("kvm", vec!["tcg"]));
    let why = run.report["accelerators"][0]["passed_over"][0]["reason"].as_str();
    assert!(why.unwrap().contains("invalid accelerator tcg"), "{why:?}");
    run.leaves_nothing();
}

/// What a machine is with KVM, the host's processor decides: another one may ask next.
#[apply(test)]
#[needs(Builds, Kvm)]
fn with_kvm_a_fetched_build_is_asked_about_its_machines_each_time() {
    let folder = tempfile::tempdir().unwrap();
    for (accel, kept) in [("tcg", true), ("kvm", false)] {
        let kept_again = [1, 2].map(|time| {
            let file = folder.path().join(format!("{accel}-{time}"));
            let args = words!("live debian:bookworm {OLD} -M q35 --device-set bare --paused");
            let more = ["--accel", accel, "--cpu", "EPYC"];
            let output = with_builds(&[&args[..], &more].concat())
                .arg("--log")
                .arg(&file)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let logged = std::fs::read_to_string(&file).unwrap();
            let mut lines = logged.lines();
            lines.any(|line| line.contains("the answer was kept") && !line.contains("subject=Dump"))
        });
        assert_eq!(kept_again[1], kept, "{accel}");
    }
}

#[apply(test)]
#[needs(Builds, Kvm)]
fn with_kvm_its_own_devices_are_sent_and_counted() {
    let args = ["check", "debian:bookworm", OLD, "-M", "q35", "--paused"];
    let more = ["--accel", "kvm", "--cpu", "EPYC", "--device", "pvpanic-pci"];
    let run = Run::new(&[&args[..], &more].concat());
    let case = run.case(0);
    assert_eq!(case["outcome"], "pass", "{}", run.said());
    assert_eq!(used(&run.report), ("kvm", vec![]));
    let sections = run.report["coverage"]["sections"].as_array().unwrap();
    for own in ["kvmclock", "kvm-ioapic", "kvm-i8259", "kvm-pit"] {
        let found = sections.iter().find(|section| section["section"] == own);
        let reached = &found.unwrap_or_else(|| panic!("{own} is in no dump"))["reached"];
        assert_eq!(reached, "passed", "{own}");
    }
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds, FastKvm)]
fn with_kvm_a_guest_that_works_is_sent_in_several_passes() {
    let args = ["live", OLD, NEW, "-M", "q35", "--device", "pvpanic-pci"];
    let run = Run::new(&[&args[..], &["--accel", "kvm", "--loops", "3"]].concat());
    let case = run.case(0);
    assert_eq!(case["outcome"], "pass", "{}", run.said());
    for leg in case["legs"].as_array().unwrap() {
        assert!(leg["passes"].as_u64().unwrap() > 2, "{leg}");
    }
}
