//! Having a stopped machine save itself to us, so that its state can be compared, or loaded again.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::cleanup::TempFolder;
use crate::migration::channel::connect::DESCRIPTOR;
use crate::migration::channel::proxy::{Captured, StreamProxy};
use crate::migration::checks::memory_map::{FLAT_VIEWS, MemoryMap};
use crate::migration::checks::stream_memory::StreamMemory;
use crate::migration::endpoint::commands::{Migrate, MigrateIncoming, QueryMigrate, QueryStatus};
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, TIME_TO_EXPLAIN, Vm};
use crate::migration::leg::set_up;
use crate::parallel::blocking;
use crate::qemu::cpu_models::CpuModels;
use crate::qemu::output::devices::DeviceTree;
use crate::qemu::output::roms;
use crate::qemu::properties::{Asked, Snapshot};
use crate::qemu::qmp::HumanCommand;
use crate::report::LegSide;
use crate::stream::Stream;

/// Pause between two questions whether a machine that has saved itself is done.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// A machine that never runs, in one build.
pub(crate) struct NewMachine {
    pub vm: Vm,
    /// The build, as the user wrote it.
    label: String,
    /// Its files, which go when it does.
    _folder: TempFolder,
}

impl NewMachine {
    /// Starts a build with the machine.
    ///
    /// # Errors
    /// It does not start; in words.
    pub(crate) async fn start(
        endpoint: &Endpoint,
        launch: &LaunchSpec,
    ) -> Result<NewMachine, String> {
        let folder = launch.folder().map_err(text)?;
        let vm = Vm::start(endpoint, launch, Role::First, folder.path(), 0);
        let vm = vm.await.map_err(text)?;
        Ok(NewMachine {
            vm,
            label: endpoint.build.label().to_owned(),
            _folder: folder,
        })
    }

    /// Has it save itself.
    ///
    /// # Errors
    /// It cannot be set up, or refuses; in words.
    pub(crate) async fn save(&mut self, deadline: Duration) -> Result<Stream, String> {
        self.set_up().await?;
        save(&self.vm, deadline).await.stream
    }

    /// Sets it up to save itself.
    async fn set_up(&mut self) -> Result<(), String> {
        let set = set_up::set_up(&mut self.vm, LegSide::Source, &[]);
        set.await.map_err(text)
    }

    /// Asks how its devices are set up. It is good for nothing else afterwards.
    ///
    /// # Errors
    /// The build ends, or does not answer in time; in words.
    pub(crate) async fn ask(&self, asked: Asked) -> Result<Snapshot, String> {
        let answered = self.vm.ask(asked).await;
        let mut snapshot = answered.map_err(|error| format!("{}: {error}", self.label))?;
        self.vm.ask_offers(&mut snapshot).await;
        Ok(snapshot)
    }

    /// Asks for its buses and the devices on them, as they are printed.
    ///
    /// # Errors
    /// The build does not say it; in words.
    pub(crate) async fn printed_tree(&self) -> Result<String, String> {
        let printed = self.vm.execute(DeviceTree::question()).await;
        printed.map_err(|error| format!("{}: {error}", self.label))
    }

    /// Asks for the CPU models that it could have.
    ///
    /// # Errors
    /// The build does not say; in words.
    pub(crate) async fn cpu_models(&self) -> Result<CpuModels, String> {
        let asked = CpuModels::ask(&self.vm.monitored.session, self.vm.command).await;
        asked.map_err(|error| format!("{}: {error}", self.label))
    }

    /// Asks for the name of a file that it has in a block of memory, if there is one.
    ///
    /// # Errors
    /// The build does not say it; in words.
    pub(crate) async fn file_in(&self, block: &str) -> Result<Option<String>, String> {
        let ask = async |question: &'static str| {
            let printed = self.vm.execute(HumanCommand::new(question)).await;
            printed.map_err(|error| format!("{}: {error}", self.label))
        };
        let (files, memory) = (ask(roms::QUESTION).await?, ask(FLAT_VIEWS).await?);
        let memory = MemoryMap::from_mtree(&memory);
        let mut files = roms::roms(&files);
        let file = files.find(|rom| memory.region(rom.address) == Some(block));
        Ok(file.map(|rom| rom.file.to_owned()))
    }

    /// Ends it. It has nothing to put in order.
    pub(crate) async fn end(mut self) {
        self.vm.monitored.process.kill().await;
    }
}

/// Starts a build and has it save the machine, which never ran.
///
/// # Errors
/// It does not start, cannot be set up or refuses; in words.
pub(crate) async fn save_new_machine(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    deadline: Duration,
) -> Result<Stream, String> {
    let mut machine = NewMachine::start(endpoint, launch).await?;
    let saved = machine.save(deadline).await;
    machine.end().await;
    saved
}

