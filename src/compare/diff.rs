//! The differences between two streams, in layout and in value.
//!
//! Sections go together by name and instance, fields by name in their order, and under another name
//! where the rename lists say so. Guest memory is not compared, only the blocks that it has.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::model::{SectionName, joined};
use crate::rules::known_issues::Scope;
use crate::stream::show;
use crate::stream::text::text_of;
use crate::stream::tree::{Node, Section, SectionKind, Stream, Structure, Subsection, Value};

/// A section that is not the same in both streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SectionDiff {
    pub section: SectionName,
    pub instance_id: u32,
    pub difference: Difference,
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    OnlyOld,
    OnlyNew,
    /// See the changes.
    Differs,
    /// Set if all that differs is known to be the same thing under another name.
    Renamed,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Names from the section's description down to the field.
    pub path: Vec<String>,
    pub kind: ChangeKind,
    pub old: Option<Side>,
    pub new: Option<Side>,
    /// The reason why it is harmless, or another remark.
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Sent by one side alone, or with another type, width or number of elements.
    Layout,
    /// The version of a section or subsection.
    Version,
    Value,
    /// Not a difference: the lists know both names as those of one thing.
    Renamed,
}

/// The form that it has in one of the streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Bytes from the start of the stream.
    pub offset: Option<u64>,
    pub size: Option<u64>,
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    pub value: String,
}

/// Compares the sections that `wanted` accepts, in the order of `old`.
pub fn diff(
    old: &Stream,
    new: &Stream,
    scope: &Scope<'_>,
    wanted: impl Fn(&Section) -> bool,
) -> Vec<SectionDiff> {
    let mut diffs = Vec::new();
    if old.machine() != new.machine() {
        let side = |stream: &Stream| Some(text_side(stream.machine().unwrap_or("(none)")));
        let refused = old.machine().zip(new.machine()).map(|(old, new)| {
            format!("QEMU says \"Machine type received is '{old}' and local is '{new}'\"")
        });
        diffs.push(SectionDiff {
            section: "configuration".into(),
            instance_id: 0,
            difference: Difference::Differs,
            changes: vec![Change {
                path: vec!["machine".to_owned()],
                kind: ChangeKind::Value,
                old: side(old),
                new: side(new),
                note: refused,
            }],
        });
    }
    let names: FxHashMap<_, _> = new.sections.iter().map(Section::key).zip(0..).collect();
    let mut taken = vec![false; new.sections.len()];
    for section in old.sections.iter().filter(|s| wanted(s)) {
        let partner = names.get(&section.key()).copied().or_else(|| {
            new.sections.iter().zip(&taken).position(|(other, taken)| {
                !taken
                    && other.instance_id == section.instance_id
                    && renamed(scope, &section.name, &other.name)
            })
        });
        let Some(at) = partner else {
            diffs.push(section_diff(section, Difference::OnlyOld, Vec::new()));
            continue;
        };
        taken[at] = true;
        let changes = sections(old, new, section, &new.sections[at], scope);
        if !changes.is_empty() {
            let difference = match changes.iter().all(|c| c.kind == ChangeKind::Renamed) {
                true => Difference::Renamed,
                false => Difference::Differs,
            };
            diffs.push(section_diff(section, difference, changes));
        }
    }
    for (section, taken) in new.sections.iter().zip(taken) {
        if !taken && wanted(section) {
            diffs.push(section_diff(section, Difference::OnlyNew, Vec::new()));
        }
    }
    diffs
}

fn section_diff(section: &Section, difference: Difference, changes: Vec<Change>) -> SectionDiff {
    SectionDiff {
        section: section.name.clone(),
        instance_id: section.instance_id,
        difference,
        changes,
    }
}

fn text_side(value: &str) -> Side {
    Side {
        offset: None,
        size: None,
        type_name: None,
        value: value.to_owned(),
    }
}

/// Tells whether two section names differ in the vmsd name alone, and the lists know that.
fn renamed(scope: &Scope<'_>, old: &SectionName, new: &SectionName) -> bool {
    let (was, is) = (old.vmsd_name(), new.vmsd_name());
    old.device_path() == new.device_path() && scope.description_on_wire(was, is).is_some()
}

