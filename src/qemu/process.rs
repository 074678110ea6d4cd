//! Child processes that end in time, and with this process.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::write;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{Level, Span, debug, debug_span};

use crate::qemu::output::to_quote;
use crate::qemu::quote;

pub(crate) use crate::cleanup::ProcessState;
use crate::cleanup::{Group, mark_command, uninterrupted};
use crate::model::{joined, visible_lines};

/// Length of the kept end of a child's error output, in bytes.
const TAIL: usize = 8 * 1024;

/// The signal that has a guard end all that its script has started.
const GUARDS_END: Signal = Signal::SIGTERM;
/// Time that it has for that.
const GUARDS_TIME: Duration = Duration::from_secs(5);

/// Held by whoever starts a process of a build until its program runs: until then it has all files of ours open.
static STARTING: RwLock<()> = RwLock::new(());

/// Writes a file that is to be executed while no process of ours starts: the kernel executes nothing that somebody
/// has open for writing.
pub(super) fn write_executable<T>(write: impl FnOnce() -> T) -> T {
    let _none_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    write()
}

/// Runs something in a command's process before its program. It may make system calls, and must not allocate.
#[expect(
    unsafe_code,
    reason = "what has to run between fork and exec has no safe way in"
)]
pub(super) fn before_exec(
    command: &mut Command,
    task: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the callers' tasks make system calls and allocate nothing.
    unsafe {
        command.pre_exec(task);
    }
}

/// The readiness of the system to kill what we start when memory runs out, as `/proc/PID/oom_score_adj` has it: before
/// anything else. One guest is lost then, and not the run with its report.
const READINESS: &[u8] = b"1000";

/// Has the system kill a command's process before any other. To be called before there are barriers around it.
pub(super) fn first_to_go(command: &mut Command) {
    before_exec(command, || {
        let file = c"/proc/self/oom_score_adj";
        // Where that cannot be said, the system decides as ever.
        let _unsaid = open(file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
            .and_then(|file| write(&file, READINESS));
        Ok(())
    });
}

/// Makes a command's process the leader of a group of its own, which gets a signal when the thread that starts
/// it ends: a terminal's Ctrl-C reaches this process alone, and no QEMU outlives it.
pub(super) fn tie_to_us(command: &mut Command, at_our_end: Signal) {
    command.process_group(0);
    let us = std::process::id();
    before_exec(command, move || {
        nix::sys::prctl::set_pdeathsig(at_our_end)?;
        // The parent may have died before the line above: then nothing would kill the child.
        if nix::unistd::getppid().as_raw() as u32 != us {
            return Err(io::Error::from_raw_os_error(nix::libc::ECHILD));
        }
        Ok(())
    });
}

/// The way in which a process ended; `Display` puts it into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended(pub ExitStatus);

impl Ended {
    /// Tells whether a signal ended it.
    pub(crate) fn is_by_signal(self) -> bool {
        self.0.signal().is_some()
    }

    /// Tells whether somebody else ended it: no program does that to itself.
    pub(crate) fn is_by_others(self) -> bool {
        self.0.signal() == Some(Signal::SIGKILL as i32)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(Signal::SIGSYS) => write!(
                    f,
                    "was killed by {} for a system call that is forbidden to it (--confine off lets it)",
                    Signal::SIGSYS
                ),
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
            (None, None) => write!(f, "ended"),
        }
    }
}

/// A failure to run a process to a good end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{program} could not be started: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("{program} was not done after {} s and was killed{}", after.as_secs_f32(), quoted(stderr))]
    Deadline {
        program: String,
        after: Duration,
        stderr: String,
    },
    #[error("{program} could not be waited for: {source}")]
    Wait { program: String, source: io::Error },
}

/// The end of an error message that quotes what a program printed.
pub(crate) fn quoted(stderr: &str) -> String {
    match to_quote(stderr).as_str() {
        "" => String::new(),
        text => format!("; it said:\n{text}"),
    }
}

/// Returns the command as one types it, and of a guard that of its script.
fn shell_line(command: &Command, guards: Option<&Path>) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let script = |word: &&OsStr| guards.is_some_and(|script| *word != script);
    let words = words.skip_while(script);
    joined(words.map(|word| quote(&word.to_string_lossy())), " ")
}

/// A command that is complete but for arguments.
#[derive(Debug)]
pub struct ToStart {
    pub(super) command: Command,
    /// The script that the command is a guard of, if it is one.
    pub(super) guards: Option<PathBuf>,
}

impl ToStart {
    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) {
        self.command.args(args);
    }
}

impl From<Command> for ToStart {
    fn from(command: Command) -> ToStart {
        ToStart {
            command,
            guards: None,
        }
    }
}

