//! One side of a migration: a build, started with a guest in it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qapi::qmp::QmpCommand;

use crate::beside::{self, Beside};
use crate::cleanup::TempFolder;
use crate::devices::{Drivers, Known, ListedProperties};
use crate::guest::Board;
use crate::migration::checks::changes::LoadChanges;
use crate::migration::diagnosis::load_trace;
use crate::migration::endpoint::seat::{Driving, Seat};
use crate::migration::endpoint::tls;
use crate::model::{Accelerator, Version, joined};
use crate::parallel::side_by_side;
use crate::qemu::machine::{Machines, ProfileCpu};
use crate::qemu::output;
use crate::qemu::output::devices::DeviceTree;
use crate::qemu::properties::{Asked, Snapshot};
use crate::qemu::qmp::QmpError;
use crate::qemu::{
    Answer, Build, BuildInfo, Ended, MallocFill, Monitored, Opened, Pair, Question, StartError,
    Subject, accelerator, machine, option_value, private_dir, quote,
};
use crate::stream::machine_name::Renaming;
use crate::stream::section_override::SectionOverride;
use crate::vmstate::dump::Dump;
use crate::workload::linux::{Interfaces, Network};
use crate::workload::{SerialEvent, SerialLog, Workload};

/// Time for a side to give its reason, or to end, once it or the other one has failed.
pub(crate) const TIME_TO_EXPLAIN: Duration = Duration::from_secs(2);
/// Pause between two looks at a guest's console.
const CONSOLE_PAUSE: Duration = Duration::from_millis(2);

/// A build that takes part, with its version, devices and dump.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub build: Build,
    pub info: BuildInfo,
    /// The devices that its `-device` takes, if it could be asked.
    pub drivers: Option<Drivers>,
    /// The properties that it lists for some of them, once it was asked.
    pub(crate) properties: ListedProperties,
    /// Options that this build alone is given.
    pub args: Vec<String>,
    /// The machine type of this build, where each has one of another name.
    pub machine: Option<String>,
    /// The accelerator of its guests.
    pub accelerator: Accelerator,
    /// Its dump, where it has been asked already.
    pub dump: Option<Arc<Dump>>,
}

impl Endpoint {
    /// Returns the facts that decide which devices it can have.
    pub fn known(&self) -> Known<'_> {
        Known {
            version: Some(self.info.version),
            drivers: self.drivers.as_ref(),
            properties: Some(&self.properties),
        }
    }

    /// Tells whether it has devices for a PCI bus, as far as is known.
    fn has_pci(&self) -> bool {
        let drivers = self.drivers.as_ref();
        drivers.is_none_or(|drivers| drivers.are_for("PCI"))
    }

    /// Returns what the build says of a machine that never runs; a fetched one says it once. `about` is what else decides
    /// that. Under KVM the host's processor does, so it is asked each time.
    ///
    /// # Errors
    /// As of what asks.
    pub(crate) async fn answer<T: Answer, E>(
        &self,
        launch: &LaunchSpec,
        subject: Subject,
        about: impl IntoIterator<Item = OsString>,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.accelerator {
            Accelerator::Kvm => ask.await,
            Accelerator::Tcg => {
                // Files of ours have the same contents in every folder.
                let mut words = launch.args(self, Role::First, Path::new(""));
                words.extend(about);
                self.build.answer(&Question { subject, words }, ask).await
            }
        }
    }

    /// Returns the name of its machine type, if the case's is `machine`.
    pub(crate) fn machine<'m>(&'m self, machine: &'m str) -> &'m str {
        self.machine.as_deref().unwrap_or(machine)
    }

    /// Gives each of two builds the machine type of its side, where these have two names.
    pub(crate) fn with_types(
        (mut old, mut new): (Endpoint, Endpoint),
        types: &Machines,
    ) -> (Endpoint, Endpoint) {
        if types.are_paired() {
            old.machine = Some(types.old.clone());
            new.machine = Some(types.new.clone());
        }
        (old, new)
    }

    /// Asks both builds what they can plug in.
    pub fn both(pair: &Pair) -> (Endpoint, Endpoint) {
        side_by_side(|| Endpoint::of(&pair.old), || Endpoint::of(&pair.new))
    }

    /// Asks one build what it can plug in.
    pub(crate) fn of(opened: &Opened) -> Endpoint {
        // Where a build does not list its devices, the cases show what it has.
        let help = opened.device_help();
        Endpoint {
            build: opened.build.clone(),
            info: opened.info.clone(),
            drivers: (!help.trim().is_empty()).then(|| Drivers::from_help(help)),
            properties: ListedProperties::default(),
            args: Vec::new(),
            machine: None,
            accelerator: Accelerator::Tcg,
            dump: None,
        }
    }
}

