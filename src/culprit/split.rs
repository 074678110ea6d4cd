//! Which members of a failing set are to blame, found by halving.

/// What became of the members of a set that fails as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<T> {
    /// It fails with none of them: no member is to blame, and nothing is known of any.
    pub without_any: bool,
    /// The smallest failing groups found, mostly of one member. A larger group fails together alone.
    pub culprits: Vec<Vec<T>>,
    /// These pass, all together.
    pub passed: Vec<T>,
    /// These need a culprit and were not tried without it.
    pub hidden: Vec<T>,
    /// These were not told apart: a trial could not be made, or answers contradict each other.
    pub undecided: Vec<T>,
}

impl<T> Default for Split<T> {
    fn default() -> Self {
        Split {
            without_any: false,
            culprits: Vec::new(),
            passed: Vec::new(),
            hidden: Vec::new(),
            undecided: Vec::new(),
        }
    }
}

/// Finds everyone to blame in `items`, which fail together.
///
/// `fails` tries some of them, in their order, with all that they need; `None` if it cannot or must
/// not try any more. `needs` tells whether the first cannot be without the second; a member stands
/// after those it needs. A failing group is taken to fail in any company. Finding a culprit among n
/// takes about log2 n trials, and two more to see that it fails alone and whether the rest passes;
/// nobody is blamed for a neighbour, and nobody is cleared without a trial.
pub async fn split<T: Clone + PartialEq>(
    items: &[T],
    needs: impl Fn(&T, &T) -> bool,
    mut fails: impl AsyncFnMut(&[T]) -> Option<bool>,
) -> Split<T> {
    let mut split = Split::default();
    let mut rest = items.to_vec();
    match fails(&[]).await {
        Some(false) => {}
        answer => {
            split.without_any = answer == Some(true);
            split.undecided = rest;
            return split;
        }
    }
    loop {
        let Some(group) = smallest(&rest, &mut fails).await else {
            split.undecided = rest;
            return split;
        };
        rest.retain(|item| !group.contains(item));
        split.culprits.push(group);
        // A group is gone with any one of its members; of one that fails together the others may
        // well be sound, but are no longer tried.
        let culprits = split.culprits.iter().flatten();
        let culprits: Vec<&T> = culprits.collect();
        let (hidden, free) = rest
            .into_iter()
            .partition::<Vec<T>, _>(|item| culprits.iter().any(|culprit| needs(item, culprit)));
        split.hidden.extend(hidden);
        rest = free;
        let passes = match rest.is_empty() {
            true => Some(true),
            false => fails(&rest).await.map(|fails| !fails),
        };
        match passes {
            Some(true) => split.passed = rest,
            Some(false) => continue,
            None => split.undecided = rest,
        }
        return split;
    }
}

/// The smallest failing group in `items`, which fail together and not without each other's company.
async fn smallest<T: Clone>(
    items: &[T],
    fails: &mut impl AsyncFnMut(&[T]) -> Option<bool>,
) -> Option<Vec<T>> {
    // Positions, so that a trial keeps the order.
    let mut group: Vec<usize> = Vec::new();
    let mut bound = items.len();
    let pick = |group: &[usize], prefix: usize| -> Vec<T> {
        items
            .iter()
            .enumerate()
            .filter(|(at, _)| *at < prefix || group.contains(at))
            .map(|(_, item)| item.clone())
            .collect()
    };
    // The last member of the shortest failing run from the start is needed for the failure. With it
    // taken along, the next one is found the same way, until they fail without anybody else.
    while group.is_empty() || !fails(&pick(&group, 0)).await? {
        // All before `passing` pass, with the group; all before `failing` fail.
        let (mut passing, mut failing) = (0, bound);
        if failing == 0 {
            return None;
        }
        while failing - passing > 1 {
            let middle = passing + (failing - passing) / 2;
            match fails(&pick(&group, middle)).await? {
                true => failing = middle,
                false => passing = middle,
            }
        }
        group.push(failing - 1);
        bound = failing - 1;
    }
    group.sort_unstable();
    Some(group.into_iter().map(|at| items[at].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits the numbers below `count`, of which each of `guilty` fails when all its members are
    /// there. Items of 100 and more need the item 100 below them.
    fn find(items: &[u32], guilty: &[&[u32]], most: usize) -> (Split<u32>, usize) {
        let mut trials = 0;
        let needs = |item: &u32, other: &u32| *item == *other + 100;
        let fails = async |some: &[u32]| {
            trials += 1;
            let has = |item: &u32| some.contains(item) || some.contains(&(item + 100));
            (trials <= most).then(|| guilty.iter().any(|group| group.iter().all(has)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let split = runtime.unwrap().block_on(split(items, needs, fails));
        (split, trials)
    }

    #[test]
    fn all_culprits_are_found_and_no_neighbours() {
        let items: Vec<u32> = (0..16).collect();
        for guilty in [
            &[&[5][..]][..],
            &[&[0]],
            &[&[15]],
            &[&[0], &[1], &[15]],
            // Each is sound without the other.
            &[&[3, 11]],
            &[&[2, 7, 8], &[4]],
        ] {
            let (split, trials) = find(&items, guilty, 1000);
            let mut found = split.culprits.clone();
            found.sort();
            let mut wanted: Vec<Vec<u32>> = guilty.iter().map(|group| group.to_vec()).collect();
            wanted.sort();
            assert_eq!(found, wanted);
            let blamed = wanted.concat();
            let others = items.iter().filter(|item| !blamed.contains(item));
            assert_eq!(split.passed, others.copied().collect::<Vec<_>>());
            assert!(split.undecided.is_empty() && split.hidden.is_empty());
            // log2 16 and two, a member; and once with none.
            assert!(trials <= 1 + blamed.len() * 6, "{guilty:?}: {trials}");
        }
    }

    #[test]
    fn a_user_is_not_blamed_for_what_it_needs() {
        let (split, _) = find(&[1, 2, 3, 101, 102], &[&[1]], 1000);
        assert_eq!(split.culprits, [[1]]);
        assert_eq!(split.hidden, [101]);
        assert_eq!(split.passed, [2, 3, 102]);
    }

    #[test]
    fn what_fails_with_nobody_blames_nobody() {
        let (split, trials) = find(&[1, 2, 3], &[&[]], 1000);
        assert!(split.without_any && split.culprits.is_empty());
        assert_eq!((split.undecided, trials), (vec![1, 2, 3], 1));
    }

    #[test]
    fn without_an_answer_nobody_is_cleared() {
        let items: Vec<u32> = (0..8).collect();
        // The first culprit was found, whether the rest passes was not.
        let (whole, trials) = find(&items, &[&[6], &[7]], 1000);
        assert_eq!(whole.culprits.len(), 2);
        for most in 0..trials {
            let (split, _) = find(&items, &[&[6], &[7]], most);
            assert!(split.passed.is_empty(), "{most}");
            assert!(!split.undecided.is_empty(), "{most}");
        }
        // One that fails in company of everybody alone, and then no more.
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let moody = split(&[1, 2, 3], |_, _| false, async |_: &[i32]| Some(false));
        let split = runtime.unwrap().block_on(moody);
        assert_eq!((split.culprits.len(), split.undecided), (0, vec![1, 2, 3]));
    }
}
