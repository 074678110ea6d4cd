//! The first difference between two layouts of one section, and what it means for a load.

use crate::compare::explain::explanation::Explanation;
use crate::compare::explain::reason::Grade;
use crate::compare::explain::reason::{Lacking, OwnSubsection, Reason, Spot};
use crate::compare::explain::{Case, Objection};
use crate::compare::layout::layout_name;
use crate::compare::sections::Wording;
use crate::compare::streams::{Difference, Doubt, Judgement, Leaf, compare_sections, leaves};
use crate::model::{Direction, Rule};
use crate::report::{Finding, Level, Shape};
use crate::stream::tree::{Node, Section, Structure};

impl Case<'_> {
    /// Returns all differences between the layouts that may explain that a section was refused.
    pub(super) fn layouts(
        &self,
        section: &Section,
        expected: &Section,
    ) -> Vec<(Grade, Explanation)> {
        let dump = self.expected.dump;
        let (old, new, dumps) = match self.direction {
            Direction::Forward => (section, expected, (None, dump)),
            Direction::Backward => (expected, section, (dump, None)),
        };
        let wording = [Wording::by_role(self.direction)];
        let found = compare_sections(old, new, dumps, wording, self.renames);
        let leaves = (leaves(section), leaves(expected));
        found
            .into_iter()
            .filter_map(|difference| {
                let grade = grade(&difference)?;
                let finding = at_proof(difference);
                let place = self.place(&finding, section, &leaves);
                let explanation = self.explanation(&finding, grade, section, &place);
                Some((grade, explanation))
            })
            .collect()
    }

    /// Finds the place where a finding shows in what was sent, and the destination's item there.
    fn place<'l>(
        &self,
        finding: &Finding,
        section: &Section,
        (sent, expected): &'l (Vec<Leaf>, Vec<Leaf>),
    ) -> Place<'l> {
        let path = finding.path.get(1..).unwrap_or_default();
        if is_subsection(finding) {
            let structure = section.content.structure();
            return Place {
                offset: structure.and_then(|structure| marker(structure, path)),
                sent: None,
                expected: None,
            };
        }
        let named = |new: bool| {
            let item = finding.items.first();
            let name = item.and_then(|item| if new { &item.new } else { &item.old }.clone());
            let mut path = path.to_vec();
            match (path.last_mut(), name) {
                (Some(last), Some(name)) => *last = name,
                _ if item.is_some() => return None,
                _ => {}
            }
            Some(path)
        };
        let backward = self.direction == Direction::Backward;
        let at = |path: Option<Vec<String>>, leaves: &[Leaf]| {
            let path = path?;
            leaves.iter().position(|leaf| leaf.path.starts_with(&path))
        };
        let ours = at(named(backward), sent);
        let theirs = at(named(!backward), expected);
        // An item that one side lacks would come after the items that both have before it.
        let behind = |at: usize, from: &[Leaf], to: &[Leaf]| {
            let mut before = from.get(..at)?.iter().rev();
            let last = before.find_map(|leaf| to.iter().rposition(|other| other.path == leaf.path));
            Some(last.map_or(0, |last| last + 1))
        };
        let (ours, theirs) = match (ours, theirs) {
            (Some(i), None) => (Some(i), behind(i, sent, expected)),
            (None, Some(j)) => (behind(j, expected, sent), Some(j)),
            both => both,
        };
        let end = section.payload_offset + section.size;
        Place {
            offset: ours.map(|i| sent.get(i).map_or(end, |leaf| leaf.offset)),
            sent: ours.and_then(|i| sent.get(i)),
            expected: theirs.and_then(|j| expected.get(j)),
        }
    }

    fn explanation(
        &self,
        finding: &Finding,
        grade: Grade,
        section: &Section,
        place: &Place,
    ) -> Explanation {
        let path = finding.path.get(1..).unwrap_or_default().join("/");
        let reason = match is_subsection(finding) {
            true => self.subsection(finding),
            false => self.layout(finding, grade, place),
        };
        let is_known = matches!(
            reason,
            Reason::Subsection {
                own: Some(OwnSubsection::NotNeeded),
                ..
            }
        );
        Explanation {
            offset: place.offset,
            rule: Some(finding.rule).filter(|_| !is_known),
            field: (!path.is_empty()).then_some(path),
            ..Explanation::of(section, reason)
        }
    }

    /// A subsection as it was sent, and as the destination's build has it.
    fn subsection(&self, finding: &Finding) -> Reason {
        let version = |shape: &Option<Shape>| shape.as_ref().and_then(|shape| shape.version_id);
        let versions = (version(&finding.old), version(&finding.new));
        let own = match self.direction.source_destination(versions.0, versions.1) {
            (Some(sent), Some(own)) if finding.rule == Rule::SubsectionVersion => {
                Some(OwnSubsection::Version { sent, own })
            }
            _ if finding.rule == Rule::SubsectionUnknown => Some(match self.objection() {
                // It died of the section instead of refusing it.
                Some(Objection::Death) => OwnSubsection::NotNeeded,
                _ => OwnSubsection::None,
            }),
            _ => None,
        };
        Reason::Subsection {
            name: finding.path.last().cloned().unwrap_or_default(),
            own,
            difference: finding.message.clone(),
        }
    }

    /// A difference of the layouts, and what it means for this load.
    fn layout(&self, finding: &Finding, grade: Grade, place: &Place) -> Reason {
        let (olds, news) = (
            finding.items.iter().any(|item| item.old.is_some()),
            finding.items.iter().any(|item| item.new.is_some()),
        );
        let lacking = match self.direction.source_destination(olds, news) {
            (true, false) => Lacking::Destination,
            (false, true) => Lacking::Source,
            (true, true) => Lacking::Neither,
            (false, false) => Lacking::Unknown,
        };
        let spot = |leaf: Option<&Leaf>| leaf.map_or(Spot::End, |leaf| Spot::Field(leaf.clone()));
        Reason::Layout {
            sent: place.offset.map(|_| spot(place.sent)),
            expected: place.offset.map(|_| spot(place.expected)),
            lacking,
            more: finding.items.len().saturating_sub(1),
            weight: grade.into(),
            difference: finding.message.clone(),
        }
    }
}

