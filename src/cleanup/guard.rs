//! A process that kills what a script has started once this process is gone, however it ended.
//!
//! A build that is a program is killed by the system when we end. That does not hold for what a script starts without
//! becoming it. The guard is started with the first script, and waits: its input ends when we do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::cleanup::run_id::{self, Process};
use crate::cleanup::uninterrupted;

/// Reads processes that are to be killed, each with its time of start, until there is no more, and then kills them and
/// all that have the mark in the environment.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
all=
while read -r pid started; do all="$all $pid:$started"; done
for one in $all; do
  read -r stat 2>/dev/null <"/proc/${one%:*}/stat" || continue
  set -f; set -- "$1" ${stat##*)}; set +f
  [ "${21}" = "${one#*:}" ] && kill -9 "${one%:*}" 2>/dev/null
done
tries=0
while [ $tries -lt 50 ] && files=$(grep -lF "$1" /proc/[0-9]*/environ 2>/dev/null); do
  for file in $files; do pid=${file#/proc/}; kill -9 "${pid%/environ}" 2>/dev/null; done
  tries=$((tries + 1))
done
"#;

static GUARD: Mutex<Option<Child>> = Mutex::new(None);

/// Starts the guard, unless it is there. Without a shell there is none, and what is left is killed by the next run.
pub(crate) fn guard_scripts() {
    // In this order: who waits for the end must not keep the guard.
    uninterrupted(|| {
        let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(mark)) = (&*guard, run_id::mark()) {
            let mut command = Command::new("sh");
            command.args(["-c", SCRIPT, "migcompat-guard", &mark]);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command.stderr(Stdio::null()).current_dir("/");
            // What kills our group is not to kill it.
            *guard = command.process_group(0).spawn().ok();
        }
    });
}

/// Has the guard kill a process, too, whatever its environment.
pub(super) fn watch(process: Process) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(input) = guard.as_mut().and_then(|guard| guard.stdin.as_mut()) {
        let _it_is_gone = writeln!(input, "{} {}", process.pid, process.started);
    }
}

/// Ends the guard: what it would do is done.
pub(super) fn dismiss() {
    let guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut guard) = guard {
        let _already_gone = guard.kill();
        let _nothing_to_know = guard.wait();
    }
}
