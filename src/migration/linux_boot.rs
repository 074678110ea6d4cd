//! Booting a Linux guest, and saving it once it has used every device.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::cleanup::TempFolder;
use crate::migration::boot::{BootError, IDLE_PART};
use crate::migration::endpoint::commands::{Balloon, Cont, QueryStatus, Stop};
use crate::migration::endpoint::root_devices::{PciFunctions, RootDevice};
use crate::migration::endpoint::vm::{Endpoint, HeartbeatError, LaunchSpec, Role, Vm};
use crate::migration::leg::save::{NewMachine, save_to, text};
use crate::migration::leg::set_up::set_up;
use crate::migration::timeouts::Timeouts;
use crate::model::{VirtioKind, feature_name};
use crate::report::{LegSide, LinuxReport, VirtioReport};
use crate::stream;
use crate::stream::{Options, Stream};
use crate::workload::SerialLog;
use crate::workload::linux::{Bus, Image, Inventory, LinuxGuest, PciFunction};

/// The name of the file that has the stream of a saved guest.
pub(super) const STREAM: &str = "saved.stream";
/// Rounds before a guest is saved: in the second one every disk is read where the first wrote.
const ROUNDS: u32 = 2;
/// Part of the memory that a balloon takes away before the guest is saved, as its inverse.
const BALLOONED: u32 = 8;
/// Boots of one guest: each shows what the next one has a driver for, down to a disk on a bus on a bus.
const BOOTS: u32 = 4;
/// The processor time that a guest gets to boot and to use its devices, however long the host takes to give it that.
/// It needs some seconds.
const WORK: Duration = Duration::from_secs(180);
/// The same until there is anything on its console: firmware may wait for ever for what a device does not do.
const SILENT_WORK: Duration = Duration::from_secs(45);
/// The longest time in which a guest with nothing on its console may do next to nothing: nothing that it would wait for
/// takes long.
const SILENT_IDLE: Duration = Duration::from_secs(30);
/// The same once its program runs: a driver waits half a minute for each command that a device does not answer, and the
/// program up to a minute for a packet.
const IDLE: Duration = Duration::from_secs(90);
/// The state of a machine whose guest runs, as QEMU names it.
const RUNNING: &str = "running";
/// Time between two looks at what the guest has used.
const LOOK: Duration = Duration::from_secs(1);

/// A guest that was saved while its drivers were at work.
#[derive(Debug)]
pub(crate) struct SavedGuest {
    /// Its stream and its disks.
    pub folder: TempFolder,
    /// The console as far as it went.
    pub log: SerialLog,
    /// The guest's report on itself.
    pub report: LinuxReport,
    /// What it was saved with, as far as that can be read.
    stream: OnceLock<Option<Stream>>,
    /// A load changes it, in the build that saved it.
    damaged: AtomicBool,
}

impl SavedGuest {
    /// Returns what it was saved with. Nothing where it cannot be read.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        let read = || {
            let file = File::open(self.folder.path().join(STREAM)).ok()?;
            let reading = stream::read(file, Options::default(), ());
            reading.error.is_none().then_some(reading.stream)
        };
        self.stream.get_or_init(read).as_ref()
    }

    /// Notes that the build that saved it damages it when it loads it.
    pub(crate) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }
}

/// Boots a guest and saves it once it has used every device. Where it finds that it lacks a driver that the kernel has, it
/// boots once more.
///
/// # Errors
/// It does not boot, finds something wrong or cannot be saved.
pub(super) async fn boot(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    guest: &LinuxGuest,
    timeouts: &Timeouts,
) -> Result<Arc<SavedGuest>, NotBooted> {
    let functions = match guest.functions(&launch.device_args) {
        Some(known) => known,
        None => {
            let found = pci_functions(endpoint, launch).await?;
            let all = [found.of_machine, found.of_set].concat();
            let all: Arc<[PciFunction]> = all.into();
            guest.learn_functions(&launch.device_args, Arc::clone(&all));
            all
        }
    };
    let mut image = image_for(endpoint, launch);
    let mut has_given_up = false;
    let mut left = BOOTS;
    while left > 0 {
        let begun = Instant::now();
        let booted = boot_once(
            endpoint,
            launch,
            guest,
            &functions,
            image,
            timeouts,
            left == 1,
        )
        .await;
        tracing::debug!(
            build = endpoint.build.label(),
            seconds = begun.elapsed().as_secs_f32(),
            result = ?booted.as_ref().map(Option::is_some),
            "the Linux guest booted"
        );
        match booted {
            Ok(Some(saved)) => return Ok(saved),
            Ok(None) => left -= 1,
            // Emulated processors now and then wait for each other for ever before the kernel says anything, find a
            // map of memory that another one has replaced (`iotlb_to_section` in system/physmem.c), or fault on memory
            // that is mapped, which the kernel does not survive. The guest has moved nowhere yet.
            Err(error) if error.may_be_chance && !has_given_up => {
                has_given_up = true;
                // Whatever it was, any machine starts this one.
                image = Image::Packed;
            }
            Err(error) => return Err(error),
        }
    }
    Err("it asks for one driver after the other".to_owned().into())
}

