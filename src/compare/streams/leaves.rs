//! The fields of a section that hold no others.

use std::sync::Arc;

use bytes::Bytes;

use crate::compare::layout::layout_name;
use crate::stream::tree::{Kind, Section, Structure, Value};

/// A field that holds no others, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Names as a finding has them, from the section's own fields down.
    pub path: Vec<String>,
    /// Names with the indices of elements, for people.
    pub label: String,
    pub type_name: Arc<str>,
    pub kind: Kind,
    /// Values in it.
    pub count: usize,
    pub offset: u64,
    pub bytes: Bytes,
}

/// Returns the fields of a section in the order of the wire.
pub(crate) fn leaves(section: &Section) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if let Some(structure) = section.content.structure() {
        collect(structure, &[], "", &mut leaves);
    }
    leaves
}

fn collect(structure: &Structure, path: &[String], label: &str, into: &mut Vec<Leaf>) {
    let join = |name: &str| match label {
        "" => name.to_owned(),
        label => format!("{label}/{name}"),
    };
    for run in structure.runs() {
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
                    type_name: node.type_name.clone(),
                    kind: *kind,
                    count: match node.value {
                        Value::Leaves { count, .. } => count,
                        _ => 1,
                    },
                    offset: node.offset,
                    bytes: node.bytes.clone(),
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
