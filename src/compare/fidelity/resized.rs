//! Lengths that differ and lose nothing.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::compare::fidelity::body::{Body, Leaf, bodies};
use crate::compare::fidelity::loss::Loss;
use crate::compare::registers::{COUNT, NUMBERS, VALUES, WIDTH, entries};
use crate::model::SectionName;
use crate::rules::known_issues::StateNames;
use crate::stream::tree::{Kind, Section, Stream};

/// The differences in length of fields whose contents no stream describes, between two streams of one machine.
///
/// Where two builds write them in different lengths for a machine that never ran, the difference is how they are
/// written, not what was lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lengths(HashMap<(SectionName, u32), HashMap<String, usize>>);

impl Lengths {
    /// Compares the lengths of fields in two streams.
    pub(crate) fn between(one: &Stream, other: &Stream) -> Lengths {
        let sections = other.devices_by_name();
        let differing = one.devices().filter_map(|section| {
            let there = sections.get(&section.key())?;
            let fields = differing(section, there);
            (!fields.is_empty()).then(|| (place(section), fields))
        });
        Lengths(differing.collect())
    }

    /// Tells whether a section that lost something has such a field.
    pub(crate) fn may_explain(&self, losses: &[Loss]) -> bool {
        let mut places = losses
            .iter()
            .map(|loss| (loss.section.clone(), loss.instance_id));
        places.any(|place| self.0.contains_key(&place))
    }

    /// Returns the fields of a section, by their paths without the elements' numbers, and by how many bytes they differ.
    pub(super) fn of(&self, section: &Section) -> Option<&HashMap<String, usize>> {
        self.0.get(&place(section))
    }
}

fn place(section: &Section) -> (SectionName, u32) {
    (section.name.clone(), section.instance_id)
}

fn differing(one: &Section, other: &Section) -> HashMap<String, usize> {
    let (ours, theirs) = (bodies(one), bodies(other));
    let pairs = ours.iter().zip(&theirs).filter(|(a, b)| a.key == b.key);
    let leaves = pairs.flat_map(|(a, b)| a.leaves.iter().zip(&b.leaves));
    let leaves = leaves.filter(|(a, b)| a.key == b.key && a.kind == Kind::Bytes);
    let lengths = leaves.map(|(a, b)| (&a.key, a.bytes.len().abs_diff(b.bytes.len())));
    let lengths = lengths.filter(|&(_, by)| by > 0);
    lengths.map(|(key, by)| (key.clone(), by)).collect()
}

/// The receiving side as it would be if its fields had the lengths that were sent, where another length
/// is known to be harmless: to the lists, or since the builds' own machines have it, `by_themselves`.
pub(crate) fn as_long<'b>(
    sent: &Body,
    actual: &'b Body,
    names: &StateNames,
    by_themselves: Option<&HashMap<String, usize>>,
) -> Cow<'b, Body> {
    let own = |leaf: &Leaf| {
        by_themselves
            .and_then(|fields| fields.get(&leaf.key))
            .copied()
    };
    let resized = |ours: &Leaf, theirs: &Leaf| {
        let (sent, actual) = (&ours.bytes[..], &theirs.bytes[..]);
        ours.key == theirs.key
            && ours.kind == Kind::Bytes
            && sent.len() != actual.len()
            && (adds_only(sent, actual)
                || adds_only(actual, sent)
                || names
                    .resizes(&ours.description, ours.name())
                    .chain(own(ours))
                    .any(|by| is_longer(sent, actual, by) || is_longer(actual, sent, by)))
    };
    let actual = match with_registers_of(sent, actual) {
        Some(body) => Cow::Owned(body),
        None => Cow::Borrowed(actual),
    };
    let mut pairs = sent.leaves.iter().zip(&actual.leaves);
    if !pairs.any(|(ours, theirs)| resized(ours, theirs)) {
        return actual;
    }
    let mut body = actual.into_owned();
    for (leaf, ours) in body.leaves.iter_mut().zip(&sent.leaves) {
        if resized(ours, leaf) {
            leaf.bytes = ours.bytes.clone();
        }
    }
    body.put_in_line();
    Cow::Owned(body)
}

