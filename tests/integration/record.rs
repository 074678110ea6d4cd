//! The record of what is reported on real dumps, each row judged: `fixtures/judged.tsv`.
//!
//! A change in what is found shows here first. Judge every new row by a migration of that device or
//! by QEMU's source before it goes into the record.

use std::collections::BTreeSet;
use std::path::PathBuf;

use macro_rules_attribute::apply;
use migcompat::internals::compare::compare;
use migcompat::internals::rules::judge;
use migcompat::internals::rules::{KnownIssues, Scope};
use migcompat::internals::vmstate::read_dump;
use migcompat::model::Direction;
use migcompat::report::LevelOverrides;
use migcompat::report::{Finding, Level};

/// Columns of the record that the comparison itself gives; judgements follow them.
const COMPARED: usize = 9;

/// The outcomes of a migration, as `fixtures/README.md` explains them.
const OUTCOMES: [&str; 6] = [
    "pass",
    "lost",
    "fail",
    "crash",
    "fail (broken to itself)",
    "not tried",
];

fn row(dump: &str, pair: &str, finding: &Finding) -> String {
    let path = &finding.path[1..];
    let path = if path.is_empty() {
        "-".to_owned()
    } else {
        path.join(" ")
    };
    let allowed = if finding.allowed_by.is_some() {
        "allowed"
    } else {
        "-"
    };
    [
        dump,
        pair,
        &finding.direction.to_string(),
        &finding.section,
        &finding.also_in.len().to_string(),
        &path,
        finding.rule.id(),
        &finding.level.to_string(),
        allowed,
    ]
    .join("\t")
}

/// Findings above a note, of every two versions of every dump. Types that are gone are left out:
/// they say what a build has, not what it sends.
fn reported() -> BTreeSet<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
    let lists = KnownIssues::load(&[]).expect("the shipped lists");
    let versions = ["5.2.0", "7.2.22", "10.0.13", "11.1.3"];
    let short = |version: &str| version.rsplit_once('.').map_or("", |(v, _)| v).to_owned();
    let mut rows = BTreeSet::new();
    for name in [
        "x86_64-q35",
        "x86_64-i440fx",
        "aarch64-virt",
        "ppc64-pseries",
        "s390x-ccw",
        "riscv64-virt",
        "m68k-virt",
    ] {
        let file = |version: &str| root.join(version).join(format!("{name}.json.zst"));
        for (at, old) in versions.iter().enumerate() {
            for new in &versions[at + 1..] {
                if !file(old).exists() || !file(new).exists() {
                    continue;
                }
                let (a, b) = (read_dump(&file(old)), read_dump(&file(new)));
                let (a, b) = (a.expect("a good dump"), b.expect("a good dump"));
                // As `static` runs on the two files: their versions are not known to it.
                let scope = Scope::of(&lists, None, None, a.machine.as_deref());
                let findings = compare(&a, &b, &Direction::BOTH, &scope);
                for finding in judge(findings, &scope, &LevelOverrides::new()) {
                    if finding.level != Level::Note
                        && finding.rule != migcompat::model::Rule::SectionRemoved
                    {
                        let pair = format!("{}-{}", short(old), short(new));
                        rows.insert(row(name, &pair, &finding));
                    }
                }
            }
        }
    }
    rows
}

fn record() -> Vec<Vec<String>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/judged.tsv");
    let text = std::fs::read_to_string(file).expect("the record");
    text.lines()
        .skip(1)
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

#[apply(test)]
fn what_is_reported_on_real_dumps_is_what_was_judged() {
    let judged: BTreeSet<String> = record().iter().map(|r| r[..COMPARED].join("\t")).collect();
    let reported = reported();
    let new: Vec<_> = reported.difference(&judged).collect();
    let gone: Vec<_> = judged.difference(&reported).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "fixtures/judged.tsv: findings without a row, to be judged first: {new:#?}\n\
         rows that no finding has any more, to be taken out if a list or a rule settles them: {gone:#?}"
    );
}

#[apply(test)]
fn every_row_is_judged_and_no_error_is_wrong() {
    for row in record() {
        assert_eq!(row.len(), COMPARED + 3, "{row:?}");
        let [migration, judgement, why] = &row[COMPARED..] else {
            panic!("three columns: {row:?}");
        };
        assert!(OUTCOMES.contains(&migration.as_str()), "{row:?}");
        // What was tried has to fail, or to lose a value.
        assert!(row[7] != "error" || migration != "pass", "{row:?}");
        assert!(["right", "wrong"].contains(&judgement.as_str()), "{row:?}");
        assert!(!why.is_empty(), "{row:?}");
        assert!(
            row[7] != "error" || judgement == "right",
            "a false alarm: {row:?}"
        );
    }
}
