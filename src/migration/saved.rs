//! Linux guests that have booted, saved to be loaded as often as needed: a kernel takes seconds to boot under
//! emulation.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::cleanup::TempFolder;
use crate::migration::endpoint::commands::{Balloon, MigrateIncoming};
use crate::migration::endpoint::root_devices::RootDevice;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role, Vm};
use crate::migration::leg::save::{save_to, until_completed};
use crate::migration::leg::set_up::set_up;
use crate::migration::timeouts::Timeouts;
use crate::model::{VirtioKind, feature_name};
use crate::qemu::{private_dir, quote};
use crate::report::{LegSide, LinuxReport, VirtioReport};
use crate::workload::linux::{Bus, Inventory, LinuxGuest};
use crate::workload::{SerialLog, Workload};

/// The name of the file that has the stream of a saved guest.
const STREAM: &str = "saved.stream";
/// Rounds before a guest is saved: in the second one every disk is read where the first wrote.
const ROUNDS: u32 = 2;
/// The longest time from the start of the machine to the end of the guest's first rounds. Seconds do on an idle host;
/// one with much to do takes ten times as long.
const BOOT: Duration = Duration::from_secs(10 * 60);
/// Part of the memory that a balloon takes away before the guest is saved, as its inverse.
const BALLOONED: u32 = 8;

/// The Linux guests of a run that have booted, by the builds and what they were started with.
#[derive(Debug, Clone, Default)]
pub struct SavedGuests(Arc<Mutex<HashMap<Key, Arc<Booted>>>>);

/// The label of a build, the machine and its CPU, the devices, and the options of that build alone.
type Key = (String, String, Option<String>, Vec<String>, Vec<String>);

type Booted = OnceCell<Result<Arc<SavedGuest>, String>>;

/// A guest that was saved while its drivers were at work.
#[derive(Debug)]
pub(crate) struct SavedGuest {
    /// Its stream and its disks.
    folder: TempFolder,
    /// The console as far as it went.
    pub log: SerialLog,
    /// What the guest said of itself.
    pub report: LinuxReport,
}

impl SavedGuests {
    /// Loads the guest of a launch into a build that was started to take it, in `vm`; it is booted and saved
    /// where it was not yet. It is stopped then, and its disks are as they were.
    ///
    /// # Errors
    /// It does not boot, or the build does not take its own stream; in words.
    pub(crate) async fn load(
        &self,
        vm: &Vm,
        guest: &LinuxGuest,
        endpoint: &Endpoint,
        launch: &LaunchSpec,
        timeouts: &Timeouts,
    ) -> Result<Arc<SavedGuest>, LoadError> {
        let booted = self.booted(endpoint, launch);
        let boot = || async {
            let booting = boot(endpoint, launch, guest, timeouts);
            booting.await
        };
        let saved = booted.get_or_init(boot).await.as_ref();
        let saved = saved.map_err(|why| LoadError::DoesNotBoot(why.clone()))?;
        let refused = |error: &dyn fmt::Display| LoadError::Refused(error.to_string());
        guest
            .copy_disks(&launch.device_args, saved.folder.path(), &vm.folder)
            .map_err(|error| refused(&error))?;
        let path = saved.folder.path().join(STREAM);
        let command = MigrateIncoming {
            uri: format!("exec:cat {}", quote(&path.to_string_lossy())),
            exit_on_error: None,
        };
        let session = &vm.monitored.session;
        let begun = session.execute(command, vm.command).await;
        begun.map_err(|error| refused(&error))?;
        until_completed(vm, timeouts.leg)
            .await
            .map_err(LoadError::Refused)?;
        Ok(Arc::clone(saved))
    }

    fn booted(&self, endpoint: &Endpoint, launch: &LaunchSpec) -> Arc<Booted> {
        let key = (
            endpoint.build.label().to_owned(),
            launch.machine.clone(),
            launch.cpu.clone(),
            launch.device_args.clone(),
            endpoint.args.clone(),
        );
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(guests.entry(key).or_default())
    }
}

/// A Linux guest cannot be had in the first build.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{0}")]
    DoesNotBoot(String),
    /// The build does not load the guest that it saved itself.
    #[error("{0}")]
    Refused(String),
}

/// Boots a guest and saves it once it has used every device.
async fn boot(
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    guest: &LinuxGuest,
    timeouts: &Timeouts,
) -> Result<Arc<SavedGuest>, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let folder = private_dir().map_err(|error| text(&error))?;
    launch
        .prepare(folder.path())
        .map_err(|error| text(&error))?;
    let mut vm = Vm::start(endpoint, launch, Role::First, folder.path(), 0)
        .await
        .map_err(|error| text(&error))?;
    let mut log = Workload::Linux(guest.clone()).log();
    let begun = Instant::now();
    let worked = work(&mut vm, &mut log, guest).await;
    tracing::debug!(
        build = endpoint.build.label(),
        seconds = begun.elapsed().as_secs_f32(),
        ?worked,
        "the Linux guest booted"
    );
    let saved = match worked {
        Ok(()) => save(&mut vm, &mut log, &folder.path().join(STREAM), timeouts.leg).await,
        Err(why) => Err(format!("{why} {}", vm.monitored.process.stderr())),
    };
    let placed = vm.root_devices().await;
    // It has nothing to put in order.
    vm.monitored.process.kill().await;
    saved?;
    // A machine may have no such bus.
    let placed = placed.unwrap_or_default();
    let report = report(guest.kernel(), log.inventory(), &placed);
    Ok(Arc::new(SavedGuest {
        folder,
        log,
        report,
    }))
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
        undriven: undriven
            .chain(lacking.map(|device| device.name.clone()))
            .collect(),
        logged: found.logged.clone(),
    }
}

/// Has the guest work until it has used every device, and its memory is no longer what it booted with.
async fn work(vm: &mut Vm, log: &mut SerialLog, guest: &LinuxGuest) -> Result<(), String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    vm.cont().await.map_err(|error| text(&error))?;
    let booted = vm.wait_for_heartbeats(log, None, 1, BOOT).await;
    let first = booted.map_err(|error| text(&error))?;
    let memory = u64::from(guest.memory_mib());
    let command = Balloon {
        value: (memory - memory / u64::from(BALLOONED)) << 20,
    };
    // A machine may have no balloon.
    let _without = vm.monitored.session.execute(command, vm.command).await;
    let worked = vm.wait_for_heartbeats(log, Some(first), ROUNDS, BOOT).await;
    worked.map(drop).map_err(|error| text(&error))
}

/// Stops a guest and saves it to a file.
async fn save(
    vm: &mut Vm,
    log: &mut SerialLog,
    path: &Path,
    limit: Duration,
) -> Result<(), String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    vm.stop().await.map_err(|error| text(&error))?;
    let events = vm.read_console(log);
    if let Some(bad) = events.into_iter().find(|event| !event.is_good()) {
        return Err(text(&bad));
    }
    set_up(vm, LegSide::Source, &[])
        .await
        .map_err(|error| text(&error))?;
    save_to(vm, path, limit).await
}
