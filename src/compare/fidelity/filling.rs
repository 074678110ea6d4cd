//! Fields that got their value from padding.
//!
//! A build that has done away with a field sends `unused` bytes in its place, nearly always zeros.
//! A build that still has the field takes them for its value. The stream does not show whether that
//! is the value that the machine has. Only a machine of that build and configuration that never ran
//! shows it, so the answer is for a guest that never ran, too.
//!
//! Fields are reported that lie in padding as a whole and have just its bytes: a value that the
//! load has worked out is the destination's own. In sections of two versions it is not known where
//! fields lie.

use bytes::Bytes;

use crate::compare::fidelity::are_alike;
use crate::compare::fidelity::body::{Body, Leaf, bodies, counterpart, holder, within};
use crate::compare::fidelity::resized::as_long;
use crate::model::SectionName;
use crate::rules::known_issues::StateNames;
use crate::stream::tree::{Kind, Stream};

/// A field of the destination whose value is what the source sent as padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filling {
    pub section: SectionName,
    pub instance_id: u32,
    /// The path from the section's description down, subsections included.
    pub path: String,
    /// The offset in the stream that was sent, in bytes.
    pub offset: u64,
    pub kind: Kind,
    /// The bytes of the padding, which are those of the field now.
    pub held: Bytes,
    /// Its body among those of the section, and its place in it.
    body: usize,
    at: usize,
}

/// The fields that got their value from padding, in the order in which they were sent, but those
/// that the lists know to be harmless.
pub(crate) fn fillings(sent: &Stream, actual: &Stream, names: &StateNames) -> Vec<Filling> {
    in_padding(sent, actual, names, |padding, actual| padding == actual)
}

/// The fields of a machine that would get another value, from padding, if `sent` were loaded there.
pub(crate) fn to_be_filled(sent: &Stream, own: &Stream, names: &StateNames) -> Vec<Filling> {
    in_padding(sent, own, names, |padding, own| padding != own)
}

/// The fields of a machine that lie in the padding of what was sent, of those whose bytes, beside
/// those of the padding, are `wanted`.
fn in_padding(
    sent: &Stream,
    actual: &Stream,
    names: &StateNames,
    wanted: impl Fn(&[u8], &[u8]) -> bool,
) -> Vec<Filling> {
    let by_name = actual.devices_by_name();
    let mut found = Vec::new();
    for section in sent.devices() {
        let other = by_name.get(&section.key());
        let Some(other) = other.filter(|other| other.version_id == section.version_id) else {
            continue;
        };
        if are_alike(section, other) {
            continue;
        }
        let ours = bodies(section);
        let mut leaves = ours.iter().flat_map(|body| &body.leaves);
        if !leaves.any(|leaf| leaf.kind == Kind::Padding) {
            continue;
        }
        let theirs = bodies(other);
        for (index, actual) in theirs.iter().enumerate() {
            let Some(sent) = counterpart(&theirs, index, &ours) else {
                continue;
            };
            for leaf in &as_long(sent, actual, names, None).leaves {
                let Some(padding) = padding(leaf, sent).filter(|bytes| wanted(bytes, &leaf.bytes))
                else {
                    continue;
                };
                let (description, name) = (&leaf.description, leaf.name());
                let known = names.volatile(description, name, &padding, Some(&leaf.bytes));
                if known.is_none() {
                    found.push(Filling {
                        section: section.name.clone(),
                        instance_id: section.instance_id,
                        path: leaf.path.clone(),
                        offset: offset(sent, leaf.at),
                        kind: leaf.kind,
                        held: leaf.bytes.clone(),
                        body: index,
                        at: leaf.at,
                    });
                }
            }
        }
    }
    found
}

impl Filling {
    /// Returns the value of the field on another machine of the destination's build. `None` where
    /// that does not have it, or not in that place.
    pub(crate) fn on(&self, machine: &Stream) -> Option<Bytes> {
        let key = (&self.section, self.instance_id);
        let section = machine.devices().find(|section| section.key() == key)?;
        let bodies = bodies(section);
        let mut leaves = bodies.get(self.body)?.leaves.iter();
        let leaf = leaves.find(|leaf| leaf.at == self.at && leaf.path == self.path)?;
        (leaf.bytes.len() == self.held.len()).then(|| leaf.bytes.clone())
    }
}

/// The padding that a field of the destination lies in, if it lies in nothing else.
fn padding(leaf: &Leaf, sent: &Body) -> Option<Vec<u8>> {
    if leaf.is_padding() {
        return None;
    }
    let from = sent.leaves.partition_point(|other| other.end() <= leaf.at);
    let mut under = sent.leaves[from..]
        .iter()
        .take_while(|other| other.at < leaf.end())
        .filter(|other| !other.bytes.is_empty());
    // A field that was sent at another place is not one that was not sent.
    let elsewhere = |other: &Leaf| other.key == leaf.key && !other.is_padding();
    let alone = under.all(|other| other.kind == Kind::Padding);
    within(sent, leaf.at, leaf.bytes.len()).filter(|_| alone && !sent.leaves.iter().any(elsewhere))
}

/// Returns the offset in the stream of a byte of a body.
fn offset(body: &Body, at: usize) -> u64 {
    holder(body, at).map_or(0, |leaf| leaf.offset + (at - leaf.at) as u64)
}
