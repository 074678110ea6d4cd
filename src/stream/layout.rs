//! What a stream says of its layout, held against another one.
//!
//! A dump lists what a build could send; a stream lists what it did send, in exact widths, and the
//! CPUs and the sections that are saved the old way besides. Turned into the words of a dump, the
//! layouts of two streams are compared like those of two dumps.
//!
//! What a stream cannot tell: whether a field, a subsection or a section was sent because it always
//! is or because the state asked for it, how long an array may be, and the lowest version that a
//! build takes. A difference that state explains is no error from a stream alone.

use std::collections::{HashMap, HashSet};

use super::tree::{Content, Kind, Node, Section, Stream, Structure, Value};
use crate::model::{Changed, Direction, Evidence, Finding, Level, Shape};
use crate::rules::Rule;
use crate::vmstate::compare;
use crate::vmstate::dump::{self, Dump};
use crate::vmstate::renames::{NoRenames, Renames};

/// Before this size the comparison of dumps would see a timer, which has 8 bytes on the wire.
const TIMER_IN_MEMORY: u64 = 48;

/// How much of what was sent the dump of a build describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Described {
    /// Sections of devices whose vmsd the dump has.
    pub covered: usize,
    /// All sections that were sent but guest memory and others that are sent in parts.
    pub all: usize,
}

/// Counts the sections of a stream that a dump has a description for, by the name of the vmsd.
pub fn described(stream: &Stream, dump: &Dump) -> Described {
    let known = |section: &&Section| {
        let name = vmsd_name(section);
        dump.sections.iter().any(|s| s.description.name == name)
    };
    Described {
        covered: stream.devices().filter(known).count(),
        all: stream.devices().count(),
    }
}

/// The layout of a stream in the words of a dump: every field unconditional and ungated, its size the
/// one on the wire, and every version taken. Sections that are not decoded are left out.
pub fn layout(stream: &Stream) -> Dump {
    Dump {
        machine: stream.machine().map(str::to_owned),
        sections: stream
            .devices()
            .filter_map(|s| section(s, &Lists::new()))
            .collect(),
    }
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
pub(super) fn compare_sections(
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

/// Whether a section is saved the old way, or was not decoded.
pub(super) fn is_undescribed(section: &Section) -> bool {
    let structure = section.content.structure();
    structure.is_none_or(|s| s.vmsd_name.is_empty())
}

/// The names of the lists that have no elements in one or the other section.
pub(super) fn lists_not_seen(one: &Section, other: &Section) -> impl Iterator<Item = String> {
    empty_in(one, other).into_iter().map(|(_, field)| field)
}

fn empty_in(one: &Section, other: &Section) -> Lists {
    let mut empty = Lists::new();
    for structure in [one, other].iter().filter_map(|s| s.content.structure()) {
        empty_lists(structure, &mut empty);
    }
    empty
}

/// How a dump describes a section, if it does.
pub(super) fn known<'d>(
    section: &Section,
    dump: Option<&'d Dump>,
) -> Option<&'d dump::Description> {
    let name = vmsd_name(section);
    let mut all = dump?.sections.iter().map(|s| &s.description);
    all.find(|description| description.name == name)
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

/// A section as it was sent, and as the destination sends it.
struct Pair<'s> {
    source: &'s Section,
    destination: &'s Section,
    /// How the dump of the destination describes it.
    known: Option<&'s dump::Description>,
}

/// Whether the destination would read a field from what the source sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Always,
    Never,
    /// It has a test for it, or nothing is known.
    Perhaps,
}