/// Returns the receiving side with the registers alone that were sent, where its CPU has more: those are left as they are
/// after reset, and lose nothing. `None` where it has no others, or lacks one that was sent.
fn with_registers_of(sent: &Body, actual: &Body) -> Option<Body> {
    let list = |body: &Body, name| body.leaves.iter().position(|leaf| leaf.key == name);
    let bytes = |body: &Body, name| Some(body.leaves.get(list(body, name)?)?.bytes.clone());
    let (numbers, own) = (bytes(sent, NUMBERS)?, bytes(actual, NUMBERS)?);
    if numbers == own {
        return None;
    }
    let places: HashMap<u64, usize> = entries(&own).zip(0..).collect();
    let own_values = bytes(actual, VALUES)?;
    let mut values = Vec::with_capacity(numbers.len());
    for number in entries(&numbers) {
        let at = WIDTH * places.get(&number)?;
        values.extend_from_slice(own_values.get(at..at + WIDTH)?);
    }
    let mut body = actual.clone();
    let as_sent = [
        (COUNT, bytes(sent, COUNT)?),
        (NUMBERS, numbers),
        (VALUES, values.into()),
    ];
    for (name, bytes) in as_sent {
        let at = list(&body, name)?;
        body.leaves.get_mut(at)?.bytes = bytes;
    }
    body.put_in_line();
    Some(body)
}

/// Tells whether `actual` is `sent` with one subsection put in. A field that writes descriptions of
/// its own into bytes that the stream does not describe (`virtio` does) sends some only in some
/// states, and which ones is for either build to decide: a destination that did not know one would
/// have refused it. The same holds in the other direction: 10.0.13 sends `virtio/ringsize` of
/// queues that it got from 11.1, and what 11.1 sends after the guest has returned is to the byte
/// what it sent before.
fn adds_only(sent: &[u8], actual: &[u8]) -> bool {
    /// The longest name that a length byte allows, and what precedes it.
    const LONGEST: usize = 2 + 255;
    let Some(added) = actual.len().checked_sub(sent.len()).filter(|&n| n > 0) else {
        return false;
    };
    let common = common(sent, actual);
    // Its first bytes may be those of the one that follows.
    (common.saturating_sub(LONGEST)..=common)
        .rev()
        .any(|at| begins_subsection(actual, at) && actual.get(at + added..) == sent.get(at..))
}

/// Tells whether `long` is `short` with so many bytes put in at one place, and nothing else. The
/// length of what they belong to may stand in front of it: then it says so many more, what it
/// counts begins as in `short`, and they are the last ones of it. Behind that, either side may have
/// one subsection more.
fn is_longer(short: &[u8], long: &[u8], by: usize) -> bool {
    let rest_is_same = |short: Option<&[u8]>, long: Option<&[u8]>| {
        let both = short.zip(long);
        both.is_some_and(|(a, b)| a == b || adds_only(a, b) || adds_only(b, a))
    };
    let common = common(short, long);
    let longer_there = |at: usize| {
        let (Some((fewer, short)), Some((more, long))) = (counted(short, at), counted(long, at))
        else {
            return false;
        };
        fewer.checked_add(by) == Some(more)
            && short
                .get(..fewer)
                .is_some_and(|kept| long.starts_with(kept))
            && rest_is_same(short.get(fewer..), long.get(more..))
    };
    // The first byte that differs may be any of the length's four.
    (common.saturating_sub(3)..=common).any(longer_there)
        || rest_is_same(short.get(common..), long.get(common.saturating_add(by)..))
}

/// The length that may stand at `at`, and what comes after it.
fn counted(bytes: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk()?;
    Some((u32::from_be_bytes(*length).try_into().ok()?, rest))
}

/// Returns the number of bytes that both begin with.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Tells whether a subsection may begin here: its marker, and a name with its length.
fn begins_subsection(bytes: &[u8], at: usize) -> bool {
    const MARKER: u8 = 5;
    let length = bytes.get(at + 1).map(|&length| usize::from(length));
    let name = length.and_then(|length| bytes.get(at + 2..at + 2 + length));
    bytes.get(at) == Some(&MARKER)
        && name.is_some_and(|name| name.len() > 2 && name.iter().all(u8::is_ascii_graphic))
}
