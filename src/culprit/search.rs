//! Group testing: which of many devices in one guest keep it from moving, or from starting.
//!
//! A pack that fails is halved until what fails is alone. A device that fails alone is a culprit, and
//! nothing else of its pack is blamed. Where a pack fails and both its halves pass, it is tried again
//! and then reduced to the devices that fail only together.
//!
//! A pack goes there first, and back only once that is known: what arrived there tells who is bound to
//! fail on the way back, and would only have its neighbours tried again.
//!
//! Nothing here runs anything: [`Search`] says what to try and is told what came of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Direction;

/// A device, by its place in the list that is searched.
pub type Item = usize;

/// From which build to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    Across(Direction),
    OldToOld,
    NewToNew,
}

/// One guest that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    pub way: Way,
    pub items: Vec<Item>,
    node: usize,
}

/// What came of a trial; `E` is the evidence. The item that it points at, if at any, is tried first.
#[derive(Debug, Clone)]
pub enum Answer<E> {
    /// With it, who is expected to fail on the way back.
    Passed(E, BTreeSet<Item>),
    /// A build did not start with these devices.
    Refused(E, Option<Item>),
    Failed(E, Option<Item>),
    /// It failed, and all that was wrong was this item's: the others came through.
    Sole {
        failed: E,
        culprit: Item,
        others: E,
        doubtful: BTreeSet<Item>,
    },
}

impl<E> Answer<E> {
    /// The same where neighbours do not count.
    fn plain(self) -> Answer<E> {
        match self {
            Answer::Sole {
                failed, culprit, ..
            } => Answer::Failed(failed, Some(culprit)),
            other => other,
        }
    }
}

/// What is known of one device on one way. Except for `Passed` it was alone in its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<E> {
    Passed(E),
    Refused(E),
    Culprit(E),
}

/// Devices that fail in one guest, and no fewer of them do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together<E> {
    pub way: Way,
    pub items: Vec<Item>,
    pub evidence: E,
    /// It failed once, and passed when it was tried again.
    pub passed_again: bool,
}

/// Up to this many devices are tried one by one where failures are dense: halves would fail as well.
const FEW: usize = 8;

/// How often a pack is divided into what the evidence points at and the rest. Where that does not
/// help, there are too many culprits to take out one by one.
const HINTS: usize = 6;

/// A search under way.
#[derive(Debug)]
pub struct Search<E> {
    nodes: Vec<Node<E>>,
    verdicts: BTreeMap<(Way, Item), Verdict<E>>,
    together: Vec<Together<E>>,
    /// Failures of packs that point at one device.
    pointed: BTreeMap<(Way, Item), E>,
    /// The way that what went another one has yet to go.
    back: Option<Way>,
    /// Who cannot be without whom.
    needs: BTreeMap<Item, Vec<Item>>,
    /// Who is expected to fail on the way back by the device that it needs, and waits for what comes of
    /// that one alone.
    waiting: Vec<(Item, Item)>,
    /// Whether what one item is said to have done to a guest is what it does alone.
    same: fn(&E, &E) -> bool,
}

#[derive(Debug)]
struct Node<E> {
    way: Way,
    items: Vec<Item>,
    parent: Option<usize>,
    /// Parts that are not through.
    open: usize,
    /// A part explains why this fails.
    explained: bool,
    /// Of the failure, if it failed.
    evidence: Option<E>,
    /// Failures are many around here.
    dense: bool,
    /// How many hints were followed on the way here.
    hints: usize,
    /// One item is said to have done it all.
    sole: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Whole,
    /// It failed, its parts did not: is that so?
    Again,
    /// Without the `size` items from `at` on, does it still fail?
    Reduce {
        size: usize,
        at: usize,
    },
}