/// Asks which PCI functions a machine has, before anything runs in it.
///
/// # Errors
/// The build does not start; in words. A machine may have no PCI.
pub(crate) async fn pci_functions(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
) -> Result<PciFunctions, String> {
    let launch = LaunchSpec {
        workload: None,
        ..launch.clone()
    };
    let machine = NewMachine::start(endpoint, &launch).await?;
    let found = machine.vm.pci_functions().await.unwrap_or_default();
    machine.end().await;
    Ok(found)
}

/// A guest that did not boot.
#[derive(Debug, Clone)]
pub(crate) struct NotBooted {
    pub why: BootError,
    /// The end of what the build printed.
    pub stderr: String,
    /// The next boot may well not find it: QEMU stopped doing anything or ended, or the guest itself did.
    may_be_chance: bool,
}

impl From<String> for NotBooted {
    fn from(why: String) -> NotBooted {
        NotBooted {
            why: BootError::Failed(why),
            stderr: String::new(),
            may_be_chance: false,
        }
    }
}

impl NotBooted {
    fn by_chance(why: String) -> NotBooted {
        NotBooted {
            may_be_chance: true,
            ..NotBooted::from(why)
        }
    }

    /// Adds what the build that it was in has to say, and how that ended if it did.
    async fn in_build(self, vm: &mut Vm) -> NotBooted {
        let why = self.why.or_end_of(vm).await;
        NotBooted {
            may_be_chance: self.may_be_chance || matches!(why, BootError::Ended(_)),
            why,
            stderr: vm.monitored.process.stderr(),
        }
    }
}

