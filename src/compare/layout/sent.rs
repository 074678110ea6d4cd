//! The layout of a section as a stream shows it: exact widths, and only those of the possible items
//! that were sent.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::compare::layout::Layout;
use crate::compare::layout::interner::{Id, Interner, Place, ROOT};
use crate::compare::layout::item::{Item, Kind, SizeIs};
use crate::stream;
use crate::stream::tree::{Content, Node, Section, Structure, Value};

/// The content of a section or a subsection as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentLayout {
    pub name: Arc<str>,
    /// The version as sent in the header.
    pub version_id: u32,
    /// The lowest version that the build takes, where its dump says it.
    pub minimum_version_id: Option<i64>,
    fields: Vec<SentField>,
    subsections: Vec<SentLayout>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SentField {
    name: Arc<str>,
    /// Bytes of one element.
    size: u64,
    num: u64,
    padding: bool,
    structure: Option<SentLayout>,
}

/// Number of elements that a list counts as having: more than one, for a single element would count
/// as a field of its own. The real number is state, so it is an array of one length everywhere.
const SOME: u64 = 2;

/// Lists by the names of the description and the field.
pub(crate) type Lists<'s> = FxHashSet<(&'s str, &'s str)>;

/// Returns the lists that have no elements in one or the other section.
pub(crate) fn empty_in<'s>(one: &'s Section, other: &'s Section) -> Lists<'s> {
    let mut empty = Lists::default();
    let sections = [one, other].into_iter();
    let structures = sections.filter_map(|section| section.content.structure());
    for structure in structures.flat_map(Structure::all) {
        for node in &structure.fields {
            if matches!(&node.value, Value::List(elements) if elements.is_empty()) {
                empty.insert((&*structure.vmsd_name, &*node.name));
            }
        }
    }
    empty
}

impl SentLayout {
    /// Returns the layout of a section, `None` where it was not decoded. Lists in `empty` are taken as
    /// if they had no elements.
    pub(crate) fn of(section: &Section, empty: &Lists) -> Option<SentLayout> {
        let Content::Decoded(structure) = &section.content else {
            return None;
        };
        Some(SentLayout {
            name: section.name.vmsd_name().into(),
            version_id: section.version_id,
            ..SentLayout::nested(structure, empty)
        })
    }

    /// Returns the layout of a section of which nothing is known but its header.
    pub(crate) fn of_header(vmsd_name: &str, version_id: u32) -> SentLayout {
        SentLayout {
            name: vmsd_name.into(),
            version_id,
            minimum_version_id: None,
            fields: Vec::new(),
            subsections: Vec::new(),
        }
    }

    fn nested(structure: &Structure, empty: &Lists) -> SentLayout {
        let subsections = structure.subsections.iter();
        SentLayout {
            name: structure.vmsd_name.clone(),
            version_id: structure.version.unwrap_or_default(),
            minimum_version_id: None,
            fields: fields(structure, empty),
            subsections: subsections
                .map(|subsection| SentLayout {
                    name: subsection.name.clone(),
                    version_id: subsection.version_id,
                    ..SentLayout::nested(&subsection.structure, empty)
                })
                .collect(),
        }
    }
}

fn fields(structure: &Structure, empty: &Lists) -> Vec<SentField> {
    let mut fields = Vec::new();
    for run in structure.runs() {
        let elements: Vec<SentField> = run
            .iter()
            .flat_map(|node| field(node, structure, empty))
            .collect();
        let Some((first, others)) = elements.split_first() else {
            continue;
        };
        let alike =
            |other: &SentField| (other.size, &other.structure) == (first.size, &first.structure);
        if others.iter().all(alike) {
            fields.push(SentField {
                num: elements.iter().map(|e| e.num).fold(0, u64::saturating_add),
                ..first.clone()
            });
        } else {
            fields.extend(
                elements
                    .into_iter()
                    .enumerate()
                    .map(|(index, element)| SentField {
                        name: format!("{}[{index}]", run[0].name).into(),
                        ..element
                    }),
            );
        }
    }
    fields
}

/// Returns a node as fields: one, none where nothing is on the wire, or several where the elements of an
/// array differ.
fn field(node: &Node, structure: &Structure, empty: &Lists) -> Vec<SentField> {
    let plain = |size: u64, num: u64| SentField {
        name: layout_name(node).into(),
        size,
        num,
        padding: is_padding(node),
        structure: None,
    };
    let described = |structure: &Structure, num: u64| SentField {
        structure: Some(SentLayout::nested(structure, empty)),
        ..plain(node.bytes.len() as u64 / num.max(1), num)
    };
    match &node.value {
        _ if node.bytes.is_empty() => Vec::new(),
        Value::Leaf(_) => vec![plain(node.bytes.len() as u64, 1)],
        Value::Leaves {
            element_size,
            count,
            ..
        } => vec![plain(*element_size as u64, *count as u64)],
        Value::Struct(structure) => vec![described(structure, 1)],
        Value::List(elements) => match elements.iter().max_by_key(|e| e.subsections.len()) {
            Some(fullest) if !empty.contains(&(&*structure.vmsd_name, &*node.name)) => {
                vec![described(fullest, SOME)]
            }
            // Their content shows only where there are some.
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

fn is_padding(node: &Node) -> bool {
    matches!(node.value, Value::Leaf(stream::Kind::Padding))
}

/// Returns the name that a dump has for a field. A stream numbers the padding of a description.
pub(crate) fn layout_name(node: &Node) -> &str {
    if is_padding(node) {
        "unused"
    } else {
        &node.name
    }
}

/// Lays out what was sent.
pub(crate) fn items<'d>(interner: &mut Interner<'d>, sent: &'d SentLayout) -> Vec<Item<'d>> {
    let mut items = Vec::new();
    walk(interner, sent, None, ROOT, &mut items);
    items
}

fn walk<'d>(
    interner: &mut Interner<'d>,
    sent: &'d SentLayout,
    around: Option<Id>,
    path: Id,
    items: &mut Vec<Item<'d>>,
) {
    for field in sent.fields.iter().filter(|field| field.num > 0) {
        let place = interner.place(Place::open(around, &field.name));
        let (path, leaf) = interner.path(path, &field.name);
        let mut kind = match field.padding {
            true => Kind::Padding,
            false => Kind::Field,
        };
        if let Some(inner) = &field.structure {
            if field.num == 1 {
                walk(interner, inner, Some(place), path, items);
                continue;
            }
            let mut element = Vec::new();
            walk(interner, inner, Some(place), ROOT, &mut element);
            kind = Kind::Array(element);
        }
        items.push(Item {
            place,
            path,
            leaf,
            name: &field.name,
            description: &sent.name,
            size: field.size,
            size_is: SizeIs::OnTheWire,
            // A length of one and no length at all are the same bytes.
            num: Some(field.num).filter(|&num| num != 1),
            counted: true,
            conditional: false,
            present: true,
            gate: 0,
            loose: false,
            kind,
        });
    }
    // A loader finds subsections by name, so their order among themselves says nothing.
    let mut subsections: Vec<_> = sent.subsections.iter().collect();
    subsections.sort_by_key(|subsection| &subsection.name);
    let subsections = subsections.into_iter().map(Layout::Sent);
    items.extend(subsections.map(|layout| Item::subsection(interner, layout, &sent.name, around)));
}
