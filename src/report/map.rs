//! The report of a map: many builds, pair by pair, and what breaks and is mended between them.
//!
//! The types are the format `migcompat-map-1`; keys are added, never renamed or left out.
//! `map-schema.json` beside `Cargo.toml` describes it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{BuildRef, Rule};
use crate::report::identity::name_in_runs;
use crate::report::{
    BaselineCounts, BaselineStatus, Case, Notice, NoticeKind, Outcome, Report, Tool, Verdict,
};

/// The format's name, written into every map.
pub const MAP_SCHEMA: &str = "migcompat-map-1";

/// Everything that a map found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// The format's name, [`MAP_SCHEMA`].
    pub schema: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The builds in their order. Other parts name them by their place in it, from 0.
    pub builds: Vec<BuildRef>,
    /// The pairs of builds, by the old one and then the new one.
    pub pairs: Vec<MapPair>,
    /// The cases that do not pass between some pair, by machine and id.
    pub rows: Vec<MapRow>,
    /// The causes that the rows name, by their place in this list.
    pub causes: Vec<MapCause>,
    /// The answer: incompatible if a pair is, else untested if a pair is.
    pub verdict: Verdict,
    /// The time that it took, in milliseconds; of merged maps, that of all together.
    pub elapsed_ms: u64,
    /// The signal that ended the run before it was done.
    pub interrupted: Option<String>,
}

/// Two builds, and what was found out about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPair {
    /// The build that guests come from.
    pub old: usize,
    /// The build that they move to, and back from.
    pub new: usize,
    /// The report of a sweep of the two.
    pub report: Report,
}

impl MapPair {
    /// Returns the number of cases that count against the two.
    pub fn failing(&self) -> usize {
        self.report.cases.iter().filter(|case| case.gates()).count()
    }

    /// Returns the number of findings that are errors, and that no list allows.
    pub fn errors(&self) -> usize {
        self.report.summary.errors
    }

    /// Returns the reason why the two could not be tested at all, if that is so.
    pub fn untested(&self) -> Option<&Notice> {
        let mut notices = self.report.notices.iter();
        notices.find(|notice| notice.kind == NoticeKind::PairNotTested)
    }
}

/// A case between the pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRow {
    /// Its id. That of devices that fail only together has them in the place of a number, which differs from pair to
    /// pair: `q35/together:a+b/unix/forward`.
    pub case: String,
    /// The outcome between each pair, in the order of the pairs; nothing where the pair has no such case.
    pub cells: Vec<Option<MapCell>>,
    /// The builds that broke it.
    pub changes: Vec<MapChange>,
}

/// A case between one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapCell {
    /// The outcome.
    pub outcome: Outcome,
    /// A list excuses it.
    pub allowed: bool,
    /// The cause, where it does not pass.
    pub cause: Option<usize>,
    /// The relation to the baseline, where there is one.
    pub baseline: Option<BaselineStatus>,
    /// It is broken by the new build alone: the old one migrates it to itself.
    #[serde(default)]
    pub defect_of_new: bool,
}

impl MapCell {
    /// Returns whether it fails between the builds, or by a defect of the new one.
    pub(crate) fn fails(&self) -> bool {
        self.outcome.is_failure() || self.defect_of_new
    }
}

/// A build that broke a case, and the one that mended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapChange {
    /// The first new build, in the order of the builds, with which it fails.
    pub broke: usize,
    /// The first one behind that with which it passes, from the same old builds. Only a map of all pairs tells.
    pub mended: Option<usize>,
    /// The old builds from which this is so.
    pub from: Vec<usize>,
    /// The cause between the first of them and `broke`.
    pub cause: Option<usize>,
}

/// A reason why cases do not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapCause {
    /// The outcome that it leads to.
    pub outcome: Outcome,
    /// The vmsd name of the section to blame.
    pub section: Option<String>,
    /// The field, as a path within the section.
    pub field: Option<String>,
    /// The rule of the finding that explains it.
    pub rule: Option<Rule>,
    /// A sentence about it, of the first case that has it.
    pub message: String,
    /// The list entry that excuses it, of the first case.
    pub allowed_by: Option<String>,
}

