//! Comparing the state that a leg left on the destination with what was sent, where the machines that the builds make
//! themselves say what is lost: fields that were not sent, and fields that either build writes in its own length.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::path::Path;

use crate::compare::fidelity;
use crate::compare::fidelity::{Lengths, fillings};
use crate::migration::checks::changes::LoadChanges;
use crate::migration::checks::state::StateChecks;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::{Endpoint, LaunchSpec, Role};
use crate::migration::leg::save::save_new_machine;
use crate::model::Direction;
use crate::rules::known_issues::StateNames;
use crate::stream::Stream;

/// A leg that loaded.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'l> {
    pub leg: usize,
    pub direction: Direction,
    /// The build that sent the guest; nothing where the guest comes from a file.
    pub source: Option<&'l Endpoint>,
    pub destination: &'l Endpoint,
    pub sent: &'l Stream,
    pub arrived: &'l Stream,
}

/// The streams that builds save of the machine of a run where it never ran, by their labels and what they are started
/// with: one build may have other options on each side. Hardly any run needs one, and none needs it twice.
#[derive(Default)]
pub(crate) struct NewMachines(HashMap<(String, Vec<OsString>), Result<Stream, String>>);

impl NewMachines {
    async fn of(
        &mut self,
        endpoint: &Endpoint,
        launch: &LaunchSpec,
        config: &MigrationConfig,
    ) -> &Result<Stream, String> {
        let args = launch.args(endpoint, Role::First, Path::new(""));
        match self.0.entry((endpoint.build.label().to_owned(), args)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let saved = save_new_machine(endpoint, launch, config.timeouts.leg);
                new.insert(saved.await)
            }
        }
    }
}

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
        ..
    } = arrival;
    let names = config.names.of_leg(direction);
    let mut losses = fidelity::compare(sent, arrived, names, &Lengths::default());
    if !losses.is_empty() && Lengths::between(sent, arrived).may_explain(&losses) {
        let lengths = own_lengths(config, arrival, launch, new_machines).await;
        losses = fidelity::compare(sent, arrived, names, &lengths);
    }
    state.take(&launch.tolerated, leg, (sent, arrived), &losses);
    if launch.workload.is_some() {
        return;
    }
    let padded = fillings(sent, arrived, names);
    if padded.is_empty() {
        return;
    }
    match new_machines.of(destination, launch, config).await {
        Ok(machine) => state.compare_padded(&launch.tolerated, leg, &padded, machine),
        Err(why) => state.not_compared(format!(
            "{} fields got padding for their value, and a machine of {} that never ran, which \
             would show whether that is theirs, could not be saved: {why}",
            padded.len(),
            destination.build.label(),
        )),
    }
}

/// Tells whether a build has, of what it saved and loaded again, all that a load is not known to change.
pub(crate) fn is_kept(
    saved: &Stream,
    loaded: &Stream,
    names: &StateNames,
    tolerated: &LoadChanges,
) -> bool {
    let losses = fidelity::compare(saved, loaded, names, &Lengths::default());
    let mut state = StateChecks::default();
    state.take(tolerated, 0, (saved, loaded), &losses);
    state.diffs.is_empty()
}

/// Returns the fields that machines which never ran have in another length on the destination than on the source. Nothing
/// is known of a guest from a file, nor where one of the machines cannot be saved.
async fn own_lengths(
    config: &MigrationConfig,
    arrival: Arrival<'_>,
    launch: &LaunchSpec,
    new_machines: &mut NewMachines,
) -> Lengths {
    let Some(source) = arrival.source else {
        return Lengths::default();
    };
    let never_runs = LaunchSpec {
        workload: None,
        driving: None,
        ..launch.unasked()
    };
    let is_as_made = launch.workload.is_none() && launch.driving.is_none();
    let source = match is_as_made {
        true => Ok(arrival.sent.clone()),
        false => new_machines.of(source, &never_runs, config).await.clone(),
    };
    let destination = new_machines.of(arrival.destination, &never_runs, config);
    let both = match destination.await {
        Ok(destination) => source.map(|source| Lengths::between(&source, destination)),
        Err(why) => Err(why.clone()),
    };
    both.unwrap_or_else(|why| {
        tracing::debug!(why, "the builds' own lengths of fields are not known");
        Lengths::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::checks::changes::LoadChange;
    use crate::report::StateDiff;
    use crate::stream::testing::fixture;
    use crate::stream::{Options, read};

    #[test]
    fn a_build_keeps_what_it_saved_unless_a_load_is_not_known_to_change_it() {
        let bytes = fixture("10.0.13/x86_64-q35");
        let of = |bytes: &[u8]| read(bytes, Options::default(), ()).stream;
        let saved = of(&bytes);
        let rtc = saved
            .devices()
            .find(|section| section.name == *"mc146818rtc");
        let mut loaded = bytes;
        let memory = usize::try_from(rtc.expect("a clock").offset).unwrap() + 30;
        loaded[memory] ^= 0xff;
        let loaded = of(&loaded);
        let (names, mut known) = (StateNames::default(), LoadChanges::default());
        assert!(is_kept(&saved, &saved, &names, &known));
        assert!(!is_kept(&saved, &loaded, &names, &known));
        let losses = fidelity::compare(&saved, &loaded, &names, &Lengths::default());
        let mut state = StateChecks::default();
        state.take(&known, 0, (&saved, &loaded), &losses);
        let [diff] = <[StateDiff; 1]>::try_from(state.diffs).unwrap();
        known.extend([LoadChange::of_field(&diff)]);
        assert!(is_kept(&saved, &loaded, &names, &known));
    }
}
