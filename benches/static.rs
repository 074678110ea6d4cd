//! What a dump comparison costs, beside a plain parse of the same files into `serde_json::Value`.
//!
//! `whole` is all the work of `static` on two dumps, which are read at once as it does; it is to stay below 0.9
//! times `plain parse` of one after the other.
//! `linear` makes the dumps 1, 10 and 100 times as large: the time per byte is to stay the same.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use migcompat::internals::compare::compare;
use migcompat::internals::rules::judge;
use migcompat::internals::rules::{KnownIssues, Scope};
use migcompat::internals::vmstate::Dump;
use migcompat::internals::vmstate::parse_dump;
use migcompat::model::Direction;
use migcompat::report::LevelOverrides;

const OLD: &str = "7.2.22/x86_64-q35.json.zst";
const NEW: &str = "11.1.3/x86_64-q35.json.zst";

fn plain_json(name: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/dumps")
        .join(name);
    let packed = std::fs::read(file).expect("the dumps are part of the repository");
    zstd::decode_all(packed.as_slice()).expect("a good file")
}

fn whole(old: &[u8], new: &[u8]) -> usize {
    let (lists, old, new) = std::thread::scope(|scope| {
        let old = scope.spawn(|| parse(old));
        let new = scope.spawn(|| parse(new));
        let lists = KnownIssues::load(&[]).expect("the shipped lists");
        let old = old.join().expect("no panic");
        (lists, old, new.join().expect("no panic"))
    });
    let scope = Scope::of(&lists, None, None, Some("pc-q35-5.2"));
    let findings = compare(&old, &new, &Direction::BOTH, &scope);
    judge(findings, &scope, &LevelOverrides::new()).len()
}

fn parse(bytes: &[u8]) -> Dump {
    parse_dump(bytes, "bench").expect("a good dump")
}

/// The dump with every section repeated under other type names.
fn larger(json: &[u8], times: usize) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(json).expect("a good dump");
    let sections = value.as_object().expect("an object");
    let mut all = serde_json::Map::new();
    for copy in 0..times {
        for (name, section) in sections {
            let name = if copy == 0 {
                name.clone()
            } else {
                format!("{name} {copy}")
            };
            if copy == 0 || !name.starts_with("vmschkmachine") {
                all.insert(name, section.clone());
            }
        }
    }
    serde_json::to_vec_pretty(&all).expect("in memory")
}

fn beside_a_plain_parse(c: &mut Criterion) {
    let (old, new) = (plain_json(OLD), plain_json(NEW));
    let (old_dump, new_dump) = (parse(&old), parse(&new));
    let mut group = c.benchmark_group("static");
    group.throughput(Throughput::Bytes((old.len() + new.len()) as u64));
    group.bench_function("plain parse", |b| {
        b.iter(|| {
            let old: serde_json::Value = serde_json::from_slice(&old).expect("good");
            let new: serde_json::Value = serde_json::from_slice(&new).expect("good");
            black_box((old, new))
        });
    });
    group.bench_function("parse", |b| {
        b.iter(|| black_box((parse(&old), parse(&new))))
    });
    group.bench_function("compare", |b| {
        let lists = KnownIssues::default();
        let scope = Scope::of(&lists, None, None, None);
        b.iter(|| black_box(compare(&old_dump, &new_dump, &Direction::BOTH, &scope)));
    });
    group.bench_function("lists", |b| {
        b.iter(|| black_box(KnownIssues::load(&[]).expect("the shipped lists")));
    });
    group.bench_function("whole", |b| b.iter(|| black_box(whole(&old, &new))));
    group.finish();
}

fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    for times in [1, 10, 100] {
        let old = larger(&plain_json(OLD), times);
        let new = larger(&plain_json(NEW), times);
        group.throughput(Throughput::Bytes((old.len() + new.len()) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(times), &times, |b, _| {
            b.iter(|| black_box(whole(&old, &new)));
        });
    }
    group.finish();
}

criterion_group!(benches, beside_a_plain_parse, linear);
criterion_main!(benches);
