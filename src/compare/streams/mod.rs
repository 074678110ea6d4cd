//! The layouts of two streams compared.
//!
//! A dump lists what a build could send; a stream lists what it did send, in exact widths, and also
//! the CPUs and the legacy sections. Laid out, two streams are compared like two dumps.
//!
//! A stream does not show whether a field, a subsection or a section was sent because it always is
//! or because the state asked for it, how long an array may be, and the lowest version that a build
//! takes, for which its dump is asked. A difference that state explains is no error from a stream alone.

mod common;
mod judge;
mod leaves;
#[cfg(test)]
mod tests;

use crate::compare::layout::{Interner, Layout, SentLayout, empty_in};
use crate::compare::renames::Renames;
use crate::compare::sections;
use crate::compare::sections::{Subject, Wording, lone_rule};
use crate::model::Direction;
use crate::report::{ChangeKey, Evidence, Finding, Kinds, Level, Shape};
use crate::stream::tree::{Section, Stream};
use crate::vmstate::dump::Dump;

pub(crate) use common::{CommonWidth, join};
pub(crate) use judge::{Doubt, Judgement, is_undescribed, known};
use judge::{Pair, lowest};
pub(crate) use leaves::{Leaf, leaves};

/// Returns the kinds of section in a stream, but guest memory and others that are sent in parts, by whether the
/// dump of the build describes them.
pub(crate) fn kinds(stream: &Stream, dump: &Dump) -> Kinds {
    let mut kinds = Kinds::default();
    for section in stream.devices() {
        let name = section.name.vmsd_name();
        let known = dump.sections.iter().any(|s| s.description.name == name);
        let of_these = match known {
            true => &mut kinds.described,
            false => &mut kinds.undescribed,
        };
        of_these.insert(name.to_owned());
    }
    kinds
}

/// The evidence about a build: the stream that it saved, and its dump where there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'s> {
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
/// is at most a warning; a dump of the destination decides more of them.
pub(crate) fn compare<'s>(
    old: impl Into<Side<'s>>,
    new: impl Into<Side<'s>>,
    directions: &[Direction],
    renames: &dyn Renames,
) -> Vec<Finding> {
    let (old, new) = (old.into(), new.into());
    let dumps = (old.dump, new.dump);
    let (olds, news) = (old.stream.devices_by_name(), new.stream.devices_by_name());
    let mut findings = Vec::new();
    for section in old.stream.devices() {
        match news.get(&section.key()) {
            Some(other) => {
                let wordings = directions.iter().map(|&way| Wording::by_age(way));
                let found = compare_sections(section, other, dumps, wordings, renames);
                findings.extend(found.into_iter().map(|difference| difference.finding));
            }
            None => findings.extend(lone(section, Direction::Forward, directions)),
        }
    }
    for section in new.stream.devices() {
        if !olds.contains_key(&section.key()) {
            findings.extend(lone(section, Direction::Backward, directions));
        }
    }
    findings
}

/// A difference between the layouts of two sections.
pub(crate) struct Difference {
    pub finding: Finding,
    pub judgement: Judgement,
}

/// Compares one section of either stream, of one name and instance, in the direction of each wording.
/// The dumps are those of the old and of the new build.
pub(crate) fn compare_sections(
    old: &Section,
    new: &Section,
    dumps: (Option<&Dump>, Option<&Dump>),
    wordings: impl IntoIterator<Item = Wording>,
    renames: &dyn Renames,
) -> Vec<Difference> {
    let empty = empty_in(old, new);
    let layouts = SentLayout::of(old, &empty).zip(SentLayout::of(new, &empty));
    let (mut old_layout, mut new_layout) = layouts.unwrap_or_else(|| {
        // Where the content of a section is not known, its header still has a version.
        let header =
            |section: &Section| SentLayout::of_header(section.name.vmsd_name(), section.version_id);
        (header(old), header(new))
    });
    let label = old.label();
    let mut differences = Vec::new();
    for wording in wordings {
        let (source, destination) = wording.direction.source_destination(old, new);
        let (_, dump) = wording.direction.source_destination(dumps.0, dumps.1);
        // Which version a build takes is a fact about it as the destination.
        let (sends, takes) = wording
            .direction
            .source_destination(&mut old_layout, &mut new_layout);
        sends.minimum_version_id = None;
        takes.minimum_version_id = lowest(destination, dump);
        let subject = |layout| Subject {
            type_name: &label,
            layout: Layout::Sent(layout),
        };
        let (of_old, of_new) = (subject(&old_layout), subject(&new_layout));
        let pair = Pair {
            source,
            destination,
            known: known(destination, dump),
            wording,
        };
        let interner = &mut Interner::default();
        for mut finding in sections::compare(of_old, of_new, None, wording, renames, interner) {
            let judgement = pair.judge(&mut finding);
            differences.push(Difference { finding, judgement });
        }
    }
    differences
}

/// A section that one stream has concerns the direction in which it is the source's.
fn lone(section: &Section, affected: Direction, directions: &[Direction]) -> Option<Finding> {
    if !directions.contains(&affected) {
        return None;
    }
    let (source, destination) = affected.source_destination("old", "new");
    let name = section.label();
    let shape = Some(Shape {
        name: Some(name.clone()),
        version_id: Some(section.version_id.into()),
        ..Shape::default()
    });
    Some(Finding {
        level: Level::Warning,
        path: vec![section.name.vmsd_name().to_owned()],
        message: format!(
            "{source} sent the section {name}, {destination} sent none of this name for the same \
             configuration"
        ),
        old: shape.clone().filter(|_| affected == Direction::Forward),
        new: shape.filter(|_| affected == Direction::Backward),
        ..Finding::about(
            name.clone(),
            lone_rule(affected),
            affected,
            Evidence::Stream,
            ChangeKey::Lone(name),
        )
    })
}
