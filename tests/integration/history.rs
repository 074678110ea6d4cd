//! The history: runs recorded by many processes, some of which are killed, and what it makes of a result.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use macro_rules_attribute::apply;
use migcompat::model::Direction;
use migcompat::report::{Case, MemoryLabel, Outcome, Report, RunRecord};

use crate::common::{
    build, changed, dump, follows_the_schema, migcompat, program, report, script, stderr, stdout,
    wait_until, with_builds, words,
};
use crate::processes::losing;

/// Runs that each process records.
const RUNS: usize = 5000;

/// A report of one case, of a run that began that many seconds after another.
pub fn saved(folder: &Path, process: usize, run: usize) -> String {
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let build = |label: String| migcompat::model::BuildRef {
        label,
        kind: migcompat::model::BuildKind::Binary,
        version: None,
    };
    let minute = process * RUNS + run;
    let id = format!("q35/device-{}/unix/forward", run % 7);
    let case = Case {
        outcome: Outcome::Pass,
        ..Case::untried(id, "pc-q35-7.2", "device", "unix", Direction::Forward)
    };
    let report = Report {
        cases: vec![case],
        run: Some(RunRecord {
            started: format!(
                "2026-{:02}-{:02}T{:02}:{:02}:00Z",
                1 + minute / 1440 / 28,
                1 + minute / 1440 % 28,
                minute / 60 % 24,
                minute % 60
            ),
            host: format!("host-{process}"),
            ..RunRecord::default()
        }),
        ..Report::new(build(rule("old")), build(rule("new")), None)
    };
    let file = folder.join(format!("{process}-{run}.json"));
    fs::write(&file, serde_json::to_vec(&report).expect("JSON")).expect("written");
    file.display().to_string()
}

fn importer(history: &str, reports: &[String]) -> Child {
    let mut command = program(&["history", "import", "--history", history]);
    command.args(reports).stdout(Stdio::piped());
    command.spawn().expect("it starts")
}

/// The reports of which the process says that they are recorded, as long as it lives.
fn acknowledged(child: &mut Child) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // The last line of a process that was killed may be half of one.
    let lines = lines.map_while(Result::ok);
    let words = lines.filter_map(|line| {
        let (word, file) = line.split_once(' ')?;
        assert!(["added", "known"].contains(&word), "{line}");
        Path::new(file).exists().then(|| file.to_owned())
    });
    words.collect()
}

#[apply(test)]
fn two_processes_record_at_once_and_one_that_is_killed_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    let reports = [0, 1].map(|process| -> Vec<String> {
        (0..RUNS)
            .map(|run| saved(folder.path(), process, run))
            .collect()
    });
    let [steady, killed] = reports;
    let mut other = importer(&history, &steady);
    let reader = std::thread::spawn(move || {
        let told = acknowledged(&mut other);
        assert!(other.wait().expect("it ends").success());
        told
    });
    // Killed after a time that differs, until it has come through.
    let mut left = killed.clone();
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut kills = 0;
    let mut patience = 40_u64;
    while !left.is_empty() {
        let mut child = importer(&history, &left);
        if kills < 20 {
            patience = 20 + (patience * 1_103_515_245 + 12_345) % 120;
            std::thread::sleep(Duration::from_millis(patience));
            // SIGKILL: nothing in the process learns of it.
            child.kill().expect("ours");
            kills += 1;
        }
        told.extend(acknowledged(&mut child));
        let ended = child.wait().expect("it ends");
        left.retain(|report| !told.contains(report));
        assert!(kills < 20 || !ended.success() || left.is_empty());
    }
    // A fast host may be done before the last one.
    assert!(kills >= 5, "{kills}");
    let others = reader.join().expect("no panic");
    assert_eq!(others.len(), RUNS);
    assert_eq!(told.len(), RUNS);

    // All that was acknowledged is there, each once.
    let stats = migcompat(&["history", "stats", "--history", &history]);
    let text = stdout(&stats);
    let wanted = format!("{} runs from 2026-01-01 to ", 2 * RUNS);
    assert!(text.starts_with(&wanted), "{text} {}", stderr(&stats));
    let export = migcompat(&["history", "export", "--history", &history]);
    let lines: BTreeSet<String> = stdout(&export).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2 * RUNS);
    let file = rusqlite::Connection::open(&history).expect("it opens");
    let sound: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(sound, "ok");
}

