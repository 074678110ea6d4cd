//! Fields that got their value from filler.
//!
//! A build that has done away with a field sends `unused` bytes in its place, nearly always zeros. A
//! build that still has the field takes them for its value. Whether that is the value that the machine
//! has is not to be seen in what was sent: only a machine of that build says it, of the same
//! configuration, that never ran; so it is an answer for a guest that never ran, too.
//!
//! Told are fields that lie in filler as a whole and hold just what the filler had: a value that the load
//! has worked out is the destination's own. Of sections of two versions it is not known what lies where.

use std::collections::HashMap;

use bytes::Bytes;

use crate::compare::fidelity::alike::alike;
use crate::compare::fidelity::body::{Body, Leaf, bodies, holder, within};
use crate::compare::fidelity::resized::as_long;
use crate::model::SectionName;
use crate::rules::known_issues::StateNames;
use crate::stream::tree::{Kind, Section, Stream};

/// A field of the destination that holds what the source sent as filler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filling {
    pub section: SectionName,
    pub instance_id: u32,
    /// From the section's description down, subsections included.
    pub path: String,
    /// From the start of the stream that was sent, in bytes.
    pub offset: u64,
    pub kind: Kind,
    /// The bytes of the filler, which are those of the field now.
    pub held: Bytes,
    /// Its body among those of the section, and its place in it.
    body: usize,
    at: usize,
}

/// The fields that hold filler, in the order in which they were sent, but those that the lists know
/// to be harmless.
pub(crate) fn fillings(sent: &Stream, held: &Stream, names: &StateNames) -> Vec<Filling> {
    in_filler(sent, held, names, |filler, held| filler == held)
}

/// The fields of a machine that would hold something else if `sent` were loaded there: they get filler.
pub(crate) fn to_be_filled(sent: &Stream, own: &Stream, names: &StateNames) -> Vec<Filling> {
    in_filler(sent, own, names, |filler, own| filler != own)
}

/// The fields of a machine that lie in the filler of what was sent, of those whose bytes, beside those
/// of the filler, are `wanted`.
fn in_filler(
    sent: &Stream,
    held: &Stream,
    names: &StateNames,
    wanted: impl Fn(&[u8], &[u8]) -> bool,
) -> Vec<Filling> {
    let mut by_name: HashMap<(&SectionName, u32), &Section> = HashMap::new();
    for section in held.devices() {
        by_name.insert((&section.name, section.instance_id), section);
    }
    let mut found = Vec::new();
    for section in sent.devices() {
        let other = by_name.get(&(&section.name, section.instance_id));
        let Some(other) = other.filter(|other| other.version_id == section.version_id) else {
            continue;
        };
        if alike(section, other) {
            continue;
        }
        let ours = bodies(section);
        let mut leaves = ours.iter().flat_map(|body| &body.leaves);
        if !leaves.any(|leaf| leaf.kind == Kind::Padding) {
            continue;
        }
        let theirs = bodies(other);
        for (index, held) in theirs.iter().enumerate() {
            // Two subsections may bear one name: the first ones of a name belong together, and so on.
            let nth = theirs[..index].iter().filter(|b| b.key == held.key).count();
            let Some(sent) = ours.iter().filter(|b| b.key == held.key).nth(nth) else {
                continue;
            };
            for leaf in &as_long(sent, held, names).leaves {
                let Some(filler) = filler(leaf, sent).filter(|bytes| wanted(bytes, &leaf.bytes))
                else {
                    continue;
                };
                let (description, name) = (&leaf.description, leaf.name());
                let known = names.volatile(description, name, &filler, Some(&leaf.bytes));
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
    /// What the field holds on another machine of the destination's build. `None` where that does not
    /// have it, or not in that place.
    pub(crate) fn on(&self, machine: &Stream) -> Option<Bytes> {
        let section = machine
            .devices()
            .find(|s| s.name == self.section && s.instance_id == self.instance_id)?;
        let bodies = bodies(section);
        let mut leaves = bodies.get(self.body)?.leaves.iter();
        let leaf = leaves.find(|leaf| leaf.at == self.at && leaf.path == self.path)?;
        (leaf.bytes.len() == self.held.len()).then(|| leaf.bytes.clone())
    }
}

/// The filler that a field of the destination lies in, if it lies in nothing else.
fn filler(leaf: &Leaf, sent: &Body) -> Option<Vec<u8>> {
    if leaf.is_filler() {
        return None;
    }
    let from = sent.leaves.partition_point(|other| other.end() <= leaf.at);
    let mut under = sent.leaves[from..]
        .iter()
        .take_while(|other| other.at < leaf.end())
        .filter(|other| !other.bytes.is_empty());
    // A field that was sent at another place is not one that was not sent.
    let elsewhere = |other: &Leaf| other.key == leaf.key && !other.is_filler();
    let alone = under.all(|other| other.kind == Kind::Padding);
    within(sent, leaf.at, leaf.bytes.len()).filter(|_| alone && !sent.leaves.iter().any(elsewhere))
}

/// Where a byte of a body stands in the stream.
fn offset(body: &Body, at: usize) -> u64 {
    holder(body, at).map_or(0, |leaf| leaf.offset + (at - leaf.at) as u64)
}
