//! The map of many builds: the same as a sweep of each pair, drawn as one table, and joined from shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use macro_rules_attribute::apply;
use regex::Regex;
use serde_json::Value;

use crate::common::{
    changed, dump, follows, follows_the_schema, migcompat, report, root, script, stderr, stdout,
    with_builds, words,
};

/// Debian's builds, the oldest first.
const SUITES: [&str; 5] = [
    "debian:bullseye",
    "debian:bookworm",
    "debian:bookworm-backports",
    "debian:trixie",
    "debian:trixie-backports",
];

/// Devices that break between some of them, and one that does not.
const DEVICES: [&str; 6] = [
    "am53c974",
    "e1000",
    "ipmi-bmc-sim",
    "sb16",
    "sd-card",
    "virtio-rng-pci",
];

fn mapped(builds: &[&str], more: &[&str]) -> Output {
    let mut args = vec!["map"];
    args.extend(builds);
    args.extend(["-M", "q35"]);
    args.extend(DEVICES.iter().flat_map(|device| ["--only", device]));
    args.extend(more);
    with_builds(&args).output().expect("it starts")
}

/// The map that a run with `--format json` wrote, held against the schemas of it and of its reports.
fn map(output: &Output) -> Value {
    let map: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)));
    follows(migcompat::report::render::map::SCHEMA, &map);
    for pair in map["pairs"].as_array().expect("pairs") {
        follows_the_schema(&pair["report"]);
    }
    map
}

/// What came of each case, without times, logs and places in a stream, whose memory is another each time.
fn outcomes(report: &Value) -> BTreeMap<String, Value> {
    let cases = report["cases"].as_array().expect("cases").iter();
    cases
        .map(|case| {
            let keys = ["machine", "outcome", "control", "allowed_by", "devices"];
            let mut told = keys.map(|key| case[key].clone()).to_vec();
            let keys = ["side", "phase", "kind", "section", "field", "rule"];
            told.extend(keys.map(|key| case["cause"][key].clone()));
            (case["id"].to_string(), Value::from(told))
        })
        .collect()
}

fn findings(report: &Value) -> Vec<Value> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let mut told: Vec<Value> = findings
        .map(|finding| {
            let keys = ["id", "level", "message", "confirmed_by"];
            Value::from(keys.map(|key| finding[key].clone()).to_vec())
        })
        .collect();
    told.sort_by_key(Value::to_string);
    told
}

