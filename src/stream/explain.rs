//! Why a destination refused a stream: the first byte where what was sent and what the destination
//! reads part.
//!
//! What a build reads for a configuration is what it sends for the same one, as far as the state
//! allows; so the stream that the destination's build saves of the same guest, not run, stands for its
//! loader. QEMU names a section when it refuses one, and that section is asked first. Without such a
//! name only what refuses a stream for certain is told.

use super::layout::{self, Leaf, Side, compare_sections, leaves};
use super::tree::{Kind, Leaf as Held, Section, SectionKind, Stream, Structure};
use crate::model::{Direction, Finding, Level};
use crate::rules::Rule;
use crate::vmstate::renames::Renames;

/// Where and why a stream does not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub kind: ExplanationKind,
    /// The idstr, as sent.
    pub section: String,
    pub instance_id: u32,
    /// From the section's description down to the field, names joined by `/`.
    pub field: Option<String>,
    /// Bytes from the start of the source's stream.
    pub offset: Option<u64>,
    /// What stands there: name, type, size and value.
    pub sent: Option<String>,
    /// What the destination's build has there.
    pub expected: Option<String>,
    /// Id of the rule of the catalogue.
    pub rule: Option<String>,
    pub message: String,
}

/// What stands against a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplanationKind {
    /// The destination has no such section.
    Section,
    /// The version in the header.
    Version,
    /// A subsection that the destination does not know, or not in this version.
    Subsection,
    /// The fields do not lie alike.
    Layout,
    /// The layouts agree: a check after or during the load refused what a field holds.
    ValueCheck,
}

/// How sure an explanation is, surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    /// No state makes it load.
    Certain,
    /// It explains a refusal, which is known to have happened in this section.
    Likely,
    /// The state, or a test that cannot be seen, may make up for it.
    Perhaps,
    /// A length that depends on state.
    Elastic,
}

/// Explains why the destination refused `sent`. `expected` is the stream that the destination's build
/// saves for the same configuration, with its dump where there is one; `blamed` is the section that it
/// complained of, by its idstr or the name of its description alone, and the instance. `None` where
/// nothing is known.
pub fn explain<'s>(
    sent: &Stream,
    expected: impl Into<Side<'s>>,
    blamed: Option<(&str, Option<u32>)>,
    renames: &dyn Renames,
    direction: Direction,
) -> Option<Explanation> {
    let case = Case {
        sent,
        expected: expected.into(),
        renames,
        direction,
    };
    let best = |section: &Section| case.best(section);
    let Some((name, instance)) = blamed else {
        return sent
            .devices()
            .filter_map(best)
            .find(|(grade, _)| *grade == Grade::Certain)
            .map(|(_, explanation)| explanation);
    };
    let section = find(sent, name, instance)?;
    let found = best(section).map(|(_, explanation)| explanation);
    found.or_else(|| case.value_check(section))
}

/// The section that a build's message means: the last words of what it is called, where they are not
/// all of it.
fn find<'s>(sent: &'s Stream, name: &str, instance: Option<u32>) -> Option<&'s Section> {
    if name.is_empty() {
        return None;
    }
    let called = |section: &&Section| {
        let end = section.name.strip_suffix(name);
        end.is_some_and(|before| before.is_empty() || before.ends_with('/'))
            || layout::vmsd_name(section) == name
    };
    let holds = |section: &&Section| {
        let structure = section.content.structure();
        structure.is_some_and(|structure| has_description(structure, name))
    };
    let of_instance =
        |section: &&Section| instance.is_none_or(|instance| section.instance_id == instance);
    let all = || sent.sections.iter();
    let found = all()
        .find(|s| s.name == name && of_instance(s))
        .or_else(|| all().find(|s| called(s) && of_instance(s)))
        .or_else(|| all().find(|s| holds(s) && of_instance(s)))?;
    (found.kind == SectionKind::Device).then_some(found)
}

fn has_description(structure: &Structure, name: &str) -> bool {
    *structure.vmsd_name == *name
        || structure
            .fields
            .iter()
            .flat_map(layout::nested)
            .chain(structure.subsections.iter().map(|s| &s.structure))
            .any(|inner| has_description(inner, name))
}

