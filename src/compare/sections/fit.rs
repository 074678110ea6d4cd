//! Comparison of two runs of items: whether their bytes agree, and which rule a pair of items falls
//! under.

use std::ops::Range;

use crate::compare::layout::{Item, Kind};
use crate::model::{Rule, Side};

pub(crate) fn items<'i, 'd>(all: &'i [Item<'d>], indices: &[usize]) -> Vec<&'i Item<'d>> {
    indices.iter().map(|&i| &all[i]).collect()
}

pub(crate) fn total(items: &[&Item]) -> u64 {
    items
        .iter()
        .filter(|item| item.is_certain())
        .fold(0, |sum, item| sum.saturating_add(item.bytes()))
}

/// Tells whether some of `parts` add up to `wanted`. Beyond a handful the answer is taken to be yes.
pub(crate) fn sums_to(parts: &[u64], wanted: u64) -> bool {
    const MANY: usize = 16;
    if parts.len() > MANY {
        return true;
    }
    (1u32..1 << parts.len()).any(|choice| {
        let chosen = parts
            .iter()
            .enumerate()
            .filter(|(k, _)| choice >> k & 1 == 1);
        chosen.fold(0u64, |sum, (_, &part)| sum.saturating_add(part)) == wanted
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    /// Only if arrays have the length that makes it fit; the dump does not print it.
    IfLengthsAllow,
    No,
}

pub(crate) fn fit(old: &[&Item], new: &[&Item]) -> Fit {
    let (a, b) = (total(old), total(new));
    if a == b {
        return Fit::Yes;
    }
    // The short side may have more elements than the one that was counted. Where the other side is
    // as unsure, both are taken at their word: a count that changed with the size is far-fetched.
    let (short, long, missing) = if a < b {
        (old, new, b - a)
    } else {
        (new, old, a - b)
    };
    let stretches = !long.iter().any(|item| item.loose)
        && short
            .iter()
            .any(|item| item.loose && item.bytes() > 0 && missing % item.bytes() == 0);
    if stretches {
        Fit::IfLengthsAllow
    } else {
        Fit::No
    }
}

/// Tells whether these are two single integers of different width: the same bytes cannot mean the same number.
pub(crate) fn width_conflict(old: &Item, new: &Item) -> bool {
    old.is_integer()
        && new.is_integer()
        && old.size != new.size
        && old.num.is_none()
        && new.num.is_none()
}

pub(crate) fn condition_rule(old: &Item) -> Rule {
    if old.conditional {
        Rule::ConditionRemoved
    } else {
        Rule::ConditionAdded
    }
}

/// Returns the rule for two certain items of equal bytes at the same spot, if it is worth one, and whether it is certain.
pub(crate) fn renamed_pair(old: &Item, new: &Item) -> Option<(Rule, bool)> {
    match (old.is_padding(), new.is_padding()) {
        (true, true) => None,
        (true, false) | (false, true) => Some((Rule::FieldPadded, true)),
        (false, false) => {
            // Elements are compared by themselves.
            if !same_number(old, new) && !same_cuts(&[old], &[new]) {
                Some((Rule::FieldsRecut, false))
            } else if is_timer_pair(old, new) {
                Some((Rule::TypeSizeOnly, true))
            } else if old.leaf == new.leaf {
                Some((Rule::FieldRegrouped, true))
            } else {
                Some((Rule::FieldRenamed, true))
            }
        }
    }
}

/// Tells whether both are one timer, embedded in the one build and a pointer in the other.
fn is_timer_pair(old: &Item, new: &Item) -> bool {
    let is_one = old.is_timer() && new.size == 8 || new.is_timer() && old.size == 8;
    is_one && old.leaf == new.leaf && old.bytes() == new.bytes()
}

/// Returns the rule for the same field with another width or number of elements, if it is worth one, and whether it is
/// certain.
pub(crate) fn resized_rule(old: &Item, new: &Item) -> Option<(Rule, bool)> {
    match old.conditional {
        true if is_timer_pair(old, new) => Some((Rule::TypeSizeOnly, true)),
        true => Some((Rule::ConditionalFieldChanged, false)),
        false if same_width(old, new) => renamed_pair(old, new),
        false => Some(width_rule(old, new)),
    }
}

/// Tells whether both are arrays of as many structures.
pub(crate) fn same_number(old: &Item, new: &Item) -> bool {
    matches!((&old.kind, &new.kind), (Kind::Array(_), Kind::Array(_))) && old.num == new.num
}

/// Tells whether both are arrays of structures, and of how many differs.
pub(crate) fn more_structures(old: &Item, new: &Item) -> bool {
    let both = matches!((&old.kind, &new.kind), (Kind::Array(_), Kind::Array(_)));
    both && old.num.is_some() && new.num.is_some() && old.num != new.num
}

/// Tells whether both are known to have the same bytes, whatever they are made of.
fn same_width(old: &Item, new: &Item) -> bool {
    let known = |item: &Item| item.is_certain() && !item.loose;
    known(old) && known(new) && old.bytes() == new.bytes()
}

/// Returns what items of `short` that a test sends stand in the place of certain ones of `long`, if these are all of the
/// bytes that are missing.
pub(crate) fn made_conditional(
    short: &[&Item],
    long: &[&Item],
    missing: u64,
) -> Option<Vec<(usize, usize)>> {
    let (mut pairs, mut found) = (Vec::new(), 0u64);
    let certain = long
        .iter()
        .enumerate()
        .filter(|(_, item)| item.is_certain());
    let mut partners = certain.peekable();
    let (mut of_short, mut of_long) = (0u64, 0u64);
    for (at, item) in short.iter().enumerate() {
        if item.is_certain() {
            of_short = of_short.saturating_add(item.bytes());
        } else if item.conditional {
            while let Some((_, before)) = partners.next_if(|_| of_long < of_short) {
                of_long = of_long.saturating_add(before.bytes());
            }
            let here = |(_, partner): &(usize, &&Item)| {
                of_long == of_short && partner.bytes() == item.bytes()
            };
            if let Some((partner, _)) = partners.next_if(here) {
                pairs.push((at, partner));
                found = found.saturating_add(item.bytes());
            }
        }
    }
    (found == missing).then_some(pairs)
}

/// Tells whether two items of one name have the same bytes, or would have with as many elements, which a dump does not say of
/// one of them.
pub(crate) fn may_be_as_wide(old: &Item, new: &Item) -> bool {
    let alike = match (&old.kind, &new.kind) {
        (Kind::Array(_), Kind::Array(_)) => true,
        (Kind::Field, Kind::Field) => old.size == new.size,
        _ => false,
    };
    old.bytes() == new.bytes() || alike && (old.num.is_none() || new.num.is_none())
}

/// A stretch of the wire by where its numbers begin and end.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// Numbers of one width.
    Numbers { width: u64, count: u64 },
    /// Structures of several numbers.
    Elements { inside: Vec<Cut>, count: u64 },
    /// What a test may send with each structure.
    Tested,
}

/// Tells whether two runs of equal total are made of the same elements, so that only their grouping into
/// arrays changed. A buffer has no inner cuts and fits any.
pub(crate) fn same_cuts(old: &[&Item], new: &[&Item]) -> bool {
    fn cuts(items: &[&Item]) -> Option<Vec<Cut>> {
        let mut all: Vec<Cut> = Vec::new();
        for item in items {
            let num = item.num.unwrap_or(1);
            let cut = match &item.kind {
                Kind::Array(inside) => {
                    let sent = |item: &&Item| item.present && !item.conditional;
                    let sent: Vec<&Item> = inside.iter().filter(sent).collect();
                    let tested = inside.iter().any(|item| item.present && item.conditional);
                    let mut inside = cuts(&sent)?;
                    inside.extend(tested.then_some(Cut::Tested));
                    match (sent.as_slice(), inside.as_slice()) {
                        ([], _) => continue,
                        // One number after the other is an array of numbers; several alternate.
                        ([_], [Cut::Numbers { width, count }]) => Cut::Numbers {
                            width: *width,
                            count: count.saturating_mul(num),
                        },
                        _ => Cut::Elements { inside, count: num },
                    }
                }
                Kind::Padding => Cut::Numbers {
                    width: 1,
                    count: item.bytes(),
                },
                Kind::Field if item.is_integer() => Cut::Numbers {
                    width: item.size,
                    count: num,
                },
                Kind::Field | Kind::Subsection(_) => return None,
            };
            match (all.last_mut(), &cut) {
                (Some(Cut::Numbers { width: w, count: n }), Cut::Numbers { width, count })
                    if w == width =>
                {
                    *n = n.saturating_add(*count)
                }
                _ => all.push(cut),
            }
        }
        Some(all)
    }
    match (cuts(old), cuts(new)) {
        (Some(old), Some(new)) => old == new,
        _ => true,
    }
}

/// Returns the stretches of two runs that are as wide on both sides and cannot be divided, from the front on for as long as
/// it is known where they end.
pub(crate) fn in_step(old: &[&Item], new: &[&Item]) -> Vec<(Range<usize>, Range<usize>)> {
    let (mut found, mut o, mut n) = (Vec::new(), 0..0, 0..0);
    let (mut of_old, mut of_new) = (0u64, 0u64);
    loop {
        let (items, stretch, bytes) = match of_old <= of_new {
            true => (old, &mut o, &mut of_old),
            false => (new, &mut n, &mut of_new),
        };
        let Some(item) = items.get(stretch.end).filter(|item| !item.loose) else {
            return found;
        };
        stretch.end += 1;
        *bytes = bytes.saturating_add(item.bytes());
        if of_old == of_new && !n.is_empty() {
            found.push((o.clone(), n.clone()));
            (o, n) = (o.end..o.end, n.end..n.end);
        }
    }
}

/// A number of one build in the place of padding and a narrower number of the other, which is the lower part of it: numbers
/// are sent with the highest byte first.
pub(crate) struct Widened<'s, 'd> {
    pub padding: &'s [&'s Item<'d>],
    pub narrow: &'s Item<'d>,
    pub wide: &'s Item<'d>,
    /// The build that has the wide one.
    pub in_build: Side,
}

impl<'s, 'd> Widened<'s, 'd> {
    /// Returns what two stretches of as many bytes are, if they are that.
    pub(crate) fn of(old: &'s [&'s Item<'d>], new: &'s [&'s Item<'d>]) -> Option<Self> {
        let (several, wide, in_build) = match (old, new) {
            (several, &[wide]) => (several, wide, Side::New),
            (&[wide], several) => (several, wide, Side::Old),
            _ => return None,
        };
        let (&narrow, padding) = several.split_last()?;
        let is_number = |item: &Item| item.is_integer() && item.num.is_none() && !item.loose;
        let is_one = !padding.is_empty() && padding.iter().all(|item| item.is_padding());
        (is_one && is_number(narrow) && is_number(wide)).then_some(Widened {
            padding,
            narrow,
            wide,
            in_build,
        })
    }
}

/// Returns the rule for the same unconditional field whose bytes differ.
fn width_rule(old: &Item, new: &Item) -> (Rule, bool) {
    if old.is_opaque() || new.is_opaque() {
        return (Rule::SizeUndecided, false);
    }
    if matches!(old.kind, Kind::Array(_)) || matches!(new.kind, Kind::Array(_)) {
        let is_stated = !old.loose && !new.loose;
        let is_sent = !old.is_hollow() && !new.is_hollow();
        return (Rule::ArrayResized, is_stated && is_sent);
    }
    if old.size == new.size {
        return number_rule(old, new);
    }
    (Rule::FieldResized, true)
}

/// Returns the rule for arrays of which the number of elements differs, and whether both builds state theirs.
pub(crate) fn number_rule(old: &Item, new: &Item) -> (Rule, bool) {
    match old.counted && new.counted {
        true => (Rule::ArrayResized, true),
        false => (Rule::ArrayLengthUnstated, false),
    }
}
