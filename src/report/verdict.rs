//! The verdict, drawn from the evidence and a policy.

use serde::{Deserialize, Serialize};

use crate::model::{Direction, display_as_serialized};
use crate::report::{
    Case, Coverage, Finding, Notice, NoticeKind, Outcome, Policy, Report, RequiredCoverage,
};

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing that counts was found, and enough was tested.
    Compatible,
    /// An error, or a migration that failed, and neither is allowed.
    Incompatible,
    /// Nothing that counts was found, and too little was tested.
    Untested,
}

display_as_serialized!(Verdict);

impl Verdict {
    /// Draws the verdict from all the evidence of a report. No other place does.
    pub(crate) fn of(report: &Report, policy: &Policy) -> Verdict {
        // What would have excused a break was not looked at, and what would have shown one neither.
        if report.interrupted.is_some() {
            return Verdict::Untested;
        }
        let breaks = |finding: &Finding| policy.counts_finding(finding);
        let fails = |case: &Case| policy.counts_case(case);
        if report.findings.iter().any(breaks) || report.cases.iter().any(fails) {
            return Verdict::Incompatible;
        }
        if let Some(name) = &policy.case {
            // A gate asks the history whether the case counts.
            let mut notices = report.notices.iter();
            let has_history = notices.all(|notice| notice.kind != NoticeKind::HistoryFailed);
            return match report.case(name.as_str()) {
                Some(case) if has_history && !case.outcome.is_idle() => Verdict::Compatible,
                Some(_) | None => Verdict::Untested,
            };
        }
        let covered = is_covered(report.coverage.as_ref(), policy.required());
        if nothing_ran(&report.cases)
            || rests_on_a_part(&report.cases)
            || !covered
            || report.notices.iter().any(Notice::is_of_verdict)
        {
            return Verdict::Untested;
        }
        Verdict::Compatible
    }
}

/// Returns true if migrations were wanted, and none could be run between the builds, or none in one of the directions: a
/// guest that moves to the new build says nothing of the way back.
fn nothing_ran(cases: &[Case]) -> bool {
    let is_planned = |case: &&Case| case.part_of.is_none() && !case.derived;
    let planned: Vec<&Case> = cases.iter().filter(is_planned).collect();
    let nothing_ran = |direction| {
        let mut there = planned.iter().filter(|case| case.direction == direction);
        there.clone().next().is_some() && there.all(|case| case.outcome.is_idle())
    };
    !cases.is_empty() && planned.is_empty() || Direction::BOTH.into_iter().any(nothing_ran)
}

/// Returns true if nothing is known of a planned case except that a part of it passes.
fn rests_on_a_part(cases: &[Case]) -> bool {
    let is_part_of = |case: &Case, whole: &Case| case.part_of.as_ref() == Some(&whole.id);
    let mut idle = cases.iter().filter(|case| case.outcome.is_idle());
    idle.any(|whole| {
        let mut parts = cases.iter().filter(|case| is_part_of(case, whole));
        parts.any(|part| part.outcome == Outcome::Pass)
    })
}

