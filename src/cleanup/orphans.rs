//! Processes whose parents end before them: a script that starts a build and does not wait for it leaves one.
//!
//! They become children of this process once [`adopt_orphans`] was called, so that they are found however they hide
//! from a group, a session or an environment. Somebody then has to take note of their ends: the system keeps a process
//! that has ended until its parent did, and there may be as many of them only.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cleanup::process::Process;

static ADOPTED: AtomicBool = AtomicBool::new(false);

/// Processes (and groups, as negative numbers) that were killed and may be our children, as `waitpid` takes them.
static DYING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn dying() -> MutexGuard<'static, BTreeSet<i32>> {
    DYING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has every descendant whose parent ends become a child of this process. It is for a program that starts no processes
/// but those of a run: the end of one of these is nobody else's to know.
pub(crate) fn adopt_orphans() {
    if set_child_subreaper(true).is_ok() {
        ADOPTED.store(true, Ordering::Relaxed);
    }
}

/// Takes note of the ends of a group whose leader somebody has waited for.
pub(super) fn reap_group(leader: i32) {
    take_note(-leader);
}

/// Takes note of the end of a process that was killed.
pub(super) fn reap(process: Process) {
    take_note(process.pid);
}

/// Forgets what had a number that a child of ours has now, whose end is another's to know.
pub(super) fn forget(pid: i32) {
    dying().retain(|of| of.abs() != pid);
}

/// Takes note of the ends of all that have ended by now; of the others later.
fn take_note(of: i32) {
    if !ADOPTED.load(Ordering::Relaxed) {
        return;
    }
    let mut dying = dying();
    dying.insert(of);
    dying.retain(|&of| {
        loop {
            match waitpid(Pid::from_raw(of), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) => {}
                // None of them is a child of ours, or not any more.
                Err(_) => return false,
            }
        }
    });
}
