//! Migrations between real builds, and what becomes of a case when a build misbehaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, changed, script, stderr, with_builds, words};
use crate::needs::mounted;
use crate::processes::{Fault, faulty, monitor};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

/// A run with folders of its own, so that what it leaves can be counted.
pub struct Run {
    output: Output,
    pub report: Value,
    temp: tempfile::TempDir,
}

impl Run {
    pub fn new(args: &[&str]) -> Run {
        let temp = tempfile::tempdir().unwrap();
        let output = command(&temp, args).output().unwrap();
        // One that cannot be tested has none.
        let report = match output.stdout.is_empty() {
            true => Value::Null,
            false => crate::common::report(&output),
        };
        Run {
            output,
            report,
            temp,
        }
    }

    pub fn status(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub fn said(&self) -> String {
        stderr(&self.output)
    }

    pub fn case(&self, index: usize) -> &Value {
        &self.report["cases"][index]
    }

    pub fn outcomes(&self) -> Vec<&str> {
        let cases = self.report["cases"].as_array();
        cases
            .into_iter()
            .flatten()
            .map(|case| case["outcome"].as_str().unwrap())
            .collect()
    }

    /// Those of the cases of one device set: a check has more, of the devices in doubt.
    fn outcomes_of(&self, set: &str) -> Vec<&str> {
        let cases = self.report["cases"].as_array();
        cases
            .into_iter()
            .flatten()
            .filter(|case| case["device_set"] == set)
            .map(|case| case["outcome"].as_str().unwrap())
            .collect()
    }

    /// Nothing stays but the logs of cases that did not pass.
    pub fn leaves_nothing(&self) {
        leaves_nothing(self.temp.path());
    }
}

pub fn leaves_nothing(temp: &Path) {
    let left: Vec<_> = fs::read_dir(temp)
        .unwrap()
        .flatten()
        .map(|item| item.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("migcompat-logs-"))
        .collect();
    let inside = |name: &String| {
        let folder = fs::read_dir(temp.join(name));
        let items = folder.into_iter().flatten().flatten();
        let items = items.map(|item| (item.file_name(), fs::read_link(item.path()).ok()));
        items.collect::<Vec<_>>()
    };
    // With what is in each: it tells who left it.
    let what: Vec<_> = left.iter().map(|name| (name, inside(name))).collect();
    assert!(what.is_empty(), "{what:?}");
    // Every QEMU of the run has its temporary folder in its arguments.
    let temp = temp.to_str().unwrap().as_bytes().to_vec();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let running = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|item| fs::read(item.path().join("cmdline")).ok())
            .filter(|line| line.windows(temp.len()).any(|part| part == temp))
            .count();
        if running == 0 {
            return;
        }
        assert!(Instant::now() < end, "{running} processes are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn command(temp: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = with_builds(args);
    command
        .args(["--format", "json"])
        .env("TMPDIR", temp.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[derive(Clone, Copy)]
enum Role {
    Source,
    Destination,
}

/// A script that is a build, but does something else first in one role.
fn wrapper(dir: &Path, suite: &str, role: Role, first: &str) -> String {
    let role = match role {
        Role::Source => "*-incoming*) ;; *pc-q35*",
        Role::Destination => "*-incoming*",
    };
    changed(
        dir,
        suite,
        &format!("case \"$*\" in {role}) {first} ;; esac"),
    )
}

/// A build some of whose sources have a device set up otherwise, so that other builds refuse what they send now and then, and
/// no build refuses its own. The condition is about the number `n` of the source.
fn now_and_then(dir: &Path, counter: &str, condition: &str) -> String {
    let first = format!(
        "case \"$*\" in *-incoming*) ;; *intel-hda*) echo >> {counter}; n=$(wc -l < {counter}); \
         if {condition}; then set -- \"$@\" -global intel-hda.msi=off; fi ;; esac"
    );
    changed(dir, OLD, &first)
}

#[apply(test)]
#[needs(Builds)]
fn the_default_set_moves_both_ways() {
    let run = Run::new(&["live", OLD, NEW, "-M", "q35", "--paused"]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    assert_eq!(run.outcomes(), ["pass", "pass"]);
    assert_eq!(run.report["machine"], "pc-q35-7.2");
    assert_eq!(run.case(0)["direction"], "forward");
    assert_eq!(run.case(1)["direction"], "backward");
    assert!(run.case(0)["legs"][0]["pages"].as_u64().unwrap() > 1000);
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_working_guest_survives_two_round_trips() {
    let run = Run::new(&["live", OLD, NEW, "-M", "q35", "--loops", "2"]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let legs = run.case(0)["legs"].as_array().unwrap();
    let ways: Vec<_> = legs
        .iter()
        .map(|leg| leg["direction"].as_str().unwrap())
        .collect();
    assert_eq!(ways, ["forward", "backward", "forward", "backward"]);
    assert_eq!(run.case(0)["running"], true);
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn every_transport_carries_a_guest() {
    for transport in ["tcp", "fd", "exec"] {
        let args = ["live", OLD, NEW, "-M", "q35", "--device-set", "bare"];
        let run = Run::new(&[&args[..], &["--paused", "--transport", transport]].concat());
        assert_eq!(
            run.outcomes(),
            ["pass", "pass"],
            "{transport}: {}",
            run.said()
        );
        run.leaves_nothing();
    }
    // The older build cannot: that is reported, not tried, and nothing was tested.
    let run = Run::new(&["live", OLD, NEW, "-M", "q35", "--transport", "file"]);
    assert_eq!(run.status(), Some(125));
    assert_eq!(run.report["verdict"], "untested");
    let why = run.case(0)["cause"]["message"].as_str().unwrap();
    assert!(why.contains("8.2") && why.contains("old build"), "{why}");
    let run = Run::new(&["live", OLD, NEW, "-M", "q35", "--transport", "pigeon"]);
    assert_eq!(run.status(), Some(2));
}

#[apply(test)]
#[needs(Builds)]
fn descriptors_are_taken_by_the_oldest_and_the_newest_build() {
    let args = ["live", "debian:bullseye", "debian:trixie-backports"];
    let how = ["-M", "q35", "--device-set", "bare", "--transport", "fd"];
    let run = Run::new(&[&args[..], &how, &["--loops", "2"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    assert_eq!(run.case(0)["legs"].as_array().unwrap().len(), 4);
    run.leaves_nothing();
}

fn is_used_between_the_generations_and_named(capability: &str) {
    for (old, new) in [("debian:bullseye", OLD), (OLD, "debian:trixie-backports")] {
        let args = ["live", old, new, "-M", "q35", "--device-set", "bare"];
        let how = ["--loops", "1", "--repeat", "0", "--capability", capability];
        let run = Run::new(&[&args[..], &how].concat());
        let case = run.case(0);
        let id = format!("q35/bare/unix+{capability}/forward-loop1");
        assert_eq!(case["id"], id, "{}", run.said());
        assert_eq!(case["capabilities"], serde_json::json!([capability]));
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
        run.leaves_nothing();
    }
}

#[apply(test)]
#[needs(Builds)]
fn multifd_is_used_between_the_generations_and_named() {
    is_used_between_the_generations_and_named("multifd");
}

#[apply(test)]
#[needs(Builds, PageFaults)]
fn postcopy_is_used_between_the_generations_and_named() {
    is_used_between_the_generations_and_named("postcopy-ram");
}

#[apply(test)]
#[needs(Builds)]
fn what_a_capability_cannot_do_is_a_skip_that_says_why() {
    let multifd = ["--capability", "multifd"];
    let postcopy = ["--capability", "postcopy-ram"];
    for (how, says) in [
        (
            [multifd, ["--transport", "fd"]].concat(),
            "several connections",
        ),
        (
            [postcopy, ["--transport", "exec"]].concat(),
            "leads one way",
        ),
        (
            vec!["--capability", "zero-copy-send", "--capability", "multifd"],
            "by TCP",
        ),
        (
            vec!["--capability", "postcopy-preempt"],
            "needs postcopy-ram",
        ),
        // The old build is too old.
        (
            vec!["--capability", "mapped-ram", "--transport", "file"],
            "needs QEMU 8.2",
        ),
        // The new build says so itself.
        (
            [multifd, postcopy].concat(),
            "not yet compatible with multifd",
        ),
    ] {
        let args = ["live", OLD, NEW, "-M", "q35", "--device-set", "bare"];
        let run = Run::new(&[&args[..], &["--direction", "forward"], &how].concat());
        assert_eq!(run.outcomes(), ["skip"], "{}", run.said());
        assert_eq!(run.status(), Some(125));
        let why = run.case(0)["cause"]["message"].as_str().unwrap();
        assert!(why.contains(says), "{why}");
    }
}

/// Moves a guest both ways between releases, each way by itself.
fn passes_with(old: &str, how: &[&str]) -> Run {
    let args = ["live", old, "debian:trixie-backports", "-M", "q35"];
    let once = ["--device-set", "bare", "--repeat", "0"];
    let run = Run::new(&[&args[..], &once, how].concat());
    assert_eq!(
        run.outcomes(),
        ["pass", "pass"],
        "{} {:#}",
        run.said(),
        run.case(0)
    );
    run.leaves_nothing();
    run
}

#[apply(test)]
#[needs(Builds)]
fn memory_goes_to_its_places_in_a_file() {
    let file = ["--transport", "file", "--capability", "mapped-ram"];
    let run = passes_with(NEW, &file);
    assert_eq!(
        run.case(0)["capabilities"],
        serde_json::json!(["mapped-ram"])
    );
    // The destination saves to a socket to be compared, which has no places.
    let why = run.case(0)["state_unchecked"].as_str().unwrap();
    assert!(why.contains("seekable"), "{why}");
    let _also = passes_with(NEW, &[&file[..], &["--capability", "multifd"]].concat());
}

#[apply(test)]
#[needs(Builds, PageFaults)]
fn pages_that_a_guest_waits_for_have_a_connection_of_their_own() {
    let both = words!("--capability postcopy-ram --capability postcopy-preempt");
    let run = passes_with(OLD, &both);
    let names = serde_json::json!(["postcopy-ram", "postcopy-preempt"]);
    assert_eq!(run.case(0)["capabilities"], names);
}

/// All of it may come between a question and its answer.
#[apply(test)]
#[needs(Builds, PageFaults)]
fn postcopy_counts_however_late_a_source_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = build(OLD).shell_prefix();
    // What it says from then on comes half a second later, and at once: its process goes on meanwhile.
    let heard_late = Fault::Signal("SIGCONT", 500);
    let late = faulty(&prefix, "<\"status\":\"active\"", heard_late, None);
    let old = wrapper(folder.path(), OLD, Role::Source, &late);
    let args = words!("live {old} {NEW} -M q35 --device-set bare --paused --retries 0");
    let how = words!("--direction forward --capability postcopy-ram");
    let run = Run::new(&[&args[..], &how].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds, Root)]
fn memory_is_sent_without_a_copy() {
    let capabilities = ["--capability", "multifd", "--capability", "zero-copy-send"];
    let run = passes_with(OLD, &[&["--transport", "tcp"], &capabilities[..]].concat());
    let names = serde_json::json!(["multifd", "zero-copy-send"]);
    assert_eq!(run.case(0)["capabilities"], names);
}

#[apply(test)]
#[needs(Builds)]
fn a_stream_is_encrypted_there_and_back() {
    for transport in ["tcp", "fd"] {
        let how = ["--capability", "tls", "--paused", "--transport", transport];
        let run = passes_with(NEW, &how);
        assert_eq!(run.case(0)["capabilities"], serde_json::json!(["tls"]));
    }
    // Who was a destination becomes a source.
    let args = ["live", OLD, NEW, "-M", "q35", "--device-set", "bare"];
    let run = Run::new(&[&args[..], &["--capability", "tls", "--loops", "2"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    assert_eq!(run.case(0)["legs"].as_array().unwrap().len(), 4);
}

/// A destination with another key than the source's shows that keys count, and the control that nothing else does.
#[apply(test)]
#[needs(Builds)]
fn a_side_that_cannot_decrypt_is_refused_and_passes_without_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("keys.psk");
    fs::write(&other, "qemu:00112233445566778899aabbccddeeff\n").unwrap();
    let prefix = build(NEW).shell_prefix();
    let keys = folder.path().display();
    let text = format!(
        r#"n=$#
while [ $n -gt 0 ]; do
    case $1 in
    tls-creds-psk,*endpoint=server*) set -- "$@" "${{1%dir=*}}dir={keys}" ;;
    *) set -- "$@" "$1" ;;
    esac
    shift
    n=$((n - 1))
done
exec env {prefix} "$@""#
    );
    let stranger = script(folder.path(), "stranger", &text);
    let args = words!("live {NEW} {stranger} -M q35 --device pvpanic-pci");
    let how = ["--paused", "--direction", "forward", "--retries", "0"];
    let run = Run::new(&[&args[..], &how, &["--capability", "tls"]].concat());
    let case = run.case(0);
    assert_ne!(case["outcome"], "pass", "{}", run.said());
    let without = &case["without_capability"][0];
    assert_eq!(without["capability"], "tls", "{case:#}");
    assert_eq!(without["failed"], 0, "{case:#}");
}

#[apply(test)]
#[needs(Builds)]
fn a_capability_that_does_nothing_says_so() {
    let both = ["--capability", "xbzrle", "--capability", "auto-converge"];
    let run = passes_with(OLD, &both);
    // One connection, which is read on the way.
    assert_eq!(run.case(0)["state_unchecked"], Value::Null);
    let notices = run.report["notices"].as_array().unwrap();
    let idle: Vec<_> = notices
        .iter()
        .filter(|n| n["kind"] == "capability-idle")
        .collect();
    assert_eq!(idle.len(), 2, "{notices:#?}");
}

#[apply(test)]
#[needs(Builds)]
fn a_break_names_its_section_and_the_finding_that_predicts_it() {
    let args = ["live", OLD, NEW, "-M", "pc-q35-7.2", "--device", "am53c974"];
    let run = Run::new(&[&args[..], &["--paused", "--direction", "forward"]].concat());
    assert_eq!(run.status(), Some(1), "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["outcome"], "fail");
    let section = case["cause"]["section"].as_str().unwrap();
    assert!(section.ends_with("/pciespscsi"), "{section}");
    assert_eq!(case["control"]["old_to_old"], "pass");
    assert_eq!(case["control"]["new_to_new"], "pass");
    assert_eq!(case["repeated"]["failed"], 3);
    assert_eq!(case["repeated"]["of"], 3);
    let logs = Path::new(case["logs"].as_str().unwrap());
    assert!(logs.join("destination.qmp").is_file());

    // By hand it fails for the same reason.
    let line = case["reproduce"].as_str().unwrap();
    let by_hand = Command::new("sh")
        .args(["-c", line])
        .env("TMPDIR", run.temp.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&by_hand.stderr);
    assert!(printed.contains("pciespscsi"), "{printed}\n{line}");
}

/// The script beside the logs, run as it is written, says which outcome was expected, and that it came.
#[apply(test)]
#[needs(Builds)]
fn a_reproducer_sees_the_same_outcome() {
    let paused = ["--paused", "--direction"];
    let script = |args: &[&str], way: &[&str], outcome: &str| {
        let logs = tempfile::Builder::new()
            .prefix("kept logs")
            .tempdir()
            .unwrap();
        let keep = [
            "--retries",
            "0",
            "--keep-logs",
            logs.path().to_str().unwrap(),
        ];
        let fixed = ["live", OLD, NEW, "-M", "pc-q35-7.2"];
        let run = Run::new(&[&fixed[..], args, way, &keep].concat());
        assert_eq!(run.outcomes(), [outcome], "{}", run.said());
        let script = run.case(0)["reproducer"].as_str().unwrap();
        let mut by_hand = Command::new("sh");
        by_hand.arg(script).env("TMPDIR", run.temp.path());
        let by_hand = by_hand
            .env("MIGCOMPAT", env!("CARGO_BIN_EXE_migcompat"))
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&by_hand.stdout);
        let text = fs::read_to_string(script).unwrap();
        let last = printed.lines().last().unwrap_or_default();
        let says = format!("expected: {outcome}; came: {outcome} (");
        assert!(last.starts_with(&says), "{printed}\n{text}");
        assert_eq!(by_hand.status.code(), Some(0), "{printed}");
        assert!(text.lines().all(|line| line.len() < 300), "{text}");
        // A build that does not start refuses no guest.
        let gone = logs.path().join("gone");
        fs::write(
            &gone,
            text.replace("-nodefaults", "-nodefaults -no-such-option"),
        )
        .unwrap();
        let mut gone_by_hand = Command::new("sh");
        let gone = gone_by_hand
            .arg(gone)
            .env("TMPDIR", run.temp.path())
            .output();
        assert_eq!(gone.unwrap().status.code(), Some(2), "{text}");
        // Nothing is left behind.
        run.leaves_nothing();
        printed.into_owned()
    };
    let forward = [&paused[..], &["forward"]].concat();
    let backward = [&paused[..], &["backward"]].concat();
    script(&["--device", "am53c974"], &forward, "fail");
    script(&["--device", "isa-vga"], &backward, "crash");
    let displaced = script(&["--device", "am53c974"], &backward, "lost");
    assert!(displaced.contains("esp/ti_cmd"), "{displaced}");
    let filled = script(&["--device", "sb16"], &backward, "lost");
    assert!(filled.contains("layout irq"), "{filled}");
    // A guest that works, at the second leg.
    script(
        &["--device", "am53c974", "--loops", "1"],
        &["--old-arg=-no-reboot"],
        "fail",
    );
}

#[apply(test)]
#[needs(Builds)]
fn a_destination_that_stops_starting_is_a_crash_and_logs_of_runs_stay() {
    let dir = tempfile::tempdir().unwrap();
    // The machine starts twice: as the source of leg 1 in each attempt, never for leg 2.
    let old = wrapper(
        dir.path(),
        OLD,
        Role::Destination,
        "echo worn out >&2; exit 1",
    );
    let logs = dir.path().join("logs");
    let args = words!("live {old} {NEW} -M q35 --device-set bare --loops 1");
    let keep = ["--retries", "0", "--keep-logs", logs.to_str().unwrap()];
    for runs in 1..=2 {
        let run = Run::new(&[&args[..], &keep].concat());
        // The control from the old build to itself cannot be set up: no reason to call it broken.
        assert_eq!(run.outcomes(), ["crash"], "{}", run.said());
        let cause = run.case(0)["cause"]["message"].as_str().unwrap();
        assert!(
            cause.contains("leg 2") && cause.contains("status 1"),
            "{cause}"
        );
        assert_eq!(run.case(0)["destination_stderr"], "worn out");
        assert_eq!(fs::read_dir(&logs).unwrap().count(), runs);
        run.leaves_nothing();
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_failed_case_that_a_list_allows_does_not_gate() {
    let lists = tempfile::tempdir().unwrap();
    let entry = "[[migration]]\nsection = \"pciespscsi\"\nmachines = [\"pc-q35\"]\nby = \"8.0\"\n\
                 source = \"a test\"\nreason = \"meant to\"\n";
    fs::write(lists.path().join("own.toml"), entry).unwrap();
    let args = words!("live {OLD} {NEW} -M pc-q35-7.2 --device am53c974 --paused");
    let rules = ["--lists", lists.path().to_str().unwrap()];
    for (retries, status) in [("1", 0), ("0", 1)] {
        // Tried once, nobody knows whether it always fails.
        let how = ["--direction", "forward", "--retries", retries];
        let run = Run::new(&[&args[..], &rules, &how].concat());
        assert_eq!(run.status(), Some(status), "{}", run.said());
        assert_eq!(run.outcomes(), ["fail"]);
        assert_eq!(run.case(0)["allowed_by"].is_string(), status == 0);
    }
}

#[apply(test)]
#[needs(Builds)]
fn garbage_on_the_monitor_socket_leaves_it_untested() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = ["Segmentation fault"; 9].join("\n");
    let fake = script(dir.path(), "fake", &monitor(&garbage));
    let run = Run::new(&["live", OLD, &fake, "-M", "q35"]);
    assert_eq!(run.status(), Some(125), "{}", run.said());
    assert!(
        run.said().contains("not QMP: \"Segmentation fault\""),
        "{}",
        run.said()
    );
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_failed_set_names_the_devices_to_blame_and_clears_the_others() {
    // The first of them cannot move at all, which must not hide that the last one breaks.
    let mut args = vec!["live", OLD, NEW, "-M", "pc-q35-7.2", "--paused"];
    for device in ["rocker,id=r", "e1000", "virtio-rng-pci", "am53c974"] {
        args.extend(["--device", device]);
    }
    let run = Run::new(&[&args[..], &["--direction", "forward"]].concat());
    assert_eq!(
        run.outcomes(),
        ["broken", "broken", "fail"],
        "{}",
        run.said()
    );
    assert_eq!(run.status(), Some(1));
    let split = &run.case(0)["split"];
    let culprits: Vec<&str> = split["culprits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group[0].as_str().unwrap())
        .collect();
    assert_eq!(culprits, ["r", "am53c974"]);
    assert_eq!(split["passed"].as_array().unwrap().len(), 2, "{split}");
    assert_eq!(split["undecided"], serde_json::json!([]));
    let section = run.case(2)["cause"]["section"].as_str().unwrap();
    assert!(section.ends_with("/pciespscsi"), "{section}");
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn what_no_build_can_move_is_broken() {
    // With an argument of its own, so that no set has a say in it.
    let args = ["live", OLD, NEW, "-M", "q35", "--paused"];
    let run = Run::new(&[&args[..], &["--device", "rocker,id=r"]].concat());
    assert_eq!(run.outcomes(), ["broken", "broken"], "{}", run.said());
    assert_eq!(run.report["verdict"], "untested");
    assert_eq!(run.status(), Some(125));
}

/// The load of vmclock writes into its page in every build, by design. A guest that works goes on there, and
/// all else of it is compared.
#[apply(test)]
#[needs(Builds)]
fn a_page_that_every_build_writes_when_it_loads_is_no_loss() {
    let (old, new) = ("debian:trixie", "debian:trixie-backports");
    for how in [&[][..], &["--paused"]] {
        let args = ["live", old, new, "-M", "pc-q35-10.0", "--device", "vmclock"];
        let run = Run::new(&[&args[..], how].concat());
        assert_eq!(run.outcomes(), ["pass", "pass"], "{}", run.said());
        assert_eq!(run.status(), Some(0));
        for case in [run.case(0), run.case(1)] {
            let changed = &case["changed_by_load"];
            assert_eq!(changed[0]["block"], "vmclock_page", "{case}");
            assert_eq!(changed[0]["builds"], serde_json::json!([old, new]));
            assert_eq!(case["state_unchecked"], Value::Null);
            assert!(
                case["state_checked"]["sections"].as_u64() > Some(5),
                "{case}"
            );
        }
        let notices = run.report["notices"].as_array().unwrap();
        let told = notices.iter().filter(|n| n["kind"] == "changed-by-load");
        assert_eq!(told.count(), 1, "{notices:?}");
        run.leaves_nothing();
    }
}

/// Where nothing boots, or there is no processor, the machine soon does nothing, and is not waited for as long as a migration
/// may take.
#[apply(test)]
#[needs(Builds)]
fn a_machine_that_does_nothing_is_not_waited_for() {
    for machine in ["isapc", "microvm", "none"] {
        let how = words!("-M {machine} --device-set bare --direction forward");
        let args = [&["live", "debian:bookworm", "debian:bookworm"], &how[..]];
        let run = Run::new(&args.concat());
        let why = run.case(0)["not_running"].clone();
        let waited = why.as_str().and_then(|why| {
            let (_, waited) = why.split_once("the guest said nothing for ")?;
            waited.split(' ').next()?.parse::<f64>().ok()
        });
        assert!(
            waited.is_some_and(|waited| waited < 30.0),
            "{machine}: {why}"
        );
        run.leaves_nothing();
    }
}

/// With isa-vga on q35 the firmware never comes to the guest, in any build: the machine is moved as it is
/// after reset, and the report says so.
#[apply(test)]
#[needs(Builds)]
fn a_machine_whose_guest_stays_silent_is_moved_as_it_is_after_reset() {
    let args = ["live", NEW, NEW, "-M", "q35", "--device", "isa-vga"];
    // By itself it waits for five seconds at least, and for ten times what the plain machine takes.
    let begun = Instant::now();
    for (timeout, most) in [("3", 4.9), ("60", 50.0)] {
        let how = words!("--direction forward --retries 0 --timeout {timeout}");
        let run = Run::new(&[&args[..], &how].concat());
        let case = run.case(0);
        assert_eq!(case["id"], "q35/ad-hoc/unix/forward");
        assert_eq!(case["running"], false);
        let why = case["not_running"].as_str().unwrap();
        assert!(why.contains("the guest said nothing for"), "{why}");
        let waited = why
            .split("for ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let waited: f64 = waited.unwrap().parse().unwrap();
        assert!(waited <= most, "{why}");
        let notices = run.report["notices"].as_array().unwrap();
        assert!(
            notices.iter().any(|n| n["kind"] == "not-running"),
            "{notices:?}"
        );
        // It was tried: this build does not survive its own stream of the card.
        assert_ne!(case["outcome"], "skip", "{}", run.said());
        assert_eq!(case["legs"].as_array().unwrap().len(), 1);
        run.leaves_nothing();
    }
    assert!(begun.elapsed() < Duration::from_secs(100));
}

/// The guest of a machine without anything odd is waited for as ever.
#[apply(test)]
#[needs(Builds)]
fn a_guest_that_takes_its_time_still_runs() {
    let dir = tempfile::tempdir().unwrap();
    // Slower than the first look, as on a host with much to do.
    let old = wrapper(dir.path(), OLD, Role::Source, "sleep 3");
    let args = ["live", &old, NEW, "-M", "q35", "--device-set", "bare"];
    let run = Run::new(&[&args[..], &["--direction", "forward"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    assert_eq!(run.case(0)["running"], true);
    assert_eq!(run.case(0)["not_running"], Value::Null);
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_destination_that_dies_while_it_loads_has_a_place() {
    // No build up to 10.0 survives its own.
    let args = ["live", OLD, NEW, "-M", "q35", "--paused"];
    let how = ["--direction", "backward", "--device", "isa-vga"];
    let run = Run::new(&[&args[..], &how].concat());
    let case = run.case(0);
    assert_eq!(case["control"]["new_to_new"], "crash", "{}", run.said());
    let cause = &case["cause"];
    assert_eq!(cause["section"], "vga");
    assert_eq!(cause["instance"], 0);
    let why = cause["message"].as_str().unwrap();
    let says = "the destination was killed by SIGSEGV while it loaded vga";
    assert!(why.starts_with(says), "{why}");
    // By hand nothing is traced.
    let line = case["reproduce"].as_str().unwrap();
    assert!(!line.contains(" -D "), "{line}");
    run.leaves_nothing();
}

/// The section has another name in either build. That 10.0 sometimes dies of its own is another matter.
#[apply(test)]
#[needs(Builds)]
fn a_control_that_dies_does_not_hide_a_section_that_is_unknown() {
    let args = ["live", NEW, "debian:trixie-backports", "-M", "pc-q35-10.0"];
    let device = ["--device", "isa-vga", "--retries", "0"];
    let run = Run::new(&[&args[..], &["--paused"], &device].concat());
    assert_eq!(run.outcomes(), ["fail", "fail"], "{}", run.said());
    for (at, rule) in [(0, "section-removed"), (1, "section-added")] {
        assert_eq!(run.case(at)["cause"]["rule"], rule, "{}", run.case(at));
    }
    // Its guest does not start to work in any build: the machine is moved as it is after reset, and says so.
    let run = Run::new(&[&args[..], &["--timeout", "10"], &device].concat());
    assert_eq!(run.outcomes(), ["fail", "fail"], "{}", run.said());
    for at in [0, 1] {
        assert!(run.case(at)["not_running"].is_string(), "{}", run.case(at));
    }
}

#[apply(test)]
#[needs(Builds)]
fn the_oldest_and_the_newest_build_trace_their_loads_into_the_logs() {
    let args = ["live", "debian:bullseye", "debian:trixie-backports"];
    let how = ["-M", "q35", "--paused", "--retries", "0"];
    let run = Run::new(&[&args[..], &how, &["--device", "am53c974"]].concat());
    // Both say where themselves; nothing of the trace is on their error output.
    assert_eq!(run.outcomes(), ["fail", "fail"], "{}", run.said());
    for case in run.report["cases"].as_array().unwrap() {
        let logs = Path::new(case["logs"].as_str().unwrap());
        let trace = fs::read_to_string(logs.join("destination.trace")).unwrap();
        assert!(trace.contains("(0000:00:01.0/pciespscsi) 0 "), "{trace}");
        let printed = fs::read_to_string(logs.join("destination.stderr")).unwrap();
        assert!(!printed.contains("startfull"), "{printed}");
    }
    run.leaves_nothing();
}

/// A build that gets a signal in the middle of the first migration, and never again.
fn struck(dir: &Path, suite: &str, role: Role, signal: &'static str) -> String {
    let prefix = build(suite).shell_prefix();
    let once = dir.join("struck");
    let fault = Fault::Signal(signal, 0);
    wrapper(
        dir,
        suite,
        role,
        &faulty(&prefix, "<\"active\"", fault, Some(&once)),
    )
}

/// Devices with so much memory that a migration lasts: whoever strikes in the middle of it has the time,
/// however busy the machine is.
fn roomy(dir: &Path) -> String {
    let file = dir.join("roomy.toml");
    let text = "name = \"roomy\"\ndescription = \"much memory\"\n\n[[device]]\nid = \"roomy\"\n\
                driver = \"pc-dimm\"\nproperties = { memdev = \"roomy-mem\" }\n\
                backend = [\"-m\", \"slots=2,maxmem=4G\", \
                \"-object\", \"memory-backend-ram,id=roomy-mem,size=512M\"]\n";
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Moves a roomy machine forward, paused, with one side struck by a signal.
fn moved_while_struck(dir: &Path, role: Role, signal: &'static str, options: &[&str]) -> Run {
    let (mut old, mut new) = (OLD.to_owned(), NEW.to_owned());
    match role {
        Role::Source => old = struck(dir, OLD, role, signal),
        Role::Destination => new = struck(dir, NEW, role, signal),
    }
    let room = roomy(dir);
    let args = ["live", &old, &new, "-M", "q35", "--paused"];
    let set = ["--device-set", &room, "--direction", "forward"];
    Run::new(&[&args[..], &set, options].concat())
}

#[apply(test)]
#[needs(Builds)]
fn a_killed_destination_is_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let run = moved_while_struck(
        dir.path(),
        Role::Destination,
        "SIGKILL",
        &["--retries", "1"],
    );
    assert_eq!(run.status(), Some(1), "{}", run.said());
    assert_eq!(run.outcomes(), ["crash"], "{}", run.said());
    let cause = &run.case(0)["cause"];
    assert_eq!(cause["side"], "destination");
    assert_eq!(cause["phase"], "transfer", "{cause}");
    assert_eq!(cause["kind"], "died");
    let why = cause["message"].as_str().unwrap();
    assert!(why.contains("SIGKILL"), "{why}");
    // Said, though it happened once: a failure is never outvoted.
    assert_eq!(run.case(0)["repeated"]["failed"], 1);
    assert_eq!(run.case(0)["repeated"]["of"], 2);
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_killed_source_is_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let run = moved_while_struck(dir.path(), Role::Source, "SIGKILL", &["--retries", "0"]);
    assert_eq!(run.status(), Some(1), "{}", run.said());
    assert_eq!(run.outcomes(), ["crash"], "{}", run.said());
    let cause = &run.case(0)["cause"];
    assert_eq!(cause["side"], "source");
    assert_eq!(cause["phase"], "transfer", "{cause}");
    assert_eq!(cause["kind"], "died");
    let why = cause["message"].as_str().unwrap();
    assert!(why.contains("the source was killed by SIGKILL"), "{why}");
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_stopped_destination_is_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let once = ["--retries", "0", "--timeout", "3"];
    let run = moved_while_struck(dir.path(), Role::Destination, "SIGSTOP", &once);
    assert_eq!(run.status(), Some(1), "{}", run.said());
    assert_eq!(run.outcomes(), ["hang"], "{}", run.said());
    assert_eq!(run.case(0)["cause"]["phase"], "transfer");
    run.leaves_nothing();
}

/// A run in a folder on a file system of its own, which is full. Of each file that it leaves there its
/// error output has a line.
fn run_on_a_full_disk(mount: &str, args: &[&str]) -> (Output, Value) {
    let temp = tempfile::tempdir().unwrap();
    let script = "{ cat /dev/zero >full 2>&-; \"$@\"; was=$?; \
                  find . -type f ! -name full -exec echo left {} \\; >&2; exit $was; }";
    let output = mounted(temp.path(), mount, script)
        .arg(env!("CARGO_BIN_EXE_migcompat"))
        .args(args)
        .arg("--cache")
        .arg(crate::common::cache_dir())
        .args(["--format", "json"])
        .env("TMPDIR", temp.path())
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    leaves_nothing(temp.path());
    (output, report)
}

#[apply(test)]
#[needs(Builds, Mount)]
fn a_full_disk_is_no_break() {
    let bare = ["live", OLD, NEW, "-M", "q35", "--device-set", "bare"];
    let once = ["--direction", "forward", "--retries", "0"];
    for (mount, how, status, outcome, says) in [
        // The image of the guest does not fit.
        ("size=64k", &[][..], 125, "skip", "No space left"),
        // Nothing of a machine that never runs has to be written, not even the trace of its load.
        ("size=64k", &["--paused"], 0, "pass", ""),
        (
            "size=64k",
            &["--paused", "--transport", "exec"],
            125,
            "broken",
            "No space left",
        ),
        // Not even a socket can be made.
        (
            "size=64k,nr_inodes=10",
            &["--paused"],
            125,
            "skip",
            "No space left",
        ),
    ] {
        let args = [&bare[..], &once, how].concat();
        let (output, report) = run_on_a_full_disk(mount, &args);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{how:?}: {printed}");
        assert!(!printed.contains("\nleft "), "{printed}");
        let case = &report["cases"][0];
        assert_eq!(case["outcome"], outcome, "{how:?}: {printed}");
        let why = case["cause"]["message"].as_str().unwrap_or_default();
        assert!(why.contains(says), "{how:?}: {why}");
    }
}

#[apply(test)]
#[needs(Builds, Mount)]
fn a_break_is_told_where_no_log_of_it_can_be_kept() {
    let args = ["live", OLD, NEW, "-M", "q35", "--device", "am53c974"];
    let once = ["--direction", "forward", "--paused", "--retries", "0"];
    for keep in [&["--keep-logs", "logs"][..], &[]] {
        let args = [&args[..], &once, keep].concat();
        let (output, report) = run_on_a_full_disk("size=64k", &args);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(!printed.contains("\nleft "), "{printed}");
        let case = &report["cases"][0];
        assert_eq!(case["outcome"], "fail", "{printed}");
        assert!(case["cause"]["section"].is_string(), "{case}");
        assert_eq!(case["logs"], Value::Null);
        let notices = report["notices"].as_array().unwrap();
        let lost = notices.iter().find(|n| n["kind"] == "logs-not-kept");
        let lost = lost.expect("a notice");
        assert_eq!(lost["subject"], case["id"], "{lost}");
        let why = lost["detail"].as_str().unwrap();
        assert!(why.contains("No space left"), "{why}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn builds_that_are_none_leave_it_untested() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, says) in [
        ("garbage", "echo garbage >&2", "garbage"),
        ("gone", "exit 3", "exited with status 3"),
    ] {
        let fake = script(dir.path(), name, text);
        let run = Run::new(&["live", OLD, &fake, "-M", "q35"]);
        assert_eq!(run.status(), Some(125), "{name}: {}", run.said());
        assert!(run.said().contains(says), "{}", run.said());
        run.leaves_nothing();
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_failed_case_and_the_finding_that_predicts_it_name_each_other() {
    let args = words!("check {OLD} {NEW} -M pc-q35-7.2 --device am53c974");
    let run = Run::new(&[&args[..], &["--direction", "forward"]].concat());
    assert_eq!(run.status(), Some(1), "{}", run.said());
    assert_eq!(run.outcomes_of("ad-hoc"), ["fail"]);
    let case = run.case(0);
    let section = case["cause"]["section"].as_str().unwrap();
    assert!(section.ends_with("/pciespscsi"), "{section}");
    let findings = run.report["findings"].as_array().unwrap();
    let confirmed: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["confirmed_by"] == case["id"])
        .collect();
    assert_eq!(confirmed.len(), 1, "one finding explains it");
    assert_eq!(confirmed[0]["rule"], case["cause"]["rule"]);
    assert_eq!(
        confirmed[0]["path"],
        serde_json::json!(["pciespscsi", "esp", "drq_state"])
    );
    assert_eq!(case["cause"]["field"], "esp/drq_state");
}

#[apply(test)]
#[needs(Builds)]
fn a_check_joins_both_kinds_of_evidence() {
    let run = Run::new(&["check", OLD, NEW, "-M", "q35"]);
    assert!(
        run.status().is_some_and(|status| status < 2),
        "{}",
        run.said()
    );
    assert_eq!(run.outcomes_of("default"), ["pass", "pass"]);
    assert!(!run.report["findings"].as_array().unwrap().is_empty());
}

/// Sections that no guest of the run had are separated from those that were moved, and count.
#[apply(test)]
#[needs(Builds)]
fn a_check_says_how_much_was_put_to_the_test() {
    // The same build: nothing but coverage can keep it from being compatible.
    let check = |more: &[&str]| {
        let args = ["check", OLD, OLD, "-M", "q35", "--paused"];
        Run::new(&[&args[..], more].concat())
    };
    let bare = check(&["--device-set", "bare"]);
    assert_eq!(bare.status(), Some(0), "{}", bare.said());
    let section = |run: &Run, name: &str| {
        let sections = run.report["coverage"]["sections"].as_array().unwrap();
        let found = sections.iter().find(|section| section["section"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    for (name, possible, reached) in [
        ("mch", true, "passed"),
        ("e1000e", true, "compared"),
        ("usb-host", true, "not-created"),
        // Both builds know it, and no guest of the machine has it.
        ("sysbus-esp", false, "compared"),
    ] {
        let section = section(&bare, name);
        assert_eq!(section["possible"], possible, "{section}");
        assert_eq!(section["reached"], reached, "{section}");
    }
    let percent = |run: &Run| {
        run.report["coverage"]["counts"]["percent"]
            .as_u64()
            .unwrap()
    };
    let least = (percent(&bare) + 1).to_string();

    let more = ["--device-set", "default", "--device", "e1000e"];
    let more = check(&[&more[..], &["--min-coverage", &least]].concat());
    assert_eq!(more.status(), Some(0), "{}", more.said());
    assert_eq!(section(&more, "e1000e")["reached"], "passed");
    assert!(percent(&more) > percent(&bare));

    let less = check(&["--device-set", "bare", "--min-coverage", &least]);
    assert_eq!(less.status(), Some(125), "{}", less.said());
    assert_eq!(less.report["verdict"], "untested");
    assert_eq!(less.outcomes(), ["pass", "pass"]);

    let state = "sections=1,subsections=99";
    let less = check(&["--device-set", "bare", "--min-coverage", state]);
    assert_eq!(less.status(), Some(125), "{}", less.said());
    let asked = serde_json::json!({"subsections": 99, "fields": null});
    assert_eq!(less.report["coverage"]["required_state"], asked);
    assert_eq!(less.report["policy"]["required_state"], asked);
}

/// With multifd the stream cannot be read in transit: that is not the same as nothing sent.
#[apply(test)]
#[needs(Builds)]
fn what_cannot_be_seen_is_not_taken_for_uncovered() {
    let args = ["check", OLD, OLD, "-M", "q35", "--paused"];
    let how = words!("--device-set bare --capability multifd --repeat 0");
    let run = Run::new(&[&args[..], &how].concat());
    assert_eq!(run.status(), Some(0), "{}", run.said());
    assert_eq!(run.report["coverage"], Value::Null);
    let notices = run.report["notices"].as_array().unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0]["kind"], "coverage-unknown", "{notices:?}");
    let asked = Run::new(&[&args[..], &how, &["--min-coverage", "1"]].concat());
    assert_eq!(asked.status(), Some(125), "{}", asked.said());
}

/// A device that did not get across was sent, and that is all.
#[apply(test)]
#[needs(Builds)]
fn what_was_sent_in_vain_is_covered_as_such() {
    let args = ["check", OLD, NEW, "-M", "q35", "--paused", "--retries", "0"];
    let run = Run::new(
        &[
            &args[..],
            &["--device", "am53c974", "--direction", "forward"],
        ]
        .concat(),
    );
    // The device that was asked for, and each of the two that the dumps leave a doubt about.
    assert_eq!(run.outcomes(), ["fail", "fail", "fail"], "{}", run.said());
    let sections = run.report["coverage"]["sections"].as_array().unwrap();
    let reached = |name: &str| {
        let found = sections.iter().find(|section| section["section"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))["reached"].clone()
    };
    assert_eq!(reached("am53c974"), "sent");
    // It has the same description, and was in a guest of its own.
    assert_eq!(reached("dc390"), "sent");
    // Nothing is against it, and it was in no guest.
    assert_eq!(reached("e1000"), "compared");
}

/// The guests migrate, and what is not known of them is in the report instead of on the error output.
#[apply(test)]
#[needs(Builds)]
fn a_build_that_writes_no_dump_is_a_notice_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let first = "case \"$*\" in *-dump-vmstate*) echo no dump today >&2; exit 3 ;; esac";
    let mute = changed(dir.path(), OLD, first);
    let pair = [mute.as_str(), "debian:bookworm", "-M", "pc-q35-7.2"];
    let notice = |run: &Run| {
        let notices = run.report["notices"].as_array().unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(notices[0]["kind"], "dumps-missing", "{notices:?}");
        let detail = notices[0]["detail"].as_str().unwrap();
        assert!(detail.contains("no dump today"), "{detail}");
        assert!(!run.said().contains("no dump today"), "{}", run.said());
        notices[0]["subject"].clone()
    };
    let options = ["--device-set", "bare", "--paused", "--direction", "forward"];
    let live = Run::new(&[&["live"][..], &pair, &options].concat());
    assert_eq!(live.outcomes(), ["pass"], "{}", live.said());
    assert_eq!(notice(&live), "pc-q35-7.2");
    assert_eq!(live.status(), Some(0));

    let options = ["--only", "e1000", "--direction", "forward"];
    let sweep = Run::new(&[&["sweep"][..], &pair, &options].concat());
    assert_eq!(sweep.outcomes(), ["pass", "pass"], "{}", sweep.said());
    assert_eq!(notice(&sweep), "x86_64");
    assert_eq!(sweep.report["coverage"], Value::Null);

    let options = ["--device-set", "bare", "--paused", "--direction", "forward"];
    let check = Run::new(&[&["check"][..], &pair, &options].concat());
    assert_eq!(check.outcomes(), ["pass"], "{}", check.said());
    assert_eq!(notice(&check), "pc-q35-7.2");
    assert_eq!(check.status(), Some(0));
    assert_eq!(check.report["coverage"], Value::Null);

    // What was asked for cannot be known.
    let untested = Run::new(&[&["check"][..], &pair, &options, &["--min-coverage", "1"]].concat());
    assert_eq!(untested.report["verdict"], "untested");
    assert_eq!(notice(&untested), "pc-q35-7.2");
    let options = [
        "--only",
        "e1000",
        "--direction",
        "forward",
        "--min-coverage",
        "1",
    ];
    let sweep = Run::new(&[&["sweep"][..], &pair, &options].concat());
    assert_eq!(sweep.status(), Some(125), "{}", sweep.said());
    assert!(sweep.said().contains("no dump today"), "{}", sweep.said());
}

/// A break is found and explained by the streams, where either build writes no dump or none that can be read.
#[apply(test)]
#[needs(Builds)]
fn a_check_finds_a_break_without_dumps() {
    let dir = tempfile::tempdir().unwrap();
    let no_dump = |action: &str| format!("case \"$*\" in *-dump-vmstate*) {action} ;; esac");
    let [first, second] = ["old", "new"].map(|name| dir.path().join(name));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    let dies = changed(&first, OLD, &no_dump("kill -SEGV $$"));
    let writes_nothing = changed(&second, NEW, &no_dump("exit 0"));
    for (old, new) in [
        (dies.as_str(), NEW),
        (OLD, writes_nothing.as_str()),
        (dies.as_str(), writes_nothing.as_str()),
    ] {
        let args = [
            "check",
            old,
            new,
            "-M",
            "pc-q35-7.2",
            "--device",
            "am53c974",
        ];
        let run = Run::new(&[&args[..], &["--paused", "--direction", "forward"]].concat());
        assert_eq!(run.status(), Some(1), "{old} {new}: {}", run.said());
        let notices = run.report["notices"].as_array().unwrap();
        let kinds: Vec<&Value> = notices.iter().map(|notice| &notice["kind"]).collect();
        assert_eq!(kinds, ["dumps-missing"], "{notices:?}");
        let cases = run.report["cases"].as_array().unwrap();
        let failed = cases.iter().find(|case| case["outcome"] == "fail").unwrap();
        let message = failed["cause"]["message"].as_str().unwrap();
        assert!(message.contains("esp/drq_state"), "{message}");
        let findings = run.report["findings"].as_array().unwrap();
        let about = |finding: &&Value| {
            let last = finding["path"].as_array().unwrap().last();
            finding["rule"] == "field-added" && *last.unwrap() == "drq_state"
        };
        let about: Vec<&Value> = findings.iter().filter(about).collect();
        assert_eq!(about.len(), 1, "{findings:#?}");
        // What the destination's build describes tells which field it reads.
        if new == NEW {
            assert_eq!(failed["cause"]["field"], "esp/drq_state", "{failed:#}");
            assert_eq!(failed["cause"]["rule"], "field-added", "{failed:#}");
            assert_eq!(about[0]["confirmed_by"], failed["id"]);
        }
    }
}

/// What a build prints while it starts is not about a migration; what it prints afterwards may be.
#[apply(test)]
#[needs(Builds)]
fn what_a_build_prints_as_it_starts_is_not_held_against_a_load() {
    let dir = tempfile::tempdir().unwrap();
    let odd = "qemu-system-x86_64: Could not open option rom 'odd.bin': No such file or directory";
    let starts = changed(dir.path(), OLD, &format!("echo \"{odd}\" >&2"));
    let bare = ["-M", "q35", "--device-set", "bare", "--paused"];
    let run = Run::new(&[&["live", &starts, OLD][..], &bare].concat());
    assert_eq!(run.outcomes(), ["pass", "pass"], "{}", run.said());
    // A real one: the ROM comes with another package than the build.
    let args = [
        "live", NEW, NEW, "--arch", "aarch64", "-M", "virt", "--device", "ramfb",
    ];
    let run = Run::new(&[&args[..], &["--paused", "--direction", "forward"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    // The same line, when it has done its work.
    let prefix = build(OLD).shell_prefix();
    let text = format!("env {prefix} \"$@\"; status=$?; echo \"{odd}\" >&2; exit $status");
    let ends = script(dir.path(), "qemu-system-x86_64", &text);
    let run = Run::new(
        &[
            &["live", OLD, &ends][..],
            &bare,
            &["--direction", "forward"],
        ]
        .concat(),
    );
    assert_eq!(run.outcomes(), ["broken"], "{}", run.said());
    let cause = &run.case(0)["cause"];
    assert_eq!(
        (&cause["kind"], &cause["side"]),
        (&"complaint".into(), &"destination".into())
    );
}

/// A source that has completed closes its connections. A thread of it that has an empty packet left says so, or not, as the
/// host's load has it.
#[apply(test)]
#[needs(Builds)]
fn a_source_that_finds_its_connections_closed_has_completed() {
    let prefix = build(OLD).shell_prefix();
    let source_that_says = |line: &str| {
        let dir = tempfile::tempdir().unwrap();
        let says = format!("echo \"qemu-system-x86_64: {line}\" >&2");
        let text = format!("env {prefix} \"$@\"; status=$?; {says}; exit $status");
        let source = script(dir.path(), "qemu-system-x86_64", &text);
        let args =
            words!("live {source} {OLD} -M q35 --device-set bare --paused --direction forward");
        Run::new(&args)
    };
    for line in [
        "Unable to write to socket: Broken pipe",
        "Unable to write to socket: Connection reset by peer",
        "Cannot write to TLS channel: Broken pipe",
    ] {
        let run = source_that_says(line);
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    }
    for line in [
        "Unable to write to socket: No buffer space available",
        "multifd_send_sync_main: channel 1 has already quit",
    ] {
        let run = source_that_says(line);
        assert_eq!(run.outcomes(), ["broken"], "{}", run.said());
        let cause = &run.case(0)["cause"];
        assert_eq!(
            (&cause["kind"], &cause["side"]),
            (&"complaint".into(), &"source".into())
        );
    }
}

/// What a check finds of devices that nobody asked for, and what it makes of the findings about them.
#[apply(test)]
#[needs(Builds)]
fn a_check_settles_every_doubt_of_the_dumps() {
    let args = ["check", NEW, "debian:trixie-backports", "-M", "pc-q35-10.0"];
    let run = Run::new(&[&args[..], &["--device-set", "bare", "--paused"]].concat());
    assert_eq!(run.status(), Some(1), "{}", run.said());
    let outcome = |device: &str, direction: &str| {
        let id = format!("q35/{device}/unix/{direction}");
        let mut cases = run.report["cases"].as_array().unwrap().iter();
        cases
            .find(|case| case["id"] == id)
            .map(|case| case["outcome"].as_str().unwrap())
    };
    // No dump decides these: one build registers the section by hand, one sends it by its state.
    for device in ["ipmi-bmc-sim", "uefi-vars-x64", "am53c974", "dc390"] {
        assert_eq!(outcome(device, "forward"), Some("pass"), "{device}");
        assert_eq!(outcome(device, "backward"), Some("fail"), "{device}");
    }
    assert_eq!(outcome("e1000e", "forward"), None, "nothing is in doubt");

    let findings = run.report["findings"].as_array().unwrap();
    let about = |section: &str, rule: &str, direction: &str| {
        let of = |finding: &&Value| {
            finding["section"] == section
                && finding["rule"] == rule
                && finding["direction"] == direction
        };
        findings
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{section} {rule}"))
    };
    let refuted = about("am53c974", "conditional-field-added", "forward");
    assert_eq!(refuted["refuted_by"], "q35/am53c974/unix/forward");
    let confirmed = about("am53c974", "conditional-field-added", "backward");
    assert_eq!(confirmed["confirmed_by"], "q35/am53c974/unix/backward");
    assert_eq!(confirmed["refuted_by"], Value::Null);
    // A type that one build lacks is nothing that a migration of others settles.
    for finding in findings
        .iter()
        .filter(|finding| finding["rule"] == "section-removed")
    {
        assert_eq!(finding["refuted_by"], Value::Null, "{finding}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_name_that_no_build_knows_is_refused_with_the_nearest() {
    let live = ["live", OLD, NEW, "--device-set", "bare", "--paused"];
    let sweep = ["sweep", OLD, NEW];
    for (command, how, says) in [
        (&live[..], &["-M", "q53"][..], "both have q35"),
        (
            &live,
            &["-M", "q35", "--device", "e100e"],
            "both have e1000e",
        ),
        (&live, &["-M", "q35", "--cpu", "qemu46"], "both have qemu64"),
        (
            &live,
            &["-M", "q35", "--cpu", "Skylak"],
            "both have Skylake-",
        ),
        (&sweep, &["--only", "e100e"], "both have e1000e"),
        (
            &sweep,
            &["--only", "nosuch*"],
            "neither build has such a device type",
        ),
        (&sweep, &["--only", "pvrdma"], "the new build does not have"),
        (&sweep, &["-M", "nosuch"], "no machine type nosuch"),
        // A version between two that there are.
        (&sweep, &["-M", "pc-q35-7.3"], "both have is pc-q35-7.2"),
        (&live, &["-M", "pc-q35-5.3"], "the nearest pc-q35-5.2"),
        (
            &["static", OLD, NEW],
            &["-M", "pc-i440fx-6.9"],
            "the nearest pc-i440fx-7.0",
        ),
    ] {
        let run = Run::new(&[command, how].concat());
        assert_eq!(run.status(), Some(2), "{how:?}: {}", run.said());
        assert!(run.said().contains(says), "{how:?}: {}", run.said());
    }
    // What one build knows may be missing from the other.
    let run = Run::new(&[&live[..], &["-M", "pc-q35-10.0"]].concat());
    assert_eq!(run.status(), Some(125), "{}", run.said());
}

#[apply(test)]
#[needs(Builds)]
fn options_of_the_machine_type_are_given_by_a_device_set() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("mine.toml");
    let device = "[[device]]\nid = \"e1000e\"\nbackend = [\"-machine\", \"usb=on\"]\n";
    let text = format!("name = \"mine\"\ndescription = \"with USB\"\n{device}");
    std::fs::write(&set, text).unwrap();
    let set = set.display().to_string();
    let args = ["live", OLD, OLD, "--device-set", &set, "--paused"];
    let run = Run::new(&[&args[..], &["--direction", "forward"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    // Without -M it is the usual machine.
    assert_eq!(run.case(0)["machine"], "pc-q35-7.2");
    // What is there is read, whatever its name.
    let run = Run::new(&["live", OLD, OLD, "--device-set", "Cargo.lock", "--paused"]);
    assert_eq!(run.status(), Some(2), "{}", run.said());
    assert!(run.said().contains("Cargo.lock:"), "{}", run.said());
    let machine = |name: &str| {
        let args = ["live", OLD, OLD, "--device-set", name, "--paused"];
        let run = Run::new(&args);
        assert_eq!(run.status(), Some(2), "{}", run.said());
        let said = run.said();
        assert!(said.contains("is a folder: a set is one file"), "{said}");
    };
    machine(&dir.path().display().to_string());
    // Also where the name could be that of a shipped set.
    machine("fixtures");
}

#[apply(test)]
#[needs(Builds)]
fn a_case_that_passes_is_repeated_and_its_times_are_real() {
    let args = words!("live {OLD} {NEW} -M q35 --device-set bare --paused");
    let run = Run::new(&[&args[..], &["--repeat", "3", "--direction", "forward"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["repeated"], serde_json::json!({"failed": 0, "of": 4}));
    assert_ne!(case["legs"][0]["total_ms"], 0, "{case}");

    // What every second source sends is refused.
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count").display().to_string();
    let old = now_and_then(dir.path(), &count, "[ $((n % 2)) = 0 ]");
    let args = ["live", &old, OLD, "-M", "q35", "--device", "intel-hda"];
    let how = ["--paused", "--repeat", "3", "--direction", "forward"];
    let run = Run::new(&[&args[..], &how].concat());
    assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["repeated"], serde_json::json!({"failed": 2, "of": 4}));
}

/// With connections of their own for pages, threads of both sides race: what passes once may have done so by chance.
#[apply(test)]
#[needs(Builds)]
fn a_case_in_which_threads_race_has_to_pass_ten_times() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count").display().to_string();
    // What the fourth source sends is refused.
    let old = now_and_then(dir.path(), &count, "[ $n = 4 ]");
    let run = |old: &str, more: &[&str]| {
        std::fs::write(&count, "").unwrap();
        let args = words!("live {old} {OLD} -M q35 --device intel-hda --paused");
        Run::new(&[&args[..], more].concat())
    };
    let multifd = words!("--capability multifd --direction forward");
    let found = run(&old, &multifd);
    assert_eq!(found.outcomes(), ["fail"], "{}", found.said());
    // It ends with the first failure, which is then tried again as every failure is.
    let rate = serde_json::json!({"failed": 1, "of": 6});
    assert_eq!(found.case(0)["repeated"], rate);
    let all = run(OLD, &multifd);
    assert_eq!(all.outcomes(), ["pass"], "{}", all.said());
    let rate = serde_json::json!({"failed": 0, "of": 10});
    assert_eq!(all.case(0)["repeated"], rate);
    // The legs of a loop are migrations as well.
    let loops = run(OLD, &["--capability", "multifd", "--loops", "2"]);
    let rate = serde_json::json!({"failed": 0, "of": 3});
    assert_eq!(loops.case(0)["repeated"], rate, "{}", loops.said());
    for once in [
        words!("--capability multifd --direction forward --repeat 0"),
        words!("--direction forward"),
    ] {
        let run = run(&old, &once);
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
        assert_eq!(run.case(0)["repeated"], Value::Null);
    }
}

/// What sends addresses of its process is loaded by chance, so that it is moved more than once.
#[apply(test)]
#[needs(Builds)]
fn a_case_with_addresses_of_a_process_is_repeated() {
    let run = |more: &str| {
        let args = words!("live {OLD} {OLD} -M q35 --paused --direction forward {more}");
        let run = Run::new(&args);
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
        run
    };
    let found = run("--device isa-vga");
    let case = found.case(0);
    assert_eq!(case["repeated"], serde_json::json!({"failed": 0, "of": 4}));
    let sent = serde_json::json!([{"section": "vga", "build": OLD}]);
    assert_eq!(case["own_addresses"], sent);
    let notice = &found.report["notices"][0];
    assert_eq!(notice["kind"], "own-addresses");
    let detail = format!("of {OLD}; what loads them may die of that, or not, by chance");
    assert_eq!(notice["detail"], detail);
    // Unless somebody asks for a rate, or there is none.
    for once in ["--device isa-vga --repeat 0", "--device VGA"] {
        assert_eq!(run(once).case(0)["repeated"], Value::Null, "{once}");
    }
}

/// What a device never wrote to has an address in it where somebody else left one before: no load takes it for one.
#[apply(test)]
#[needs(Builds)]
fn an_address_that_was_left_in_memory_is_none_of_the_device() {
    for (arch, machine, build) in [
        ("x86_64", "pc", "debian:trixie"),
        ("i386", "pc", "debian:trixie-backports"),
        ("mips64el", "malta", "debian:trixie"),
    ] {
        let board = words!("live {build} {build} --arch {arch} -M {machine}");
        let how = words!("--device vmware-svga --paused --direction forward");
        let run = Run::new(&[board, how].concat());
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
        let case = run.case(0);
        assert_eq!(case.get("own_addresses"), None, "{}", run.said());
        assert_eq!(case["repeated"], Value::Null);
    }
}

/// A build that refuses its own streams now and then, as it refuses the other one's, is no break of the pair: its one control
/// passes by chance.
#[apply(test)]
#[needs(Builds)]
fn what_a_build_refuses_of_itself_now_and_then_is_no_break() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count").display().to_string();
    let other = format!(
        "echo >> {count}; [ $(($(wc -l < {count}) % 3)) != 0 ] || set -- \"$@\" -global intel-hda.msi=off"
    );
    let new = wrapper(dir.path(), OLD, Role::Destination, &other);
    let args = words!("live {OLD} {new} -M q35 --device intel-hda --paused");
    let how = words!("--capability multifd --direction forward");
    let run = Run::new(&[&args[..], &how].concat());
    assert_eq!(run.outcomes(), ["broken"], "{}", run.said());
    let control = serde_json::json!({"old_to_old": "pass", "new_to_new": "fail"});
    assert_eq!(run.case(0)["control"], control);
}

/// A failure that comes now and then has a rate, also where the first run is the one that failed.
#[apply(test)]
#[needs(Builds)]
fn a_case_that_fails_first_is_repeated_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count").display().to_string();
    // What the sources whose numbers fit send is refused. Of the failed case each build is tried with itself, which takes
    // the second one of the old build.
    for (fits, times, failed) in [
        ("% 2)) = 1", "3", 3),
        ("% 2)) = 1", "2", 2),
        ("< 9)) = 1", "3", 4),
    ] {
        std::fs::write(&count, "").unwrap();
        let condition = format!("[ $((n {fits} ] && [ $n != 2 ]");
        let old = now_and_then(dir.path(), &count, &condition);
        let args = ["live", &old, OLD, "-M", "q35", "--device", "intel-hda"];
        let how = ["--paused", "--repeat", times, "--direction", "forward"];
        let run = Run::new(&[&args[..], &how].concat());
        assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
        let of = times.parse::<u64>().unwrap() + 1;
        let rate = serde_json::json!({"failed": failed, "of": of});
        assert_eq!(run.case(0)["repeated"], rate, "{fits}");
    }
}

/// Somebody who cannot mend a build can do without a capability.
#[apply(test)]
#[needs(Builds)]
fn a_failed_case_is_tried_without_each_of_its_capabilities() {
    let run = |device_set: &[&str], more: &[&str]| {
        let args = ["live", OLD, NEW, "-M", "pc-q35-7.2", "--paused"];
        // What is packed and is not expected to be may never end.
        let how = ["--direction", "forward", "--retries", "1", "--timeout", "4"];
        Run::new(&[&args[..], &how, device_set, more].concat())
    };
    let without = |of: &str, failed: u64, tries: u64| serde_json::json!({"capability": of, "failed": failed, "of": tries});
    // The pages of the one side are packed, and the other side does not expect it.
    let packed = "--new-arg=-global migration.multifd-compression=zlib";
    let bare = ["--device-set", "bare"];
    let multifd = ["--capability", "multifd"];
    let failed = run(&bare, &[&multifd[..], &[packed]].concat());
    assert_ne!(failed.outcomes(), ["pass"], "{}", failed.said());
    let found = &failed.case(0)["without_capability"];
    assert_eq!(*found, serde_json::json!([without("multifd", 0, 2)]));
    // A device that fails does so whatever the memory goes through.
    let device = ["--device", "am53c974"];
    let failed = run(&device, &multifd);
    assert_eq!(failed.outcomes(), ["fail"], "{}", failed.said());
    let found = &failed.case(0)["without_capability"];
    assert_eq!(*found, serde_json::json!([without("multifd", 1, 1)]));
    // What passes, and what has no capability, is not tried.
    for (set, more) in [(&bare, &multifd[..]), (&device, &[])] {
        let found = run(set, more);
        assert_eq!(found.case(0)["without_capability"], serde_json::json!([]));
    }
}
