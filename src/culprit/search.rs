//! A search under way: the trials so far, their results, and what to try next.

mod halving;
mod way_back;

use std::collections::{BTreeMap, BTreeSet};

use crate::culprit::narrowing::{Narrowing, Progress};
use crate::culprit::{Answer, Group, Item, Trial, Verdict};
use crate::model::Route;

use halving::{Alike, Density};
use way_back::WayBack;

/// A search for the culprits among items that travel in guests; `E` is the evidence.
#[derive(Debug)]
pub(crate) struct Search<E> {
    method: Method,
    nodes: Vec<Node<E>>,
    verdicts: BTreeMap<(Route, Item), Verdict<E>>,
    groups: Vec<Group<E>>,
    /// Items that came through in one guest.
    passed: Vec<(Route, BTreeSet<Item>)>,
    /// Failures of packs that point at one device.
    pointed_at: BTreeMap<(Route, Item), E>,
    way_back: Option<WayBack>,
    /// The items that each one cannot be without: one whose need fails is known to fail without being tried.
    pub needs: BTreeMap<Item, Vec<Item>>,
    /// Tells whether what one item does alone accounts for the failure of a pack, given in the order pack and item, that
    /// was put down to it.
    pub accounts_for: fn(&E, &E) -> bool,
    /// Tells whether what is in memory decided over a failure: a build died, or was left with garbage. Every neighbour
    /// changes what is there, so that it says little of the company that a device needs to fail.
    pub comes_and_goes: fn(&E) -> bool,
    fails_without_any: bool,
}

/// The method to find the culprits in a pack that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// By parts that are tried side by side.
    Halving,
    /// By one trial after the other, until what is left passes.
    Narrowing,
}

/// A set of items that is tried, and the parts that it is divided into.
#[derive(Debug)]
struct Node<E> {
    route: Route,
    items: Vec<Item>,
    parent: Option<usize>,
    /// The number of its parts that are not through.
    open: usize,
    /// Set where a part explains why this fails.
    is_explained: bool,
    /// The evidence of the failure, if it failed.
    failure: Option<E>,
    /// The item that the failure pointed at.
    suspect: Option<Item>,
    density: Density,
    /// The same for its parts.
    parts_density: Density,
    /// Items that wait for others like them.
    waiting: Option<Alike>,
    /// Set where all that was wrong was put down to one item.
    has_single_culprit: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// A trial of a guest without any item.
    Empty,
    Whole,
    /// A second trial of what failed, though its parts did not.
    Again,
    /// More trials of the one item that the failure pointed at, which may fail now and then only.
    Suspect {
        item: Item,
        left: usize,
        /// Set where every failure pointed at it.
        is_sure: bool,
    },
    /// The search for the fewest items that fail together.
    Narrowing(Narrowing),
}

impl<E: Clone> Search<E> {
    fn by(method: Method) -> Self {
        Search {
            method,
            nodes: Vec::new(),
            verdicts: BTreeMap::new(),
            groups: Vec::new(),
            passed: Vec::new(),
            pointed_at: BTreeMap::new(),
            way_back: None,
            needs: BTreeMap::new(),
            accounts_for: |_, _| true,
            comes_and_goes: |_| false,
            fails_without_any: false,
        }
    }

    /// Begins with every pack on every route.
    pub(crate) fn of_packs(packs: &[Vec<Item>], routes: &[Route]) -> (Self, Vec<Trial>) {
        Search::of_routes(routes.iter().map(|&route| (route, packs.to_vec())))
    }

    /// Begins with packs of each route's own.
    pub(crate) fn of_routes(
        packs: impl IntoIterator<Item = (Route, Vec<Vec<Item>>)>,
    ) -> (Self, Vec<Trial>) {
        let mut search = Search::by(Method::Halving);
        let mut trials = Vec::new();
        for (route, packs) in packs {
            let packs = packs.into_iter().filter(|pack| !pack.is_empty());
            trials.extend(packs.map(|pack| search.add_root(route, pack)));
        }
        (search, trials)
    }