/// A child process under way; dropping it kills its whole group.
#[derive(Debug)]
pub struct Running {
    program: String,
    child: Child,
    /// The child's group, until the child has been waited for: the number may belong to another
    /// process then.
    group: Option<Group>,
    /// The child is the guard of a script.
    is_guard: bool,
    stderr: Tail,
    /// Names the process in the log.
    span: Span,
}

impl Running {
    /// Starts a command with no input and its error output kept. Its standard output goes where
    /// the command says.
    ///
    /// # Errors
    /// The system's error, for instance that there is no such program.
    pub fn start(command: impl Into<ToStart>) -> Result<Running, RunError> {
        let ToStart {
            mut command,
            guards,
        } = command.into();
        let line = tracing::enabled!(Level::DEBUG).then(|| shell_line(&command, guards.as_deref()));
        let program = guards
            .as_ref()
            .map_or(command.get_program(), |script| script.as_os_str());
        let program = program.to_string_lossy().into_owned();
        let is_guard = guards.is_some();
        if is_guard {
            before_exec(&mut command, || Ok(set_child_subreaper(true)?));
        }
        tie_to_us(
            &mut command,
            if is_guard {
                GUARDS_END
            } else {
                Signal::SIGKILL
            },
        );
        mark_command(&mut command);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let started = uninterrupted(|| {
            let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
            let child = tokio::process::Command::from(command).spawn()?;
            let leader = child.id().and_then(|id| i32::try_from(id).ok());
            Ok((child, leader.map(Group::register)))
        });
        let (mut child, group) = started.map_err(|source| RunError::Spawn {
            program: program.clone(),
            source,
        })?;
        let span = debug_span!("process", pid = child.id());
        span.in_scope(|| debug!(line, "started"));
        let stderr = Tail::of(child.stderr.take());
        Ok(Running {
            program,
            child,
            group,
            is_guard,
            stderr,
            span,
        })
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// The deadline passed; the process is killed then.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, RunError> {
        match timeout(deadline, self.child.wait()).await {
            Ok(Ok(status)) => {
                self.group = None;
                if self.stderr.drain().await {
                    self.log_end(&Ended(status).to_string());
                }
                Ok(status)
            }
            Ok(Err(source)) => Err(RunError::Wait {
                program: self.program.clone(),
                source,
            }),
            Err(_) => {
                self.kill().await;
                Err(RunError::Deadline {
                    program: self.program.clone(),
                    after: deadline,
                    stderr: self.stderr(),
                })
            }
        }
    }

    /// Kills the process and everything in its group, and waits until it has ended.
    pub async fn kill(&mut self) {
        self.signal_group();
        if self.is_guard && timeout(GUARDS_TIME, self.child.wait()).await.is_err() {
            self.is_guard = false;
            self.signal_group();
        }
        if self.child.wait().await.is_ok() {
            self.group = None;
        }
        if self.stderr.drain().await {
            self.log_end("was killed by us");
        }
    }

    /// Returns the number of the process, if it still runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        i32::try_from(self.child.id()?).ok()
    }

    /// Returns what the process does, if it still runs and the system tells.
    pub(crate) fn state(&self) -> Option<ProcessState> {
        ProcessState::of(self.child.id()?)
    }

    /// Returns the span that names the process in the log.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    fn log_end(&self, how: &str) {
        self.span
            .in_scope(|| debug!(stderr = self.stderr(), "{how}"));
    }

    /// Returns the last few kilobytes of its error output so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    fn signal_group(&self) {
        match &self.group {
            // It knows what is not in its group.
            Some(group) if self.is_guard => group.signal_leader(GUARDS_END),
            Some(group) => group.kill(),
            None => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal_group();
    }
}

/// The last bytes of a stream, read in the background so that the writer never blocks.
#[derive(Debug)]
struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    fn of(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Tail {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = stream.map(|mut stream| {
            let bytes = Arc::clone(&bytes);
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                    let mut kept = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&chunk[..read]);
                    if kept.len() > TAIL {
                        let surplus = kept.len() - TAIL;
                        // A line without its beginning means something else.
                        let whole = kept[surplus..].iter().position(|&byte| byte == b'\n');
                        kept.drain(..whole.map_or(surplus, |end| surplus + end + 1));
                    }
                }
            })
        });
        Tail { bytes, reader }
    }

    /// Reads what is left after the writer ended. A grandchild may keep the pipe open for ever, so
    /// the wait is short. Returns whether this was the first time.
    async fn drain(&mut self) -> bool {
        let Some(reader) = self.reader.take() else {
            return false;
        };
        let abort = reader.abort_handle();
        if timeout(Duration::from_millis(500), reader).await.is_err() {
            abort.abort();
        }
        true
    }

    fn text(&self) -> String {
        let kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = String::from_utf8_lossy(&kept);
        visible_lines(printed.trim()).replace("\\r\n", "\n")
    }
}