impl<E: Clone> Search<E> {
    /// Every pack on every way.
    pub fn new(packs: &[Vec<Item>], ways: &[Way]) -> (Search<E>, Vec<Trial>) {
        let mut search = Search {
            nodes: Vec::new(),
            verdicts: BTreeMap::new(),
            together: Vec::new(),
            pointed: BTreeMap::new(),
            back: None,
            needs: BTreeMap::new(),
            waiting: Vec::new(),
            same: |_, _| true,
        };
        let mut trials = Vec::new();
        for pack in packs.iter().filter(|pack| !pack.is_empty()) {
            for &way in ways {
                trials.push(search.grow(way, pack.clone(), None, (false, 0)));
            }
        }
        (search, trials)
    }

    /// Every pack there, and what is known then, back.
    pub fn there_and_back(packs: &[Vec<Item>], there: Way, back: Way) -> (Search<E>, Vec<Trial>) {
        let (mut search, trials) = Search::new(packs, &[there]);
        search.back = Some(back);
        (search, trials)
    }

    /// Says which of the devices cannot be without which others. One that fails with what it needs is
    /// known to without being tried.
    pub fn with_needs(mut self, needs: BTreeMap<Item, Vec<Item>>) -> Search<E> {
        self.needs = needs;
        self
    }

    /// Says how a failure that is put down to one of many is told from what that one does alone.
    pub fn with_likeness(mut self, same: fn(&E, &E) -> bool) -> Search<E> {
        self.same = same;
        self
    }

    /// Whether what passes this way has another one to go.
    pub fn returns(&self, way: Way) -> bool {
        self.back.is_some_and(|back| back != way)
    }

    /// A failure of several devices that this one was found to be the cause of, if there was one.
    pub fn pointed_at(&self, way: Way, item: Item) -> Option<&E> {
        self.pointed.get(&(way, item))
    }

    /// What is known of each device on each way.
    pub fn verdicts(&self) -> &BTreeMap<(Way, Item), Verdict<E>> {
        &self.verdicts
    }

    /// What fails only together, in the order of the devices.
    pub fn together(&self) -> Vec<&Together<E>> {
        let mut together: Vec<&Together<E>> = self.together.iter().collect();
        together.sort_by(|a, b| (&a.items, a.way).cmp(&(&b.items, b.way)));
        together
    }

    fn grow(
        &mut self,
        way: Way,
        items: Vec<Item>,
        parent: Option<usize>,
        (dense, hints): (bool, usize),
    ) -> Trial {
        let node = self.nodes.len();
        self.nodes.push(Node {
            way,
            items: items.clone(),
            parent,
            open: 0,
            explained: false,
            evidence: None,
            dense,
            hints,
            sole: false,
            stage: Stage::Whole,
        });
        Trial { way, items, node }
    }

    /// Takes what came of a trial; what to try next comes back.
    pub fn told(&mut self, trial: &Trial, answer: Answer<E>) -> Vec<Trial> {
        let at = trial.node;
        match self.nodes[at].stage {
            Stage::Whole => self.whole(at, answer),
            Stage::Again => self.again(at, answer.plain()),
            Stage::Reduce { size, at: from } => self.reduced(at, size, from, trial, answer.plain()),
        }
    }