/// Options that one side of a migration alone is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleArgs {
    /// Those of the QEMU in which the guest starts.
    pub source: Vec<String>,
    /// Those of every QEMU that it moves to.
    pub destination: Vec<String>,
}

impl RoleArgs {
    fn of(&self, role: Role) -> &[String] {
        match role {
            Role::First => &self.source,
            Role::Destination => &self.destination,
        }
    }
}

/// The machine, devices and guest that every QEMU of a case is started with.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    pub machine: String,
    /// The end of `qemu-system-ARCH`.
    pub arch: String,
    /// A CPU model instead of the machine's own.
    pub cpu: Option<String>,
    /// The use of the model that the machine's profile chooses.
    pub profile_cpu: ProfileCpu,
    /// The board of the user's own guest, instead of a plain one.
    pub board: Option<Arc<Board>>,
    /// The options of the device set.
    pub device_args: Vec<String>,
    /// Options that one side of a migration alone is given.
    pub role_args: RoleArgs,
    /// The guest that works in the machine; without one the machine is never started.
    pub workload: Option<Workload>,
    /// The way in which the devices of a machine without a guest are driven, if they are.
    pub driving: Option<Driving>,
    /// The network that the cards of a machine without a guest are connected to.
    pub(crate) network: Network,
    /// Sections that a destination gets in the place of those that it refuses.
    pub section_override: Option<Arc<SectionOverride>>,
    /// Changes that a load is known to make; they are not counted as losses.
    pub(crate) tolerated: Arc<LoadChanges>,
    /// Set if the stream is encrypted: both sides have a key.
    pub tls: bool,
    /// Set if both builds are asked for the buses to plug a device into.
    pub survey: bool,
    /// The contents of a destination's memory where it was never initialised, where that is chosen: a load
    /// that leaves a value to chance is to show it.
    pub(crate) fill: Option<MallocFill>,
    /// Set if both builds are asked for the features that virtio devices offer.
    pub features: bool,
}

impl LaunchSpec {
    /// Returns the same without questions: they are asked once.
    pub(crate) fn unasked(&self) -> LaunchSpec {
        LaunchSpec {
            survey: false,
            features: false,
            ..self.clone()
        }
    }

    /// Returns the same without a guest, and with nothing that one side alone is given: it shows what the builds do.
    pub(crate) fn of_builds(&self) -> LaunchSpec {
        LaunchSpec {
            workload: None,
            role_args: RoleArgs::default(),
            ..self.clone()
        }
    }

    /// Memory of a machine unless it needs more, in MiB. Small, since all of it is compared.
    const MEMORY_MIB: u32 = 32;
    /// Memory of a machine in the table that never runs, in MiB. A board that is not in the table has as much as it has by
    /// default: many take no other size.
    const IDLE_MEMORY_MIB: u32 = 8;