/// Returns the finding from the item on that proves it, where it begins with others.
fn at_proof(difference: Difference) -> Finding {
    let mut finding = difference.finding;
    if let Judgement::Proved { item } = difference.judgement {
        finding.items.drain(..item);
        if let Some(first) = finding.items.first() {
            finding.path.clone_from(&first.path);
        }
    }
    finding
}

/// The place where a difference shows.
struct Place<'l> {
    offset: Option<u64>,
    sent: Option<&'l Leaf>,
    expected: Option<&'l Leaf>,
}

fn is_subsection(finding: &Finding) -> bool {
    [
        Rule::SubsectionUnknown,
        Rule::SubsectionVersion,
        Rule::SubsectionUnreachable,
    ]
    .contains(&finding.rule)
}

/// Grades a difference where a load is known to have failed. Header versions are explained by the
/// headers.
fn grade(difference: &Difference) -> Option<Grade> {
    match (difference.finding.level, difference.finding.rule) {
        // Padding that is read as a value has the right length.
        (Level::Note, _) | (_, Rule::VersionTooNew | Rule::VersionTooOld | Rule::FieldPadded) => {
            None
        }
        // It was sent, so its version was looked at.
        (Level::Error, _) | (_, Rule::SubsectionVersion) => Some(Grade::Certain),
        (_, Rule::SubsectionUnknown | Rule::SubsectionUnreachable) => Some(Grade::Likely),
        _ if difference.judgement == Judgement::Doubted(Doubt::State) => Some(Grade::Elastic),
        _ => Some(Grade::Perhaps),
    }
}

/// Returns where a subsection begins in what was sent.
fn marker(structure: &Structure, path: &[String]) -> Option<u64> {
    let (name, rest) = path.split_first()?;
    let subsections = structure.subsections.iter();
    let mut named = subsections.filter(|s| *s.name == **name);
    if let Some(subsection) = named.next() {
        return match rest {
            [] => Some(subsection.offset),
            rest => marker(&subsection.structure, rest),
        };
    }
    let fields = structure.fields.iter();
    fields
        .filter(|node| layout_name(node) == name)
        .flat_map(Node::nested)
        .find_map(|inner| marker(inner, rest))
}
