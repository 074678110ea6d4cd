//! A history with a million results: the verdict of one case and of a sweep's 200, what is shown, and one more run.

#![allow(unreachable_pub)]

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use migcompat::internals::history::{
    Access, BuildId, Entry, History, Kind, Purpose, Row, Run, Tester, Trial, judge,
};
use migcompat::model::{Direction, Version};
use migcompat::report::Outcome;

const CASES: usize = 200;
const RUNS: usize = 5000;
/// The earlier results of a case that are looked at.
const MOST: usize = 1000;

fn run(number: usize) -> Run {
    let build = |label: &str, version, hash: String| BuildId {
        label: label.to_owned(),
        version: Some(version),
        hash: Some(hash),
    };
    Run {
        at: 1_767_225_600 + 3600 * number as u64,
        at_ms: 0,
        old: build("debian:bookworm", Version::new(7, 2, 22), "old".to_owned()),
        new: build(
            "nightly",
            Version::new(10, 1, 50),
            format!("new-{}", number / 24),
        ),
        tester: Tester {
            tool: "0.1.0".to_owned(),
            host: format!("host-{}", number % 3),
            ..Tester::default()
        },
        purpose: Purpose::Verdict,
    }
}

/// One case in ten fails now and then.
fn row(case: usize, number: usize) -> Row {
    let fails = case.is_multiple_of(10) && (number * 7919 + case).is_multiple_of(13);
    Row {
        kind: Kind::Case,
        key: format!("pc-q35-7.2 q35/device-{case}/unix/forward"),
        name: format!("q35/device-{case}/unix/forward"),
        machine: "pc-q35-7.2".to_owned(),
        device_set: format!("device-{case}"),
        devices: vec![format!("device-{case}")],
        direction: Direction::Forward,
        transport: "unix".to_owned(),
        trial: Trial {
            outcome: if fails { Outcome::Fail } else { Outcome::Pass },
            section: fails.then(|| format!("section-{case}")),
            field: None,
            rule: None,
            message: fails.then(|| "Missing section footer".to_owned()),
            allowed_by: None,
            failed: u32::from(fails),
            tries: if fails { 3 } else { 1 },
            total_ms: Some(31),
            downtime_ms: Some(12),
            elapsed_ms: number as u64,
        },
    }
}

fn filled(file: &Path) -> History {
    let mut history = History::open(file, Access::Write).expect("it opens");
    for number in 0..RUNS {
        let rows: Vec<Row> = (0..CASES).map(|case| row(case, number)).collect();
        history.add(&run(number), &rows).expect("added");
    }
    history
}

fn verdict(history: &History, case: usize) -> usize {
    let row = row(case, RUNS);
    let past = history.past(&row.key, "7.2.22", MOST).expect("read");
    let now = Entry {
        run: run(RUNS),
        trial: row.trial,
    };
    black_box(judge(Kind::Case, &past, &now)).map_or(0, |memory| memory.runs)
}

fn history(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut history = filled(&folder.path().join("history.db"));
    assert_eq!(history.stats().expect("counted").rows, CASES * RUNS);
    let mut group = criterion.benchmark_group("history of a million results");
    group.sample_size(10);
    group.bench_function("one case", |bencher| bencher.iter(|| verdict(&history, 10)));
    group.bench_function("a sweep of 200 cases", |bencher| {
        bencher.iter(|| {
            (0..CASES)
                .map(|case| verdict(&history, case))
                .sum::<usize>()
        });
    });
    group.bench_function("all results of a case", |bencher| {
        bencher.iter(|| history.of_case(&row(10, 0).key).expect("read").len());
    });
    group.bench_function("counts", |bencher| {
        bencher.iter(|| history.stats().expect("counted"))
    });
    // Equal runs of one second are one: each is another.
    let mut number = RUNS;
    group.bench_function("one more run of 200 cases", |bencher| {
        let rows: Vec<Row> = (0..CASES).map(|case| row(case, RUNS)).collect();
        bencher.iter(|| {
            number += 1;
            history.add(&run(number), &rows).expect("added")
        });
    });
    let whole = folder.path().join("history.db");
    let copy = folder.path().join("copy.db");
    let middle = run(RUNS / 2).at;
    // What is written is in the file itself once nobody has it open.
    drop(history);
    group.bench_function("removal of half a million results", |bencher| {
        bencher.iter_batched_ref(
            || {
                std::fs::copy(&whole, &copy).expect("copied");
                History::open(&copy, Access::Write).expect("it opens")
            },
            |history| history.prune(middle).expect("removed"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, history);
criterion_main!(benches);
