//! A state of another architecture than the build: machine types of several have one name.

use std::collections::BTreeSet;

use crate::guest::Board;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::model::SectionName;
use crate::qemu::machine;
use crate::stream::{Section, Stream};
use crate::vmstate::senders::Senders;

/// A state that another architecture saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherArchitecture {
    /// The section of which the build has another one by this name.
    pub section: SectionName,
    /// The architecture of the build.
    pub here: String,
    /// The others that have a machine type of the name.
    pub others: Vec<&'static str>,
}

/// Tells whether a state is of another architecture than the build, where the name of its machine type leaves that open.
pub(crate) async fn other_architecture(
    config: &MigrationConfig,
    state: &Stream,
) -> Option<OtherArchitecture> {
    let all = machine::architectures(&config.machine);
    let others: Vec<&str> = all.filter(|of| *of != config.arch).collect();
    if others.is_empty() {
        return None;
    }
    let launch = LaunchSpec {
        board: Some(Board::default().into()),
        ..config.launch(Vec::new())
    };
    let own = save_new_machine(&config.new, &launch, config.timeouts.leg);
    let own = own.await.ok()?;
    // A processor is none of the devices that are the same on all of them.
    let is_device = |section: &Section| {
        !Senders::of(section.name.vmsd_name(), config.new.dump.as_deref()).is_none()
    };
    let mut sections = state.devices().filter(|section| !is_device(section));
    let section = sections.find(|sent| {
        let mut own = own.devices();
        own.any(|own| own.is_same(sent) && are_of_two_kinds(own, sent))
    })?;
    Some(OtherArchitecture {
        section: section.name.clone(),
        here: config.arch.clone(),
        others,
    })
}

/// Tells whether two sections have fewer than half of their fields in common: releases add some, and rename few.
fn are_of_two_kinds(one: &Section, other: &Section) -> bool {
    let [one, other] = [one, other].map(|section| {
        let structure = section.content.structure().into_iter();
        let fields = structure.flat_map(|structure| &structure.fields);
        fields.map(|field| &*field.name).collect::<BTreeSet<_>>()
    });
    2 * one.intersection(&other).count() < one.len().min(other.len())
}
