//! The smallest failing group among items that fail together, by one trial after the other.

use crate::culprit::Item;

/// The narrowing down of items that fail together, and pass without each other's company, to the fewest
/// that do.
///
/// The last member of the shortest failing run from the start is needed for the failure. With it taken
/// along, the next one is found the same way, until they fail without anybody else.
#[derive(Debug)]
pub(crate) struct Narrowing {
    items: Vec<Item>,
    /// The positions of the members found.
    group: Vec<usize>,
    /// All before this position pass, with the group.
    passing: usize,
    /// All before this position fail, with the group.
    failing: usize,
    /// The position before which all are tried along with the group; 0 tries the group alone.
    prefix: usize,
}

/// The state of a narrowing after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// These are to be tried, in their order.
    Try(Vec<Item>),
    /// These fail, and no fewer of them do.
    Found(Vec<Item>),
    /// The answers contradict each other.
    Contradiction,
}

impl Narrowing {
    /// Begins with items that fail together.
    pub(super) fn begin(items: Vec<Item>) -> (Self, Progress) {
        let mut narrowing = Narrowing {
            failing: items.len(),
            items,
            group: Vec::new(),
            passing: 0,
            prefix: 0,
        };
        let progress = narrowing.next_prefix();
        (narrowing, progress)
    }

    /// Takes whether what was to be tried fails.
    pub(super) fn record(&mut self, failed: bool) -> Progress {
        match (self.prefix, failed) {
            (0, true) => {
                let mut group = self.group.clone();
                group.sort_unstable();
                Progress::Found(group.into_iter().map(|at| self.items[at]).collect())
            }
            (0, false) => self.next_prefix(),
            (prefix, true) => {
                self.failing = prefix;
                self.next_prefix()
            }
            (prefix, false) => {
                self.passing = prefix;
                self.next_prefix()
            }
        }
    }

    fn next_prefix(&mut self) -> Progress {
        if self.failing == 0 {
            return Progress::Contradiction;
        }
        if self.failing - self.passing > 1 {
            self.prefix = self.passing + (self.failing - self.passing) / 2;
        } else {
            self.failing -= 1;
            self.group.push(self.failing);
            self.passing = 0;
            self.prefix = 0;
        }
        let items = self.items.iter().enumerate();
        let tried = items.filter(|(at, _)| *at < self.prefix || self.group.contains(at));
        Progress::Try(tried.map(|(_, item)| *item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Narrows the numbers below `count` down; `fails` says which of them fail.
    fn narrow(count: Item, fails: impl Fn(&[Item]) -> bool) -> (Progress, usize) {
        let (mut narrowing, mut progress) = Narrowing::begin((0..count).collect());
        let mut trials = 0;
        while let Progress::Try(items) = &progress {
            trials += 1;
            progress = narrowing.record(fails(items));
        }
        (progress, trials)
    }

    #[test]
    fn the_smallest_group_is_found_in_few_trials() {
        for group in [&[0][..], &[15], &[3, 11], &[0, 1], &[2, 7, 8]] {
            let fails = |items: &[Item]| group.iter().all(|item| items.contains(item));
            let (progress, trials) = narrow(16, fails);
            assert_eq!(progress, Progress::Found(group.to_vec()));
            assert!(trials <= 5 * group.len(), "{group:?}: {trials}");
        }
    }

    #[test]
    fn items_that_pass_after_all_are_no_group() {
        let (progress, _) = narrow(8, |_| false);
        assert_eq!(progress, Progress::Contradiction);
        assert_eq!(narrow(0, |_| true).0, Progress::Contradiction);
    }
}