impl Pair<'_> {
    /// Makes a finding of a comparison of dumps one of streams.
    fn judge(&self, finding: &mut Finding) {
        finding.evidence = Evidence::Stream;
        // A stream does not tell the lowest version that is taken.
        for shape in [&mut finding.old, &mut finding.new].into_iter().flatten() {
            shape.minimum_version_id = None;
        }
        let (source, destination) = finding.direction.source_destination("old", "new");
        if finding.rule == Rule::SubsectionUnknown.id() {
            let name = finding.path.last().map_or("", String::as_str);
            let known = match self.reads(&finding.path, true) {
                Reads::Never => format!("{destination} does not know it"),
                // It is found by its name, and that is all that it takes.
                Reads::Always => {
                    finding.level = Level::Note;
                    format!("{destination} knows it and did not need it in its own state")
                }
                Reads::Perhaps => format!(
                    "{destination} did not: it may not know it, or not need it in its own state"
                ),
            };
            finding.message = format!("{source} sent the subsection {name}; {known}");
            return;
        }
        if finding.rule == Rule::SubsectionVersion.id() {
            let version = |shape: &Option<Shape>| shape.as_ref().and_then(|s| s.version_id);
            let versions = (version(&finding.old), version(&finding.new));
            let (sent, own) = finding.direction.source_destination(versions.0, versions.1);
            finding.message = format!(
                "{source} sends the subsection {} at version {}, {destination} is at version {}",
                finding.path.last().map_or("", String::as_str),
                sent.unwrap_or_default(),
                own.unwrap_or_default()
            );
        }
        if finding.level != Level::Error || finding.rule == Rule::VersionTooNew.id() {
            return;
        }
        if is_undescribed(self.source) || is_undescribed(self.destination) {
            // The old way: the bytes are one heap, and their number depends on the state.
            soften(finding, STATE);
            return;
        }
        let read: Vec<Reads> = item_paths(finding)
            .map(|path| self.reads(&path, false))
            .collect();
        let all = |wanted| !read.is_empty() && read.iter().all(|&r| r == wanted);
        let any = |wanted| read.contains(&wanted);
        let lone = |names: fn(&Changed) -> &Option<String>| {
            finding.items.iter().all(|item| names(item).is_none())
        };
        let (only_new, only_old) = (lone(|i| &i.old), lone(|i| &i.new));
        let (only_source, only_destination) =
            finding.direction.source_destination(only_old, only_new);
        let elastic = |side: &Section, item: &Changed, name: &Option<String>| {
            let name = name.as_deref();
            name.is_none_or(|name| is_elastic(side, &item.description, name))
        };
        let (old, new) = match finding.direction {
            Direction::Forward => (self.source, self.destination),
            Direction::Backward => (self.destination, self.source),
        };
        let state = !finding.items.is_empty()
            && finding
                .items
                .iter()
                .all(|i| elastic(old, i, &i.old) && elastic(new, i, &i.new));
        if only_destination && any(Reads::Always) || only_source && any(Reads::Never) {
            return;
        }
        if only_destination && all(Reads::Never) {
            finding.level = Level::Note;
            finding.message = format!(
                "{}; of version {} it does not read that",
                finding.message, self.source.version_id
            );
        } else if state {
            soften(finding, STATE);
        } else if self.source.version_id != self.destination.version_id {
            let version = self.source.version_id;
            soften(
                finding,
                &format!("{destination} may read version {version} in another way"),
            );
        } else if (only_source || only_destination) && self.may_decide(finding) {
            soften(
                finding,
                &format!("a value before it differs, which may decide what {destination} reads"),
            );
        }
    }

    /// Whether the destination reads what its dump has at this path: a field, or a subsection.
    fn reads(&self, path: &[String], subsection: bool) -> Reads {
        let Some(mut at) = self.known else {
            return Reads::Perhaps;
        };
        let mut certain = true;
        let mut names = path.iter().skip(1).peekable();
        while let Some(name) = names.next() {
            if let Some(inner) = at.subsections.iter().find(|s| s.name == *name) {
                if names.peek().is_none() {
                    return Reads::Always;
                }
                at = inner;
                continue;
            }
            let plain = name.split_once('[').map_or(name.as_str(), |(name, _)| name);
            let mut named = at.fields().iter().filter(|f| f.name == *name).peekable();
            let field = match named.peek() {
                Some(_) => named.next(),
                None => at.fields().iter().find(|f| f.name == plain),
            };
            let Some(field) = field else {
                // A subsection is found by its name. A field may have another one there, and where
                // none has a test, it would have to stand in what the destination sends.
                let tests = !subsection && at.fields().iter().any(|f| f.conditional);
                let last = names.peek().is_none();
                return match certain && last && !tests {
                    true => Reads::Never,
                    false => Reads::Perhaps,
                };
            };
            if named.next().is_some() || field.conditional {
                certain = false;
            } else if field.version_id > self.source.version_id.into() && path.len() == 2 {
                return Reads::Never;
            }
            match &field.description {
                Some(inner) => at = inner,
                None if names.peek().is_some() => return Reads::Perhaps,
                None => {}
            }
        }
        if certain {
            Reads::Always
        } else {
            Reads::Perhaps
        }
    }

    /// Whether a number before the first difference is another one in the two streams: fields that
    /// depend on a test, depend on what was read before them.
    fn may_decide(&self, finding: &Finding) -> bool {
        let (ours, theirs) = (leaves(self.source), leaves(self.destination));
        let first = finding.path.get(1..).unwrap_or_default();
        for (a, b) in ours.iter().zip(&theirs) {
            if a.path.starts_with(first) || b.path.starts_with(first) {
                return false;
            }
            if a.path != b.path || a.bytes.len() != b.bytes.len() {
                // Something parted before; what decides there may decide here.
                return true;
            }
            let number = matches!(a.kind, Kind::Bool | Kind::Signed | Kind::Unsigned);
            if number && a.bytes.len() <= 4 && a.bytes != b.bytes {
                return true;
            }
        }
        false
    }
}