#[apply(test)]
#[needs(Builds)]
fn the_map_of_every_build_of_debian() {
    let output = mapped(&SUITES, &["--all-pairs"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    // The time is another each run, and so is the memory in a stream.
    let time = Regex::new(r"offset \d+|\d+\.\d s$").expect("a pattern");
    insta::assert_snapshot!(time.replace_all(text.trim_end(), "…"));
}

#[apply(test)]
#[needs(Builds)]
fn a_pair_of_a_map_is_what_a_sweep_of_it_finds() {
    let map = map(&mapped(&SUITES[1..], &["-q", "--format", "json"]));
    let pairs = map["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 3);
    for (at, pair) in pairs.iter().enumerate() {
        let mut args = vec!["sweep", SUITES[at + 1], SUITES[at + 2], "-M", "q35", "-q"];
        args.extend(DEVICES.iter().flat_map(|device| ["--only", device]));
        args.extend(["--format", "json"]);
        let swept = report(&with_builds(&args).output().expect("it starts"));
        let found = &pair["report"];
        assert_eq!(outcomes(found), outcomes(&swept), "{at}");
        assert_eq!(findings(found), findings(&swept), "{at}");
        for key in ["verdict", "machine", "old", "new", "coverage", "policy"] {
            assert_eq!(found[key], swept[key], "{at} {key}");
        }
        let hashes = ["old_hash", "new_hash"].map(|key| found["run"][key].clone());
        assert_eq!(
            hashes,
            ["old_hash", "new_hash"].map(|key| swept["run"][key].clone())
        );
    }
    let rows = map["rows"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["case"] == "q35/am53c974/unix/forward");
    let change = &row.expect("it breaks")["changes"][0];
    assert_eq!(
        (&change["broke"], &change["from"]),
        (&1.into(), &serde_json::json!([0]))
    );
    let cause = change["cause"].as_u64().expect("a cause") as usize;
    assert_eq!(map["causes"][cause]["field"], "esp/drq_state");
}

#[apply(test)]
#[needs(Builds)]
fn shards_of_a_map_are_joined_into_the_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let builds = &SUITES[1..4];
    let whole = map(&mapped(builds, &["-q", "--format", "json"]));
    let saved = |name: &str, builds: &[&str], shard: &str| {
        let file = folder.path().join(name).display().to_string();
        let more = ["--shard", shard, "-q", "--format", "json", "-o", &file];
        let output = mapped(builds, &more);
        assert!(Path::new(&file).exists(), "{}", stderr(&output));
        file
    };
    let (one, two) = (
        saved("1.json", builds, "1/2"),
        saved("2.json", builds, "2/2"),
    );
    let output = migcompat(&["merge", &one, &two, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let merged = map(&output);
    for key in ["builds", "verdict"] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    let rows = |map: &Value| -> BTreeMap<String, Value> {
        let rows = map["rows"].as_array().expect("rows").iter();
        let outcome = |cell: &Value| cell["outcome"].clone();
        rows.map(|row| {
            let cells = row["cells"].as_array().expect("cells").iter().map(outcome);
            (row["case"].to_string(), cells.collect())
        })
        .collect()
    };
    assert_eq!(rows(&merged), rows(&whole));
    for (joined, pair) in [&merged, &whole].map(|map| map["pairs"].as_array().expect("pairs"))[0]
        .iter()
        .zip(whole["pairs"].as_array().expect("pairs"))
    {
        assert_eq!(outcomes(&joined["report"]), outcomes(&pair["report"]));
    }
    let page = migcompat(&["merge", &one, &two, "--format", "html"]);
    let page = stdout(&page);
    assert!(page.contains("<th scope=\"row\">q35/am53c974/unix/forward</th>"));
    // When and how the maps were made, of which this is one.
    assert!(
        page.contains("<p class=\"run\">") && page.contains("--shard 1/2 -q"),
        "{page}"
    );
    // One that is missing leaves the map open, and what is of another run is refused.
    let other = saved("3.json", &SUITES[2..5], "2/2");
    let report = folder.path().join("report.json").display().to_string();
    let static_check = ["7.2.22", "10.0.13"].map(|version| dump(version, "x86_64-q35"));
    let [old, new] = &static_check;
    migcompat(&["static", old, new, "--format", "json", "-o", &report]);
    for (files, status, words) in [
        (vec![&one], 125, "missing"),
        (vec![&one, &one], 2, "1.json"),
        (vec![&one, &other], 2, "other builds"),
        (vec![&one, &report], 2, "migcompat-report-1"),
        (vec![&report, &one], 2, "migcompat-map-1"),
    ] {
        let files: Vec<&str> = files.iter().map(|file| file.as_str()).collect();
        let refused = migcompat(&[&["merge"][..], &files].concat());
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(status), "{words}: {told}");
        assert!(told.contains(words), "{words}: {told}");
    }
    let partial = migcompat(&["merge", &two, "--partial"]);
    let text = stdout(&partial);
    assert!(text.contains("shard 1/2 is missing"), "{text}");
    // A report of two builds is no baseline; a map is, of which nothing is new.
    let merge = |more: &[&str]| migcompat(&[&["merge", &one, &two][..], more].concat());
    assert_eq!(merge(&["--baseline", &report]).status.code(), Some(2));
    let saved = folder.path().join("whole.json").display().to_string();
    fs::write(&saved, whole.to_string()).expect("written");
    let same = merge(&["--baseline", &saved, "--gate", "new", "--format", "json"]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let cells = map(&same)["rows"][0]["cells"].to_string();
    assert!(
        cells.contains("\"same\"") && !cells.contains("\"new\""),
        "{cells}"
    );
}

/// A pair that cannot be tried does not end the others, and says so in every format; a baseline is of each pair.
#[apply(test)]
#[needs(Builds)]
fn every_format_has_each_pair_and_a_baseline_is_an_earlier_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| fs::read_to_string(place(name)).expect(name);
    // It can be asked, and moves no guest with any accelerator.
    let first = "case \"$*\" in *\"-accel qtest\"*) ;; *-accel*) exit 1;; esac";
    let idle = changed(folder.path(), SUITES[3], first);
    let builds = [SUITES[1], SUITES[3], &idle];
    let run = |builds: &[&str], more: &[&str]| {
        let what = [
            "-q", "-M", "q35", "--only", "am53c974", "--accel", "kvm,tcg",
        ];
        let args = [&["map"][..], builds, &what, more].concat();
        with_builds(&args).output().expect("it starts")
    };
    let names = [
        "map.json",
        "a.xml",
        "a.sarif",
        "a.codequality.json",
        "a.md",
        "a.html",
        "a.txt",
    ];
    let places = names.map(&place);
    let mut outputs: Vec<&str> = places.iter().flat_map(|name| ["-o", name]).collect();
    let events = place("events");
    outputs.extend(["--events", &events]);
    let output = run(&builds, &outputs);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output);
    let last = told.lines().last().expect("the verdict");
    assert!(
        last.starts_with("incompatible: 3 builds, 2 pairs (1 could not be tested): "),
        "{told}"
    );
    assert_eq!(stdout(&output), "");
    let saved: Value = serde_json::from_str(&read("map.json")).expect("JSON");
    follows(migcompat::report::render::map::SCHEMA, &saved);
    let verdicts = [0, 1].map(|at| saved["pairs"][at]["report"]["verdict"].clone());
    assert_eq!(verdicts, ["incompatible", "untested"]);

    let junit = junit_parser::from_reader(read("a.xml").as_bytes()).expect("it is read");
    let suites: Vec<&str> = junit
        .suites
        .iter()
        .map(|suite| suite.name.as_str())
        .collect();
    assert_eq!(suites.len(), 3, "{suites:?}");
    assert!(
        suites[0].starts_with("7.2.") && suites[0].ends_with(": comparison"),
        "{suites:?}"
    );
    assert!(
        junit.failures >= 2 && junit.suites[2].skipped == 1,
        "{}",
        read("a.xml")
    );
    assert!(
        read("a.xml").contains("were not tested"),
        "{}",
        read("a.xml")
    );
    let sarif: serde_sarif::sarif::Sarif = serde_json::from_str(&read("a.sarif")).expect("SARIF");
    let ids = sarif
        .runs
        .iter()
        .map(|run| run.automation_details.as_ref()?.id.clone());
    let ids: BTreeSet<String> = ids.map(|id| id.expect("a name")).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let issues: Value = serde_json::from_str(&read("a.codequality.json")).expect("JSON");
    let issues = issues.as_array().expect("issues");
    let own: BTreeSet<String> = issues
        .iter()
        .map(|of| of["fingerprint"].to_string())
        .collect();
    assert!(own.len() == issues.len() && own.len() >= 2, "{issues:?}");
    for (name, words) in [
        ("a.md", "nothing was tried"),
        ("a.html", "were not tested"),
        ("a.html", "--only am53c974 --accel"),
        ("a.txt", "no guest can be moved with"),
    ] {
        assert!(read(name).contains(words), "{name}: {}", read(name));
    }
    let logged = read("events");
    assert!(logged.contains("\"event\":\"machine-swept\""), "{logged}");
    let last = logged.lines().last().expect("the end");
    assert!(
        last.contains("\"verdict\":\"incompatible\",\"status\":1"),
        "{last}"
    );
    for line in logged.lines() {
        let schema = fs::read_to_string(root().join("events-schema.json")).expect("a schema");
        follows(&schema, &serde_json::from_str(line).expect("JSON"));
    }
    let saved = place("map.json");
    let log = migcompat(&["render", &saved, "--format", "github"]);
    assert_eq!(log.status.code(), Some(1));
    assert!(
        stdout(&log).lines().all(|line| line.starts_with("::")),
        "{}",
        stdout(&log)
    );
    let entries = migcompat(&["render", &saved, "--suggest"]);
    assert!(stdout(&entries).contains("FILL IN"), "{}", stdout(&entries));

    // What was there before does not count, and a pair that was not is new.
    let gate = ["--baseline", &saved, "--gate", "new"];
    let same = run(&builds[..2], &gate);
    assert_eq!(
        same.status.code(),
        Some(0),
        "{}{}",
        stdout(&same),
        stderr(&same)
    );
    assert!(stdout(&same).contains(": 0 new, "), "{}", stdout(&same));
    let other = run(&[SUITES[1], SUITES[4]], &gate);
    assert_eq!(other.status.code(), Some(1), "{}", stderr(&other));
    assert!(stdout(&other).contains("], new\n"), "{}", stdout(&other));
    let without = run(&builds, &[&gate[2..], &["--exclude", "x"]].concat());
    assert_eq!(without.status.code(), Some(2), "{}", stderr(&without));

    // One that is left out on purpose is in no pair; a pattern that none has is told.
    let reason = "not ours";
    let patterns = words!("--exclude q35/am53c974/* --exclude nosuch -v");
    let excluded = [&patterns[..], &["--reason", reason]].concat();
    let args = [
        &["map"][..],
        &builds[..2],
        &["-M", "q35", "--only", "am53c974"],
        &excluded,
    ]
    .concat();
    let left = with_builds(&args).output().expect("it starts");
    let told = stdout(&left);
    assert!(!told.contains("am53c974/unix"), "{told}");
    // Findings go on counting, and a pair that no case is against says so.
    assert!(
        told.contains("0 of 4 cases fail, 2 errors, pc-q35-7.2"),
        "{told}"
    );
    assert!(
        told.contains("0 of 2 migration cases fail, 2 errors, "),
        "{told}"
    );
    assert!(
        told.contains("no case is excluded by nosuch: not ours"),
        "{told}"
    );
    assert!(!told.contains("no case is excluded by q35"), "{told}");
}

#[apply(test)]
#[needs(Builds)]
fn a_build_that_does_not_start_leaves_its_pairs_untested() {
    let folder = tempfile::tempdir().expect("a folder");
    let dead = script(folder.path(), "qemu-<b>x", "exit 3");
    let builds = [SUITES[2], SUITES[3], &dead];
    let history = folder.path().join("history.db").display().to_string();
    let options = words!("--only virtio-rng-pci -M q35 --history {history}");
    let run = |more: &[&str]| {
        let args = [&["map"][..], &builds, &options, more].concat();
        with_builds(&args).output().expect("it starts")
    };
    let output = run(&["-q", "--format", "json"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let found = map(&output);
    let verdicts = ["compatible", "untested"];
    for (pair, verdict) in found["pairs"]
        .as_array()
        .expect("pairs")
        .iter()
        .zip(verdicts)
    {
        assert_eq!(pair["report"]["verdict"], verdict);
    }
    let notices = &found["pairs"][1]["report"]["notices"];
    assert_eq!(notices[0]["kind"], "pair-not-tested", "{notices}");
    // Every format says so, and no name of a build becomes markup.
    let page = run(&["--format", "html"]);
    let page = stdout(&page);
    assert!(
        page.contains("were not tested") && !page.contains("<b>x"),
        "{page}"
    );
    let text = stdout(&run(&["-q"]));
    assert!(text.contains("were not tested"), "{text}");
    let stats = migcompat(&["history", "stats", "--history", &history]);
    assert!(stdout(&stats).contains("6 runs"), "{}", stdout(&stats));
    // What no pair has is wrong usage.
    for (more, words) in [
        (["--only", "virtio-rgn-pci"], "virtio-rgn-pci"),
        (["-M", "q36"], "q36"),
    ] {
        let refused = run(&more);
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{words}: {}",
            stderr(&refused)
        );
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}

/// Bullseye has no machine type of 7.2.
#[apply(test)]
#[needs(Builds)]
fn a_pair_without_a_common_machine_type_says_so() {
    let args = words!("map debian:bullseye debian:bookworm debian:trixie -M pc-q35-7.2 --only edu");
    let said = stdout(&with_builds(&args).output().unwrap());
    let line = said.lines().find(|line| line.contains("untested"));
    let wanted = "nothing was tried: the old build (5.2.0) has no machine type pc-q35-7.2";
    assert!(line.is_some_and(|line| line.contains(wanted)), "{said}");
}

/// Each build has the type of its side, whichever pair it is in; bullseye has neither.
#[apply(test)]
#[needs(Builds)]
fn machine_types_of_two_names_are_mapped() {
    let pair = "pc-q35-7.1=pc-q35-7.2";
    let args = words!(
        "map debian:bullseye debian:bookworm debian:bookworm debian:trixie -M {pair} -M q35 --only e1000 --only virtio-rng-pci \
         -q --format json"
    );
    let map = map(&with_builds(&args).output().expect("it starts"));
    let [first, same, last] = &map["pairs"].as_array().expect("pairs")[..] else {
        panic!("{map:#}");
    };
    let of = |pair: &Value, id: &str| outcomes(&pair["report"]).get(&format!("{id:?}")).cloned();
    let bare = of(first, &format!("{pair}/bare/unix/forward")).expect("a case");
    assert_eq!(
        (&bare[0], &bare[1]),
        (&Value::from(pair), &Value::from("skip"))
    );
    for tried in [same, last] {
        let found = of(tried, &format!("{pair}/virtio-rng-pci/unix/forward")).expect("a case");
        assert_eq!(
            (&found[0], &found[1]),
            (&Value::from(pair), &Value::from("fail"))
        );
        let e1000 = of(tried, &format!("{pair}/e1000/unix/forward")).expect("a case");
        assert_eq!(e1000[1], "pass");
    }
    // The other machine has one row in all pairs of builds.
    for tried in [first, same, last] {
        let plain = of(tried, "q35/virtio-rng-pci/unix/forward").expect("a case");
        assert_eq!(plain[1], "pass");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_pair_of_builds_without_a_machine_type_of_its_side_says_so() {
    let map = |pair: &str| {
        let args =
            words!("map debian:bullseye debian:bookworm debian:trixie -M {pair} --only e1000");
        let output = with_builds(&args).output().expect("it starts");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let (status, said) = map("pc-q35-7.1=pc-q35-7.2");
    assert_eq!(status, Some(125), "{said}");
    let untested = "nothing was tried: the old build (5.2.0) has no machine type pc-q35-7.1;";
    assert!(said.contains(untested), "{said}");
    assert!(
        said.contains("0 of 4 cases fail, pc-q35-7.1=pc-q35-7.2"),
        "{said}"
    );
    let (status, said) = map("pc-q35-7.1=pc-q53");
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("no machine type pc-q53"), "{said}");
}

#[apply(test)]
fn a_map_needs_builds() {
    let [old, new] = ["old", "new"].map(|side| format!("fixtures/rules/field-added/{side}.json"));
    for (builds, words) in [
        (vec!["/bin/true"], "two or more"),
        (vec!["/bin/true", "./none"], "no such file"),
        (vec![&old, &new], "cannot be run"),
    ] {
        let refused = migcompat(&[&["map"][..], &builds].concat());
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{words}: {}",
            stderr(&refused)
        );
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}