    /// Begins with every pack on the first leg; it goes back once that result is known. What
    /// arrived there shows which devices are bound to fail on the way back: they would only have
    /// their neighbours tried again.
    pub(crate) fn there_and_back(
        packs: &[Vec<Item>],
        there: Route,
        back: Route,
    ) -> (Self, Vec<Trial>) {
        let (mut search, trials) = Search::of_packs(packs, &[there]);
        search.way_back = Some(WayBack::new(back));
        (search, trials)
    }

    /// Begins to narrow items down that fail together on a route, starting with a guest without any.
    /// There is one trial at a time. A member stands after those it needs. A group that fails is taken
    /// to fail in any company; no item is blamed for a neighbour, and none is cleared without a
    /// trial.
    pub(crate) fn of_failure(
        items: Vec<Item>,
        needs: BTreeMap<Item, Vec<Item>>,
        route: Route,
    ) -> (Self, Vec<Trial>) {
        let mut search = Search::by(Method::Narrowing);
        search.needs = needs;
        let Trial { node, .. } = search.add_root(route, items);
        search.nodes[node].stage = Stage::Empty;
        let trial = search.trial(node, Vec::new());
        (search, vec![trial])
    }

    /// Adds items that are expected to fail on the way back, whatever their result before.
    pub(crate) fn predict_back(&mut self, items: &BTreeSet<Item>) {
        if let Some(way_back) = &mut self.way_back {
            way_back.predicted.extend(items);
        }
    }

    /// Tells whether what passes on this route has to go back.
    pub(crate) fn goes_back(&self, route: Route) -> bool {
        self.way_back_from(route).is_some()
    }

    /// Returns a failure of several devices that pointed at this one, if there was one.
    pub(crate) fn pointed_at(&self, route: Route, item: Item) -> Option<&E> {
        self.pointed_at.get(&(route, item))
    }

    /// Returns the results so far.
    pub(crate) fn verdicts(&self) -> &BTreeMap<(Route, Item), Verdict<E>> {
        &self.verdicts
    }

    /// Returns the result for one device on one route.
    pub(crate) fn verdict(&self, route: Route, item: Item) -> Option<&Verdict<E>> {
        self.verdicts.get(&(route, item))
    }

    /// Sets the result for one device on one route. A later one takes the place of that of a device which no other one
    /// needs.
    pub(crate) fn decide(&mut self, route: Route, item: Item, verdict: Verdict<E>) {
        self.verdicts.insert((route, item), verdict);
    }

    /// Returns the groups that fail only together, in the order of the devices.
    pub(crate) fn groups(&self) -> Vec<&Group<E>> {
        let mut groups: Vec<&Group<E>> = self.groups.iter().collect();
        groups.sort_by(|a, b| (&a.items, a.route).cmp(&(&b.items, b.route)));
        groups
    }

    /// Returns the groups that fail only together, those of the same devices side by side.
    pub(crate) fn groups_by_items(&self) -> Vec<Vec<&Group<E>>> {
        let groups = self.groups();
        let same = groups.chunk_by(|a, b| a.items == b.items);
        same.map(<[&Group<E>]>::to_vec).collect()
    }

    /// Tells whether a guest without any of the items fails as well: none of them is to blame, and
    /// nothing is known of any. Only a search that narrows down asks.
    pub(crate) fn fails_without_any(&self) -> bool {
        self.fails_without_any
    }

    fn trial(&self, node: usize, items: Vec<Item>) -> Trial {
        Trial {
            route: self.nodes[node].route,
            items,
            node,
        }
    }

    fn add_root(&mut self, route: Route, items: Vec<Item>) -> Trial {
        self.add(route, items, None, Density::default())
    }

    fn add(
        &mut self,
        route: Route,
        items: Vec<Item>,
        parent: Option<usize>,
        density: Density,
    ) -> Trial {
        let node = self.nodes.len();
        self.nodes.push(Node {
            route,
            items: items.clone(),
            parent,
            open: 0,
            is_explained: false,
            failure: None,
            suspect: None,
            density,
            parts_density: Density::default(),
            waiting: None,
            has_single_culprit: false,
            stage: Stage::Whole,
        });
        self.trial(node, items)
    }

