//! One load of a state: the build is started, gets the stream, and saves again what it has.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::migration::channel::proxy::{Captured, StreamProxy, unless_gone};
use crate::migration::checks::padding::{Arrival, NewMachines, compare_state};
use crate::migration::checks::state::StateChecks;
use crate::migration::checks::stream_memory::StreamMemory;
use crate::migration::config::MigrationConfig;
use crate::migration::diagnosis::evidence;
use crate::migration::endpoint::commands::{QueryMigrate, SetCapabilities};
use crate::migration::endpoint::vm::{LaunchSpec, Role, Vm};
use crate::migration::leg::error::{LegError, LegErrorKind, Obstacle, Timeout, checked, execute};
use crate::migration::leg::result::memory_differs;
use crate::migration::leg::save::{save, save_to};
use crate::migration::leg::set_up::set_up;
use crate::migration::leg::transfer::listen;
use crate::migration::leg::watch::Stats;
use crate::migration::load::StateFile;
use crate::migration::result::RunResult;
use crate::model::Direction;
use crate::qemu::qmp::{CapabilityState, QmpError};
use crate::qemu::{MemoryKills, option_value};
use crate::report::{LegSide, Outcome, Phase};
use crate::stream;
use crate::stream::{Options, Parser, Reading};

/// The first bytes of a stream.
const MAGIC: [u8; 4] = *b"QEVM";
/// Bytes passed on at once.
const CHUNK: usize = 128 << 10;
/// Pause between two questions whether the load is over.
const PAUSE: Duration = Duration::from_millis(5);
/// Guest memory lies at fixed places of the file, which the build reads itself.
const MAPPED: &str = "mapped-ram";
/// Pages are packed. A build that is not told takes none; the source does not say that it did so. There is none since 9.1.
const COMPRESS: &str = "compress";
/// Memory that a file of the host backs is not in the state.
const IGNORE_SHARED: &str = "x-ignore-shared";

/// Loads a state once. Where it loads, the build saves it to `kept` instead of being compared, if that is given.
pub(super) async fn attempt(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    state: &StateFile,
    kept: Option<&Path>,
) -> RunResult {
    let folder = match launch.folder() {
        Ok(folder) => folder,
        Err(why) => return RunResult::skip(&why.to_string()),
    };
    let memory_kills = MemoryKills::so_far();
    let started = Vm::start(&config.new, launch, Role::Destination, folder.path(), 0).await;
    let mut vm = match started {
        Ok(vm) => vm,
        Err(error) => {
            let kind = LegErrorKind::DoesNotStart(error.into());
            let error = LegError::new(LegSide::Destination, Phase::Launch, kind);
            let error = error.unless_of_host("", "", memory_kills.any_since());
            return RunResult::not_started(vec![error]);
        }
    };
    let begun = Instant::now();
    let mut checks = StateChecks::default();
    let loaded = take(config, &mut vm, state).await;
    let total_ms = begun.elapsed().as_millis().try_into().ok();
    let result = match loaded {
        Ok(sent) => {
            // A build that was told how memory comes would save it in the same way.
            let plain = set_capabilities(&vm, &state.capabilities(), false).await;
            let plain = plain.map_err(|error| error.to_string());
            match (kept, plain) {
                (Some(_), Err(why)) => return RunResult::skip(&why),
                (Some(path), Ok(())) => match save_to(&vm, path, config.timeouts.leg).await {
                    Ok(()) => Ok(()),
                    Err(why) => return RunResult::skip(&why),
                },
                (None, plain) => {
                    let arrived = match plain {
                        Ok(()) => save(&vm, config.timeouts.leg).await,
                        Err(why) => Captured::nothing(&why),
                    };
                    compare(config, launch, (sent, arrived), &mut checks).await
                }
            }
        }
        Err((error, sent)) => {
            checks.refused = sent.stream.ok();
            Err(error)
        }
    };
    let stats = Stats {
        total_ms,
        ..Stats::default()
    };
    let leg = |outcome| stats.leg(0, Direction::Forward, outcome);
    match result {
        Ok(()) => {
            vm.monitored.process.kill().await;
            RunResult::passed(vec![leg(Outcome::Pass)], checks)
        }
        Err(error) => {
            let evidence = evidence::collect(None, vm).await;
            let printed = &evidence.stderr;
            let memory_ran_out = memory_kills.any_since();
            let error = error.unless_of_host(&printed.source, &printed.destination, memory_ran_out);
            let legs = vec![leg(error.outcome())];
            RunResult::of_failed_leg(error, legs, checks, evidence)
        }
    }
}

