//! A signal ends a run in whatever phase it is, and nothing of the run is left.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    cache_dir, changed, follows, follows_the_schema, migcompat, root, script, stderr, stdout,
    wait_until,
};

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";
/// A second is what a user waits; a busy machine may need some.
const SOON: Duration = Duration::from_secs(30);
/// Does what never ends, with a process of its own that outlives it unless somebody kills that.
const HANG: &str = "sleep 1000 & : >\"$REACHED\"; wait";

/// A run under way, with folders of its own.
struct Run {
    child: Child,
    /// What the run may use for itself: nothing is to be left in it.
    temp: TempDir,
    /// What the test needs.
    test: PathBuf,
}

impl Run {
    /// `{}` in an argument is the folder of the test, where `-o` writes to too.
    fn start(test: &TempDir, args: &[&str]) -> Run {
        Run::start_by(Command::new("env").arg("--default-signal=HUP"), test, args)
    }

    /// The same with a program that starts ours.
    fn start_by(command: &mut Command, test: &TempDir, args: &[&str]) -> Run {
        let temp = tempfile::tempdir().unwrap();
        let test = test.path().to_owned();
        let args = args
            .iter()
            .map(|arg| arg.replace("{}", test.to_str().unwrap()));
        let child = command
            .arg(env!("CARGO_BIN_EXE_migcompat"))
            .args(args)
            .current_dir(root())
            .env("TMPDIR", temp.path())
            .env("REACHED", test.join("reached"))
            .stdin(Stdio::piped())
            .stdout(File::create(test.join("stdout")).unwrap())
            .stderr(File::create(test.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Run { child, temp, test }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.test.join("stderr")).unwrap()
    }

    /// Waits for what makes a phase known.
    fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&Run) -> bool) {
        wait_until(what, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: {ended:?}: {}", self.said());
            is_so(self)
        });
    }

    /// A build, or whatever else hangs here, has been started.
    fn wait_until_reached(&mut self, what: &str) {
        self.wait_until(what, |run| run.test.join("reached").exists());
    }

    /// Sends the signal and sees what is left.
    fn ends_by(mut self, signal: Signal, what: &str) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let sent = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if sent.elapsed() < SOON => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    self.child.kill().unwrap();
                    panic!("{what}: {signal} is ignored: {}", self.said());
                }
            }
        };
        let stderr_text = self.said();
        assert_eq!(
            status.code(),
            Some(128 + signal as i32),
            "{what}: {stderr_text}"
        );
        let last = stderr_text.lines().last();
        let expected = format!("untested: interrupted by {signal}");
        assert_eq!(last, Some(&*expected), "{what}: {stderr_text}");
        let printed = fs::read_to_string(self.test.join("stdout")).unwrap();
        assert_eq!(printed, "", "{what}");
        assert_eq!(names(self.temp.path()), [""; 0], "{what}");
        assert_eq!(started_in(self.temp.path()), [""; 0], "{what}");
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let items = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = items
        .map(|item| item.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The processes that have this temporary folder, or one in it: all that the run has started.
pub fn started_in(temp: &Path) -> Vec<String> {
    let set = format!("TMPDIR={}", temp.display()).into_bytes();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file| fs::read(process.path().join(file)).unwrap_or_default();
        if read("environ").windows(set.len()).any(|part| part == set) {
            found.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
        }
    }
    found
}

/// A build that hangs where its arguments or its past fit the `case` of a shell, and else is a real one.
fn hangs_where(test: &TempDir, suite: &str, case: &str) -> String {
    let first = format!("hang() {{ {HANG}; }}\nmoved=\"$REACHED.moved\"\n{case}");
    changed(test.path(), suite, &first)
}

fn cache() -> String {
    cache_dir().to_str().unwrap().to_owned()
}

