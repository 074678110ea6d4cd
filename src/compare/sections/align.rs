//! Matches two layouts item by item.
//!
//! First by full path, then, in what is left between two matches, by the field's own name. What
//! matches is the same name, width and condition; everything else ends up in a gap, for
//! [`crate::compare::sections::gap`] to explain. After a gap the two sides are in step again.

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::compare::layout::{Id, Item, Kind};

/// A stretch of the two layouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The same item on both sides.
    Match { old: usize, new: usize },
    /// Items without an exact match; one of the sides may be empty.
    Gap { old: Vec<usize>, new: Vec<usize> },
}

/// Returns the items that matched.
pub(crate) fn matches(steps: &[Step]) -> impl Iterator<Item = (usize, usize)> {
    steps.iter().filter_map(|step| match *step {
        Step::Match { old, new } => Some((old, new)),
        Step::Gap { .. } => None,
    })
}

/// The properties that must agree for two items to be the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label {
    name: Id,
    size: u64,
    /// The length, where both dumps state lengths.
    num: Option<u64>,
    kind: u8,
    conditional: bool,
    /// What a closed gate keeps back must not take the place of what is sent.
    present: bool,
}

fn label(item: &Item, name: Id, with_length: bool) -> Label {
    let (kind, size) = match item.kind {
        Kind::Field => (0, item.size),
        Kind::Padding => (1, item.size),
        // The size of a structure in memory is not on the wire.
        Kind::Array(_) => (2, 0),
        Kind::Subsection(_) => (3, 0),
    };
    let is_array_of_structures = matches!(item.kind, Kind::Array(_));
    Label {
        name,
        size,
        num: item.num.filter(|_| with_length && !is_array_of_structures),
        kind,
        conditional: item.conditional,
        present: item.present || item.is_subsection(),
    }
}

/// Tells whether the dump behind a layout prints array lengths, so that none printed means a single
/// one.
fn states_lengths(items: &[Item]) -> bool {
    !items.iter().any(|item| item.loose)
}

/// Two stated lengths that differ are no match: the neighbours may make up for it.
fn lengths_agree(old: &Item, new: &Item) -> bool {
    matches!(old.kind, Kind::Array(_))
        || old.num == new.num
        || old.num.is_none()
        || new.num.is_none()
}

/// Tells whether each item matches the one in the same place, as those of most sections do.
fn in_step(old: &[Item], new: &[Item]) -> bool {
    let with_length = states_lengths(old) && states_lengths(new);
    let of = |item: &Item| label(item, item.path, with_length);
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(old, new)| of(old) == of(new) && lengths_agree(old, new))
}

pub(crate) fn align(old: &[Item], new: &[Item]) -> Vec<Step> {
    if in_step(old, new) {
        let both = 0..old.len();
        return both.map(|at| Step::Match { old: at, new: at }).collect();
    }
    let mut pairs = Vec::new();
    let valued = |items: &[Item]| -> Vec<usize> {
        let all = 0..items.len();
        all.filter(|&i| Sort::of(&items[i]) == Sort::Valued)
            .collect()
    };
    match_by(old, new, &valued(old), &valued(new), |i| i.path, &mut pairs);
    // What the first pass left between two matches may still be the same field in another structure.
    // Padding and subsections come last: one that was moved must not hold its place against the fields.
    for wanted in [Sort::Valued, Sort::Padding, Sort::Subsection] {
        let mut more = Vec::new();
        for (mut gap_old, mut gap_new) in gaps(&pairs, old.len(), new.len()) {
            gap_old.retain(|&i| Sort::of(&old[i]) == wanted);
            gap_new.retain(|&j| Sort::of(&new[j]) == wanted);
            if !gap_old.is_empty() && !gap_new.is_empty() {
                match_by(old, new, &gap_old, &gap_new, |i| i.leaf, &mut more);
            }
        }
        pairs.append(&mut more);
        pairs.sort_unstable();
        if wanted == Sort::Padding {
            slide(old, new, &mut pairs);
            join_padding(old, new, &mut pairs);
        }
    }

    let mut steps = Vec::with_capacity(pairs.len());
    let mut gaps = gaps(&pairs, old.len(), new.len()).into_iter();
    let mut push_gap = |steps: &mut Vec<Step>| {
        if let Some((old, new)) = gaps.next()
            && !(old.is_empty() && new.is_empty())
        {
            steps.push(Step::Gap { old, new });
        }
    };
    for &(old, new) in &pairs {
        push_gap(&mut steps);
        steps.push(Step::Match { old, new });
    }
    push_gap(&mut steps);
    steps
}

