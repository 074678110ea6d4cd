//! Judgement of the items between two matches.
//!
//! Nothing on the wire delimits a field, so what counts is bytes: a gap whose certain bytes agree on
//! both sides is a rename, a regrouping or padding; one whose bytes differ shifts everything behind
//! it. Items that a run-time test sends are kept apart, since they may or may not be there.

use rustc_hash::FxHashMap;

use crate::compare::layout::{Id, Item};
use crate::compare::renames::Renames;
use crate::compare::sections::change::{Change, add};
use crate::compare::sections::fit::{
    Fit, Widened, condition_rule, fit, in_step, items, made_conditional, may_be_as_wide,
    more_structures, renamed_pair, resized_rule, same_cuts, total, width_conflict,
};
use crate::compare::sections::run::{LeftOver, Run};
use crate::model::Rule;

/// The knowledge of the lists about the fields of a section.
#[derive(Clone, Copy)]
pub(crate) struct Known<'k> {
    pub renames: &'k dyn Renames,
    pub section: &'k str,
}

/// Judges the items of a gap, which is a step of the run. What has no counterpart in it may stand elsewhere,
/// which is for the whole sequence to decide.
pub(super) fn explain<'g>(
    run: &mut Run<'g, '_>,
    (step, old_gap, new_gap): (usize, &[usize], &[usize]),
    known: Known<'g>,
) {
    let mut gap = Gap {
        old: run.old,
        new: run.new,
        known,
        step,
        first: run.changes.len(),
        run,
    };
    let (mut o, mut n) = (old_gap.to_vec(), new_gap.to_vec());
    gap.set_gated_apart(&mut o, &mut n);
    let removed = take(&mut o, |i| gap.old[i].is_subsection());
    let added = take(&mut n, |j| gap.new[j].is_subsection());
    gap.known_pairs(&mut o, &mut n);
    gap.changed_conditions(&mut o, &mut n);
    gap.widened(&mut o, &mut n);
    gap.renamed_conditions(&mut o, &mut n);
    if !gap.reshaped(&mut o, &mut n) {
        gap.changed_widths(&mut o, &mut n);
        gap.renamed(&mut o, &mut n);
    }
    gap.left_over([removed, o], [added, n]);
}

struct Gap<'g, 'r, 'd> {
    old: &'g [Item<'d>],
    new: &'g [Item<'d>],
    known: Known<'g>,
    run: &'r mut Run<'g, 'd>,
    step: usize,
    /// The first change that is of this gap.
    first: usize,
}

