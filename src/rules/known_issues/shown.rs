//! The sections that a run had to do with: an entry about another one says nothing of it, and the run nothing of the entry.

use std::collections::BTreeSet;

use crate::model::{Direction, SectionName};
use crate::report::{Coverage, CoveredSection, Reached};

/// The sections that a run had to do with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// The QOM types that the dump of either build describes.
    types: BTreeSet<String>,
    /// The names of vmsds that were sent, in each direction, and at least once in a guest that came through.
    moved: BTreeSet<(String, Direction)>,
}

impl Shown {
    /// Returns those of dumps, by their QOM types, where no guest was moved.
    pub(crate) fn of_types<'t>(types: impl IntoIterator<Item = &'t str>) -> Shown {
        Shown {
            types: types.into_iter().map(str::to_owned).collect(),
            ..Shown::default()
        }
    }

    /// Returns those of guests of which it was counted what they sent.
    pub(crate) fn of_guests(coverage: &Coverage) -> Shown {
        let sections = coverage.sections.iter();
        let moved = sections
            .clone()
            .filter(|section| section.reached == Reached::Passed)
            .flat_map(|CoveredSection { vmsd, sent_in, .. }| {
                sent_in.iter().map(|&direction| (vmsd.clone(), direction))
            });
        Shown {
            moved: moved.collect(),
            types: sections.map(|of| of.section.clone()).collect(),
        }
    }

    /// Tells whether a build describes a section of this QOM type.
    pub(super) fn describes(&self, type_name: &str) -> bool {
        self.types.contains(type_name)
    }

    /// Tells whether guests came through that have a section of this name, with or without a device's address, which was
    /// sent in a direction.
    pub(super) fn moved(&self, section: &str, direction: Direction) -> bool {
        let is_of = |vmsd: &str| SectionName::new(section).ends_in(vmsd);
        let mut moved = self.moved.iter();
        moved.any(|(vmsd, way)| *way == direction && is_of(vmsd))
    }
}