/// What an item is, as far as the order counts in which items are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Valued,
    Padding,
    Subsection,
}

impl Sort {
    fn of(item: &Item) -> Sort {
        match item.kind {
            Kind::Field | Kind::Array(_) => Sort::Valued,
            Kind::Padding => Sort::Padding,
            Kind::Subsection(_) => Sort::Subsection,
        }
    }
}

/// Takes back the matches of padding that is divided in another way on the other side: all of it that stands together is one.
fn join_padding(old: &[Item], new: &[Item], pairs: &mut Vec<(usize, usize)>) {
    let (matched_old, matched_new): (FxHashSet<_>, FxHashSet<_>) = pairs.iter().copied().unzip();
    let is_padding = |item: &Item| item.is_padding() && item.is_certain();
    let left = |items: &[Item], matched: &FxHashSet<usize>, at: Option<usize>| {
        let lone = at.filter(|at| !matched.contains(at));
        lone.and_then(|at| items.get(at)).is_some_and(is_padding)
    };
    let beside = |items: &[Item], matched: &FxHashSet<usize>, at: usize| {
        left(items, matched, at.checked_sub(1)) || left(items, matched, Some(at + 1))
    };
    let joined = |&(o, n): &(usize, usize), &(p, q): &(usize, usize)| {
        is_padding(&old[o]) && is_padding(&old[p]) && (o + 1 == p || n + 1 == q)
    };
    let stays = |run: &&[(usize, usize)]| {
        let split = |&(o, n): &(usize, usize)| {
            is_padding(&old[o]) && (beside(old, &matched_old, o) || beside(new, &matched_new, n))
        };
        !run.iter().any(split)
    };
    *pairs = pairs
        .chunk_by(joined)
        .filter(stays)
        .flatten()
        .copied()
        .collect();
}

/// Returns the items of a stretch that are no subsections.
fn fields(items: &[Item], stretch: Range<usize>) -> Vec<usize> {
    stretch.filter(|&i| !items[i].is_subsection()).collect()
}

/// Moves pairs that a diff matched one namesake too far. Where names repeat, a diff may match an
/// item with the wrong one of its namesakes, and then sees something inserted before and as much
/// deleted behind. If the items in between pair up as well when taken one by one, they do so
/// without a gap, and that reading is the right one.
fn slide(old: &[Item], new: &[Item], pairs: &mut Vec<(usize, usize)>) {
    let mut from = 0;
    while from < pairs.len() {
        match slid(old, new, pairs, from) {
            Some((to, better)) => {
                let behind = from + better.len();
                pairs.splice(from..to, better);
                from = behind.max(from + 1);
            }
            None => from += 1,
        }
    }
}

