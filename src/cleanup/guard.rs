//! A shell around a script, which kills what the script has started once this process is gone, however it ended.
//!
//! A build that is a program is killed by the system when we end. That does not hold for what a script starts without
//! becoming it. The shell is what the system makes the parent of all that the script leaves behind, in whatever session
//! and environment, and it gets a signal when we end, or want it to.

use std::path::Path;
use std::process::Command;

/// Starts what it is given, waits for it and ends as it did, once all that descends from it is killed. So it is on a
/// signal, at once.
const SCRIPT: &str = r#"
end() {
  tries=0
  # What one that was killed has started becomes a child of this one.
  while [ $tries -lt 500 ]; do
    all=
    read -r all <"/proc/$$/task/$$/children"
    [ -n "$all" ] || break
    kill -9 $all
    sleep 0.01
    tries=$((tries + 1))
  done
}
trap '{ end; kill -9 0; } 2>/dev/null' TERM
"$@" &
# A shell says what it sees of a signal.
wait $! 2>/dev/null
status=$?
end 2>/dev/null
trap - TERM
[ $status -le 128 ] || { ulimit -c 0; kill -$((status - 128)) $$; } 2>/dev/null
exit $status
"#;

/// Returns a command that starts a script behind the shell. The shell's process has to be a subreaper, and to get
/// SIGTERM when we end.
pub(crate) fn guarding(script: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "migcompat-guard"]).arg(script);
    command
}
