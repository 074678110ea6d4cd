//! Comparison of the state that a build has with the state that it was sent.
//!
//! A stream names its fields only in the description at its end, and a loader does not read that: it
//! takes bytes in the order that it expects. So the bytes that a destination saves again are nearly
//! always the bytes that it was sent, even where they landed in the wrong fields; what decides is
//! the name that either side gives to the same bytes. Fields are therefore matched by place first
//! and by name then: a name that both sides have, at another place, is a value in another field.
//!
//! A field that the source does not know has its value from nowhere, or from the padding that the
//! source sends in its place: see [`Filling`].

mod body;
mod filling;
mod loss;
mod resized;
#[cfg(test)]
mod tests;
mod version;

use std::collections::HashMap;

use crate::compare::streams::is_undescribed;
use crate::report::Change;
use crate::rules::known_issues::StateNames;
use crate::stream::tree::{Content, Section, Stream};

use body::{Body, Leaf, bodies, counterpart, holder, within};
pub(crate) use filling::{Filling, fillings, to_be_filled};
pub(crate) use loss::Loss;
use loss::Losses;
pub(crate) use resized::Lengths;
use resized::as_long;
use version::is_own_version;

/// Compares the sections of devices, in the order in which they were sent.
///
/// A section or a subsection that the destination knows (or it had refused it) and does not send is no loss: its own
/// needed() says that its state needs none. The bytes cannot say more. Where the destination sends nothing there is no
/// value of its own to compare them with, and a machine that never ran does not send it either, or else says only that
/// its state is another. Nor does it help that a value was sent that is not the usual one: the one such subsection that
/// real pairs of builds have, of 5.2 to 11.1 with every device of eight targets, is `spapr/cap/hpt_maxpagesize`, which a
/// build sends where the capability is not the default of its own machine type, and checks against its own when it
/// loads. A section without a description has no needed(): that it was not saved again is a loss of all of it.
///
/// `lengths` are those that the builds' own machines have: see [`Lengths`].
pub(crate) fn compare(
    sent: &Stream,
    actual: &Stream,
    names: &StateNames,
    lengths: &Lengths,
) -> Vec<Loss> {
    let by_name = actual.devices_by_name();
    let mut losses = Vec::new();
    for section in sent.devices() {
        let other = by_name.get(&section.key()).copied();
        let other = other.or_else(|| on_a_bus(section, actual));
        let lost = |by_themselves| {
            let known = Known {
                names,
                by_themselves,
            };
            lost(section, other, known)
        };
        let found = lost(None);
        // What a length explains, it explains wholly: what is behind the field lies elsewhere else.
        let own = lengths.of(section).filter(|_| !found.is_empty());
        if own.is_none_or(|own| !lost(Some(own)).is_empty()) {
            losses.extend(found);
        }
    }
    losses
}

/// Finds what was saved again of a section that was sent under the bare name of its description: a device that has a path on
/// a bus takes it, the first of that name the first, and so on (`find_se()` in `migration/savevm.c`).
fn on_a_bus<'a>(section: &Section, actual: &'a Stream) -> Option<&'a Section> {
    let nth = usize::try_from(section.instance_id).ok()?;
    let is_bare = section.name.device_path().is_none();
    let mut devices = actual.devices().filter(|other| {
        other.name.device_path().is_some() && other.name.vmsd_name() == section.name.as_str()
    });
    devices.nth(nth).filter(|_| is_bare)
}

/// Compares a section with what was saved again of it, if it was.
fn lost(section: &Section, other: Option<&Section>, known: Known<'_>) -> Vec<Loss> {
    let mut lost = Losses::of(section);
    let ours = || bodies(section);
    match other {
        Some(other) if are_alike(section, other) => {}
        // A build reads an older version in other places than it writes its own.
        Some(other) if other.version_id != section.version_id => {
            compare_names(&ours(), &bodies(other), &mut lost);
        }
        Some(other) => compare_bodies(&ours(), &bodies(other), known, &mut lost),
        // Not of functions of the device's own, which always save.
        None if !is_undescribed(section) => {}
        None => ours().iter().for_each(|body| lost.add_all(body)),
    }
    let names = known.names;
    lost.found.retain(|loss| {
        let actual = loss.held.as_deref();
        let own = names.volatile(&loss.description, loss.name(), &loss.sent, actual);
        // A value that went into a field that may have any value is relied on by no guest.
        let landed = loss.landed();
        let landed = landed.and_then(|(of, field)| names.volatile(of, field, &loss.sent, None));
        let has_own_version = other.is_some_and(|other| is_own_version(loss, section, other));
        own.or(landed).is_none() && !has_own_version
    });
    lost.found
}

