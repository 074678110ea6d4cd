//! Processes as the system shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::str::SplitWhitespace;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A process, told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub pid: i32,
    /// Clock ticks between the start of the system and that of the process.
    pub started: u64,
}

impl Process {
    /// Returns the process that has a number now, if it has not ended.
    pub(super) fn with(pid: i32) -> Option<Process> {
        Some(Stat::of(pid)?.process)
    }

    pub(super) fn runs(self) -> bool {
        Process::with(self.pid) == Some(self)
    }

    /// Kills the process, and says whether it had not ended.
    pub(super) fn kill(self) -> bool {
        self.runs() && kill(Pid::from_raw(self.pid), Signal::SIGKILL).is_ok()
    }
}

/// The state of a process, as the system sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    Running,
    /// It waits for something.
    Sleeping,
    /// It waits for a disk or the like, and not even a signal wakes it.
    Uninterruptible,
    /// A signal or a debugger stopped it.
    Stopped,
    /// It has ended.
    Ended,
}

impl ProcessState {
    /// Returns what a process does. `None` of one that the system does not show.
    pub(crate) fn of(pid: u32) -> Option<ProcessState> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(ProcessState::read(&text)?.0)
    }

    /// Reads the state out of a `/proc/PID/stat`, and returns the fields behind it.
    fn read(stat: &str) -> Option<(ProcessState, SplitWhitespace<'_>)> {
        // A program's name may have anything in it, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = match fields.next()? {
            "R" => ProcessState::Running,
            "D" => ProcessState::Uninterruptible,
            "T" | "t" => ProcessState::Stopped,
            "Z" | "X" => ProcessState::Ended,
            _ => ProcessState::Sleeping,
        };
        Some((state, fields))
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcessState::Running => "is running",
            ProcessState::Sleeping => "is waiting",
            ProcessState::Uninterruptible => "is waiting for a disk or the like",
            ProcessState::Stopped => "is stopped by a signal or a debugger",
            ProcessState::Ended => "has ended",
        })
    }
}

/// The contents of `/proc/PID/stat` for a process that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub process: Process,
    pub parent: i32,
    pub group: i32,
    /// Clock ticks that the processors were at work for it.
    worked: u64,
    state: ProcessState,
}

impl Stat {
    fn of(pid: i32) -> Option<Stat> {
        Stat::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, text: &str) -> Option<Stat> {
        let (state, mut fields) = ProcessState::read(text)?;
        if state == ProcessState::Ended {
            return None;
        }
        Some(Stat {
            state,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            // Of its own, and of the system for it.
            worked: fields.nth(8)?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?,
            process: Process {
                pid,
                started: fields.nth(6)?.parse().ok()?,
            },
        })
    }
}

/// The processes that have not ended, each read once. There are none where the system shows none.
pub(super) fn all() -> Vec<Stat> {
    let items = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = items.filter_map(|item| item.file_name().to_str()?.parse::<i32>().ok());
    let mut all: Vec<Stat> = numbers.filter_map(Stat::of).collect();
    let numbers: BTreeSet<i32> = all.iter().map(|stat| stat.process.pid).collect();
    // A parent that ended before it was read has left its children to another one.
    for stat in &mut all {
        if !numbers.contains(&stat.parent) {
            stat.parent = Stat::of(stat.process.pid).map_or(0, |now| now.parent);
        }
    }
    all
}

/// Returns the numbers of the processes that descend from one.
pub(super) fn descendants(all: &[Stat], ancestor: i32) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for stat in all {
        let of_parent = children.entry(stat.parent).or_default();
        of_parent.push(stat.process.pid);
    }
    let mut found = BTreeSet::new();
    let mut next = vec![ancestor];
    while let Some(pid) = next.pop() {
        let of_it = children.get(&pid).into_iter().flatten();
        next.extend(of_it.filter(|child| found.insert(**child)));
    }
    found
}

