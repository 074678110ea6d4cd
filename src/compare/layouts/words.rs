//! A section of a stream in the words of a dump.

use std::collections::HashSet;

use crate::stream::tree::{Content, Kind, Node, Section, Structure, Value};
use crate::vmstate::dump;

/// Before this size the comparison of dumps would see a timer, which has 8 bytes on the wire.
const TIMER_IN_MEMORY: u64 = 48;

/// More than one: a single element would count as a field of its own.
const SOME: u64 = 2;

/// Lists by the names of the description and the field.
pub(crate) type Lists = HashSet<(String, String)>;

fn key(structure: &Structure, node: &Node) -> (String, String) {
    (structure.vmsd_name.to_string(), node.name.to_string())
}

/// The names of the lists that have no elements in one or the other section.
pub(crate) fn lists_not_seen(one: &Section, other: &Section) -> impl Iterator<Item = String> {
    empty_in(one, other).into_iter().map(|(_, field)| field)
}

pub(crate) fn empty_in(one: &Section, other: &Section) -> Lists {
    let mut empty = Lists::new();
    for structure in [one, other].iter().filter_map(|s| s.content.structure()) {
        empty_lists(structure, &mut empty);
    }
    empty
}

/// The lists that have no elements.
fn empty_lists(structure: &Structure, into: &mut Lists) {
    for node in &structure.fields {
        if matches!(&node.value, Value::List(elements) if elements.is_empty()) {
            into.insert(key(structure, node));
        }
        for inner in node.nested() {
            empty_lists(inner, into);
        }
    }
    for subsection in &structure.subsections {
        empty_lists(&subsection.structure, into);
    }
}

/// Lists in `empty` are taken as if they had no elements.
pub(crate) fn section(section: &Section, empty: &Lists) -> Option<dump::Section> {
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

/// The name that a dump has for a field. A stream numbers the padding of a description.
pub(crate) fn layout_name(node: &Node) -> &str {
    match node.value {
        Value::Leaf(Kind::Padding) => "unused",
        _ => &node.name,
    }
}

/// The name of a section with its instance, where it is not the first of that name.
pub(crate) fn label(section: &Section) -> String {
    match section.instance_id {
        0 => section.name.clone(),
        instance => format!("{} {instance}", section.name),
    }
}

/// The name of the section's description, which its own name ends in. One that is saved the old way
/// has no description: the end of the name stands for it.
pub(crate) fn vmsd_name(section: &Section) -> &str {
    let name = section.content.structure().map(|s| &*s.vmsd_name);
    match name {
        Some(name) if !name.is_empty() => name,
        _ => section
            .name
            .rsplit_once('/')
            .map_or(&*section.name, |(_, name)| name),
    }
}
