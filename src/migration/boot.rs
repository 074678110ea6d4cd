//! The time that a guest gets until its first heartbeat: in proportion to what this host needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::migration::endpoint::commands::{Cont, QueryStatus};
use crate::migration::endpoint::vm::{
    Endpoint, HeartbeatError, LaunchSpec, Role, TIME_TO_EXPLAIN, Vm,
};
use crate::migration::timeouts::Timeouts;
use crate::qemu::Ended;
use crate::workload::SerialLog;

/// The time within which most guests work, so that nothing has to be measured.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The least that a guest gets: firmware waits for some devices by the clock, however fast the host is.
const LEAST: Duration = Duration::from_secs(5);
/// Firmware sets up every device, each of which may have a ROM: a guest gets so many times what the
/// machine needs without any.
const FACTOR: u32 = 10;

/// The part of a time in which a machine does next to nothing, as its inverse: one that waits works on timers alone.
pub(crate) const IDLE_PART: u32 = 50;
/// Pause between two looks whether a machine works.
const LOOK: Duration = Duration::from_secs(1);

/// The time that the machine of a run needs until its guest works, without any device, by the labels of the
/// builds. It is measured where a guest takes long, and once.
#[derive(Debug, Clone, Default)]
pub struct PlainBoots(Arc<Mutex<HashMap<String, PlainBoot>>>);

/// The time until the guest of a machine without devices works, if it does.
type PlainBoot = Option<Duration>;

/// A guest did not start to work.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BootError {
    #[error("{0}")]
    Failed(String),
    #[error("its build {0}")]
    Ended(Ended),
    #[error("the guest said nothing for {:.1} s after its start; without any device it speaks {}", .waited.as_secs_f32(), plainly(.plain))]
    Silent {
        waited: Duration,
        /// `None` where the guest does not work without devices either, or that is not known.
        plain: Option<Duration>,
    },
}

impl BootError {
    /// Tells whether the build was killed by somebody else, so that it may well boot its guest the next time.
    pub(crate) fn is_killed_by_others(&self) -> bool {
        matches!(self, BootError::Ended(how) if how.is_by_others())
    }

    /// Replaces what the guest did not do by the end of its build, if that has ended.
    pub(crate) async fn or_end_of(self, vm: &mut Vm) -> BootError {
        let how = vm.ended(TIME_TO_EXPLAIN).await;
        how.map_or(self, BootError::Ended)
    }
}

fn plainly(plain: &Option<Duration>) -> String {
    match plain {
        Some(plain) => format!("after {:.1} s", plain.as_secs_f32()),
        None => "no sooner".to_owned(),
    }
}

impl PlainBoots {
    /// Measures how long the machine of a launch needs in a build, unless that is known.
    async fn measure(
        &self,
        endpoint: &Endpoint,
        launch: &LaunchSpec,
        limit: Duration,
    ) -> PlainBoot {
        let label = endpoint.build.label();
        let boots = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = boots().get(label) {
            return known;
        }
        let plain = plain_boot(endpoint, launch, limit).await;
        boots().insert(label.to_owned(), plain);
        plain
    }
}

/// Starts the guest of a machine and waits until it works, for a time in proportion to what the machine
/// needs without devices, and at most as long as a migration may take.
///
/// # Errors
/// The build does not start its guest or answers no more, or the guest does not work, or not in time.
pub(crate) async fn boot(
    vm: &mut Vm,
    log: &mut SerialLog,
    endpoint: &Endpoint,
    launch: &LaunchSpec,
    timeouts: &Timeouts,
    plain_boots: &PlainBoots,
) -> Result<(), BootError> {
    let limit = timeouts.boot.min(timeouts.leg);
    let measure = async |limit| plain_boots.measure(endpoint, launch, limit).await;
    let booted = first_heartbeat(vm, log, limit, measure).await;
    // A build whose monitor broke meanwhile does that here, whether or not its guest was quicker, and not in the
    // migration, which has not begun.
    let booted = match booted {
        Ok(()) | Err(BootError::Silent { .. }) => {
            let answer = vm.execute(QueryStatus {}).await;
            answer.map_err(failed).and(booted)
        }
        failed => failed,
    };
    match booted {
        Err(error @ BootError::Failed(_)) => Err(error.or_end_of(vm).await),
        booted => booted,
    }
}

fn failed(error: impl std::fmt::Display) -> BootError {
    BootError::Failed(error.to_string())
}

/// Starts the guest and waits for its first heartbeat. `measure` says how long the machine takes without devices.
async fn first_heartbeat(
    vm: &mut Vm,
    log: &mut SerialLog,
    limit: Duration,
    measure: impl AsyncFnOnce(Duration) -> PlainBoot,
) -> Result<(), BootError> {
    let started = Instant::now();
    let spoke = |heard| match heard {
        Ok(_) => Ok(true),
        Err(HeartbeatError::Deadline(_)) => Ok(false),
        Err(error) => Err(failed(error)),
    };
    vm.execute(Cont {}).await.map_err(failed)?;
    let first_look = FIRST_LOOK.min(limit);
    if spoke(vm.wait_for_heartbeat(log, first_look).await)? {
        return Ok(());
    }
    let left = |until: Duration| until.saturating_sub(started.elapsed());
    // It may print while the other is measured.
    let waits = vm.wait_for_heartbeat(log, left(limit));
    let plain = tokio::select! {
        heard = waits => match spoke(heard)? {
            true => return Ok(()),
            false => None,
        },
        plain = measure(left(limit)) => plain,
    };
    let deadline = plain.map_or(LEAST, |plain| LEAST.max(plain * FACTOR));
    let rest = left(deadline.min(limit));
    if spoke(vm.wait_for_heartbeat(log, rest).await)? {
        return Ok(());
    }
    let waited = started.elapsed();
    Err(BootError::Silent { waited, plain })
}

/// Returns the time until the guest of a machine without devices works, if it does.
async fn plain_boot(endpoint: &Endpoint, launch: &LaunchSpec, limit: Duration) -> PlainBoot {
    let launch = LaunchSpec {
        device_args: Vec::new(),
        ..launch.clone()
    };
    let folder = launch.folder().ok()?;
    let started = Vm::start(endpoint, &launch, Role::First, folder.path(), 0).await;
    let mut vm = started.ok()?;
    let begun = Instant::now();
    vm.execute(Cont {}).await.ok()?;
    let spoke = speaks(&mut vm, limit).await;
    let took = begun.elapsed();
    vm.monitored.process.kill().await;
    spoke.then_some(took)
}

/// Waits until the guest of a machine speaks, as long as the machine works: where nothing boots, it soon does nothing at all.
async fn speaks(vm: &mut Vm, limit: Duration) -> bool {
    let mut log = SerialLog::new();
    let end = Instant::now() + limit;
    let mut worked = Instant::now();
    let mut used_before = vm.monitored.cpu_time();
    loop {
        let look = LOOK.min(end.saturating_duration_since(Instant::now()));
        match vm.wait_for_heartbeat(&mut log, look).await {
            Ok(_) => return true,
            Err(HeartbeatError::Deadline(_)) if !look.is_zero() => {}
            Err(_) => return false,
        }
        let used = vm.monitored.cpu_time();
        let lately = used.map(|used| used.saturating_sub(used_before.unwrap_or_default()));
        if lately.is_none_or(|lately| lately >= look / IDLE_PART) {
            worked = Instant::now();
        }
        if worked.elapsed() >= LEAST {
            return false;
        }
        used_before = used;
    }
}