#[apply(test)]
fn a_history_is_filled_from_reports_shown_and_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    let reports: Vec<String> = (0..3)
        .map(|run| saved(folder.path(), 0, 1440 * run))
        .collect();
    let run = |args: &[&str]| migcompat(&[args, &["--history", &history]].concat());
    let missing = run(&["history", "stats"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        stderr(&missing).contains("there is no history"),
        "{}",
        stderr(&missing)
    );
    let files: Vec<&str> = reports.iter().map(String::as_str).collect();
    let added = run(&[&["history", "import"], &files[..]].concat());
    assert_eq!(
        stdout(&added).matches("added ").count(),
        3,
        "{}",
        stderr(&added)
    );
    let again = run(&[&["history", "import"], &files[..]].concat());
    assert_eq!(stdout(&again).matches("known ").count(), 3);
    let shown = stdout(&run(&["history", "show", "q35/*"]));
    assert!(shown.contains("2026-01-02T00:00:00Z  pass"), "{shown}");
    assert_eq!(run(&["history", "show", "pc/*"]).status.code(), Some(2));
    let cut = stdout(&run(&["history", "prune", "--before", "2026-01-03"]));
    assert_eq!(cut, "2 runs before 2026-01-03 removed\n");
    let stats = stdout(&run(&["history", "stats"]));
    assert!(
        stats.starts_with("1 run from 2026-01-03 to 2026-01-03, 1 case,"),
        "{stats}"
    );
    let cut = stdout(&run(&["history", "prune", "--before", "2026-01-04"]));
    assert_eq!(cut, "1 run before 2026-01-04 removed\n");
    // What is no history is left as it is.
    let other = folder.path().join("other.json");
    fs::write(&other, "{}").expect("written");
    let refused = migcompat(&[
        "history",
        "stats",
        "--history",
        &other.display().to_string(),
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&other).expect("there"), "{}");
}

#[apply(test)]
fn regressions_can_be_told_only_beside_a_history() {
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let compared =
        ["static", &rule("old"), &rule("new"), "--gate", "regression"].map(str::to_owned);
    let args: Vec<&str> = compared.iter().map(String::as_str).collect();
    let output = migcompat(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("beside a history"),
        "{}",
        stderr(&output)
    );
    let live = words!("live /bin/false /bin/false -M q35 --gate regression");
    let output = migcompat(&live);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--history"), "{}", stderr(&output));
}

/// A build that has another intel-hda than its release.
fn without_msi(folder: &Path) -> String {
    let first = "set -- -global intel-hda.msi=off \"$@\"";
    changed(folder, "debian:trixie", first)
}

#[apply(test)]
#[needs(Builds)]
fn a_case_that_passed_with_an_earlier_build_is_a_regression_and_one_that_never_did_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    let changed = without_msi(folder.path());
    let run_with = |new: &str, device: &str, history: &str, more: &[&str]| {
        let live = words!("live debian:bookworm {new} -M q35 --paused --direction forward");
        let one = ["--device", device, "--retries", "1", "--format", "json"];
        let memory = ["--history", history, "--gate", "regression"];
        let output = with_builds(&[&live[..], &one, &memory, more].concat()).output();
        let output = output.expect("it starts");
        let text = output.stdout.clone();
        let report = report(&output);
        follows_the_schema(&report);
        let case = report["cases"][0].clone();
        (
            case["outcome"].clone(),
            case["memory"]["label"].clone(),
            output.status.code(),
            text,
        )
    };
    let run = |new: &str, device: &str| {
        let (outcome, label, status, _) = run_with(new, device, &history, &[]);
        (outcome, label, status)
    };
    // It breaks between the two, and always did.
    let (outcome, label, status) = run("debian:trixie", "am53c974");
    assert_eq!(
        (outcome, label, status),
        ("fail".into(), "new".into(), Some(0))
    );
    let (_, label, status) = run("debian:trixie", "am53c974");
    assert_eq!((label, status), ("known".into(), Some(0)));
    // This one passed until one property was changed.
    let (outcome, label, status) = run("debian:trixie", "intel-hda");
    assert_eq!(
        (outcome, label, status),
        ("pass".into(), serde_json::Value::Null, Some(0))
    );
    let (outcome, label, status) = run(&changed, "intel-hda");
    assert_eq!(
        (outcome, label, status),
        ("fail".into(), "regression".into(), Some(1))
    );
    let (_, label, _) = run("debian:trixie", "intel-hda");
    assert_eq!(label, "fixed");
    let shown = migcompat(&["history", "show", "*ad-hoc*", "--history", &history]);
    assert!(
        stdout(&shown).contains("fixed: it failed with "),
        "{}",
        stdout(&shown)
    );
    // Without any history, a baseline is the run before.
    let first = folder.path().join("first.db").display().to_string();
    let (.., saved) = run_with("debian:trixie", "intel-hda", &first, &[]);
    let baseline = folder.path().join("baseline.json");
    fs::write(&baseline, saved).expect("written");
    let baseline = baseline.display().to_string();
    let none = folder.path().join("none.db").display().to_string();
    let (_, label, status, _) = run_with(&changed, "intel-hda", &none, &["--baseline", &baseline]);
    assert_eq!((label, status), ("regression".into(), Some(1)));
}

