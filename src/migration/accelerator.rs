//! The accelerator of a run: the first of those that are asked for with which a guest of the machine moves within each
//! build. One that starts is not enough: where the host is a virtual machine itself, its KVM may lose what guests write.

use std::io;

use crate::migration::calibration::calibrate;
use crate::migration::channel::transport::Transport;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, RoleArgs};
use crate::migration::result::RunResult;
use crate::migration::run::RunSpec;
use crate::model::{Accelerator, AcceleratorPreference, Direction, joined};
use crate::qemu::block_on;
use crate::report::{AcceleratorUsed, Outcome, PassedOver};

/// No accelerator is chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAccelerator {
    #[error("no guest can be moved with {}", listed(.0))]
    AllPassedOver(Vec<PassedOver>),
    #[error("cannot start guests: {0}")]
    Runtime(#[from] io::Error),
}

fn listed(passed_over: &[PassedOver]) -> String {
    let one = |of: &PassedOver| format!("{} in {}: {}", of.accelerator, of.build, of.reason);
    joined(passed_over.iter().map(one), "; ")
}

/// Gives both builds of a configuration the accelerator that is preferred of those that they and the host can use. TCG
/// is taken untried where it is the only one.
///
/// # Errors
/// None can be used, or the system gives no runtime.
pub(crate) fn choose(
    config: &mut MigrationConfig,
    preference: &AcceleratorPreference,
) -> Result<AcceleratorUsed, NoAccelerator> {
    let mut passed_over = Vec::new();
    let has_tcg = !config.old.info.lacks_tcg && !config.new.info.lacks_tcg;
    for &accelerator in preference.order() {
        config.accelerate(accelerator);
        let is_known = accelerator == Accelerator::Tcg && preference.order().len() == 1 && has_tcg;
        let tried = match is_known {
            true => Ok(()),
            false => block_on(within_both(config))?,
        };
        match tried {
            Ok(()) => {
                return Ok(AcceleratorUsed {
                    architecture: config.arch.clone(),
                    accelerator,
                    passed_over,
                });
            }
            Err(why) => passed_over.push(why),
        }
    }
    Err(NoAccelerator::AllPassedOver(passed_over))
}

/// The reason why a guest does not have the CPU of the host that its description asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHostCpu {
    #[error("{0} has no such model")]
    Accelerator(Accelerator),
    #[error("no guest of {} moves within {}: {}", .0.accelerator, .0.build, .0.reason)]
    Unusable(PassedOver),
}

/// Gives guests the CPU of the host, where their description asks for it, nobody else for another one, and guests of
/// both builds move with it. `None` where it is not asked for.
///
/// # Errors
/// The system gives no runtime.
pub(crate) fn take_host_cpu(
    config: &mut MigrationConfig,
    used: &AcceleratorUsed,
) -> io::Result<Option<Result<(), NoHostCpu>>> {
    let of_host = config
        .board
        .as_ref()
        .and_then(|board| board.host_cpu.clone());
    let Some(cpu) = of_host.filter(|_| config.cpu.is_none()) else {
        return Ok(None);
    };
    if used.accelerator != Accelerator::Kvm {
        return Ok(Some(Err(NoHostCpu::Accelerator(used.accelerator))));
    }
    let with_it = MigrationConfig {
        cpu: Some(cpu),
        ..config.clone()
    };
    let tried = block_on(within_both(&with_it))?;
    if tried.is_ok() {
        *config = with_it;
    }
    Ok(Some(tried.map_err(NoHostCpu::Unusable)))
}

/// Moves the plain machine within each build.
async fn within_both(config: &MigrationConfig) -> Result<(), PassedOver> {
    let plain = MigrationConfig {
        board: None,
        linux: None,
        driving: None,
        role_args: RoleArgs::default(),
        capabilities: Vec::new(),
        transport: Transport::default(),
        ..config.clone()
    };
    let (old, new) = (plain.old.clone(), plain.new.clone());
    let is_one = old.build.label() == new.build.label();
    let (of_old, of_new) = tokio::join!(within(&plain, old), async {
        match is_one {
            true => Ok(()),
            false => within(&plain, new).await,
        }
    });
    of_old.and(of_new)
}

async fn within(plain: &MigrationConfig, build: Endpoint) -> Result<(), PassedOver> {
    let config = &MigrationConfig {
        old: build.clone(),
        new: build.clone(),
        ..plain.clone()
    };
    let build = &build;
    let launch = config.launch(Vec::new());
    let spec = RunSpec {
        config,
        launch: &launch,
        route: &[build, build],
        direction: Direction::Forward,
    };
    // A load may change what it likes, as long as it does so each time.
    let judged = calibrate(spec, spec.run().await, None, &|_| {}).await;
    let RunResult { outcome, cause, .. } = judged.run;
    if outcome == Outcome::Pass {
        return Ok(());
    }
    let reason = cause.map_or_else(|| outcome.to_string(), |cause| cause.message);
    Err(PassedOver {
        accelerator: build.accelerator,
        build: build.build.label().to_owned(),
        reason,
    })
}
