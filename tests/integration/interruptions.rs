//! Signals at any moment of a run: nothing of it stays, what it wrote is whole, and the next run works.
//!
//! `MIGCOMPAT_MOMENTS=N` tries N moments of each command instead of a few, and `MIGCOMPAT_SEED=N` others.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{build, cache_dir, follows_the_schema, root, script, wait_until, words};
use crate::history::saved;
use crate::live::leaves_nothing;
use crate::signals::{names, started_in};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGKILL,
];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A command that is interrupted, and the folders that all its runs share.
struct Subject {
    args: Vec<String>,
    /// Of the test: `{}` in an argument.
    folder: TempDir,
    /// Of the runs.
    temp: TempDir,
    /// Programs that stand before all others.
    tools: Option<PathBuf>,
}

impl Subject {
    fn new(args: &[&str]) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        Subject {
            args: args.iter().map(|arg| arg.replace("{}", at)).collect(),
            temp: tempfile::tempdir().unwrap(),
            tools: None,
            folder,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP,INT")
            .arg(env!("CARGO_BIN_EXE_migcompat"))
            .args(&self.args)
            .current_dir(root())
            .env("TMPDIR", self.temp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.at("stderr")).unwrap());
        if let Some(tools) = &self.tools {
            let path = std::env::var_os("PATH").unwrap();
            let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(path).unwrap());
        }
        command
    }

    fn said(&self) -> String {
        fs::read_to_string(self.at("stderr")).unwrap()
    }

    /// A run to its end, which shows that what was there before does no harm. Returns how long it took.
    fn runs(&self) -> Duration {
        let begun = Instant::now();
        let status = self.command().status().unwrap();
        assert!(
            matches!(status.code(), Some(0 | 1)),
            "{status}: {}",
            self.said()
        );
        leaves_nothing(self.temp.path());
        let took = begun.elapsed();
        self.without_logs();
        took
    }

    /// Removes what runs that came through leave.
    fn without_logs(&self) {
        for name in names(self.temp.path()) {
            if name.starts_with("migcompat-logs-") {
                fs::remove_dir_all(self.temp.path().join(name)).unwrap();
            }
        }
    }

    /// Interrupts runs at some moments, and checks with `is_sound` what each leaves.
    fn is_interrupted(&self, moments: u64, mut is_sound: impl FnMut(&Subject, Signal, bool)) {
        let mut took = self.runs();
        let moments = variable("MIGCOMPAT_MOMENTS", moments);
        let mut numbers = Numbers(variable("MIGCOMPAT_SEED", 17) + self.args[0].len() as u64);
        let mut interrupted = 0;
        for _ in 0..3 * moments {
            if interrupted == moments {
                break;
            }
            let signal = SIGNALS[usize::try_from(interrupted).unwrap() % SIGNALS.len()];
            let after = took.mul_f64(numbers.below(1000) as f64 / 1000.0);
            let before = names(self.temp.path());
            let begun = Instant::now();
            let mut child = self.command().spawn().unwrap();
            sleep(after);
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            kill(pid, signal).unwrap();
            let status = child.wait().unwrap();
            let what = format!("{} {signal} after {after:?}", self.args[0]);
            let ended = match signal {
                Signal::SIGKILL => status.signal() == Some(signal as i32),
                // Before there is a handler, the signal itself ends it.
                _ => {
                    status.code() == Some(128 + signal as i32)
                        || status.signal() == Some(signal as i32)
                }
            };
            assert!(
                ended || matches!(status.code(), Some(0 | 1)),
                "{what}: {status}: {}",
                self.said()
            );
            interrupted += u64::from(ended);
            // The system takes a moment to kill what belongs to one that was killed.
            wait_until(&what, || started_in(self.temp.path()).is_empty());
            // One that came through leaves the logs of what failed, and one that was killed what the next
            // one removes, unless that ends before.
            for left in names(self.temp.path()) {
                let stays = before.contains(&left)
                    || signal == Signal::SIGKILL
                    || (!ended && left.starts_with("migcompat-logs-"));
                assert!(stays, "{what}: {left}");
            }
            if !ended {
                // The host is less busy than before.
                took = took.min(begun.elapsed());
                self.without_logs();
            }
            is_sound(self, signal, ended && status.code().is_some());
        }
        self.runs();
        println!("{}: interrupted at {interrupted} moments", self.args[0]);
        assert!(interrupted > 0);
    }
}

fn history_is_sound(path: &Path) {
    if path.exists() {
        let connection = rusqlite::Connection::open(path).unwrap();
        let check = "PRAGMA integrity_check";
        let found: String = connection.query_row(check, [], |row| row.get(0)).unwrap();
        assert_eq!(found, "ok");
    }
}

