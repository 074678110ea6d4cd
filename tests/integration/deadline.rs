//! A deadline for each test: one that hangs ends the run and is named, with what it waits for, and does not hold it
//! up until somebody ends it from outside and nobody knows why.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest takes a minute and a half on two cores, of which it waits for most; a host may be several times as slow.
const DEADLINE: Duration = Duration::from_secs(600);
/// Between two looks at the tests that run.
const PAUSE: Duration = Duration::from_secs(1);
/// The exit status of a run of tests that did not pass.
const FAILED: i32 = 101;

/// A test under way.
struct Test {
    since: Instant,
    /// The number of looks at it. A host that stood still for an hour has not let a test run for one.
    looks: u64,
}

/// The tests that run.
static RUNNING: LazyLock<Mutex<BTreeMap<&'static str, Test>>> = LazyLock::new(Mutex::default);

/// What each test took.
static TAKEN: Mutex<Vec<(Duration, &'static str)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, BTreeMap<&'static str, Test>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that runs until this is dropped.
pub struct Running(&'static str);

impl Running {
    pub fn new(test: &'static str) -> Running {
        let since = Instant::now();
        running().insert(test, Test { since, looks: 0 });
        Running(test)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Test { since, .. }) = running().remove(self.0) {
            let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            taken.push((since.elapsed(), self.0));
        }
    }
}

/// Returns the tests that took longest, the slowest first, and what all took together: whoever wants the gate to be
/// quicker begins there.
pub fn slowest(count: usize) -> (Vec<(Duration, &'static str)>, Duration) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    taken.sort_by(|a, b| b.cmp(a));
    let all = taken.iter().map(|(time, _)| *time).sum();
    taken.truncate(count);
    (taken, all)
}

/// Ends this process, and all that it started, once a test has run for too long.
pub fn watch() {
    thread::spawn(|| {
        loop {
            thread::sleep(PAUSE);
            let mut late = Vec::new();
            for (name, test) in running().iter_mut() {
                test.looks += 1;
                if test.looks > DEADLINE.as_secs() / PAUSE.as_secs() {
                    late.push(format!("{name}: {} s", test.since.elapsed().as_secs()));
                }
            }
            if late.is_empty() {
                continue;
            }
            let mut left = Vec::new();
            descendants(std::process::id(), 1, &mut left);
            let seen: Vec<String> = left.iter().map(Process::line).collect();
            // The name comes last: of a long log, the end is what is read.
            println!(
                "\nwhat runs:\n{}\nno test may run for {} s: {}",
                seen.join("\n"),
                DEADLINE.as_secs(),
                late.join(", ")
            );
            for process in left {
                let _already_gone = kill(process.pid, Signal::SIGKILL);
            }
            std::process::exit(FAILED);
        }
    });
}

struct Process {
    pid: Pid,
    depth: usize,
    command: String,
    /// Its state, and the function of the kernel that it waits in.
    state: String,
}

impl Process {
    fn line(&self) -> String {
        let Process {
            pid,
            depth,
            command,
            state,
        } = self;
        format!("{:width$}{pid} {state}: {command}", "", width = depth * 2)
    }
}

/// The two ends of a command line, in one line: a build's begins with folders, and what it is to do comes last.
fn ends(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let line = words.join(" ");
    let chars: Vec<char> = line.chars().collect();
    match chars.len() {
        ..=500 => line,
        length => {
            let part = |range: Range<usize>| chars[range].iter().collect::<String>();
            format!("{} ... {}", part(0..200), part(length - 300..length))
        }
    }
}

fn descendants(of: u32, depth: usize, found: &mut Vec<Process>) {
    let tasks = fs::read_dir(format!("/proc/{of}/task"))
        .into_iter()
        .flatten();
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let Ok(number) = child.parse::<i32>() else {
                continue;
            };
            let read = |file: &str| {
                let bytes = fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let stat = read("stat");
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            let command = ends(&read("cmdline"));
            found.push(Process {
                pid: Pid::from_raw(number),
                depth,
                command,
                state: format!("{} {}", state.unwrap_or('?'), read("wchan")),
            });
            descendants(number.unsigned_abs(), depth + 1, found);
        }
    }
}