/// What the sections of one stream are held against.
struct Case<'c> {
    sent: &'c Stream,
    expected: Side<'c>,
    renames: &'c dyn Renames,
    direction: Direction,
}

impl Case<'_> {
    /// All that may explain that a section was refused, the best first.
    fn candidates(&self, section: &Section) -> Vec<(Grade, Explanation)> {
        let named = self
            .expected
            .stream
            .section(&section.name, section.instance_id);
        let Some(expected) = named else {
            return vec![(Grade::Likely, self.unknown(section))];
        };
        let mut found: Vec<(Grade, Explanation)> = Vec::new();
        found.extend(self.version(section, expected));
        if !matches!(found.first(), Some((Grade::Certain, _))) {
            found.extend(self.layouts(section, expected));
            found.extend(values(section, expected));
        }
        found.sort_by_key(|(grade, explanation)| (*grade, explanation.offset));
        found
    }

    fn unknown(&self, section: &Section) -> Explanation {
        let rule = match self.direction {
            Direction::Forward => Rule::SectionRemoved,
            Direction::Backward => Rule::SectionAdded,
        };
        let known = self.expected.dump.is_some_and(|dump| {
            let name = layout::vmsd_name(section);
            dump.sections.iter().any(|s| s.description.name == name)
        });
        // A section of another name that only the destination has is a hint.
        let mut others = self.expected.stream.devices().filter(|other| {
            let ours = self.sent.section(&other.name, other.instance_id);
            ours.is_none()
        });
        let instead = match (others.next(), others.next()) {
            (Some(other), None) => Some(layout::label(other)),
            _ => None,
        };
        let why = match (&instead, known) {
            (Some(other), _) => format!("it sends {other} instead, which the source does not send"),
            (None, true) => {
                "it knows the description, but registers none of this name and instance".to_owned()
            }
            (None, false) => {
                "it may register it under another name or instance, or not at all".to_owned()
            }
        };
        Explanation {
            kind: ExplanationKind::Section,
            offset: Some(section.offset),
            sent: Some(format!("section of version {}", section.version_id)),
            expected: instead.map(|other| format!("section {other}")),
            rule: Some(rule.id().to_owned()),
            message: format!(
                "the source sends the section {}, which the destination's build does not send for \
                 the same configuration: {why}",
                layout::label(section)
            ),
            ..blank(section)
        }
    }

    fn version(&self, section: &Section, expected: &Section) -> Option<(Grade, Explanation)> {
        let (sent, own) = (section.version_id, expected.version_id);
        let minimum = layout::known(expected, self.expected.dump).map(|d| d.minimum_version_id);
        let (grade, rule, takes) = if sent > own {
            (
                Grade::Certain,
                Rule::VersionTooNew,
                format!("at most {own}"),
            )
        } else if let Some(minimum) = minimum.filter(|&minimum| i64::from(sent) < minimum) {
            let takes = format!("at least {minimum}");
            (Grade::Certain, Rule::VersionTooOld, takes)
        } else if sent < own && minimum.is_none() {
            let takes = format!("version {own}, and which older ones it does not say");
            (Grade::Likely, Rule::VersionTooOld, takes)
        } else {
            return None;
        };
        let explanation = Explanation {
            kind: ExplanationKind::Version,
            // The last number of the header.
            offset: section.payload_offset.checked_sub(4),
            sent: Some(format!("version {sent}")),
            expected: Some(takes.clone()),
            rule: Some(rule.id().to_owned()),
            message: format!(
                "the source sends version {sent} of {}; the destination's build takes {takes}",
                layout::label(section)
            ),
            ..blank(section)
        };
        Some((grade, explanation))
    }

    fn layouts(&self, section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
        let dump = self.expected.dump;
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

    /// Where several differences may each be the one and nothing tells which, none of them is: they
    /// are named together.
    fn best(&self, section: &Section) -> Option<(Grade, Explanation)> {
        let mut found = self.candidates(section);
        let grade = found.first()?.0;
        found.retain(|(other, _)| *other == grade);
        let (_, first) = found.first()?;
        if grade != Grade::Perhaps || found.len() == 1 {
            return Some((grade, first.clone()));
        }
        let named: Vec<String> = found
            .iter()
            .filter_map(|(_, one)| {
                let (rule, offset) = (one.rule.as_deref()?, one.offset?);
                Some(format!(
                    "{} ({rule}, offset {offset})",
                    one.field.as_deref()?
                ))
            })
            .collect();
        let same = |rule: &&String| found.iter().all(|(_, one)| one.rule.as_ref() == Some(rule));
        let explanation = Explanation {
            rule: first.rule.as_ref().filter(same).cloned(),
            field: None,
            message: format!(
                "the layouts of {} part in several places, and which of them the destination reads, \
                 a version or a test decides: {}",
                layout::label(section),
                named.join(", ")
            ),
            ..first.clone()
        };
        Some((grade, explanation))
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
        let known = place.offset.is_some() && !subsection;
        Explanation {
            kind,
            offset: place.offset,
            sent: match subsection {
                true => Some(format!("subsection {}", last(finding))),
                false => known.then(|| place.sent.map_or_else(end, Leaf::with_value)),
            },
            expected: known.then(|| place.expected.map_or_else(end, Leaf::shape)),
            rule: Some(finding.rule.clone()),
            message: format!(
                "{}, {path}{at}: {}",
                layout::label(section),
                self.sentence(finding, grade, place)
            ),
            field: (!path.is_empty()).then_some(path),
            ..blank(section)
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
            Grade::Certain | Grade::Likely => said,
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

    /// For a section that was refused although nothing in its layout speaks against it.
    fn value_check(&self, section: &Section) -> Option<Explanation> {
        let expected = self
            .expected
            .stream
            .section(&section.name, section.instance_id)?;
        // Where a section could not be read, its layout is not known to agree.
        section.content.structure()?;
        expected.content.structure()?;
        if section
            .content
            .error()
            .or(expected.content.error())
            .is_some()
        {
            return None;
        }
        if layout::is_undescribed(section) || layout::is_undescribed(expected) {
            return None;
        }
        let unseen = unseen(section, expected);
        let but = match unseen.as_slice() {
            [] => String::new(),
            names => format!(
                " (a stream does not describe what is in {})",
                names.join(", ")
            ),
        };
        Some(Explanation {
            kind: ExplanationKind::ValueCheck,
            message: format!(
                "the layout of {} is the same in both builds{but}: a check of the values refused it",
                layout::label(section)
            ),
            ..blank(section)
        })
    }
}

/// The fields whose insides the two streams do not show: those in a format of their own, and lists
/// that are empty on either side.
fn unseen(sent: &Section, expected: &Section) -> Vec<String> {
    // Plain bytes, and what is held against the device's own byte by byte.
    const BYTES: [&str; 3] = ["buffer", "bitmap", "pci config"];
    let mut names: Vec<String> = leaves(sent)
        .iter()
        .filter(|leaf| leaf.kind == Kind::Bytes && !BYTES.contains(&leaf.type_name))
        .filter_map(|leaf| leaf.path.last().cloned())
        .chain(layout::lists_not_seen(sent, expected))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Where a difference shows.
struct Place<'l, 's> {
    offset: Option<u64>,
    sent: Option<&'l Leaf<'s>>,
    expected: Option<&'l Leaf<'s>>,
}

fn blank(section: &Section) -> Explanation {
    Explanation {
        kind: ExplanationKind::ValueCheck,
        section: section.name.clone(),
        instance_id: section.instance_id,
        field: None,
        offset: None,
        sent: None,
        expected: None,
        rule: None,
        message: String::new(),
    }
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
    .iter()
    .any(|rule| finding.rule == rule.id())
}

/// What a finding is worth where a load is known to have failed. Header versions are told by the
/// headers.
fn grade(finding: &Finding) -> Option<Grade> {
    let rule = Rule::from_id(&finding.rule)?;
    match (finding.level, rule) {
        (Level::Note, _) | (_, Rule::VersionTooNew | Rule::VersionTooOld) => None,
        // It was sent, so its version was looked at.
        (Level::Error, _) | (_, Rule::SubsectionVersion) => Some(Grade::Certain),
        (_, Rule::SubsectionUnknown | Rule::SubsectionUnreachable) => Some(Grade::Likely),
        _ if layout::is_state(finding) => Some(Grade::Elastic),
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
        .filter(|node| layout::layout_name(node) == name)
        .flat_map(layout::nested)
        .find_map(|inner| marker(inner, rest))
}

/// Values that a loader is known to hold against its own.
fn values(section: &Section, expected: &Section) -> Vec<(Grade, Explanation)> {
    let (sent, own) = (leaves(section), leaves(expected));
    let mut found = Vec::new();
    for leaf in &sent {
        let mut twins = own.iter().filter(|other| other.label == leaf.label);
        let Some(twin) = twins.next() else {
            continue;
        };
        if leaf.bytes == twin.bytes || leaf.bytes.len() != twin.bytes.len() {
            continue;
        }
        if leaf.type_name.ends_with(" equal") {
            let explanation = Explanation {
                field: Some(leaf.label.clone()),
                offset: Some(leaf.offset),
                sent: Some(leaf.with_value()),
                expected: Some(twin.with_value()),
                message: format!(
                    "{} must hold in {} what the destination's own device has: {} was sent, it has {}",
                    leaf.label,
                    layout::label(section),
                    leaf.value(),
                    twin.value()
                ),
                ..blank(section)
            };
            found.push((Grade::Certain, explanation));
        }
        if leaf.type_name == "pci config"
            && let Some(at) = fixed_config(leaf.bytes, twin.bytes)
        {
            let byte = |bytes: &[u8]| format!("0x{:02x}", bytes.get(at).copied().unwrap_or(0));
            let (ours, theirs) = (byte(leaf.bytes), byte(twin.bytes));
            let explanation = Explanation {
                field: Some(leaf.label.clone()),
                offset: Some(leaf.offset + at as u64),
                sent: Some(format!("{} byte 0x{at:x} = {ours}", leaf.label)),
                expected: Some(theirs.clone()),
                message: format!(
                    "the PCI configuration space of {} differs where a guest cannot write, first at \
                     0x{at:x}: {ours} was sent, the destination's own device has {theirs}",
                    layout::label(section)
                ),
                ..blank(section)
            };
            found.push((Grade::Likely, explanation));
        }
    }
    found
}

/// The first byte of two configuration spaces that differs and is the device's own: the identity of
/// the device and the start of its capabilities. QEMU holds these against its own at every load
/// (`pci_init_cmask()` in `hw/pci/pci.c`).
fn fixed_config(sent: &[u8], own: &[u8]) -> Option<usize> {
    let fixed = |at: &usize| matches!(at, 0x00..=0x03 | 0x08..=0x0b | 0x0e | 0x34);
    (0..sent.len().min(own.len()))
        .filter(fixed)
        .find(|&at| sent.get(at) != own.get(at))
}

impl Leaf<'_> {
    /// Name, type and size.
    fn shape(&self) -> String {
        let size = match self.bytes.len() {
            1 => "1 byte".to_owned(),
            n => format!("{n} bytes"),
        };
        format!("{} ({}, {size})", self.label, self.type_name)
    }

    fn with_value(&self) -> String {
        format!("{} = {}", self.shape(), self.value())
    }

    fn value(&self) -> String {
        match self.kind.leaf(self.bytes) {
            _ if self.count != 1 => hex(self.bytes),
            Held::Bool(value) => value.to_string(),
            Held::Signed(value) => value.to_string(),
            Held::Unsigned(value) => format!("0x{value:x}"),
            Held::Float(value) => value.to_string(),
            Held::Text(value) => format!("{value:?}"),
            Held::Null => "null".to_owned(),
            Held::Bytes(bytes) => hex(bytes),
        }
    }
}

/// The first bytes, which are enough to know them by.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = bytes
        .iter()
        .take(SHOWN)
        .map(|b| format!("{b:02x}"))
        .collect();
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{HandMade, fixture, hand_made};
    use super::*;
    use crate::vmstate::dump::Dump;
    use crate::vmstate::renames::NoRenames;

    fn real(name: &str) -> Stream {
        parse(&fixture(name)).stream
    }

    fn dump(name: &str) -> Dump {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
        crate::vmstate::read::read_dump(format!("{folder}/{name}.json.zst").as_ref())
            .expect("there")
    }

    /// One line of all that an explanation says.
    fn line(explanation: Option<Explanation>) -> String {
        let Some(e) = explanation else {
            return "nothing".to_owned();
        };
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        format!(
            "{:?} {} {} | {} @ {} | sent {} | expected {} | {}",
            e.kind,
            e.section,
            e.instance_id,
            or(e.field),
            or(e.offset.map(|n| n.to_string())),
            or(e.sent),
            or(e.expected),
            or(e.rule)
        )
    }

    /// What QEMU blames in loads that really fail between these builds, and where the cause lies.
    #[test]
    fn real_failures_are_explained_to_the_field() {
        type Row = (
            Direction,
            &'static str,
            &'static str,
            Option<&'static str>,
            (&'static str, u32),
            &'static str,
        );
        let table: &[Row] = &[
            (
                Direction::Forward,
                "7.2.22/x86_64-q35",
                "10.0.13/x86_64-q35",
                Some("10.0.13/x86_64-q35"),
                ("0000:00:04.0/pciespscsi", 0),
                "Layout 0000:00:04.0/pciespscsi 0 | esp/drq_state @ 815134 | sent the end of the section | \
                 expected esp/drq_state (bool, 1 byte) | field-added",
            ),
            (
                Direction::Forward,
                "7.2.22/x86_64-q35",
                "10.0.13/x86_64-q35",
                None,
                ("0000:00:04.0/pciespscsi", 0),
                "Layout 0000:00:04.0/pciespscsi 0 | - @ 815132 | sent esp/ti_cmd (uint8, 1 byte) = 0x0 | \
                 expected esp/lun (uint8, 1 byte) | -",
            ),
            (
                Direction::Backward,
                "11.1.3/x86_64-q35",
                "10.0.13/x86_64-q35",
                Some("10.0.13/x86_64-q35"),
                ("0000:00:04.0/pciespscsi", 0),
                "Layout 0000:00:04.0/pciespscsi 0 | esp/asc_mode @ 806988 | sent esp/asc_mode (uint8, 1 byte) = \
                 0x0 | expected the end of the section | field-added",
            ),
            (
                Direction::Backward,
                "7.2.22/x86_64-q35",
                "5.2.0/x86_64-q35",
                None,
                ("0000:00:04.0/pciespscsi", 0),
                "Version 0000:00:04.0/pciespscsi 0 | - @ 814705 | sent version 2 | expected at most 1 | \
                 version-too-new",
            ),
            (
                Direction::Forward,
                "10.0.13/x86_64-q35",
                "11.1.3/x86_64-q35",
                None,
                ("0000:00:03.0/virtio-net", 0),
                "ValueCheck 0000:00:03.0/virtio-net 0 | - @ - | sent - | expected - | -",
            ),
            (
                Direction::Backward,
                "10.0.13/ppc64-pseries",
                "7.2.22/ppc64-pseries",
                None,
                ("cpu", 0),
                "Subsection cpu 0 | cpu/slb @ 1689389 | sent subsection cpu/slb | expected - | subsection-version",
            ),
            (
                Direction::Backward,
                "7.2.22/aarch64-virt",
                "5.2.0/aarch64-virt",
                None,
                ("cpu", 0),
                "ValueCheck cpu 0 | cpreg_vmstate_indexes @ 357793 | sent cpreg_vmstate_indexes (uint64, 2064 \
                 bytes) = 40 20 00 00 00 0f 68 00 ... | expected cpreg_vmstate_indexes (uint64, 1824 \
                 bytes) | array-resized",
            ),
            (
                Direction::Backward,
                "11.1.3/aarch64-virt",
                "10.0.13/aarch64-virt",
                None,
                ("cpu", 0),
                "Subsection cpu 0 | cpu/wfxt-timer @ 362859 | sent subsection cpu/wfxt-timer | expected - | \
                 subsection-unknown",
            ),
        ];
        for (direction, sent, own, known, (section, instance), expected) in table {
            let (sent_stream, own_stream) = (real(sent), real(own));
            let known = known.map(dump);
            let explanation = explain(
                &sent_stream,
                (&own_stream, known.as_ref()),
                Some((section, Some(*instance))),
                &NoRenames,
                *direction,
            );
            assert_eq!(line(explanation), *expected, "{sent} to {own}");
        }
    }

    #[test]
    fn without_a_section_to_blame_only_what_is_certain_is_told() {
        let forward = Direction::Forward;
        for name in ["s390x-ccw", "m68k-virt", "aarch64-virt"] {
            let (sent, own) = (
                real(&format!("7.2.22/{name}")),
                real(&format!("10.0.13/{name}")),
            );
            let told = explain(&sent, &own, None, &NoRenames, forward);
            assert_eq!(told, None, "{name}");
        }
        let (sent, own) = (real("7.2.22/x86_64-q35"), real("10.0.13/x86_64-q35"));
        assert_eq!(explain(&sent, &own, None, &NoRenames, forward), None);
        let known = dump("10.0.13/x86_64-q35");
        let told = explain(&sent, (&own, Some(&known)), None, &NoRenames, forward);
        assert_eq!(told.and_then(|e| e.field).as_deref(), Some("esp/drq_state"));
        let (sent, own) = (real("7.2.22/ppc64-pseries"), real("5.2.0/ppc64-pseries"));
        let told = explain(&sent, &own, None, &NoRenames, Direction::Backward);
        let told = told.expect("a version that is refused");
        assert_eq!(told.section, "spapr_iommu");
        assert_eq!(told.rule.as_deref(), Some("version-too-new"));
    }

    #[test]
    fn nothing_is_known_of_a_section_that_is_not_in_the_stream_or_is_memory() {
        let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
        for name in ["ram", "no-such-device", ""] {
            let told = explain(
                &sent,
                &own,
                Some((name, None)),
                &NoRenames,
                Direction::Forward,
            );
            assert_eq!(told, None, "{name}");
        }
    }

    #[test]
    fn what_a_stream_does_not_describe_is_not_called_the_same() {
        let (sent, own) = (real("7.2.22/s390x-ccw"), real("10.0.13/s390x-ccw"));
        let told = |name| {
            let blamed = Some((name, None));
            let told = explain(&sent, &own, blamed, &NoRenames, Direction::Forward);
            told.map(|e| e.message)
        };
        // Saved the old way: a heap of bytes.
        assert_eq!(told("s390-skeys"), None);
        let (sent, own) = (real("10.0.13/x86_64-q35"), real("11.1.3/x86_64-q35"));
        let blamed = Some(("virtio-net", None));
        let told = explain(&sent, &own, blamed, &NoRenames, Direction::Forward);
        assert_eq!(
            told.map(|e| e.message).as_deref(),
            Some(
                "the layout of 0000:00:03.0/virtio-net is the same in both builds (a stream does \
                 not describe what is in virtio): a check of the values refused it"
            )
        );
    }

    /// A device as either side sends it, and what is said of it when it is refused. Its header ends
    /// at offset 1000.
    #[test]
    fn hand_made_devices_are_explained() {
        const PLAIN: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
            {"name": "irq", "type": "uint8", "size": 1},
            {"name": "ports", "type": "uint32 equal", "size": 4},
            {"name": "config", "type": "pci config", "size": 64}]"#;
        const LONGER: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
            {"name": "irq", "type": "uint16", "size": 2},
            {"name": "ports", "type": "uint32 equal", "size": 4},
            {"name": "config", "type": "pci config", "size": 64},
            {"name": "more", "type": "bool", "size": 1}]"#;
        const LISTED: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
            {"name": "list", "type": "qtailq", "size": 10,
             "vmsd_name": "entry", "version": 1, "fields": [
                {"name": "key", "type": "uint64", "size": 8}]}]"#;
        const LISTED_MORE: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
            {"name": "list", "type": "qtailq", "size": 17,
             "vmsd_name": "entry", "version": 1, "fields": [
                {"name": "key", "type": "uint64", "size": 8}],
             "subsections": [{"vmsd_name": "s", "version": 1, "fields": []}]}]"#;
        const LISTED_NONE: &str = r#""vmsd_name": "dev", "version": 2, "fields": [
            {"name": "list", "type": "qtailq", "size": 1}]"#;
        let of = |name, version_id, description, values| {
            hand_made(&[HandMade {
                name,
                version_id,
                description,
                values,
            }])
        };
        let dev = "0000:00:02.0/dev";
        let said = |sent: &Stream, own: &Stream| {
            let blamed = Some(("dev", None));
            line(explain(sent, own, blamed, &NoRenames, Direction::Forward))
        };
        let plain = of(dev, 2, PLAIN, &[]);
        let more = of(
            dev,
            2,
            LISTED_MORE,
            &[(0, 1), (9, 5), (10, 1), (11, b's'), (15, 1)],
        );
        let head = "0000:00:02.0/dev 0 |";
        for (what, sent, own, expected) in [
            (
                "nothing differs",
                &plain,
                &plain,
                format!("ValueCheck {head} - @ - | sent - | expected - | -"),
            ),
            (
                "a version",
                &of(dev, 3, PLAIN, &[]),
                &plain,
                format!("Version {head} - @ 996 | sent version 3 | expected at most 2 | version-too-new"),
            ),
            (
                "an old version",
                &of(dev, 1, PLAIN, &[]),
                &plain,
                format!(
                    "Version {head} - @ 996 | sent version 1 | expected version 2, and which older \
                     ones it does not say | version-too-old"
                ),
            ),
            (
                "a width",
                &plain,
                &of(dev, 2, LONGER, &[]),
                format!(
                    "Layout {head} irq @ 1000 | sent irq (uint8, 1 byte) = 0x0 | expected irq \
                     (uint16, 2 bytes) | field-resized"
                ),
            ),
            (
                "another name",
                &of("0000:00:03.0/dev", 2, PLAIN, &[]),
                &plain,
                "Section 0000:00:03.0/dev 0 | - @ 980 | sent section of version 2 | expected section \
                 0000:00:02.0/dev | section-removed"
                    .to_owned(),
            ),
            (
                "a value",
                &of(dev, 2, PLAIN, &[(4, 6)]),
                &plain,
                format!(
                    "ValueCheck {head} ports @ 1001 | sent ports (uint32 equal, 4 bytes) = 0x6 | \
                     expected ports (uint32 equal, 4 bytes) = 0x0 | -"
                ),
            ),
            (
                "the device's identity",
                &of(dev, 2, PLAIN, &[(5 + 8, 7)]),
                &plain,
                format!(
                    "ValueCheck {head} config @ 1013 | sent config byte 0x8 = 0x07 | expected 0x00 | -"
                ),
            ),
            (
                "what a guest writes",
                &of(dev, 2, PLAIN, &[(5 + 4, 7)]),
                &plain,
                format!("ValueCheck {head} - @ - | sent - | expected - | -"),
            ),
            (
                "a subsection in a list",
                &more,
                &of(dev, 2, LISTED, &[(0, 1)]),
                format!(
                    "Subsection {head} list/s @ 1009 | sent subsection s | expected - | \
                     subsection-unknown"
                ),
            ),
            (
                "a list without elements",
                &more,
                &of(dev, 2, LISTED_NONE, &[]),
                format!("ValueCheck {head} - @ - | sent - | expected - | -"),
            ),
        ] {
            assert_eq!(said(sent, own), expected, "{what}");
        }
    }
}
