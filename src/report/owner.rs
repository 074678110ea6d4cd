//! The people to tell of what is broken.

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// An owner, and what is broken of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The headline in the file of owners; nothing for what nobody owns.
    pub name: Option<String>,
    /// The maintainers, each with an address.
    pub people: Vec<String>,
    /// The reviewers.
    pub reviewers: Vec<String>,
    /// The mailing lists.
    pub lists: Vec<String>,
    /// The care that it gets: `Maintained`, `Orphan`.
    pub status: Option<String>,
    /// The ids of the errors and warnings that no list allows.
    pub findings: Vec<String>,
    /// The ids of the cases that count.
    pub cases: Vec<String>,
}

impl Owner {
    /// Returns everybody to tell: people, reviewers and lists.
    pub fn to_notify(&self) -> impl Iterator<Item = &str> {
        let people = self.people.iter().chain(&self.reviewers);
        people.chain(&self.lists).map(String::as_str)
    }

    /// Returns the name for a reader.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("no owner")
    }
}

impl Report {
    /// Returns owners by their titles, each with everybody to tell where the report names them.
    pub(crate) fn owners_with_people(&self, titles: &[String]) -> Vec<String> {
        let with_people = |title: &String| {
            let mut owners = self.owners.iter();
            let owner = owners.find(|owner| owner.name.as_ref() == Some(title));
            let people: Vec<&str> = owner.into_iter().flat_map(Owner::to_notify).collect();
            match people.is_empty() {
                true => title.clone(),
                false => format!("{title}: {}", people.join(", ")),
            }
        };
        titles.iter().map(with_people).collect()
    }
}
