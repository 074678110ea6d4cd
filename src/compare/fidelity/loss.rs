//! Values that did not arrive.

use bytes::Bytes;

use crate::compare::fidelity::body::{Body, Leaf};
use crate::model::SectionName;
use crate::report::Change;
use crate::stream::tree::{Kind, Section};

/// A field whose value did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub section: SectionName,
    pub instance_id: u32,
    /// The description that the field belongs to: the section's, a nested one or a subsection's.
    pub description: String,
    /// The path from the section's description down, subsections included.
    pub path: String,
    pub change: Change,
    /// The offset in the stream that was sent, in bytes.
    pub offset: u64,
    pub sent: Bytes,
    pub kind: Kind,
    /// The present value of the field of this name.
    pub held: Option<Bytes>,
    /// The field that has the bytes now, where it is another.
    pub landed_in: Option<String>,
    /// The description of that field.
    landed_description: Option<String>,
}

impl Loss {
    /// Returns the field's own name.
    pub(crate) fn name(&self) -> &str {
        own_name(&self.path)
    }

    /// Returns the description and the own name of the field that holds the bytes now, where it is another.
    pub(crate) fn landed(&self) -> Option<(&str, &str)> {
        let description = self.landed_description.as_deref()?;
        Some((description, own_name(self.landed_in.as_deref()?)))
    }
}

fn own_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    // An element of an array is named like the array.
    name.split('[').next().unwrap_or(name)
}

/// The losses of one section.
pub(crate) struct Losses<'s> {
    section: &'s Section,
    pub found: Vec<Loss>,
}

impl<'s> Losses<'s> {
    pub(super) fn of(section: &'s Section) -> Self {
        Losses {
            section,
            found: Vec::new(),
        }
    }

    /// Adds a field that was sent, with the field of its name on the receiving side and the one that
    /// its bytes went into.
    pub(super) fn add(
        &mut self,
        leaf: &Leaf,
        change: Change,
        actual: Option<&Leaf>,
        landed_in: Option<&Leaf>,
    ) {
        // A legacy section has no description.
        let description = |leaf: &Leaf| match &*leaf.description {
            "" => self.section.name.to_string(),
            name => name.to_owned(),
        };
        self.found.push(Loss {
            section: self.section.name.clone(),
            instance_id: self.section.instance_id,
            description: description(leaf),
            path: leaf.path.clone(),
            change,
            offset: leaf.offset,
            sent: leaf.bytes.clone(),
            kind: leaf.kind,
            held: actual.map(|leaf| leaf.bytes.clone()),
            landed_in: landed_in.map(|leaf| leaf.path.clone()),
            landed_description: landed_in.map(description),
        });
    }

    /// Adds all fields of a body that the receiving side does not have.
    pub(super) fn add_all(&mut self, body: &Body) {
        for leaf in body.leaves.iter().filter(|leaf| !leaf.is_padding()) {
            self.add(leaf, Change::Vanished, None, None);
        }
    }
}
