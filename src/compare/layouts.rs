//! What a stream says of its layout, held against another one.
//!
//! A dump lists what a build could send; a stream lists what it did send, in exact widths, and the
//! CPUs and the sections that are saved the old way besides. Turned into the words of a dump, the
//! layouts of two streams are compared like those of two dumps.
//!
//! What a stream cannot tell: whether a field, a subsection or a section was sent because it always
//! is or because the state asked for it, how long an array may be, and the lowest version that a
//! build takes. A difference that state explains is no error from a stream alone.

mod judge;
mod leaves;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

use crate::compare::dump::compare;
use crate::compare::renames::{NoRenames, Renames};
use crate::model::Direction;
use crate::model::Rule;
use crate::report::{Evidence, Finding, Kinds, Level, Shape};
use crate::stream::tree::{Content, Section, Stream, Structure};
use crate::vmstate::dump;
use crate::vmstate::dump::Dump;

use judge::Pair;
pub(crate) use judge::{is_state, is_undescribed, known};
pub(crate) use leaves::{Leaf, leaves};
use words::{empty_in, section};
pub(crate) use words::{label, layout_name, lists_not_seen, vmsd_name};

/// The kinds of section in a stream, but guest memory and others that are sent in parts, by whether the
/// dump of the build describes them.
pub fn kinds(stream: &Stream, dump: &Dump) -> Kinds {
    let mut kinds = Kinds::default();
    for section in stream.devices() {
        let name = vmsd_name(section);
        let known = dump.sections.iter().any(|s| s.description.name == name);
        let of_these = match known {
            true => &mut kinds.described,
            false => &mut kinds.undescribed,
        };
        of_these.insert(name.to_owned());
    }
    kinds
}

/// What is known of a build: the stream that it saved, and its dump where there is one.
#[derive(Debug, Clone, Copy)]
pub struct Side<'s> {
    pub stream: &'s Stream,
    pub dump: Option<&'s Dump>,
}

impl<'s> From<&'s Stream> for Side<'s> {
    fn from(stream: &'s Stream) -> Self {
        Side { stream, dump: None }
    }
}

impl<'s> From<(&'s Stream, Option<&'s Dump>)> for Side<'s> {
    fn from((stream, dump): (&'s Stream, Option<&'s Dump>)) -> Self {
        Side { stream, dump }
    }
}

/// Compares the layouts of two streams that were saved by two builds for one configuration. The
/// findings are those of a comparison of dumps, with `stream` as their evidence; the section is
/// named as on the wire, with the instance where it is not the first. What may be the work of state
/// is at most a warning; a dump of the destination tells more of it apart.
pub fn compare<'s>(
    old: impl Into<Side<'s>>,
    new: impl Into<Side<'s>>,
    directions: &[Direction],
    renames: &dyn Renames,
) -> Vec<Finding> {
    let (old, new) = (old.into(), new.into());
    let dumps = (old.dump, new.dump);
    let key = |section: &'s Section| (section.name.as_str(), section.instance_id);
    let by_key = |side: Side<'s>| -> HashMap<_, &'s Section> {
        side.stream.devices().map(|s| (key(s), s)).collect()
    };
    let (olds, news) = (by_key(old), by_key(new));
    let mut findings = Vec::new();
    for section in old.stream.devices() {
        match news.get(&key(section)) {
            Some(other) => {
                let found = compare_sections(section, other, dumps, directions, renames);
                findings.extend(found);
            }
            None => findings.extend(lone(section, Direction::Forward, directions)),
        }
    }
    for section in new.stream.devices() {
        if !olds.contains_key(&key(section)) {
            findings.extend(lone(section, Direction::Backward, directions));
        }
    }
    findings
}

/// The same for one section of either stream, of one name and instance. The dumps are those of the
/// old and of the new build.
pub(crate) fn compare_sections(
    old: &Section,
    new: &Section,
    dumps: (Option<&Dump>, Option<&Dump>),
    directions: &[Direction],
    renames: &dyn Renames,
) -> Vec<Finding> {
    let empty = empty_in(old, new);
    let (Some(old_layout), Some(new_layout)) = (section(old, &empty), section(new, &empty)) else {
        return versions_alone(old, new, directions);
    };
    let one = |section: dump::Section| Dump {
        machine: None,
        sections: vec![section],
    };
    let (old_dump, new_dump) = (one(old_layout), one(new_layout));
    let mut findings = compare::compare(&old_dump, &new_dump, directions, renames);
    for finding in &mut findings {
        let (source, destination) = finding.direction.source_destination(old, new);
        let (_, dump) = finding.direction.source_destination(dumps.0, dumps.1);
        let pair = Pair {
            source,
            destination,
            known: known(destination, dump),
        };
        pair.judge(finding);
    }
    findings
}

/// What can be said where the content of a section is not known: its header has a version.
fn versions_alone(old: &Section, new: &Section, directions: &[Direction]) -> Vec<Finding> {
    if old.version_id == new.version_id {
        return Vec::new();
    }
    let empty = |section: &Section| Section {
        content: Content::Decoded(Structure::default()),
        ..section.clone()
    };
    compare_sections(
        &empty(old),
        &empty(new),
        (None, None),
        directions,
        &NoRenames,
    )
}

/// A section that one stream has concerns the direction in which it is the source's.
fn lone(section: &Section, affected: Direction, directions: &[Direction]) -> Option<Finding> {
    if !directions.contains(&affected) {
        return None;
    }
    let (source, destination) = affected.source_destination("old", "new");
    let rule = match affected {
        Direction::Forward => Rule::SectionRemoved,
        Direction::Backward => Rule::SectionAdded,
    };
    let name = label(section);
    let shape = Some(Shape {
        name: Some(name.clone()),
        version_id: Some(section.version_id.into()),
        ..Shape::default()
    });
    Some(Finding {
        rule,
        level: Level::Warning,
        direction: affected,
        section: name.clone(),
        also_in: Vec::new(),
        machines: Vec::new(),
        path: vec![vmsd_name(section).to_owned()],
        message: format!(
            "{source} sent the section {name}, {destination} sent none of this name for the same \
             configuration"
        ),
        old: shape.clone().filter(|_| affected == Direction::Forward),
        new: shape.filter(|_| affected == Direction::Backward),
        allowed_by: None,
        evidence: Evidence::Stream,
        confirmed_by: None,
        context: Vec::new(),
        cause: format!("{rule} {name}"),
        items: Vec::new(),
    })
}
