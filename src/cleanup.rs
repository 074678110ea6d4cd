//! Child processes and temporary folders, which must not outlive this process however it ends.
//!
//! Their owners remove them when they are dropped. A signal ends the process while any number of
//! threads use them, some of which may be waiting for what never comes: [`end`] removes all that is
//! registered here, and [`uninterrupted`] keeps the process from ending where a step must be whole.

mod folders;
mod guard;
mod orphans;
mod process;
mod run_id;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub(crate) use folders::{OWN, SHOWN, TempFolder, end_dead_runs};
pub(crate) use guard::guarding;
pub(crate) use orphans::adopt_orphans;
use process::Process;
pub(crate) use process::{ProcessState, cpu_time, is_stopped};
pub(crate) use run_id::mark_command;

/// Time that the process waits for steps that must be whole before it ends regardless.
const STEP: Duration = Duration::from_secs(1);
/// Time that it waits for killed processes to be gone.
const DEATH: Duration = Duration::from_secs(1);
/// Pause between two looks at something that takes some milliseconds.
const PAUSE: Duration = Duration::from_millis(2);

/// Shared by all steps that must be whole; taken alone, and never given back, by the end.
static GATE: RwLock<()> = RwLock::new(());

/// Set once the process is ending: no step begins any more, also where one that hangs keeps the gate.
static ENDING: AtomicBool = AtomicBool::new(false);

static REGISTERED: Mutex<Registered> = Mutex::new(Registered {
    groups: BTreeSet::new(),
    peers: BTreeSet::new(),
    folders: BTreeSet::new(),
    kept: BTreeSet::new(),
});

thread_local! {
    /// True while this thread is in a step: a second lock of the gate might wait for ever.
    static IN_STEP: Cell<bool> = const { Cell::new(false) };
}

struct Registered {
    groups: BTreeSet<i32>,
    peers: BTreeSet<Process>,
    folders: BTreeSet<PathBuf>,
    /// Folders that stay, unless a signal ends the process: then no output names them.
    kept: BTreeSet<PathBuf>,
}

fn registered() -> MutexGuard<'static, Registered> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a step that is done as a whole or not at all: once the process is ending, this never returns.
/// For short steps, since a signal has to wait for them.
pub(crate) fn uninterrupted<T>(step: impl FnOnce() -> T) -> T {
    struct Step;
    impl Drop for Step {
        fn drop(&mut self) {
            IN_STEP.set(false);
        }
    }
    if IN_STEP.get() {
        return step();
    }
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
    let _gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
    IN_STEP.set(true);
    let _step = Step;
    step()
}

/// A future that stops once the process is ending: it does not see the processes that are killed
/// and the folders that are removed then.
pub(crate) async fn until_the_end<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| uninterrupted(|| future.as_mut().poll(context))).await
}

/// A process group that is killed when the process ends, registered until this is dropped.
#[derive(Debug)]
pub(crate) struct Group(i32);

impl Group {
    /// Registers the group that a process leads. To be called in one [`uninterrupted`] step with
    /// starting that process.
    pub(crate) fn register(leader: i32) -> Group {
        registered().groups.insert(leader);
        orphans::forget(leader);
        Group(leader)
    }

    /// Sends a signal to the process that leads the group.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        let _already_gone = kill(Pid::from_raw(self.0), signal);
    }

    /// Kills every process in the group.
    pub(crate) fn kill(&self) {
        let _already_gone = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        registered().groups.remove(&self.0);
        orphans::reap_group(self.0);
    }
}

/// A process that talks to us, whatever has started it: killed when this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Peer(Process);

impl Peer {
    /// Registers the process that has a number now, if the system shows one.
    pub(crate) fn register(pid: i32) -> Option<Peer> {
        let process = Process::with(pid)?;
        registered().peers.insert(process);
        Some(Peer(process))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.0.kill() {
            orphans::reap(self.0);
        }
        registered().peers.remove(&self.0);
    }
}

/// Prepares for the end of the process: kills all that it started and removes its temporary folders.
/// No step begins any more; threads that would begin one wait for the end.
pub(crate) fn end() {
    // The thread that takes the gate may not be let run before what was started is killed.
    ENDING.store(true, Ordering::SeqCst);
    // A step that hangs, on a network drive for instance, is not waited for.
    within(STEP, || {
        std::mem::forget(GATE.write().unwrap_or_else(PoisonError::into_inner));
    });
    let (groups, peers) = {
        let known = registered();
        (known.groups.clone(), known.peers.clone())
    };
    let groups: Vec<Pid> = groups.into_iter().map(Pid::from_raw).collect();
    for &group in &groups {
        let _already_gone = killpg(group, Signal::SIGKILL);
    }
    for peer in &peers {
        peer.kill();
    }
    wait_until(DEATH, || groups.iter().all(|&group| is_gone(group)));
    wait_until(DEATH, || !peers.iter().any(|peer| peer.runs()));
    let kept = std::mem::take(&mut registered().kept);
    registered().folders.extend(kept);
    end_leftovers();
}

/// Kills what goes on of all that this process started, in whatever session or group, and removes its folders: the last
/// thing it does.
pub(crate) fn end_leftovers() {
    // One may just be starting another.
    wait_until(DEATH, || run_id::kill_ours() == 0);
    let folders = registered().folders.clone();
    for folder in folders {
        folders::remove_in_time(&folder);
    }
}

/// Does the last things after [`end`], for no longer than that. Steps that must be whole are done at once: all others
/// wait for the end.
pub(crate) fn after_the_end(limit: Duration, task: impl FnOnce() + Send + 'static) {
    within(limit, || {
        IN_STEP.set(true);
        task();
    });
}

/// Runs something on a thread of its own and waits for it no longer than that.
pub(crate) fn within(limit: Duration, task: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let task = move || {
        task();
        let _nobody_waits = done.send(());
    };
    if thread::Builder::new().spawn(task).is_ok() {
        let _in_time = is_done.recv_timeout(limit);
    }
}

fn wait_until(limit: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() && Instant::now() < end {
        thread::sleep(PAUSE);
    }
}

/// Returns whether every process of a killed group has ended. Those that are our children are
/// waited for: no other code does so any more.
fn is_gone(group: Pid) -> bool {
    let members = Pid::from_raw(-group.as_raw());
    while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
        waitpid(members, Some(WaitPidFlag::WNOHANG))
    {}
    // An orphan that has ended may have no parent that waits for it.
    killpg(group, None).is_err() || !runs(group)
}

/// Returns whether a process of the group has not ended, or the system does not say.
fn runs(group: Pid) -> bool {
    let all = process::all();
    all.is_empty() || all.iter().any(|stat| stat.group == group.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_may_be_parts_of_steps() {
        let sum = uninterrupted(|| 1 + uninterrupted(|| 2) + uninterrupted(|| 3));
        assert_eq!(sum, 6);
        assert!(!IN_STEP.get());
    }
}
