//! A build started with a monitor we talk to.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;

use tokio::net::UnixListener;
use tracing::{Instrument, debug};

use crate::cleanup::{OWN, Peer, TempFolder, cpu_time, end_dead_runs, is_stopped};
use crate::qemu::address_space::AddressSpace;
use crate::qemu::identity::RunningProgram;
use crate::qemu::option_value;
use crate::qemu::process::quoted;
use crate::qemu::qmp::{QmpError, Session};
use crate::qemu::{Build, Ended, ProcessState, RunError, Running, output};

/// A failure to start a build, or to communicate with it.
#[derive(Debug, thiserror::Error)]
#[error("{label}: {problem}{}", quoted(.stderr))]
pub struct StartError {
    /// The build, as the user wrote it.
    pub label: String,
    pub problem: Problem,
    /// The end of its error output.
    pub stderr: String,
}

impl StartError {
    /// Makes the error of a build that has printed nothing.
    pub(crate) fn quiet(build: &Build, problem: impl Into<Problem>) -> StartError {
        StartError {
            label: build.label().to_owned(),
            problem: problem.into(),
            stderr: String::new(),
        }
    }

    /// Returns the line in which the build gives the reason, without its name; else what happened.
    pub fn reason(&self) -> String {
        output::reason(&self.stderr).map_or_else(|| self.problem.to_string(), str::to_owned)
    }
}

/// The behaviour of a build that would not start.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Run(#[from] RunError),
    #[error("it {0} instead of running")]
    Ended(Ended),
    #[error("it did not open its monitor within {} s", .0.as_secs_f32())]
    Silent(Duration),
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("no temporary folder or socket for it: {0}")]
    Temp(#[from] io::Error),
}

impl StartError {
    /// Tells whether this host is at fault, which gave no process, folder, socket or memory.
    pub(crate) fn is_of_this_host(&self) -> bool {
        match &self.problem {
            Problem::Ended(_) => output::start::lacks_resources(&self.stderr),
            Problem::Temp(_) | Problem::Run(RunError::Spawn { .. }) => true,
            Problem::Run(_) | Problem::Silent(_) | Problem::Qmp(_) => false,
        }
    }

    /// Tells whether nothing of the build's own kept it from starting, so that it may well start the next time.
    pub(crate) fn may_pass(&self) -> bool {
        let is_killed = matches!(self.problem, Problem::Ended(how) if how.is_by_others());
        is_killed || self.is_of_this_host()
    }
}

/// A running build and a session on its monitor. Dropping it kills the build.
#[derive(Debug)]
pub struct Monitored {
    pub session: Session,
    pub process: Running,
    /// The process that connected: the build itself, whatever started it.
    pid: Option<i32>,
    /// The same, so that it is killed in whatever session a script has started it.
    _peer: Option<Peer>,
    /// The arguments that we gave it.
    given: Vec<OsString>,
    label: String,
    _dir: TempFolder,
}

/// Times that a build is started where something else may have kept it from that.
const STARTS: u32 = 3;
/// Pause before the second start; the third has twice as long. What this host lacks may be there again by then.
const BEFORE_NEXT_START: Duration = Duration::from_millis(100);

impl Monitored {
    /// Starts a build with these arguments and a monitor. One that is killed as it starts, or for which this host has no
    /// room, is started again: what is kept from starting by chance would pass for what the build refuses.
    ///
    /// # Errors
    /// It cannot be started, ends at once, opens no monitor in time or does not speak QMP
    /// there.
    pub async fn start<A: AsRef<OsStr>>(
        build: &Build,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Monitored, StartError> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let args: Vec<OsString> = args.collect();
        for start in 1..STARTS {
            match Monitored::start_once(build, &args).await {
                Err(error) if error.may_pass() => {
                    debug!(%error, start, "the build is started again");
                    tokio::time::sleep(BEFORE_NEXT_START * start).await;
                }
                started => return started,
            }
        }
        Monitored::start_once(build, &args).await
    }

