//! Whether what a build holds is what it was sent.
//!
//! A stream names its fields only in the description at its end, and a loader does not read that: it
//! takes bytes in the order that it expects. So the bytes that a destination saves again are nearly
//! always the bytes that it was sent, even where they landed in the wrong fields; what tells is the
//! name that either side gives to the same bytes. Fields are therefore matched by place first and by
//! name then: a name that both sides have, at another place, is a value in another field.
//!
//! A field that the source does not know has its value from nowhere, or from the filler that the source
//! sends in its place: see [`Filling`].

mod alike;
mod filling;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::report::Change;
use crate::rules::known_issues::StateNames;
use crate::stream::tree::{Kind, Node, Section, Stream, Structure, Value};

pub use filling::{Filling, fillings, to_be_filled};

/// A field whose value did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The idstr, as sent.
    pub section: String,
    pub instance_id: u32,
    /// The description that the field belongs to: the section's, a nested one or a subsection's.
    pub description: String,
    /// From the section's description down, subsections included.
    pub path: String,
    pub change: Change,
    /// From the start of the stream that was sent, in bytes.
    pub offset: u64,
    pub sent: Bytes,
    pub kind: Kind,
    /// What the field of this name holds now.
    pub held: Option<Bytes>,
    /// The field that holds the bytes now, where it is another.
    pub landed_in: Option<String>,
}

impl Loss {
    /// The field's own name.
    fn name(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        // An element of an array is named like the array.
        name.split('[').next().unwrap_or(name)
    }
}

/// Compares the sections of devices, in the order in which they were sent. A section that was not
/// saved again is a loss of all its fields.
pub fn compare(sent: &Stream, held: &Stream, names: &StateNames) -> Vec<Loss> {
    let mut by_name: HashMap<(&str, u32), &Section> = HashMap::new();
    for section in held.devices() {
        by_name.insert((&section.name, section.instance_id), section);
    }
    let mut losses = Vec::new();
    for section in sent.devices() {
        let other = by_name.get(&(section.name.as_str(), section.instance_id));
        let from = losses.len();
        match other {
            Some(other) if alike::alike(section, other) => {}
            // A build reads an older version in other places than it writes its own.
            Some(other) if other.version_id != section.version_id => {
                let ours = section.content.structure().map(bodies).unwrap_or_default();
                let theirs = other.content.structure().map(bodies).unwrap_or_default();
                compare_names(&ours, &theirs, &mut losses);
            }
            Some(other) => {
                let ours = section.content.structure().map(bodies).unwrap_or_default();
                let theirs = other.content.structure().map(bodies).unwrap_or_default();
                compare_bodies(&ours, &theirs, names, &mut losses);
            }
            None => {
                let ours = section.content.structure().map(bodies).unwrap_or_default();
                for body in &ours {
                    vanished(body, &mut losses);
                }
            }
        }
        for loss in losses.iter_mut().skip(from) {
            loss.section.clone_from(&section.name);
            loss.instance_id = section.instance_id;
            if loss.description.is_empty() {
                // Saved the old way, without a description.
                loss.description.clone_from(&section.name);
            }
        }
        losses.retain(|loss| {
            let held = loss.held.as_deref();
            let why = names.volatile(&loss.description, loss.name(), &loss.sent, held);
            why.is_none()
        });
    }
    losses
}

/// A value on the wire that nothing divides further: a scalar, a buffer, or an array of scalars.
#[derive(Debug, Clone)]
struct Leaf {
    /// As people read it, elements counted.
    path: String,
    /// Without the elements' numbers: descriptions do not count them alike in all builds.
    key: String,
    description: std::sync::Arc<str>,
    kind: Kind,
    /// Where it begins, in bytes from the start of its body.
    at: usize,
    offset: u64,
    bytes: Bytes,
}

impl Leaf {
    /// The name without the structs around it, which come and go without a change on the wire.
    fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    fn end(&self) -> usize {
        self.at + self.bytes.len()
    }

    /// Space that no field uses: whatever is in it means nothing.
    fn is_filler(&self) -> bool {
        matches!(self.kind, Kind::Padding | Kind::Null) || self.bytes.is_empty()
    }
}

/// The fields of a description without those of its subsections, or of one subsection. Subsections
/// come and go with the state, so each counts its places anew.
#[derive(Debug, Clone, Default)]
struct Body {
    /// Empty for a section itself, else the way to the subsection, without elements' numbers.
    key: String,
    /// In the order of the wire, without gaps.
    leaves: Vec<Leaf>,
    length: usize,
}