/// Gives the build the stream and waits until it is through with it. What was sent is given back in either case.
async fn take(
    config: &MigrationConfig,
    vm: &mut Vm,
    state: &StateFile,
) -> Result<Captured, (LegError, Captured)> {
    let nothing = || Captured::nothing("nothing was sent");
    let side = LegSide::Destination;
    set_up(vm, side, &[])
        .await
        .map_err(|error| (error, nothing()))?;
    let set = set_capabilities(vm, &state.capabilities(), true).await;
    may_set(vm, set).await.map_err(|error| (error, nothing()))?;
    pass_on(config, vm, state).await
}

/// Gives the build that is set up the stream, or the file if it reads that itself.
async fn pass_on(
    config: &MigrationConfig,
    vm: &mut Vm,
    state: &StateFile,
) -> Result<Captured, (LegError, Captured)> {
    let nothing = || Captured::nothing("nothing was sent");
    let deadline = config.timeouts.leg;
    if state.is_mapped() {
        let mut uri = format!("file:{}", option_value(&state.path.to_string_lossy()));
        if state.offset > 0 {
            uri.push_str(&format!(",offset={}", state.offset));
        }
        let sent = Captured {
            stream: Ok(stream::Stream::clone(&state.stream)),
            memory: Err(format!("with {MAPPED} it is not read in passing")),
        };
        if let Err(error) = listen(vm, uri).await {
            return Err((error, sent));
        }
        return match until_loaded(vm, deadline).await {
            Ok(()) => Ok(sent),
            Err(error) => Err((error, sent)),
        };
    }
    let socket = vm.folder.join(format!("m{}", vm.index));
    let uri = format!("unix:{}", socket.display());
    listen(vm, uri).await.map_err(|error| (error, nothing()))?;
    let (file, place) = (state.path.clone(), state.place.clone());
    let mut proxy = StreamProxy::feed(move || feed(&file, &place, socket));
    let loaded = tokio::select! {
        biased;
        error = proxy.broken() => Err(error),
        loaded = until_loaded(vm, deadline) => loaded,
    };
    if loaded
        .as_ref()
        .is_err_and(|error| error.outcome() == Outcome::Hang)
    {
        // Nobody reads on, so that what feeds it would wait for ever.
        vm.monitored.process.kill().await;
    }
    let sent = proxy.captured().await;
    match loaded {
        Ok(()) => Ok(sent),
        Err(error) => Err((error, sent)),
    }
}

/// Turns capabilities of a build on or off.
async fn set_capabilities(vm: &Vm, names: &[&str], on: bool) -> Result<(), QmpError> {
    if names.is_empty() {
        return Ok(());
    }
    let state = |name: &&str| CapabilityState {
        capability: (*name).to_owned(),
        state: on,
    };
    let capabilities = names.iter().map(state).collect();
    let command = SetCapabilities { capabilities };
    vm.execute(command).await.map(drop)
}

/// Makes the error of a build that cannot load memory in the way that a state has it, if it was told to and cannot.
async fn may_set(vm: &mut Vm, set: Result<(), QmpError>) -> Result<(), LegError> {
    let side = LegSide::Destination;
    match set {
        Err(QmpError::Refused { description, .. }) => {
            let obstacle = Obstacle::CapabilityRefused {
                version: vm.version,
                reason: description,
            };
            Err(LegError::new(side, Phase::SetUp, obstacle))
        }
        other => checked(vm, side, Phase::SetUp, other).await,
    }
}

/// Passes a state on, and reads it meanwhile, to its end whether it is taken or not: a refusal is explained by it.
fn feed(file: &Path, place: &stream::Place, socket: PathBuf) -> io::Result<Reading<StreamMemory>> {
    let opened = stream::open_at(file, place).map_err(io::Error::other)?;
    let (mut input, options) = (
        opened.input,
        Options {
            before: opened.offset,
            ..Options::default()
        },
    );
    let mut to = unless_gone(UnixStream::connect(socket))?;
    let mut parser = Parser::new(options, StreamMemory::default());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = &chunk[..read];
        if to.as_mut().is_some_and(|to| to.write_all(bytes).is_err()) {
            to = None;
        }
        // One that cannot be read is passed on nonetheless.
        let _kept_for_the_end = parser.feed(bytes);
    }
    Ok(parser.finish())
}