impl Map {
    /// Draws the rows, the causes and the verdict from the reports of the pairs.
    pub(crate) fn of(builds: Vec<BuildRef>, pairs: Vec<MapPair>, elapsed_ms: u64) -> Map {
        let mut causes = Vec::new();
        let rows = rows(&pairs, &mut causes);
        Map {
            schema: MAP_SCHEMA.to_owned(),
            tool: Tool::this(),
            builds,
            verdict: verdict(&pairs),
            interrupted: pairs
                .iter()
                .find_map(|pair| pair.report.interrupted.clone()),
            rows,
            causes,
            pairs,
            elapsed_ms,
        }
    }

    /// Returns the name of a build that is short and that no other one has: the release, where that does.
    pub fn name(&self, build: usize) -> String {
        let Some(named) = self.builds.get(build) else {
            return String::new();
        };
        let same = self
            .builds
            .iter()
            .filter(|other| other.version == named.version);
        match named.version {
            Some(version) if same.count() == 1 => version.to_string(),
            _ => named.label.clone(),
        }
    }

    /// Returns the pair of two builds: those of the same labels, or else of the same releases.
    pub(crate) fn pair_of(&self, old: &BuildRef, new: &BuildRef) -> Option<&MapPair> {
        let find = |same: fn(&BuildRef, &BuildRef) -> bool| {
            let is = |at: usize, wanted| self.builds.get(at).is_some_and(|own| same(own, wanted));
            let mut pairs = self.pairs.iter();
            pairs.find(|pair| is(pair.old, old) && is(pair.new, new))
        };
        find(|own, wanted| own.label == wanted.label)
            .or_else(|| find(|own, wanted| own.version.is_some() && own.version == wanted.version))
    }

    /// Returns the counts against the baseline of all pairs, and its file, where there is one.
    pub(crate) fn baseline(&self) -> Option<(&str, BaselineCounts)> {
        let mut of_pairs = self
            .pairs
            .iter()
            .filter_map(|pair| pair.report.baseline.as_ref());
        let first = of_pairs.next()?;
        let add = |all: BaselineCounts, of: BaselineCounts| BaselineCounts {
            new: all.new + of.new,
            same: all.same + of.same,
            fixed: all.fixed + of.fixed,
            gone: all.gone + of.gone,
        };
        let counts = of_pairs.map(|of| of.counts).fold(first.counts, add);
        Some((&first.file, counts))
    }
}

fn verdict(pairs: &[MapPair]) -> Verdict {
    let any = |verdict| pairs.iter().any(|pair| pair.report.verdict == verdict);
    if any(Verdict::Incompatible) {
        Verdict::Incompatible
    } else if pairs.is_empty() || any(Verdict::Untested) {
        Verdict::Untested
    } else {
        Verdict::Compatible
    }
}

fn rows(pairs: &[MapPair], causes: &mut Vec<MapCause>) -> Vec<MapRow> {
    let cases: Vec<BTreeMap<Cow<'_, str>, &Case>> = pairs
        .iter()
        .map(|pair| {
            let cases = pair.report.cases.iter();
            cases.map(|case| (name_in_runs(case), case)).collect()
        })
        .collect();
    let all = cases.iter().flatten();
    let not_passed = all.filter(|(_, case)| !matches!(case.outcome, Outcome::Pass | Outcome::Skip));
    let names: BTreeSet<&str> = not_passed.map(|(name, _)| &**name).collect();
    let mut rows = Vec::new();
    for name in names {
        let found = cases.iter().map(|of_pair| of_pair.get(name).copied());
        let cells: Vec<Option<MapCell>> = found
            .map(|case| {
                case.map(|case| MapCell {
                    outcome: case.outcome,
                    allowed: case.allowed_by.is_some(),
                    cause: cause(case, causes),
                    baseline: case.baseline,
                    defect_of_new: case.is_defect_of_new(),
                })
            })
            .collect();
        rows.push(MapRow {
            case: name.to_owned(),
            changes: changes(pairs, &cells),
            cells,
        });
    }
    rows
}

/// Returns the place of the cause of a case, which is added where no other case has it.
fn cause(case: &Case, causes: &mut Vec<MapCause>) -> Option<usize> {
    if case.outcome == Outcome::Pass {
        return None;
    }
    let cause = case.cause.as_ref()?;
    let new = MapCause {
        outcome: case.outcome,
        section: cause.vmsd_name().map(str::to_owned),
        field: cause.field.clone(),
        rule: cause.rule,
        message: cause.message.clone(),
        allowed_by: case.allowed_by.clone(),
    };
    let is_same = |known: &MapCause| {
        let place = |of: &MapCause| (of.outcome, of.section.clone(), of.field.clone(), of.rule);
        // Where no place is known, the words are all there is.
        let words = new.section.is_some() || known.message == new.message;
        place(known) == place(&new) && words
    };
    match causes.iter().position(is_same) {
        Some(at) => Some(at),
        None => {
            causes.push(new);
            Some(causes.len() - 1)
        }
    }
}