/// Starts a build and has it save the machine, which never ran, to a file.
///
/// # Errors
/// As for [`save_new_machine`].
pub(crate) async fn save_new_machine_to(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    file: &Path,
    deadline: Duration,
) -> Result<(), String> {
    let mut machine = NewMachine::start(endpoint, launch).await?;
    let saved = match machine.set_up().await {
        Ok(()) => save_to(&machine.vm, file, deadline).await,
        Err(why) => Err(why),
    };
    machine.end().await;
    saved
}

/// Has a stopped machine save itself to a file, with whatever [`set_up::set_up`] has set.
///
/// # Errors
/// It refuses, or is not through in time, or the file cannot be written; in words.
pub(crate) async fn save_to(vm: &Vm, file: &Path, deadline: Duration) -> Result<(), String> {
    let of_file = |error: io::Error| format!("{}: {error}", file.display());
    let mut written = File::create(file).map_err(of_file)?;
    let (mut ours, theirs) = io::pipe().map_err(of_file)?;
    let uri = give(vm, theirs).await?;
    let copied = blocking(move || io::copy(&mut ours, &mut written)).map_err(no_thread)?;
    vm.execute(Migrate { uri }).await.map_err(text)?;
    let completed = until_completed(vm, deadline).await;
    let limit = completed.as_ref().map_or(TIME_TO_EXPLAIN, |()| deadline);
    match timeout(limit, copied).await {
        // The build says no more than that its stream went nowhere.
        Ok(Err(error)) => Err(of_file(error)),
        Ok(Ok(_)) => completed,
        Err(late) => completed.and(Err(late.to_string())),
    }
}

fn no_thread(error: io::Error) -> String {
    format!("no thread for the stream: {error}")
}

/// Has a machine that waits for it load what was saved in a file.
///
/// # Errors
/// It refuses, or is not through in time, or the file cannot be read; in words.
pub(crate) async fn load_from(vm: &Vm, file: &Path, deadline: Duration) -> Result<(), String> {
    let of_file = |error: io::Error| format!("{}: {error}", file.display());
    let mut saved = File::open(file).map_err(of_file)?;
    let (theirs, mut ours) = io::pipe().map_err(of_file)?;
    let uri = give(vm, theirs).await?;
    // Of what it does not take it says why itself.
    let _copied = blocking(move || io::copy(&mut saved, &mut ours)).map_err(no_thread)?;
    let exit_on_error = None;
    let command = MigrateIncoming { uri, exit_on_error };
    vm.execute(command).await.map_err(text)?;
    until_completed(vm, deadline).await
}

/// Gives a build its end of a pipe, which is closed here, and returns the address of it. Through files it can do so only
/// in some releases, and by a program only where it may start one.
async fn give(vm: &Vm, end: impl AsFd) -> Result<String, String> {
    let session = &vm.monitored.session;
    let given = session.give(end.as_fd(), DESCRIPTOR, vm.command).await;
    given.map_err(text)?;
    Ok(format!("fd:{DESCRIPTOR}"))
}

/// Waits until a migration is over.
///
/// # Errors
/// It fails, or is not over in time; in words.
async fn until_completed(vm: &Vm, deadline: Duration) -> Result<(), String> {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        let reply = vm.execute(QueryMigrate {}).await.map_err(text)?;
        match reply.status.as_deref() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                return Err(reply.error_desc.unwrap_or_else(|| "it failed".to_owned()));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(format!("it was not over after {} s", deadline.as_secs()))
}

/// Has a stopped machine save itself, with whatever [`set_up::set_up`] has set. After that it
/// cannot be moved until it has run.
pub(crate) async fn save(vm: &Vm, deadline: Duration) -> Captured {
    match try_save(vm, deadline).await {
        Ok(captured) => captured,
        Err(why) => Captured::nothing(&why),
    }
}

async fn try_save(vm: &Vm, deadline: Duration) -> Result<Captured, String> {
    let path = vm.folder.join(format!("t{}", vm.index));
    // The leg that brought the guest here has left its own.
    let _absent = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(text)?;
    let proxy = StreamProxy::sink(listener, StreamMemory::sent_by(vm).await);
    let uri = format!("unix:{}", path.display());
    vm.execute(Migrate { uri }).await.map_err(text)?;
    Ok(proxy.captured_within(deadline).await)
}

/// Waits until a machine that has saved itself is ready for the next command, a moment after its last
/// byte.
///
/// # Errors
/// It is not in time, or does not answer; in words.
pub(crate) async fn wait_until_saved(vm: &Vm, deadline: Duration) -> Result<(), String> {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        let reply = vm.execute(QueryStatus {}).await.map_err(text)?;
        if reply.status != "finish-migrate" {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err("it was not through with the migration".to_owned())
}
