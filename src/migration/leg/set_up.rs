//! Setting capabilities and parameters, the same on both sides.

use crate::migration::endpoint::capability::{Capability, Pace, parameters};
use crate::migration::endpoint::commands::{CapabilityState, QueryCapabilities, SetCapabilities};
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{LegError, Obstacle, command_failed};
use crate::qemu::qmp::QmpError;
use crate::report::{LegSide, Phase};

/// Sets up a side that was started.
///
/// # Errors
/// A capability that a build does not have, or cannot use where it runs: no break between versions. A
/// command fails.
pub(crate) async fn set_up(
    vm: &mut Vm,
    side: LegSide,
    wanted: &[Capability],
) -> Result<(), LegError> {
    let session = &vm.monitored.session;
    let set = async |name: String| {
        let capabilities = vec![CapabilityState {
            capability: name,
            state: true,
        }];
        let command = SetCapabilities { capabilities };
        session.execute(command, vm.command).await.map(drop)
    };
    let list = async {
        match wanted {
            [] => Ok(Vec::new()),
            _ => session.execute(QueryCapabilities {}, vm.command).await,
        }
    };
    // Events come unasked and do not affect the stream, so one side may lack them.
    let events = async {
        match set("events".to_owned()).await {
            Err(QmpError::Refused { .. }) => Ok(()),
            other => other,
        }
    };
    let parameters = session.execute(parameters(wanted, Pace::Full, side), vm.command);
    // Commands that do not wait for an answer are sent together: a leg is short.
    let (listed, mut done, parameters_set) = tokio::join!(list, events, parameters);
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return Err(command_failed(vm, side, Phase::SetUp, error).await),
    };
    let has = |name: &str| listed.iter().any(|c| c.capability == name);
    let version = vm.version;
    let obstacle = |obstacle| LegError::new(side, Phase::SetUp, obstacle);
    for &capability in wanted.iter().filter(|of| of.is_listed()) {
        if !has(&capability.to_string()) {
            return Err(obstacle(Obstacle::NoCapability {
                version,
                capability,
            }));
        }
        if done.is_ok() {
            done = set(capability.to_string()).await;
        }
        if let Err(QmpError::Refused { description, .. }) = done {
            return Err(obstacle(Obstacle::CapabilityRefused {
                version,
                reason: description,
            }));
        }
    }
    match done.and(parameters_set) {
        Ok(_) => Ok(()),
        Err(error) => Err(command_failed(vm, side, Phase::SetUp, error).await),
    }
}

/// Sets the pace of a source.
pub(crate) async fn set_pace(
    source: &mut Vm,
    capabilities: &[Capability],
    pace: Pace,
) -> Result<(), LegError> {
    let command = parameters(capabilities, pace, LegSide::Source);
    let set = source.monitored.session.execute(command, source.command);
    match set.await {
        Ok(_) => Ok(()),
        Err(error) => Err(command_failed(source, LegSide::Source, Phase::SetUp, error).await),
    }
}