/// Waits until a build is through with a load.
async fn until_loaded(vm: &mut Vm, deadline: Duration) -> Result<(), LegError> {
    let side = LegSide::Destination;
    let end = Instant::now() + deadline;
    loop {
        let reply = execute(vm, side, Phase::Transfer, QueryMigrate {}).await?;
        match reply.status.as_deref() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let reasons = reply.error_desc.iter().cloned().collect();
                let kind = LegErrorKind::MigrationFailed(reply.error_desc);
                let error = LegError::new(side, Phase::Transfer, kind);
                return Err(LegError { reasons, ..error });
            }
            _ => {}
        }
        if Instant::now() >= end {
            let timeout = Timeout::NotCompleted(deadline);
            return Err(LegError::new(side, Phase::Transfer, timeout));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Compares what a build has with what it was given.
async fn compare(
    config: &MigrationConfig,
    launch: &LaunchSpec,
    (sent, arrived): (Captured, Captured),
    checks: &mut StateChecks,
) -> Result<(), LegError> {
    match (&sent.stream, &arrived.stream) {
        (Ok(sent), Ok(arrived)) => {
            let arrival = Arrival {
                leg: 0,
                direction: Direction::Forward,
                source: None,
                destination: &config.new,
                sent,
                arrived,
            };
            let new_machines = &mut NewMachines::default();
            compare_state(config, checks, arrival, launch, new_machines).await;
        }
        (Err(why), _) => checks.not_compared(why.clone()),
        (_, Err(why)) => checks.not_compared(format!(
            "after the load the build could not save again: {why}"
        )),
    }
    checks.first = sent.stream.ok();
    checks.arrived = arrived.stream.ok();
    match (&sent.memory, &arrived.memory) {
        (Ok(sent), Ok(arrived)) => {
            let pages = sent.difference(arrived);
            let pages = pages.and_then(|pages| launch.tolerated.leave_out(pages));
            if let Some(pages) = pages {
                return Err(memory_differs(pages));
            }
        }
        (Err(why), _) | (_, Err(why)) => checks.not_compared(format!("memory: {why}")),
    }
    LegError::if_lost(&checks.diffs)
}

impl StateFile {
    /// Reads what is in a file.
    ///
    /// # Errors
    /// It is no regular file, has no stream, or one that cannot be read.
    pub(crate) fn open(path: PathBuf, place: stream::Place) -> Result<StateFile, BadState> {
        let regular = fs::metadata(&path).is_ok_and(|of| of.is_file() || of.is_dir());
        if path.exists() && !regular {
            return Err(BadState::NotRegular { file: path });
        }
        let opened = stream::open_at(&path, &place)?;
        let options = Options {
            before: opened.offset,
            ..Options::default()
        };
        let reading = stream::read(opened.input, options, ());
        match reading.error {
            Some(error) => Err(BadState::Unreadable { file: path, error }),
            None => Ok(StateFile {
                path,
                place,
                stream: reading.stream.into(),
                offset: opened.offset,
                domain: opened.domain,
            }),
        }
    }

    /// Tells whether the stream is in the file as it is, and a build loads it without being told how.
    pub(super) fn is_plain(&self) -> bool {
        let mut start = [0; MAGIC.len()];
        let mut read = || {
            let mut file = fs::File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_exact(&mut start)
        };
        read().is_ok() && start == MAGIC && self.capabilities().is_empty()
    }

    fn is_mapped(&self) -> bool {
        self.capabilities().contains(&MAPPED)
    }

    /// Tells whether memory of the guest may be missing in it.
    pub(super) fn lacks_memory(&self) -> bool {
        self.capabilities().contains(&IGNORE_SHARED)
    }

    /// Returns the migration capabilities that a build must have on to load it: those that the source named, for both sides
    /// must have them, and what its pages show.
    fn capabilities(&self) -> Vec<&str> {
        let named = self.stream.configuration.iter();
        let named = named.flat_map(|of| of.capabilities.iter().map(String::as_str));
        let packed = (self.stream.ram.packed > 0).then_some(COMPRESS);
        named.chain(packed).collect()
    }
}

/// A file that no state can be read from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadState {
    #[error(transparent)]
    Open(#[from] stream::OpenError),
    #[error("{}: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        error: stream::StreamError,
    },
    #[error("{} is no regular file, and a state is read several times; copy it to one", file.display())]
    NotRegular { file: PathBuf },
}
