//! Builds that die, fall silent or talk nonsense at a certain command, and scripts that leave processes behind: one
//! fault has one answer, soon, and nothing stays.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{build, script, wait_until};
use crate::live::{Run, command, leaves_nothing};
use crate::needs::mounted;
use crate::processes::{Fault, faulty};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

const SOURCE: &str = "*-incoming*) ;; *pc-q35*";
const DESTINATION: &str = "*-incoming*";

/// A build with a fault in one role, the first time.
fn broken(dir: &Path, suite: &str, role: &str, at: &str, fault: Fault) -> String {
    let prefix = build(suite).shell_prefix();
    let line = faulty(&prefix, at, fault, Some(&dir.join("struck")));
    let text = format!("case \"$*\" in {role}) {line} ;; esac\nexec env {prefix} \"$@\"");
    script(dir, "qemu-system-x86_64", &text)
}

/// Moves a guest forward, with a fault that comes once with a command to one side.
fn struck(role: &str, at: &str, fault: Fault, more: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let (mut old, mut new) = (OLD.to_owned(), NEW.to_owned());
    match role {
        SOURCE => old = broken(dir.path(), OLD, role, at, fault),
        _ => new = broken(dir.path(), NEW, role, at, fault),
    }
    let args = ["live", &old, &new, "-M", "q35", "--device", "e1000"];
    let how = ["--direction", "forward", "--retries", "0"];
    let run = Run::new(&[&args[..], &how, more].concat());
    assert!(dir.path().join("struck").exists(), "{}", run.said());
    run.leaves_nothing();
    run
}

/// However soon after the guest goes on, it has not come through.
#[apply(test)]
#[needs(Builds)]
fn a_destination_that_dies_as_its_guest_goes_on_has_crashed_each_time() {
    for (signal, after) in [
        ("SIGSEGV", 0),
        ("SIGSEGV", 3),
        ("SIGABRT", 1),
        ("SIGKILL", 0),
        ("SIGKILL", 3),
    ] {
        let run = struck(DESTINATION, "cont", Fault::Signal(signal, after), &[]);
        assert_eq!(
            run.outcomes(),
            ["crash"],
            "{signal} {after}: {}",
            run.said()
        );
        assert_eq!(run.status(), Some(1));
        let cause = &run.case(0)["cause"];
        assert_eq!(
            (&cause["side"], &cause["kind"]),
            (&"destination".into(), &"died".into())
        );
        // It refused nothing, so that nothing in the stream explains it.
        for key in ["section", "field", "rule", "offset"] {
            assert!(cause[key].is_null(), "{signal}: {cause:#}");
        }
        let why = cause["message"].as_str().unwrap();
        assert!(why.contains(signal), "{why}");
        assert_eq!(why.contains("by a person or"), signal == "SIGKILL", "{why}");
    }
}

/// How the last destination ends counts, of a machine that never ran as well.
#[apply(test)]
#[needs(Builds)]
fn a_destination_that_does_not_quit_cleanly_has_crashed() {
    for more in [&["--paused"][..], &[]] {
        let run = struck(DESTINATION, "quit", Fault::Signal("SIGABRT", 0), more);
        // It may be gone before the signal comes, of which it does not die then.
        if run.outcomes() != ["pass"] {
            assert_eq!(run.outcomes(), ["crash"], "{}", run.said());
            assert_eq!(run.case(0)["cause"]["phase"], "quit");
            assert_eq!(run.case(0)["cause"]["side"], "destination");
        }
    }
}

/// A monitor that says no more is known at once, and whose it is; the process goes on, so that it is no hang.
#[apply(test)]
#[needs(Builds)]
fn a_monitor_that_breaks_is_known_at_once() {
    for (role, side, at) in [
        (SOURCE, "source", "migrate"),
        (SOURCE, "source", "migrate-set-parameters"),
        (DESTINATION, "destination", "migrate-incoming"),
    ] {
        for (fault, words) in [
            (Fault::Close, "closed the monitor socket"),
            (Fault::Garbage, "Segmentation fault"),
        ] {
            let begun = Instant::now();
            let run = struck(role, at, fault, &["--paused"]);
            let what = format!("{side} {at} {fault:?}");
            assert_eq!(run.outcomes(), ["crash"], "{what}: {}", run.said());
            let cause = &run.case(0)["cause"];
            assert_eq!(cause["side"], side, "{what}: {cause:#}");
            assert_eq!(cause["kind"], "monitor-failed", "{what}: {cause:#}");
            let why = cause["message"].as_str().unwrap();
            assert!(why.contains(words), "{what}: {why}");
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        }
    }
}

