//! The means of driving the devices of a run's machines from outside.

use crate::api::config::Guests;
use crate::api::error::{Error, Problem};
use crate::api::network;
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::seat::Driving;
use crate::report::Notice;
use crate::workload::linux::Network;

/// Has the devices of a run's guests driven, where that is asked for, and gives their cards a network.
///
/// # Errors
/// Nothing says where the machine has its buses.
pub(crate) fn equip(
    config: &mut MigrationConfig,
    sets: &[DeviceSet],
    guests: &Guests,
) -> Result<Vec<Notice>, Error> {
    if !guests.driven {
        return Ok(Vec::new());
    }
    let driving = Driving::of(&config.machine, &config.arch);
    let driving = driving.ok_or_else(|| Problem::NotDrivable {
        machine: config.machines.clone(),
        arch: config.arch.clone(),
    })?;
    let args: Vec<String> = sets
        .iter()
        .flat_map(|set| config.compose(set).args)
        .collect();
    let (network, notice) = network::connect(config, &args, guests.transport, &[Network::Tap]);
    config.network = network;
    config.driving = Some(driving);
    Ok(notice.into_iter().collect())
}
