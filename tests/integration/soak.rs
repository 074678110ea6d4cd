//! Many legs in one run: the program neither grows nor keeps files open, and every leg has one outcome.
//!
//! `MIGCOMPAT_LEGS=N` moves a guest N times instead of a few dozen.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{follows_the_schema, with_builds};
use crate::live::leaves_nothing;

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

/// What the program holds at a moment.
#[derive(Debug, Clone, Copy)]
struct Holds {
    files: usize,
    kib: u64,
}

fn holds(pid: u32) -> Option<Holds> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.split_whitespace().next()?.parse().ok()?;
    Some(Holds { files, kib })
}

#[apply(test)]
#[needs(Builds)]
fn many_legs_have_one_outcome_and_take_no_more_memory_or_files_than_some() {
    let legs = std::env::var("MIGCOMPAT_LEGS").map_or(40, |legs| legs.parse().expect("a number"));
    let loops = (legs / 2).to_string();
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("report.json");
    let args = ["live", OLD, NEW, "-M", "q35", "--paused", "--retries", "0"];
    let looped = ["--loops", &loops];
    let mut child = with_builds(&[&args[..], &looped].concat())
        .arg("-o")
        .arg(&file)
        .env("TMPDIR", temp.path())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        seen.extend(holds(child.id()));
        sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    follows_the_schema(&report);
    let moved = report["cases"][0]["legs"].as_array().unwrap();
    assert_eq!(moved.len(), legs);
    assert!(moved.iter().all(|leg| leg["outcome"] == "pass"));
    fs::remove_file(&file).unwrap();
    leaves_nothing(temp.path());

    // The builds are opened in the first fifth, and compared in the last one.
    let part = |from: usize, to: usize| {
        let part = &seen[seen.len() * from / 5..seen.len() * to / 5];
        let files = part.iter().map(|holds| holds.files).max().unwrap();
        let kib = part.iter().map(|holds| holds.kib).max().unwrap();
        Holds { files, kib }
    };
    let (early, late) = (part(1, 2), part(3, 4));
    println!("{legs} legs: {early:?}, then {late:?}");
    // One that a leg does not close is many by then; the most of a moment may be missed.
    assert!(
        late.files <= early.files + legs / 5,
        "{early:?}, then {late:?}"
    );
    // Streams of some hundred kilobytes come and go; what a leg keeps is its result.
    assert!(
        late.kib < early.kib + 8192 + 64 * legs as u64,
        "{early:?}, then {late:?}"
    );
}
