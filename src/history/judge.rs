//! The meaning of a result beside the earlier ones of its case.

use crate::history::flake::{Course, Step, Tries};
use crate::history::{Entry, Kind, Purpose, Run, Tester};
use crate::report::{FlakeRate, Memory, MemoryLabel};

/// The facts that a label rests on.
enum Basis<'e> {
    /// A list entry excuses it.
    Listed(&'e str),
    /// It was never tried from this release.
    FirstTime,
    /// It never passed from this release.
    NeverPassed,
    /// The last run in which it passed.
    PassedWith(&'e Run),
    /// The last run in which it failed.
    FailedWith(&'e Run),
    /// It fails now and then.
    Comes { fails: bool, tries: Tries },
    /// It was flaky, and passed this often since.
    WentAway(Tries),
    /// The same builds had another outcome under another tester.
    Tester { then: &'e Entry },
}

/// Says what a result means beside the earlier results of its case or finding from the same old release, oldest
/// first. Nothing is said of a pass after passes, nor of a case that was not tried between the builds. A search tries builds
/// in another order than they came, so that it tells whether its own pair is flaky, and nothing of later ones.
pub fn judge(kind: Kind, past: &[Entry], now: &Entry) -> Option<Memory> {
    if !now.trial.is_tested() {
        return None;
    }
    let past: Vec<&Entry> = past
        .iter()
        .filter(|entry| entry.trial.is_tested())
        .filter(|entry| {
            entry.run.purpose == Purpose::Verdict || entry.run.is_of_same_builds(&now.run)
        })
        .collect();
    let (label, basis) = decide(&past, now)?;
    let rate = match basis {
        Basis::Comes { tries, .. } | Basis::WentAway(tries) => Some(FlakeRate {
            failed: tries.failed,
            of: tries.of,
            passes_needed: tries.passes_needed(),
        }),
        _ => None,
    };
    Some(Memory {
        label,
        evidence: sentence(&basis, &Words::of(kind), &past, now),
        runs: past.len(),
        rate,
    })
}

fn decide<'e>(past: &[&'e Entry], now: &'e Entry) -> Option<(MemoryLabel, Basis<'e>)> {
    let fails = now.trial.fails();
    let mut course = Course::default();
    for entry in past {
        course.add(entry);
    }
    let before = course.tries();
    match course.add(now) {
        Step::Mixed | Step::Flake => {
            let tries = course.tries();
            return Some((MemoryLabel::Flaky, Basis::Comes { fails, tries }));
        }
        Step::Gone => return Some((MemoryLabel::Fixed, Basis::WentAway(before))),
        Step::Steady => {}
    }
    if fails && let Some(reason) = &now.trial.allowed_by {
        return Some((MemoryLabel::Known, Basis::Listed(reason)));
    }
    if let Some(then) = by_tester(past, now) {
        return Some((MemoryLabel::Harness, Basis::Tester { then }));
    }
    let last = |bad: bool| {
        let mut entries = past.iter().rev();
        entries.find(|entry| entry.trial.fails() == bad)
    };
    if fails {
        return Some(match (last(false), past.is_empty()) {
            (Some(passed), _) => (MemoryLabel::Regression, Basis::PassedWith(&passed.run)),
            (None, true) => (MemoryLabel::New, Basis::FirstTime),
            (None, false) => (MemoryLabel::Known, Basis::NeverPassed),
        });
    }
    let newest = past.last().filter(|entry| entry.trial.fails())?;
    Some((MemoryLabel::Fixed, Basis::FailedWith(&newest.run)))
}

/// Returns the last result of the opposite kind that the same builds had under another tester, if it is the
/// tester that makes the difference. Once that is seen of some builds, it stays the reason for later ones, as
/// long as nothing passes under the same tester.
fn by_tester<'e>(past: &[&'e Entry], now: &Entry) -> Option<&'e Entry> {
    // The program and its data come first: a run with another program may well be on another host.
    let program = |tester: &Tester| Tester {
        host: String::new(),
        ..tester.clone()
    };
    let own = program(&now.run.tester);
    let of_program = other_tester(past, now, |entry| program(&entry.run.tester));
    of_program.or_else(|| {
        let same = past.iter().copied();
        let same: Vec<&Entry> = same.filter(|e| program(&e.run.tester) == own).collect();
        other_tester(&same, now, |entry| entry.run.tester.host.clone())
    })
}

