//! A made-up year of 10,000 runs, of which the truth is known: how often each label is right.

use std::collections::BTreeMap;

use crate::history::{
    Access, BuildId, Entry, History, Kind, Row, Run, Tester, Trial, Written, judge,
};
use crate::model::{Direction, Version};
use crate::report::{Case, MemoryLabel, Outcome};

const RUNS: u64 = 10_000;
const YEAR: u64 = 365 * 86_400;
/// 2026-01-01.
const START: u64 = 1_767_225_600;
/// Cases of which each run tries one in four.
const CASES: u64 = 16;

/// Numbers that look random, the same in every run of this test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // Knuth's constants; the high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn chance(&mut self, part: f64) -> bool {
        (self.next() % 1_000_000) as f64 / 1e6 < part
    }
}

/// The nature of a case.
#[derive(Clone, Copy)]
enum Nature {
    Steady,
    Flaky(f64),
    Broken,
    /// Broken for some days in this many, and mended again.
    Regresses {
        every: u64,
        days: u64,
    },
    /// Fails whenever the second version of the program tests it.
    OfTool,
    /// Fails on one host from a day on.
    OfHost,
}

fn nature(case: u64) -> Nature {
    match case {
        0 => Nature::Flaky(0.01),
        1 => Nature::Flaky(0.10),
        2 => Nature::Flaky(0.50),
        3 | 4 => Nature::Broken,
        5 => Nature::Regresses { every: 30, days: 9 },
        6 => Nature::Regresses {
            every: 45,
            days: 20,
        },
        7 => Nature::Regresses { every: 21, days: 5 },
        8 => Nature::OfTool,
        9 => Nature::OfHost,
        _ => Nature::Steady,
    }
}

/// The label that is right; several where the truth has two sides. Nothing is right of a steady pass.
type Truth = &'static [Option<MemoryLabel>];

struct Sample {
    case: u64,
    entry: Entry,
    truth: Truth,
}

/// The runs of the year, in their order.
fn year() -> Vec<Sample> {
    use MemoryLabel::{Fixed, Flaky, Harness, Known, New, Regression};
    let mut random = Random(2026);
    let mut failing: BTreeMap<u64, bool> = BTreeMap::new();
    let mut samples = Vec::new();
    for number in 0..RUNS {
        let at = START + number * YEAR / RUNS;
        let (day, noon) = ((at - START) / 86_400, (at - START) % 86_400 > 43_200);
        // The program is another one for two weeks in ten, from a noon to a noon.
        let half_days = day * 2 + u64::from(noon);
        let second = half_days % 140 > 100 && half_days % 140 < 129;
        let host = random.next() % 3;
        let build = |label: &str, version, hash: String| BuildId {
            label: label.to_owned(),
            version: Some(version),
            hash: Some(hash),
        };
        let run = Run {
            at,
            old: build("debian:bookworm", Version::new(7, 2, 22), "old".to_owned()),
            new: build("nightly", Version::new(10, 1, 50), format!("new-{day}")),
            tester: Tester {
                tool: if second { "0.2.0" } else { "0.1.0" }.to_owned(),
                lists: "lists".to_owned(),
                device_sets: "sets".to_owned(),
                host: format!("host-{host}"),
            },
            ..Run::default()
        };
        for case in (number % 4..CASES).step_by(4) {
            let mut fails = |rate: f64| random.chance(rate);
            let (rate, truth): (f64, Truth) = match nature(case) {
                Nature::Steady => (0.0, &[]),
                Nature::Flaky(rate) => (rate, &[Some(Flaky)]),
                Nature::Broken => (1.0, &[Some(Known)]),
                Nature::Regresses { every, days } => {
                    let broken = day > 10 && day % every < days;
                    (f64::from(u8::from(broken)), &[Some(Regression)])
                }
                Nature::OfTool => (f64::from(u8::from(second)), &[Some(Harness)]),
                Nature::OfHost => (
                    f64::from(u8::from(host == 2 && day > 100)),
                    &[Some(Harness)],
                ),
            };
            let first = fails(rate);
            // A case that fails is tried twice more.
            let (failed, tries) = match first {
                true => (1 + u32::from(fails(rate)) + u32::from(fails(rate)), 3),
                false => (0, 1),
            };
            let before = failing.insert(case, first);
            let truth: Truth = match (nature(case), first, before) {
                (Nature::Broken, _, None) => &[Some(New)],
                (Nature::Flaky(_), false, _) => &[Some(Flaky), None],
                (Nature::Regresses { .. }, false, Some(true)) => &[Some(Fixed)],
                (Nature::OfTool | Nature::OfHost, false, Some(true)) => {
                    &[Some(Harness), Some(Fixed), None]
                }
                (_, true, _) => truth,
                (_, false, _) => &[None],
            };
            let entry = Entry {
                run: run.clone(),
                trial: Trial {
                    outcome: if first { Outcome::Fail } else { Outcome::Pass },
                    failed,
                    tries,
                    elapsed_ms: number,
                    ..Trial::default()
                },
            };
            samples.push(Sample { case, entry, truth });
        }
    }
    samples
}