/// Returns the builds that broke a case, each once: from an old build, the first with which it fails, and the first
/// behind that with which it passes again. What the new build alone does not migrate to itself either, it broke.
fn changes(pairs: &[MapPair], cells: &[Option<MapCell>]) -> Vec<MapChange> {
    let olds: BTreeSet<usize> = pairs.iter().map(|pair| pair.old).collect();
    let mut changes: Vec<MapChange> = Vec::new();
    for old in olds {
        let tried = pairs.iter().zip(cells).filter(|(pair, _)| pair.old == old);
        let mut tried: Vec<(usize, MapCell)> = tried
            .filter_map(|(pair, cell)| Some((pair.new, (*cell)?)))
            .collect();
        tried.sort_by_key(|&(new, _)| new);
        let first = tried.iter().position(|(_, cell)| cell.fails());
        let Some((broken, later)) = first.and_then(|at| tried[at..].split_first()) else {
            continue;
        };
        let passes = later.iter().find(|(_, cell)| cell.outcome == Outcome::Pass);
        let mended = passes.map(|&(new, _)| new);
        let same = |known: &&mut MapChange| known.broke == broken.0 && known.mended == mended;
        match changes.iter_mut().find(same) {
            Some(known) => known.from.push(old),
            None => changes.push(MapChange {
                broke: broken.0,
                mended,
                from: vec![old],
                cause: broken.1.cause,
            }),
        }
    }
    changes.sort_by_key(|change| (change.broke, change.mended));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction;
    use crate::report::testing::build;
    use crate::report::{Cause, Control};
    use Outcome::{Broken, Fail, Lost, Pass, Skip};

    /// A map of builds with the outcomes of one case between pairs.
    fn map(builds: &[&str], tried: &[(usize, usize, Outcome)]) -> Map {
        let pairs = tried.iter().map(|&(old, new, outcome)| {
            let id = "q35/e1000/unix/forward".to_owned();
            let case = Case {
                outcome,
                cause: (outcome != Pass).then(|| Cause {
                    message: format!("{outcome} with {new}"),
                    ..Cause::default()
                }),
                ..Case::untried(id, "pc-q35", "e1000", "unix", Direction::Forward)
            };
            let report = Report {
                cases: vec![case],
                ..Report::new(build(builds[old]), build(builds[new]), None)
            };
            MapPair {
                old,
                new,
                report: report.judged_by(Default::default()),
            }
        });
        Map::of(
            builds.iter().map(|label| build(label)).collect(),
            pairs.collect(),
            0,
        )
    }

    #[test]
    fn a_row_names_the_first_build_that_breaks_and_the_first_that_mends() {
        let builds = ["a", "b", "c", "d"];
        let all = map(
            &builds,
            &[
                (0, 1, Pass),
                (0, 2, Fail),
                (0, 3, Pass),
                (1, 2, Fail),
                (1, 3, Pass),
                (2, 3, Lost),
            ],
        );
        let [row] = &all.rows[..] else {
            panic!("{:?}", all.rows)
        };
        let told = row
            .changes
            .iter()
            .map(|of| (of.broke, of.mended, of.from.clone()));
        let told: Vec<(usize, Option<usize>, Vec<usize>)> = told.collect();
        assert_eq!(told, [(2, Some(3), vec![0, 1]), (3, None, vec![2])]);
        assert_eq!(all.causes.len(), 2, "{:?}", all.causes);
        assert_eq!(all.verdict, Verdict::Incompatible);
        // Neighbours alone do not show that it was mended.
        let near = map(&builds, &[(0, 1, Pass), (1, 2, Fail), (2, 3, Pass)]);
        let change = &near.rows[0].changes[0];
        assert_eq!((change.broke, change.mended), (2, None));
    }

    #[test]
    fn devices_that_fail_only_together_have_a_row_by_what_they_are() {
        let together = |number: usize, devices: &[&str], end: &str| {
            let id = format!("q35/together-{number}/unix/forward{end}");
            Case {
                outcome: Fail,
                cause: Some(Cause {
                    message: devices.join(" and "),
                    ..Cause::default()
                }),
                devices: devices.iter().map(|&name| name.to_owned()).collect(),
                ..Case::untried(id, "pc-q35", "together", "unix", Direction::Forward)
            }
        };
        let pair = |old, cases| MapPair {
            old,
            new: old + 1,
            report: Report {
                cases,
                ..Report::new(build("x"), build("y"), None)
            },
        };
        let cases = [
            vec![together(1, &["a", "b"], "")],
            // Another group was found before it, and its devices in another order.
            vec![together(1, &["c", "d"], ""), together(2, &["b", "a"], "")],
            vec![together(1, &["a", "b"], "/driven")],
        ];
        let pairs = cases.into_iter().enumerate().map(|(old, of)| pair(old, of));
        let builds = ["a", "b", "c", "d"].map(build).to_vec();
        let map = Map::of(builds, pairs.collect(), 0);
        let told = map.rows.iter().map(|row| {
            let cells = row
                .cells
                .iter()
                .map(|cell| cell.and_then(|cell| cell.cause));
            let causes = cells.flatten().map(|at| &*map.causes[at].message);
            let broke = row.changes.iter().map(|change| change.broke);
            (&*row.case, causes.collect(), broke.collect())
        });
        let told: Vec<(&str, Vec<&str>, Vec<usize>)> = told.collect();
        assert_eq!(
            told,
            [
                (
                    "q35/together:a+b/unix/forward",
                    vec!["a and b", "b and a"],
                    vec![1, 2]
                ),
                (
                    "q35/together:a+b/unix/forward/driven",
                    vec!["a and b"],
                    vec![3]
                ),
                ("q35/together:c+d/unix/forward", vec!["c and d"], vec![2]),
            ]
        );
    }

    #[test]
    fn what_passes_everywhere_has_no_row_and_what_fails_within_a_build_breaks_nothing() {
        let fine = map(&["a", "b", "c"], &[(0, 1, Pass), (1, 2, Pass)]);
        assert!(fine.rows.is_empty());
        assert_eq!(fine.verdict, Verdict::Compatible);
        let skipped = map(&["a", "b", "c"], &[(0, 1, Pass), (1, 2, Skip)]);
        assert!(skipped.rows.is_empty());
        assert_eq!(skipped.verdict, Verdict::Untested);
        let broken = map(&["a", "b"], &[(0, 1, Broken)]);
        assert_eq!(broken.rows.len(), 1);
        assert!(broken.rows[0].changes.is_empty());
    }

    #[test]
    fn a_defect_of_a_new_build_alone_is_what_it_broke() {
        let told = |tried: &[(usize, usize, Outcome, [Outcome; 2])]| {
            let outcomes: Vec<(usize, usize, Outcome)> = (tried.iter())
                .map(|&(old, new, outcome, _)| (old, new, outcome))
                .collect();
            let mut map = map(&["a", "b", "c", "d"], &outcomes);
            for (pair, &(.., [old_to_old, new_to_new])) in map.pairs.iter_mut().zip(tried) {
                pair.report.cases[0].control = Some(Control {
                    old_to_old,
                    new_to_new,
                });
            }
            let map = Map::of(map.builds, map.pairs, 0);
            let changes = map.rows.iter().flat_map(|row| &row.changes);
            let told = changes.map(|of| (of.broke, of.mended, of.from.clone(), of.cause.is_some()));
            told.collect::<Vec<(usize, Option<usize>, Vec<usize>, bool)>>()
        };
        let (of_new, of_both, of_old) = ([Pass, Lost], [Lost, Lost], [Lost, Pass]);
        let fine = [Pass, Pass];
        // From one build to the next.
        let near = told(&[
            (0, 1, Pass, fine),
            (1, 2, Broken, of_new),
            (2, 3, Broken, of_old),
        ]);
        assert_eq!(near, [(2, None, vec![1], true)]);
        // Each pair, until it is mended.
        let all = told(&[
            (0, 1, Pass, fine),
            (0, 2, Broken, of_new),
            (0, 3, Pass, fine),
            (1, 2, Broken, of_new),
            (1, 3, Pass, fine),
        ]);
        assert_eq!(all, [(2, Some(3), vec![0, 1], true)]);
        assert_eq!(
            told(&[(0, 1, Broken, of_both), (1, 2, Broken, of_both)]),
            []
        );
    }
}