    fn whole(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        let answer = match answer {
            Answer::Sole { culprit, .. } if !self.is_among_others(at, culprit) => answer.plain(),
            answer => answer,
        };
        let node = &mut self.nodes[at];
        let way = node.way;
        match (answer, node.items.as_slice()) {
            (Answer::Passed(evidence, doubtful), items) => {
                let items = items.to_vec();
                for &item in &items {
                    let verdict = Verdict::Passed(evidence.clone());
                    self.verdicts.insert((way, item), verdict);
                }
                let mut next = self.close(at, false);
                next.extend(self.turn(way, &items, &doubtful));
                next.extend(self.resume(way, &items));
                next
            }
            (Answer::Refused(evidence, _), &[item]) => {
                self.verdicts
                    .insert((way, item), Verdict::Refused(evidence.clone()));
                let mut next = self.close(at, false);
                // Whichever way it was to go, both builds were to start with it.
                if let Some(back) = self.back.filter(|back| *back != way) {
                    let refused = Verdict::Refused(evidence);
                    self.verdicts.insert((back, item), refused);
                    next.extend(self.resume(back, &[item]));
                }
                next.extend(self.resume(way, &[item]));
                next
            }
            (Answer::Failed(evidence, _), &[item]) => {
                node.evidence = Some(evidence.clone());
                let parent = node.parent.map(|parent| &self.nodes[parent]);
                let whole = parent.filter(|parent| parent.sole);
                let whole = whole.and_then(|parent| parent.evidence.as_ref());
                let explains = whole.is_none_or(|whole| (self.same)(whole, &evidence));
                self.verdicts
                    .insert((way, item), Verdict::Culprit(evidence));
                let mut next = self.close(at, explains);
                next.extend(self.turn(way, &[item], &BTreeSet::new()));
                next.extend(self.resume(way, &[item]));
                next
            }
            (
                Answer::Sole {
                    failed,
                    culprit,
                    others,
                    doubtful,
                },
                items,
            ) => {
                let rest = items.iter().copied().filter(|item| *item != culprit);
                let rest: Vec<Item> = rest.collect();
                let density = (node.dense, node.hints);
                node.evidence = Some(failed.clone());
                node.sole = true;
                node.open = 1;
                self.pointed.insert((way, culprit), failed);
                for &item in &rest {
                    let verdict = Verdict::Passed(others.clone());
                    self.verdicts.insert((way, item), verdict);
                }
                let mut next = vec![self.grow(way, vec![culprit], Some(at), density)];
                next.extend(self.turn(way, &rest, &doubtful));
                next.extend(self.resume(way, &rest));
                next
            }
            // What does not start together may well start apart: that is no failure to explain.
            (Answer::Refused(_, suspect), items) => {
                let suspect = suspect.filter(|item| items.contains(item));
                self.split(at, suspect)
            }
            (Answer::Failed(evidence, suspect), items) => {
                let suspect = suspect.filter(|item| items.contains(item));
                if let Some(item) = suspect {
                    self.pointed.insert((way, item), evidence.clone());
                }
                node.evidence = Some(evidence);
                self.split(at, suspect)
            }
        }
    }

    /// Whether an item is one of several in a guest.
    fn is_among_others(&self, at: usize, item: Item) -> bool {
        let items = &self.nodes[at].items;
        items.len() > 1 && items.contains(&item)
    }

    /// Who went there goes back: together, except for those who are expected to fail.
    fn turn(&mut self, way: Way, items: &[Item], doubtful: &BTreeSet<Item>) -> Vec<Trial> {
        let Some(back) = self.back.filter(|back| *back != way) else {
            return Vec::new();
        };
        let (mut apart, rest): (Vec<Item>, Vec<Item>) =
            items.iter().partition(|item| doubtful.contains(item));
        let mut held_up = Vec::new();
        apart.retain(|&item| match self.to_wait_for(item) {
            Some(needed) => {
                self.waiting.push((item, needed));
                held_up.push(needed);
                false
            }
            None => true,
        });
        let size = if apart.len() <= FEW { 1 } else { apart.len() };
        let mut parts: Vec<Vec<Item>> = vec![rest];
        parts.extend(apart.chunks(size).map(<[Item]>::to_vec));
        parts.retain(|part| !part.is_empty());
        let grow = |part| self.grow(back, part, None, (false, 0));
        let mut next: Vec<Trial> = parts.into_iter().map(grow).collect();
        // What they wait for may be known already.
        held_up.retain(|&needed| self.verdicts.contains_key(&(back, needed)));
        next.extend(self.resume(back, &held_up));
        next
    }

    /// A device of this search that the item needs, and that does not wait itself: nobody waits in a
    /// circle.
    fn to_wait_for(&self, item: Item) -> Option<Item> {
        let searched = |needed: &Item| self.nodes.iter().any(|node| node.items.contains(needed));
        let waits = |needed: &Item| self.waiting.iter().any(|(other, _)| other == needed);
        let mut needed = self.needs.get(&item)?.iter().copied();
        needed.find(|needed| *needed != item && searched(needed) && !waits(needed))
    }