    /// Returns the machine's arguments on a build in this role, without those of the tool
    /// itself. `folder` holds the files that [`LaunchSpec::prepare`] wrote.
    pub fn args(&self, endpoint: &Endpoint, role: Role, folder: &Path) -> Vec<OsString> {
        let version = endpoint.info.version;
        let profile = machine::profile(&self.machine, Some(&self.arch));
        let memory = match (&self.workload, profile) {
            (Some(workload), _) => Some(workload.min_memory_mib().max(Self::MEMORY_MIB)),
            (None, Some(_)) => Some(Self::IDLE_MEMORY_MIB),
            (None, None) => None,
        };
        let memory = memory.map(|mib| mib.max(profile.map_or(0, |profile| profile.memory_mib)));
        let board = self.board.as_deref();
        let none = Interfaces::new();
        let interfaces = board.map_or(&none, |board| &board.interfaces);
        let plugged_in = match &self.workload {
            Some(workload) => workload.device_args(&self.plugged_in(), interfaces, folder),
            None => (self.network).connect(&self.plugged_in(), interfaces, folder),
        };
        // One argument stands for another.
        let of_board = board.map_or(0, |board| board.args.len());
        let (of_board, of_devices) = plugged_in.split_at(of_board.min(plugged_in.len()));
        let options = board.map_or(&[][..], |board| &board.machine_options);
        let machine = std::iter::once(endpoint.machine(&self.machine));
        let machine = joined(machine.chain(options.iter().map(String::as_str)), ",");
        let mut args: Vec<OsString> = ["-M", &machine].map(OsString::from).into();
        args.extend(accelerator::only(endpoint.accelerator).map(OsString::from));
        args.push("-no-user-config".into());
        if !board.is_some_and(|board| board.has_defaults) {
            args.push("-nodefaults".into());
        }
        // A guest that ends or resets is examined, and neither removed nor restarted.
        args.extend(["-display", "none", "-no-shutdown", "-no-reboot"].map(OsString::from));
        match board {
            Some(_) => args.extend(of_board.iter().map(OsString::from)),
            None => {
                let memory = memory.map(|mib| ["-m".into(), format!("{mib}M").into()]);
                args.extend(memory.into_iter().flatten());
                let workload = self.workload.as_ref();
                let processors = workload.map_or(1, Workload::processors);
                if processors > 1 {
                    args.extend(["-smp", &processors.to_string()].map(OsString::from));
                }
            }
        }
        let cpu = self.cpu.as_ref();
        let cpu = cpu.or_else(|| board.and_then(|board| board.cpu.as_ref()));
        if profile.is_none() {
            let sound = match version >= SILENT_SINCE {
                true => ["-audio", "none"],
                // Otherwise it looks for sound on the host, and tells at length what it does not find.
                false => ["-audiodev", "none,id=migcompat-sound"],
            };
            args.extend(sound.map(OsString::from));
        }
        if let Some(profile) = profile {
            args.extend(
                profile
                    .start_args(version, &self.arch, self.profile_cpu)
                    .map(OsString::from),
            );
            if profile.blank_rom.is_some() {
                args.push("-bios".into());
                args.push(folder.join(BLANK_ROM).into());
            }
        }
        let has_boot_code = machine::runs_boot_code(&endpoint.info.target)
            || board.is_some_and(|board| board.boot_code);
        if !has_boot_code && endpoint.has_pci() {
            args.extend(NO_BOOT_CODE.map(OsString::from));
        }
        if let Some(cpu) = cpu {
            // The last one counts: a profile may name another.
            args.extend(["-cpu".into(), cpu.into()]);
        }
        if let Some(workload) = &self.workload {
            args.extend(workload.attach_args(folder));
        }
        args.extend(of_devices.iter().map(OsString::from));
        if self.tls {
            args.extend(tls::args(folder).iter().map(OsString::from));
        }
        args.extend(endpoint.args.iter().map(OsString::from));
        args.extend(self.role_args.of(role).iter().map(OsString::from));
        if let (None, Some(console)) = (&self.workload, board.and_then(|b| b.console.as_ref())) {
            args.extend(["-chardev", &format!("null,id={console}")].map(OsString::from));
        }
        // Of a guest that never runs, memory that is shared would be taken from the host to be sent, though it is empty.
        if self.workload.is_some() || self.driving.is_some() {
            beside::share_memory(&mut args);
        }
        args
    }

    /// Returns the arguments of the user's own guest and of the devices, some of which have backends of the host while
    /// a guest works.
    pub(crate) fn plugged_in(&self) -> Vec<String> {
        let board = self.board.iter().flat_map(|board| &board.args);
        board.chain(&self.device_args).cloned().collect()
    }

    /// Tells whether the options of a first guest name firmware, in the place of the machine's own or beside it.
    pub(crate) fn names_firmware(&self, endpoint: &Endpoint) -> bool {
        let plugged_in = self.plugged_in();
        let mut all = plugged_in
            .iter()
            .chain(&endpoint.args)
            .chain(self.role_args.of(Role::First));
        all.any(|arg| is_of_firmware(arg))
    }

    /// Returns the build as it is started in this role.
    fn build(&self, endpoint: &Endpoint, role: Role) -> Build {
        match (role, self.fill) {
            (Role::Destination, Some(fill)) => endpoint.build.with_malloc_fill(fill),
            _ => endpoint.build.clone(),
        }
    }

    /// Returns the id of the chardev that the guest speaks on, and the options that connect it.
    pub(crate) fn console(&self) -> (String, Vec<OsString>) {
        match self.board.as_ref().and_then(|board| board.console.clone()) {
            // A port of the user's own guest refers to it.
            Some(console) => (console, Vec::new()),
            None => (CONSOLE.to_owned(), Workload::serial_args(CONSOLE)),
        }
    }