/// Returns what the system shows of some processes and all that descend from them, as far as they have not ended. `None`
/// where it shows none at all.
fn with_descendants(pids: &[i32]) -> Option<Vec<Stat>> {
    let mut all = Some(all()).filter(|all| !all.is_empty())?;
    let mut wanted: BTreeSet<i32> = pids.iter().copied().collect();
    wanted.extend(pids.iter().flat_map(|pid| descendants(&all, *pid)));
    all.retain(|stat| wanted.contains(&stat.process.pid));
    Some(all)
}

/// Tells whether a signal or a debugger has stopped one of some processes, or of those that descend from them.
pub(crate) fn is_stopped(pids: &[i32]) -> bool {
    let such = with_descendants(pids).unwrap_or_default();
    such.iter().any(|stat| stat.state == ProcessState::Stopped)
}

/// Returns the time that the processors were at work for some processes and all that descend from them, as far as they
/// have not ended: none of what has. `None` where the system does not tell.
pub(crate) fn cpu_time(pids: &[i32]) -> Option<Duration> {
    let ticks: u64 = with_descendants(pids)?.iter().map(|stat| stat.worked).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let a_second = u64::try_from(a_second).ok().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_millis(ticks * 1000 / a_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name_and_not_of_what_has_ended() {
        let stat = |text: &str| Stat::parse(41, text);
        let fields = "5 6 7 8 9 10 11 12 13 14 15 16 17 18 190 20";
        let read = Stat {
            process: Process {
                pid: 41,
                started: 190,
            },
            parent: 1,
            group: 40,
            worked: 23,
            state: ProcessState::Sleeping,
        };
        for (name_and_state, state) in [
            ("(a) b) S", Some(ProcessState::Sleeping)),
            ("(40 40) R", Some(ProcessState::Running)),
            ("(a) T", Some(ProcessState::Stopped)),
            ("(a) Z", None),
        ] {
            let found = stat(&format!("41 {name_and_state} 1 40 3 4 {fields}"));
            assert_eq!(found, state.map(|state| Stat { state, ..read }));
        }
        assert_eq!(stat("41 (a) S 1 40"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn descendants_are_found_whatever_their_order_and_depth() {
        let of = |pairs: &[(i32, i32)], ancestor| {
            let stat = |&(pid, parent)| Stat {
                process: Process { pid, started: 0 },
                parent,
                group: pid,
                worked: 0,
                state: ProcessState::Sleeping,
            };
            let all: Vec<Stat> = pairs.iter().map(stat).collect();
            Vec::from_iter(descendants(&all, ancestor))
        };
        let tree = [(9, 7), (1, 0), (5, 1), (7, 5), (6, 1), (8, 6), (2, 0)];
        assert_eq!(of(&tree, 5), [7, 9]);
        assert_eq!(of(&tree, 9), [0; 0]);
        assert_eq!(of(&tree, 3), [0; 0]);
        // Numbers that were given again while they were read may make a ring.
        assert_eq!(of(&[(5, 7), (7, 5)], 5), [5, 7]);
        let deep: Vec<(i32, i32)> = (2..1000).map(|pid| (pid, pid - 1)).collect();
        assert_eq!(of(&deep, 1).len(), 998);
    }

    #[test]
    fn we_are_there_and_descend_from_our_parent() {
        let us = i32::try_from(std::process::id()).unwrap();
        let all = all();
        let ours: Vec<&Stat> = all.iter().filter(|stat| stat.process.pid == us).collect();
        assert!(ours.len() == 1 && ours[0].process.runs());
        assert!(descendants(&all, ours[0].parent).contains(&us));
    }

    #[test]
    fn the_work_of_a_process_is_its_own_and_that_of_its_descendants() {
        let script = "while :; do :; done & exec sleep 1000";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while cpu_time(&[pid]).unwrap() < Duration::from_millis(50) {
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in descendants(&all(), pid) {
            Process::with(pid).map(Process::kill);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(cpu_time(&[pid]), Some(Duration::ZERO));
    }
}
