//! The return of what went there: together, except for what is likely to fail.

use std::collections::{BTreeMap, BTreeSet};

use crate::culprit::search::Search;
use crate::culprit::search::halving::FEW;
use crate::culprit::{Item, Trial, Verdict};
use crate::model::Route;

/// The route back, and the items that are not on it yet.
#[derive(Debug)]
pub(super) struct WayBack {
    route: Route,
    waiting: Vec<Waiting>,
    /// Items that did not arrive, by the pack that they were in: they go back together once all
    /// results of it are known.
    held: BTreeMap<usize, Vec<Item>>,
    /// Items that went there in one guest and back in several, and are not all known on this way.
    groups: Vec<Vec<Item>>,
    /// Items that were sent back, or wait to be.
    sent: BTreeSet<Item>,
    /// Items that are expected to fail on this route.
    pub(super) predicted: BTreeSet<Item>,
}

/// An item that is likely to fail by the device that it needs, and waits for the result of that one.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    item: Item,
    needed: Item,
}

impl WayBack {
    pub(super) fn new(route: Route) -> Self {
        WayBack {
            route,
            waiting: Vec::new(),
            held: BTreeMap::new(),
            groups: Vec::new(),
            sent: BTreeSet::new(),
            predicted: BTreeSet::new(),
        }
    }

    pub(super) fn hold(&mut self, pack: usize, item: Item) {
        self.held.entry(pack).or_default().push(item);
    }
}

impl<E: Clone> Search<E> {
    /// Returns the route back of what went this route, if it is to go back.
    pub(super) fn way_back_from(&self, route: Route) -> Option<Route> {
        let back = self.way_back.as_ref()?.route;
        (back != route).then_some(back)
    }

    /// Sends back those of a pack that did not arrive.
    pub(super) fn send_held_back(&mut self, pack: usize) -> Vec<Trial> {
        let Some(way_back) = &mut self.way_back else {
            return Vec::new();
        };
        let Some(mut items) = way_back.held.remove(&pack) else {
            return Vec::new();
        };
        items.sort_unstable();
        let predicted = way_back.predicted.clone();
        self.send_back(self.nodes[pack].route, &items, &predicted)
    }

    /// Sends what went there back: together, except for what is likely to fail.
    pub(super) fn send_back(
        &mut self,
        route: Route,
        items: &[Item],
        likely_to_fail: &BTreeSet<Item>,
    ) -> Vec<Trial> {
        let Some(way_back) = self.way_back.as_mut().filter(|back| back.route != route) else {
            return Vec::new();
        };
        let back = way_back.route;
        // They went in several guests, and came through in one since.
        if items.iter().all(|item| way_back.sent.contains(item)) {
            return self.send_back_together(route, items);
        }
        way_back.sent.extend(items);
        let (mut apart, rest): (Vec<Item>, Vec<Item>) =
            items.iter().partition(|item| likely_to_fail.contains(item));
        let mut awaited = Vec::new();
        apart.retain(|&item| match self.to_wait_for(item) {
            Some(needed) => {
                if let Some(way_back) = &mut self.way_back {
                    way_back.waiting.push(Waiting { item, needed });
                }
                awaited.push(needed);
                false
            }
            None => true,
        });
        let size = if apart.len() <= FEW { 1 } else { apart.len() };
        let mut parts: Vec<Vec<Item>> = vec![rest];
        parts.extend(apart.chunks(size).map(<[Item]>::to_vec));
        parts.retain(|part| !part.is_empty());
        let parts = parts.into_iter();
        let mut next: Vec<Trial> = parts.map(|part| self.add_root(back, part)).collect();
        // What they wait for may be known already.
        awaited.retain(|&needed| self.verdict(back, needed).is_some());
        next.extend(self.resume(back, &awaited));
        next
    }

    /// Sends items back in one guest, once all are known on that way in others: those that pass may fail together there.
    pub(super) fn send_back_together(&mut self, route: Route, items: &[Item]) -> Vec<Trial> {
        let Some(way_back) = self.way_back.as_mut().filter(|back| back.route != route) else {
            return Vec::new();
        };
        way_back.groups.push(items.to_vec());
        let back = way_back.route;
        self.resume_groups(back)
    }

    /// Tries the groups of which all is known by now, without those that fail by themselves, unless they came through in
    /// one guest.
    fn resume_groups(&mut self, back: Route) -> Vec<Trial> {
        let groups = self
            .way_back
            .as_mut()
            .map(|of| std::mem::take(&mut of.groups));
        let (known, waiting): (Vec<_>, Vec<_>) = groups
            .unwrap_or_default()
            .into_iter()
            .partition(|group| group.iter().all(|item| self.verdict(back, *item).is_some()));
        if let Some(way_back) = &mut self.way_back {
            way_back.groups = waiting;
        }
        let mut trials = Vec::new();
        for mut group in known {
            group.retain(|item| matches!(self.verdict(back, *item), Some(Verdict::Passed(_))));
            if !self.came_through(back, &group) {
                trials.push(self.add_root(back, group));
            }
        }
        trials
    }

    /// Returns a device of this search that the item needs, and that does not wait itself: there
    /// are no circular waits.
    fn to_wait_for(&self, item: Item) -> Option<Item> {
        let waiting = &self.way_back.as_ref()?.waiting;
        let is_searched = |needed: &Item| self.nodes.iter().any(|node| node.items.contains(needed));
        let waits = |needed: &Item| waiting.iter().any(|waiting| waiting.item == *needed);
        let mut needed = self.needs.get(&item)?.iter().copied();
        needed.find(|needed| *needed != item && is_searched(needed) && !waits(needed))
    }

    /// Ends the wait for items that are known by now on a route: what needs a culprit is known to fail
    /// with it; the rest is tried after all.
    pub(super) fn resume(&mut self, route: Route, known: &[Item]) -> Vec<Trial> {
        let Some(way_back) = self.way_back.as_mut().filter(|back| back.route == route) else {
            return Vec::new();
        };
        let all = std::mem::take(&mut way_back.waiting).into_iter();
        let (over, still): (Vec<_>, Vec<_>) =
            all.partition(|waiting| known.contains(&waiting.needed));
        way_back.waiting = still;
        let mut next = Vec::new();
        for Waiting { item, needed } in over {
            let culprit = match self.verdict(route, needed) {
                Some(Verdict::Culprit(_)) => Some(needed),
                Some(Verdict::NeedsCulprit(culprit)) => Some(*culprit),
                Some(Verdict::Passed(_) | Verdict::Refused(_)) | None => None,
            };
            match culprit {
                Some(culprit) => {
                    self.decide(route, item, Verdict::NeedsCulprit(culprit));
                    next.extend(self.resume(route, &[item]));
                }
                None => next.push(self.add_root(route, vec![item])),
            }
        }
        next.extend(self.resume_groups(route));
        next
    }
}