fn sections(
    old_stream: &Stream,
    new_stream: &Stream,
    old: &Section,
    new: &Section,
    scope: &Scope<'_>,
) -> Vec<Change> {
    let mut walk = Walk {
        scope,
        path: Vec::new(),
        changes: Vec::new(),
    };
    if old.name != new.name {
        let [was, is] = [old, new].map(|section| Some(text_side(section.name.as_str())));
        let note = "the lists know the new name".to_owned();
        walk.note(ChangeKind::Renamed, was, is, Some(note));
    }
    walk.version(old.version_id, new.version_id);
    match (old.content.structure(), new.content.structure()) {
        (Some(old), Some(new)) => walk.structures(old, new),
        _ if old.kind == SectionKind::Ram => {
            let blocks = |stream: &Stream| {
                let blocks = stream.ram.blocks.iter();
                let blocks = blocks.map(|b| format!("{} of {:#x} bytes", b.name, b.length));
                joined(blocks, ", ")
            };
            let (old, new) = (blocks(old_stream), blocks(new_stream));
            if old != new {
                let [old, new] = [old, new].map(|blocks| Some(text_side(&blocks)));
                walk.note(ChangeKind::Layout, old, new, None);
            }
        }
        _ if old.payload != new.payload => {
            let (before, after) = bytes(&old.payload, &new.payload);
            let side = |section: &Section, value: &str| {
                Some(Side {
                    offset: Some(section.payload_offset),
                    size: Some(section.size),
                    ..text_side(value)
                })
            };
            let kind = match old.size == new.size {
                true => ChangeKind::Value,
                false => ChangeKind::Layout,
            };
            let note = "not described in both streams: compared as bytes".to_owned();
            walk.note(kind, side(old, &before), side(new, &after), Some(note));
        }
        _ => {}
    }
    walk.changes
}

enum Pairing {
    /// The lists say so, for this reason.
    Renamed(String),
    /// One side skips what the other one means.
    Padding,
}

struct Walk<'a> {
    scope: &'a Scope<'a>,
    path: Vec<String>,
    changes: Vec<Change>,
}

