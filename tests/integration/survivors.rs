//! Nothing that a script starts outlives a run, wherever it hides and however the run ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use macro_rules_attribute::apply;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::{build, script, wait_until, with_builds};

const BUILD: &str = "debian:trixie";

/// Scripts that start a build (`BUILD`) so that no signal to a group ends it. `HERE` is the temporary folder of the run.
const HIDING: &[(&str, &str)] = &[
    ("a child", "env BUILD \"$@\""),
    ("a session of its own", "setsid env BUILD \"$@\" & wait"),
    (
        "a session of its own, without an environment",
        "setsid env -i BUILD \"$@\" & wait",
    ),
];

/// A process beside the build, which is a child of nobody and has no environment.
const DAEMON: &str =
    "(setsid env -i sh -c 'sleep 1000; : HERE' >/dev/null 2>&1 &)\nexec env BUILD \"$@\"";

/// The processes that have a folder in their command lines, with these.
fn processes(folder: &Path) -> Vec<(PathBuf, String)> {
    let folder = folder.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.map(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (process.path(), line)
    });
    lines.filter(|(_, line)| line.contains(&folder)).collect()
}

/// The command lines of all that runs with a folder in it.
fn running(folder: &Path) -> Vec<String> {
    let processes = processes(folder).into_iter();
    processes.map(|(_, line)| line).collect()
}

/// Starts a run of guests that move within a build that a script starts.
fn start(test: &TempDir, temp: &TempDir, text: &str, more: &[&str]) -> Child {
    let text = text.replace("BUILD", &build(BUILD).shell_prefix());
    let text = text.replace("HERE", &temp.path().display().to_string());
    start_within(&script(test.path(), "qemu", &text), temp, more)
}

/// Starts a run of guests that move within a build.
fn start_within(build: &str, temp: &TempDir, more: &[&str]) -> Child {
    let args = ["live", build, build, "-M", "q35", "--device-set", "bare"];
    with_builds(&[&args[..], &["--paused"], more].concat())
        .env("TMPDIR", temp.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Tells whether a destination is there.
fn is_under_way(temp: &TempDir) -> bool {
    let lines = running(temp.path());
    lines.iter().any(|line| line.contains("-incoming"))
}

fn ended_by(signal: Signal, text: &str) -> TempDir {
    let (test, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut run = start(&test, &temp, text, &["--loops", "500"]);
    wait_until("no guest moves", || is_under_way(&temp));
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
    run.wait().unwrap();
    temp
}

#[apply(test)]
#[needs(Builds)]
fn nothing_is_left_of_a_run_that_ends_by_itself_or_by_a_signal() {
    for (what, text) in HIDING.iter().chain(&[("a daemon", DAEMON)]) {
        let (test, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut run = start(&test, &temp, text, &["--direction", "forward"]);
        assert_eq!(run.wait().unwrap().code(), Some(0), "{what}");
        assert_eq!(running(temp.path()), [""; 0], "{what}");
        let temp = ended_by(Signal::SIGTERM, text);
        assert_eq!(running(temp.path()), [""; 0], "{what}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn nothing_is_left_of_a_run_that_is_killed() {
    for (what, text) in HIDING.iter().chain(&[("a daemon", DAEMON)]) {
        let temp = ended_by(Signal::SIGKILL, text);
        wait_until(what, || running(temp.path()).is_empty());
    }
}

/// Where memory runs out, that is: one guest is lost then, and not the report.
#[apply(test)]
#[needs(Builds)]
fn the_system_kills_a_build_before_the_run() {
    let test = tempfile::tempdir().unwrap();
    let text = format!("exec env {} \"$@\"", build(BUILD).shell_prefix());
    let readiness = |process: &Path| {
        let text = fs::read_to_string(process.join("oom_score_adj")).unwrap_or_default();
        text.trim().to_owned()
    };
    // The program itself, behind barriers, and a script.
    for build in [BUILD, &script(test.path(), "qemu", &text)] {
        let temp = tempfile::tempdir().unwrap();
        let mut run = start_within(build, &temp, &["--loops", "500"]);
        let (mut of_builds, mut of_run) = (Vec::new(), String::new());
        wait_until("no guest moves", || {
            let processes = processes(temp.path()).into_iter();
            let destinations = processes.filter(|(_, line)| line.contains("-incoming"));
            of_builds = destinations
                .map(|(process, _)| readiness(&process))
                .collect();
            of_run = readiness(&Path::new("/proc").join(run.id().to_string()));
            // One may end as it is looked at.
            of_builds.retain(|text| !text.is_empty());
            !of_builds.is_empty()
        });
        kill(
            Pid::from_raw(i32::try_from(run.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        run.wait().unwrap();
        assert!(of_builds.iter().all(|text| text == "1000"), "{of_builds:?}");
        assert_eq!(of_run, readiness(Path::new("/proc/self")));
    }
}

#[apply(test)]
#[needs(Builds)]
fn the_ends_of_what_a_script_leaves_are_taken_note_of() {
    let (test, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, text) = HIDING[0];
    let mut run = start(&test, &temp, text, &["--loops", "10"]);
    let us = run.id().to_string();
    let ended_children = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|one| fs::read_to_string(one.path().join("stat")).ok());
        let is_ended = |stat: &String| {
            let (_, rest) = stat.rsplit_once(')').unwrap();
            rest.split_whitespace().take(2).eq(["Z", &us])
        };
        stats.filter(is_ended).count()
    };
    let mut most = 0;
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        most = most.max(ended_children());
    };
    assert_eq!(status.code(), Some(0));
    // Twenty guests have gone.
    assert!(most < 10, "{most}");
}