/// Boots a guest. `None` if it lacks a driver that the next boot has.
async fn boot_once(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    guest: &LinuxGuest,
    functions: &[PciFunction],
    image: Image,
    timeouts: &Timeouts,
    is_last: bool,
) -> Result<Option<Arc<SavedGuest>>, NotBooted> {
    let folder = launch.folder().map_err(text)?;
    let started = start(endpoint, launch, guest, functions, image, folder.path());
    let (mut vm, mut log) = started.await?;
    let saved = async {
        if !boot_in(&mut vm, &mut log, guest, functions, is_last).await? {
            return Ok(false);
        }
        save(&mut vm, &mut log, &folder.path().join(STREAM), timeouts.leg).await?;
        Ok::<_, NotBooted>(true)
    }
    .await;
    let placed = match saved {
        // A machine may have no such bus.
        Ok(true) => vm.root_devices().await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let saved = match saved {
        Err(error) => Err(error.in_build(&mut vm).await),
        saved => saved,
    };
    // It has nothing to put in order.
    vm.monitored.process.kill().await;
    match saved {
        Ok(true) => {
            let report = report(guest.kernel(), log.inventory(), &placed);
            Ok(Some(Arc::new(SavedGuest {
                folder,
                log,
                report,
                stream: OnceLock::new(),
                damaged: AtomicBool::new(false),
            })))
        }
        Ok(false) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Returns the form of the kernel that a machine starts soonest: the build's own firmware starts it unpacked, another one
/// may not.
fn image_for(endpoint: &Endpoint, launch: &LaunchSpec) -> Image {
    match launch.names_firmware(endpoint) {
        true => Image::Packed,
        false => Image::Unpacked,
    }
}

/// Starts a build with a guest that is to boot.
async fn start(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    guest: &LinuxGuest,
    functions: &[PciFunction],
    image: Image,
    folder: &Path,
) -> Result<(Vm, SerialLog), String> {
    guest.prepare_boot(functions, image, folder).map_err(text)?;
    let started = Vm::start(endpoint, launch, Role::First, folder, 0).await;
    let vm = started.map_err(text)?;
    Ok((vm, SerialLog::of_linux()))
}

/// Boots a guest in a started machine, until it has used every device. Returns whether it stayed: not if it lacks a
/// driver that the next boot has.
async fn boot_in(
    vm: &mut Vm,
    log: &mut SerialLog,
    guest: &LinuxGuest,
    functions: &[PciFunction],
    is_last: bool,
) -> Result<bool, NotBooted> {
    vm.execute(Cont {}).await.map_err(text)?;
    let described = |log: &SerialLog| log.inventory().is_some_and(|at| at.uses.is_some());
    wait_for(vm, log, described).await?;
    let asked = log.inventory().map(|found| &found.asked[..]);
    if !is_last && guest.learn(functions, asked.unwrap_or_default()) {
        return Ok(false);
    }
    work(vm, log, guest).await?;
    Ok(true)
}

/// Boots a guest, which has booted before, in the folder of a run, for a build that does not load what it saved as it was.
/// It is stopped then.
///
/// # Errors
/// It does not boot, or finds something wrong.
pub(super) async fn boot_to_be_sent(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    guest: &LinuxGuest,
    folder: &Path,
) -> Result<(Vm, SerialLog), NotBooted> {
    let functions = guest.functions(&launch.device_args).unwrap_or_default();
    let image = image_for(endpoint, launch);
    let started = start(endpoint, launch, guest, &functions, image, folder);
    let (mut vm, mut log) = started.await?;
    let booted = boot_in(&mut vm, &mut log, guest, &functions, true).await;
    let stopped = match booted {
        Ok(_) => vm
            .execute(Stop {})
            .await
            .map_err(|error| text(error).into()),
        Err(why) => Err(why),
    };
    match stopped {
        Ok(_) => Ok((vm, log)),
        Err(error) => Err(error.in_build(&mut vm).await),
    }
}

/// Says what a guest found, where its devices with an id are in these places.
fn report(kernel: &str, found: Option<&Inventory>, placed: &[RootDevice]) -> LinuxReport {
    let Some(found) = found else {
        return LinuxReport::default();
    };
    let virtio = found.virtio.iter().map(|device| {
        let kind = VirtioKind::numbered(device.kind);
        VirtioReport {
            name: device.name.clone(),
            kind: kind.map_or_else(|| device.kind.to_string(), |kind| kind.name.to_owned()),
            driver: device.driver.clone(),
            features: device
                .features
                .iter()
                .map(|&bit| feature_name(kind, bit))
                .collect(),
        }
    });
    let undriven = found.attached.iter().filter(|at| at.driver.is_none());
    let undriven = undriven.filter_map(|at| match at.bus {
        // The machine's own devices have no id.
        Bus::Pci => {
            let device = placed.iter().find(|device| device.address == at.address)?;
            Some(device.id.clone())
        }
        Bus::Usb => Some(format!(
            "usb {:04x}:{:04x} at {}",
            at.id.0, at.id.1, at.address
        )),
    });
    let lacking = found.virtio.iter().filter(|device| device.driver.is_none());
    LinuxReport {
        kernel: kernel.to_owned(),
        virtio: virtio.collect(),
        uses: found.uses.clone().unwrap_or_default(),
        undriven: undriven
            .chain(lacking.map(|device| device.name.clone()))
            .collect(),
        logged: found.logged.clone(),
    }
}

/// Has the guest work until it has used every device, and its memory is no longer what it booted with.
async fn work(vm: &mut Vm, log: &mut SerialLog, guest: &LinuxGuest) -> Result<(), NotBooted> {
    wait_for(vm, log, |log| log.last_heartbeat().is_some()).await?;
    let memory = u64::from(guest.memory_mib());
    let command = Balloon {
        value: (memory - memory / u64::from(BALLOONED)) << 20,
    };
    // A machine may have no balloon.
    let _without = vm.execute(command).await;
    let last = log.last_heartbeat().unwrap_or(0) + ROUNDS;
    wait_for(vm, log, |log| log.last_heartbeat() >= Some(last)).await
}

/// Waits until a guest that boots has printed what is waited for. It may use as much of the processors as it needs, but
/// has to use them.
async fn wait_for(
    vm: &mut Vm,
    log: &mut SerialLog,
    reached: impl Fn(&SerialLog) -> bool,
) -> Result<(), NotBooted> {
    let mut since = Instant::now();
    let mut used_before = vm.monitored.cpu_time();
    loop {
        match vm.wait_until(log, &reached, LOOK).await {
            Err(HeartbeatError::Deadline(_)) => {}
            Err(error) => return Err(NotBooted::by_chance(text(error))),
            Ok(()) => return Ok(()),
        }
        // A panic ends in a reset, where the machine stops.
        if let Ok(reply) = vm.execute(QueryStatus {}).await
            && reply.status != RUNNING
        {
            return Err(NotBooted::by_chance(format!(
                "its machine is in the state {:?}; {}",
                reply.status,
                log.last_lines()
            )));
        }
        let used = vm.monitored.cpu_time();
        let worked = used.unwrap_or(WORK);
        let most = if log.is_silent() { SILENT_WORK } else { WORK };
        if worked >= most {
            return Err(NotBooted::from(format!(
                "after {} s of the processors it has not got so far; {}",
                worked.as_secs(),
                log.last_lines()
            )));
        }
        let idle = if log.is_silent() { SILENT_IDLE } else { IDLE };
        if since.elapsed() >= idle {
            let lately = worked.saturating_sub(used_before.unwrap_or_default());
            if lately < idle / IDLE_PART {
                return Err(NotBooted::by_chance(format!(
                    "it has done nothing for {} s; {}",
                    since.elapsed().as_secs(),
                    log.last_lines()
                )));
            }
            since = Instant::now();
            used_before = used;
        }
    }
}

/// Stops a guest and saves it to a file.
async fn save(
    vm: &mut Vm,
    log: &mut SerialLog,
    path: &Path,
    limit: Duration,
) -> Result<(), String> {
    vm.execute(Stop {}).await.map_err(text)?;
    if let Some(bad) = vm.read_console(log) {
        return Err(text(bad));
    }
    set_up(vm, LegSide::Source, &[]).await.map_err(text)?;
    save_to(vm, path, limit).await
}