impl Walk<'_> {
    fn note(
        &mut self,
        kind: ChangeKind,
        old: Option<Side>,
        new: Option<Side>,
        note: Option<String>,
    ) {
        self.changes.push(Change {
            path: self.path.clone(),
            kind,
            old,
            new,
            note,
        });
    }

    fn version(&mut self, old: u32, new: u32) {
        if old != new {
            let side = |version: u32| Some(text_side(&version.to_string()));
            self.note(ChangeKind::Version, side(old), side(new), None);
        }
    }

    fn within(&mut self, name: String, walk: impl FnOnce(&mut Self)) {
        self.path.push(name);
        walk(self);
        self.path.pop();
    }

    fn structures(&mut self, old: &Structure, new: &Structure) {
        let [olds, news] = [old, new].map(|of| of.runs().collect::<Vec<_>>());
        let labels = |runs: &[&[Node]]| -> Vec<Arc<str>> {
            let first = runs.iter().filter_map(|run| run.first());
            first.map(|node| node.name.clone()).collect()
        };
        for op in capture_diff_slices(Algorithm::Myers, &labels(&olds), &labels(&news)) {
            let (was, is) = (
                olds.get(op.old_range()).unwrap_or_default(),
                news.get(op.new_range()).unwrap_or_default(),
            );
            match op {
                DiffOp::Equal { .. } => {
                    for (was, is) in was.iter().zip(is) {
                        self.namesakes(&old.vmsd_name, was, is);
                    }
                }
                _ => self.replaced(&old.vmsd_name, &was.concat(), &is.concat()),
            }
        }
        let mut taken = vec![false; new.subsections.len()];
        for subsection in &old.subsections {
            let mut others = new.subsections.iter().zip(&taken);
            let partner = others.position(|(s, taken)| !taken && s.name == subsection.name);
            let name = subsection.name.to_string();
            match partner {
                Some(at) => self.within(name, |walk| {
                    taken[at] = true;
                    let other = &new.subsections[at];
                    walk.version(subsection.version_id, other.version_id);
                    walk.structures(&subsection.structure, &other.structure);
                }),
                None => self.layout(name, Some(subsection_side(subsection)), None, None),
            }
        }
        for (subsection, taken) in new.subsections.iter().zip(taken) {
            if !taken {
                let side = subsection_side(subsection);
                self.layout(subsection.name.to_string(), None, Some(side), None);
            }
        }
    }

    /// Compares a field that each side may describe in several parts, as an array whose elements differ.
    fn namesakes(&mut self, description: &str, old: &[Node], new: &[Node]) {
        let [olds, news] = [old, new].map(|run| run.iter().map(|node| node.index).collect());
        let (olds, news): (Vec<_>, Vec<_>) = (olds, news);
        // Some versions number the elements of an array, and others do not.
        let sizes = |run: &[Node]| -> Vec<usize> { run.iter().map(|n| n.bytes.len()).collect() };
        if olds == news || sizes(old) == sizes(new) {
            return old
                .iter()
                .zip(new)
                .for_each(|(old, new)| self.nodes(old, new));
        }
        // Builds describe elements that are not there in several ways, and send them in one.
        let [before, after] = [old, new].map(sent);
        if before.len() == after.len() {
            if let ([first, ..], [other, ..]) = (old, new)
                && before != after
            {
                let (was, is) = bytes(&before, &after);
                let of = |node: &Node, value: String| {
                    Some(Side {
                        size: Some(before.len() as u64),
                        value,
                        ..side(node)
                    })
                };
                let note = "not described alike in both streams: compared as bytes".to_owned();
                self.within(first.name.to_string(), |walk| {
                    walk.note(ChangeKind::Value, of(first, was), of(other, is), Some(note));
                });
            }
            return;
        }
        for op in capture_diff_slices(Algorithm::Myers, &olds, &news) {
            let (was, is) = (&old[op.old_range()], &new[op.new_range()]);
            match op {
                DiffOp::Equal { .. } => was.iter().zip(is).for_each(|(a, b)| self.nodes(a, b)),
                _ => self.replaced(description, was, is),
            }
        }
    }

    /// Notes that what has this name is not laid out alike.
    fn layout(&mut self, name: String, old: Option<Side>, new: Option<Side>, note: Option<String>) {
        self.within(name, |walk| walk.note(ChangeKind::Layout, old, new, note));
    }

    /// Fields between two equal ones that have no partner of their name.
    fn replaced(&mut self, description: &str, old: &[Node], new: &[Node]) {
        let mut left = new.iter();
        for node in old {
            let pairing = |other: &Node| self.pairing(description, node, other);
            let Some(at) = left.clone().position(|other| pairing(other).is_some()) else {
                self.layout(node.label(), Some(side(node)), None, None);
                continue;
            };
            for skipped in left.by_ref().take(at) {
                self.layout(skipped.label(), None, Some(side(skipped)), None);
            }
            let Some(other) = left.next() else { continue };
            match self.pairing(description, node, other) {
                Some(Pairing::Renamed(reason)) => {
                    let names = [node, other].map(|node| Some(text_side(&node.label())));
                    self.within(node.label(), |walk| {
                        let [old, new] = names;
                        walk.note(ChangeKind::Renamed, old, new, Some(reason));
                    });
                    self.values(node, other);
                }
                _ => {
                    let note = format!("padding of the same size: {}", other.label());
                    self.layout(
                        node.label(),
                        Some(side(node)),
                        Some(side(other)),
                        Some(note),
                    );
                }
            }
        }
        for node in left {
            self.layout(node.label(), None, Some(side(node)), None);
        }
    }

    /// Returns the reason why two fields of different names stand for one another.
    fn pairing(&self, description: &str, old: &Node, new: &Node) -> Option<Pairing> {
        let (was, is) = (plain(old), plain(new));
        if let Some(found) = self.scope.field_on_wire(description, &was, &is) {
            return Some(Pairing::Renamed(found.reason));
        }
        let is_padding = |node: &Node| &*node.type_name == "unused_buffer";
        let is_skipped = old.bytes.len() == new.bytes.len() && is_padding(old) != is_padding(new);
        is_skipped.then_some(Pairing::Padding)
    }

    fn nodes(&mut self, old: &Node, new: &Node) {
        if old.type_name != new.type_name && old.bytes.len() == new.bytes.len() {
            let note = Some("another type of the same size".to_owned());
            return self.layout(old.label(), Some(side(old)), Some(side(new)), note);
        }
        self.values(old, new);
    }

    fn values(&mut self, old: &Node, new: &Node) {
        self.within(old.label(), |walk| match (&old.value, &new.value) {
            (Value::Struct(old), Value::Struct(new)) => walk.structures(old, new),
            (Value::Structs(a), Value::Structs(b)) if a.len() == b.len() => {
                for (i, pair) in a.iter().zip(b).enumerate() {
                    let side = |element: &Option<Structure>| {
                        let is_there = element.is_some();
                        Some(text_side(if is_there { "a structure" } else { "null" }))
                    };
                    let name = format!("[{i}]");
                    match pair {
                        (Some(old), Some(new)) => {
                            walk.within(name, |walk| walk.structures(old, new));
                        }
                        (None, None) => {}
                        (old, new) => walk.layout(name, side(old), side(new), None),
                    }
                }
            }
            (Value::List(a), Value::List(b)) if a.len() == b.len() => {
                for (i, (old, new)) in a.iter().zip(b).enumerate() {
                    walk.within(format!("[{i}]"), |walk| walk.structures(old, new));
                }
            }
            _ if old.bytes.len() != new.bytes.len() => {
                walk.note(ChangeKind::Layout, Some(side(old)), Some(side(new)), None);
            }
            _ if old.bytes != new.bytes => walk.differing(old, new),
            _ => {}
        });
    }

    /// Leaves of one size with other values.
    fn differing(&mut self, old: &Node, new: &Node) {
        let with = |node: &Node, value: String| {
            Some(Side {
                value,
                ..side(node)
            })
        };
        let is_array = |node: &Node| matches!(node.value, Value::Leaves { .. });
        if is_array(old) && is_array(new) {
            let pairs = || {
                let pairs = old.leaves().zip(new.leaves()).enumerate();
                pairs.filter(|(_, (old, new))| !show::same_leaf(*old, *new))
            };
            let more = match pairs().count().saturating_sub(SHOWN_ELEMENTS) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let list = |pick: fn(String, String) -> String| {
                let shown = pairs().take(SHOWN_ELEMENTS);
                let shown = shown
                    .map(|(i, (a, b))| format!("[{i}] {}", pick(a.to_string(), b.to_string())));
                format!("{}{more}", joined(shown, ", "))
            };
            let (before, after) = (list(|a, _| a), list(|_, b| b));
            self.note(ChangeKind::Value, with(old, before), with(new, after), None);
        } else if old.bytes.len() > 8 {
            let (before, after) = bytes(&old.bytes, &new.bytes);
            self.note(ChangeKind::Value, with(old, before), with(new, after), None);
        } else {
            self.note(ChangeKind::Value, Some(side(old)), Some(side(new)), None);
        }
    }
}