/// A report is whole or not there, and says that it is not all.
fn report_is_sound(subject: &Subject, signal: Signal, was_handled: bool) {
    for name in ["report.json", "report.xml"] {
        let path = subject.at(name);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        fs::remove_file(&path).unwrap();
        if name.ends_with("json") {
            let report: Value = serde_json::from_str(&text).unwrap();
            follows_the_schema(&report);
            if was_handled && !report["interrupted"].is_null() {
                assert_eq!(report["interrupted"], signal.as_str());
                assert_eq!(report["verdict"], "untested");
            }
        } else {
            let reader = std::io::Cursor::new(text.as_bytes());
            junit_parser::from_reader(reader).unwrap();
        }
    }
    history_is_sound(&subject.at("history.db"));
}

const OUTPUT: [&str; 8] = [
    "-o",
    "{}/report.json",
    "-o",
    "{}/report.xml",
    "--events",
    "{}/log",
    "--history",
    "{}/history.db",
];

#[apply(test)]
#[needs(Builds)]
fn a_sweep_a_check_and_a_live_run_may_end_at_any_moment() {
    let cache = cache_dir();
    let cache = ["--cache", cache.to_str().unwrap()];
    for (command, moments) in [
        (
            &words!("sweep --only virtio-rng-pci --only e1000 --direction forward")[..],
            4,
        ),
        (&words!("check --device e1000 --direction forward"), 4),
        (&["live", "--device", "e1000", "--loops", "2"], 4),
    ] {
        let args = [&command[..1], &[OLD, NEW, "-M", "q35"], &command[1..]].concat();
        let subject = Subject::new(&[&args[..], &OUTPUT, &cache].concat());
        subject.is_interrupted(moments, report_is_sound);
    }
}

/// An apt that has the packages of a build at once.
fn tools(folder: &Path, root: &Path) -> PathBuf {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    let root = root.display();
    for (tool, text) in [
        ("apt-config", "echo \"ARCH='amd64'\""),
        (
            "apt-get",
            "case \"$*\" in
               *indextargets*) echo 'http://mirror/debian|bookworm|Debian|Debian|main|none:1' ;;
               *--print-uris*) echo \"'http://mirror/q.deb' q.deb 1 SHA256:ab\" ;;
             esac",
        ),
        (
            "apt-cache",
            "echo \" qemu-system-x86 | 1:7.2 | http://mirror/debian bookworm/main amd64 Packages\"",
        ),
        (
            "dpkg-deb",
            &format!("cp -al {root}/. \"$3\" 2>/dev/null || cp -a {root}/. \"$3\""),
        ),
    ] {
        script(&tools, tool, text);
    }
    tools
}

#[apply(test)]
#[needs(Builds)]
fn a_fetch_may_end_at_any_moment() {
    build(OLD);
    let fetched = cache_dir().join("debian/bookworm/qemu-system-x86/root");
    let fetch = ["builds", "fetch", OLD, "--refresh", "--cache", "{}/cache"];
    let mut subject = Subject::new(&fetch);
    subject.tools = Some(tools(subject.folder.path(), &fetched));
    let mut before = Vec::new();
    subject.is_interrupted(4, |subject, signal, _| {
        let suite = subject.at("cache/debian/bookworm");
        let left = names(&suite);
        // One that was killed leaves what the next one removes, unless that ends before.
        let new = left.iter().filter(|name| !before.contains(*name));
        let unfinished = new.filter(|name| name.starts_with(".fetch-")).count();
        assert!(unfinished == 0 || signal == Signal::SIGKILL, "{left:?}");
        before.clone_from(&left);
        // What is there is whole.
        if left.iter().any(|name| name == "qemu-system-x86") {
            let entry = suite.join("qemu-system-x86");
            for name in ["build.json", "manifest.json"] {
                let text = fs::read(entry.join(name)).unwrap();
                let _whole: Value = serde_json::from_slice(&text).unwrap();
            }
        }
    });
    let left = names(&subject.at("cache/debian/bookworm"));
    assert!(
        !left.iter().any(|name| name.starts_with(".fetch-")),
        "{left:?}"
    );
}

#[apply(test)]
fn a_history_may_be_written_to_until_any_moment() {
    let reports = tempfile::tempdir().unwrap();
    let reports: Vec<String> = (0..40).map(|run| saved(reports.path(), 0, run)).collect();
    let mut args = vec!["history", "import", "--history", "{}/history.db"];
    args.extend(reports.iter().map(String::as_str));
    let subject = Subject::new(&args);
    subject.is_interrupted(8, |subject, _, _| {
        history_is_sound(&subject.at("history.db"));
        for name in names(subject.folder.path()) {
            if name.starts_with("history.db") {
                fs::remove_file(subject.at(&name)).unwrap();
            }
        }
    });
}