/// Takes a section apart.
fn bodies(structure: &Structure) -> Vec<Body> {
    let mut bodies = vec![Body::default()];
    collect(structure, &Way::default(), 0, &mut bodies);
    bodies
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}

/// Where a field is: for people, and for finding its like.
#[derive(Clone, Default)]
struct Way {
    path: String,
    key: String,
}

impl Way {
    fn to(&self, name: &str) -> Way {
        Way {
            path: join(&self.path, name),
            key: join(&self.key, name),
        }
    }

    fn element(mut self, index: impl std::fmt::Display) -> Way {
        self.path.push_str(&format!("[{index}]"));
        self
    }
}

fn collect(structure: &Structure, way: &Way, body: usize, bodies: &mut Vec<Body>) {
    for node in &structure.fields {
        field(node, &structure.vmsd_name, way, body, bodies);
    }
    for subsection in &structure.subsections {
        let way = way.to(&subsection.name);
        bodies.push(Body {
            key: way.key.clone(),
            ..Body::default()
        });
        let own = bodies.len() - 1;
        collect(&subsection.structure, &way, own, bodies);
    }
}

fn field(
    node: &Node,
    description: &std::sync::Arc<str>,
    way: &Way,
    body: usize,
    bodies: &mut Vec<Body>,
) {
    let mut way = way.to(&node.name);
    if let Some(index) = node.index {
        way = way.element(index);
    }
    match &node.value {
        Value::Leaf(kind) | Value::Leaves { kind, .. } => {
            let Some(body) = bodies.get_mut(body) else {
                return;
            };
            body.leaves.push(Leaf {
                path: way.path,
                key: way.key,
                description: description.clone(),
                kind: *kind,
                at: body.length,
                offset: node.offset,
                bytes: node.bytes.clone(),
            });
            body.length += node.bytes.len();
        }
        Value::Struct(structure) => collect(structure, &way, body, bodies),
        Value::Structs(elements) => {
            for (index, element) in elements.iter().enumerate() {
                if let Some(structure) = element {
                    collect(structure, &way.clone().element(index), body, bodies);
                }
            }
        }
        Value::List(elements) => {
            for (index, structure) in elements.iter().enumerate() {
                collect(structure, &way.clone().element(index), body, bodies);
            }
        }
    }
}

fn loss(leaf: &Leaf, change: Change, held: Option<&Leaf>, landed_in: Option<&Leaf>) -> Loss {
    Loss {
        section: String::new(),
        instance_id: 0,
        description: leaf.description.to_string(),
        path: leaf.path.clone(),
        change,
        offset: leaf.offset,
        sent: leaf.bytes.clone(),
        kind: leaf.kind,
        held: held.map(|leaf| leaf.bytes.clone()),
        landed_in: landed_in.map(|leaf| leaf.path.clone()),
    }
}

fn vanished(body: &Body, losses: &mut Vec<Loss>) {
    let fields = body.leaves.iter().filter(|leaf| !leaf.is_filler());
    losses.extend(fields.map(|leaf| loss(leaf, Change::Vanished, None, None)));
}

/// Compares the fields of a section by the descriptions that they stand in.
///
/// A subsection that the destination knows (or it had refused it) and does not send is no loss: its own
/// needed() says that what it holds needs none. The bytes cannot say more. Where the destination stays
/// silent there is no value of its own to hold them against, and a machine that never ran does not send
/// the subsection either, or else says only that its state is another. Nor does it help that a value
/// was sent that is not the usual one: the one such subsection that real pairs of builds have, of 5.2 to
/// 11.1 with every device of eight targets, is `spapr/cap/hpt_maxpagesize`, which a build sends where the
/// capability is not the default of its own machine type, and checks against its own when it loads.
fn compare_bodies(sent: &[Body], held: &[Body], names: &StateNames, losses: &mut Vec<Loss>) {
    // Two subsections may bear one name: the first ones of a name belong together, and so on.
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for body in sent {
        let nth = seen.entry(&body.key).or_default();
        let other = held.iter().filter(|b| b.key == body.key).nth(*nth);
        *nth += 1;
        match other {
            Some(other) => compare_body(body, other, names, losses),
            None if !body.key.is_empty() => {}
            None => vanished(body, losses),
        }
    }
}

