//! The record of what does not migrate between releases, each outcome judged: `fixtures/releases.tsv`.
//!
//! Most of its releases are in no suite of Debian; what Debian has is held against the program here. A new
//! row is judged by QEMU's source or history before it goes into the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{report, root, with_builds};

/// The releases that Debian's suites have, and the suites.
const SUITES: [(&str, &str); 5] = [
    ("5.2.0", "debian:bullseye"),
    ("7.2.22", "debian:bookworm"),
    ("10.0.2", "debian:bookworm-backports"),
    ("10.0.13", "debian:trixie"),
    ("11.1.3", "debian:trixie-backports"),
];

/// Columns that a sweep gives: what failed, and how.
const SWEPT: usize = 7;

/// Our judgements of a row, as `fixtures/README.md` explains them.
const JUDGEMENTS: [&str; 4] = ["break", "deliberate", "defect", "environment"];

#[derive(Debug)]
struct Row {
    /// The machine, the pair, the direction, the device, the outcome, the place and the rule.
    swept: Vec<String>,
    seen: String,
    broke: String,
    mended: String,
    judgement: String,
    why: String,
}

impl Row {
    fn machine(&self) -> &str {
        &self.swept[0]
    }

    fn pair(&self) -> &str {
        &self.swept[1]
    }

    fn device(&self) -> &str {
        &self.swept[3]
    }

    fn is_broken(&self) -> bool {
        self.swept[4] == "broken"
    }
}

fn record() -> Vec<Row> {
    let file = root().join("fixtures/releases.tsv");
    let text = fs::read_to_string(file).expect("the record");
    let row = |line: &str| {
        let mut columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(columns.len(), SWEPT + 5, "{line}");
        let judged = columns.split_off(SWEPT);
        let [seen, broke, mended, judgement, why] = judged.try_into().expect("five columns");
        Row {
            swept: columns,
            seen,
            broke,
            mended,
            judgement,
            why,
        }
    };
    text.lines().skip(1).map(row).collect()
}

#[apply(test)]
fn every_outcome_is_judged_and_none_is_a_false_alarm() {
    let rows = record();
    let distinct: BTreeSet<&[String]> = rows.iter().map(|row| &row.swept[..]).collect();
    assert_eq!(distinct.len(), rows.len(), "a row twice");
    for row in &rows {
        assert!(JUDGEMENTS.contains(&row.judgement.as_str()), "{row:?}");
        assert!(["always", "sometimes"].contains(&&*row.seen), "{row:?}");
        assert!(row.why.len() > 20, "{row:?}");
        for commit in [&row.broke, &row.mended] {
            let is_hash = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_hash || commit == "-", "{row:?}");
        }
        // A build that fails with itself breaks no pair, and what upstream chose has its commit.
        if row.is_broken() {
            assert!(
                ["defect", "environment"].contains(&&*row.judgement),
                "{row:?}"
            );
        }
        if row.judgement == "defect" {
            assert!(row.is_broken(), "{row:?}");
        }
        if row.judgement == "deliberate" {
            assert_ne!(row.broke, "-", "{row:?}");
        }
        // Only of a release after the history at hand is the commit not known.
        let new = row.pair().split_once('-').expect("two releases").1;
        if row.judgement == "break" && row.broke == "-" {
            assert!(new.starts_with("11."), "{row:?}");
        }
    }
}

/// The place of a failure without the address of the device, which its guest decides.
fn place(cause: &Value) -> String {
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(section) = cause["section"].as_str().map(last) else {
        return "-".to_owned();
    };
    match cause["field"].as_str() {
        // A block of memory is called after its device.
        Some(block) if section == "ram" => format!("ram {}", last(block)),
        Some(field) => format!("{section} {field}"),
        None => section,
    }
}