/// What a new build does not do to itself either is no break between the two, and one of it all the same.
#[apply(test)]
#[needs(Builds)]
fn a_new_build_that_loses_what_it_sent_itself_and_an_earlier_one_held_is_a_regression() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [history, baseline, found] = ["history.db", "baseline.json", "found.json"].map(file);
    let losing = losing(folder.path(), "debian:bookworm");
    let run = |command: &str, new: &str, more: &[&str]| {
        let args = words!("{command} debian:bookworm {new} -M q35 --direction forward");
        let output = with_builds(&[&args[..], more].concat()).output();
        output.expect("it starts")
    };
    for (command, what, without) in [
        ("live", words!("--device-set bare --paused"), 125),
        // Beside it the device passes.
        ("sweep", words!("--only virtio-rng-pci"), 0),
    ] {
        let memory = ["--history", &history, "--gate", "regression"];
        let saved = ["--format", "json", "-o"];
        let more = [&what[..], &memory, &saved].concat();
        let first = run(
            command,
            "debian:bookworm",
            &[&more[..], &[&baseline]].concat(),
        );
        assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
        let second = run(command, &losing, &[&more[..], &[&found]].concat());
        assert_eq!(second.status.code(), Some(1), "{}", stderr(&second));
        let report: Report =
            serde_json::from_slice(&fs::read(&found).expect("written")).expect("a report");
        let case = &report.cases[0];
        let label = case.memory.as_ref().map(|memory| memory.label);
        assert_eq!(
            (case.outcome, label),
            (Outcome::Broken, Some(MemoryLabel::Regression))
        );
        let junit = stdout(&migcompat(&["render", &found, "--format", "junit"]));
        assert!(junit.contains("type=\"broken\""), "{junit}");
        // Without a history nothing says that it ever held.
        let alone = run(command, &losing, &what);
        assert_eq!(alone.status.code(), Some(without), "{}", stderr(&alone));
    }
    // Beside a baseline it is new, and the entry for it, once it is filled in, excuses it.
    let what = words!("--only virtio-rng-pci");
    let beside = [&what[..], &["--baseline", &baseline, "--gate", "new"]].concat();
    let new = run("sweep", &losing, &[&beside[..], &["--suggest"]].concat());
    assert_eq!(new.status.code(), Some(1), "{}", stderr(&new));
    let lists = file("lists");
    fs::create_dir(&lists).expect("made");
    let filled = stdout(&new).replace("FILL IN", "2099-12-31");
    fs::write(Path::new(&lists).join("own.toml"), filled).expect("written");
    let excused = run(
        "sweep",
        &losing,
        &[&beside[..], &["--lists", &lists]].concat(),
    );
    assert_eq!(excused.status.code(), Some(0), "{}", stderr(&excused));
}