    /// Takes the answer to a trial; returns what to try next.
    pub(crate) fn record(&mut self, trial: &Trial, answer: Answer<E>) -> Vec<Trial> {
        let at = trial.node;
        match &self.nodes[at].stage {
            Stage::Empty => self.record_empty(at, answer),
            Stage::Whole => self.record_whole(at, answer),
            Stage::Again => self.record_again(at, answer.without_others()),
            &Stage::Suspect {
                item,
                left,
                is_sure,
            } => self.record_suspect(at, item, left, is_sure, answer),
            Stage::Narrowing(_) => self.record_narrowing(at, answer.without_others()),
        }
    }

    fn record_empty(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        match answer {
            Answer::Passed { .. } => self.narrow(at),
            Answer::Failed { .. } | Answer::SingleCulprit { .. } => {
                self.fails_without_any = true;
                Vec::new()
            }
            Answer::Refused { .. } => Vec::new(),
        }
    }

    fn record_whole(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        let is_among_others = |item: Item| {
            let items = &self.nodes[at].items;
            items.len() > 1 && items.contains(&item)
        };
        let answer = match answer {
            Answer::SingleCulprit { culprit, .. }
                if self.method == Method::Narrowing || !is_among_others(culprit) =>
            {
                answer.without_others()
            }
            answer => answer,
        };
        let node = &mut self.nodes[at];
        let route = node.route;
        let items = node.items.clone();
        match answer {
            Answer::Passed {
                evidence,
                likely_to_fail,
            } => {
                self.clear(route, &items, &evidence);
                let mut next = self.close(at, false);
                next.extend(self.send_back(route, &items, &likely_to_fail));
                next.extend(self.resume(route, &items));
                next
            }
            Answer::Failed {
                evidence,
                suspect,
                alike,
            } => {
                node.failure = Some(evidence.clone());
                match (self.method, items.as_slice()) {
                    (Method::Narrowing, _) => self.narrow(at),
                    (Method::Halving, &[item]) => self.convict(at, item, evidence),
                    (Method::Halving, _) => {
                        let suspect = suspect.filter(|item| items.contains(item));
                        if let Some(item) = suspect {
                            self.pointed_at.insert((route, item), evidence);
                        }
                        self.nodes[at].suspect = suspect;
                        self.divide(at, suspect, &alike)
                    }
                }
            }
            Answer::Refused { evidence, suspect } => match (self.method, items.as_slice()) {
                // A trial that could not be made.
                (Method::Narrowing, _) => Vec::new(),
                (Method::Halving, &[item]) => self.leave_out(at, item, evidence),
                // What does not start together may well start apart: that is no failure to explain.
                (Method::Halving, _) => self.divide(
                    at,
                    suspect.filter(|item| items.contains(item)),
                    &BTreeSet::new(),
                ),
            },
            Answer::SingleCulprit {
                failure,
                culprit,
                others,
                likely_to_fail,
            } => {
                node.failure = Some(failure.clone());
                node.has_single_culprit = true;
                node.suspect = Some(culprit);
                node.open = 1;
                let density = node.density;
                let rest: Vec<Item> = without(&items, culprit);
                self.pointed_at.insert((route, culprit), failure);
                self.clear(route, &rest, &others);
                let mut next = vec![self.add(route, vec![culprit], Some(at), density)];
                next.extend(self.send_back(route, &rest, &likely_to_fail));
                next.extend(self.resume(route, &rest));
                next
            }
        }
    }

    fn clear(&mut self, route: Route, items: &[Item], evidence: &E) {
        self.passed.push((route, items.iter().copied().collect()));
        for &item in items {
            self.decide(route, item, Verdict::Passed(evidence.clone()));
        }
    }

    /// An item that fails alone.
    fn convict(&mut self, at: usize, item: Item, evidence: E) -> Vec<Trial> {
        let node = &self.nodes[at];
        let route = node.route;
        let pack = node.parent.map(|parent| &self.nodes[parent]);
        let pack = pack.filter(|pack| pack.has_single_culprit);
        let failure = pack.and_then(|pack| pack.failure.as_ref());
        let explains = failure.is_none_or(|failure| (self.accounts_for)(failure, &evidence));
        self.decide(route, item, Verdict::Culprit(evidence));
        // It may still go back, together with the others of its pack that did not arrive.
        let root = self.root_of(at);
        if let Some(way_back) = &mut self.way_back {
            way_back.hold(root, item);
        }
        let mut next = self.close(at, explains);
        next.extend(self.resume(route, &[item]));
        next
    }

