//! What the lists say of the values in a stream.

use super::{Holds, Renamed, Scope};
use crate::model::Direction;

/// A field that may hold something else on the destination without harm.
#[derive(Debug, Clone)]
pub struct Volatile {
    /// The vmsd name of the description that the fields stand in, subsections included.
    pub description: String,
    /// Names; a trailing `*` stands for any rest.
    pub fields: Vec<String>,
    pub reason: String,
    /// Where in QEMU that is seen.
    pub source: String,
}

impl Volatile {
    fn covers(&self, description: &str, field: &str) -> bool {
        self.description == description
            && self.fields.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => field.starts_with(start),
                None => name == field,
            })
    }
}

/// The names of fields, for a guest that goes from one build to the other. It is not tied to the
/// lists: many cases at once use it.
#[derive(Debug, Clone, Default)]
pub struct StateNames {
    /// Description, name on the sending side, name on the receiving side.
    renamed: Vec<(Option<String>, String, String)>,
    volatile: Vec<Volatile>,
}

impl StateNames {
    /// Whether in this description two names are one field.
    pub fn same(&self, description: &str, sent: &str, held: &str) -> bool {
        self.renamed.iter().any(|(of, a, b)| {
            a == sent && b == held && of.as_deref().is_none_or(|name| name == description)
        })
    }

    /// Why the field may differ.
    pub fn volatile(&self, description: &str, field: &str) -> Option<&str> {
        let entry = self.volatile.iter().find(|e| e.covers(description, field));
        entry.map(|entry| entry.reason.as_str())
    }
}

impl Scope<'_> {
    /// The names as a leg in this direction meets them.
    pub fn state_names(&self, direction: Direction) -> StateNames {
        let mut renamed = Vec::new();
        for entry in &self.lists.renames {
            if entry.what == Renamed::Section {
                continue;
            }
            let mut add = |old: &str, new: &str| {
                let (sent, held) = direction.source_destination(old, new);
                renamed.push((entry.description.clone(), sent.to_owned(), held.to_owned()));
            };
            let holds = entry.span.holds(self.old, self.new);
            if matches!(holds, Holds::InOrder | Holds::Perhaps) {
                add(&entry.old, &entry.new);
            }
            if matches!(holds, Holds::Swapped | Holds::Perhaps) {
                add(&entry.new, &entry.old);
            }
        }
        StateNames {
            renamed,
            volatile: self.lists.volatile.clone(),
        }
    }
}