#[apply(test)]
fn a_lock_holds_the_lists_and_a_run_that_differs_has_to_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let lock = folder.path().join("freeze.lock").display().to_string();
    let lists = folder.path().join("lists");
    fs::create_dir(&lists).expect("made");
    let lists = lists.display().to_string();
    let run = |more: &[&str]| {
        let compared = [
            "static",
            &rule("old"),
            &rule("new"),
            "--lists",
            &lists,
            "--format",
            "json",
        ];
        let compared = compared.map(str::to_owned);
        let args: Vec<&str> = compared.iter().map(String::as_str).collect();
        migcompat(&[&args[..], &["--lock", &lock], more].concat())
    };
    let first = run(&[]);
    assert_eq!(first.status.code(), Some(1), "{}", stderr(&first));
    assert!(
        fs::read_to_string(&lock)
            .expect("made")
            .contains("device_sets")
    );
    assert_eq!(run(&[]).status.code(), Some(1), "nothing differs");
    fs::write(format!("{lists}/own.toml"), "# a list with nothing in it").expect("written");
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let words = stderr(&refused);
    assert!(
        words.contains("the lists (") && words.contains("--ack"),
        "{words}"
    );
    let told = report(&run(&["--ack", "a list was split"]));
    let notice = &told["notices"][0];
    assert_eq!(notice["kind"], "lock-differs");
    let detail = notice["detail"].as_str().expect("a text");
    assert!(
        detail.ends_with("acknowledged: a list was split"),
        "{detail}"
    );
    fs::write(&lock, "no = 'lock'").expect("written");
    let malformed = run(&[]);
    assert_eq!(malformed.status.code(), Some(2));
    assert!(
        stderr(&malformed).contains("is no lock"),
        "{}",
        stderr(&malformed)
    );
}

#[apply(test)]
fn findings_have_a_history_and_can_be_regressions() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    let (old, new) = (dump("7.2.22", "x86_64-q35"), dump("10.0.13", "x86_64-q35"));
    let run = |new: &str| {
        // Equal results of one second are one run.
        std::thread::sleep(Duration::from_millis(1100));
        let memory = words!("--history {history} --gate regression --format json");
        let output = migcompat(&[&["static", &old, new][..], &memory].concat());
        (report(&output), output.status.code())
    };
    let labels = |report: &serde_json::Value| -> BTreeSet<String> {
        let findings = report["findings"].as_array().expect("a list").iter();
        let above = findings.filter(|finding| finding["level"] != "note");
        // A list knows some.
        let above = above.filter(|finding| finding["allowed_by"].is_null());
        let labels = above.map(|finding| finding["memory"]["label"].to_string());
        labels.collect()
    };
    let only = |label: &str| BTreeSet::from([format!("{label:?}")]);
    let (first, status) = run(&new);
    assert_eq!((labels(&first), status), (only("new"), Some(0)));
    let (second, status) = run(&new);
    assert_eq!((labels(&second), status), (only("known"), Some(0)));

    // One field more, where nothing was found before.
    let packed = fs::read(crate::common::root().join(&new)).expect("the dump");
    let text = zstd::decode_all(packed.as_slice()).expect("zstd");
    let mut changed: serde_json::Value = serde_json::from_slice(&text).expect("a dump");
    let fields = changed["i8042"]["Description"]["Fields"].as_array_mut();
    let field =
        serde_json::json!({"field": "one_more", "version_id": 0, "field_exists": false, "size": 4});
    fields.expect("the fields").insert(1, field);
    let changed_file = folder.path().join("changed.json").display().to_string();
    fs::write(&changed_file, changed.to_string()).expect("written");
    let (broken, status) = run(&changed_file);
    assert_eq!(status, Some(1));
    let findings = broken["findings"].as_array().expect("a list").iter();
    let worse = findings.filter(|finding| finding["memory"]["label"] == "regression");
    let worse: Vec<&serde_json::Value> = worse.collect();
    let ids: Vec<&str> = worse.iter().filter_map(|one| one["id"].as_str()).collect();
    let wanted =
        ["forward", "backward"].map(|way| format!("{way}/field-added/i8042/pckbd/one_more"));
    assert_eq!(ids, wanted);
    let evidence = worse[0]["memory"]["evidence"].as_str().expect("a sentence");
    assert!(evidence.starts_with("it was not there with "), "{evidence}");
    // Without the baseline or the runs before, another file knows nothing of it, and a baseline does.
    let (mended, status) = run(&new);
    assert_eq!((labels(&mended), status), (only("known"), Some(0)));
    let show = words!("history show forward/field-added/i8042/* --history {history}");
    let shown = stdout(&migcompat(&show));
    assert_eq!(shown.matches("  absent  ").count(), 3, "{shown}");
    assert_eq!(shown.matches("  found   ").count(), 1, "{shown}");
    assert!(shown.contains("  fixed: it was there with "), "{shown}");
    // A direction that nobody looked at is no repair.
    let one_way = words!("--direction forward --history {history} --format json");
    let output = migcompat(&[&["static", &old, &changed_file][..], &one_way].concat());
    assert!(report(&output)["run"]["sought"]["dumps"] == true);
    let backward = words!("history show backward/field-added/i8042/* --history {history}");
    let shown = stdout(&migcompat(&backward));
    assert_eq!(shown.matches("  absent  ").count(), 3, "{shown}");

    // Saved reports say the same, and a baseline is one earlier run.
    let saved = folder.path().join("saved.json").display().to_string();
    let compared = ["static", &old, &new, "--format", "json", "-o", &saved];
    assert_eq!(migcompat(&compared).status.code(), Some(1));
    for (file, more) in [
        ("imported.db", vec![]),
        ("none.db", vec!["--baseline", &saved]),
    ] {
        let file = folder.path().join(file).display().to_string();
        if more.is_empty() {
            let imported = migcompat(&["history", "import", "--history", &file, &saved]);
            assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
        }
        let gate = ["--history", &file, "--gate", "regression"];
        let output = migcompat(&[&["static", &old, &changed_file][..], &gate, &more].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(
            text.contains("= history: regression: it was not there"),
            "{text}"
        );
    }
}