/// Compares the fields that both sides name alike and give the same length, wherever they stand.
fn compare_names(sent: &[Body], held: &[Body], losses: &mut Vec<Loss>) {
    for body in sent {
        let mut others = held.iter().filter(|other| other.key == body.key);
        let (Some(other), None) = (others.next(), others.next()) else {
            continue;
        };
        let (ours, theirs): (Vec<&Leaf>, Vec<&Leaf>) =
            (body.leaves.iter().collect(), other.leaves.iter().collect());
        let like = sole(&ours, &theirs, |leaf| &leaf.key);
        for leaf in &body.leaves {
            if let Some(other) = like.get(leaf.key.as_str())
                && other.bytes.len() == leaf.bytes.len()
                && other.bytes != leaf.bytes
                && !leaf.is_filler()
            {
                losses.push(loss(leaf, Change::Changed, Some(other), None));
            }
        }
    }
}

fn compare_body(sent: &Body, held: &Body, names: &StateNames, losses: &mut Vec<Loss>) {
    let held = &as_long(sent, held, names);
    let same = |a: &Leaf, b: &Leaf| {
        a.key == b.key || a.name() == b.name() || names.same(&a.description, a.name(), b.name())
    };
    // Both lists are in the order of the wire: one walk finds what lies at the same place.
    let mut anchors = vec![None; sent.leaves.len()];
    let mut anchored = vec![false; held.leaves.len()];
    let mut at = 0;
    for (index, leaf) in sent.leaves.iter().enumerate() {
        while held.leaves.get(at).is_some_and(|other| other.at < leaf.at) {
            at += 1;
        }
        let here = held.leaves[at..].iter().take_while(|o| o.at == leaf.at);
        for (step, other) in here.enumerate() {
            if other.bytes.len() == leaf.bytes.len() && same(leaf, other) {
                anchors[index] = Some(at + step);
                anchored[at + step] = true;
                break;
            }
        }
    }
    // What is left over bears another name there, or stands elsewhere.
    let left = Left::of(sent, held, &anchors, &anchored);
    for (leaf, anchor) in sent.leaves.iter().zip(&anchors) {
        if leaf.is_filler() {
            continue;
        }
        if let Some(other) = anchor.and_then(|anchor| held.leaves.get(anchor)) {
            if other.bytes != leaf.bytes {
                losses.push(loss(leaf, Change::Changed, Some(other), None));
            }
            continue;
        }
        let here = holder(held, leaf.at);
        if let Some(other) = left.elsewhere(leaf) {
            // In its place but of another length it is still itself.
            let change = if other.at == leaf.at {
                Change::Changed
            } else {
                Change::Displaced
            };
            let here = here.filter(|_| change == Change::Displaced);
            losses.push(loss(leaf, change, Some(other), here));
            continue;
        }
        // What the destination has no use for any more it passes over on purpose.
        if here.is_some_and(Leaf::is_filler) {
            continue;
        }
        // Another name, or another division, of the same bytes is no loss.
        match within(held, leaf.at, leaf.bytes.len()) {
            Some(bytes) if bytes == leaf.bytes => {}
            Some(_) => losses.push(loss(leaf, Change::Changed, here, here)),
            None => losses.push(loss(leaf, Change::Vanished, None, here)),
        }
    }
}

/// The fields of the receiving side that do not lie where the sending side has the same field, by
/// their whole way and by their own name, where only one field on either side bears it.
struct Left<'b> {
    by_key: HashMap<&'b str, &'b Leaf>,
    by_name: HashMap<&'b str, &'b Leaf>,
}

impl<'b> Left<'b> {
    fn of(
        sent: &'b Body,
        held: &'b Body,
        anchors: &[Option<usize>],
        anchored: &[bool],
    ) -> Left<'b> {
        let there = held.leaves.iter().zip(anchored);
        let there = there.filter(|(leaf, taken)| !**taken && !leaf.is_filler());
        let there: Vec<&Leaf> = there.map(|(leaf, _)| leaf).collect();
        let here = sent.leaves.iter().zip(anchors);
        let here: Vec<&Leaf> = here
            .filter(|(_, anchor)| anchor.is_none())
            .map(|(leaf, _)| leaf)
            .collect();
        Left {
            by_key: sole(&here, &there, |leaf| &leaf.key),
            by_name: sole(&here, &there, Leaf::name),
        }
    }

    fn elsewhere(&self, leaf: &Leaf) -> Option<&'b Leaf> {
        let found = self.by_key.get(leaf.key.as_str());
        found.or_else(|| self.by_name.get(leaf.name())).copied()
    }
}