impl Gap<'_, '_, '_> {
    fn change(&mut self, rule: Rule, certain: bool, old: Vec<usize>, new: Vec<usize>) {
        let change = Change::new(rule, certain, old, new);
        let all = self.old;
        // Padding that became a value, and a value that became padding, did not change alike.
        let joins = |last: &Change, change: &Change| {
            mergeable(rule) && all_padding(all, &last.old) == all_padding(all, &change.old)
        };
        let of_gap = self.first < self.run.changes.len();
        add(&mut self.run.changes, change, |last, change| {
            of_gap && joins(last, change)
        });
    }

    /// A field behind a version gate that is closed is not on the wire. It matters only where the
    /// other side has the field.
    fn set_gated_apart(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let closed_old = take(o, |i| !self.old[i].present);
        let closed_new = take(n, |i| !self.new[i].present);
        for i in closed_old {
            if let Some(at) = n.iter().position(|&j| self.same_leaf(i, j)) {
                let j = n.remove(at);
                let certain = self.new[j].is_unconditional();
                self.change(Rule::GateExcludesField, certain, vec![i], vec![j]);
            }
        }
        for j in closed_new {
            if let Some(at) = o.iter().position(|&i| self.same_leaf(i, j)) {
                let i = o.remove(at);
                let certain = self.old[i].is_unconditional();
                self.change(Rule::GateExcludesField, certain, vec![i], vec![j]);
            }
        }
    }

    /// Pairs that a list declares to be one field, whatever the dump prints as their size.
    fn known_pairs(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let Known { renames, section } = self.known;
        o.retain(|&i| {
            let old = &self.old[i];
            // Few names are in the lists; the others need no look at every partner.
            if !renames.mentions(old.name) {
                return true;
            }
            let found = n.iter().enumerate().find_map(|(at, &j)| {
                let new = &self.new[j];
                // A description may have got another name, too.
                let mut names = [old.description, new.description].into_iter();
                let reason =
                    names.find_map(|name| renames.field(section, name, old.name, new.name))?;
                (old.conditional == new.conditional).then_some((at, reason))
            });
            let Some((at, reason)) = found else {
                return true;
            };
            let j = n.remove(at);
            self.run.changes.push(Change {
                known: Some(reason),
                ..Change::new(Rule::FieldRenamed, true, vec![i], vec![j])
            });
            // The entry is about what a dump does not say; how many structures there are, it does.
            if more_structures(old, &self.new[j]) {
                let certain = !old.conditional;
                self.change(Rule::ArrayResized, certain, vec![i], vec![j]);
            }
            false
        });
    }

    /// The same field, sent always on one side and by a test on the other.
    fn changed_conditions(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let flipped = |gap: &Self, i: usize, j: usize| {
            gap.same_leaf(i, j)
                && gap.old[i].conditional != gap.new[j].conditional
                && may_be_as_wide(&gap.old[i], &gap.new[j])
        };
        self.pair_off(o, n, flipped, |gap, i, j| {
            gap.change(condition_rule(&gap.old[i]), false, vec![i], vec![j]);
        });
    }

    /// Numbers that take up the padding in front of them, or leave some there.
    fn widened(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let (old, new) = (certain(self.old, o), certain(self.new, n));
        let (olds, news) = (items(self.old, &old), items(self.new, &new));
        for (a, b) in in_step(&olds, &news) {
            if Widened::of(&olds[a.clone()], &news[b.clone()]).is_some() {
                let (a, b) = (old[a].to_vec(), new[b].to_vec());
                o.retain(|i| !a.contains(i));
                n.retain(|j| !b.contains(j));
                self.change(Rule::FieldsRecut, false, a, b);
            }
        }
    }

    /// Fields that one build sends always and the other, where they have another name, by a test: all else agrees without them.
    fn renamed_conditions(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let (old, new) = (items(self.old, o), items(self.new, n));
        if fit(&old, &new) != Fit::No {
            return;
        }
        let of_old = total(&old) < total(&new);
        let (short, long) = if of_old { (&old, &new) } else { (&new, &old) };
        let missing = total(long) - total(short);
        let Some(pairs) = made_conditional(short, long, missing) else {
            return;
        };
        let pairs: Vec<(usize, usize)> = pairs
            .into_iter()
            .map(|(a, b)| if of_old { (o[a], n[b]) } else { (o[b], n[a]) })
            .collect();
        for (i, j) in pairs {
            o.retain(|&k| k != i);
            n.retain(|&k| k != j);
            self.change(condition_rule(&self.old[i]), false, vec![i], vec![j]);
        }
    }

    /// The certain bytes on both sides agree: names, groups or padding changed, not the stream.
    fn reshaped(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) -> bool {
        let (old, new) = (certain(self.old, o), certain(self.new, n));
        if old.is_empty() || new.is_empty() {
            return false;
        }
        let (olds, news) = (items(self.old, &old), items(self.new, &new));
        let fit = fit(&olds, &news);
        let mut by_leaf: FxHashMap<Id, Vec<&Item>> = FxHashMap::default();
        for b in news {
            by_leaf.entry(b.leaf).or_default().push(b);
        }
        let conflict = olds.into_iter().any(|a| {
            let mut namesakes = by_leaf.get(&a.leaf).into_iter().flatten();
            namesakes.any(|b| width_conflict(a, b))
        });
        match fit {
            Fit::No => return false,
            // Elements whose number is unknown could make up for anything: an integer of the same
            // name with another width is not explained by them.
            Fit::IfLengthsAllow if conflict => return false,
            _ => {}
        }
        o.retain(|&i| !self.old[i].is_certain());
        n.retain(|&j| !self.new[j].is_certain());
        if fit == Fit::Yes && all_padding(self.old, &old) && all_padding(self.new, &new) {
            return true;
        }
        if fit == Fit::IfLengthsAllow {
            let padding = all_padding(self.old, &old) || all_padding(self.new, &new);
            let same_name = old.len() == 1 && new.len() == 1 && self.same_leaf(old[0], new[0]);
            let rule = match (padding, same_name) {
                (true, _) => Rule::FieldPadded,
                (false, true) => Rule::FieldRegrouped,
                (false, false) => Rule::ArrayLengthUnstated,
            };
            self.change(rule, rule != Rule::ArrayLengthUnstated, old, new);
            return true;
        }
        let as_wide = |(&i, &j): (&usize, &usize)| self.old[i].bytes() == self.new[j].bytes();
        if old.len() == new.len() && old.iter().zip(&new).all(as_wide) {
            for (i, j) in old.into_iter().zip(new) {
                if let Some((rule, certain)) = renamed_pair(&self.old[i], &self.new[j]) {
                    self.change(rule, certain, vec![i], vec![j]);
                }
            }
        } else if all_padding(self.old, &old) || all_padding(self.new, &new) {
            self.change(Rule::FieldPadded, true, old, new);
        } else if conflict {
            self.change(Rule::FieldsRecut, true, old, new);
        } else if same_cuts(&items(self.old, &old), &items(self.new, &new)) {
            self.change(Rule::FieldRegrouped, true, old, new);
        } else {
            self.change(Rule::FieldsRecut, false, old, new);
        }
        true
    }

    /// The same field with another width or length.
    fn changed_widths(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let resized = |gap: &Self, i: usize, j: usize| {
            gap.same_leaf(i, j)
                && gap.old[i].conditional == gap.new[j].conditional
                && !gap.old[i].is_padding()
                && !gap.new[j].is_padding()
        };
        self.pair_off(o, n, resized, |gap, i, j| {
            if let Some((rule, certain)) = resized_rule(&gap.old[i], &gap.new[j]) {
                gap.change(rule, certain, vec![i], vec![j]);
            }
        });
    }

    /// Other names, but the same bytes at the same spot.
    fn renamed(&mut self, o: &mut Vec<usize>, n: &mut Vec<usize>) {
        let alike = |gap: &Self, i: usize, j: usize| {
            let (a, b) = (&gap.old[i], &gap.new[j]);
            a.conditional == b.conditional
                && a.bytes() == b.bytes()
                && a.is_opaque() == b.is_opaque()
        };
        self.pair_off(o, n, alike, |gap, i, j| {
            let (a, b) = (&gap.old[i], &gap.new[j]);
            if a.conditional {
                gap.change(Rule::ConditionalFieldChanged, false, vec![i], vec![j]);
            } else if a.is_opaque() {
                gap.change(Rule::OpaqueFieldChanged, false, vec![i], vec![j]);
            } else if let Some((rule, certain)) = renamed_pair(a, b) {
                gap.change(rule, certain, vec![i], vec![j]);
            }
        });
        let decided = |gap: &Self, i: usize, j: usize| {
            let (a, b) = (&gap.old[i], &gap.new[j]);
            a.conditional != b.conditional && a.bytes() == b.bytes() && a.bytes() > 0
        };
        self.pair_off(o, n, decided, |gap, i, j| {
            gap.change(condition_rule(&gap.old[i]), false, vec![i], vec![j]);
        });
    }

    /// Takes note of what has no counterpart here: subsections, and the other items.
    fn left_over(&mut self, removed: [Vec<usize>; 2], added: [Vec<usize>; 2]) {
        // A field of which nobody knows by how much its width changed can make up for it.
        let mut here = self.run.changes[self.first..].iter();
        let balanced =
            here.any(|c| matches!(c.rule, Rule::OpaqueFieldChanged | Rule::SizeUndecided));
        let step = self.step;
        let left_over = |item| LeftOver {
            item,
            step,
            balanced,
        };
        let (removed, added) = (removed.into_iter().flatten(), added.into_iter().flatten());
        self.run.removed.extend(removed.map(left_over));
        self.run.added.extend(added.map(left_over));
    }

    fn same_leaf(&self, i: usize, j: usize) -> bool {
        self.old[i].leaf == self.new[j].leaf
    }

    /// Pairs items in order, the earliest partner first, and takes them off both lists.
    fn pair_off(
        &mut self,
        o: &mut Vec<usize>,
        n: &mut Vec<usize>,
        fits: impl Fn(&Self, usize, usize) -> bool,
        mut act: impl FnMut(&mut Self, usize, usize),
    ) {
        let mut from = 0;
        let mut kept = Vec::new();
        let mut used = vec![false; n.len()];
        for &i in o.iter() {
            match (from..n.len()).find(|&at| fits(self, i, n[at])) {
                Some(at) => {
                    act(self, i, n[at]);
                    used[at] = true;
                    from = at + 1;
                }
                None => kept.push(i),
            }
        }
        *o = kept;
        let mut used = used.into_iter();
        n.retain(|_| !used.next().unwrap_or(false));
    }
}

/// Rules under which a run of neighbours reads as one change. A width is each field's own.
fn mergeable(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::FieldRenamed
            | Rule::FieldPadded
            | Rule::ConditionAdded
            | Rule::ConditionRemoved
            | Rule::ConditionalFieldChanged
    )
}

fn take(list: &mut Vec<usize>, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let (taken, kept) = list.iter().partition(|&&i| wanted(i));
    *list = kept;
    taken
}

fn certain(all: &[Item], indices: &[usize]) -> Vec<usize> {
    let indices = indices.iter().copied();
    indices.filter(|&i| all[i].is_certain()).collect()
}

fn all_padding(all: &[Item], indices: &[usize]) -> bool {
    indices.iter().all(|&i| all[i].is_padding())
}