/// The rows that a sweep of these devices gives.
fn swept(pair: &str, machines: &BTreeSet<&str>, devices: &BTreeSet<&str>) -> BTreeSet<Vec<String>> {
    let (old, new) = pair.split_once('-').expect("two releases");
    let suites = BTreeMap::from(SUITES);
    let mut args = vec!["sweep", suites[old], suites[new], "--format", "json", "-q"];
    for machine in machines {
        args.extend(["-M", machine]);
    }
    for device in devices {
        args.extend(["--only", device]);
    }
    let report = report(&with_builds(&args).output().expect("it runs"));
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    // What the dumps and the streams both show is said once.
    let findings = report["findings"].as_array().expect("findings");
    let of = |evidence: &str| {
        let found = findings.iter().filter(|f| f["evidence"] == evidence);
        let key = |f: &Value| [&f["rule"], &f["direction"], &f["path"]].map(Value::to_string);
        found.map(key).collect::<BTreeSet<_>>()
    };
    let twice: Vec<_> = of("dump").intersection(&of("stream")).cloned().collect();
    assert!(twice.is_empty(), "{pair}: {twice:#?}");
    let cases = report["cases"].as_array().expect("cases").iter();
    let failed = cases.filter(|case| !["pass", "skip"].contains(&&*text(&case["outcome"])));
    let row = |case: &Value| {
        vec![
            text(&case["machine"]),
            pair.to_owned(),
            text(&case["direction"]),
            text(&case["device_set"]),
            text(&case["outcome"]),
            place(&case["cause"]),
            text(&case["cause"]["rule"]),
        ]
    };
    failed.map(|case| coarse(&row(case))).collect()
}

/// The same row with no more than the section, where no rule explains the failure: how far the words of a build
/// get before it ends is up to this host.
fn coarse(row: &[String]) -> Vec<String> {
    let mut row = row.to_vec();
    if let [.., place, rule] = &mut row[..]
        && rule == "-"
    {
        *place = place.split(' ').next().unwrap_or_default().to_owned();
    }
    row
}

/// Holds the program to the rows of these pairs and this family of machines.
fn holds(family: &str, wanted: impl Fn(&str, &str) -> bool) {
    let is_debians = |row: &&Row| {
        let (old, new) = row.pair().split_once('-').expect("two releases");
        let has = |version: &str| SUITES.iter().any(|(known, _)| *known == version);
        has(old) && has(new) && wanted(old, new) && row.machine().starts_with(family)
    };
    let rows = record();
    let mut pairs: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    // The usual devices together are in `fixtures/live.tsv`.
    let rows = rows.iter().filter(is_debians);
    for row in rows.filter(|row| row.device() != "default") {
        pairs.entry(row.pair()).or_default().push(row);
    }
    assert!(!pairs.is_empty());
    for (pair, rows) in pairs {
        let machines = rows.iter().map(|row| row.machine()).collect();
        let devices = rows.iter().map(|row| row.device()).collect();
        let found = swept(pair, &machines, &devices);
        let known: BTreeSet<Vec<String>> = rows.iter().map(|row| coarse(&row.swept)).collect();
        let new: Vec<_> = found.difference(&known).collect();
        let always = rows.iter().filter(|row| row.seen == "always");
        let gone: Vec<_> = always
            .filter(|row| !found.contains(&coarse(&row.swept)))
            .collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "fixtures/releases.tsv, {pair}: outcomes without a row, to be judged first: {new:#?}\n\
             rows that no longer come out so: {gone:#?}"
        );
    }
}

#[apply(test)]
#[needs(Builds)]
fn neighbouring_releases_fail_as_judged() {
    holds("pc-q35-", |old, new| {
        let at = |version| SUITES.iter().position(|(known, _)| *known == version);
        at(old)
            .zip(at(new))
            .is_some_and(|(old, new)| new - old == 1)
    });
}

#[apply(test)]
#[needs(Builds)]
fn long_hops_fail_as_judged() {
    holds("pc-q35-", |old, new| {
        new == "11.1.3" && ["5.2.0", "7.2.22"].contains(&old)
    });
    holds("pc-i440fx-", |old, new| (old, new) == ("7.2.22", "11.1.3"));
}