/// The result of a process that ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end and keeps what it printed.
///
/// # Errors
/// The command cannot be started or waited for, or is killed at the deadline.
pub(crate) async fn output(
    command: impl Into<ToStart>,
    deadline: Duration,
) -> Result<Output, RunError> {
    let mut command = command.into();
    command.command.stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let mut stdout = running.child.stdout.take();
    let reader = tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(stdout) = &mut stdout {
            let _cut_short = stdout.read_to_end(&mut bytes).await;
        }
        bytes
    });
    let status = running.wait(deadline).await?;
    let stdout = match timeout(Duration::from_secs(5), reader).await {
        Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    Ok(Output {
        status,
        stdout,
        stderr: running.stderr(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::guarding;
    use crate::qemu::block_on;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Runs a command to its end.
    fn ran(command: impl Into<ToStart>) -> Output {
        let run = block_on(output(command, Duration::from_secs(60)));
        run.unwrap().unwrap()
    }

    #[test]
    fn the_end_of_a_process_is_put_into_words() {
        let ended = |script: &str| {
            let run = ran(sh(script));
            (Ended(run.status).to_string(), run.stdout, run.stderr)
        };
        assert_eq!(
            ended("echo out; echo err >&2; exit 3"),
            ("exited with status 3".into(), "out\n".into(), "err".into())
        );
        assert_eq!(ended("kill -SEGV $$").0, "was killed by SIGSEGV");
    }

    /// A script behind its guard.
    fn guarded(script: &str) -> ToStart {
        let shell = PathBuf::from("sh");
        let mut command = guarding(&shell);
        command.args(["-c", script, "sh"]);
        let guards = Some(shell);
        ToStart { command, guards }
    }

    #[test]
    fn a_guard_ends_as_its_script_did_and_says_nothing() {
        for (script, how) in [
            ("exit 0", "exited with status 0"),
            ("exit 3", "exited with status 3"),
            ("exit 255", "exited with status 255"),
            ("kill -SEGV $$", "was killed by SIGSEGV"),
            ("kill -KILL $$", "was killed by SIGKILL"),
            ("kill -TERM $$", "was killed by SIGTERM"),
        ] {
            let script = format!("echo \"out $*\"; echo err >&2; {script}");
            let mut command = guarded(&script);
            command.args(["a b", "-c"]);
            let run = ran(command);
            assert_eq!(Ended(run.status).to_string(), how);
            assert_eq!((&*run.stdout, &*run.stderr), ("out a b -c\n", "err"));
        }
    }

    #[test]
    fn a_guard_outlives_who_started_it_and_all_that_its_script_has_started_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_owned();
        let hiding = "exec >/dev/null 2>&1\n\
            hide() { setsid env -i sh -c \"sleep 1000 & echo \\$\\$ \\$! > $1.new; mv $1.new $1; wait\"; }\n\
            cd \"$1\"; (hide a &) & hide b & wait";
        // Whoever started it has not the time to end anything.
        let starting = std::thread::spawn(move || {
            block_on(async {
                let mut guard = guarded(hiding);
                guard.args([&at]);
                let running = Running::start(guard).unwrap();
                while !(at.join("a").exists() && at.join("b").exists()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                std::mem::forget(running);
            })
            .unwrap();
        });
        starting.join().unwrap();
        for hidden in ["a", "b"] {
            let pids = std::fs::read_to_string(folder.path().join(hidden)).unwrap();
            for pid in pids.split_whitespace().map(|pid| pid.parse().unwrap()) {
                while !matches!(ProcessState::of(pid), None | Some(ProcessState::Ended)) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    #[test]
    fn only_the_end_of_a_long_error_output_is_kept() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done";
        let run = ran(sh(script));
        assert!(run.stderr.len() <= TAIL);
        assert!(run.stderr.ends_with("line 2999"), "{}", run.stderr);
    }

    #[test]
    fn a_long_error_output_begins_with_a_whole_line() {
        for length in [7, 23, 61] {
            let line = format!("warning: {}", "x".repeat(length));
            let script =
                format!("i=0; while [ $i -lt 900 ]; do echo '{line}' >&2; i=$((i+1)); done");
            let run = ran(sh(&script));
            assert!(run.stderr.len() > TAIL / 2);
            assert!(
                run.stderr.lines().all(|kept| kept == line),
                "{}",
                run.stderr
            );
        }
    }

    #[test]
    fn a_process_past_its_deadline_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!(
            "sleep 60 & echo $! > {}; echo stuck >&2; wait",
            file.display()
        );
        let started = std::time::Instant::now();
        let error = block_on(output(sh(&script), Duration::from_millis(500)))
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("stuck"), "{error}");
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "not killed, waited for"
        );
        let pid: i32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let gone = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            // A killed orphan may wait for its new parent for a moment.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(gone, "process {pid} is still there");
    }
}