/// Returns the bytes of fields that follow one another.
fn sent(run: &[Node]) -> Vec<u8> {
    run.iter().flat_map(|node| &node.bytes).copied().collect()
}

fn subsection_side(subsection: &Subsection) -> Side {
    Side {
        offset: Some(subsection.offset),
        type_name: Some("subsection".to_owned()),
        ..text_side(&format!("version {}", subsection.version_id))
    }
}

/// Elements of an array that are listed.
const SHOWN_ELEMENTS: usize = 8;

/// The name without the number that QEMU gives to fields of one name.
fn plain(node: &Node) -> String {
    match node.name.rsplit_once('[') {
        Some((name, _)) => name.to_owned(),
        None => node.name.to_string(),
    }
}

fn side(node: &Node) -> Side {
    Side {
        offset: Some(node.offset),
        size: Some(node.bytes.len() as u64),
        type_name: Some(node.type_name.to_string()),
        value: match &node.value {
            Value::Leaf(_) | Value::Leaves { .. } => show::leaves(node),
            Value::Struct(structure) => structure.vmsd_name.to_string(),
            Value::Structs(elements) => format!("{} structures", elements.len()),
            Value::List(elements) => format!("a list of {}", elements.len()),
        },
    }
}

/// Two texts, or two buffers from the first byte on in which they differ.
fn bytes(old: &[u8], new: &[u8]) -> (String, String) {
    if let (Some(old), Some(new)) = (text_of(old), text_of(new)) {
        return (old, new);
    }
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let from = |bytes: &[u8]| {
        let rest = bytes.get(same..).unwrap_or_default();
        match same {
            0 => show::short(rest),
            _ => format!("from byte {same}: {}", show::short(rest)),
        }
    };
    (from(old), from(new))
}