#[apply(test)]
fn a_baseline_that_the_history_has_is_one_run_and_not_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let rule = |side: &str| format!("fixtures/rules/field-added/{side}.json");
    let (old, new) = (rule("old"), rule("new"));
    let compared = |more: &[&str]| {
        let args = ["static", &old, &new, "--format", "json"];
        migcompat(&[&args[..], more].concat())
    };
    let runs = |compared: &std::process::Output| {
        let report = report(compared);
        let findings = report["findings"].as_array().expect("a list").iter();
        let runs = findings.filter_map(|finding| finding["memory"]["runs"].as_u64());
        runs.collect::<BTreeSet<u64>>()
    };
    let (saved, other) = (file("saved.json"), file("other.json"));
    // As the run itself recorded it, and as an import did.
    let (recorded, imported) = (file("recorded.db"), file("imported.db"));
    compared(&["--history", &recorded, "-o", &saved]);
    let import = ["history", "import", "--history", &imported, &saved];
    assert!(migcompat(&import).status.success());
    for history in [&recorded, &imported] {
        let beside = compared(&["--history", history, "--baseline", &saved]);
        assert_eq!(runs(&beside), BTreeSet::from([1]), "{history}");
    }
    // Another run is one more, even where all else is the same.
    compared(&["-o", &other]);
    let beside = compared(&["--history", &recorded, "--baseline", &other]);
    assert_eq!(runs(&beside), BTreeSet::from([3]));

    // A case too: what it failed once is not failed twice.
    let saved = self::saved(folder.path(), 0, 0);
    let text = fs::read_to_string(&saved).expect("written");
    let mut shard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    shard["shard"] = serde_json::json!({"index": 1, "of": 1, "plan": "", "options": []});
    shard["cases"][0]["outcome"] = "fail".into();
    shard["run"]["started"] = "2026-01-02T03:04:05.678Z".into();
    let (first, second) = (file("first.json"), file("second.json"));
    fs::write(&first, shard.to_string()).expect("written");
    shard["run"]["started"] = "2026-02-03T04:05:06.789Z".into();
    fs::write(&second, shard.to_string()).expect("written");
    let history = file("cases.db");
    let import = ["history", "import", "--history", &history, &first];
    assert!(migcompat(&import).status.success());
    let merge = words!("merge {second} --history {history} --baseline {first} --format json");
    let case = &report(&migcompat(&merge))["cases"][0]["memory"];
    assert_eq!(
        (&case["label"], &case["runs"]),
        (&"known".into(), &1.into())
    );
}

