//! Verdicts of whole runs: what does not make a pair compatible.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{changed, report, with_builds, words};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

fn run(args: &[&str]) -> (Value, Option<i32>) {
    let args = [args, &["--format", "json", "-q"]].concat();
    let output = with_builds(&args).output().expect("it runs");
    (report(&output), output.status.code())
}

/// A set of one device with which no build starts.
fn impossible(folder: &Path) -> String {
    let file = folder.join("impossible.toml");
    let text = "name = \"impossible\"\ndescription = \"it has no such place\"\n\n[[device]]\nid = \"e1000\"\n\
                properties = { addr = \"0x77\" }\n";
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

/// The devices that the dumps leave in doubt come through, or fail as a list says: nobody asked for them.
#[apply(test)]
#[needs(Builds)]
fn devices_in_doubt_do_not_speak_for_those_that_were_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = impossible(folder.path());
    let lists = folder.path().join("lists");
    std::fs::create_dir(&lists).expect("made");
    let entry = "[[break]]\nsection = \"isa-vga\"\nrule = \"vmsd-renamed\"\ndirection = \"forward\"\n\
                 machines = [\"pc-q35\"]\nby = \"11.0\"\ncommit = \"0123456\"\nreason = \"meant to\"\n";
    std::fs::write(lists.join("own.toml"), entry).expect("written");
    let lists = lists.display().to_string();
    let args = [
        "check",
        "debian:bookworm-backports",
        "debian:trixie-backports",
        "-M",
        "pc-q35-10.0",
        "--direction",
        "forward",
        "--lists",
        &*lists,
    ];
    for (set, outcome, expected) in [
        (["--device-set", &*set], "skip", ("untested", Some(125))),
        (["--device", "e1000"], "pass", ("compatible", Some(0))),
    ] {
        let (found, status) = run(&[&args[..], &set].concat());
        let cases = found["cases"].as_array().expect("cases");
        let is_derived = |case: &&Value| case["derived"] == json!(true);
        let (derived, planned): (Vec<&Value>, Vec<&Value>) = cases.iter().partition(is_derived);
        assert_eq!(planned.len(), 1, "{planned:#?}");
        assert_eq!(planned[0]["outcome"], outcome);
        let came_through = derived.iter().filter(|case| case["outcome"] == "pass");
        assert!(came_through.count() > 0, "{derived:#?}");
        let verdict = found["verdict"].as_str().expect("a word");
        assert_eq!((verdict, status), expected, "{set:?}");
    }
}

/// Of the same build twice there is nothing in doubt: a set that cannot be set up, or that fails within the build as
/// well, leaves it untested.
#[apply(test)]
#[needs(Builds)]
fn what_was_asked_for_and_could_not_be_judged_leaves_a_pair_untested() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = impossible(folder.path());
    for (command, set, outcome) in [
        ("check", ["--device-set", &*set], "skip"),
        ("live", ["--device-set", &*set], "skip"),
        // The new build does not survive its own stream of it.
        ("live", ["--device", "isa-vga"], "broken"),
    ] {
        let args = words!("{command} {NEW} {NEW} -M pc-q35-7.2 --direction forward");
        let (found, status) = run(&[&args[..], &set, &["--paused"]].concat());
        let first = &found["cases"][0];
        assert_eq!(first["outcome"], outcome, "{command} {set:?}");
        assert_eq!(found["verdict"], "untested", "{command} {set:?}");
        assert_eq!(status, Some(125));
    }
}

/// A build that dies of its own streams as a destination.
fn dies_of_its_own(folder: &Path, suite: &str) -> String {
    // A guest of the same build leaves a mark where this one looks.
    let first = format!(
        "case \"$*\" in *-incoming*) [ -e {mark} ] && exit 3 ;; *pc-q35*) touch {mark} ;; esac",
        mark = folder.join("mark").display(),
    );
    changed(folder, suite, &first)
}

/// The control of the build that sends fails: the other one refuses what it sends all the same, and takes its own.
#[apply(test)]
#[needs(Builds)]
fn a_control_that_fails_does_not_clear_what_the_other_build_refuses() {
    for (direction, outcome, failing) in [
        ("forward", "fail", "old_to_old"),
        ("backward", "lost", "new_to_new"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = match direction {
            "forward" => (dies_of_its_own(folder.path(), OLD), NEW.to_owned()),
            _ => (OLD.to_owned(), dies_of_its_own(folder.path(), NEW)),
        };
        let args = words!("live {old} {new} -M pc-q35-7.2 --device am53c974");
        let how = ["--paused", "--retries", "0", "--direction", direction];
        let (found, status) = run(&[&args[..], &how].concat());
        let case = &found["cases"][0];
        assert_eq!(case["outcome"], outcome, "{case:#}");
        assert_ne!(case["control"][failing], "pass", "{case:#}");
        assert_eq!(found["verdict"], "incompatible");
        assert_eq!(status, Some(1));
    }
}
