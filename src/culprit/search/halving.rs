//! Packs that fail, divided into parts that are tried side by side.

use std::collections::BTreeSet;

use crate::culprit::search::{Node, Search, Stage, without};
use crate::culprit::{Answer, Item, Trial, Verdict};
use crate::model::Route;

/// Up to this many devices are tried one by one where failures are dense: halves would fail as well.
pub(super) const FEW: usize = 8;

/// The number of times that a pack is divided into what the evidence points at and the rest. Where that does not
/// help, there are too many culprits to take out one by one.
pub(super) const HINTS: usize = 6;

/// The number of times that an item is tried again to which the failure of a pack pointed, though it passed
/// alone: a cause that kills a build now and then need not do so the first time.
pub(super) const SUSPECTED: usize = 3;

/// The course of the search on its way to a node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Density {
    /// Set where failures are many.
    is_high: bool,
    /// The number of hints that were followed.
    hints: usize,
}

/// Items of a failed pack that are similar, and not tried yet.
#[derive(Debug)]
pub(super) struct Alike {
    /// The first two, which are tried alone: they show whether it is worth to try all alone.
    first: [Item; 2],
    others: Vec<Item>,
}

impl<E: Clone> Search<E> {
    /// Divides a pack that failed or did not start: into what the evidence points at and the rest,
    /// or into halves. Of the items similar to the one that the evidence points at, a second one is
    /// tried alone, and the others wait for both; each is tried alone at once if two such have failed before.
    pub(super) fn divide(
        &mut self,
        at: usize,
        suspect: Option<Item>,
        alike: &BTreeSet<Item>,
    ) -> Vec<Trial> {
        let Node {
            parent, density, ..
        } = self.nodes[at];
        // A sibling that failed too: at least two culprits in the pack that they came from.
        let is_high = density.is_high
            || self.nodes.iter().enumerate().any(|(other, node)| {
                other != at && parent.is_some() && node.parent == parent && node.failure.is_some()
            });
        let items = &self.nodes[at].items;
        let mut waiting = None;
        let (parts, hints) = match suspect {
            Some(suspect) if density.hints < HINTS => {
                let (like, rest): (Vec<Item>, Vec<Item>) = without(items, suspect)
                    .into_iter()
                    .partition(|item| alike.contains(item));
                let seen = self.kinds_seen(at, alike);
                let mut parts = vec![vec![suspect]];
                match like.split_first() {
                    Some((&second, others)) if !seen => {
                        parts.push(vec![second]);
                        waiting = Some(Alike {
                            first: [suspect, second],
                            others: others.to_vec(),
                        });
                    }
                    _ => parts.extend(like.into_iter().map(|item| vec![item])),
                }
                parts.push(rest);
                parts.retain(|part| !part.is_empty());
                (parts, density.hints + 1)
            }
            _ => {
                let size = match is_high && items.len() <= FEW {
                    true => 1,
                    false => items.len().div_ceil(2),
                };
                let parts = items.chunks(size).map(<[Item]>::to_vec);
                (parts.collect(), density.hints)
            }
        };
        let waiting = waiting.filter(|alike| !alike.others.is_empty());
        self.nodes[at].open = parts.len() + usize::from(waiting.is_some());
        self.nodes[at].waiting = waiting;
        self.nodes[at].parts_density = Density { is_high, hints };
        self.add_parts(at, parts)
    }

    /// Tries the parts of a node.
    fn add_parts(&mut self, at: usize, parts: Vec<Vec<Item>>) -> Vec<Trial> {
        let node = &self.nodes[at];
        let (route, density) = (node.route, node.parts_density);
        let parts = parts.into_iter();
        parts
            .map(|part| self.add(route, part, Some(at), density))
            .collect()
    }

    /// Tries the items of a node that waited for the first two of their kind, once both are known: each alone if
    /// both failed, or else together.
    fn try_alike(&mut self, at: usize) -> Vec<Trial> {
        let node = &self.nodes[at];
        let is_known = |item: &Item| self.verdict(node.route, *item).is_some();
        let is_over = |alike: &Alike| alike.first.iter().all(is_known);
        if !node.waiting.as_ref().is_some_and(is_over) {
            return Vec::new();
        }
        let Some(Alike { first, others }) = self.nodes[at].waiting.take() else {
            return Vec::new();
        };
        let parts: Vec<Vec<Item>> = match self.kinds_seen(at, &first.into()) {
            true => others.into_iter().map(|item| vec![item]).collect(),
            false => vec![others],
        };
        let node = &mut self.nodes[at];
        node.open = node.open + parts.len() - 1;
        self.add_parts(at, parts)
    }

    /// Tells whether at least two of these are known to fail alone on the route of a node.
    fn kinds_seen(&self, at: usize, alike: &BTreeSet<Item>) -> bool {
        let route = self.nodes[at].route;
        let is_culprit =
            |item: &&Item| matches!(self.verdict(route, **item), Some(Verdict::Culprit(_)));
        alike.iter().filter(is_culprit).count() >= 2
    }

    /// Ends a part; so may end what it came from.
    pub(super) fn close(&mut self, at: usize, explains: bool) -> Vec<Trial> {
        let Some(parent) = self.nodes[at].parent else {
            return self.send_held_back(at);
        };
        let node = &mut self.nodes[parent];
        node.open -= 1;
        node.is_explained |= explains;
        if node.open > 0 {
            return self.try_alike(parent);
        }
        if node.failure.is_none() || node.is_explained {
            return self.end(parent);
        }
        if std::mem::take(&mut node.has_single_culprit) {
            let route = node.route;
            let by_chance = node.failure.as_ref().filter(|of| (self.comes_and_goes)(of));
            if let Some(item) = by_chance.and(node.suspect)
                && let Some(Verdict::Passed(_)) = self.verdict(route, item)
            {
                return self.try_suspect(parent, item, SUSPECTED, true);
            }
            // It was not that one, or not that one alone: nothing is known of the others.
            return self.divide(parent, None, &BTreeSet::new());
        }
        node.stage = Stage::Again;
        let items = node.items.clone();
        vec![self.trial(parent, items)]
    }

