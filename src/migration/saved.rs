//! Linux guests that have booted, saved to be loaded as often as needed: a kernel takes seconds to boot under
//! emulation.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Vm};
use crate::migration::leg::save::load_from;
use crate::migration::linux_boot::{NotBooted, STREAM, SavedGuest, boot};
use crate::migration::timeouts::Timeouts;
use crate::workload::linux::{LinuxGuest, copy_disks};

/// The Linux guests of a run that have booted, by the builds and what they were started with.
#[derive(Debug, Clone, Default)]
pub struct SavedGuests(Arc<Mutex<HashMap<Key, Arc<Booted>>>>);

/// The label of a build, the machine and its CPU, the devices, and the options of that build alone.
type Key = (String, String, Option<String>, Vec<String>, Vec<String>);

type Booted = OnceCell<Result<Arc<SavedGuest>, NotBooted>>;

impl SavedGuests {
    /// Loads the guest of a launch into a build that was started to take it, in `vm`; it is booted and saved
    /// where it was not yet. It is stopped then, and its disks are as they were.
    ///
    /// # Errors
    /// It does not boot, or the build does not take its own stream as it is.
    pub(crate) async fn load(
        &self,
        vm: &Vm,
        guest: &LinuxGuest,
        endpoint: &Endpoint,
        launch: &LaunchSpec,
        timeouts: &Timeouts,
    ) -> Result<Arc<SavedGuest>, LoadError> {
        let booted = self.booted(endpoint, launch);
        // One whose build was killed may boot the next time.
        let boot = async || match boot(endpoint, launch, guest, timeouts).await {
            Err(error) if error.why.is_killed_by_others() => Err(error),
            booted => Ok(booted),
        };
        let saved = booted.get_or_try_init(boot).await;
        let saved = saved.map_err(LoadError::DoesNotBoot)?.as_ref();
        let saved = saved.map_err(|error| LoadError::DoesNotBoot(error.clone()))?;
        let refused = |why: &dyn fmt::Display| LoadError::Unfit {
            saved: Arc::clone(saved),
            why: why.to_string(),
        };
        if saved.is_damaged() {
            return Err(refused(&"a load damages it"));
        }
        copy_disks(&launch.plugged_in(), saved.folder.path(), &vm.folder)
            .map_err(|error| refused(&error))?;
        let path = saved.folder.path().join(STREAM);
        let loaded = load_from(vm, &path, timeouts.leg).await;
        loaded.map_err(|why| refused(&why))?;
        Ok(Arc::clone(saved))
    }

    /// Removes the guest of a launch, which nobody loads any more.
    pub(crate) fn forget(&self, endpoint: &Endpoint, launch: &LaunchSpec) {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.remove(&key(endpoint, launch));
    }

    fn booted(&self, endpoint: &Endpoint, launch: &LaunchSpec) -> Arc<Booted> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(guests.entry(key(endpoint, launch)).or_default())
    }
}

fn key(endpoint: &Endpoint, launch: &LaunchSpec) -> Key {
    (
        endpoint.build.label().to_owned(),
        endpoint.machine(&launch.machine).to_owned(),
        launch.cpu.clone(),
        launch.device_args.clone(),
        endpoint.args.clone(),
    )
}

/// A Linux guest cannot be had in the first build.
#[derive(Debug, Clone)]
pub(crate) enum LoadError {
    DoesNotBoot(NotBooted),
    /// The build does not load the guest that it saved itself, or damages it.
    Unfit {
        saved: Arc<SavedGuest>,
        why: String,
    },
}
