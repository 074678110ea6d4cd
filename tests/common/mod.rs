//! What the test files share: the program, real builds, and reports held against the schema.
//!
//! Real builds are kept in `$MIGCOMPAT_CACHE`, or else below the target folder. Without a network the
//! tests of them fail; with `MIGCOMPAT_OFFLINE=1` they say loudly that they tested nothing.

// No file uses all of it.
#![allow(dead_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use migcompat::qemu;
use migcompat::qemu::{Build, Cache, Progress};
use serde_json::Value;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The program, started where its fixtures are.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcompat"));
    command
        .current_dir(root())
        .env_remove("CLICOLOR_FORCE")
        .args(args);
    command
}

pub fn migcompat(args: &[&str]) -> Output {
    program(args).output().expect("it starts")
}

/// The same with the cache that real builds are in.
pub fn with_builds(args: &[&str]) -> Command {
    let mut command = program(args);
    command.arg("--cache").arg(cache_dir());
    command
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report that a run with `--format json` wrote, held against the schema.
pub fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)));
    follows_the_schema(&report);
    report
}

pub fn follows_the_schema(report: &Value) {
    let schema: Value =
        serde_json::from_str(migcompat::report::render::json::SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is sound");
    let wrong: Vec<String> = validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The committed dump of a machine.
pub fn dump(version: &str, name: &str) -> String {
    format!("fixtures/dumps/{version}/{name}.json.zst")
}

/// Whether real builds can be had. Where they cannot, and that was not announced, tests fail.
pub fn online(test: &str) -> bool {
    let offline = std::env::var_os("MIGCOMPAT_OFFLINE").is_some_and(|value| value == "1");
    if offline {
        eprintln!("UNTESTED: {test}: MIGCOMPAT_OFFLINE=1 is set, no real build was fetched or run");
    }
    !offline
}

pub fn cache_dir() -> PathBuf {
    std::env::var_os("MIGCOMPAT_CACHE").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        PathBuf::from,
    )
}

/// A real build for x86_64: `debian:bookworm`.
pub fn build(name: &str) -> Build {
    let arg = qemu::parse(name).expect("a build");
    let cache = Cache::new(Some(cache_dir())).expect("a cache");
    qemu::open(&arg, "x86_64", &cache, Progress::Lines).expect("it opens")
}

/// A shell script that can be run, and its path.
pub fn script(folder: &Path, name: &str, text: &str) -> String {
    executable(folder, name, &format!("#!/bin/sh\n{text}\n"))
}

/// The same of any language.
pub fn executable(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
    path.display().to_string()
}
