//! The fields of a section in the order of the wire, by the subsections that they stand in.

use std::sync::Arc;

use bytes::Bytes;

use crate::stream::tree::{Kind, Node, Section, Structure, Value};

/// A value on the wire that nothing divides further: a scalar, a buffer, or an array of scalars.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// The path as people read it, elements counted.
    pub path: String,
    /// The path without the elements' numbers: descriptions do not count them alike in all builds.
    pub key: String,
    pub description: Arc<str>,
    pub kind: Kind,
    /// The offset of its first byte from the start of its body.
    pub at: usize,
    pub offset: u64,
    pub bytes: Bytes,
}

impl Leaf {
    /// The name without the structs around it, which come and go without a change on the wire.
    pub(super) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    pub(super) fn end(&self) -> usize {
        self.at + self.bytes.len()
    }

    /// Space that no field uses: whatever is in it means nothing.
    pub(super) fn is_padding(&self) -> bool {
        matches!(self.kind, Kind::Padding | Kind::Null) || self.bytes.is_empty()
    }
}

/// The fields of a description without those of its subsections, or of one subsection. Subsections
/// come and go with the state, so each counts its places anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    /// The path to the subsection, without elements' numbers; empty for a section itself.
    pub key: String,
    /// The spans in the order of the wire, without gaps.
    pub leaves: Vec<Leaf>,
    pub length: usize,
}

impl Body {
    /// Puts the spans one behind the other, where some have another length than they had.
    pub(super) fn put_in_line(&mut self) {
        self.length = 0;
        for leaf in &mut self.leaves {
            leaf.at = self.length;
            self.length += leaf.bytes.len();
        }
    }
}

/// Divides a section into bodies. Of one that was not decoded nothing is known.
pub(crate) fn bodies(section: &Section) -> Vec<Body> {
    let Some(structure) = section.content.structure() else {
        return Vec::new();
    };
    let mut bodies = vec![Body::default()];
    collect(structure, &FieldPlace::default(), 0, &mut bodies);
    bodies
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}

/// The place of a field: for people, and for finding its counterpart.
#[derive(Clone, Default)]
struct FieldPlace {
    path: String,
    key: String,
}

impl FieldPlace {
    fn to(&self, name: &str) -> FieldPlace {
        FieldPlace {
            path: join(&self.path, name),
            key: join(&self.key, name),
        }
    }

    fn element(mut self, index: impl std::fmt::Display) -> FieldPlace {
        self.path.push_str(&format!("[{index}]"));
        self
    }
}

fn collect(structure: &Structure, place: &FieldPlace, body: usize, bodies: &mut Vec<Body>) {
    for node in &structure.fields {
        field(node, &structure.vmsd_name, place, body, bodies);
    }
    for subsection in &structure.subsections {
        let place = place.to(&subsection.name);
        bodies.push(Body {
            key: place.key.clone(),
            ..Body::default()
        });
        let own = bodies.len() - 1;
        collect(&subsection.structure, &place, own, bodies);
    }
}

fn field(
    node: &Node,
    description: &Arc<str>,
    place: &FieldPlace,
    body: usize,
    bodies: &mut Vec<Body>,
) {
    let mut place = place.to(&node.name);
    if let Some(index) = node.index {
        place = place.element(index);
    }
    match &node.value {
        Value::Leaf(kind) | Value::Leaves { kind, .. } => {
            let Some(body) = bodies.get_mut(body) else {
                return;
            };
            body.leaves.push(Leaf {
                path: place.path,
                key: place.key,
                description: description.clone(),
                kind: *kind,
                at: body.length,
                offset: node.offset,
                bytes: node.bytes.clone(),
            });
            body.length += node.bytes.len();
        }
        Value::Struct(structure) => collect(structure, &place, body, bodies),
        Value::Structs(_) | Value::List(_) => {
            for (index, structure) in node.elements() {
                collect(structure, &place.clone().element(index), body, bodies);
            }
        }
    }
}

/// Returns the body of another section that one of these corresponds to. Two subsections may have one
/// name: the first ones of a name belong together, and so on.
pub(crate) fn counterpart<'b>(bodies: &[Body], at: usize, others: &'b [Body]) -> Option<&'b Body> {
    let (before, from) = bodies.split_at_checked(at)?;
    let key = &from.first()?.key;
    let nth = before.iter().filter(|body| body.key == *key).count();
    others.iter().filter(|other| other.key == *key).nth(nth)
}

/// The field of a body in which the byte at `at` lies.
pub(crate) fn holder(body: &Body, at: usize) -> Option<&Leaf> {
    let after = body.leaves.partition_point(|leaf| leaf.at <= at);
    let leaf = body.leaves.get(after.checked_sub(1)?)?;
    (at < leaf.end()).then_some(leaf)
}

/// The bytes of a body from `at` on. `None` where it is shorter.
pub(crate) fn within(body: &Body, at: usize, length: usize) -> Option<Vec<u8>> {
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
