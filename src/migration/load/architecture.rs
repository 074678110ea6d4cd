//! A state of another architecture than the build: machine types of several have one name.

use std::collections::BTreeSet;

use crate::guest::Board;
use crate::migration::config::MigrationConfig;
use crate::migration::endpoint::vm::LaunchSpec;
use crate::migration::leg::save::save_new_machine;
use crate::model::SectionName;
use crate::qemu::machine;
use crate::stream::tree::{Node, Structure, Value};
use crate::stream::{Kind, Section, Stream};
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
    let of_other_words: Vec<&str> = machine::of_other_words(&config.arch).collect();
    if others.is_empty() && of_other_words.is_empty() {
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
    let sections = state.devices().filter(|section| !is_device(section));
    let mut pairs = sections.filter_map(|sent| {
        let own = own.devices().find(|own| own.is_same(sent))?;
        Some((own, sent))
    });
    pairs.find_map(|(own, sent)| {
        let others = if have_two_words(own, sent) {
            &of_other_words
        } else if are_of_two_kinds(own, sent) {
            &others
        } else {
            return None;
        };
        (!others.is_empty()).then(|| OtherArchitecture {
            section: sent.name.clone(),
            here: config.arch.clone(),
            others: others.clone(),
        })
    })
}

/// Tells whether two sections begin with one field whose numbers are longer in one: a processor's begins with its
/// registers, which no release makes longer.
fn have_two_words<'s>(one: &'s Section, other: &'s Section) -> bool {
    let first = |section: &'s Section| first_number(section.content.structure()?);
    match (first(one), first(other)) {
        (Some((name, size)), Some((other_name, other_size))) => {
            name == other_name && size != other_size
        }
        _ => false,
    }
}

/// Returns the name of the first field with numbers, and the bytes of each.
fn first_number(structure: &Structure) -> Option<(&str, usize)> {
    let first = |node: &'_ Node| match &node.value {
        Value::Leaf(Kind::Signed | Kind::Unsigned) => Some(node.bytes.len()),
        Value::Leaves {
            kind: Kind::Signed | Kind::Unsigned,
            element_size,
            ..
        } => Some(*element_size),
        _ => None,
    };
    let is_padding = |node: &&Node| matches!(node.value, Value::Leaf(Kind::Padding));
    let node = structure.fields.iter().find(|node| !is_padding(node))?;
    match &node.value {
        Value::Struct(within) => first_number(within),
        _ => Some((&node.name, first(node)?)),
    }
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