/// Does so for the testers that a key tells apart.
fn other_tester<'e, K: PartialEq>(
    past: &[&'e Entry],
    now: &Entry,
    key: impl Fn(&Entry) -> K,
) -> Option<&'e Entry> {
    let fails = now.trial.fails();
    let opposite = |entry: &Entry| entry.trial.fails() != fails;
    // A pass is worth a word only where something failed just before.
    if !fails && past.last().is_none_or(|last| !opposite(last)) {
        return None;
    }
    let own = past.iter().rev().filter(|entry| key(entry) == key(now));
    let streak = own.take_while(|entry| fails && !opposite(entry));
    let judged: Vec<&Run> = streak.map(|e| &e.run).chain([&now.run]).collect();
    let is_uniform = |other: &Entry| {
        let alike = |e: &&&Entry| key(e) == key(other) && e.run.is_of_same_builds(&other.run);
        past.iter().filter(alike).all(|e| opposite(e))
    };
    past.iter().rev().copied().find(|entry| {
        key(entry) != key(now)
            && opposite(entry)
            && judged.iter().any(|run| run.is_of_same_builds(&entry.run))
            && is_uniform(entry)
    })
}

/// The words for the results of a kind of thing.
struct Words {
    tried: &'static str,
    passed: &'static str,
    failed: &'static str,
    /// The opposite of `failed`, and now.
    passes: &'static str,
    fails: &'static str,
    never_passed: &'static str,
    /// Clauses about builds.
    builds_pass: &'static str,
    builds_fail: &'static str,
    come_and_go: &'static str,
    tries: &'static str,
}

impl Words {
    fn of(kind: Kind) -> Words {
        match kind {
            Kind::Case => Words {
                tried: "tried",
                passed: "passed",
                failed: "failed",
                passes: "passes",
                fails: "fails",
                never_passed: "never passed",
                builds_pass: "passed",
                builds_fail: "failed",
                come_and_go: "pass and fail",
                tries: "tries failed",
            },
            Kind::Finding | Kind::Look => Words {
                tried: "looked for",
                passed: "was not there",
                failed: "was there",
                passes: "is not there",
                fails: "is there",
                never_passed: "was always there",
                builds_pass: "did not have it",
                builds_fail: "had it",
                come_and_go: "have it and do not have it",
                tries: "runs had it",
            },
        }
    }
}

