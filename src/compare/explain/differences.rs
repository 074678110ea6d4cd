//! Where two layouts of one section part, and what that means for a load.

use crate::compare::explain::explanation::{Explanation, ExplanationKind, Grade, blank};
use crate::compare::layouts;
use crate::compare::layouts::{Leaf, compare_sections, leaves};
use crate::compare::renames::Renames;
use crate::model::Direction;
use crate::model::Rule;
use crate::report::{Finding, Level, Shape};
use crate::stream::tree::{Node, Section, Structure};
use crate::vmstate::dump::Dump;

/// What layouts are compared with.
pub(crate) struct Layouts<'c> {
    /// Of the destination's build.
    pub dump: Option<&'c Dump>,
    pub renames: &'c dyn Renames,
    pub direction: Direction,
}

impl Layouts<'_> {
    /// All that may explain that a section was refused.
    pub fn explain(&self, section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
        let dump = self.dump;
        let (old, new, dumps) = match self.direction {
            Direction::Forward => (section, expected, (None, dump)),
            Direction::Backward => (expected, section, (dump, None)),
        };
        let directions = [self.direction];
        let findings = compare_sections(old, new, dumps, &directions, self.renames);
        let leaves = (leaves(section), leaves(expected));
        findings
            .iter()
            .filter_map(|finding| {
                let grade = grade(finding)?;
                let place = self.place(finding, section, &leaves);
                Some((grade, self.layout(finding, grade, section, &place)))
            })
            .collect()
    }

    /// Where a finding shows in what was sent, and beside what.
    fn place<'l, 's>(
        &self,
        finding: &Finding,
        section: &Section,
        (sent, expected): &'l (Vec<Leaf<'s>>, Vec<Leaf<'s>>),
    ) -> Place<'l, 's> {
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
            let name = item.and_then(|item| {
                if new {
                    item.new.clone()
                } else {
                    item.old.clone()
                }
            });
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
        // What one side lacks would stand behind what both have before it.
        let behind = |at: usize, from: &[Leaf], to: &[Leaf]| {
            let before = from.get(..at)?.iter().rev();
            before
                .filter_map(|leaf| to.iter().rposition(|other| other.path == leaf.path))
                .next()
                .map_or(Some(0), |last| Some(last + 1))
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

    fn layout(
        &self,
        finding: &Finding,
        grade: Grade,
        section: &Section,
        place: &Place,
    ) -> Explanation {
        let path = finding.path.get(1..).unwrap_or_default().join("/");
        let subsection = is_subsection(finding);
        let end = || "the end of the section".to_owned();
        let kind = match (subsection, grade) {
            (true, _) => ExplanationKind::Subsection,
            (false, Grade::Elastic) => ExplanationKind::ValueCheck,
            (false, _) => ExplanationKind::Layout,
        };
        let at = match place.offset {
            Some(offset) => format!(", offset {offset}"),
            None => String::new(),
        };
        let (sent, expected) = match place.offset {
            _ if subsection => self.subsections(finding),
            Some(_) => (
                Some(place.sent.map_or_else(end, Leaf::with_value)),
                Some(place.expected.map_or_else(end, Leaf::shape)),
            ),
            None => (None, None),
        };
        Explanation {
            kind,
            offset: place.offset,
            sent,
            expected,
            rule: Some(finding.rule),
            message: format!(
                "{}, {path}{at}: {}",
                layouts::label(section),
                self.sentence(finding, grade, place)
            ),
            field: (!path.is_empty()).then_some(path),
            ..blank(section)
        }
    }

    /// A subsection as it was sent, and what the destination's build has of it.
    fn subsections(&self, finding: &Finding) -> (Option<String>, Option<String>) {
        let name = last(finding);
        let version = |shape: &Option<Shape>| shape.as_ref().and_then(|shape| shape.version_id);
        let versions = (version(&finding.old), version(&finding.new));
        match self.direction.source_destination(versions.0, versions.1) {
            (Some(sent), Some(own)) if finding.rule == Rule::SubsectionVersion => (
                Some(format!("subsection {name} of version {sent}")),
                Some(format!("version {own}")),
            ),
            _ if finding.rule == Rule::SubsectionUnknown => (
                Some(format!("subsection {name}")),
                Some("no subsection of this name".to_owned()),
            ),
            _ => (Some(format!("subsection {name}")), None),
        }
    }

    /// What a difference of the layouts means for this load.
    fn sentence(&self, finding: &Finding, grade: Grade, place: &Place) -> String {
        let (olds, news) = (
            finding.items.iter().any(|item| item.old.is_some()),
            finding.items.iter().any(|item| item.new.is_some()),
        );
        let (ours, theirs) = self.direction.source_destination(olds, news);
        let more = match finding.items.len() {
            0 | 1 => String::new(),
            2 => " and the field behind it".to_owned(),
            n => format!(" and {} fields behind it", n - 1),
        };
        let said = match (ours, theirs, place.sent, place.expected) {
            _ if is_subsection(finding) => self.in_roles(&finding.message),
            (true, false, Some(sent), _) => format!(
                "the source sends {}{more}, which the destination's build does not send itself",
                sent.shape()
            ),
            (false, true, _, Some(expected)) => format!(
                "the destination's build reads {}{more}, which the source does not send",
                expected.shape()
            ),
            (true, true, Some(sent), Some(expected)) => format!(
                "the source sends {}{more}, the destination's build has {} there",
                sent.shape(),
                expected.shape()
            ),
            _ => self.in_roles(&finding.message),
        };
        match grade {
            Grade::Perhaps => format!("{said}; whether it reads that, a version or a test decides"),
            Grade::Elastic => format!(
                "{said}; where that length is not the state's to choose, the load ends there"
            ),
            Grade::Certain | Grade::Likely | Grade::Late => said,
        }
    }

    /// The words of a finding tell the builds apart as old and new; here they have roles.
    fn in_roles(&self, message: &str) -> String {
        let (source, destination) = self.direction.source_destination("old", "new");
        let words = message.split(' ').map(|word| {
            let plain = word.trim_end_matches([',', ';', ':']);
            let role = match plain {
                _ if plain == source => "the source",
                _ if plain == destination => "the destination's build",
                _ => return word.to_owned(),
            };
            word.replacen(plain, role, 1)
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Where a difference shows.
struct Place<'l, 's> {
    offset: Option<u64>,
    sent: Option<&'l Leaf<'s>>,
    expected: Option<&'l Leaf<'s>>,
}

fn last(finding: &Finding) -> &str {
    finding.path.last().map_or("", String::as_str)
}

fn is_subsection(finding: &Finding) -> bool {
    [
        Rule::SubsectionUnknown,
        Rule::SubsectionVersion,
        Rule::SubsectionUnreachable,
    ]
    .contains(&finding.rule)
}

/// What a finding is worth where a load is known to have failed. Header versions are told by the
/// headers.
fn grade(finding: &Finding) -> Option<Grade> {
    match (finding.level, finding.rule) {
        (Level::Note, _) | (_, Rule::VersionTooNew | Rule::VersionTooOld) => None,
        // It was sent, so its version was looked at.
        (Level::Error, _) | (_, Rule::SubsectionVersion) => Some(Grade::Certain),
        (_, Rule::SubsectionUnknown | Rule::SubsectionUnreachable) => Some(Grade::Likely),
        _ if layouts::is_state(finding) => Some(Grade::Elastic),
        _ => Some(Grade::Perhaps),
    }
}

/// Where a subsection begins in what was sent.
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
        .filter(|node| layouts::layout_name(node) == name)
        .flat_map(Node::nested)
        .find_map(|inner| marker(inner, rest))
}
