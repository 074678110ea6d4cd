//! What is tried when: the bare machine first, then every device across, then the culprits at home.

use std::collections::{BTreeMap, BTreeSet};

use crate::culprit::search::{Item, Search, Verdict, Way};
use crate::report::Outcome;
use crate::sweep::cases::{family, ids};
use crate::sweep::catalogue::Catalogue;
use crate::sweep::pack::pack;
use crate::sweep::place::Place;
use crate::sweep::shard::Shard;
use crate::sweep::visit::blame::accounts;
use crate::sweep::visit::task::{Stage, Task};
use crate::sweep::visit::{CONTROLS, MachineSweep, Options, Packing};

impl MachineSweep {
    /// When all that was asked for is known: the search, then its controls, then nothing.
    pub(crate) fn next_stage(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        if self.search.is_none() {
            return self.begin_search(place, options);
        }
        if self.controls.is_none() {
            return self.begin_controls(place, options);
        }
        Vec::new()
    }

    fn begin_search(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        let Some(Ok(buses)) = &self.buses else {
            return Vec::new();
        };
        self.catalogue = Catalogue::of(&place.config, buses, &place.properties, &options.only);
        let ways: Vec<Way> = options
            .directions
            .iter()
            .map(|&direction| Way::Across(direction))
            .filter(|&way| {
                let bare = self.bare.get(&way);
                bare.is_some_and(|run| run.attempt.outcome == Outcome::Pass)
                    || self.graft(way).is_some()
            })
            .collect();
        self.planned = ids(place, &self.catalogue, &options.directions);
        let all = self.share(place, options.shard);
        // Who is bound to fail on the way back alone still goes there with the others.
        let at_once = match ways.as_slice() {
            [there, _] => std::slice::from_ref(there),
            ways => ways,
        };
        // What is bound to fail would only have its neighbours tried again.
        let foretold = |item| {
            let mut ways = at_once.iter();
            ways.any(|&way| self.is_foretold(place, way, item))
        };
        let apart = all.iter().copied().filter(|&item| foretold(item));
        let packs = self.packs(place, options, &all, &apart.collect());
        let (search, trials) = match ways.as_slice() {
            &[there, back] => Search::there_and_back(&packs, there, back),
            ways => Search::new(&packs, ways),
        };
        let search = search.with_likeness(accounts);
        // One by one, every device is tried whatever is known.
        self.search = Some(match options.packing {
            Packing::Packed => search.with_needs(self.needs(&place.config.arch)),
            Packing::OneByOne => search,
        });
        let tasks = self.tasks(Stage::Across, trials);
        if tasks.is_empty() {
            return self.begin_controls(place, options);
        }
        tasks
    }

    /// Which candidates need which others.
    fn needs(&self, arch: &str) -> BTreeMap<Item, Vec<Item>> {
        let find = |driver| self.catalogue.find(driver);
        let candidates = self.catalogue.candidates.iter();
        let needs = candidates.map(|c| c.needs(arch).filter_map(find).collect());
        (0..).zip(needs).collect()
    }

    /// What this run has to try: the devices of its cases, and what they need.
    fn share(&mut self, place: &Place, shard: Option<Shard>) -> Vec<Item> {
        let arch = place.config.arch.as_str();
        let candidates = &self.catalogue.candidates;
        let holds = |item: &Item| {
            let family = family(place, &candidates[*item].driver);
            shard.is_none_or(|shard| shard.holds(&family))
        };
        self.held = (0..candidates.len()).filter(holds).collect();
        let mut tried = self.held.clone();
        for &item in &self.held {
            let needed = candidates[item].needs(arch);
            tried.extend(needed.filter_map(|need| self.catalogue.find(need)));
        }
        tried.into_iter().collect()
    }

    /// Items in guests; some in one of their own.
    fn packs(
        &self,
        place: &Place,
        options: &Options,
        items: &[Item],
        alone: &BTreeSet<Item>,
    ) -> Vec<Vec<Item>> {
        match options.packing {
            Packing::OneByOne => items.iter().map(|&item| vec![item]).collect(),
            Packing::Packed => {
                let (drivers, arch) = (place.config.old.drivers.as_ref(), &place.config.arch);
                let rest = items.iter().filter(|item| !alone.contains(item));
                let rest: Vec<Item> = rest.copied().collect();
                let mut packs = pack(&self.catalogue.candidates, &rest, drivers, arch);
                packs.extend(alone.iter().map(|&item| vec![item]));
                packs
            }
        }
    }

    /// Every culprit from each build to itself; those that only hang on one are its business.
    fn begin_controls(&mut self, place: &Place, options: &Options) -> Vec<Task> {
        let Some(search) = &self.search else {
            return Vec::new();
        };
        // What crashes on the way across tends to crash at home: it would spoil the others' control.
        // So does what fails either way for no reason that was known before.
        let mut apart = BTreeSet::new();
        let mut alike = BTreeSet::new();
        let mut ways: BTreeMap<Item, usize> = BTreeMap::new();
        let mut again = Vec::new();
        for (&(way, item), verdict) in search.verdicts() {
            if let Verdict::Culprit(run) = verdict
                && self.hangs_on(place, way, item).is_none()
            {
                // What was foretold is no accident, and what spoiled a pack before is none either.
                let foretold =
                    self.is_foretold(place, way, item) || self.foreseen.contains(&(way, item));
                if !foretold && self.before(way, item).is_none() {
                    again.push((way, item));
                }
                let failed = ways.entry(item).or_default();
                *failed += usize::from(!foretold);
                match run.attempt.outcome {
                    Outcome::Fail | Outcome::Lost if *failed < 2 => alike.insert(item),
                    _ => apart.insert(item),
                };
            }
        }
        let alike: Vec<Item> = alike.difference(&apart).copied().collect();
        let together = search.together();
        let whole: Vec<(usize, Vec<Item>)> = together
            .iter()
            .enumerate()
            .map(|(at, together)| (at, together.items.clone()))
            .collect();
        let mut packs = self.packs(place, options, &alike, &BTreeSet::new());
        packs.extend(apart.into_iter().map(|item| vec![item]));
        let (controls, trials) = Search::new(&packs, &CONTROLS);
        self.controls = Some(controls.with_likeness(accounts));
        let mut tasks = self.tasks(Stage::Control, trials);
        for (at, items) in whole {
            let set = self.union(&items);
            tasks.extend(CONTROLS.map(|way| Task::Whole {
                at,
                way,
                set: set.clone(),
            }));
        }
        tasks.extend(again.into_iter().map(|(way, item)| Task::Again {
            item,
            way,
            set: self.union(&[item]),
            graft: self.graft(way),
        }));
        tasks
    }
}
