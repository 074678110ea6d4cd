//! Setting capabilities and parameters, the same on both sides.

use crate::migration::endpoint::capability::{Capability, Pace, parameters};
use crate::migration::endpoint::commands::SetCapabilities;
use crate::migration::endpoint::vm::Vm;
use crate::migration::leg::error::{LegError, Obstacle, checked, execute};
use crate::qemu::qmp::{CapabilityState, QmpError, QueryCapabilities};
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
    let set = async |name: String| {
        let capabilities = vec![CapabilityState {
            capability: name,
            state: true,
        }];
        let command = SetCapabilities { capabilities };
        vm.execute(command).await.map(drop)
    };
    let list = async {
        match wanted {
            [] => Ok(Vec::new()),
            _ => vm.execute(QueryCapabilities {}).await,
        }
    };
    // Events come unasked and do not affect the stream, so one side may lack them.
    let events = async {
        match set("events".to_owned()).await {
            Err(QmpError::Refused { .. }) => Ok(()),
            other => other,
        }
    };
    let parameters = vm.execute(parameters(wanted, Pace::Full, side));
    // Commands that do not wait for an answer are sent together: a leg is short.
    let (listed, mut done, parameters_set) = tokio::join!(list, events, parameters);
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return checked(vm, side, Phase::SetUp, Err(error)).await,
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
    let done = done.and(parameters_set).map(drop);
    checked(vm, side, Phase::SetUp, done).await
}

pub(crate) async fn set_pace(
    source: &mut Vm,
    capabilities: &[Capability],
    pace: Pace,
) -> Result<(), LegError> {
    let command = parameters(capabilities, pace, LegSide::Source);
    let set = execute(source, LegSide::Source, Phase::SetUp, command);
    set.await.map(drop)
}