/// The fields of the one side by a name that no other field of either side has.
fn sole<'b>(
    here: &[&'b Leaf],
    there: &[&'b Leaf],
    name: impl Fn(&'b Leaf) -> &'b str,
) -> HashMap<&'b str, &'b Leaf> {
    let count = |leaves: &[&'b Leaf]| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for leaf in leaves {
            *counts.entry(name(leaf)).or_default() += 1;
        }
        counts
    };
    let (ours, theirs) = (count(here), count(there));
    there
        .iter()
        .map(|leaf| (name(leaf), *leaf))
        .filter(|(name, _)| ours.get(name) == Some(&1) && theirs.get(name) == Some(&1))
        .collect()
}

/// The receiving side as it would be if its fields had the lengths that were sent, where another length
/// is known to be harmless.
fn as_long<'b>(sent: &Body, held: &'b Body, names: &StateNames) -> Cow<'b, Body> {
    let resized = |ours: &Leaf, theirs: &Leaf| {
        let (sent, held) = (&ours.bytes[..], &theirs.bytes[..]);
        ours.key == theirs.key
            && ours.kind == Kind::Bytes
            && sent.len() != held.len()
            && (adds_only(sent, held)
                || adds_only(held, sent)
                || names
                    .resizes(&ours.description, ours.name())
                    .any(|by| is_longer(sent, held, by) || is_longer(held, sent, by)))
    };
    let mut pairs = sent.leaves.iter().zip(&held.leaves);
    if !pairs.any(|(ours, theirs)| resized(ours, theirs)) {
        return Cow::Borrowed(held);
    }
    let mut body = held.clone();
    let mut at = 0;
    for (index, leaf) in body.leaves.iter_mut().enumerate() {
        if let Some(ours) = sent.leaves.get(index)
            && resized(ours, leaf)
        {
            leaf.bytes = ours.bytes.clone();
        }
        leaf.at = at;
        at += leaf.bytes.len();
    }
    body.length = at;
    Cow::Owned(body)
}

/// Whether `held` is `sent` with one subsection put in. A field that writes descriptions of its own into
/// bytes that the stream does not describe (`virtio` does) sends some only in some states, and which
/// ones is for either build to decide: a destination that did not know one would have refused it. So it
/// is the other way round, too: 10.0.13 sends `virtio/ringsize` of queues that it got from 11.1, and
/// what 11.1 sends after the way back is to the byte what it sent before.
fn adds_only(sent: &[u8], held: &[u8]) -> bool {
    /// The longest name that a length byte allows, and what precedes it.
    const LONGEST: usize = 2 + 255;
    let Some(added) = held.len().checked_sub(sent.len()).filter(|&n| n > 0) else {
        return false;
    };
    let common = common(sent, held);
    // Its first bytes may be those of the one that follows.
    (common.saturating_sub(LONGEST)..=common)
        .rev()
        .any(|at| begins_subsection(held, at) && held.get(at + added..) == sent.get(at..))
}

/// Whether `long` is `short` with so many bytes put in at one place, and nothing else. The length of what
/// they belong to may stand in front of it: then it says so many more, what it counts begins as in
/// `short`, and they are the last ones of it. Behind that, either side may have one subsection more.
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

/// How many bytes both begin with.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether a subsection may begin here: its marker, and a name with its length.
fn begins_subsection(bytes: &[u8], at: usize) -> bool {
    const MARKER: u8 = 5;
    let length = bytes.get(at + 1).map(|&length| usize::from(length));
    let name = length.and_then(|length| bytes.get(at + 2..at + 2 + length));
    bytes.get(at) == Some(&MARKER)
        && name.is_some_and(|name| name.len() > 2 && name.iter().all(u8::is_ascii_graphic))
}

/// The field of a body in which the byte at `at` lies.
fn holder(body: &Body, at: usize) -> Option<&Leaf> {
    let after = body.leaves.partition_point(|leaf| leaf.at <= at);
    let leaf = body.leaves.get(after.checked_sub(1)?)?;
    (at < leaf.end()).then_some(leaf)
}

/// The bytes of a body from `at` on. `None` where it is shorter.
fn within(body: &Body, at: usize, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let from = body.leaves.partition_point(|leaf| leaf.end() <= at);
    for leaf in body.leaves.get(from..)? {
        let skip = at.saturating_sub(leaf.at);
        let rest = leaf.bytes.get(skip..)?;
        bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
        if bytes.len() == length {
            break;
        }
    }
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests;