/// What is said of a difference that the state explains.
const STATE: &str = "the state may make the difference";

/// Whether a difference is one that the state explains.
pub(super) fn is_state(finding: &Finding) -> bool {
    finding.message.ends_with(STATE)
}

fn soften(finding: &mut Finding, why: &str) {
    finding.level = Level::Warning;
    finding.message = format!("{}; {why}", finding.message);
}

/// The paths of the fields that a finding is about: that of the first, and its neighbours'.
fn item_paths(finding: &Finding) -> impl Iterator<Item = Vec<String>> {
    let (_, around) = finding.path.split_last().unwrap_or((&EMPTY, &[]));
    finding.items.iter().flat_map(move |item| {
        let name = item.new.as_ref().or(item.old.as_ref());
        name.map(|name| [around, std::slice::from_ref(name)].concat())
    })
}

static EMPTY: String = String::new();

/// A field that holds no others, as it was sent.
pub(super) struct Leaf<'s> {
    /// Names as a finding has them, from the section's own fields down.
    pub path: Vec<String>,
    /// Names with the indices of elements, for people.
    pub label: String,
    pub type_name: &'s str,
    pub kind: Kind,
    /// Values in it.
    pub count: usize,
    pub offset: u64,
    pub bytes: &'s bytes::Bytes,
}

/// The fields of a section in the order of the wire.
pub(super) fn leaves(section: &Section) -> Vec<Leaf<'_>> {
    let mut leaves = Vec::new();
    if let Some(structure) = section.content.structure() {
        collect(structure, &[], "", &mut leaves);
    }
    leaves
}

fn collect<'s>(structure: &'s Structure, path: &[String], label: &str, into: &mut Vec<Leaf<'s>>) {
    let join = |name: &str| match label {
        "" => name.to_owned(),
        label => format!("{label}/{name}"),
    };
    for run in structure.fields.chunk_by(|a, b| a.name == b.name) {
        let mut index = 0;
        for node in run {
            let path = [path, &[layout_name(node).to_owned()]].concat();
            let alone = run.len() == 1 && node.index.is_none();
            let mut element = |alone: bool| {
                index += 1;
                match alone {
                    true => join(&node.name),
                    false => join(&format!("{}[{}]", node.name, index - 1)),
                }
            };
            match &node.value {
                Value::Leaf(kind) | Value::Leaves { kind, .. } => into.push(Leaf {
                    path,
                    label: element(alone),
                    type_name: &node.type_name,
                    kind: *kind,
                    count: match node.value {
                        Value::Leaves { count, .. } => count,
                        _ => 1,
                    },
                    offset: node.offset,
                    bytes: &node.bytes,
                }),
                Value::Struct(structure) => collect(structure, &path, &element(alone), into),
                Value::Structs(elements) => {
                    for structure in elements {
                        let label = element(false);
                        if let Some(structure) = structure {
                            collect(structure, &path, &label, into);
                        }
                    }
                }
                Value::List(elements) => {
                    for structure in elements {
                        collect(structure, &path, &element(false), into);
                    }
                }
            }
        }
    }
    for subsection in &structure.subsections {
        let path = [path, &[subsection.name.to_string()]].concat();
        collect(&subsection.structure, &path, &join(&subsection.name), into);
    }
}

