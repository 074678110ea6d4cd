//! Whether what a leg left on the destination is what was sent, and whether fields that were not sent
//! hold what they should.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::compare::fidelity::fillings;
use crate::migration::checks::state::Seen;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec};
use crate::model::Direction;
use crate::stream::Stream;

/// A leg that loaded.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'l> {
    pub leg: usize,
    pub direction: Direction,
    pub destination: &'l Endpoint,
    pub sent: &'l Stream,
    pub held: &'l Stream,
}

/// What builds save of the machine of an attempt where it never ran, by their labels. Hardly any attempt
/// asks for it, and none twice.
#[derive(Default)]
pub(crate) struct NeverRan(HashMap<String, Result<Stream, String>>);

impl MigrationConfig {
    /// Compares what was sent with what the destination holds. `true` if nothing is lost.
    ///
    /// A field that the source does not have, and for which it sends filler, is held against a machine of
    /// the destination's build that never ran. That says nothing of a guest that did: what it would
    /// have had there is not known.
    pub(crate) async fn holds(
        &self,
        state: &mut Seen,
        arrival: Arrival<'_>,
        launch: &LaunchSpec,
        never_ran: &mut NeverRan,
    ) -> bool {
        let Arrival {
            leg,
            direction,
            destination,
            sent,
            held,
        } = arrival;
        let kept = state.compare(&self.names, (leg, direction), sent, held);
        if launch.guest.is_some() {
            return kept;
        }
        let found = fillings(sent, held, self.names.of_leg(direction));
        if found.is_empty() {
            return kept;
        }
        let label = destination.build.label();
        let machine = match never_ran.0.entry(label.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.saved_by(destination, launch).await),
        };
        match machine {
            Ok(machine) => state.judge(leg, &found, machine) && kept,
            Err(why) => {
                state.leave(format!(
                    "{} fields got filler for their value, and a machine of {label} that never ran, which \
                     would tell whether that is theirs, could not be saved: {why}",
                    found.len()
                ));
                kept
            }
        }
    }
}
