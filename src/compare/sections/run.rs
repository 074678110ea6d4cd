//! Two aligned sequences and the fate of their items, until nothing is left unexplained.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::compare::layout::{Id, Interner, Item, Kind};
use crate::compare::sections::align::{Step, matches};
use crate::compare::sections::change::{Change, add};
use crate::compare::sections::fit::{items, sums_to, total};
use crate::compare::sections::terms::layout_line;
use crate::model::Direction;
use crate::model::Rule;
use crate::model::Side as Build;
use crate::report::ContextLine;

/// Two aligned sequences and what was found about them so far.
pub(crate) struct Run<'r, 'd> {
    pub old: &'r [Item<'d>],
    pub new: &'r [Item<'d>],
    pub steps: &'r [Step],
    pub changes: Vec<Change>,
    /// Items without a counterpart, of the old and of the new side.
    pub removed: Vec<LeftOver>,
    pub added: Vec<LeftOver>,
}

/// An item without a counterpart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeftOver {
    pub item: usize,
    /// The step in which it was left over.
    pub step: usize,
    /// An item of its step of which the width is unknown may make up for it.
    pub balanced: bool,
}

impl<'d> Run<'_, 'd> {
    pub(super) fn push(&mut self, rule: Rule, certain: bool, old: usize, new: usize) {
        let change = Change::new(rule, certain, vec![old], vec![new]);
        add(&mut self.changes, change, |_, _| rule != Rule::ArrayResized);
    }

    /// Finds the fields that both builds have, but at places where the other has another one: that is no matter of names or
    /// groups, one gets the bytes of the other.
    pub(super) fn settle_displaced(&mut self) {
        let looks_alike = |change: &Change| {
            matches!(change.rule, Rule::FieldRenamed | Rule::FieldRegrouped)
                && change.known.is_none()
        };
        if !self.changes.iter().any(looks_alike) {
            return;
        }
        let (matched_old, matched_new): (FxHashSet<_>, FxHashSet<_>) = matches(self.steps).unzip();
        let (mut old_spots, mut new_spots) = (Vec::new(), FxHashMap::default());
        for (at, change) in self.changes.iter().enumerate() {
            if looks_alike(change) {
                old_spots.extend(spots(self.old, at, &change.old, &matched_old));
                new_spots.extend(spots(self.new, at, &change.new, &matched_new));
            }
        }
        let (old_names, new_names) = (lone_names(self.old), lone_names(self.new));
        let mut displaced = Vec::new();
        for (i, spot) in old_spots {
            let namesake = names(&self.old[i]).find_map(|name| {
                let is_alone = old_names.get(&name) == Some(&Some(i));
                new_names.get(&name).copied().flatten().filter(|_| is_alone)
            });
            let found = namesake.and_then(|j| Some((j, *new_spots.get(&j)?)));
            if let Some((j, _)) = found.filter(|&(_, other)| other != spot) {
                displaced.push((i, j));
            }
        }
        if displaced.is_empty() {
            return;
        }
        let (moved_old, moved_new): (FxHashSet<_>, FxHashSet<_>) =
            displaced.iter().copied().unzip();
        for change in std::mem::take(&mut self.changes) {
            let stays = |i: &usize| !moved_old.contains(i);
            let stays_new = |j: &usize| !moved_new.contains(j);
            if change.old.iter().all(stays) && change.new.iter().all(stays_new) {
                self.changes.push(change);
                continue;
            }
            for (i, j) in change.side_by_side(self.old, self.new) {
                if stays(&i) && stays_new(&j) {
                    self.push(change.rule, change.certain, i, j);
                }
            }
        }
        for (i, j) in displaced {
            // One that grew may have taken in what stood before it.
            let certain = self.old[i].bytes() == self.new[j].bytes();
            self.changes.push(Change {
                moved: true,
                ..Change::new(Rule::FieldsSwapped, certain, vec![i], vec![j])
            });
        }
    }

    /// Pairs what is missing in one place and new in another: it was moved.
    pub(super) fn settle_moves(&mut self) {
        let same = |item: &Item| {
            let subsection = item.is_subsection();
            (item.path, item.size, item.num, item.conditional, subsection)
        };
        let mut moved_to: FxHashMap<_, VecDeque<usize>> = FxHashMap::default();
        for &LeftOver { item: j, .. } in &self.added {
            if !self.new[j].is_padding() {
                moved_to.entry(same(&self.new[j])).or_default().push_back(j);
            }
        }
        let mut settled = FxHashSet::default();
        for left in std::mem::take(&mut self.removed) {
            let (i, old) = (left.item, &self.old[left.item]);
            let twin = moved_to.get_mut(&same(old)).and_then(VecDeque::pop_front);
            let Some(j) = twin.filter(|_| !old.is_padding()) else {
                self.removed.push(left);
                continue;
            };
            settled.insert(j);
            let (rule, certain) = if old.is_subsection() {
                (Rule::SubsectionMoved, false)
            } else if old.conditional {
                (Rule::ConditionalFieldChanged, false)
            } else if old.is_opaque() {
                (Rule::OpaqueFieldChanged, false)
            } else {
                let tested = old.is_hollow() || self.only_tests_between(left.step, i, j);
                (Rule::FieldsSwapped, !tested)
            };
            self.changes.push(Change {
                moved: true,
                ..Change::new(rule, certain, vec![i], vec![j])
            });
        }
        self.added.retain(|left| !settled.contains(&left.item));
    }

    /// Joins a field of which nobody knows how wide it was with all that stands in its place.
    pub(super) fn settle_replaced(&mut self) {
        let steps: BTreeSet<usize> = self.removed.iter().map(|left| left.step).collect();
        for step in steps {
            let of = |all: &[Item], left_over: &[LeftOver]| -> Vec<usize> {
                let here = left_over.iter().filter(|left| left.step == step);
                let here = here.map(|left| left.item);
                here.filter(|&i| !all[i].conditional).collect()
            };
            let (o, n) = (of(self.old, &self.removed), of(self.new, &self.added));
            let (old, new) = (items(self.old, &o), items(self.new, &n));
            let (of_old, of_new) = (total(&old), total(&new));
            let short = if of_old < of_new { old } else { new };
            if of_old != of_new && short.iter().any(|item| item.is_opaque()) {
                self.removed.retain(|left| !o.contains(&left.item));
                self.added.retain(|left| !n.contains(&left.item));
                let change = Change::new(Rule::OpaqueFieldChanged, false, o, n);
                self.changes.push(change);
            }
        }
    }

    /// Reports what has no counterpart anywhere. A subsection that only the destination knows is
    /// never sent. Returns the arrays of which only the elements can tell what is sent.
    pub(super) fn settle_left_over(&mut self, direction: Direction) -> Vec<(Build, usize)> {
        let mut hollow = Vec::new();
        let (source, _) = direction.source_destination(Build::Old, Build::New);
        let lone = |item: &Item, rule: Rule, conditional: Rule, balanced: bool| {
            if item.is_subsection() {
                (Rule::SubsectionUnknown, false)
            } else if item.conditional {
                (conditional, false)
            } else if item.is_opaque() {
                (Rule::OpaqueFieldChanged, false)
            } else {
                (rule, !balanced)
            }
        };
        let of_removed = [Rule::FieldRemoved, Rule::ConditionalFieldRemoved];
        let of_added = [Rule::FieldAdded, Rule::ConditionalFieldAdded];
        let steps = self.removed.iter().chain(&self.added);
        let steps: BTreeSet<usize> = steps.map(|left| left.step).collect();
        let tested: FxHashSet<usize> = steps
            .into_iter()
            .filter(|&step| self.tests_balance(step))
            .collect();
        let mut last_step = None;
        for (side, left_over, [rule, conditional]) in [
            (Build::Old, std::mem::take(&mut self.removed), of_removed),
            (Build::New, std::mem::take(&mut self.added), of_added),
        ] {
            for left in left_over {
                let item = match side {
                    Build::Old => &self.old[left.item],
                    _ => &self.new[left.item],
                };
                if item.is_subsection() && source != side {
                    continue;
                }
                if item.present && item.is_hollow() {
                    hollow.push((side, left.item));
                    continue;
                }
                let balanced = left.balanced || tested.contains(&left.step);
                let (rule, certain) = lone(item, rule, conditional, balanced);
                if item.present && (item.is_subsection() || item.is_opaque() || item.bytes() > 0) {
                    let own = vec![left.item];
                    let (old, new) = match side {
                        Build::Old => (own, Vec::new()),
                        _ => (Vec::new(), own),
                    };
                    let joins = last_step == Some(left.step) && rule != Rule::SubsectionUnknown;
                    add(
                        &mut self.changes,
                        Change::new(rule, certain, old, new),
                        |_, _| joins,
                    );
                    last_step = Some(left.step);
                }
            }
        }
        hollow
    }

    /// Returns the items around a step between the nearest two matches that are always sent: which of them are in step is for
    /// tests to say.
    fn around(&self, step: usize) -> (Range<usize>, Range<usize>) {
        let fixed = |step: &Step| match *step {
            Step::Match { old, new } if self.old[old].is_unconditional() => Some((old, new)),
            _ => None,
        };
        let before = self.steps[..step].iter().rev().find_map(fixed);
        let (old, new) = before.map_or((0, 0), |(old, new)| (old + 1, new + 1));
        let behind = self.steps[step..].iter().find_map(fixed);
        let (old_end, new_end) = behind.unwrap_or((self.old.len(), self.new.len()));
        (old..old_end, new..new_end)
    }

    /// Tells whether a field of the step and its counterpart stand at one place where no test lets anything through.
    fn only_tests_between(&self, step: usize, old: usize, new: usize) -> bool {
        let (of_old, of_new) = self.around(step);
        of_new.contains(&new)
            && sum(&self.old[of_old.start..old]) == sum(&self.new[of_new.start..new])
    }

    /// Tells whether what is left over around a step may be as much in both builds, as tests decide.
    fn tests_balance(&self, step: usize) -> bool {
        let (old, new) = self.around(step);
        let left = |all: &[Item], left_over: &[LeftOver], within: Range<usize>| {
            let here = left_over.iter().map(|left| left.item);
            let here = here.filter(|at| within.contains(at) && !all[*at].is_subsection());
            let here = items(all, &here.collect::<Vec<usize>>());
            let mut tested = Vec::new();
            here.iter()
                .for_each(|item| item.tested_bytes(1, &mut tested));
            (total(&here), tested)
        };
        let (of_old, old) = left(self.old, &self.removed, old);
        let (of_new, new) = left(self.new, &self.added, new);
        let short = if of_old < of_new { old } else { new };
        of_old == of_new || sums_to(&short, of_old.abs_diff(of_new))
    }

    /// The layout around a change: a few lines before and behind it, the change itself between.
    pub(super) fn context(&self, interner: &Interner<'d>, change: &Change) -> Vec<ContextLine> {
        const AROUND: usize = 2;
        const MOST: usize = 8;
        // Indices rise within a change and within a gap, and a gap holds a change whole or not at
        // all, so that its ends decide.
        let ends = |indices: &[usize]| [indices.first().copied(), indices.last().copied()];
        let (old_ends, new_ends) = (ends(&change.old), ends(&change.new));
        let holds = |gap: &[usize], ends: [Option<usize>; 2]| {
            ends.iter()
                .flatten()
                .any(|end| gap.binary_search(end).is_ok())
        };
        let touches = |step: &Step| match step {
            Step::Match { old, new } => {
                change.old.binary_search(old).is_ok() && change.new.binary_search(new).is_ok()
            }
            Step::Gap { old, new } => holds(old, old_ends) || holds(new, new_ends),
        };
        let Some(first) = self.steps.iter().position(touches) else {
            return Vec::new();
        };
        let last = self.steps.iter().rposition(touches).unwrap_or(first);
        let line = |side: Build, item: &Item| ContextLine {
            side,
            text: layout_line(interner, item),
        };
        let around = |steps: &[Step]| -> Vec<ContextLine> {
            steps
                .iter()
                .filter_map(|step| match *step {
                    Step::Match { new, .. } => Some(line(Build::Both, &self.new[new])),
                    Step::Gap { .. } => None,
                })
                .collect()
        };
        let mut lines = around(&self.steps[first.saturating_sub(AROUND)..first]);
        let clipped = |lines: &mut Vec<ContextLine>, side: Build, items: &[usize], all: &[Item]| {
            let shown = match items.len() > MOST {
                true => MOST - 1,
                false => items.len(),
            };
            lines.extend(items[..shown].iter().map(|&i| line(side, &all[i])));
            if shown < items.len() {
                lines.push(ContextLine {
                    side,
                    text: format!("… {} more", items.len() - shown),
                });
            }
        };
        let moved = matches!(change.rule, Rule::FieldsSwapped | Rule::SubsectionMoved);
        if moved {
            // The items that it was moved past stand between its two places.
            let between = &self.steps[first..=last];
            for step in between.iter().take(MOST) {
                match step {
                    Step::Match { new, .. } => lines.push(line(Build::Both, &self.new[*new])),
                    Step::Gap { old, new } => {
                        clipped(&mut lines, Build::Old, old, self.old);
                        clipped(&mut lines, Build::New, new, self.new);
                    }
                }
            }
        } else {
            clipped(&mut lines, Build::Old, &change.old, self.old);
            clipped(&mut lines, Build::New, &change.new, self.new);
        }
        let after = (last + 1).min(self.steps.len());
        lines.extend(around(
            &self.steps[after..(after + AROUND).min(self.steps.len())],
        ));
        lines
    }
}