fn row(case: u64, trial: &Trial) -> Row {
    let set = format!("device-{case}");
    let id = format!("q35/{set}/unix/forward");
    let case = Case::untried(id, "pc-q35-7.2", &set, "unix", Direction::Forward);
    Row {
        trial: trial.clone(),
        ..Row::of(&case)
    }
}

#[test]
fn labels_of_a_made_up_year_are_right() {
    let samples = year();
    assert_eq!(samples.len(), 40_000);
    // Right, given, and due, by label.
    let mut table: BTreeMap<MemoryLabel, [u32; 3]> = BTreeMap::new();
    let mut pasts: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for sample in &samples {
        let past = pasts.entry(sample.case).or_default();
        // Most of a year is the same again: some of it is asked about.
        let is_often = !matches!(
            sample.truth,
            [Some(
                MemoryLabel::Regression | MemoryLabel::Fixed | MemoryLabel::New
            )]
        );
        let is_dull = is_often && !sample.entry.trial.elapsed_ms.is_multiple_of(7);
        if !is_dull {
            let recent = past.len().saturating_sub(crate::history::MOST);
            let label =
                judge(Kind::Case, &past[recent..], &sample.entry).map(|memory| memory.label);
            let right = sample.truth.contains(&label);
            if let Some(label) = label {
                let counts = table.entry(label).or_default();
                counts[0] += u32::from(right);
                counts[1] += 1;
            }
            if let [Some(due)] = sample.truth {
                table.entry(*due).or_default()[2] += 1;
            } else if right && let Some(label) = label {
                table.entry(label).or_default()[2] += 1;
            }
            if !right {
                wrong.push((sample.case, sample.entry.run.day(), sample.truth, label));
            }
        }
        past.push(sample.entry.clone());
    }
    let mut text = String::from("label        given   due  precision  recall\n");
    for (label, [right, given, due]) in &table {
        let of = |all: &u32| f64::from(*right) / f64::from((*all).max(1));
        let (precision, recall) = (of(given), of(due));
        text.push_str(&format!(
            "{label:10}  {given:6}  {due:4}      {precision:.4}  {recall:.4}\n"
        ));
        assert!(
            precision >= 0.99 && recall >= 0.95,
            "{label}: {precision} {recall}\n{text}\n{:?}",
            &wrong[..wrong.len().min(40)]
        );
    }
    assert_eq!(table.len(), 6, "every label occurs");
    insta::assert_snapshot!(text);
}

#[test]
fn a_year_in_a_file_is_what_went_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.db");
    let samples = year();
    let some = &samples[..4 * 500];
    let mut history = History::open(&file, Access::Write).expect("it opens");
    for of_run in some.chunks(4) {
        let rows: Vec<Row> = of_run.iter().map(|s| row(s.case, &s.entry.trial)).collect();
        let run = &of_run[0].entry.run;
        assert_eq!(history.add(run, &rows).expect("added"), Written::Added);
    }
    let again: Vec<Row> = some[..4]
        .iter()
        .map(|s| row(s.case, &s.entry.trial))
        .collect();
    let known = history.add(&some[0].entry.run, &again).expect("added");
    assert_eq!(known, Written::Known, "one run is recorded once");
    drop(history);
    let mut history = History::open(&file, Access::Read).expect("it is there");
    let stats = history.stats().expect("counted");
    assert_eq!(
        (stats.runs, stats.cases, stats.rows),
        (500, CASES as usize, 2000)
    );
    let passed = some.iter().filter(|s| !s.entry.trial.fails());
    assert_eq!(stats.passed, passed.count());
    let key = row(2, &some[0].entry.trial).key;
    let past = history.past(&key, "7.2.22", usize::MAX).expect("read");
    let own = some.iter().filter(|s| s.case == 2).map(|s| s.entry.clone());
    assert_eq!(past, own.collect::<Vec<_>>(), "whole, and in order");
    assert_eq!(
        history.past(&key, "7.2.22", 3).expect("read"),
        past[past.len() - 3..]
    );
    assert_eq!(history.past(&key, "5.2.0", 3).expect("read"), []);
    // Half of it is cut off.
    let middle = some[1000].entry.run.at;
    assert_eq!(history.prune(middle).expect("cut"), 250);
    assert_eq!(history.stats().expect("counted").rows, 1000);
    assert_eq!(history.integrity(), "ok");
}

/// Runs of a second are told apart where their results are the same.
#[test]
fn runs_of_one_second_are_recorded_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut history =
        History::open(&folder.path().join("history.db"), Access::Write).expect("ours");
    let samples = year();
    let rows = [row(samples[0].case, &samples[0].entry.trial)];
    let run = samples[0].entry.run.clone();
    for (at_ms, written) in [
        (250, Written::Added),
        (251, Written::Added),
        (250, Written::Known),
    ] {
        let run = Run {
            at_ms,
            ..run.clone()
        };
        assert_eq!(history.add(&run, &rows).expect("added"), written, "{at_ms}");
    }
    assert_eq!(history.stats().expect("counted").rows, 2);
}
