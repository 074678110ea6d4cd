//! Changes of state and memory that a load made, by their places.

use std::collections::BTreeSet;

use crate::migration::checks::pages::{PageDifference, PlacedPage};
use crate::model::SectionName;
use crate::report::{Change, StateDiff};

/// A value or a page that a destination does not have as it was sent. Devices are identified by
/// their type, not by their place: the same ones may be elsewhere in another guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LoadChange {
    Field {
        /// The vmsd name of the section.
        section: String,
        field: String,
        change: Change,
    },
    Page {
        block: String,
        at: u64,
    },
}

impl LoadChange {
    pub(crate) fn of_field(diff: &StateDiff) -> LoadChange {
        LoadChange::Field {
            section: diff.section.vmsd_name().to_owned(),
            field: diff.field.clone(),
            change: diff.change,
        }
    }

    pub(crate) fn of_page(page: &PlacedPage) -> LoadChange {
        LoadChange::Page {
            block: SectionName::new(&page.block).vmsd_name().to_owned(),
            at: page.at,
        }
    }

    /// Returns the block of memory that it is in, if it is a page.
    pub(crate) fn block(&self) -> Option<&str> {
        match self {
            LoadChange::Page { block, .. } => Some(block),
            LoadChange::Field { .. } => None,
        }
    }

    /// Returns the place without what distinguishes it from its neighbours: elements of an array,
    /// pages of a block.
    pub(crate) fn place(&self) -> LoadChange {
        match self {
            LoadChange::Field {
                section,
                field,
                change,
            } => LoadChange::Field {
                section: section.clone(),
                field: without_elements(field),
                change: *change,
            },
            LoadChange::Page { block, .. } => LoadChange::Page {
                block: block.clone(),
                at: 0,
            },
        }
    }
}

/// Returns a path without the numbers of elements.
fn without_elements(field: &str) -> String {
    let mut path = String::new();
    let mut depth = 0_usize;
    for letter in field.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => path.push(letter),
            _ => {}
        }
    }
    path
}

/// Changes that loads are known to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LoadChanges {
    changes: BTreeSet<LoadChange>,
    /// Section and field of each field among them.
    fields: BTreeSet<(String, String)>,
}

impl LoadChanges {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the vmsd names of the sections of which a field went elsewhere. A value that is another one, loads of a build's
    /// own stream make, too.
    pub(crate) fn misplaced(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().filter_map(|change| match change {
            LoadChange::Field {
                section, change, ..
            } if *change != Change::Changed => Some(section.as_str()),
            LoadChange::Field { .. } | LoadChange::Page { .. } => None,
        })
    }

    /// Returns a difference without the pages that a load is known to change, if there are others.
    pub(crate) fn leave_out(&self, pages: PageDifference) -> Option<PageDifference> {
        match self.is_empty() {
            true => Some(pages),
            false => pages.without(|page| self.changes.contains(&LoadChange::of_page(page))),
        }
    }

    /// Tells whether a load is known to change a field, or the one that its bytes went into.
    pub(crate) fn has_field(&self, diff: &StateDiff) -> bool {
        if self.is_empty() {
            return false;
        }
        let landed = diff.landed_in.as_ref().is_some_and(|landed| {
            let place = (diff.section.vmsd_name().to_owned(), landed.clone());
            self.fields.contains(&place)
        });
        landed || self.changes.contains(&LoadChange::of_field(diff))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LoadChange> {
        self.changes.iter()
    }

    /// Adds changes.
    pub(crate) fn extend(&mut self, changes: impl IntoIterator<Item = LoadChange>) {
        for change in changes {
            if let LoadChange::Field { section, field, .. } = &change {
                self.fields.insert((section.clone(), field.clone()));
            }
            self.changes.insert(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn diff(field: &str, landed_in: Option<&str>) -> StateDiff {
        StateDiff {
            section: "0000:00:02.0/dev".into(),
            landed_in: landed_in.map(str::to_owned),
            ..testing::diff(field)
        }
    }

    #[test]
    fn a_change_is_known_by_device_field_and_kind_wherever_the_device_is() {
        let mut known = LoadChanges::default();
        assert!(!known.has_field(&diff("link", None)));
        known.extend([LoadChange::of_field(&diff("link", None))]);
        let elsewhere = StateDiff {
            section: "0000:00:07.0/dev".into(),
            ..diff("link", None)
        };
        assert!(known.has_field(&elsewhere));
        assert!(!known.has_field(&diff("rings", None)));
        let vanished = StateDiff {
            change: Change::Vanished,
            ..diff("link", None)
        };
        assert!(!known.has_field(&vanished), "another kind of change");
    }

    #[test]
    fn what_lands_in_a_field_that_changes_anyway_is_known_too() {
        let mut known = LoadChanges::default();
        known.extend([LoadChange::of_field(&diff("buffer", None))]);
        assert!(known.has_field(&diff("flag", Some("buffer"))));
        assert!(!known.has_field(&diff("flag", Some("other"))));
    }

    #[test]
    fn elements_of_an_array_have_one_place() {
        let of = |field: &str| LoadChange::of_field(&diff(field, None)).place();
        assert_eq!(of("src[12]/ivpr"), of("src[3]/ivpr"));
        assert_ne!(of("src[12]/ivpr"), of("src[12]/idr"));
        let page = |at| {
            LoadChange::of_page(&PlacedPage {
                block: "0000:00:01.0/vram".to_owned(),
                at,
            })
        };
        assert_eq!(page(1).place(), page(2).place());
    }
}