fn sum(items: &[Item]) -> u64 {
    total(&items.iter().collect::<Vec<_>>())
}

/// Returns where the items of a change stand that have no match: of which change they are, and how many bytes of that stand
/// before them.
fn spots<'s>(
    all: &'s [Item],
    change: usize,
    indices: &'s [usize],
    matched: &'s FxHashSet<usize>,
) -> impl Iterator<Item = (usize, (usize, u64))> + 's {
    let mut before = 0u64;
    let spots = indices.iter().map(move |&i| {
        let spot = (i, (change, before));
        before = before.saturating_add(all[i].bytes());
        spot
    });
    spots.filter(|(i, _)| !matched.contains(i))
}

/// A name of an item: its path, or only the last part of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Path(Id),
    Leaf(Id),
}

/// Returns the names of an item, and those of its elements where each is one field: that stands where the array does.
fn names<'i>(item: &'i Item) -> impl Iterator<Item = Name> + 'i {
    fn inside<'i, 'd>(item: &&'i Item<'d>) -> Option<&'i Item<'d>> {
        match &item.kind {
            Kind::Array(inside) if inside.len() == 1 => inside.first(),
            _ => None,
        }
    }
    std::iter::successors(Some(item), inside)
        .filter(|item| !item.is_padding())
        .flat_map(|item| [Name::Path(item.path), Name::Leaf(item.leaf)])
}

/// Returns the item of each name, none where several have it.
fn lone_names(all: &[Item]) -> FxHashMap<Name, Option<usize>> {
    let mut lone = FxHashMap::default();
    for (at, item) in all.iter().enumerate() {
        for name in names(item) {
            let owner = lone.entry(name).or_insert(Some(at));
            if *owner != Some(at) {
                *owner = None;
            }
        }
    }
    lone
}
