use std::collections::BTreeSet;

use proptest::prelude::*;

use super::halving::{FEW, HINTS, SUSPECTED};
use super::*;
use crate::model::Direction;

const FORWARD: Route = Route::Across(Direction::Forward);
const BACKWARD: Route = Route::Across(Direction::Backward);

/// A world: who fails, who does not start, and who fails only with whom.
#[derive(Debug, Clone, Default)]
struct World {
    culprits: BTreeSet<Item>,
    refused: BTreeSet<Item>,
    pair: Option<(Item, Item)>,
    /// The item that every piece of evidence points at, rightly or not.
    suspect: Option<Item>,
    /// Evidence points at the first culprit.
    hints: bool,
    /// Items that are taken to be like what the evidence points at, rightly or not.
    alike: BTreeSet<Item>,
    /// Items that are expected to fail on the way back, rightly or not.
    likely_to_fail: BTreeSet<Item>,
    /// The evidence distinguishes what one culprit does to a guest from what the others do.
    is_told_apart: bool,
}

impl World {
    fn has_pair(&self, items: &[Item]) -> bool {
        self.pair
            .is_some_and(|(a, b)| items.contains(&a) && items.contains(&b))
    }

    fn answer(&self, items: &[Item]) -> Answer<()> {
        let has = |item: &Item| items.contains(item);
        if self.refused.iter().any(has) {
            Answer::Refused {
                evidence: (),
                suspect: self.suspect,
            }
        } else if self.culprits.iter().any(has) || self.has_pair(items) {
            let mut culprits = self.culprits.iter().filter(|item| items.contains(item));
            let culprit = culprits.next();
            let is_told_apart = self.is_told_apart && !self.has_pair(items);
            if let (true, Some(&culprit), None) = (is_told_apart, culprit, culprits.next()) {
                return Answer::SingleCulprit {
                    failure: (),
                    culprit: self.suspect.unwrap_or(culprit),
                    others: (),
                    likely_to_fail: self.likely_to_fail.clone(),
                };
            }
            Answer::Failed {
                evidence: (),
                suspect: self.suspect.or(culprit.copied().filter(|_| self.hints)),
                alike: self.alike.clone(),
            }
        } else {
            Answer::Passed {
                evidence: (),
                likely_to_fail: self.likely_to_fail.clone(),
            }
        }
    }

    /// Takes a search through to its end, and how many guests it took. `last` answers the latest
    /// trial first, as a pool of workers may.
    fn search(&self, packs: &[Vec<Item>], last: bool) -> (Search<()>, usize) {
        self.finish(Search::of_packs(packs, &[FORWARD]), last)
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
            waiting.extend(search.record(&trial, answer));
        }
        (search, runs)
    }
}

fn packs(items: usize, size: usize) -> Vec<Vec<Item>> {
    let all: Vec<Item> = (0..items).collect();
    all.chunks(size).map(<[Item]>::to_vec).collect()
}

/// Returns two different items of so many, in order.
fn two_of(size: usize, one: usize, other: usize) -> (Item, Item) {
    let (one, other) = (one % size, (one % size + 1 + other % (size - 1)) % size);
    (one.min(other), one.max(other))
}