#[apply(test)]
#[needs(Builds)]
fn a_build_is_the_program_that_runs_and_the_options_that_a_script_adds() {
    let folder = tempfile::tempdir().expect("a folder");
    let trixie = build("debian:trixie").shell_prefix();
    let named = |name: &str, text: &str| {
        let own = folder.path().join(name);
        fs::create_dir(&own).expect("made");
        script(&own, "qemu-system-x86_64", text)
    };
    let plain = named("plain", &format!("exec env {trixie} \"$@\""));
    // Another script, another process in between, the same program.
    let nested = named(
        "nested",
        &format!("# a script\nenv {trixie} \"$@\"\nexit $?"),
    );
    let changed = named(
        "changed",
        &format!("exec env {trixie} -global VGA.vgamem_mb=8 \"$@\""),
    );
    let hashes = |old: &str, new: &str| {
        let live = words!("live {old} {new} -M q35 --paused --direction forward");
        let one = words!("--device intel-hda --retries 0 --format json");
        let output = with_builds(&[&live[..], &one].concat()).output();
        let report = report(&output.expect("it starts"));
        let hash = |side: &str| report["run"][side].as_str().expect("a hash").to_owned();
        (hash("old_hash"), hash("new_hash"))
    };
    let (bookworm, suite) = hashes("debian:bookworm", "debian:trixie");
    assert_ne!(bookworm, suite);
    assert_eq!(hashes(&plain, &nested), (suite.clone(), suite.clone()));
    let (again, other) = hashes("debian:bookworm", &changed);
    assert_eq!(again, bookworm);
    assert!(other != suite && other != bookworm, "{other}");
}

#[apply(test)]
#[needs(Builds)]
fn a_case_counts_once_it_is_promoted_and_no_more_once_it_is_demoted() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    let changed = without_msi(folder.path());
    let second = || humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let run = |new: &str, format: &str| {
        // What comes first is known by the second.
        let before = second();
        wait_until("the same second", || second() != before);
        let live = ["live", "debian:bookworm", new, "-M", "q35", "--paused"];
        let one = words!("--direction forward --device intel-hda --retries 0");
        let gate = ["--history", &history, "--gate", "tier", "--format", format];
        let tiers = words!("--tier-passes 1 --tier-days 0 --tier-failures 2 --tier-hours 0");
        let args = [&live[..], &one, &gate, &tiers].concat();
        with_builds(&args).output().expect("it starts")
    };
    // It fails before it ever passed, and is only observed.
    let observed = run(&changed, "json");
    assert_eq!(observed.status.code(), Some(0), "{}", stderr(&observed));
    let case = report(&observed)["cases"][0].clone();
    assert_eq!(
        (&case["outcome"], &case["tier"]["tier"]),
        (&"fail".into(), &"observe".into())
    );
    let promoted = run("debian:trixie", "text");
    assert_eq!(promoted.status.code(), Some(0));
    let text = stdout(&promoted);
    assert!(
        text.contains("gate: promoted, it passed 1 times in a row"),
        "{text}"
    );
    let counted = run(&changed, "junit");
    assert_eq!(counted.status.code(), Some(1));
    let text = stdout(&counted);
    assert!(
        text.contains("failures=\"1\"") && text.contains("tier: gate"),
        "{text}"
    );
    let demoted = run(&changed, "html");
    assert_eq!(demoted.status.code(), Some(0));
    let text = stdout(&demoted);
    assert!(
        text.contains("observe: demoted, it failed 2 times in a row"),
        "{text}"
    );
    let shown = stdout(&migcompat(&["history", "show", "*", "--history", &history]));
    for wanted in [
        "gate tier, from 7.2: it passed 1 times",
        "observe tier, from 7.2: it failed 2 times",
    ] {
        assert!(shown.contains(wanted), "{shown}");
    }
    let output = migcompat(&words!("static none none --gate tier --history {history}"));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("has no cases, and only cases have a tier"),
        "{}",
        stderr(&output)
    );
}