/// Recognises the usual case without taking anything apart: both builds lay a section out alike, and
/// what was sent is what came back. So nothing is lost, and no field got its value from padding.
fn are_alike(sent: &Section, actual: &Section) -> bool {
    match (&sent.content, &actual.content) {
        (Content::Decoded(sent), Content::Decoded(actual)) => sent.is_alike(actual),
        _ => false,
    }
}

/// The differences between the builds that are no loss.
#[derive(Clone, Copy)]
struct Known<'k> {
    names: &'k StateNames,
    /// Fields of a section that either build writes in its own length.
    by_themselves: Option<&'k HashMap<String, usize>>,
}

/// Compares the fields of a section by the descriptions that they stand in.
fn compare_bodies(sent: &[Body], actual: &[Body], known: Known<'_>, losses: &mut Losses) {
    for (at, body) in sent.iter().enumerate() {
        match counterpart(sent, at, actual) {
            Some(other) => compare_body(body, other, known, losses),
            None if !body.key.is_empty() => {}
            None => losses.add_all(body),
        }
    }
}

/// Compares the fields that both sides name alike and give the same length, wherever they stand.
fn compare_names(sent: &[Body], actual: &[Body], losses: &mut Losses) {
    for body in sent {
        let mut others = actual.iter().filter(|other| other.key == body.key);
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
                && !leaf.is_padding()
            {
                losses.add(leaf, Change::Changed, Some(other), None);
            }
        }
    }
}

fn compare_body(sent: &Body, actual: &Body, known: Known<'_>, losses: &mut Losses) {
    let names = known.names;
    let actual = &as_long(sent, actual, names, known.by_themselves);
    let same = |a: &Leaf, b: &Leaf| {
        a.key == b.key || a.name() == b.name() || names.same(&a.description, a.name(), b.name())
    };
    // Both lists are in the order of the wire: one walk finds what lies at the same place.
    let mut anchors = vec![None; sent.leaves.len()];
    let mut anchored = vec![false; actual.leaves.len()];
    let mut at = 0;
    for (index, leaf) in sent.leaves.iter().enumerate() {
        while actual
            .leaves
            .get(at)
            .is_some_and(|other| other.at < leaf.at)
        {
            at += 1;
        }
        let here = actual.leaves[at..].iter().take_while(|o| o.at == leaf.at);
        for (step, other) in here.enumerate() {
            if other.bytes.len() == leaf.bytes.len() && same(leaf, other) {
                anchors[index] = Some(at + step);
                anchored[at + step] = true;
                break;
            }
        }
    }
    // What is left over has another name there, or stands elsewhere.
    let left = Left::of(sent, actual, &anchors, &anchored);
    for (leaf, anchor) in sent.leaves.iter().zip(&anchors) {
        if leaf.is_padding() {
            continue;
        }
        if let Some(other) = anchor.and_then(|anchor| actual.leaves.get(anchor)) {
            if other.bytes != leaf.bytes {
                losses.add(leaf, Change::Changed, Some(other), None);
            }
            continue;
        }
        let here = holder(actual, leaf.at);
        if let Some(other) = left.elsewhere(leaf) {
            // In its place, a field of another length is still the same field.
            let change = if other.at == leaf.at {
                Change::Changed
            } else {
                Change::Displaced
            };
            let here = here.filter(|_| change == Change::Displaced);
            losses.add(leaf, change, Some(other), here);
            continue;
        }
        // The destination skips on purpose what it does not use any more.
        if here.is_some_and(Leaf::is_padding) {
            continue;
        }
        // Another name, or another division, of the same bytes is no loss.
        match within(actual, leaf.at, leaf.bytes.len()) {
            Some(bytes) if bytes == leaf.bytes => {}
            Some(_) => losses.add(leaf, Change::Changed, here, here),
            None => losses.add(leaf, Change::Vanished, None, here),
        }
    }
}

/// The fields of the receiving side that do not lie where the sending side has the same field, by
/// their whole path and by their own name, where only one field on either side has it.
struct Left<'b> {
    by_key: HashMap<&'b str, &'b Leaf>,
    by_name: HashMap<&'b str, &'b Leaf>,
}

impl<'b> Left<'b> {
    fn of(
        sent: &'b Body,
        actual: &'b Body,
        anchors: &[Option<usize>],
        anchored: &[bool],
    ) -> Left<'b> {
        let there = actual.leaves.iter().zip(anchored);
        let there = there.filter(|(leaf, taken)| !**taken && !leaf.is_padding());
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