    /// Ends a node of which all parts are through; so may end what it came from.
    fn end(&mut self, at: usize) -> Vec<Trial> {
        let mut next = self.try_what_passed(at);
        next.extend(self.close(at, self.nodes[at].is_explained));
        next
    }

    /// Ends a node whose failure was put down to some of its items.
    pub(super) fn end_explained(&mut self, at: usize) -> Vec<Trial> {
        self.nodes[at].is_explained = true;
        self.end(at)
    }

    /// Tries what passed of a pack that failed in one guest, without what is to blame: some of it may fail only
    /// together, which the failure of another device hid. Not where it was together in a guest that came through.
    fn try_what_passed(&mut self, at: usize) -> Vec<Trial> {
        let node = &self.nodes[at];
        // The whole pack covers its parts.
        if node.failure.is_none() || self.has_failed_above(at) {
            return Vec::new();
        }
        let route = node.route;
        let is_sound = |item: &Item| {
            let mut groups = self.groups.iter().filter(|group| group.route == route);
            matches!(self.verdict(route, *item), Some(Verdict::Passed(_)))
                && !groups.any(|group| group.items.contains(item))
        };
        let rest: Vec<Item> = node.items.iter().copied().filter(is_sound).collect();
        // With nothing to blame it would be the same guest once more.
        if rest.len() == node.items.len() || self.came_through(route, &rest) {
            return Vec::new();
        }
        vec![self.add_root(route, rest)]
    }

    fn has_failed_above(&self, at: usize) -> bool {
        let above = std::iter::successors(self.nodes[at].parent, |&at| self.nodes[at].parent);
        above.into_iter().any(|at| self.nodes[at].failure.is_some())
    }

    /// Tells whether these items were in one guest that came through, or of which others are to blame; fewer than two are
    /// never tried together.
    pub(super) fn came_through(&self, route: Route, items: &[Item]) -> bool {
        let has_all = |passed: &BTreeSet<Item>| items.iter().all(|item| passed.contains(item));
        let mut guests = self.passed.iter().filter(|(on, _)| *on == route);
        items.len() < 2 || guests.any(|(_, passed)| has_all(passed))
    }

    pub(super) fn record_again(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        match answer {
            Answer::Failed {
                evidence, suspect, ..
            } => {
                let node = &mut self.nodes[at];
                node.failure = Some(evidence);
                match node.suspect {
                    Some(item) => self.try_suspect(at, item, SUSPECTED, suspect == Some(item)),
                    None => self.look_for_group(at),
                }
            }
            Answer::Passed { .. } | Answer::Refused { .. } | Answer::SingleCulprit { .. } => {
                self.unite(at, true)
            }
        }
    }

    fn try_suspect(&mut self, at: usize, item: Item, left: usize, is_sure: bool) -> Vec<Trial> {
        self.nodes[at].stage = Stage::Suspect {
            item,
            left,
            is_sure,
        };
        vec![self.trial(at, vec![item])]
    }

    /// Takes another trial of a suspect: it is to blame if it fails, and its neighbours are not. Where what is in
    /// memory decides, it is to blame anyway if all that is known points at it.
    pub(super) fn record_suspect(
        &mut self,
        at: usize,
        item: Item,
        left: usize,
        is_sure: bool,
        answer: Answer<E>,
    ) -> Vec<Trial> {
        // A build that refuses the item alone is no evidence against it, in whatever order it is met.
        let is_sure = is_sure && !matches!(answer, Answer::Refused { .. });
        let node = &self.nodes[at];
        let by_chance = |failure: &E| is_sure && (self.comes_and_goes)(failure);
        let in_pack = node.failure.clone().filter(by_chance);
        let (evidence, left) = match answer {
            Answer::Failed { evidence, .. } => (Some(evidence), 0),
            Answer::Passed { .. } | Answer::SingleCulprit { .. } | Answer::Refused { .. } => {
                (in_pack, left - 1)
            }
        };
        match (evidence, left) {
            (_, 1..) => self.try_suspect(at, item, left, is_sure),
            (Some(evidence), 0) => {
                self.decide(node.route, item, Verdict::Culprit(evidence));
                self.end_explained(at)
            }
            (None, 0) => self.look_for_group(at),
        }
    }

    /// Looks for the items of a node that fail only together.
    fn look_for_group(&mut self, at: usize) -> Vec<Trial> {
        // Of two, each passes alone.
        match self.nodes[at].items.len() {
            0..=2 => self.unite(at, false),
            _ => self.narrow(at),
        }
    }

    /// Ends a node of which no part is known to fail: all of it fails together. Where it does not
    /// fail each time and the failure pointed at one item, that one is to blame, and not its
    /// neighbours.
    pub(super) fn unite(&mut self, at: usize, passed_again: bool) -> Vec<Trial> {
        let node = &self.nodes[at];
        let suspect = node.suspect.filter(|_| passed_again);
        let mut next = match (node.failure.clone(), suspect) {
            (Some(evidence), Some(item)) => {
                self.decide(node.route, item, Verdict::Culprit(evidence));
                Vec::new()
            }
            _ => self.add_group(at, node.items.clone(), passed_again),
        };
        next.extend(self.end_explained(at));
        next
    }
}