/// They neither fill the memory nor hide what else happens.
#[apply(test)]
#[needs(Builds)]
fn events_without_end_do_not_keep_a_guest_from_moving() {
    for (role, at) in [(SOURCE, "migrate"), (DESTINATION, "migrate-incoming")] {
        let run = struck(role, at, Fault::Events, &["--paused"]);
        assert_eq!(run.outcomes(), ["pass"], "{at}: {}", run.said());
    }
}

#[apply(test)]
#[needs(Builds)]
fn who_does_not_answer_is_named_with_what_it_did() {
    let more = ["--paused", "--timeout", "3"];
    for (role, side, at, fault, state) in [
        (SOURCE, "source", "migrate", Fault::Silence, "is "),
        (
            DESTINATION,
            "destination",
            "migrate-incoming",
            Fault::Silence,
            "is ",
        ),
    ] {
        let run = struck(role, at, fault, &more);
        assert_eq!(run.outcomes(), ["hang"], "{side}: {}", run.said());
        let cause = &run.case(0)["cause"];
        assert_eq!(cause["side"], side, "{cause:#}");
        let waiting = &cause["waiting"];
        let process = waiting["process"].as_str().unwrap();
        assert!(process.contains(state), "{cause:#}");
        assert!(waiting["last_sent"]["text"].is_string(), "{cause:#}");
        assert!(waiting["last_received"]["ago_ms"].is_u64(), "{cause:#}");
    }
}

/// A build behind a script that stays, or that starts it in a session of its own.
fn behind(dir: &Path, suite: &str, start: &str) -> String {
    let prefix = build(suite).shell_prefix();
    let text = format!("{start} env {prefix} \"$@\"\nexit $?");
    script(dir, "qemu-system-x86_64", &text)
}

#[apply(test)]
#[needs(Builds)]
fn no_script_leaves_a_build_behind() {
    for start in ["", "setsid -w", "setsid env -i PATH=\"$PATH\" setsid -w"] {
        let (dir, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let new = behind(dir.path(), NEW, start);
        let args = ["live", OLD, &new, "-M", "q35", "--device", "e1000"];
        // A normal run.
        let short = ["--direction", "forward", "--paused", "--retries", "0"];
        let output = command(&temp, &[&args[..], &short].concat())
            .output()
            .unwrap();
        assert!(output.status.code().is_some());
        leaves_nothing(temp.path());
        // One that is ended.
        let long = [&args[..], &["--loops", "500"]].concat();
        let mut child = command(&temp, &long).spawn().unwrap();
        let runs = |name: &str| {
            let folders = fs::read_dir(temp.path()).unwrap().flatten();
            folders
                .into_iter()
                .any(|item| item.path().join(name).exists())
        };
        wait_until("no guest moves", || runs("c2"));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + 15), "{start}");
        leaves_nothing(temp.path());
    }
}