fn pipe(test: &TempDir, name: &str) -> PathBuf {
    let path = test.path().join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

#[apply(test)]
fn a_build_that_never_answers_holds_up_no_command() {
    for command in [
        ["check", "BUILD", "BUILD", "-M", "q35"].as_slice(),
        &["live", "BUILD", "BUILD", "-M", "q35"],
        &["sweep", "BUILD", "BUILD"],
        &["static", "BUILD", "BUILD"],
        &[
            "static",
            "BUILD",
            "fixtures/dumps/7.2.22/x86_64-q35.json.zst",
        ],
        &["dump", "BUILD"],
    ] {
        for signal in SIGNALS {
            let test = tempfile::tempdir().unwrap();
            let build = script(test.path(), "qemu", HANG);
            let output = test.path().join("output");
            fs::create_dir(&output).unwrap();
            fs::write(output.join("file"), "as before").unwrap();
            let mut args: Vec<&str> = command
                .iter()
                .map(|&arg| if arg == "BUILD" { &*build } else { arg })
                .collect();
            args.extend(["-o", "{}/output/file"]);
            let mut run = Run::start(&test, &args);
            run.wait_until_reached("no build was started");
            run.ends_by(signal, &command.join(" "));
            assert_eq!(names(&output), ["file"]);
            assert_eq!(fs::read(output.join("file")).unwrap(), b"as before");
        }
    }
}

#[apply(test)]
fn input_that_never_comes_holds_up_no_command() {
    for command in [
        ["static", "{}/input.json", "{}/input.json"].as_slice(),
        &["merge", "{}/input.json"],
        &["stream", "show", "{}/input.json"],
        &["stream", "diff", "{}/input.json", "{}/input.json"],
        &[
            "history",
            "import",
            "{}/input.json",
            "--history",
            "{}/history.db",
        ],
    ] {
        for signal in SIGNALS {
            let test = tempfile::tempdir().unwrap();
            let input = pipe(&test, "input.json");
            let mut run = Run::start(&test, command);
            // Nobody can open it so before somebody reads from it.
            let mut writer = None;
            run.wait_until("nothing is read", |_| {
                writer = OpenOptions::new()
                    .write(true)
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(&input)
                    .ok();
                writer.is_some()
            });
            run.ends_by(signal, &command.join(" "));
        }
    }
}

#[apply(test)]
fn output_that_nobody_reads_holds_up_no_command() {
    let dump = "fixtures/dumps/7.2.22/x86_64-q35.json.zst";
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let output = pipe(&test, "output");
        let mut run = Run::start(&test, &["static", dump, dump, "-o", "{}/output"]);
        // Of all that it does, this alone is to open a pipe.
        run.wait_until("nothing is written", |run| {
            let waits = fs::read_to_string(format!("/proc/{}/wchan", run.child.id()));
            waits.is_ok_and(|place| place.contains("fifo") || place.contains("partner"))
        });
        run.ends_by(signal, "a pipe without a reader");
        assert!(output.exists());
    }
}

#[apply(test)]
fn a_fetch_is_ended_and_leaves_no_folder() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let tools = test.path().join("tools");
        fs::create_dir(&tools).unwrap();
        for tool in ["apt-config", "apt-get", "apt-cache", "dpkg-deb"] {
            script(&tools, tool, HANG);
        }
        let path = std::env::join_paths(
            std::iter::once(tools).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut env = Command::new("env");
        env.arg("--default-signal=HUP").env("PATH", path.unwrap());
        let fetch = ["builds", "fetch", "debian:sid", "--cache", "{}/cache"];
        let mut run = Run::start_by(&mut env, &test, &fetch);
        run.wait_until_reached("nothing is fetched");
        let suite = test.path().join("cache/debian/sid");
        assert!(names(&suite).iter().any(|name| name.starts_with(".fetch-")));
        run.ends_by(signal, "a fetch");
        assert_eq!(names(&suite), [".fetch.lock"]);
    }
}