/// Whether a field may have another length, or none, in another state.
fn is_elastic(section: &Section, description: &str, field: &str) -> bool {
    fn walk(structure: &Structure, description: &str, field: &str) -> bool {
        let own = *structure.vmsd_name == *description;
        structure.fields.iter().any(|node| {
            let here = own && layout_name(node) == field;
            here && elastic(node) || nested(node).any(|inner| walk(inner, description, field))
        }) || structure
            .subsections
            .iter()
            .any(|s| walk(&s.structure, description, field))
    }
    let structure = section.content.structure();
    structure.is_some_and(|structure| walk(structure, description, field))
}

fn elastic(node: &Node) -> bool {
    match &node.value {
        Value::Leaf(kind) => *kind == Kind::Bytes,
        Value::Leaves { .. } | Value::Structs(_) | Value::List(_) => true,
        Value::Struct(_) => false,
    }
}

/// The structures inside a field.
pub(super) fn nested(node: &Node) -> impl Iterator<Item = &Structure> {
    let (one, some, all) = match &node.value {
        Value::Struct(structure) => (Some(structure), None, None),
        Value::Structs(elements) => (None, Some(elements.iter().flatten()), None),
        Value::List(elements) => (None, None, Some(elements.iter())),
        Value::Leaf(_) | Value::Leaves { .. } => (None, None, None),
    };
    one.into_iter()
        .chain(some.into_iter().flatten())
        .chain(all.into_iter().flatten())
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
        rule: rule.id().to_owned(),
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

/// The name of a section with its instance, where it is not the first of that name.
pub(super) fn label(section: &Section) -> String {
    match section.instance_id {
        0 => section.name.clone(),
        instance => format!("{} {instance}", section.name),
    }
}

/// The name of the section's description, which its own name ends in. One that is saved the old way
/// has no description: the end of the name stands for it.
pub(super) fn vmsd_name(section: &Section) -> &str {
    let name = section.content.structure().map(|s| &*s.vmsd_name);
    match name {
        Some(name) if !name.is_empty() => name,
        _ => section
            .name
            .rsplit_once('/')
            .map_or(&*section.name, |(_, name)| name),
    }
}

/// Lists in `empty` are taken as if they had no elements.
fn section(section: &Section, empty: &Lists) -> Option<dump::Section> {
    let Content::Decoded(structure) = &section.content else {
        return None;
    };
    let mut description = description(structure, empty);
    description.name = vmsd_name(section).to_owned();
    description.version_id = section.version_id.into();
    Some(dump::Section {
        type_name: label(section),
        description,
    })
}

/// More than one: a single element would count as a field of its own.
const SOME: u64 = 2;

/// Lists by the names of the description and the field.
type Lists = HashSet<(String, String)>;

fn key(structure: &Structure, node: &Node) -> (String, String) {
    (structure.vmsd_name.to_string(), node.name.to_string())
}

/// The lists that have no elements.
fn empty_lists(structure: &Structure, into: &mut Lists) {
    for node in &structure.fields {
        if matches!(&node.value, Value::List(elements) if elements.is_empty()) {
            into.insert(key(structure, node));
        }
        for inner in nested(node) {
            empty_lists(inner, into);
        }
    }
    for subsection in &structure.subsections {
        empty_lists(&subsection.structure, into);
    }
}

fn description(structure: &Structure, empty: &Lists) -> dump::Description {
    dump::Description {
        name: structure.vmsd_name.to_string(),
        version_id: structure.version.unwrap_or_default().into(),
        minimum_version_id: 0,
        fields: Some(fields(structure, empty)),
        subsections: structure
            .subsections
            .iter()
            .map(|subsection| dump::Description {
                name: subsection.name.to_string(),
                version_id: subsection.version_id.into(),
                ..description(&subsection.structure, empty)
            })
            .collect(),
    }
}

/// The name that a dump has for a field. A stream numbers the padding of a description.
pub(super) fn layout_name(node: &Node) -> &str {
    match node.value {
        Value::Leaf(Kind::Padding) => "unused",
        _ => &node.name,
    }
}

fn fields(structure: &Structure, empty: &Lists) -> Vec<dump::Field> {
    let mut fields = Vec::new();
    // Elements of an array may have an entry each, with an index or, by some versions, without one.
    // Other fields never follow under one and the same name: a stream numbers them.
    for run in structure.fields.chunk_by(|a, b| a.name == b.name) {
        let elements: Vec<dump::Field> = run
            .iter()
            .flat_map(|node| field(node, structure, empty))
            .collect();
        let Some((first, others)) = elements.split_first() else {
            continue;
        };
        let alike = |other: &dump::Field| {
            (other.size, &other.description) == (first.size, &first.description)
        };
        if others.iter().all(alike) {
            let num = |field: &dump::Field| field.num.unwrap_or(1);
            fields.push(dump::Field {
                num: Some(elements.iter().map(num).fold(0, u64::saturating_add)),
                ..first.clone()
            });
        } else {
            fields.extend(
                elements
                    .into_iter()
                    .enumerate()
                    .map(|(index, element)| dump::Field {
                        name: format!("{}[{index}]", run[0].name),
                        ..element
                    }),
            );
        }
    }
    fields
}

/// A node as fields of a dump: one, none where nothing is on the wire, or several where elements of
/// an array differ.
fn field(node: &Node, structure: &Structure, empty: &Lists) -> Vec<dump::Field> {
    let plain = |size: u64, num: u64| dump::Field {
        name: layout_name(node).to_owned(),
        version_id: 0,
        conditional: false,
        // Stated also where it is one, so that every length counts as known.
        num: Some(num),
        size,
        description: None,
    };
    let bytes = |size: u64, num: u64| match size {
        TIMER_IN_MEMORY => plain(1, size.saturating_mul(num)),
        _ => plain(size, num),
    };
    let described = |structure: &Structure, num: u64| dump::Field {
        description: Some(Box::new(description(structure, empty))),
        ..plain(node.bytes.len() as u64 / num.max(1), num)
    };
    match &node.value {
        _ if node.bytes.is_empty() => Vec::new(),
        Value::Leaf(_) => vec![bytes(node.bytes.len() as u64, 1)],
        Value::Leaves {
            element_size,
            count,
            ..
        } => vec![bytes(*element_size as u64, *count as u64)],
        Value::Struct(structure) => vec![described(structure, 1)],
        Value::List(elements) => match elements.iter().max_by_key(|e| e.subsections.len()) {
            // How many there are is state, so they count as an array of one length everywhere.
            Some(fullest) if !empty.contains(&key(structure, node)) => {
                vec![described(fullest, SOME)]
            }
            // What they hold shows only where there are some.
            _ => vec![plain(0, 1)],
        },
        Value::Structs(elements) => {
            let all: Option<Vec<&Structure>> = elements.iter().map(Option::as_ref).collect();
            match all.as_deref() {
                Some([first, ..]) => vec![described(first, elements.len() as u64)],
                Some([]) => Vec::new(),
                None => elements
                    .iter()
                    .map(|element| match element {
                        Some(structure) => described(structure, 1),
                        // What stands for a null pointer is one byte.
                        None => plain(1, 1),
                    })
                    .collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{HandMade, fixture, hand_made};
    use super::*;

    const NAMES: &[&str] = &[
        "x86_64-q35",
        "x86_64-i440fx",
        "s390x-ccw",
        "ppc64-pseries",
        "aarch64-virt",
        "m68k-virt",
    ];
    const VERSIONS: &[&str] = &["5.2.0", "7.2.22", "10.0.13", "11.1.3"];

    fn real(version: &str, name: &str) -> Option<Stream> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/streams");
        let there = std::fs::exists(format!("{folder}/{version}/{name}.stream.zst"));
        there
            .expect("readable")
            .then(|| parse(&fixture(&format!("{version}/{name}"))).stream)
    }

    fn dump(version: &str, name: &str) -> Dump {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
        let file = format!("{folder}/{version}/{name}.json.zst");
        crate::vmstate::read::read_dump(file.as_ref()).expect("a dump")
    }

    /// Machine, builds, section and rule. All that real pairs of streams say is an error, and each of
    /// them is one: the version that the destination refuses.
    const ERRORS: &[(&str, &str, &str, &str)] = &[
        (
            "x86_64-q35",
            "7.2.22 > 5.2.0",
            "pciespscsi",
            "version-too-new",
        ),
        (
            "x86_64-q35",
            "10.0.13 > 5.2.0",
            "pciespscsi",
            "version-too-new",
        ),
        (
            "x86_64-q35",
            "11.1.3 > 5.2.0",
            "pciespscsi",
            "version-too-new",
        ),
        (
            "ppc64-pseries",
            "7.2.22 > 5.2.0",
            "spapr_iommu",
            "version-too-new",
        ),
        (
            "ppc64-pseries",
            "10.0.13 > 5.2.0",
            "spapr_iommu",
            "version-too-new",
        ),
        (
            "ppc64-pseries",
            "11.1.3 > 5.2.0",
            "spapr_iommu",
            "version-too-new",
        ),
    ];

    #[test]
    fn builds_that_are_compatible_have_no_errors() {
        let mut found = Vec::new();
        let mut pairs = 0;
        for name in NAMES {
            for (at, old) in VERSIONS.iter().enumerate() {
                for new in &VERSIONS[at + 1..] {
                    let (Some(a), Some(b)) = (real(old, name), real(new, name)) else {
                        continue;
                    };
                    pairs += 1;
                    for f in compare(&a, &b, &Direction::BOTH, &NoRenames) {
                        assert_eq!(f.evidence, Evidence::Stream);
                        if f.level == Level::Error {
                            let (from, to) = f.direction.source_destination(old, new);
                            let vmsd = f.path[0].clone();
                            found.push((*name, format!("{from} > {to}"), vmsd, f.rule));
                        }
                    }
                }
            }
        }
        assert!(pairs >= 25, "{pairs} pairs: fixtures are missing");
        found.dedup();
        let mut found: Vec<_> = found
            .iter()
            .map(|(name, pair, vmsd, rule)| (*name, pair.as_str(), vmsd.as_str(), rule.as_str()))
            .collect();
        let mut expected = ERRORS.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn padding_in_the_place_of_a_field_is_a_note() {
        let (old, new) = (
            real("7.2.22", "x86_64-q35").expect("there"),
            real("10.0.13", "x86_64-q35").expect("there"),
        );
        let findings = compare(&old, &new, &[Direction::Forward], &NoRenames);
        let e1000e: Vec<_> = findings
            .iter()
            .filter(|f| f.path[0] == "e1000e")
            .map(|f| (f.level, f.rule.as_str(), f.path.last().map(String::as_str)))
            .collect();
        assert_eq!(
            e1000e,
            [
                (Level::Note, "field-padded", Some("core.itr_intr_pending")),
                (Level::Note, "field-padded", Some("core.eitr_intr_pending")),
            ]
        );
    }

    /// Rules and levels of the differences in `section`, in one direction.
    fn between(
        streams: (&Stream, &Stream),
        new_dump: Option<&Dump>,
        section: &str,
        direction: Direction,
    ) -> Vec<(Level, String, String)> {
        compare(streams.0, (streams.1, new_dump), &[direction], &NoRenames)
            .into_iter()
            .filter(|f| f.path[0] == section && f.level != Level::Note)
            .map(|f| (f.level, f.rule, f.path[1..].join("/")))
            .collect()
    }

    #[test]
    fn a_dump_of_the_destination_tells_a_field_with_a_test_from_one_without() {
        let (old, new) = (
            real("7.2.22", "x86_64-q35").expect("there"),
            real("10.0.13", "x86_64-q35").expect("there"),
        );
        let own = dump("10.0.13", "x86_64-q35");
        let esp = |dump| {
            let forward = Direction::Forward;
            between((&old, &new), dump, "pciespscsi", forward)
        };
        let row = |level, rule: &str, path: &str| (level, rule.to_owned(), path.to_owned());
        // A version inside the device differs, and either field might hang on it.
        assert_eq!(
            esp(None),
            [
                row(Level::Warning, "field-removed", "esp/ti_cmd"),
                row(Level::Warning, "field-added", "esp/drq_state"),
            ]
        );
        assert_eq!(
            esp(Some(&own)),
            [
                row(Level::Warning, "field-removed", "esp/ti_cmd"),
                row(Level::Error, "field-added", "esp/drq_state"),
            ]
        );
    }

    #[test]
    fn a_dump_describes_devices_but_no_cpu() {
        let stream = real("10.0.13", "x86_64-q35").expect("there");
        let of = described(&stream, &dump("10.0.13", "x86_64-q35"));
        assert!(0 < of.covered && of.covered < of.all, "{of:?}");
        assert_eq!(of.all, stream.devices().count());
        let none = Dump {
            machine: None,
            sections: Vec::new(),
        };
        assert_eq!(described(&stream, &none).covered, 0);
    }

    const REGS: &str = r#""vmsd_name": "dev", "version": 1, "fields": [
        {"name": "n", "type": "uint32", "size": 4},
        {"name": "regs", "type": "uint32", "size": 4, "array_len": 2}]"#;

    fn dev(version_id: u32, description: &'static str) -> Stream {
        hand_made(&[HandMade {
            name: "0000:00:02.0/dev",
            version_id,
            description,
            values: &[],
        }])
    }

    #[test]
    fn only_what_no_state_explains_is_an_error() {
        // What the new build sends instead of REGS; level and rule in either direction.
        type Row = (&'static str, &'static str, Option<(Level, &'static str)>);
        let table: &[Row] = &[
            ("the same", REGS, None),
            (
                "a field more",
                r#""vmsd_name": "dev", "version": 1, "fields": [
                    {"name": "n", "type": "uint32", "size": 4},
                    {"name": "irq", "type": "uint8", "size": 1},
                    {"name": "regs", "type": "uint32", "size": 4, "array_len": 2}]"#,
                Some((Level::Error, "field-added")),
            ),
            (
                "a wider field",
                r#""vmsd_name": "dev", "version": 1, "fields": [
                    {"name": "n", "type": "uint64", "size": 8},
                    {"name": "regs", "type": "uint32", "size": 4, "array_len": 2}]"#,
                Some((Level::Error, "field-resized")),
            ),
            (
                "more elements",
                r#""vmsd_name": "dev", "version": 1, "fields": [
                    {"name": "n", "type": "uint32", "size": 4},
                    {"name": "regs", "type": "uint32", "size": 4, "array_len": 3}]"#,
                Some((Level::Warning, "array-resized")),
            ),
            (
                "an entry for each element",
                r#""vmsd_name": "dev", "version": 1, "fields": [
                    {"name": "n", "type": "uint32", "size": 4},
                    {"name": "regs", "type": "uint32", "size": 4, "index": 0},
                    {"name": "regs", "type": "uint32", "size": 4}]"#,
                None,
            ),
        ];
        let old = dev(1, REGS);
        for (what, description, expected) in table {
            let new = dev(1, description);
            for direction in Direction::BOTH {
                let found = between((&old, &new), None, "dev", direction);
                let found: Vec<_> = found.iter().map(|(l, r, _)| (*l, r.as_str())).collect();
                let expected: Vec<_> = expected.iter().copied().collect();
                assert_eq!(found, expected, "{what}, {direction}");
            }
        }
    }

    #[test]
    fn a_subsection_and_a_section_of_one_side_are_warnings_for_its_guests() {
        let bare = dev(1, REGS);
        let more = hand_made(&[
            HandMade {
                name: "0000:00:02.0/dev",
                version_id: 1,
                description: r#""vmsd_name": "dev", "version": 1, "fields": [
                    {"name": "n", "type": "uint32", "size": 4},
                    {"name": "regs", "type": "uint32", "size": 4, "array_len": 2}],
                    "subsections": [{"vmsd_name": "dev/late", "version": 1, "fields": []}]"#,
                values: &[],
            },
            HandMade {
                name: "other",
                version_id: 1,
                description: r#""vmsd_name": "other", "version": 1, "fields": []"#,
                values: &[],
            },
        ]);
        let findings = compare(&bare, &more, &Direction::BOTH, &NoRenames);
        let found: Vec<_> = findings
            .iter()
            .map(|f| (f.direction, f.level, f.rule.as_str(), f.section.as_str()))
            .collect();
        let backward = |rule, section| (Direction::Backward, Level::Warning, rule, section);
        assert_eq!(
            found,
            [
                backward("subsection-unknown", "0000:00:02.0/dev"),
                backward("section-added", "other"),
            ]
        );
    }
}