    /// Makes a folder for the processes of a launch, with its files.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub(crate) fn folder(&self) -> Result<TempFolder, NoFolder> {
        let folder = private_dir().map_err(NoFolder::None)?;
        self.prepare(folder.path()).map_err(NoFolder::NotPrepared)?;
        Ok(folder)
    }

    /// Writes the files that the arguments name.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn prepare(&self, folder: &Path) -> io::Result<()> {
        if let Some(workload) = &self.workload {
            workload.prepare(&self.plugged_in(), folder)?;
        }
        if self.tls {
            tls::prepare(folder)?;
        }
        let profile = machine::profile(&self.machine, Some(&self.arch));
        if let Some(size) = profile.and_then(|profile| profile.blank_rom) {
            File::create(folder.join(BLANK_ROM))?.set_len(size)?;
        }
        Ok(())
    }
}

/// Tells whether an option, or the value of one, names firmware: as a file (`-bios`), as flash or as a property of the machine.
fn is_of_firmware(arg: &str) -> bool {
    matches!(arg, "-bios" | "--bios") || arg.contains("pflash") || arg.contains("firmware=")
}

/// A folder for a launch that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoFolder {
    #[error("no folder to run in: {0}")]
    None(io::Error),
    #[error("cannot write the guest: {0}")]
    NotPrepared(io::Error),
}

/// The first QEMU in which a board with a sound chip of its own does not start with `-nodefaults` until it is told where the
/// sound goes, and which takes that for all chips in one option (audio_init() and audio_create_default_audiodevs(),
/// audio/audio.c).
const SILENT_SINCE: Version = Version::new(8, 2, 0);
/// Leaves out the boot code of PCI cards.
const NO_BOOT_CODE: [&str; 2] = ["-global", "pci-device.romfile="];

/// The chardev of a console that no port of the guest refers to.
const CONSOLE: &str = "migcompat-console";

const BLANK_ROM: &str = "blank.rom";

/// The role that a QEMU is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The guest begins here.
    First,
    /// It waits for a guest.
    Destination,
}

impl Role {
    /// Names a guest that nobody has sent in what programs beside it keep: one that keeps its own has not got what was sent.
    fn owner(self) -> &'static str {
        match self {
            Role::First => "a guest that begins here",
            Role::Destination => "a guest that is to come",
        }
    }
}

/// A started QEMU with its guest, stopped. Dropping it kills it.
#[derive(Debug)]
pub struct Vm {
    pub monitored: Monitored,
    /// The place in the case's route, for the names of sockets and files.
    pub index: usize,
    /// The case's folder.
    pub folder: PathBuf,
    pub version: Version,
    /// The accelerator of its guest.
    pub(crate) accelerator: Accelerator,
    /// Time for one command.
    pub command: Duration,
    /// The command line as one types it, for the logs.
    pub command_line: String,
    /// What it printed while it started: none of it is about a migration.
    printed: String,
    /// The file in which a destination traces its load.
    pub(crate) trace: Option<PathBuf>,
    /// Sections that it gets in the place of those that it refuses.
    pub(crate) section_override: Option<Arc<SectionOverride>>,
    /// The name of its machine type, where the other build calls it otherwise.
    machine: Option<String>,
    /// The driver of its devices, before it has driven them.
    pub(crate) seat: Option<Seat>,
    /// The programs that devices of its guest talk to.
    beside: Beside,
    console: Option<File>,
    workload: Option<Workload>,
}