fn log2(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

/// Takes a pass of each trial; returns what is to be tried next.
fn pass_all<E: Clone>(search: &mut Search<E>, trials: &[Trial], evidence: E) -> Vec<Trial> {
    let next = trials.iter().flat_map(|trial| {
        let passed = Answer::passed(evidence.clone());
        search.record(trial, passed)
    });
    next.collect()
}

/// A failure that points at one item.
fn pointing<E>(evidence: E, suspect: Item) -> Answer<E> {
    Answer::Failed {
        evidence,
        suspect: Some(suspect),
        alike: BTreeSet::new(),
    }
}

proptest! {
    #[test]
    fn every_culprit_is_found_and_no_neighbour_is_blamed(
        items in 1usize..120,
        size in 1usize..40,
        bad in prop::collection::btree_set(0usize..120, 0..20),
        stuck in prop::collection::btree_set(0usize..120, 0..6),
        alike in prop::collection::btree_set(0usize..120, 0..40),
        suspect in prop::option::of(0usize..120),
        hints: bool,
        is_told_apart: bool,
        last: bool,
    ) {
        let world = World {
            suspect,
            hints,
            is_told_apart,
            refused: stuck.into_iter().filter(|i| *i < items).collect(),
            culprits: bad.into_iter().filter(|i| *i < items).collect(),
            alike: alike.into_iter().filter(|i| *i < items).collect(),
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
            prop_assert_eq!(search.verdict(FORWARD, item), Some(&expected));
        }
        prop_assert!(search.groups().is_empty());
        // A path down for each, both halves on it, and the few that are tried one by one.
        let odd = world.culprits.union(&world.refused).count();
        // Those that are taken to be like two of them are tried one by one, too.
        let most = packs.len() + odd * (2 * log2(size) + FEW + 2 * HINTS) + world.alike.len();
        prop_assert!(runs <= most, "{} runs, at most {}", runs, most);
    }

    #[test]
    fn every_device_goes_in_both_directions_whatever_is_expected(
        items in 1usize..60,
        size in 1usize..40,
        bad in prop::collection::btree_set(0usize..60, 0..8),
        stuck in prop::collection::btree_set(0usize..60, 0..3),
        likely_to_fail in prop::collection::btree_set(0usize..60, 0..20),
        suspect in prop::option::of(0usize..60),
        is_told_apart: bool,
        last: bool,
    ) {
        let (culprits, refused) = (bad, stuck);
        let world = World { culprits, refused, suspect, likely_to_fail, is_told_apart, pair: None, hints: false, alike: BTreeSet::new() };
        let (mut search, trials) = Search::there_and_back(&packs(items, size), FORWARD, BACKWARD);
        // Who needs a culprit is one.
        let needs = (0..items).filter(|item| world.culprits.contains(item)).flat_map(|item| {
            let needed = world.culprits.iter().copied().filter(move |other| *other < item);
            needed.map(move |needed| (item, vec![needed]))
        });
        let needs: BTreeMap<Item, Vec<Item>> = needs.collect();
        search.needs = needs.clone();
        let (search, _) = world.finish((search, trials), last);
        for item in 0..items {
            let there = search.verdict(FORWARD, item);
            prop_assert!(there.is_some());
            match search.verdict(BACKWARD, item) {
                Some(&Verdict::NeedsCulprit(needed)) => {
                    prop_assert!(needs[&item].contains(&needed));
                    prop_assert_eq!(there, Some(&Verdict::Culprit(())));
                    let of_needed = search.verdict(BACKWARD, needed);
                    prop_assert_eq!(of_needed, Some(&Verdict::Culprit(())));
                }
                back => prop_assert_eq!(there, back),
            }
        }
    }

    #[test]
    fn what_fails_only_together_is_a_group(
        size in 2usize..40,
        one in 0usize..40,
        other in 1usize..40,
        last: bool,
    ) {
        let (a, b) = two_of(size, one, other);
        let world = World { pair: Some((a, b)), ..World::default() };
        let (search, _) = world.search(&packs(size, size), last);
        prop_assert!(search.verdicts().values().all(|v| *v == Verdict::Passed(())));
        let groups = search.groups();
        prop_assert_eq!(groups.len(), 1);
        prop_assert_eq!(&groups[0].items, &vec![a, b]);
        prop_assert!(!groups[0].passed_again);
    }

    #[test]
    fn what_fails_only_together_is_found_beside_what_fails_alone(
        size in 3usize..40,
        one in 0usize..40,
        other in 1usize..40,
        bad in prop::collection::btree_set(0usize..40, 1..5),
        alike in prop::collection::btree_set(0usize..40, 0..20),
        hints: bool,
        goes_back: bool,
        is_told_apart: bool,
        last: bool,
    ) {
        let (a, b) = two_of(size, one, other);
        let is_other = |item: &Item| *item < size && *item != a && *item != b;
        let world = World {
            pair: Some((a, b)),
            culprits: bad.into_iter().filter(is_other).collect(),
            alike: alike.into_iter().filter(|item| *item < size).collect(),
            hints,
            is_told_apart,
            ..World::default()
        };
        let packs = packs(size, size);
        let (began, routes) = match goes_back {
            true => (Search::there_and_back(&packs, FORWARD, BACKWARD), &[FORWARD, BACKWARD][..]),
            false => (Search::of_packs(&packs, &[FORWARD]), &[FORWARD][..]),
        };
        let (search, _) = world.finish(began, last);
        let groups = search.groups();
        let groups: Vec<_> = groups.iter().map(|of| (of.route, of.items.clone())).collect();
        let expected: Vec<_> = routes.iter().map(|&route| (route, vec![a, b])).collect();
        prop_assert_eq!(groups, expected);
        for (route, item) in routes.iter().flat_map(|&route| (0..size).map(move |i| (route, i))) {
            let is_culprit = matches!(search.verdict(route, item), Some(Verdict::Culprit(())));
            prop_assert_eq!(is_culprit, world.culprits.contains(&item));
        }
    }

    #[test]
    fn what_fails_only_together_goes_back_together(
        size in 2usize..40,
        one in 0usize..40,
        other in 1usize..40,
        likely_to_fail in prop::collection::btree_set(0usize..40, 0..20),
        last: bool,
    ) {
        let (a, b) = two_of(size, one, other);
        let world = World { pair: Some((a, b)), likely_to_fail, ..World::default() };
        let began = Search::there_and_back(&packs(size, size), FORWARD, BACKWARD);
        let (search, _) = world.finish(began, last);
        let groups = search.groups();
        let groups: Vec<_> = groups.iter().map(|of| (of.route, of.items.clone())).collect();
        let expected = [FORWARD, BACKWARD].map(|route| (route, vec![a, b]));
        prop_assert_eq!(&groups[..], &expected[..]);
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
fn what_is_likely_to_fail_on_the_way_back_goes_apart() {
    let likely_to_fail = BTreeSet::from([3, 5]);
    let passed = Answer::Passed {
        evidence: (),
        likely_to_fail,
    };
    let (mut search, trials) = Search::there_and_back(&packs(8, 8), FORWARD, BACKWARD);
    let back: Vec<Vec<Item>> = search
        .record(&trials[0], passed)
        .into_iter()
        .map(|trial| trial.items)
        .collect();
    assert_eq!(back, [vec![0, 1, 2, 4, 6, 7], vec![3], vec![5]]);
    assert!(search.goes_back(FORWARD) && !search.goes_back(BACKWARD));
}

#[test]
fn what_needs_a_device_that_fails_on_the_way_back_is_not_tried() {
    for (outcome, tried) in [(Answer::failed(()), false), (Answer::passed(()), true)] {
        let packs = [vec![0, 1], vec![2, 3]];
        let (mut search, trials) = Search::there_and_back(&packs, FORWARD, BACKWARD);
        search.needs = [(1, vec![2])].into();
        let likely = |item: Item| Answer::Passed {
            evidence: (),
            likely_to_fail: BTreeSet::from([item]),
        };
        let items = |trials: &[Trial]| -> Vec<Vec<Item>> {
            trials.iter().map(|trial| trial.items.clone()).collect()
        };
        assert_eq!(items(&search.record(&trials[0], likely(1))), [vec![0]]);
        let back = search.record(&trials[1], likely(2));
        assert_eq!(items(&back), [vec![3], vec![2]]);
        let next = search.record(&back[1], outcome);
        assert_eq!(items(&next), if tried { vec![vec![1]] } else { vec![] });
        let known = search.verdict(BACKWARD, 1);
        let needs_culprit = Verdict::NeedsCulprit(2);
        assert_eq!(known, (!tried).then_some(&needs_culprit));
    }
}

#[test]
fn a_failure_of_many_that_points_at_one_is_remembered() {
    let (mut search, trials) = Search::of_packs(&packs(4, 4), &[FORWARD]);
    search.record(&trials[0], pointing("pack", 2));
    assert_eq!(search.pointed_at(FORWARD, 2), Some(&"pack"));
    assert_eq!(search.pointed_at(FORWARD, 1), None);
}

#[test]
fn what_one_device_alone_has_lost_says_nothing_against_the_others() {
    let world = World {
        culprits: [5].into(),
        is_told_apart: true,
        ..World::default()
    };
    let (_, runs) = world.search(&packs(40, 40), false);
    assert_eq!(runs, 2, "the pack, and the one");
    // Alone it does something else: another one was it, too.
    let (mut search, trials) = Search::of_packs(&packs(4, 4), &[FORWARD]);
    search.accounts_for = |pack, alone| pack == alone;
    let single = Answer::SingleCulprit {
        failure: "two are wrong",
        culprit: 1,
        others: "so far",
        likely_to_fail: BTreeSet::new(),
    };
    let alone = search.record(&trials[0], single);
    assert_eq!(alone[0].items, [1]);
    let next = search.record(&alone[0], Answer::failed("one is wrong"));
    let halves: Vec<&[Item]> = next.iter().map(|trial| trial.items.as_slice()).collect();
    assert_eq!(halves, [[0, 1], [2, 3]]);
}

#[test]
fn chance_blames_no_device_that_only_the_first_failure_pointed_at() {
    for again in [None, Some(2)] {
        let (mut search, mut next) = failed_twice(again, |_| true);
        for _ in 0..SUSPECTED {
            assert_eq!(next[0].items, [1]);
            next = search.record(&next[0], Answer::passed("well"));
        }
        let verdict = search.verdict(FORWARD, 1);
        assert_eq!(verdict, Some(&Verdict::Passed("well")), "{again:?}");
        assert!(
            !next.is_empty(),
            "the fewest that fail together are looked for"
        );
    }
}

#[test]
fn a_refusal_blames_no_device_in_whatever_order_it_is_met() {
    for refused_at in 0..SUSPECTED {
        let (mut search, mut next) = failed_twice(Some(1), |_| true);
        for at in 0..SUSPECTED {
            assert_eq!(next[0].items, [1]);
            let refused = Answer::Refused {
                evidence: "no such device",
                suspect: None,
            };
            let answer = match at == refused_at {
                true => refused,
                false => Answer::passed("well"),
            };
            next = search.record(&next[0], answer);
        }
        let verdict = search.verdict(FORWARD, 1);
        let blamed = matches!(verdict, Some(Verdict::Culprit(_)));
        assert!(!blamed, "{refused_at}: {verdict:?}");
    }
}

#[test]
fn what_a_load_left_with_garbage_is_tried_again_alone_and_not_the_others() {
    let (mut search, trials) = Search::of_packs(&packs(4, 4), &[FORWARD]);
    search.comes_and_goes = |failure| *failure == "garbage";
    let single = Answer::SingleCulprit {
        failure: "garbage",
        culprit: 1,
        others: "the rest",
        likely_to_fail: BTreeSet::new(),
    };
    let mut next = search.record(&trials[0], single);
    for _ in 0..=SUSPECTED {
        assert_eq!(next[0].items, [1]);
        next = search.record(&next[0], Answer::passed("by chance"));
    }
    assert!(next.is_empty());
    let verdict = |item| search.verdict(FORWARD, item);
    assert_eq!(verdict(1), Some(&Verdict::Culprit("garbage")));
    assert_eq!(verdict(2), Some(&Verdict::Passed("the rest")));
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
fn what_is_like_a_culprit_is_tried_alone_once_a_second_has_failed() {
    let world = World {
        culprits: (0..20).collect(),
        alike: (0..20).collect(),
        hints: true,
        ..World::default()
    };
    let (search, runs) = world.search(&packs(40, 40), false);
    assert_eq!(search.verdicts().len(), 40);
    // The pack, two of the kind, the others of it and the rest; then each of the others.
    assert!(runs <= 24, "{runs}");
    // A likeness that says nothing costs two guests.
    let world = World {
        culprits: BTreeSet::from([7]),
        ..world
    };
    let (search, runs) = world.search(&packs(40, 40), false);
    let culprits = search.verdicts().values();
    let culprits = culprits.filter(|verdict| matches!(verdict, Verdict::Culprit(())));
    assert_eq!(culprits.count(), 1);
    // One more has all that passed, which were never together.
    assert_eq!(runs, 6);
}

#[test]
fn a_death_that_points_at_one_item_is_put_down_to_it_though_it_does_not_come_again() {
    let (mut search, trials) = Search::of_packs(&[(0..5).collect()], &[FORWARD]);
    let parts = search.record(&trials[0], pointing("died in 3", 3));
    let items: Vec<&[Item]> = parts.iter().map(|trial| trial.items.as_slice()).collect();
    assert_eq!(items, [&[3][..], &[0, 1, 2, 4]]);
    let next = pass_all(&mut search, &parts, "well");
    assert_eq!(next.len(), 1, "the pack again");
    assert!(pass_all(&mut search, &next, "well").is_empty());
    assert!(search.groups().is_empty(), "no neighbour is blamed");
    for item in 0..5 {
        let expected = match item {
            3 => Verdict::Culprit("died in 3"),
            _ => Verdict::Passed("well"),
        };
        assert_eq!(search.verdict(FORWARD, item), Some(&expected), "{item}");
    }
}

#[test]
fn a_failure_that_does_not_happen_again_is_no_culprit_and_not_hidden() {
    let (mut search, trials) = Search::of_packs(&[vec![0, 1]], &[FORWARD]);
    let halves = search.record(&trials[0], Answer::failed("once"));
    let next = pass_all(&mut search, &halves, "well");
    assert_eq!(next.len(), 1, "the pack again");
    assert!(pass_all(&mut search, &next, "well").is_empty());
    let groups = search.groups();
    assert!(groups[0].passed_again);
    assert_eq!(groups[0].evidence, "once");
}

/// A search that narrows numbers down, and how many trials it took. Each of `guilty` fails when all its
/// members are there. Items of 100 and more need the item 100 below them.
fn narrow_down(items: &[Item], guilty: &[&[Item]], most: usize) -> (Search<()>, usize) {
    let needs = items.iter().filter(|item| **item >= 100);
    let needs = needs.map(|&item| (item, vec![item - 100])).collect();
    let (mut search, mut next) = Search::of_failure(items.to_vec(), needs, FORWARD);
    let mut trials = 0;
    while let Some(trial) = next.pop().filter(|_| trials < most) {
        assert!(next.is_empty(), "one trial at a time");
        trials += 1;
        let has = |item: &Item| trial.items.contains(item) || trial.items.contains(&(item + 100));
        let failed = guilty.iter().any(|group| group.iter().all(has));
        let answer = match failed {
            true => Answer::failed(()),
            false => Answer::passed(()),
        };
        next = search.record(&trial, answer);
    }
    (search, trials)
}

/// The groups that fail, of one item or of several.
fn culprits(search: &Search<()>) -> Vec<Vec<Item>> {
    let single = with_verdict(search, &Verdict::Culprit(()));
    let groups = search.groups().into_iter();
    let groups = groups.map(|group| group.items.clone());
    let mut all: Vec<Vec<Item>> = groups.collect();
    all.extend(single.into_iter().map(|item| vec![item]));
    all.sort();
    all
}

fn with_verdict(search: &Search<()>, verdict: &Verdict<()>) -> Vec<Item> {
    let verdicts = search.verdicts().iter();
    let same = verdicts.filter(|(_, known)| *known == verdict);
    same.map(|((_, item), _)| *item).collect()
}

fn undecided(search: &Search<()>, items: &[Item]) -> Vec<Item> {
    let grouped = culprits(search).concat();
    let known = |item: &Item| search.verdict(FORWARD, *item).is_some() || grouped.contains(item);
    let items = items.iter().copied();
    items.filter(|item| !known(item)).collect()
}

#[test]
fn narrowing_finds_all_culprits_and_no_neighbours() {
    let items: Vec<Item> = (0..16).collect();
    for guilty in [
        &[&[5][..]][..],
        &[&[0]],
        &[&[15]],
        &[&[0], &[1], &[15]],
        // Each is sound without the other.
        &[&[3, 11]],
        &[&[2, 7, 8], &[4]],
    ] {
        let (search, trials) = narrow_down(&items, guilty, 1000);
        let mut wanted: Vec<Vec<Item>> = guilty.iter().map(|group| group.to_vec()).collect();
        wanted.sort();
        assert_eq!(culprits(&search), wanted);
        let blamed = wanted.concat();
        let others = items.iter().copied();
        let others: Vec<Item> = others.filter(|item| !blamed.contains(item)).collect();
        assert_eq!(with_verdict(&search, &Verdict::Passed(())), others);
        assert!(undecided(&search, &items).is_empty());
        // log2 16 and two, a member; and once with none.
        assert!(trials <= 1 + blamed.len() * 6, "{guilty:?}: {trials}");
    }
}

#[test]
fn a_user_is_not_blamed_for_what_it_needs() {
    let (search, _) = narrow_down(&[1, 2, 3, 101, 102], &[&[1]], 1000);
    assert_eq!(culprits(&search), [[1]]);
    assert_eq!(with_verdict(&search, &Verdict::NeedsCulprit(1)), [101]);
    assert_eq!(with_verdict(&search, &Verdict::Passed(())), [2, 3, 102]);
}

#[test]
fn what_fails_without_any_item_blames_none() {
    let (search, trials) = narrow_down(&[1, 2, 3], &[&[]], 1000);
    assert!(search.fails_without_any() && culprits(&search).is_empty());
    let undecided = undecided(&search, &[1, 2, 3]);
    assert_eq!((undecided, trials), (vec![1, 2, 3], 1));
}

#[test]
fn without_an_answer_nobody_is_cleared() {
    let items: Vec<Item> = (0..8).collect();
    // The first culprit was found, whether the rest passes was not.
    let (whole, trials) = narrow_down(&items, &[&[6], &[7]], 1000);
    assert_eq!(culprits(&whole).len(), 2);
    for most in 0..trials {
        let (search, _) = narrow_down(&items, &[&[6], &[7]], most);
        let passed = with_verdict(&search, &Verdict::Passed(()));
        assert!(passed.is_empty(), "{most}");
        assert!(!undecided(&search, &items).is_empty(), "{most}");
    }
    // They failed in company of everybody alone, and then no more.
    let (search, _) = narrow_down(&[1, 2, 3], &[], 1000);
    assert!(culprits(&search).is_empty());
    assert_eq!(undecided(&search, &[1, 2, 3]), [1, 2, 3]);
}

/// A pack of three fails and points at the second, which passes alone; then it fails again, and may point at one.
fn failed_twice(
    again: Option<Item>,
    by_chance: fn(&&'static str) -> bool,
) -> (Search<&'static str>, Vec<Trial>) {
    let failed = |evidence, suspect| Answer::Failed {
        evidence,
        suspect,
        alike: BTreeSet::new(),
    };
    let (mut search, trials) = Search::of_packs(&packs(3, 3), &[FORWARD]);
    search.comes_and_goes = by_chance;
    let parts = search.record(&trials[0], failed("pack", Some(1)));
    assert!(pass_all(&mut search, &parts[..1], "well").is_empty());
    let whole = search.record(&parts[1], Answer::passed("well"));
    assert_eq!(whole[0].items, [0, 1, 2]);
    let next = search.record(&whole[0], failed("pack again", again));
    (search, next)
}

/// Such a pack points at the second again, which fails after so many passes.
fn suspected(
    passes: usize,
    by_chance: fn(&&'static str) -> bool,
) -> (Search<&'static str>, Vec<Trial>) {
    let (mut search, mut next) = failed_twice(Some(1), by_chance);
    for _ in 0..passes {
        assert_eq!(next[0].items, [1]);
        next = search.record(&next[0], Answer::passed("well"));
    }
    if passes < SUSPECTED {
        assert_eq!(next[0].items, [1]);
        next = search.record(&next[0], pointing("alone", 1));
    }
    (search, next)
}

#[test]
fn what_fails_now_and_then_is_blamed_and_not_its_neighbours() {
    for passes in 0..SUSPECTED {
        let (search, next) = suspected(passes, |_| false);
        assert!(next.is_empty());
        assert!(search.groups().is_empty());
        let verdict = |item| search.verdict(FORWARD, item);
        assert_eq!(verdict(1), Some(&Verdict::Culprit("alone")));
        assert_eq!(verdict(0), Some(&Verdict::Passed("well")));
        assert_eq!(verdict(2), Some(&Verdict::Passed("well")));
    }
    // It never fails alone: the fewest that fail together are looked for.
    let (search, next) = suspected(SUSPECTED, |_| false);
    assert_eq!(search.verdict(FORWARD, 1), Some(&Verdict::Passed("well")));
    assert!(!next.is_empty());
    // Where what is in memory decides, the fewest would be others each time.
    let (search, next) = suspected(SUSPECTED, |failure| *failure == "pack again");
    assert!(next.is_empty() && search.groups().is_empty());
    let verdict = |item| search.verdict(FORWARD, item);
    assert_eq!(verdict(1), Some(&Verdict::Culprit("pack again")));
    assert_eq!(verdict(0), Some(&Verdict::Passed("well")));
}
