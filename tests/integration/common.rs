//! What the modules share: the program, real builds, and reports held against the schema.
//!
//! Real builds are kept in `$MIGCOMPAT_CACHE`, or else where the program keeps them. Without a network the
//! tests of them fail; with `MIGCOMPAT_OFFLINE=1` they are ignored.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use migcompat::internals::qemu;
use migcompat::internals::qemu::{Build, Cache};
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
    follows(migcompat::report::render::json::SCHEMA, report);
}

/// Holds what a program reads against the schema of its form.
pub fn follows(schema: &str, report: &Value) {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
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

fn cache() -> Cache {
    let dir = std::env::var_os("MIGCOMPAT_CACHE").map(PathBuf::from);
    Cache::new(dir).expect("a cache")
}

/// The folder of real builds, which outlives the tests.
pub fn cache_dir() -> PathBuf {
    cache().path().expect("a home").to_owned()
}

/// A real build for x86_64: `debian:bookworm`.
pub fn build(name: &str) -> Build {
    build_for(name, "x86_64")
}

/// A build for an architecture, which was fetched already.
pub fn build_for(name: &str, arch: &str) -> Build {
    let arg = qemu::parse(name).expect("a build");
    qemu::open(&arg, arch, &cache(), &|event| eprintln!("{event}")).expect("it opens")
}

/// Returns once it holds. What takes a second takes a minute on a host that is busy enough.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(300);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within five minutes");
        sleep(Duration::from_millis(5));
    }
}

/// A shell script that can be run, and its path.
pub fn script(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    // By another process: what any test starts at that moment would have the file open for writing, in which nobody can
    // run it. And at once, for somebody may be looking at it.
    let mut writer = Command::new("sh")
        .args([
            "-c",
            r#"cat >"$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0""#,
        ])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = writer.stdin.take().expect("piped");
    write!(input, "#!/bin/sh\n{text}\n").expect("written");
    drop(input);
    assert!(writer.wait().expect("it ends").success());
    path.display().to_string()
}