    /// Returns the pack that a node came from, which may be itself.
    fn root_of(&self, at: usize) -> usize {
        let mut root = at;
        while let Some(parent) = self.nodes[root].parent {
            root = parent;
        }
        root
    }

    /// An item with which a build does not start.
    fn leave_out(&mut self, at: usize, item: Item, evidence: E) -> Vec<Trial> {
        let route = self.nodes[at].route;
        self.decide(route, item, Verdict::Refused(evidence.clone()));
        let mut next = self.close(at, false);
        // In either direction both builds were to start with it.
        if let Some(back) = self.way_back_from(route) {
            self.decide(back, item, Verdict::Refused(evidence));
            next.extend(self.resume(back, &[item]));
        }
        next.extend(self.resume(route, &[item]));
        next
    }

    /// Looks for the fewest items of a node that fail together.
    fn narrow(&mut self, at: usize) -> Vec<Trial> {
        let (narrowing, progress) = Narrowing::begin(self.nodes[at].items.clone());
        self.nodes[at].stage = Stage::Narrowing(narrowing);
        self.follow(at, progress)
    }

    fn record_narrowing(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        let node = &mut self.nodes[at];
        let Stage::Narrowing(narrowing) = &mut node.stage else {
            return Vec::new();
        };
        let failed = match answer {
            Answer::Failed { evidence, .. } => {
                node.failure = Some(evidence);
                true
            }
            Answer::Passed { .. } | Answer::Refused { .. } | Answer::SingleCulprit { .. } => false,
        };
        let progress = narrowing.record(failed);
        self.follow(at, progress)
    }

    fn follow(&mut self, at: usize, progress: Progress) -> Vec<Trial> {
        let node = &self.nodes[at];
        let route = node.route;
        match (progress, self.method) {
            (Progress::Try(items), _) => vec![self.trial(at, items)],
            (Progress::Found(group), Method::Halving) => {
                let mut next = self.blame(at, group);
                next.extend(self.end_explained(at));
                next
            }
            // It failed twice as a whole: that much is known.
            (Progress::Contradiction, Method::Halving) => self.unite(at, false),
            (Progress::Found(group), Method::Narrowing) => {
                let items = node.items.clone();
                let mut next = self.blame(at, group.clone());
                next.extend(self.try_rest(route, &items, &group));
                next
            }
            (Progress::Contradiction, Method::Narrowing) => Vec::new(),
        }
    }

    /// Notes that these items fail, and no fewer of them do.
    fn blame(&mut self, at: usize, group: Vec<Item>) -> Vec<Trial> {
        match group.as_slice() {
            &[item] => {
                if let Some(evidence) = self.nodes[at].failure.clone() {
                    self.decide(self.nodes[at].route, item, Verdict::Culprit(evidence));
                }
                Vec::new()
            }
            _ => self.add_group(at, group, false),
        }
    }

    /// Notes that these items of a node fail only together. They went back apart from each other, if at all.
    fn add_group(&mut self, at: usize, items: Vec<Item>, passed_again: bool) -> Vec<Trial> {
        let node = &self.nodes[at];
        let (route, Some(evidence)) = (node.route, node.failure.clone()) else {
            return Vec::new();
        };
        let back = self.send_back_together(route, &items);
        self.groups.push(Group {
            route,
            items,
            evidence,
            passed_again,
        });
        back
    }

    /// Tries what is left of `items` without a group that fails. A group is gone with any one of its
    /// members; of one that fails together the others may well be sound, but are no longer tried.
    fn try_rest(&mut self, route: Route, items: &[Item], group: &[Item]) -> Vec<Trial> {
        let mut rest = Vec::new();
        for &item in items.iter().filter(|item| !group.contains(item)) {
            let needed = self.needs.get(&item).into_iter().flatten();
            match needed.copied().find(|needed| group.contains(needed)) {
                Some(culprit) => self.decide(route, item, Verdict::NeedsCulprit(culprit)),
                None => rest.push(item),
            }
        }
        if rest.is_empty() {
            return Vec::new();
        }
        vec![self.add_root(route, rest)]
    }
}

fn without(items: &[Item], left_out: Item) -> Vec<Item> {
    let items = items.iter().copied();
    items.filter(|item| *item != left_out).collect()
}

#[cfg(test)]
mod tests;