#[apply(test)]
fn waiting_for_the_fetch_of_another_run_is_ended() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let suite = test.path().join("cache/debian/sid");
        fs::create_dir_all(&suite).unwrap();
        let lock = File::create(suite.join(".fetch.lock")).unwrap();
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
        let dump = ["dump", "debian:sid", "--cache", "{}/cache", "-o", "-"];
        let mut run = Run::start(&test, &dump);
        run.wait_until("it does not wait", |run| run.said().contains("another run"));
        run.ends_by(signal, "waiting for a fetch");
        drop(lock);
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_run_is_ended_before_guests_move() {
    for (phase, case, signal) in [
        ("what can be plugged in", "*-M\\ none*", Signal::SIGINT),
        ("the dump of a build", "*-dump-vmstate*", Signal::SIGTERM),
        ("the destination of a guest", "*-incoming*", Signal::SIGHUP),
    ] {
        for command in ["check", "sweep"] {
            let test = tempfile::tempdir().unwrap();
            let hangs = format!("case \"$*\" in {case}) hang ;; esac");
            let build = hangs_where(&test, NEW, &hangs);
            let args = [command, OLD, &build, "-M", "q35", "--cache", &cache()];
            let mut run = Run::start(&test, &args);
            run.wait_until_reached(phase);
            run.ends_by(signal, &format!("{command}: {phase}"));
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_run_is_ended_while_guests_move() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let args = [
            "live",
            OLD,
            NEW,
            "-M",
            "q35",
            "--loops",
            "500",
            "--cache",
            &cache(),
        ];
        let mut run = Run::start(&test, &args);
        // The fourth QEMU of the guest is there.
        run.wait_until("no guest moves", |run| {
            let folders = fs::read_dir(run.temp.path()).unwrap().flatten();
            folders
                .into_iter()
                .any(|item| item.path().join("c3").exists())
        });
        run.ends_by(signal, "guests on their way");
    }
}

/// A build that hangs where it is to take a guest with this device.
fn hangs_with(test: &TempDir, device: &str) -> String {
    let case =
        format!("case \"$*\" in *{device}*) case \"$*\" in *-incoming*) hang ;; esac ;; esac");
    hangs_where(test, NEW, &case)
}

fn read_json(test: &TempDir, name: &str) -> Value {
    let text = fs::read_to_string(test.path().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[apply(test)]
#[needs(Builds)]
fn a_map_is_ended_after_one_of_its_pairs() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let build = hangs_with(&test, "virtio-rng-pci");
        let args = ["map", OLD, NEW, &build, "-M", "q35", "--cache", &cache()];
        let options = ["--only", "virtio-rng-pci", "--direction", "forward"];
        // One guest after the other: the first pair is through before the last guest of the second begins.
        let output = ["--jobs", "1", "--events", "{}/log"];
        let more = ["-o", "{}/map.json", "-o", "{}/map.xml"];
        let mut run = Run::start(&test, &[&args[..], &options, &output, &more].concat());
        run.wait_until("the second pair", |run| {
            run.test.join("reached").exists() && run.said().contains("[1/2] ")
        });
        run.ends_by(signal, "the second pair of a map");
        let map = read_json(&test, "map.json");
        follows(migcompat::report::render::map::SCHEMA, &map);
        assert_eq!(map["interrupted"], signal.as_str());
        assert_eq!(map["verdict"], "untested");
        let labels = [0, 1, 2].map(|at| map["builds"][at]["label"].as_str().unwrap());
        assert_eq!(labels, [OLD, NEW, &build]);
        let [first, second] = [0, 1].map(|at| &map["pairs"][at]["report"]);
        for report in [first, second] {
            follows_the_schema(report);
            assert_eq!(report["interrupted"], signal.as_str());
            assert_eq!(report["verdict"], "untested");
        }
        let passed =
            |of: &Value| of["id"] == "q35/virtio-rng-pci/unix/forward" && of["outcome"] == "pass";
        assert!(
            first["cases"].as_array().unwrap().iter().any(passed),
            "{first:#}"
        );
        assert_eq!(second["cases"], Value::Array(Vec::new()));
        let words = format!("interrupted by {signal}");
        let suites = fs::read_to_string(test.path().join("map.xml")).unwrap();
        assert!(suites.contains(&words), "{suites}");
        // It is rendered as what it is, once for all pairs, and is no part of a whole.
        let saved = test.path().join("map.json").display().to_string();
        for format in ["text", "html"] {
            let rendered = migcompat(&["render", &saved, "--format", format]);
            let text = stdout(&rendered);
            assert_eq!(rendered.status.code(), Some(125), "{text}");
            assert_eq!(text.matches(&words).count(), 1, "{text}");
        }
        let merged = migcompat(&["merge", &saved]);
        assert_eq!(merged.status.code(), Some(2), "{}", stderr(&merged));
        let log = fs::read_to_string(test.path().join("log")).unwrap();
        let schema = fs::read_to_string(root().join("events-schema.json")).unwrap();
        let events: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        events.iter().for_each(|event| follows(&schema, event));
        assert!(
            events.iter().any(|event| event["event"] == "map-planned"),
            "{log}"
        );
        assert_eq!(events.last().unwrap()["verdict"], "untested", "{log}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_of_one_machine_is_ended_and_tells_what_was_decided() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let build = hangs_with(&test, "virtio-rng-pci");
        let args = ["sweep", OLD, &build, "-M", "q35", "--cache", &cache()];
        let options = ["--only", "am53c974", "--only", "virtio-rng-pci"];
        // One device after the other.
        let more = ["--direction", "forward", "--one-by-one", "--jobs", "1"];
        let output = ["-o", "{}/report.json", "-o", "{}/report.xml"];
        let mut run = Run::start(&test, &[&args[..], &options, &more, &output].concat());
        run.wait_until_reached("a device of the machine");
        run.ends_by(signal, "the sweep of a machine");
        let report = read_json(&test, "report.json");
        follows_the_schema(&report);
        assert_eq!(report["interrupted"], signal.as_str());
        assert_eq!(report["verdict"], "untested");
        let cases = report["cases"].as_array().unwrap().iter();
        let decided: Vec<_> = cases.map(|case| (&case["id"], &case["outcome"])).collect();
        let wanted = [
            ("q35/bare/unix/forward".into(), "pass".into()),
            ("q35/am53c974/unix/forward".into(), "fail".into()),
        ];
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(id, of): &(Value, Value)| (id, of))
            .collect();
        assert_eq!(decided, wanted, "{report:#}");
        let suites = fs::read_to_string(test.path().join("report.xml")).unwrap();
        assert!(
            suites.contains("interrupted by") && suites.contains("am53c974"),
            "{suites}"
        );
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_map_whose_builds_are_not_ready_leaves_the_last_one() {
    let test = tempfile::tempdir().unwrap();
    let build = hangs_where(&test, NEW, "case \"$*\" in *-dump-vmstate*) hang ;; esac");
    fs::write(test.path().join("map.json"), "as before").unwrap();
    let args = [
        "map",
        OLD,
        &build,
        "-M",
        "q35",
        "--cache",
        &cache(),
        "-o",
        "{}/map.json",
    ];
    let mut run = Run::start(&test, &args);
    run.wait_until_reached("the dump of a build");
    run.ends_by(Signal::SIGTERM, "the dump of a build of a map");
    let left = fs::read_to_string(test.path().join("map.json")).unwrap();
    assert_eq!(left, "as before");
}

#[apply(test)]
#[needs(Builds)]
fn a_search_is_ended_after_some_of_its_tries() {
    for signal in SIGNALS {
        let test = tempfile::tempdir().unwrap();
        let build = hangs_with(&test, "virtio-rng-pci");
        let case = ["--case", "q35/virtio-rng-pci/unix/forward", "-M", "q35"];
        let args = [
            "bisect",
            OLD,
            NEW,
            &build,
            "--cache",
            &cache(),
            "--events",
            "{}/log",
        ];
        let output = ["--format", "json", "-o", "{}/found.json"];
        let mut run = Run::start(&test, &[&args[..], &case, &output].concat());
        run.wait_until_reached("the last build");
        run.ends_by(signal, "the last build of a search");
        let found = read_json(&test, "found.json");
        follows(migcompat::report::render::bisection::SCHEMA, &found);
        assert_eq!(found["interrupted"], signal.as_str());
        let steps = found["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 1, "{found:#}");
        assert_eq!(steps[0]["judgement"], "passes");
        let open = serde_json::json!({"kind": "unfinished", "before": 0, "first": 2});
        assert_eq!(found["conclusion"], open);
        let log = fs::read_to_string(test.path().join("log")).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["status"], 128 + signal as i32);
    }
}

#[apply(test)]
#[needs(Program("git"))]
fn a_search_is_ended_while_a_revision_is_built() {
    let test = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let author = ["-c", "user.name=a test", "-c", "user.email=test@localhost"];
        let repository = test.path().join("repository");
        let mut command = Command::new("git");
        command.arg("-C").arg(repository).args(author).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    fs::create_dir(test.path().join("repository")).unwrap();
    git(&["init", "-q"]);
    for subject in ["one", "two", "three"] {
        git(&["commit", "-q", "--allow-empty", "-m", subject]);
    }
    let case = ["--case", "q35/bare/unix/forward", "HEAD~2..HEAD"];
    let built = ["--repository", "{}/repository", "--build-command", HANG];
    let args = [&["bisect", "-o", "{}/found.txt"][..], &case, &built].concat();
    let mut run = Run::start(&test, &args);
    run.wait_until_reached("a build command");
    run.ends_by(Signal::SIGTERM, "a build command");
    let text = fs::read_to_string(test.path().join("found.txt")).unwrap();
    // The repository knows nothing of its worktree any more, and of none that a killed run left.
    let trees = || git(&["worktree", "list", "--porcelain"]).lines().count();
    let one = trees();
    for locked in [false, true] {
        let gone = test.path().join(".migcompat-bisect-gone");
        let place = gone.join("source").display().to_string();
        git(&["worktree", "add", "-q", "--detach", &place]);
        if locked {
            git(&["worktree", "lock", &place]);
        }
        fs::remove_dir_all(gone).unwrap();
        assert!(trees() > one);
        fs::remove_file(test.path().join("reached")).unwrap();
        let mut run = Run::start(&test, &args);
        run.wait_until_reached("a build command");
        run.ends_by(Signal::SIGTERM, "a build command");
        assert_eq!(trees(), one);
    }
    for words in [
        "the search did not end",
        "(one)",
        "(three) at the latest",
        "interrupted by SIGTERM",
        "0 of 3 builds tried",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// The new build hangs when it is started for the `nth` time after it has taken its one guest.
fn hangs_after_the_move(test: &TempDir, nth: usize) -> String {
    let case = format!(
        "case \"$*\" in
           *-incoming*) : >\"$moved\" ;;
           *) if [ -e \"$moved\" ]; then
                echo again >>\"$moved\"
                if [ $(wc -l <\"$moved\") = {nth} ]; then hang; fi
              fi ;;
         esac"
    );
    hangs_where(test, NEW, &case)
}

#[apply(test)]
#[needs(Builds)]
fn a_run_is_ended_after_guests_have_moved() {
    for (command, nth, phase) in [
        ("check", 1, "what the builds set up"),
        ("check", 2, "what the builds send"),
        ("live", 1, "the dump of a build"),
        ("live", 2, "what the builds send"),
    ] {
        for signal in SIGNALS {
            let test = tempfile::tempdir().unwrap();
            let build = hangs_after_the_move(&test, nth);
            let args = [command, OLD, &build, "-M", "q35", "--cache", &cache()];
            let options = ["--direction", "forward", "--paused", "--jobs", "1"];
            let output = ["--device", "virtio-rng-pci", "--events", "{}/log"];
            let output = [
                &output[..],
                &["-o", "{}/report.json", "-o", "{}/report.xml"],
            ]
            .concat();
            let mut run = Run::start(&test, &[args.as_slice(), &options, &output].concat());
            run.wait_until_reached(phase);
            // Otherwise the phase is another one.
            assert!(run.said().contains("[1/1] pass"), "{}", run.said());
            run.ends_by(signal, &format!("{command}: {phase}"));
            // What was known by then, in every form that was asked for.
            let text = fs::read_to_string(test.path().join("report.json")).unwrap();
            let report: Value = serde_json::from_str(&text).unwrap();
            follows_the_schema(&report);
            assert_eq!(report["interrupted"], signal.as_str());
            assert_eq!(report["verdict"], "untested");
            assert_eq!(report["cases"][0]["outcome"], "pass");
            let page = fs::read_to_string(test.path().join("report.xml")).unwrap();
            assert!(page.contains(&format!("interrupted by {signal}")), "{page}");
            let log = fs::read_to_string(test.path().join("log")).unwrap();
            let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
            let status = 128 + signal as i32;
            assert_eq!(
                (&last["event"], &last["status"]),
                (&"ended".into(), &status.into())
            );
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn logs_stay_only_where_somebody_knows_of_them() {
    for kept in [false, true] {
        let test = tempfile::tempdir().unwrap();
        // Once a case has left its logs.
        let case = "for log in \"$TMPDIR\"/migcompat-logs-*/* \"${REACHED%reached}logs\"/*; do
                      if [ -e \"$log\" ]; then hang; fi
                    done";
        let build = hangs_where(&test, NEW, case);
        let args = ["live", OLD, &build, "-M", "pc-q35-7.2", "--cache", &cache()];
        let options = ["--direction", "forward", "--paused", "--retries", "0"];
        let logs = ["--device", "am53c974", "--keep-logs", "{}/logs"];
        let logs = if kept { &logs[..] } else { &logs[..2] };
        let mut run = Run::start(&test, &[args.as_slice(), &options, logs].concat());
        run.wait_until_reached("nothing hangs after the move");
        let named = run.test.join("logs");
        let folder = match kept {
            true => named.clone(),
            false => {
                let names = names(run.temp.path());
                let logs = names
                    .iter()
                    .find(|name| name.starts_with("migcompat-logs-"));
                run.temp.path().join(logs.expect("a folder for logs"))
            }
        };
        let cases = names(&folder);
        // Until the run has ended, there is a mark beside them.
        let cases = cases.iter().filter(|name| !name.starts_with('.'));
        assert_eq!(cases.count(), 1, "{}", run.said());
        assert!(run.said().contains("[1/1] fail"), "{}", run.said());
        run.ends_by(Signal::SIGTERM, "a run with logs");
        assert_eq!(folder.exists(), kept);
        if kept {
            assert_eq!(names(&named).len(), 1);
        }
    }
}

#[apply(test)]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let test = tempfile::tempdir().unwrap();
    let build = script(test.path(), "qemu", HANG);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let mut run = Run::start_by(&mut shell, &test, &["dump", &build, "-o", "-"]);
    run.wait_until_reached("no build was started");
    let pid = i32::try_from(run.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    // The first of the two would have decided.
    run.ends_by(Signal::SIGTERM, "nohup");
}
