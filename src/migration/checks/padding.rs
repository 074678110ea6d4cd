//! Comparing the state that a leg left on the destination with what was sent, and fields that were
//! not sent with the values that they should have.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::compare::fidelity::fillings;
use crate::migration::checks::state::StateChecks;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::migration::leg::save::save_new_machine;
use crate::model::Direction;
use crate::stream::Stream;

/// A leg that loaded.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'l> {
    pub leg: usize,
    pub direction: Direction,
    pub destination: &'l Endpoint,
    pub sent: &'l Stream,
    pub arrived: &'l Stream,
}

/// The streams that builds save of the machine of a run where it never ran, by their labels. Hardly any
/// run needs one, and none needs it twice.
#[derive(Default)]
pub(crate) struct NewMachines(HashMap<String, Result<Stream, String>>);

/// Compares what was sent with what the destination has.
///
/// A field that the source does not have, and for which it sends padding, is compared with a
/// machine of the destination's build that never ran. That does not apply to a guest that did run:
/// the value that it would have had there is not known.
pub(crate) async fn compare_state(
    config: &MigrationConfig,
    state: &mut StateChecks,
    arrival: Arrival<'_>,
    launch: &LaunchSpec,
    new_machines: &mut NewMachines,
) {
    let Arrival {
        leg,
        direction,
        destination,
        sent,
        arrived,
    } = arrival;
    state.compare(
        &config.names,
        &launch.tolerated,
        (leg, direction),
        sent,
        arrived,
    );
    if launch.workload.is_some() {
        return;
    }
    let padded = fillings(sent, arrived, config.names.of_leg(direction));
    if padded.is_empty() {
        return;
    }
    let label = destination.build.label();
    let machine = match new_machines.0.entry(label.to_owned()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let saved = save_new_machine(destination, launch, config.timeouts.leg);
            new.insert(saved.await)
        }
    };
    match machine {
        Ok(machine) => state.compare_padded(&launch.tolerated, leg, &padded, machine),
        Err(why) => state.not_compared(format!(
            "{} fields got padding for their value, and a machine of {label} that never ran, which \
             would show whether that is theirs, could not be saved: {why}",
            padded.len()
        )),
    }
}
