//! Guests with a TPM: what it keeps is in the stream, and comes from a process beside the build.

use std::fs;
use std::path::Path;
use std::process::Command;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, changed, stderr, words};
use crate::live::Run;

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

/// A guest whose TPM is the emulator of QEMU's own users.
const GUEST: &str = "-M pc-q35-7.2 -nodefaults -m 32M -tpmdev emulator,id=tpm0,chardev=chrtpm -device tpm-crb,tpmdev=tpm0";

/// A build whose TPM has no memory for what the firmware is asked.
fn without_requests(folder: &Path) -> String {
    changed(folder, NEW, "set -- \"$@\" -global tpm-crb.ppi=off")
}

/// Also what a driver has sent to one and not fetched yet.
#[apply(test)]
#[needs(Builds)]
fn tpms_go_back_and_forth_with_what_they_keep() {
    let run = Run::new(&words!("sweep {OLD} {NEW} -M q35 --only tpm-* --driven"));
    let cases = run.report["cases"].as_array().unwrap().iter();
    let of_tpms = cases.filter(|case| case["id"].as_str().unwrap().contains("/tpm-"));
    let outcomes: Vec<&Value> = of_tpms.map(|case| &case["outcome"]).collect();
    assert_eq!(outcomes, ["pass"; 8], "{}", run.said());
    let coverage = &run.report["coverage"];
    let sections = coverage["sections"].as_array().unwrap();
    for name in ["tpm-crb", "tpm-tis"] {
        let section = sections.iter().find(|section| section["section"] == name);
        assert_eq!(section.unwrap()["reached"], "passed", "{name}");
    }
    // No device has it.
    let sent = run.report["described"].to_string();
    assert!(sent.contains("\"tpm-emulator\""), "{sent}");
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds, Program("swtpm"))]
fn a_guest_with_a_tpm_is_reproduced_with_the_emulator_that_users_have() {
    let folder = tempfile::tempdir().unwrap();
    let without = without_requests(folder.path());
    let logs = folder.path().join("logs");
    let logs = logs.display();
    let run = Run::new(&words!(
        "live {OLD} {without} -M q35 --device tpm-crb --direction forward --paused --retries 0 --keep-logs {logs}"
    ));
    assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["cause"]["field"], "tpm-ppi", "{case}");
    assert_eq!(case["cause"]["rule"], "property-default-changed", "{case}");
    let script = case["reproducer"].as_str().unwrap();
    let by_hand = Command::new("sh").arg(script).output().unwrap();
    let printed = String::from_utf8_lossy(&by_hand.stdout);
    assert!(
        printed.contains("came: fail"),
        "{printed}{}",
        stderr(&by_hand)
    );
    assert_eq!(by_hand.status.code(), Some(0));
    let line = case["reproduce"].as_str().unwrap();
    let by_hand = Command::new("sh").args(["-c", line]).output().unwrap();
    let said = stderr(&by_hand);
    assert!(said.contains("Unknown ramblock \"tpm-ppi\""), "{said}");
    // Without that emulator nothing is claimed.
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let mut nothing = Command::new("/bin/sh");
    let nothing = nothing.arg(script).env("PATH", &tools).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("swtpm"), "{}", stderr(&nothing));
}

/// What another TPM has kept is loaded into ours as it is. Without a description nobody knows that there was one, and a
/// build is not said to have no such thing.
#[apply(test)]
#[needs(Builds, Program("swtpm"))]
fn a_saved_guest_has_the_tpm_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (state, socket, kept) = (path("state"), path("socket"), path("kept"));
    fs::create_dir(&kept).unwrap();
    let line = format!(
        "swtpm socket --daemon --terminate --tpm2 --ctrl type=unixio,path={socket} --tpmstate dir={kept} && \
         printf 'migrate \"exec:cat > {state}\"\nquit\n' | \
         {} {GUEST} -chardev socket,id=chrtpm,path={socket} -S -display none -monitor stdio",
        build(OLD).shell_prefix()
    );
    let saved = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(Path::new(&state).exists(), "{}", stderr(&saved));
    let guest = path("guest");
    let described = format!("qemu-system-x86_64 {GUEST} -chardev socket,id=chrtpm,path={socket}\n");
    fs::write(&guest, described).unwrap();
    let without = without_requests(folder.path());
    for (build, more, status) in [
        (OLD, &["--guest", &guest][..], 0),
        (NEW, &["--guest", &guest], 0),
        (&without, &["--guest", &guest], 1),
        (NEW, &[], 125),
    ] {
        let run = Run::new(&[&["load", &state, build], more].concat());
        assert_eq!(run.status(), Some(status), "{}", run.said());
        assert!(!run.said().contains("section-removed"), "{}", run.said());
    }
}

/// A device that sits on a bus is one of the build, or none.
#[apply(test)]
#[needs(Builds)]
fn a_saved_guest_with_a_device_that_a_build_does_not_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state = state.display();
    let line = format!(
        "printf 'migrate \"exec:cat > {state}\"\nquit\n' | \
         {} -M pc-q35-7.2 -nodefaults -m 32M -device qxl-vga -S -display none -monitor stdio",
        build(OLD).shell_prefix()
    );
    let saved = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(saved.status.success(), "{}", stderr(&saved));
    let run = Run::new(&words!("load {state} {NEW}"));
    assert_eq!(run.status(), Some(1), "{}", run.said());
    assert_eq!(run.case(0)["cause"]["rule"], "section-removed");
}