/// Returns true if as much was sent as is required. Coverage that is not known is not enough.
fn is_covered(coverage: Option<&Coverage>, required: RequiredCoverage) -> bool {
    let reaches = |coverage: &Coverage| coverage.shortfalls(required).next().is_none();
    !required.is_any() || coverage.is_some_and(reaches)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Direction;
    use crate::report::{
        BaselineStatus, Control, CoveredSection, Gate, Level, Memory, MemoryLabel, Reached, testing,
    };
    use Verdict::{Compatible, Incompatible, Untested};

    fn report() -> Report {
        let build = testing::build("build");
        Report::new(build.clone(), build, None)
    }

    fn finding(level: Level, allowed: bool) -> Finding {
        testing::finding(json!({"level": level, "allowed_by": allowed.then_some("a list")}))
    }

    fn case(outcome: Outcome, allowed: bool) -> Case {
        Case {
            outcome,
            allowed_by: allowed.then(|| "a list".to_owned()),
            ..Case::untried("id".to_owned(), "pc", "set", "unix", Direction::Forward)
        }
    }

    fn half() -> Coverage {
        let section = |name: &str, reached| CoveredSection {
            section: name.to_owned(),
            vmsd: name.to_owned(),
            possible: true,
            reached,
            reason: None,
            subsections: Vec::new(),
            conditional_fields: Vec::new(),
            sent_in: Vec::new(),
        };
        Coverage::of(vec![
            section("a", Reached::Passed),
            section("b", Reached::Compared),
        ])
    }

    fn drawn(report: Report, policy: Policy) -> Verdict {
        report.judged_by(policy).verdict
    }

    #[track_caller]
    fn assert_drawn(cases: Vec<Case>, wanted: Verdict) {
        let known = format!("{cases:?}");
        let report = Report { cases, ..report() };
        assert_eq!(drawn(report, Policy::default()), wanted, "{known}");
    }

    #[test]
    fn what_counts_decides_before_what_is_missing() {
        let lenient = Policy::default();
        let strict = Policy {
            strict: true,
            ..Policy::default()
        };
        let of = |level| vec![finding(level, false)];
        let allowed = vec![finding(Level::Error, true)];
        let one = |outcome| vec![case(outcome, false)];
        let excused = vec![case(Outcome::Lost, true)];
        let two = vec![case(Outcome::Skip, false), case(Outcome::Pass, false)];
        for (findings, cases, strictly, wanted) in [
            (vec![], vec![], false, Compatible),
            (of(Level::Error), vec![], false, Incompatible),
            (allowed, vec![], false, Compatible),
            (of(Level::Warning), vec![], false, Compatible),
            (of(Level::Warning), vec![], true, Incompatible),
            (of(Level::Note), vec![], true, Compatible),
            (vec![], one(Outcome::Lost), false, Incompatible),
            (vec![], excused, false, Compatible),
            (vec![], one(Outcome::Skip), false, Untested),
            (vec![], one(Outcome::Broken), false, Untested),
            (vec![], two, false, Compatible),
            (of(Level::Error), one(Outcome::Skip), false, Incompatible),
        ] {
            let policy = if strictly { &strict } else { &lenient };
            let known = format!("{findings:?} {cases:?}");
            let report = Report {
                findings,
                cases,
                ..report()
            };
            assert_eq!(drawn(report, policy.clone()), wanted, "{known}");
        }
    }

    #[test]
    fn a_case_that_nobody_asked_for_does_not_speak_for_those_that_were() {
        let derived = |outcome| Case {
            derived: true,
            ..case(outcome, false)
        };
        for (planned, outcome, wanted) in [
            (Outcome::Skip, Outcome::Pass, Untested),
            (Outcome::Broken, Outcome::Pass, Untested),
            (Outcome::Pass, Outcome::Pass, Compatible),
            (Outcome::Skip, Outcome::Fail, Incompatible),
        ] {
            assert_drawn(vec![case(planned, false), derived(outcome)], wanted);
        }
    }

    #[test]
    fn a_gate_that_asks_a_history_excuses_nothing_without_one() {
        let id = "q35/a/unix/forward";
        for name in [None, Some(id), Some("q35/b/unix/forward")] {
            for gate in [Gate::Regression, Gate::Tier] {
                for (history, outcome, is_known) in [
                    (true, Outcome::Fail, true),
                    (false, Outcome::Fail, false),
                    (false, Outcome::Pass, false),
                ] {
                    let failed = NoticeKind::HistoryFailed.about("history.db", "disk full");
                    let case = Case {
                        id: id.to_owned(),
                        ..case(outcome, false)
                    };
                    let report = Report {
                        cases: vec![case],
                        notices: if history { vec![] } else { vec![failed] },
                        ..report()
                    };
                    let policy = Policy {
                        gate,
                        case: name.map(|name: &str| name.parse().expect("a name")),
                        ..Policy::default()
                    };
                    let is_there = name.is_none_or(|name| name == id);
                    let wanted = match is_known && is_there {
                        true => Compatible,
                        false => Untested,
                    };
                    assert_eq!(
                        drawn(report, policy),
                        wanted,
                        "{name:?} {outcome} {history}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_defect_of_the_new_build_alone_counts_where_it_is_known_that_it_was_not_there() {
        use Outcome::{Broken, Lost, Pass, Skip};
        let regression = Memory {
            label: MemoryLabel::Regression,
            evidence: String::new(),
            runs: 1,
            rate: None,
        };
        for (control, allowed, counts) in [
            ((Pass, Lost), false, true),
            ((Pass, Lost), true, false),
            ((Lost, Lost), false, false),
            ((Lost, Pass), false, false),
            ((Skip, Lost), false, false),
        ] {
            let (old_to_old, new_to_new) = control;
            let case = |outcome, id: &str| Case {
                id: id.to_owned(),
                control: Some(Control {
                    old_to_old,
                    new_to_new,
                }),
                baseline: Some(BaselineStatus::New),
                memory: Some(regression.clone()),
                ..case(outcome, allowed)
            };
            for gate in [Gate::All, Gate::Tier, Gate::New, Gate::Regression] {
                let report = Report {
                    cases: vec![case(Broken, "a"), case(Pass, "b")],
                    ..report()
                };
                let policy = Policy {
                    gate,
                    ..Policy::default()
                };
                let looks_back = matches!(gate, Gate::New | Gate::Regression);
                let wanted = match counts && looks_back {
                    true => Incompatible,
                    false => Compatible,
                };
                assert_eq!(drawn(report, policy), wanted, "{control:?} {gate:?}");
            }
        }
    }

    #[test]
    fn one_direction_does_not_speak_for_the_other() {
        let towards = |direction, outcome| Case {
            direction,
            ..case(outcome, false)
        };
        for (backward, wanted) in [
            (&[Outcome::Skip][..], Untested),
            (&[Outcome::Broken, Outcome::Skip], Untested),
            (&[Outcome::Broken, Outcome::Pass], Compatible),
            (&[Outcome::Broken, Outcome::Fail], Incompatible),
            (&[], Compatible),
        ] {
            let backward = backward.iter();
            let backward = backward.map(|&outcome| towards(Direction::Backward, outcome));
            let forward = towards(Direction::Forward, Outcome::Pass);
            assert_drawn(backward.chain([forward]).collect(), wanted);
        }
    }

    #[test]
    fn nothing_is_decided_by_a_run_that_was_interrupted() {
        for cases in [
            vec![],
            vec![case(Outcome::Pass, false)],
            vec![case(Outcome::Fail, false)],
        ] {
            let report = Report {
                cases,
                interrupted: Some("SIGTERM".to_owned()),
                ..report()
            };
            assert_eq!(drawn(report, Policy::default()), Untested);
        }
    }

    #[test]
    fn a_part_that_passes_does_not_speak_for_the_whole() {
        let named = |id: &str, outcome, part_of: Option<&str>| Case {
            id: id.to_owned(),
            part_of: part_of.map(str::to_owned),
            ..case(outcome, false)
        };
        let other = || named("other", Outcome::Pass, None);
        let set = |outcome| named("set", outcome, None);
        let part = |outcome| named("set:a", outcome, Some("set"));
        let (broken, skipped) = (Outcome::Broken, Outcome::Skip);
        for (cases, wanted) in [
            (vec![set(broken), part(Outcome::Pass)], Untested),
            (vec![other(), set(skipped), part(Outcome::Pass)], Untested),
            (vec![other(), set(broken), part(broken)], Compatible),
            (vec![set(broken), part(Outcome::Fail)], Incompatible),
        ] {
            assert_drawn(cases, wanted);
        }
    }

    #[test]
    fn too_little_coverage_and_a_missing_shard_leave_it_untested() {
        let required = |least| Policy {
            required_coverage: least,
            ..Policy::default()
        };
        let covered = |coverage| Report {
            coverage,
            ..report()
        };
        for (coverage, least, wanted) in [
            (Some(half()), Some(50), Compatible),
            (Some(half()), Some(51), Untested),
            (Some(half()), None, Compatible),
            (None, Some(1), Untested),
            (None, None, Compatible),
        ] {
            let judged = covered(coverage).judged_by(required(least));
            assert_eq!(judged.verdict, wanted, "{least:?}");
            let recorded = judged.coverage.map(|coverage| coverage.required);
            assert!(recorded.is_none_or(|it| it == least), "{least:?}");
        }
        let broken = Report {
            findings: vec![finding(Level::Error, false)],
            ..covered(None)
        };
        assert_eq!(drawn(broken, required(Some(1))), Incompatible);
        for kind in [
            NoticeKind::ShardMissing,
            NoticeKind::NothingTried,
            NoticeKind::HostLacks,
        ] {
            let partial = Report {
                notices: vec![kind.about("2/3", "there is no report of it")],
                ..report()
            };
            assert_eq!(drawn(partial, Policy::default()), Untested);
        }
    }
}
