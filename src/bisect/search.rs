//! The halving of an ordered list, of which the two ends are looked at first.

use std::collections::BTreeMap;

use crate::report::bisection::{Conclusion, Judgement};

/// A search over so many builds, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    of: usize,
    known: BTreeMap<usize, Judgement>,
}

/// The state of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// This build is to be tried next.
    Try(usize),
    /// There is nothing more to try.
    Done(Conclusion),
}

impl Search {
    pub(crate) fn new(of: usize) -> Search {
        Search {
            of,
            known: BTreeMap::new(),
        }
    }

    /// Takes what a build turned out to be.
    pub(crate) fn record(&mut self, at: usize, judgement: Judgement) {
        self.known.insert(at, judgement);
    }

    /// Returns the number of builds that may still be the first, and are not tried yet.
    pub(crate) fn left(&self) -> usize {
        let (low, high) = self.bounds();
        let untried = (low + 1..high).filter(|at| !self.known.contains_key(at));
        untried.count()
    }

    /// Returns the last build that is like the first one, and the one behind it that is like the last one.
    fn bounds(&self) -> (usize, usize) {
        let last = self.of.saturating_sub(1);
        let Some(begin) = self.known.get(&0) else {
            return (0, last);
        };
        let like = |&at: &usize| self.known.get(&at) == Some(begin);
        let unlike = |&at: &usize| {
            let known = self.known.get(&at);
            known.is_some_and(|known| known != begin && *known != Judgement::Untested)
        };
        let high = (0..self.of).find(unlike).unwrap_or(last);
        let low = (0..high).rev().find(like).unwrap_or(0);
        (low, high)
    }

    /// Returns what is known of a search that does not go on.
    pub(crate) fn so_far(&self) -> Conclusion {
        let (before, first) = self.bounds();
        Conclusion::Unfinished { before, first }
    }

    pub(crate) fn state(&self) -> State {
        let last = self.of.saturating_sub(1);
        for end in [0, last] {
            match self.known.get(&end) {
                None => return State::Try(end),
                Some(Judgement::Untested) => {
                    return State::Done(Conclusion::Untested { build: end });
                }
                Some(Judgement::Passes | Judgement::Fails) => {}
            }
        }
        let (Some(&begin), Some(&end)) = (self.known.get(&0), self.known.get(&last)) else {
            return State::Try(0);
        };
        if begin == end {
            return State::Done(Conclusion::Unchanged { judgement: begin });
        }
        let (before, first) = self.bounds();
        let middle = before + (first - before) / 2;
        let untried = (before + 1..first).filter(|at| !self.known.contains_key(at));
        match untried.min_by_key(|at| at.abs_diff(middle)) {
            Some(at) => State::Try(at),
            None => State::Done(match end {
                Judgement::Passes => Conclusion::Mended { before, first },
                Judgement::Fails | Judgement::Untested => Conclusion::Broke { before, first },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Conclusion::{Broke, Mended, Unchanged};
    use Judgement::{Fails, Passes, Untested};

    /// Searches builds of which each is known, and returns the end and the number of tries.
    fn searched(builds: &[Judgement]) -> (Conclusion, usize) {
        let mut search = Search::new(builds.len());
        for tries in 0.. {
            match search.state() {
                State::Try(at) => search.record(at, builds[at]),
                State::Done(end) => return (end, tries),
            }
        }
        unreachable!("it ends")
    }

    #[test]
    fn the_first_that_changes_is_found_in_few_tries() {
        for of in 2..200_usize {
            for first in 1..of {
                for (begin, end) in [(Passes, Fails), (Fails, Passes)] {
                    let builds: Vec<Judgement> = (0..of)
                        .map(|at| if at < first { begin } else { end })
                        .collect();
                    let (found, tries) = searched(&builds);
                    let before = first - 1;
                    let wanted = match end {
                        Passes => Mended { before, first },
                        _ => Broke { before, first },
                    };
                    assert_eq!(found, wanted, "{of} {first}");
                    let most = 2 + (usize::BITS - of.leading_zeros()) as usize;
                    assert!(tries <= most, "{of} {first}: {tries}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_tested_is_passed_over() {
        for (builds, before, first) in [
            (vec![Passes, Untested, Passes, Untested, Fails], 2, 4),
            (vec![Passes, Untested, Untested, Fails, Fails], 0, 3),
            (vec![Passes, Passes, Fails, Untested, Untested, Fails], 1, 2),
        ] {
            let (found, _) = searched(&builds);
            assert_eq!(found, Broke { before, first }, "{builds:?}");
        }
    }

    #[test]
    fn the_ends_are_tried_first_and_decide_whether_there_is_anything_to_find() {
        let untested = |build| Conclusion::Untested { build };
        let unchanged = |judgement| Unchanged { judgement };
        assert_eq!(searched(&[Untested, Passes, Fails]), (untested(0), 1));
        assert_eq!(searched(&[Passes, Fails, Untested]), (untested(2), 2));
        assert_eq!(searched(&[Passes, Fails, Passes]), (unchanged(Passes), 2));
        assert_eq!(searched(&[Fails, Passes, Fails]), (unchanged(Fails), 2));
        assert_eq!(searched(&[Passes]), (unchanged(Passes), 1));
    }
}
