//! The usual case, recognised without taking anything apart: both builds lay a section out alike,
//! and what was sent is what came back.

use crate::stream::tree::{Content, Node, Section, Structure, Value};

/// Tells whether both have the same fields in the same places with the same bytes, so that nothing
/// is lost, and no field got its value from padding.
pub(crate) fn alike(sent: &Section, actual: &Section) -> bool {
    match (&sent.content, &actual.content) {
        (Content::Decoded(ours), Content::Decoded(theirs)) => structures(ours, theirs),
        _ => false,
    }
}

fn structures(sent: &Structure, actual: &Structure) -> bool {
    sent.vmsd_name == actual.vmsd_name
        && all(&sent.fields, &actual.fields, nodes)
        && all(&sent.subsections, &actual.subsections, |ours, theirs| {
            ours.name == theirs.name && structures(&ours.structure, &theirs.structure)
        })
}

fn nodes(sent: &Node, actual: &Node) -> bool {
    sent.name == actual.name
        && sent.index == actual.index
        && sent.bytes == actual.bytes
        && match (&sent.value, &actual.value) {
            (Value::Leaf(ours), Value::Leaf(theirs)) => ours == theirs,
            (Value::Leaves { kind: ours, .. }, Value::Leaves { kind: theirs, .. }) => {
                ours == theirs
            }
            (Value::Struct(ours), Value::Struct(theirs)) => structures(ours, theirs),
            (Value::Structs(ours), Value::Structs(theirs)) => {
                all(ours, theirs, |ours, theirs| match (ours, theirs) {
                    (Some(ours), Some(theirs)) => structures(ours, theirs),
                    (ours, theirs) => ours.is_none() && theirs.is_none(),
                })
            }
            (Value::List(ours), Value::List(theirs)) => all(ours, theirs, structures),
            _ => false,
        }
}

fn all<T>(sent: &[T], actual: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    sent.len() == actual.len()
        && sent
            .iter()
            .zip(actual)
            .all(|(ours, theirs)| same(ours, theirs))
}