/// The run of pairs that starts behind a one-sided gap at `from` and ends before the opposite gap,
/// paired item by item instead; `None` if there is no such run or it would match less.
fn slid(
    old: &[Item],
    new: &[Item],
    pairs: &[(usize, usize)],
    from: usize,
) -> Option<(usize, Vec<(usize, usize)>)> {
    // The gap in front of pair `at`, or behind the last pair.
    let gap = |at: usize| {
        let (o, n) = match at.checked_sub(1).map(|before| pairs[before]) {
            Some((o, n)) => (o + 1, n + 1),
            None => (0, 0),
        };
        let (o_end, n_end) = pairs.get(at).copied().unwrap_or((old.len(), new.len()));
        (fields(old, o..o_end), fields(new, n..n_end))
    };
    let front = gap(from);
    if front.0.is_empty() == front.1.is_empty() {
        return None;
    }
    let mut to = from;
    let back = loop {
        pairs.get(to)?;
        to += 1;
        let back = gap(to);
        if !(back.0.is_empty() && back.1.is_empty()) {
            break back;
        }
    };
    // What is missing on one side and new on the other was moved: that is no mistake of the diff.
    let moved = |old_gap: &[usize], new_gap: &[usize]| {
        let found = |&i: &usize| new_gap.iter().any(|&j| old[i].path == new[j].path);
        old_gap.iter().any(found)
    };
    if back.0.is_empty() == back.1.is_empty()
        || moved(&front.0, &back.1)
        || moved(&back.0, &front.1)
    {
        return None;
    }
    let (matched_old, matched_new): (Vec<_>, Vec<_>) = pairs[from..to].iter().copied().unzip();
    let o = [front.0, matched_old, back.0].concat();
    let n = [front.1, matched_new, back.1].concat();
    let in_step = o.len() == n.len()
        && o.iter().zip(&n).all(|(&i, &j)| {
            old[i].bytes() == new[j].bytes() && old[i].conditional == new[j].conditional
        });
    if !in_step {
        return None;
    }
    let alike: Vec<(usize, usize)> = o
        .into_iter()
        .zip(n)
        .filter(|&(i, j)| {
            label(&old[i], old[i].leaf, false) == label(&new[j], new[j].leaf, false)
                && lengths_agree(&old[i], &new[j])
        })
        .collect();
    (alike.len() >= to - from).then_some((to, alike))
}

/// The stretches before, between and after the pairs: always one more than there are pairs.
fn gaps(pairs: &[(usize, usize)], old: usize, new: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut from = (0, 0);
    pairs
        .iter()
        .copied()
        .chain([(old, new)])
        .map(|(o, n)| {
            let gap = ((from.0..o).collect(), (from.1..n).collect());
            from = (o + 1, n + 1);
            gap
        })
        .collect()
}

fn match_by(
    old: &[Item],
    new: &[Item],
    old_indices: &[usize],
    new_indices: &[usize],
    name: impl Fn(&Item) -> Id,
    pairs: &mut Vec<(usize, usize)>,
) {
    let with_length = states_lengths(old) && states_lengths(new);
    let agree = |&(o, n): &(usize, usize)| lengths_agree(&old[o], &new[n]);
    let labels = |items: &[Item], indices: &[usize]| -> Vec<Label> {
        indices
            .iter()
            .map(|&i| label(&items[i], name(&items[i]), with_length))
            .collect()
    };
    let old_labels = labels(old, old_indices);
    let new_labels = labels(new, new_indices);
    if old_labels == new_labels {
        let all = old_indices.iter().copied().zip(new_indices.iter().copied());
        pairs.extend(all.filter(agree));
        return;
    }
    let mut ids: FxHashMap<Label, Id> = FxHashMap::default();
    for label in old_labels.iter().chain(&new_labels) {
        let next = ids.len() as Id;
        ids.entry(*label).or_insert(next);
    }
    // A label that the other side lacks can never match; without it the diff's cost follows the
    // number of moved items, and two layouts with nothing in common cost nothing.
    let keep = |own: &[Label], other: &[Label], indices: &[usize]| -> (Vec<Id>, Vec<usize>) {
        let known: FxHashSet<&Label> = other.iter().collect();
        own.iter()
            .zip(indices)
            .filter(|(label, _)| known.contains(label))
            .map(|(label, &index)| (ids[label], index))
            .unzip()
    };
    let (old_ids, old_kept) = keep(&old_labels, &new_labels, old_indices);
    let (new_ids, new_kept) = keep(&new_labels, &old_labels, new_indices);
    for op in capture_diff_slices(Algorithm::Myers, &old_ids, &new_ids) {
        if let DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = op
        {
            let same = (0..len).map(|k| (old_kept[old_index + k], new_kept[new_index + k]));
            pairs.extend(same.filter(agree));
        }
    }
}