fn sentence(basis: &Basis<'_>, words: &Words, past: &[&Entry], now: &Entry) -> String {
    let from = now.run.old.name();
    let Words {
        tried,
        passed,
        failed,
        passes,
        fails,
        never_passed,
        ..
    } = words;
    match basis {
        Basis::Listed(reason) => format!("a list entry knows it: {reason}"),
        Basis::FirstTime => format!("it was never {tried} from {from} before"),
        Basis::NeverPassed => format!("it {never_passed} from {from}, in {} runs", past.len()),
        Basis::PassedWith(run) => {
            let mut text = format!("it {passed} with {} on {}", run.new.name(), run.day());
            let others = now.run.tester.differences(&run.tester);
            if !others.is_empty() {
                text.push_str(&format!(
                    "; since then {} changed too",
                    others.join(" and ")
                ));
            }
            text
        }
        Basis::FailedWith(run) => {
            format!(
                "it {failed} with {} on {}, and {passes} now",
                run.new.name(),
                run.day()
            )
        }
        Basis::Comes {
            fails: fails_now,
            tries,
        } => {
            let state = if *fails_now { fails } else { passes };
            format!(
                "the same builds {}: {} of {} {}, and it {state} this time; after {} passes in a row it is \
                 believable that it is gone",
                words.come_and_go,
                tries.failed,
                tries.of,
                words.tries,
                tries.passes_needed()
            )
        }
        Basis::WentAway(tries) => format!(
            "it {failed} {} of {} tries before, and has passed {} times in a row since",
            tries.failed,
            tries.of,
            tries.passes_needed()
        ),
        Basis::Tester { then } => {
            let verb = if then.trial.fails() {
                words.builds_fail
            } else {
                words.builds_pass
            };
            let what = now.run.tester.differences(&then.run.tester).join(" and ");
            let same = match now.run.new.is_surely(&then.run.new) {
                true => "the same builds",
                false => "builds that fail under the same tester now",
            };
            format!(
                "{same} {verb} on {}; not they have changed, but {what}",
                then.run.day()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{BuildId, Trial};
    use crate::model::Direction;
    use crate::report::{Case, Control, Outcome};
    use MemoryLabel::{Fixed, Flaky, Known, New, Regression};
    use Outcome::{Broken, Fail, Lost, Pass};
    use Purpose::{Search, Verdict};

    fn tried(purpose: Purpose, new: &str, outcome: Outcome) -> Entry {
        let build = |name: &str| BuildId {
            label: name.to_owned(),
            hash: Some(name.to_owned()),
            ..BuildId::default()
        };
        Entry {
            run: Run {
                old: build("old"),
                new: build(new),
                purpose,
                ..Run::default()
            },
            trial: Trial::only(outcome),
        }
    }

    #[test]
    fn what_the_new_build_alone_does_not_do_to_itself_fails_with_it() {
        let broken = |new: &str, control: [Outcome; 2]| {
            let [old_to_old, new_to_new] = control;
            let control = Some(Control {
                old_to_old,
                new_to_new,
            });
            let untried = Case::untried("a".to_owned(), "pc", "a", "unix", Direction::Forward);
            let case = Case {
                outcome: Broken,
                control,
                ..untried
            };
            Entry {
                trial: Trial::of(&case),
                ..tried(Verdict, new, Broken)
            }
        };
        let (of_new, of_both) = ([Pass, Lost], [Lost, Lost]);
        for (past, now, label) in [
            (tried(Verdict, "fine", Pass), of_new, Some(Regression)),
            (tried(Verdict, "fine", Pass), of_both, None),
            (broken("bad", of_new), of_new, Some(Known)),
            // What says nothing is not there.
            (broken("bad", of_both), of_new, Some(New)),
        ] {
            let memory = judge(Kind::Case, &[past], &broken("now", now));
            assert_eq!(memory.map(|memory| memory.label), label, "{now:?}");
        }
        let mended = judge(
            Kind::Case,
            &[broken("bad", of_new)],
            &tried(Verdict, "now", Pass),
        );
        assert_eq!(mended.map(|memory| memory.label), Some(Fixed));
    }

    #[test]
    fn a_search_tells_of_its_own_pair_alone() {
        let searched = [("old", Pass), ("bad", Fail), ("good", Pass)];
        for (before, now, label) in [
            // A known break stays it, and a regression too.
            (Some(("bad", Fail)), ("bad", Fail), Some(Known)),
            (Some(("bad", Fail)), ("worse", Fail), Some(Known)),
            (Some(("fine", Pass)), ("bad", Fail), Some(Regression)),
            // What the search tried itself is no news, all else is.
            (None, ("bad", Fail), Some(Known)),
            (None, ("worse", Fail), Some(New)),
            // Its failures are not mended by a build that always passed.
            (Some(("fine", Pass)), ("fine", Pass), None),
            (Some(("bad", Fail)), ("mended", Pass), Some(Fixed)),
            // The same builds pass and fail.
            (None, ("good", Fail), Some(Flaky)),
            (Some(("bad", Fail)), ("bad", Pass), Some(Flaky)),
        ] {
            let before = before.map(|(new, outcome)| tried(Verdict, new, outcome));
            let searched = searched.map(|(new, outcome)| tried(Search, new, outcome));
            let past: Vec<Entry> = before.into_iter().chain(searched).collect();
            let memory = judge(Kind::Case, &past, &tried(Verdict, now.0, now.1));
            assert_eq!(memory.map(|memory| memory.label), label, "{now:?}");
        }
    }
}
