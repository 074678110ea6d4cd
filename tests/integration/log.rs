//! The debug log: what goes into it, and that nothing else changes for it.

use std::fs;
use std::path::PathBuf;

use macro_rules_attribute::apply;

use crate::common::{dump, program, stderr, stdout, with_builds, words};

const FILTER: &str = "MIGCOMPAT_LOG";

/// A file for a log, in a folder of its own.
fn log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("debug.log");
    (folder, file)
}

#[apply(test)]
fn a_comparison_prints_the_same_with_a_log_and_without() {
    let (_folder, file) = log();
    let old = dump("7.2.22", "x86_64-q35");
    let new = dump("10.0.13", "x86_64-q35");
    let plain = program(&["static", &old, &new])
        .env_remove(FILTER)
        .output()
        .unwrap();
    let logged = program(&["static", &old, &new, "--log"])
        .arg(&file)
        .env_remove(FILTER)
        .output()
        .unwrap();
    assert_eq!(logged.status.code(), Some(1));
    assert_eq!(logged, plain);
    let text = fs::read_to_string(&file).unwrap();
    for part in [
        "started version=",
        &format!("read a dump file={old} machine=\"pc-q35-5.2\""),
        &format!("read a dump file={new} machine=\"pc-q35-5.2\""),
        "ended exit=Incompatible",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours:\n{text}");
}

#[apply(test)]
fn the_filter_decides_what_is_logged_and_logs_alone_to_standard_error() {
    let (_folder, file) = log();
    let arguments = ["rules", "list"];
    let output = program(&arguments)
        .arg("--log")
        .arg(&file)
        .env(FILTER, "migcompat=error")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    let output = program(&arguments).env(FILTER, "info").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("started version="));
    assert!(!stdout(&output).contains("started version="));
}

#[apply(test)]
fn a_log_that_cannot_be_written_is_wrong_usage() {
    for (file, filter, message) in [
        ("/dev/null/log", "", "cannot write the log /dev/null/log"),
        (
            "/dev/null",
            "migcompat=loud",
            "cannot use MIGCOMPAT_LOG=migcompat=loud",
        ),
    ] {
        let output = program(&["rules", "list", "--log", file])
            .env(FILTER, filter)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_migration_logs_its_processes_its_legs_and_what_is_said_on_the_monitors() {
    let (_folder, file) = log();
    let arguments = words!(
        "live debian:bookworm debian:bookworm -M q35 --device-set bare --direction forward --paused"
    );
    let output = with_builds(&arguments)
        .arg("--log")
        .arg(&file)
        .env(FILTER, "trace")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(&file).unwrap();
    let has = |parts: &[&str]| {
        let mut lines = text.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    for parts in [
        &["the build is in the cache", "suite=\"bookworm\""][..],
        &[
            "case{id=",
            "guest{machine=",
            "process{pid=",
            "started line=",
            "-incoming",
        ],
        &["process{pid=", "-> query-migrate"],
        &["process{pid=", "<- {\"return\""],
        &["case{id=", "the leg begins leg=0 direction=forward"],
        &[
            "case{id=",
            "the leg is over leg=0 direction=forward outcome=Pass",
        ],
        &["process{pid=", "exited with status 0"],
    ] {
        assert!(has(parts), "no line with {parts:?} in\n{text}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_fetched_build_says_once_what_it_is_made_of() {
    let (_folder, file) = log();
    let compare = || {
        let output = with_builds(&words!(
            "static debian:bookworm debian:trixie -M pc-q35-7.1"
        ))
        .arg("--log")
        .arg(&file)
        .output()
        .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        (output.stdout, fs::read_to_string(&file).unwrap())
    };
    let (first, _) = compare();
    let (again, logged) = compare();
    assert_eq!(first, again);
    assert_eq!(logged.matches("the answer was kept").count(), 2, "{logged}");
    let started = logged
        .lines()
        .filter(|line| line.contains("process: started"));
    // What a build is, is asked each time: it may not start here any more.
    assert_eq!(started.clone().count(), 2, "{logged}");
    assert!(
        started.clone().all(|line| line.contains("-M none")),
        "{logged}"
    );
}