    async fn start_once(build: &Build, args: &[OsString]) -> Result<Monitored, StartError> {
        let no_files = |error: io::Error| StartError::quiet(build, error);
        let dir = private_dir().map_err(no_files)?;
        let socket = dir.path().join("q");
        // The build connects to us, not we to it: nothing to poll for.
        let listener = UnixListener::bind(&socket).map_err(no_files)?;
        let confined = build.plain_command(Some(dir.path()));
        let mut command = confined.map_err(|error| StartError::quiet(build, error))?;
        let chardev = format!(
            "socket,id=migcompat,path={}",
            option_value(&socket.to_string_lossy())
        );
        // Not `-mon`, of which 11.1 warns.
        let monitor = ["-chardev", &chardev, "-qmp", "chardev:migcompat"].map(OsString::from);
        let mut given = [args, &monitor].concat();
        command.args(&given);
        command.command.stdout(Stdio::null());
        given.extend(build.confining_options().iter().map(OsString::from));
        let started = Running::start(command);
        let mut process = started.map_err(|error| StartError::quiet(build, error))?;

        let deadline = build.deadlines().start;
        let connected = tokio::select! {
            // A build that connects and then ends has given the reason on the socket.
            biased;
            connection = listener.accept() => connection.map_err(Problem::from),
            ended = process.wait(deadline) => Err(match ended {
                Ok(status) => Problem::Ended(Ended(status)),
                Err(RunError::Deadline { after, .. }) => Problem::Silent(after),
                Err(other) => Problem::Run(other),
            }),
        };
        let opened = match connected {
            Ok((connection, _)) => {
                let peer = connection.peer_cred().ok();
                let pid = peer.and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
                Session::open(connection, deadline)
                    .instrument(process.span())
                    .await
                    .map(|session| (session, pid))
                    .map_err(Problem::from)
            }
            Err(problem) => Err(problem),
        };
        match opened {
            Ok((session, pid)) => Ok(Monitored {
                session,
                process,
                pid,
                _peer: pid.and_then(Peer::register),
                given,
                label: build.label().to_owned(),
                _dir: dir,
            }),
            Err(problem) => Err(explain(build.label(), &mut process, problem).await),
        }
    }

    /// Returns what the build does, if the system tells. It is stopped if what has started it, or stands between it and
    /// us, is.
    pub(crate) fn state(&self) -> Option<ProcessState> {
        if is_stopped(&self.pids()) {
            return Some(ProcessState::Stopped);
        }
        match self.pid.and_then(|pid| u32::try_from(pid).ok()) {
            Some(pid) => ProcessState::of(pid),
            None => self.process.state(),
        }
    }

    /// Returns the processor time that the build has used, and what has started it or stands between it and us, if the
    /// system tells.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        cpu_time(&self.pids())
    }

    /// Returns the process that was started and the one that answers.
    fn pids(&self) -> Vec<i32> {
        self.process.pid().into_iter().chain(self.pid).collect()
    }

    /// Returns the program that runs, if the system shows it.
    pub(crate) fn program(&self) -> Option<RunningProgram> {
        RunningProgram::of(self.pid?, &self.given)
    }

    /// Returns the addresses that the build uses, if the system shows them.
    pub(crate) fn address_space(&self) -> Option<AddressSpace> {
        AddressSpace::of(self.pid?)
    }

    /// Makes an error of something that went wrong on the monitor, with what the build printed and
    /// how it ended, and kills it if it did not.
    pub async fn explain(mut self, problem: QmpError) -> StartError {
        explain(&self.label, &mut self.process, problem.into()).await
    }

    /// Ends the build and waits for that.
    pub async fn quit(mut self, deadline: Duration) {
        // It has answered everything that was asked: how it ends is of no interest.
        let _unresponsive = self.session.quit(deadline).await;
        let _killed = self.process.wait(deadline).await;
    }
}

async fn explain(label: &str, process: &mut Running, problem: Problem) -> StartError {
    // A build that closes the socket is about to end: its exit says more.
    let problem = match problem {
        Problem::Qmp(QmpError::Closed) => match process.wait(Duration::from_secs(1)).await {
            Ok(status) => Problem::Ended(Ended(status)),
            Err(_) => problem,
        },
        other => other,
    };
    process.kill().await;
    StartError {
        label: label.to_owned(),
        problem,
        stderr: process.stderr(),
    }
}

/// Makes a private temporary folder, with a path short enough for a socket in it.
///
/// # Errors
/// The folder cannot be made.
pub fn private_dir() -> io::Result<TempFolder> {
    // A socket's path has 108 bytes at most, its end included; the names in it take up to 25.
    let long = |dir: &Path| dir.as_os_str().as_bytes().len() > 80;
    let dir = Some(std::env::temp_dir())
        .filter(|dir| !long(dir))
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(OWN)
        .permissions(Permissions::from_mode(0o700));
    // Once, before anything else of the run is there.
    END_DEAD_RUNS.call_once(|| end_dead_runs(&dir));
    TempFolder::of_run(&mut builder, &dir)
}

static END_DEAD_RUNS: Once = Once::new();
