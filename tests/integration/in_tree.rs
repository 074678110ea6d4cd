//! A developer who stands in a tree of QEMU and names no build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, report, script, stderr, with_builds};

/// What a build folder has, so that it is one of a tree elsewhere.
const CONFIGURED: &str = "config-host.mak";

/// A tree of sources that is not built.
fn tree(folder: &Path, version: &str) -> PathBuf {
    let top = folder.join("qemu");
    for folder in ["include/qemu", "hw/net", "build"] {
        fs::create_dir_all(top.join(folder)).expect("made");
    }
    fs::write(top.join("VERSION"), format!("{version}\n")).expect("written");
    fs::write(top.join("include/qemu/osdep.h"), "").expect("written");
    top
}

/// Links a tree's program: it is that of a suite.
fn link(top: &Path, suite: &str) {
    let line = format!("exec env {} \"$@\"", build(suite).shell_prefix());
    script(&top.join("build"), "qemu-system-x86_64", &line);
}

fn at(folder: &Path, args: &[&str]) -> Output {
    with_builds(args)
        .current_dir(folder)
        .output()
        .expect("it starts")
}

fn label<'r>(report: &'r Value, side: &str) -> &'r str {
    report[side]["label"].as_str().expect("a label")
}

#[apply(test)]
#[needs(Builds)]
fn a_tree_is_compared_with_the_last_release_wherever_one_stands_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    link(&top, "debian:trixie");
    build("debian:bookworm");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let configured = format!("SRC_PATH={}\n", top.display());
    fs::write(elsewhere.join(CONFIGURED), configured).expect("written");
    fs::copy(
        top.join("build/qemu-system-x86_64"),
        elsewhere.join("qemu-system-x86_64"),
    )
    .expect("copied");
    let absolute = top.join("build").display().to_string();
    for (folder, args, new) in [
        (&top, vec!["static"], "./build"),
        (&top.join("hw/net"), vec!["static"], &*absolute),
        (&elsewhere, vec!["static"], "./"),
        (&top, vec!["static", "last-release", "."], "."),
        (
            &top,
            vec!["static", "./build", "--against", "last-release"],
            "./build",
        ),
        (
            &top,
            vec!["sweep", "last-release", "build", "--only", "isa-debug-exit"],
            "build",
        ),
    ] {
        let told = report(&at(folder, &[&args[..], &["--format", "json"]].concat()));
        assert_eq!(label(&told, "new"), new, "{args:?}");
        assert_eq!(told["new"]["version"], "10.0.13");
        // Of the fetched releases, it is the newest before 10.0.
        let version = told["old"]["version"].as_str().expect("a version");
        assert!(
            version.starts_with("7.2.") || version.starts_with("9."),
            "{version}"
        );
        let machine = told["machine"].as_str().expect("the usual machine");
        assert!(machine.starts_with("pc-q35-"), "{machine}");
    }
    let told = report(&at(
        &top,
        &["static", "--against", "debian:trixie", "--format", "json"],
    ));
    assert_eq!(label(&told, "old"), "debian:trixie");
    assert_eq!(told["verdict"], "compatible");
}

#[apply(test)]
fn a_build_that_is_not_named_and_not_there_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "0.1.0");
    let own = |args: &[&str]| {
        let output = crate::common::program(args)
            .current_dir(&top)
            .args(["--cache", "cache"])
            .output();
        output.expect("it starts")
    };
    let refused = |output: &Output, wanted: &str| {
        assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
        assert!(stderr(output).contains(wanted), "{}", stderr(output));
    };
    refused(&own(&["static"]), "is not built");
    refused(
        &own(&["check", "./build"]),
        "one BUILD, and two are compared",
    );
    refused(
        &own(&["static", "last-release", "last-release"]),
        "goes with one",
    );
    refused(&own(&["dump", "last-release", "-o", "-"]), "goes with one");
    refused(
        &own(&["check", "a", "b", "--against", "c"]),
        "cannot be used with",
    );
    script(&top.join("build"), "qemu-system-x86_64", "exit 1");
    refused(&own(&["static"]), "no build of QEMU 0.0");
    fs::remove_file(top.join("VERSION")).expect("removed");
    refused(&own(&["live"]), "in no tree of QEMU");
}