#[apply(test)]
#[needs(Builds)]
fn what_a_killed_run_leaves_goes_with_the_next_one() {
    let (dir, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let new = behind(dir.path(), NEW, "setsid -w");
    let args = ["live", OLD, &new, "-M", "q35", "--device", "e1000"];
    let mut child = command(&temp, &[&args[..], &["--loops", "500"]].concat())
        .spawn()
        .unwrap();
    let folders = || fs::read_dir(temp.path()).unwrap().flatten();
    wait_until("no guest moves", || {
        folders().any(|item| item.path().join("c2").exists())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folders().count() > 0, "it left nothing");
    let short = ["--direction", "forward", "--paused", "--retries", "0"];
    let output = command(&temp, &[&args[..], &short].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    leaves_nothing(temp.path());
}

/// A control that came through says little of a build that dies now and then: it is asked again before its death
/// counts against the pair.
#[apply(test)]
#[needs(Builds)]
fn a_build_that_dies_now_and_then_by_itself_is_broken() {
    for (loads, outcome, control) in [("0|6", "broken", "crash"), ("0", "crash", "pass")] {
        let dir = tempfile::tempdir().unwrap();
        let prefix = build(NEW).shell_prefix();
        let line = faulty(
            &prefix,
            "migrate-incoming",
            Fault::Signal("SIGSEGV", 0),
            None,
        );
        let text = format!(
            "case \"$*\" in {DESTINATION}) n=0\n\
             while ! mkdir {}/$n 2>/dev/null; do n=$((n + 1)); done\n\
             case $n in {loads}) {line} ;; esac ;; esac\nexec env {prefix} \"$@\"",
            dir.path().display()
        );
        let new = script(dir.path(), "qemu-system-x86_64", &text);
        let args = [
            "live", OLD, &new, "-M", "q35", "--device", "e1000", "--paused",
        ];
        let run = Run::new(&[&args[..], &["--direction", "forward"]].concat());
        assert_eq!(run.outcomes(), [outcome], "{}", run.said());
        assert_eq!(run.case(0)["control"]["new_to_new"], control);
        let rate = &run.case(0)["repeated"];
        assert_eq!(*rate, serde_json::json!({"failed": 1, "of": 3}));
        // One across, its control, two more across, up to nine more controls, and one without the device.
        let loads = if outcome == "broken" { 8 } else { 14 };
        assert!(
            !dir.path().join(loads.to_string()).exists(),
            "{}",
            run.said()
        );
        assert!(dir.path().join((loads - 1).to_string()).exists());
    }
}

/// A run with a build that has a fault in one role, once or each time.
fn with_fault(command: &[&str], role: &str, at: &str, fault: Fault, once: bool) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let prefix = build(NEW).shell_prefix();
    let struck = dir.path().join("struck");
    let line = faulty(&prefix, at, fault, once.then_some(&*struck));
    let text = format!("case \"$*\" in {role}) {line} ;; esac\nexec env {prefix} \"$@\"");
    let new = script(dir.path(), "qemu-system-x86_64", &text);
    let of = ["-M", "q35", "--direction", "forward"];
    let sides = match role {
        SOURCE => [&*new, NEW],
        _ => [OLD, &*new],
    };
    let run = Run::new(&[&command[..1], &sides, &of, &command[1..]].concat());
    assert_eq!(struck.exists(), once, "{}", run.said());
    run.leaves_nothing();
    run
}

const LIVE: &[&str] = &["live", "--device", "e1000", "--paused"];
const SWEEP: &[&str] = &["sweep", "--only", "e1000"];

/// A failure is never outvoted: the rate is told.
#[apply(test)]
#[needs(Builds)]
fn a_build_that_dies_once_has_a_rate() {
    for fault in [
        Fault::Signal("SIGSEGV", 0),
        Fault::Signal("SIGKILL", 0),
        Fault::Exit(0),
    ] {
        let run = with_fault(LIVE, DESTINATION, "migrate-incoming", fault, true);
        assert_eq!(run.status(), Some(1), "{}", run.said());
        let rate = &run.case(0)["repeated"];
        assert_eq!(*rate, serde_json::json!({"failed": 1, "of": 3}));
    }
    // The machine alone, whose one death hides none of its devices.
    for (fault, kind) in [
        (Fault::Close, "monitor-failed"),
        (Fault::Signal("SIGSEGV", 0), "died"),
        (Fault::Exit(0), "died"),
    ] {
        let run = with_fault(SWEEP, DESTINATION, "migrate-incoming", fault, true);
        assert_eq!(run.status(), Some(1), "{}", run.said());
        assert_eq!(run.case(0)["cause"]["kind"], kind, "{}", run.said());
        let rate = &run.case(0)["repeated"];
        assert_eq!(*rate, serde_json::json!({"failed": 1, "of": 2}));
        assert_eq!(run.outcomes(), ["crash", "pass"], "{}", run.said());
    }
}

/// What a build does each time, to its own streams as well, is no break between two.
#[apply(test)]
#[needs(Builds)]
fn a_build_that_dies_each_time_is_broken() {
    for (command, fault) in [
        (LIVE, Fault::Signal("SIGSEGV", 0)),
        (SWEEP, Fault::Close),
        (SWEEP, Fault::Exit(0)),
    ] {
        let run = with_fault(command, DESTINATION, "migrate-incoming", fault, false);
        assert_eq!(run.outcomes()[0], "broken", "{fault:?}: {}", run.said());
        assert_eq!(run.status(), Some(125), "{fault:?}: {}", run.said());
    }
}

#[apply(test)]
#[needs(Builds, Mount)]
fn no_folder_for_temporary_files_is_no_break() {
    for command in [
        &["live", OLD, NEW, "-M", "q35"][..],
        &["check", OLD, NEW, "-M", "q35"],
        &["sweep", OLD, NEW, "-M", "q35"],
        &["static", OLD, NEW, "-M", "q35"],
        &["self-test", OLD],
    ] {
        let temp = tempfile::tempdir().unwrap();
        let ours = crate::common::with_builds(command);
        let mut run = mounted(temp.path(), "size=1m,ro", "TMPDIR=. exec \"$@\"");
        run.arg(ours.get_program()).args(ours.get_args());
        for (mut run, why) in [
            (run, "Read-only file system"),
            (ours, "No such file or directory"),
        ] {
            let output = run
                .env("TMPDIR", temp.path().join("gone"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{command:?}: {said}");
            assert!(said.contains(why), "{command:?}: {said}");
        }
    }
}

/// What this host lacks is no break, wherever it runs short.
#[apply(test)]
#[needs(Builds)]
fn few_descriptors_and_little_memory_are_no_break() {
    let descriptors = [16, 24, 32, 36, 40, 48].map(|most| format!("-n {most}"));
    // In kB. A build reserves a gigabyte for what it translates.
    let memory = (1240..1440).step_by(25).map(|most| format!("-v {most}000"));
    for limit in descriptors.into_iter().chain(memory) {
        let temp = tempfile::tempdir().unwrap();
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
        let args = ["live", OLD, NEW, "-M", "q35", "--device-set", "bare"];
        let how = ["--direction", "forward", "--retries", "0"];
        let mut ours = command(&temp, &[&args[..], &how].concat());
        limited.arg(ours.get_program()).args(ours.get_args());
        let output = limited.env("TMPDIR", temp.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => assert!(said.contains("[1/1] pass"), "{limit}: {said}"),
            // Rust's library ends a program that has a thread and no room for the stack of its signals, as SIGKILL would: the
            // next run removes what other threads had made by then.
            None => {
                assert!(said.contains("alternative stack"), "{limit}: {said}");
                let next = ours.output().unwrap();
                assert_eq!(next.status.code(), Some(0), "{limit}");
            }
            status => assert_eq!(status, Some(125), "{limit}: {said}"),
        }
        leaves_nothing(temp.path());
    }
}

/// A build that dies for want of a process or of memory has broken nothing: its guest is sent once more, and is untested
/// where there is no room for it then.
#[apply(test)]
#[needs(Builds)]
fn a_build_that_dies_of_what_this_host_lacks_has_broken_nothing() {
    let thread = "qemu: qemu_thread_create: Resource temporarily unavailable";
    let memory = "qemu-system-x86_64: cannot set up guest memory 'x': Cannot allocate memory";
    for (command, words, role, at, once) in [
        (LIVE, thread, SOURCE, "migrate", true),
        (LIVE, memory, DESTINATION, "migrate-incoming", true),
        (LIVE, thread, DESTINATION, "migrate-incoming", false),
        (SWEEP, thread, SOURCE, "migrate", true),
        (SWEEP, memory, DESTINATION, "migrate-incoming", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let struck = dir.path().join("struck");
        let prefix = build(NEW).shell_prefix();
        let fault = Fault::Signal("SIGABRT", 0);
        let line = faulty(&prefix, at, fault, once.then_some(&*struck));
        let said = format!("[ -e {} ] || echo \"{words}\" >&2", struck.display());
        let device = "*e1000*";
        let text = format!(
            "case \"$*\" in {device}) case \"$*\" in {role}) {said}; {line};; esac;; esac\nexec {prefix} \"$@\""
        );
        let new = script(dir.path(), "qemu-system-x86_64", &text);
        let of = ["-M", "q35", "--direction", "forward"];
        let sides = match role {
            SOURCE => [&*new, OLD],
            _ => [OLD, &*new],
        };
        let run = Run::new(&[&command[..1], &sides, &of, &command[1..]].concat());
        let outcomes = run.outcomes();
        if once {
            assert!(struck.exists(), "{words}: {}", run.said());
            assert!(outcomes.iter().all(|of| *of == "pass"), "{outcomes:?}");
            assert_eq!(run.status(), Some(0), "{words}: {}", run.said());
        } else {
            let last = run.case(outcomes.len() - 1);
            assert_eq!(last["outcome"], "skip", "{}", run.said());
            assert_eq!(last["cause"]["kind"], "host-lacks", "{last:#}");
            let notices = run.report["notices"].as_array().unwrap();
            let is_told = |notice: &&serde_json::Value| notice["kind"] == "host-lacks";
            assert_eq!(notices.iter().filter(is_told).count(), 1, "{notices:#?}");
            assert_eq!(run.status(), Some(125), "{words}: {}", run.said());
        }
        run.leaves_nothing();
    }
}

/// A build that something else keeps from starting has refused nothing, and is started again.
#[apply(test)]
#[needs(Builds)]
fn what_keeps_a_build_from_starting_once_is_no_refusal() {
    let case = "q35/am53c974/unix/forward";
    let no_memory =
        "echo \"$0: cannot set up guest memory 'pc.ram': Cannot allocate memory\" >&2; exit 1";
    let refusal = "echo \"$0: -device am53c974: not today\" >&2; exit 1";
    for (end, most, starts, why) in [
        ("kill -KILL $$", 1, 2, None),
        (no_memory, 2, 3, None),
        (no_memory, 1, 2, None),
        (
            "kill -KILL $$",
            9,
            3,
            Some("it was killed by SIGKILL instead of running"),
        ),
        (no_memory, 9, 6, Some("Cannot allocate memory")),
        (
            "kill -SEGV $$",
            9,
            1,
            Some("it was killed by SIGSEGV instead of running"),
        ),
        (refusal, 9, 1, Some("-device am53c974: not today")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("starts");
        let (log, prefix) = (log.display(), build(NEW).shell_prefix());
        let with_device = format!("echo >>{log}; [ $(wc -l <{log}) -gt {most} ] || {{ {end}; }}");
        let text = format!("case \"$*\" in *am53c974*) {with_device};; esac\nexec {prefix} \"$@\"");
        let new = script(dir.path(), "qemu-system-x86_64", &text);
        let run = Run::new(&["check", OLD, &new, "-M", "q35", "--case", case]);
        let begun = fs::read_to_string(dir.path().join("starts")).unwrap();
        match why {
            None => {
                assert_eq!(run.status(), Some(1), "{end}: {}", run.said());
                assert_eq!(run.outcomes(), ["fail"], "{end}");
                assert!(begun.lines().count() >= starts, "{end}");
            }
            Some(why) => {
                assert_eq!(run.status(), Some(125), "{end}: {}", run.said());
                assert_eq!(begun.lines().count(), starts, "{end}");
                let told = &run.report["notices"];
                let is_told = |notice: &serde_json::Value| {
                    let detail = notice["detail"].as_str().unwrap();
                    let subject = notice["subject"].as_str().unwrap();
                    subject.contains("am53c974") && detail.contains(why)
                };
                assert!(
                    told.as_array().unwrap().iter().any(is_told),
                    "{end}: {told:#}"
                );
            }
        }
    }
}

/// A source that something else kills before any migration is tried again; one that dies of itself is told by its end.
#[apply(test)]
#[needs(Builds)]
fn a_source_that_dies_before_any_migration_has_its_end_told() {
    let killed = "was killed by SIGKILL, by a person or by a system that is out of memory";
    let (kill, crash) = (Fault::Signal("SIGKILL", 0), Fault::Signal("SIGSEGV", 0));
    let driven = &["--driven"][..];
    for (more, at, fault, once, outcome, why) in [
        (&[][..], "cont", kill, true, "pass", ""),
        (&[], "cont", kill, false, "skip", killed),
        (&[], "cont", crash, true, "skip", "was killed by SIGSEGV"),
        (
            &[],
            "<\"RESUME\"",
            Fault::Exit(3),
            true,
            "skip",
            "exited with status 3",
        ),
        (driven, "query-pci", kill, true, "pass", ""),
        (driven, "query-pci", kill, false, "skip", killed),
        (
            driven,
            "query-pci",
            crash,
            true,
            "broken",
            "was killed by SIGSEGV",
        ),
    ] {
        let run = with_fault(&[&LIVE[..3], more].concat(), SOURCE, at, fault, once);
        assert_eq!(run.outcomes(), [outcome], "{at} {fault:?}: {}", run.said());
        let cause = &run.case(0)["cause"];
        if outcome == "pass" {
            assert_eq!(run.status(), Some(0), "{}", run.said());
            continue;
        }
        assert_eq!(run.status(), Some(125), "{}", run.said());
        let facts = ["kind", "side", "phase"].map(|key| cause[key].as_str().unwrap());
        assert_eq!(facts, ["died", "source", "boot"], "{cause:#}");
        let message = cause["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert_eq!(message.contains("by a person"), why == killed, "{message}");
    }
}