    /// Who waited for one of these is known to fail with it, or is tried after all.
    fn resume(&mut self, way: Way, known: &[Item]) -> Vec<Trial> {
        if self.back != Some(way) {
            return Vec::new();
        }
        let (over, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, needed)| known.contains(needed));
        self.waiting = still;
        let mut next = Vec::new();
        for (item, needed) in over {
            match self.verdicts.get(&(way, needed)).cloned() {
                Some(Verdict::Culprit(evidence)) => {
                    self.verdicts
                        .insert((way, item), Verdict::Culprit(evidence));
                    next.extend(self.resume(way, &[item]));
                }
                _ => next.push(self.grow(way, vec![item], None, (false, 0))),
            }
        }
        next
    }

    fn split(&mut self, at: usize, suspect: Option<Item>) -> Vec<Trial> {
        let Node {
            way,
            parent,
            dense,
            hints,
            ..
        } = self.nodes[at];
        // A sibling that failed too: at least two culprits in what they came from.
        let crowded = dense
            || self.nodes.iter().enumerate().any(|(other, node)| {
                other != at && parent.is_some() && node.parent == parent && node.evidence.is_some()
            });
        let items = self.nodes[at].items.clone();
        let (parts, hints) = match suspect {
            Some(suspect) if hints < HINTS => {
                let rest = items.into_iter().filter(|item| *item != suspect);
                (vec![vec![suspect], rest.collect()], hints + 1)
            }
            _ => {
                let size = if crowded && items.len() <= FEW {
                    1
                } else {
                    items.len().div_ceil(2)
                };
                (items.chunks(size).map(<[Item]>::to_vec).collect(), hints)
            }
        };
        self.nodes[at].open = parts.len();
        parts
            .into_iter()
            .map(|part| self.grow(way, part, Some(at), (crowded, hints)))
            .collect()
    }

    /// A part is through; so may be what it came from.
    fn close(&mut self, at: usize, explains: bool) -> Vec<Trial> {
        let Some(parent) = self.nodes[at].parent else {
            return Vec::new();
        };
        let node = &mut self.nodes[parent];
        node.open -= 1;
        node.explained |= explains;
        if node.open > 0 {
            return Vec::new();
        }
        if node.evidence.is_none() || node.explained {
            let explained = node.explained;
            return self.close(parent, explained);
        }
        if std::mem::take(&mut node.sole) {
            // It was not that one, or not that one alone: nothing is known of the others.
            return self.split(parent, None);
        }
        node.stage = Stage::Again;
        vec![Trial {
            way: node.way,
            items: node.items.clone(),
            node: parent,
        }]
    }

    fn again(&mut self, at: usize, answer: Answer<E>) -> Vec<Trial> {
        match answer {
            Answer::Failed(evidence, _) => {
                let node = &mut self.nodes[at];
                node.evidence = Some(evidence);
                // Most often halves are known to pass.
                let size = node.items.len() / 4;
                self.reduce(at, size.max(1), 0)
            }
            Answer::Passed(..) | Answer::Refused(..) | Answer::Sole { .. } => self.unite(at, true),
        }
    }

    fn reduced(
        &mut self,
        at: usize,
        size: usize,
        from: usize,
        trial: &Trial,
        answer: Answer<E>,
    ) -> Vec<Trial> {
        if let Answer::Failed(evidence, _) = answer {
            let node = &mut self.nodes[at];
            node.items.clone_from(&trial.items);
            node.evidence = Some(evidence);
            self.reduce(at, size, from)
        } else {
            self.reduce(at, size, from + size)
        }
    }

    /// The next smaller set to try, or the end of it.
    fn reduce(&mut self, at: usize, size: usize, from: usize) -> Vec<Trial> {
        let node = &mut self.nodes[at];
        // Of two, each passes alone.
        if node.items.len() <= 2 {
            return self.unite(at, false);
        }
        if from >= node.items.len() {
            return match size {
                1 => self.unite(at, false),
                _ => self.reduce(at, size / 2, 0),
            };
        }
        let until = (from + size).min(node.items.len());
        let items = [&node.items[..from], &node.items[until..]].concat();
        node.stage = Stage::Reduce { size, at: from };
        vec![Trial {
            way: node.way,
            items,
            node: at,
        }]
    }

    fn unite(&mut self, at: usize, passed_again: bool) -> Vec<Trial> {
        let node = &self.nodes[at];
        if let Some(evidence) = node.evidence.clone() {
            self.together.push(Together {
                way: node.way,
                items: node.items.clone(),
                evidence,
                passed_again,
            });
        }
        self.close(at, true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FORWARD: Way = Way::Across(Direction::Forward);
    const BACKWARD: Way = Way::Across(Direction::Backward);

    /// A world: who fails, who does not start, and who fails only with whom.
    #[derive(Debug, Clone, Default)]
    struct World {
        culprits: BTreeSet<Item>,
        refused: BTreeSet<Item>,
        pair: Option<(Item, Item)>,
        /// What every piece of evidence points at, rightly or not.
        suspect: Option<Item>,
        /// Evidence points at the first culprit.
        hints: bool,
        /// Who is expected to fail on the way back, rightly or not.
        doubtful: BTreeSet<Item>,
        /// What one culprit does to a guest is told from what the others do.
        told_apart: bool,
    }

    impl World {
        fn answer(&self, items: &[Item]) -> Answer<()> {
            let has = |item: &Item| items.contains(item);
            if self.refused.iter().any(has) {
                Answer::Refused((), self.suspect)
            } else if self.culprits.iter().any(has)
                || self.pair.is_some_and(|(a, b)| has(&a) && has(&b))
            {
                let mut culprits = self.culprits.iter().filter(|item| items.contains(item));
                let culprit = culprits.next();
                if let (true, Some(&culprit), None) = (self.told_apart, culprit, culprits.next()) {
                    return Answer::Sole {
                        failed: (),
                        culprit: self.suspect.unwrap_or(culprit),
                        others: (),
                        doubtful: self.doubtful.clone(),
                    };
                }
                Answer::Failed((), self.suspect.or(culprit.copied().filter(|_| self.hints)))
            } else {
                Answer::Passed((), self.doubtful.clone())
            }
        }

        /// The search through to its end, and how many guests it took. `last` answers the latest
        /// trial first, as a pool of workers may.
        fn search(&self, packs: &[Vec<Item>], last: bool) -> (Search<()>, usize) {
            self.finish(Search::new(packs, &[FORWARD]), last)
        }

        fn finish(
            &self,
            (mut search, mut waiting): (Search<()>, Vec<Trial>),
            last: bool,
        ) -> (Search<()>, usize) {
            let mut runs = 0;
            while !waiting.is_empty() {
                let at = if last { waiting.len() - 1 } else { 0 };
                let trial = waiting.remove(at);
                runs += 1;
                let answer = self.answer(&trial.items);
                waiting.extend(search.told(&trial, answer));
            }
            (search, runs)
        }
    }

    fn packs(items: usize, size: usize) -> Vec<Vec<Item>> {
        let all: Vec<Item> = (0..items).collect();
        all.chunks(size).map(<[Item]>::to_vec).collect()
    }

    fn log2(n: usize) -> usize {
        n.next_power_of_two().trailing_zeros() as usize
    }

    proptest! {
        #[test]
        fn every_culprit_is_found_and_no_neighbour_is_blamed(
            items in 1usize..120,
            size in 1usize..40,
            bad in prop::collection::btree_set(0usize..120, 0..20),
            stuck in prop::collection::btree_set(0usize..120, 0..6),
            suspect in prop::option::of(0usize..120),
            hints: bool,
            told_apart: bool,
            last: bool,
        ) {
            let world = World {
                suspect,
                hints,
                told_apart,
                refused: stuck.into_iter().filter(|i| *i < items).collect(),
                culprits: bad.into_iter().filter(|i| *i < items).collect(),
                ..World::default()
            };
            let packs = packs(items, size);
            let (search, runs) = world.search(&packs, last);
            for item in 0..items {
                let expected = if world.refused.contains(&item) {
                    Verdict::Refused(())
                } else if world.culprits.contains(&item) {
                    Verdict::Culprit(())
                } else {
                    Verdict::Passed(())
                };
                prop_assert_eq!(search.verdicts().get(&(FORWARD, item)), Some(&expected));
            }
            prop_assert!(search.together().is_empty());
            // A path down for each, both halves on it, and the few that are tried one by one.
            let odd = world.culprits.union(&world.refused).count();
            let most = packs.len() + odd * (2 * log2(size) + FEW + 2 * HINTS);
            prop_assert!(runs <= most, "{} runs, at most {}", runs, most);
        }

        #[test]
        fn every_device_goes_both_ways_whoever_is_doubted(
            items in 1usize..60,
            size in 1usize..40,
            bad in prop::collection::btree_set(0usize..60, 0..8),
            stuck in prop::collection::btree_set(0usize..60, 0..3),
            doubtful in prop::collection::btree_set(0usize..60, 0..20),
            suspect in prop::option::of(0usize..60),
            told_apart: bool,
            last: bool,
        ) {
            let (culprits, refused) = (bad, stuck);
            let world = World { culprits, refused, suspect, doubtful, told_apart, pair: None, hints: false };
            let begun = Search::there_and_back(&packs(items, size), FORWARD, BACKWARD);
            // Who needs a culprit is one.
            let needs = (0..items).filter(|item| world.culprits.contains(item)).flat_map(|item| {
                let needed = world.culprits.iter().copied().filter(move |other| *other < item);
                needed.map(move |needed| (item, vec![needed]))
            });
            let (search, _) = world.finish((begun.0.with_needs(needs.collect()), begun.1), last);
            for item in 0..items {
                let there = search.verdicts().get(&(FORWARD, item));
                prop_assert!(there.is_some());
                prop_assert_eq!(there, search.verdicts().get(&(BACKWARD, item)));
            }
        }

        #[test]
        fn what_fails_only_together_is_told_as_such(
            size in 2usize..40,
            one in 0usize..40,
            other in 1usize..40,
            last: bool,
        ) {
            // Two different ones, in order.
            let (one, other) = (one % size, (one % size + 1 + other % (size - 1)) % size);
            let (a, b) = (one.min(other), one.max(other));
            let world = World { pair: Some((a, b)), ..World::default() };
            let (search, _) = world.search(&packs(size, size), last);
            prop_assert!(search.verdicts().values().all(|v| *v == Verdict::Passed(())));
            let together = search.together();
            prop_assert_eq!(together.len(), 1);
            prop_assert_eq!(&together[0].items, &vec![a, b]);
            prop_assert!(!together[0].passed_again);
        }
    }

    #[test]
    fn nothing_wrong_takes_one_guest_a_pack() {
        let (search, runs) = World::default().search(&packs(112, 28), false);
        assert_eq!(runs, 4);
        assert_eq!(search.verdicts().len(), 112);
    }

    #[test]
    fn good_evidence_saves_the_halving() {
        let world = World {
            culprits: [7, 30].into(),
            hints: true,
            ..World::default()
        };
        let (search, runs) = world.search(&packs(48, 48), false);
        assert_eq!(
            runs, 5,
            "the pack, two culprits, and what is left each time"
        );
        let culprit = |verdict: &&Verdict<()>| **verdict == Verdict::Culprit(());
        assert_eq!(search.verdicts().values().filter(culprit).count(), 2);
    }

    #[test]
    fn who_is_known_to_fail_on_the_way_back_spoils_it_for_nobody() {
        let doubtful = BTreeSet::from([3, 5]);
        let passed = Answer::Passed((), doubtful.clone());
        let (mut search, trials) = Search::there_and_back(&packs(8, 8), FORWARD, BACKWARD);
        let back: Vec<Vec<Item>> = search
            .told(&trials[0], passed)
            .into_iter()
            .map(|trial| trial.items)
            .collect();
        assert_eq!(back, [vec![0, 1, 2, 4, 6, 7], vec![3], vec![5]]);
        assert!(search.returns(FORWARD) && !search.returns(BACKWARD));
    }

    #[test]
    fn who_needs_a_device_that_fails_on_the_way_back_is_not_tried() {
        for (outcome, tried) in [(Answer::Failed((), None), false), (passes(), true)] {
            let packs = [vec![0, 1], vec![2, 3]];
            let (search, trials) = Search::there_and_back(&packs, FORWARD, BACKWARD);
            let mut search = search.with_needs([(1, vec![2])].into());
            let told = |doubted: Item| Answer::Passed((), BTreeSet::from([doubted]));
            let items = |trials: &[Trial]| -> Vec<Vec<Item>> {
                trials.iter().map(|trial| trial.items.clone()).collect()
            };
            assert_eq!(items(&search.told(&trials[0], told(1))), [vec![0]]);
            let back = search.told(&trials[1], told(2));
            assert_eq!(items(&back), [vec![3], vec![2]]);
            let next = search.told(&back[1], outcome);
            assert_eq!(items(&next), if tried { vec![vec![1]] } else { vec![] });
            let known = search.verdicts().get(&(BACKWARD, 1));
            assert_eq!(known.is_some(), !tried);
        }
    }

    fn passes() -> Answer<()> {
        Answer::Passed((), BTreeSet::new())
    }

    #[test]
    fn a_failure_of_many_that_points_at_one_is_remembered() {
        let (mut search, trials) = Search::new(&packs(4, 4), &[FORWARD]);
        search.told(&trials[0], Answer::Failed("pack", Some(2)));
        assert_eq!(search.pointed_at(FORWARD, 2), Some(&"pack"));
        assert_eq!(search.pointed_at(FORWARD, 1), None);
    }

    #[test]
    fn what_one_device_alone_has_lost_says_nothing_against_the_others() {
        let world = World {
            culprits: [5].into(),
            told_apart: true,
            ..World::default()
        };
        let (_, runs) = world.search(&packs(40, 40), false);
        assert_eq!(runs, 2, "the pack, and the one");
        // Alone it does something else: another one was it, too.
        let (search, trials) = Search::new(&packs(4, 4), &[FORWARD]);
        let mut search = search.with_likeness(|pack, alone| pack == alone);
        let sole = Answer::Sole {
            failed: "two are wrong",
            culprit: 1,
            others: "so far",
            doubtful: BTreeSet::new(),
        };
        let alone = search.told(&trials[0], sole);
        assert_eq!(alone[0].items, [1]);
        let next = search.told(&alone[0], Answer::Failed("one is wrong", None));
        let halves: Vec<&[Item]> = next.iter().map(|trial| trial.items.as_slice()).collect();
        assert_eq!(halves, [[0, 1], [2, 3]]);
    }

    #[test]
    fn where_all_fail_it_costs_little_more_than_one_by_one() {
        let world = World {
            culprits: (0..24).collect(),
            ..World::default()
        };
        let (_, runs) = world.search(&packs(24, 24), false);
        assert!(runs <= 36, "{runs} for 24 culprits");
    }

    #[test]
    fn a_failure_that_does_not_happen_again_is_no_culprit_and_not_hidden() {
        let (mut search, trials) = Search::new(&[vec![0, 1]], &[FORWARD]);
        let halves = search.told(&trials[0], Answer::Failed("once", None));
        let mut next = Vec::new();
        for half in &halves {
            next.extend(search.told(half, Answer::Passed("well", BTreeSet::new())));
        }
        assert_eq!(next.len(), 1, "the pack again");
        let well = Answer::Passed("well", BTreeSet::new());
        assert!(search.told(&next[0], well).is_empty());
        let together = search.together();
        assert!(together[0].passed_again);
        assert_eq!(together[0].evidence, "once");
    }
}
