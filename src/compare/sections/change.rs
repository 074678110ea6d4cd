//! A difference between the items of two sequences, and how neighbours join into one.

use crate::compare::layout::Item;
use crate::compare::sections::fit::same_number;
use crate::model::Rule;

/// A classified difference between items of the old and of the new layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub rule: Rule,
    /// The difference does not depend on the state.
    pub certain: bool,
    pub old: Vec<usize>,
    pub new: Vec<usize>,
    /// The list entry that says both are the same thing.
    pub known: Option<String>,
    /// They stand at different places.
    pub moved: bool,
}

impl Change {
    pub(super) fn new(rule: Rule, certain: bool, old: Vec<usize>, new: Vec<usize>) -> Change {
        Change {
            rule,
            certain,
            old,
            new,
            known: None,
            moved: false,
        }
    }

    /// Returns the items of the two sides that are one, of which more is in the items themselves: arrays of as many
    /// structures, and subsections.
    pub(super) fn pairs(&self, old: &[Item], new: &[Item]) -> Vec<(usize, usize)> {
        let is_one = |&(o, n): &(usize, usize)| {
            let (old, new) = (&old[o], &new[n]);
            old.present && new.present && (same_number(old, new) || old.is_subsection())
        };
        let mut pairs = self.side_by_side(old, new);
        pairs.retain(is_one);
        pairs
    }

    /// Returns the items of the two sides that stand in each other's place; none where it is not item for item.
    pub(super) fn side_by_side(&self, old: &[Item], new: &[Item]) -> Vec<(usize, usize)> {
        let pairs = || self.old.iter().copied().zip(self.new.iter().copied());
        let as_wide = |(o, n): (usize, usize)| old[o].bytes() == new[n].bytes();
        let one_each = self.old.len() == 1 && self.new.len() == 1;
        if one_each || self.old.len() == self.new.len() && pairs().all(as_wide) {
            pairs().collect()
        } else {
            Vec::new()
        }
    }
}

/// Adds a change. Neighbours that changed alike are one, if the last one may be joined with it.
pub(super) fn add(
    changes: &mut Vec<Change>,
    change: Change,
    joins: impl FnOnce(&Change, &Change) -> bool,
) {
    let follows = |before: &[usize], after: &[usize]| match (before.last(), after.first()) {
        (Some(&a), Some(&b)) => a + 1 == b,
        (None, None) => true,
        _ => false,
    };
    match changes.last_mut() {
        Some(last)
            if last.rule == change.rule
                && last.certain == change.certain
                && last.known.is_none()
                && follows(&last.old, &change.old)
                && follows(&last.new, &change.new)
                && joins(last, &change) =>
        {
            last.old.extend(change.old);
            last.new.extend(change.new);
        }
        _ => changes.push(change),
    }
}
