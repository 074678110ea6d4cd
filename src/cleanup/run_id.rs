//! The run to which a process or a folder belongs: what outlives its run is known by it.
//!
//! A script around a build may start it in a session of its own, where no signal to a group reaches it, and nothing
//! cleans up behind a run that was killed. Everything that a run starts therefore has its id in the environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cleanup::process::{self, Process, Stat};
use crate::cleanup::{DEATH, wait_until};

/// The variable in the environment of everything that a run starts.
const VARIABLE: &str = "MIGCOMPAT_RUN";

static OURS: LazyLock<Option<RunId>> = LazyLock::new(RunId::of_this_process);

/// True once something was started that has our id.
static HAS_STARTED: AtomicBool = AtomicBool::new(false);

/// A run of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RunId {
    process: Process,
    /// The scope in which the number of a process means what it means to us: the boot and the namespace.
    space: String,
}

impl RunId {
    fn of_this_process() -> Option<RunId> {
        let pid = i32::try_from(std::process::id()).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
        let boot: String = boot.chars().filter(char::is_ascii_hexdigit).collect();
        Some(RunId {
            process: Process::with(pid)?,
            space: format!("{boot}.{namespace}"),
        })
    }

    fn text(&self) -> String {
        let Process { pid, started } = self.process;
        format!("{pid}.{started}.{}", self.space)
    }

    fn parse(text: &OsStr) -> Option<RunId> {
        let mut parts = text.to_str()?.splitn(3, '.');
        let process = Process {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        let space = parts.next()?.to_owned();
        Some(RunId { process, space })
    }

    /// Tells whether the run has ended. One of elsewhere, in another container for instance, may go on.
    fn is_over(&self) -> bool {
        let here = OURS.as_ref().is_some_and(|ours| ours.space == self.space);
        here && !self.process.runs()
    }
}

/// Gives what a command starts our id.
pub(crate) fn mark_command(command: &mut Command) {
    if let Some(ours) = OURS.as_ref() {
        HAS_STARTED.store(true, Ordering::Relaxed);
        command.env(VARIABLE, ours.text());
    }
}

/// Returns our id, as it is written, where the system tells it.
pub(super) fn ours() -> Option<String> {
    OURS.as_ref().map(RunId::text)
}

/// Tells whether a run that is written so has ended. One of elsewhere, in another container for instance, may go on.
pub(super) fn is_over(text: &OsStr) -> bool {
    RunId::parse(text).is_some_and(|run| run.is_over())
}

/// Kills whatever goes on of what this run has started: what has our id, and what descends from us. Returns how many
/// there were.
pub(super) fn kill_ours() -> usize {
    let has_started = HAS_STARTED.load(Ordering::Relaxed);
    match has_started.then(|| OURS.as_ref()).flatten() {
        Some(ours) => {
            let all = process::all();
            let descend = process::descendants(&all, ours.process.pid);
            kill_those(&all, |process| {
                descend.contains(&process.pid) || run_of(process).as_ref() == Some(ours)
            })
        }
        None => 0,
    }
}

/// Kills what goes on of runs that have ended.
pub(super) fn kill_those_of_dead_runs() {
    let is_over = |process| run_of(process).is_some_and(|run| run.is_over());
    wait_until(DEATH, || kill_those(&process::all(), is_over) == 0);
}

/// Kills the processes that are such, and returns how many there are.
fn kill_those(all: &[Stat], is_such: impl Fn(Process) -> bool) -> usize {
    let us = i32::try_from(std::process::id()).unwrap_or_default();
    let others = all.iter().map(|stat| stat.process);
    let such = others.filter(|process| process.pid != us && is_such(*process));
    such.map(Process::kill).count()
}

/// Returns the run in the environment of a process. Those of other users are not shown.
fn run_of(process: Process) -> Option<RunId> {
    run_in(&fs::read(format!("/proc/{}/environ", process.pid)).ok()?)
}

/// Returns the run in the environment of a process.
fn run_in(environment: &[u8]) -> Option<RunId> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| {
        let rest = variable.strip_prefix(VARIABLE.as_bytes())?;
        rest.strip_prefix(b"=")
    })?;
    RunId::parse(OsStr::from_bytes(value))
}

/// The id of a run that had our number before us.
#[cfg(test)]
pub(super) fn of_a_dead_run() -> String {
    let mut run = OURS.clone().unwrap();
    run.process.started -= 1;
    run.text()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use super::*;

    fn other(pid: i32, started: u64, space: &str) -> RunId {
        RunId {
            process: Process { pid, started },
            space: space.to_owned(),
        }
    }

    fn sleeping(run: &RunId) -> Child {
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", "exec sleep 60"])
            .stdin(Stdio::null());
        command.env(VARIABLE, run.text()).spawn().unwrap()
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let ours = OURS.clone().unwrap();
        assert_eq!(RunId::parse(OsStr::new(&ours.text())), Some(ours.clone()));
        assert!(ours.process.runs() && !ours.is_over());
        for text in ["", "1", "1.2", "x.2.3", "1.y.3"] {
            assert_eq!(RunId::parse(OsStr::new(text)), None, "{text}");
        }
    }

    #[test]
    fn what_goes_on_of_a_dead_run_is_killed_and_that_of_others_stays() {
        let ours = OURS.clone().unwrap();
        let dead = RunId::parse(OsStr::new(&of_a_dead_run())).unwrap();
        let elsewhere = other(ours.process.pid, 1, "another-boot.1");
        let (mut left, mut kept) = (sleeping(&dead), sleeping(&elsewhere));
        // It has the variable only once it is another program.
        let pid = i32::try_from(left.id()).unwrap();
        while run_in(&fs::read(format!("/proc/{pid}/environ")).unwrap()) != Some(dead.clone()) {
            std::thread::yield_now();
        }
        kill_those_of_dead_runs();
        assert!(!left.wait().unwrap().success());
        assert!(kept.try_wait().unwrap().is_none());
        Process::with(i32::try_from(kept.id()).unwrap())
            .unwrap()
            .kill();
        assert!(!kept.wait().unwrap().success());
    }
}