impl Vm {
    /// Starts a build; its guest does not run yet.
    ///
    /// # Errors
    /// It does not start, or does not talk.
    pub async fn start(
        endpoint: &Endpoint,
        launch: &LaunchSpec,
        role: Role,
        folder: &Path,
        index: usize,
    ) -> Result<Vm, StartError> {
        let no_socket = |error: io::Error| StartError::quiet(&endpoint.build, error);
        let mut args = launch.args(endpoint, role, folder);
        args.push("-S".into());
        let mut trace = None;
        if role == Role::Destination {
            args.extend(["-incoming".into(), "defer".into()]);
            trace = load_trace::file(folder, index);
            args.extend(trace.iter().flat_map(|path| load_trace::args(path)));
        }
        let mut console = None;
        if launch.workload.is_some() {
            let pipe = folder.join(format!("c{index}"));
            // A pipe, not a socket: a socket is full after some hundred writes of one byte, and a byte
            // that a serial port could not send when its guest is stopped is sent by both builds.
            // Ours from the start, so that no byte is without a reader.
            console = Some(console_pipe(&pipe).map_err(no_socket)?);
            args.push("-chardev".into());
            let path = option_value(&pipe.to_string_lossy());
            let (id, port) = launch.console();
            args.push(format!("file,id={id},path={path}").into());
            args.extend(port);
        }
        let seat = match (launch.driving, role) {
            (Some(driving), Role::First) => {
                Some(Seat::in_folder(driving, folder, index).map_err(no_socket)?)
            }
            _ => None,
        };
        args.extend(seat.iter().flat_map(Seat::args));
        let beside = Beside::listen(&mut args, folder, format!("p{index}"), role.owner());
        let beside = beside.map_err(no_socket)?;
        let build = launch.build(endpoint, role).writing_into(folder);
        let words = std::iter::once(build.shell_prefix()).chain(quoted(&args));
        let command_line = joined(words, " ");
        let monitored = Monitored::start(&build, &args).await?;
        Ok(Vm {
            printed: monitored.process.stderr(),
            monitored,
            index,
            folder: folder.to_owned(),
            version: endpoint.info.version,
            accelerator: endpoint.accelerator,
            command: endpoint.build.deadlines().command,
            command_line,
            trace,
            section_override: launch.section_override.clone(),
            machine: endpoint.machine.clone(),
            seat,
            beside,
            console,
            workload: launch.workload.clone(),
        })
    }

    /// Returns what gives streams to it the name of its machine type, if they come from one of another name.
    pub(crate) fn renaming(&self) -> Option<Renaming> {
        self.machine.as_deref().map(Renaming::to)
    }

    /// Returns the first line since it has started that it should not have printed, if its migration completed.
    pub(crate) fn complaint(&self) -> Option<String> {
        let printed = self.monitored.process.stderr();
        let is_new = |line: &&str| self.printed.lines().all(|known| known != *line);
        output::complaints_of_completed(&printed)
            .find(is_new)
            .map(str::to_owned)
    }

    /// Asks for its buses and the devices on them.
    ///
    /// # Errors
    /// The build does not say it.
    pub(crate) async fn device_tree(&self) -> Result<DeviceTree, QmpError> {
        let printed = self.execute(DeviceTree::question()).await?;
        Ok(DeviceTree::parse(&printed))
    }

    /// Asks how its devices are set up.
    ///
    /// # Errors
    /// The build ends, or does not answer in time.
    pub(crate) async fn ask(&self, asked: Asked) -> Result<Snapshot, QmpError> {
        let taken = Snapshot::of(&self.monitored.session, self.command, asked).await?;
        Ok(taken.without_folder(&self.folder))
    }

    /// Asks its virtio devices for the features that they offer. It may have ended afterwards.
    pub(crate) async fn ask_offers(&self, snapshot: &mut Snapshot) {
        let session = &self.monitored.session;
        snapshot.ask_offers(session, self.command).await;
    }

    /// Returns the trace of a destination's load so far; nothing of any other build.
    pub(crate) fn read_trace(&self) -> String {
        let read = |path: &PathBuf| std::fs::read(path).ok();
        let bytes = self.trace.as_ref().and_then(read).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Removes its sockets, pipes and files, which a long loop would accumulate.
    pub(crate) fn remove_files(&self) {
        self.beside.remove_sockets();
        for kind in ["c", "l", "m", "q", "r", "t"] {
            // It may never have had one.
            let _absent = std::fs::remove_file(self.folder.join(format!("{kind}{}", self.index)));
        }
    }

    /// Returns the guest that works in it.
    pub(crate) fn workload(&self) -> Option<&Workload> {
        self.workload.as_ref()
    }

    /// Tells whether a guest works in it while it is sent: a Linux guest is stopped first, so that all that is
    /// sent is what it has.
    pub(crate) fn works_while_sent(&self) -> bool {
        matches!(self.workload, Some(Workload::Tiny(_)))
    }

    /// Has the build execute a command, in the time that it has for one.
    ///
    /// # Errors
    /// It refuses, its session broke, or it did not answer in time.
    pub(crate) async fn execute<C>(&self, command: C) -> Result<C::Ok, QmpError>
    where
        C: QmpCommand<Ok: Send> + 'static,
    {
        self.monitored.session.execute(command, self.command).await
    }

    /// Returns how its process ended, if it does so in time; unlike a plain wait this kills no process.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<Ended> {
        let exit = self.monitored.process.wait(Duration::MAX);
        match tokio::time::timeout(within, exit).await {
            Ok(Ok(status)) => Some(Ended(status)),
            _ => None,
        }
    }

    /// Reads everything that the guest has printed by now into the log. Returns the first of it that an intact one does not
    /// print.
    pub(crate) fn read_console(&mut self, log: &mut SerialLog) -> Option<SerialEvent> {
        let mut bad = None;
        let console = self.console.as_mut()?;
        let mut chunk = [0; 4096];
        loop {
            match console.read(&mut chunk) {
                Ok(0) => return bad,
                Ok(read) => {
                    let events = log.feed(&chunk[..read]);
                    bad = bad.or(events.into_iter().find(|event| !event.is_good()));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing more now, or nothing more ever: the process shows which.
                Err(_) => return bad,
            }
        }
    }

    /// Waits until the guest has printed a heartbeat.
    ///
    /// # Errors
    /// The guest prints what an intact one does not, or nothing until the deadline.
    pub async fn wait_for_heartbeat(
        &mut self,
        log: &mut SerialLog,
        deadline: Duration,
    ) -> Result<u32, HeartbeatError> {
        self.wait_for_heartbeats(log, None, 1, deadline).await
    }

    /// Waits until the guest has printed so many heartbeats after one.
    ///
    /// # Errors
    /// The guest prints what an intact one does not, or too little until the deadline.
    pub(crate) async fn wait_for_heartbeats(
        &mut self,
        log: &mut SerialLog,
        after: Option<u32>,
        count: u32,
        deadline: Duration,
    ) -> Result<u32, HeartbeatError> {
        let due = after.unwrap_or(0).wrapping_add(count);
        // The counter wraps.
        let is_due = |heartbeat: u32| heartbeat.wrapping_sub(due) < 1 << 31;
        let reached = |log: &SerialLog| log.last_heartbeat().is_some_and(is_due);
        self.wait_until(log, reached, deadline).await?;
        Ok(log.last_heartbeat().unwrap_or(due))
    }

    /// Waits until what the guest has printed is enough.
    ///
    /// # Errors
    /// The guest prints what an intact one does not, or too little until the deadline.
    pub(crate) async fn wait_until(
        &mut self,
        log: &mut SerialLog,
        reached: impl Fn(&SerialLog) -> bool,
        deadline: Duration,
    ) -> Result<(), HeartbeatError> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(bad) = self.read_console(log) {
                return Err(HeartbeatError::Bad(bad));
            }
            if reached(log) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(HeartbeatError::Deadline(deadline));
            }
            if self.ended(CONSOLE_PAUSE).await.is_some() {
                return Err(HeartbeatError::Ended);
            }
        }
    }
}

/// The reason why a guest's next heartbeat did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    #[error("{0}")]
    Bad(SerialEvent),
    #[error("the guest printed nothing for {} s", .0.as_secs_f32())]
    Deadline(Duration),
    #[error("the build ended while its guest ran")]
    Ended,
}

/// A new pipe, open for reading without waiting for a writer.
fn console_pipe(path: &Path) -> io::Result<File> {
    use nix::fcntl::{FcntlArg, fcntl};
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?;
    let pipe = File::options()
        .read(true)
        // So that it never ends, and a build can open it for writing alone.
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    // More heartbeats than a guest prints while the console is not read; the usual size does too,
    // mostly.
    let _smaller = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 18));
    Ok(pipe)
}

/// Returns arguments as one types them.
pub(crate) fn quoted(args: &[OsString]) -> impl Iterator<Item = String> {
    args.iter().map(|arg| quote(&arg.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_named_in_several_ways() {
        for arg in [
            "-bios",
            "--bios",
            "if=pflash,format=raw,file=/usr/share/OVMF/OVMF_CODE.fd",
            "pc-q35-7.2,pflash0=code",
            "firmware=/usr/share/seabios/bios.bin",
        ] {
            assert!(is_of_firmware(arg), "{arg}");
        }
        for arg in [
            "-drive",
            "if=none,id=bios",
            "virtio-blk-pci,drive=bios",
            "-kernel",
        ] {
            assert!(!is_of_firmware(arg), "{arg}");
        }
    }
}
