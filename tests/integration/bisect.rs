//! The search for the first build that breaks a case: by `git bisect run`, and by `migcompat bisect`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{
    build, cache_dir, follows, migcompat, report, root, script, stderr, stdout, with_builds, words,
};
use crate::manual::commands;
use crate::processes::losing;

/// A git repository of wrapper scripts around QEMU builds.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Repository {
        let repository = Repository(tempfile::tempdir().expect("a folder"));
        repository.git(&["init", "-q"]);
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command that finds the program in the path, real builds in the user's cache, and an author.
    fn command(&self, name: &str) -> Command {
        let home = self.path().join(".git");
        let _there = symlink(cache_dir(), home.join("migcompat"));
        let program = Path::new(env!("CARGO_BIN_EXE_migcompat"));
        let mut path = program.parent().expect("a folder").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a path"));
        let mut command = Command::new(name);
        command
            .current_dir(self.path())
            .env("XDG_CACHE_HOME", &home)
            .env("PATH", path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for who in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command
                .env(format!("{who}_NAME"), "a test")
                .env(format!("{who}_EMAIL"), "test@localhost");
        }
        command
    }

    fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().expect("git");
        assert!(output.status.success(), "{args:?} {}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    /// Commits a wrapper of this content, or none, and returns the revision.
    fn commit(&self, wrapper: Option<&str>) -> String {
        let name = "qemu-system-x86_64";
        match wrapper {
            Some(text) => drop(script(self.path(), name, text)),
            None => drop(fs::remove_file(self.path().join(name))),
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a revision"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

fn wrapper(suite: &str) -> String {
    format!("exec {} \"$@\"", build(suite).shell_prefix())
}

/// The block of commands in the manual that has some words in it.
fn example(words: &str) -> String {
    let blocks = commands(&root().join("docs/src/bisection.md"));
    let block = blocks.into_iter().find(|block| block.contains(words));
    block.expect("an example")
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn git_finds_the_first_bad_revision_as_the_manual_shows_it() {
    let repository = Repository::new();
    let (old, new) = (wrapper("debian:bookworm"), wrapper("debian:trixie"));
    repository.commit(Some(&old));
    repository.git(&["tag", "v7.2"]);
    repository.commit(Some(&old));
    repository.commit(Some(&old));
    // In the middle, where git looks first, are one without a build and one that does not start.
    repository.commit(None);
    repository.commit(Some("exit 3"));
    repository.commit(Some(&old));
    let first_bad = repository.commit(Some(&new));
    repository.commit(Some(&new));
    let commands = example("git bisect run");
    let mut shell = repository.command("sh");
    let run = shell.args(["-e", "-c", &commands]).output();
    let run = run.expect("a shell");
    let told = stdout(&run);
    assert!(run.status.success(), "{told}{}", stderr(&run));
    let wanted = format!("{first_bad} is the first bad commit");
    assert!(told.contains(&wanted), "{told}{}", stderr(&run));
    let log = repository.git(&["bisect", "log"]);
    assert!(log.contains("git bisect skip"), "{log}");
}

/// Runs a command between bookworm and trixie for a case alone.
fn alone(command: &str, case: &str) -> Output {
    let pair = ["debian:bookworm", "debian:trixie", "-M", "q35"];
    let args = [
        &[command][..],
        &pair,
        &["--case", case, "--format", "json", "-q"],
    ]
    .concat();
    with_builds(&args).output().expect("it starts")
}

#[apply(test)]
#[needs(Builds)]
fn a_case_alone_decides_whatever_else_fails() {
    for (command, case, status, outcome) in [
        ("check", "q35/am53c974/unix/forward", 1, Some("fail")),
        ("check", "q35/am53c974/unix/backward", 1, Some("lost")),
        ("check", "q35/default/unix/forward", 0, Some("pass")),
        // No doubt is about it; it is tried nonetheless.
        ("check", "q35/e1000/unix/backward", 0, Some("pass")),
        ("check", "q35/bare/unix/forward", 0, Some("pass")),
        ("check", "q35/e1001/unix/forward", 125, None),
        ("sweep", "q35/e1001/unix/backward", 125, None),
        ("sweep", "q35/am53c974/unix/forward", 1, Some("fail")),
        ("sweep", "q35/e1000/unix/forward", 0, Some("pass")),
        ("sweep", "q35/default/unix/forward", 125, None),
        ("live", "q35/default/unix/backward", 0, Some("pass")),
        ("live", "q35/e1000/unix/backward", 125, None),
    ] {
        let output = alone(command, case);
        assert_eq!(output.status.code(), Some(status), "{command} {case}");
        let report = report(&output);
        assert_eq!(report["policy"]["case"], case);
        let cases = report["cases"].as_array().expect("cases");
        let found = cases.iter().find(|of| of["id"] == case);
        let found = found.map(|of| of["outcome"].as_str().expect("an outcome"));
        assert_eq!(found, outcome, "{command} {case}");
        // What it does not need is not run, but for the machine alone.
        assert!(cases.len() <= 2, "{command} {case}: {}", cases.len());
        let notices = report["notices"].as_array().expect("notices");
        let mut missing = notices.iter().filter(|of| of["kind"] == "case-missing");
        let told = missing.next().map(|of| of["detail"].as_str().expect("why"));
        assert_eq!(told.is_some(), outcome.is_none(), "{command} {case}");
        assert!(missing.next().is_none(), "{command} {case}");
        // A misspelt device is told as one: a search would pass over every revision.
        let near = told.is_some_and(|why| why.contains("both have") && why.contains("e1000"));
        assert_eq!(near, case.contains("e1001"), "{command} {case}: {told:?}");
    }
}

/// Its id says where a case was: nobody has to name the machine and the architecture again.
#[apply(test)]
#[needs(Builds)]
fn a_case_has_its_machine_in_its_id() {
    for (command, case, outcome) in [
        ("check", "i440fx/bare/unix/forward", "pass"),
        ("live", "i440fx/bare/unix/forward/paused", "pass"),
        ("sweep", "ppc/g3beige/bare/unix/forward", "pass"),
    ] {
        let pair = ["debian:bookworm", "debian:trixie", "--case", case];
        let of_live = ["--device-set", "bare", "--paused"];
        let more = if command == "live" { &of_live[..] } else { &[] };
        let args = [&[command][..], &pair, more, &["--format", "json", "-q"]];
        let output = with_builds(&args.concat()).output().expect("it starts");
        let report = report(&output);
        let cases = report["cases"].as_array().expect("cases");
        let found = cases.iter().find(|of| of["id"] == case);
        let found = found.unwrap_or_else(|| panic!("{case}: {}", stderr(&output)));
        assert_eq!(found["outcome"], outcome, "{case}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_list_does_not_excuse_the_case_that_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = "[[failure]]\noutcomes = ['fail']\ndevices = ['am53c974']\nmachines = ['*']\n\
                 reason = 'known'\nowner = 'Jo'\nexpires = '2999-12-31'\n";
    fs::write(folder.path().join("own.toml"), entry).expect("written");
    let lists = folder.path().display().to_string();
    let moved = |more: &[&str]| {
        let pair = ["live", "debian:bookworm", "debian:trixie", "-M", "q35"];
        let guest = ["--device", "am53c974", "--paused"];
        let options = ["--lists", &lists, "--format", "json", "-q"];
        let args = [&pair[..], &guest, &options, more].concat();
        with_builds(&args).output().expect("it starts")
    };
    let whole = moved(&["--direction", "forward"]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let alone = moved(&["--case", "q35/ad-hoc/unix/forward/paused"]);
    assert_eq!(alone.status.code(), Some(1), "{}", stderr(&alone));
    let report = report(&alone);
    let excused = report["cases"].as_array().expect("cases").iter();
    assert!(excused.filter(|case| !case["allowed_by"].is_null()).count() == 1);
}

#[apply(test)]
fn a_build_that_is_not_there_cannot_be_tested_for_a_case() {
    let missing = |case: &[&str]| {
        let args = [
            &["check", "/bin/false", "./nowhere/qemu", "-M", "q35"][..],
            case,
        ]
        .concat();
        with_builds(&args).output().expect("it starts")
    };
    assert_eq!(missing(&[]).status.code(), Some(2));
    let for_case = missing(&["--case", "q35/bare/unix/forward"]);
    assert_eq!(for_case.status.code(), Some(125), "{}", stderr(&for_case));
    assert!(stderr(&for_case).contains("no such file"));
    let wrong = missing(&["--case", "q35/bare"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("is not the id of a case"));
}

/// Searches builds, and returns the report, which is held against its schema, and the exit status.
fn searched(args: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("events").display().to_string();
    let form = ["-q", "--format", "json", "--events", &log];
    let args = [&["bisect", "-M", "q35"][..], &form, args].concat();
    let output = with_builds(&args).output().expect("it starts");
    let found = found(&output);
    // The events are the tries as they were made, and how it ended.
    let schema = fs::read_to_string(root().join("events-schema.json")).expect("a schema");
    let log = fs::read_to_string(&log).expect("a log");
    let lines = log.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        follows(&schema, &event);
        event
    });
    let events: Vec<Value> = lines.collect();
    let tried = events
        .iter()
        .filter(|event| event["event"] == "build-tried");
    let tried = tried.map(|event| event["judgement"].as_str().expect("a judgement"));
    let steps = decisions(&found);
    let steps = steps.iter().map(|&(_, judgement)| judgement);
    assert_eq!(tried.collect::<Vec<_>>(), steps.collect::<Vec<_>>());
    let last = events.last().expect("the end");
    assert_eq!(last["status"].as_i64(), output.status.code().map(i64::from));
    (found, output.status.code())
}

fn found(output: &Output) -> Value {
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)));
    follows(migcompat::report::render::bisection::SCHEMA, &found);
    found
}

/// The label of the build at a place that the conclusion names.
fn concluded<'f>(found: &'f Value, key: &str) -> &'f str {
    let at = found["conclusion"][key].as_u64().expect("a place");
    found["builds"][at as usize]["label"]
        .as_str()
        .expect("a label")
}

/// The place and the judgement of each try.
fn decisions(found: &Value) -> Vec<(u64, &str)> {
    let steps = found["steps"].as_array().expect("steps").iter();
    let decision = |step: &Value| step["build"].as_u64().expect("a place");
    steps
        .clone()
        .map(decision)
        .zip(steps.map(|step| step["judgement"].as_str().expect("a judgement")))
        .collect()
}

const SUITES: [&str; 5] = [
    "debian:bullseye",
    "debian:bookworm",
    "debian:bookworm-backports",
    "debian:trixie",
    "debian:trixie-backports",
];

const CASE: &str = "q35/am53c974/unix/forward";

#[apply(test)]
#[needs(Builds)]
fn the_first_of_debians_builds_that_breaks_a_device_is_found() {
    for (builds, machine) in [(&SUITES[..], "pc-q35-5.2"), (&SUITES[1..], "pc-q35-7.2")] {
        let (found, status) = searched(&[&["--case", CASE][..], builds].concat());
        assert_eq!(status, Some(0), "{found:#}");
        assert_eq!(found["conclusion"]["kind"], "broke");
        assert_eq!(concluded(&found, "first"), "debian:bookworm-backports");
        assert_eq!(concluded(&found, "before"), "debian:bookworm");
        assert_eq!(found["machine"], machine);
        let decisions = decisions(&found);
        // The ends come first, and both are seen to be what they are.
        let last = builds.len() as u64 - 1;
        assert_eq!(decisions[..2], [(0, "passes"), (last, "fails")]);
        let step = &found["steps"]
            .as_array()
            .expect("steps")
            .last()
            .expect("one")["cause"];
        assert!(step.is_null() || step["field"] == "esp/drq_state", "{step}");
    }
    // Another build may be where guests come from, and a person is told the same.
    let args = ["bisect", "-M", "q35", "--case", CASE, "--old", SUITES[1]];
    let args = [&args[..], &SUITES[1..]].concat();
    let output = with_builds(&args).output().expect("it starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        " 1  first    passes    debian:bookworm (7.2.22)",
        "it breaks with debian:bookworm-backports (10.0.2); the last build that passes is debian:bookworm (7.2.22)",
        "  place      pciespscsi esp/drq_state",
        "  rule       field-added",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn what_cannot_be_tested_is_passed_over_or_leaves_the_answer_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let dead = script(folder.path(), "qemu-system-x86_64", "exit 3");
    let [good, bad] = [SUITES[1], SUITES[3]];
    let (open, status) = searched(&["--case", CASE, good, &dead, bad]);
    assert_eq!(status, Some(125), "{open:#}");
    assert_eq!(
        open["conclusion"],
        serde_json::json!({"kind": "broke", "before": 0, "first": 2})
    );
    assert!(open["steps"][2]["untested"].is_string(), "{open:#}");
    // Where it does not stand beside the one that is looked for, it does not matter.
    let (found, status) = searched(&["--case", CASE, good, &dead, good, bad]);
    assert_eq!(status, Some(0), "{found:#}");
    assert_eq!(
        found["conclusion"],
        serde_json::json!({"kind": "broke", "before": 2, "first": 3})
    );
    let (end, status) = searched(&["--case", CASE, good, &dead]);
    assert_eq!(status, Some(125));
    assert_eq!(
        end["conclusion"],
        serde_json::json!({"kind": "untested", "build": 1})
    );
    let (same, status) = searched(&["--case", CASE, good, good]);
    assert_eq!(status, Some(1));
    assert_eq!(same["conclusion"]["kind"], "unchanged");
    // In the other order it is a repair.
    let (mended, status) = searched(&["--case", CASE, "--old", good, bad, good]);
    assert_eq!(status, Some(0));
    assert_eq!(mended["conclusion"]["kind"], "mended");
}

#[apply(test)]
#[needs(Builds)]
fn a_build_that_does_not_migrate_the_case_to_itself_is_bad() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = SUITES[1];
    let losing = losing(folder.path(), good);
    let case = ["--case", "q35/bare/unix/forward"];
    let (found, status) = searched(&[&case[..], &[good, &losing]].concat());
    assert_eq!(status, Some(0), "{found:#}");
    assert_eq!(concluded(&found, "first"), losing);
    assert_eq!(found["steps"][1]["outcome"], "broken");
}

#[apply(test)]
#[needs(Builds)]
fn a_case_that_the_history_calls_flaky_is_tried_often() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join("history.db").display().to_string();
    // One and the same program, whose guests have memory of another size where it is to fail, so that it takes no other:
    // while there is a file, or always.
    let switch = folder.path().join("bad");
    let good = wrapper(SUITES[1]);
    let bad = format!("case \"$*\" in *' -m '*) {good} -m 16M;; *) {good};; esac");
    let text = format!("if [ -e {} ]; then {bad}; fi\n{good}", switch.display());
    let fickle = script(folder.path(), "fickle", &text);
    let broken = script(folder.path(), "broken", &bad);
    let case = "q35/bare/unix/forward";
    for fails in [true, false, true, true] {
        match fails {
            true => fs::write(&switch, "").expect("written"),
            false => fs::remove_file(&switch).expect("there"),
        }
        let args = ["check", SUITES[1], &fickle, "-M", "q35", "--case", case];
        let args = [&args[..], &["--history", &history, "-q"]].concat();
        let output = with_builds(&args).output().expect("it starts");
        assert_eq!(
            output.status.code(),
            Some(i32::from(fails)),
            "{}",
            stderr(&output)
        );
    }
    let builds = ["--case", case, "--history", &history, SUITES[1], &broken];
    let (found, status) = searched(&builds);
    assert_eq!(status, Some(0), "{found:#}");
    let first = &found["steps"][0];
    let needed = first["passes_needed"].as_u64().expect("it is flaky");
    assert!((2..=20).contains(&needed), "{first:#}");
    assert_eq!(first["tries"], needed);
    assert_eq!(found["steps"][1]["tries"], 1);
    // Each try is in the history.
    let stats = migcompat(&["history", "stats", "--history", &history]);
    let runs = format!("{} runs", 4 + needed + 1);
    assert!(stdout(&stats).starts_with(&runs), "{}", stdout(&stats));
}

#[apply(test)]
#[needs(Builds)]
fn a_search_leaves_the_labels_of_later_runs_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let checked = |history: &str, new: &str| {
        let args = ["check", SUITES[1], new, "-M", "q35", "--case", CASE];
        let args = [&args[..], &["--history", history, "--format", "json"]].concat();
        let report = report(&with_builds(&args).output().expect("it starts"));
        report["cases"][0]["memory"]["label"].clone()
    };
    let before = file("before.db");
    assert_eq!(checked(&before, SUITES[3]), "new");
    for history in [&before, &file("first.db")] {
        let search = ["--case", CASE, "--history", history];
        let (found, status) = searched(&[&search[..], &SUITES[1..4]].concat());
        assert_eq!(status, Some(0), "{found:#}");
        // From OLD to itself it passed, which is no earlier build that was asked about.
        assert_eq!(checked(history, SUITES[3]), "known");
    }
    let shown = migcompat(&["history", "show", CASE, "--history", &before]);
    let shown = stdout(&shown);
    assert_eq!(shown.matches("(a search)").count(), 3, "{shown}");
    assert!(
        shown.contains("  known: it never passed from debian:bookworm"),
        "{shown}"
    );
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn the_revisions_of_a_range_are_built_in_worktrees_of_their_own() {
    let repository = Repository::new();
    let (old, new) = (wrapper(SUITES[1]), wrapper(SUITES[3]));
    let good = repository.commit(Some(&old));
    repository.commit(Some(&old));
    repository.commit(None);
    repository.commit(Some(&old));
    let bad = repository.commit(Some(&new));
    repository.commit(Some(&new));
    let worktrees = tempfile::tempdir().expect("a folder");
    let place = worktrees.path().display().to_string();
    let command = "echo building; mkdir build && cp qemu-system-x86_64 build/";
    let range = format!("{good}..HEAD");
    let mut run = repository.command("migcompat");
    run.args([
        "bisect",
        &range,
        "--build-command",
        command,
        "--worktrees",
        &place,
    ])
    .args(["--case", CASE, "-M", "q35", "--format", "json"])
    .env("GIT_DIR", "/nowhere");
    let output = run.output().expect("it starts");
    let found = found(&output);
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    assert_eq!(concluded(&found, "first"), &bad[..12]);
    assert_eq!(found["builds"][4]["subject"], "a revision");
    let untested = decisions(&found)
        .iter()
        .filter(|(_, of)| *of == "untested")
        .count();
    assert!(untested <= 1, "{found:#}");
    for step in found["steps"].as_array().expect("steps") {
        if let Some(why) = step["untested"].as_str() {
            assert!(why.contains("cp: cannot stat"), "{why}");
        }
    }
    // Nothing is left of them.
    assert_eq!(fs::read_dir(worktrees.path()).expect("there").count(), 0);
    assert_eq!(repository.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[apply(test)]
#[needs(Program("git"))]
fn a_build_command_that_makes_no_build_is_told_of_with_the_option() {
    let repository = Repository::new();
    for _ in 0..2 {
        repository.git(&["commit", "-q", "--allow-empty", "-m", "a revision"]);
    }
    let worktrees = tempfile::tempdir().expect("a folder");
    let places = [repository.path(), worktrees.path()].map(|path| path.display().to_string());
    let args = words!("bisect HEAD~1..HEAD --build-command true --program out");
    let places = ["--repository", &places[0], "--worktrees", &places[1]];
    let output = migcompat(&[&args[..], &places, &["--case", CASE]].concat());
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(
        told.contains("the build command made no out in the worktree; --program PATH says"),
        "{told}"
    );
}

#[apply(test)]
#[needs(Program("git"))]
fn settings_of_git_change_no_revision() {
    let repository = Repository::new();
    // It signs, and says something wherever a signature is shown.
    let signs = "echo '[GNUPG:] SIG_CREATED ' >&2; cat > /dev/null\necho '-----BEGIN PGP SIGNATURE-----'\n\
                 echo '-----END PGP SIGNATURE-----'; echo 'gpg: a line of many' >&2";
    let signer = repository.path().join(".git");
    let signer = script(&signer, "signer", signs);
    repository.git(&["config", "gpg.program", &signer]);
    let subjects = ["first", "commit of another kind", "last"];
    for subject in subjects {
        let args = ["commit", "-q", "-S", "--allow-empty", "-m", subject];
        repository.git(&args);
    }
    for (key, value) in [
        ("log.showSignature", "true"),
        ("log.decorate", "full"),
        ("log.date", "relative"),
        ("color.ui", "always"),
        ("core.abbrev", "4"),
        ("core.pager", "false"),
        ("core.quotePath", "true"),
        ("format.pretty", "raw"),
        ("i18n.logOutputEncoding", "UTF-16"),
        ("status.branch", "true"),
        ("status.showUntrackedFiles", "all"),
        ("status.short", "true"),
    ] {
        repository.git(&["config", key, value]);
    }
    let worktrees = tempfile::tempdir().expect("a folder");
    let places = [repository.path(), worktrees.path()].map(|path| path.display().to_string());
    let args = words!("bisect HEAD~2..HEAD --build-command true --format json");
    let places = ["--repository", &places[0], "--worktrees", &places[1]];
    let output = migcompat(&[&args[..], &places, &["--case", CASE]].concat());
    let found = found(&output);
    let builds = found["builds"].as_array().expect("builds");
    let told: Vec<&str> = builds
        .iter()
        .filter_map(|of| of["subject"].as_str())
        .collect();
    assert_eq!(told, subjects, "{found:#}");
    // Nothing is left of the worktrees, whose list git prints for people in colour.
    assert_eq!(fs::read_dir(worktrees.path()).expect("there").count(), 0);
}

#[apply(test)]
#[needs(Program("git"))]
fn a_search_of_nothing_is_refused() {
    let repository = Repository::new();
    for _ in 0..2 {
        repository.git(&["commit", "-q", "--allow-empty", "-m", "a revision"]);
    }
    let place = repository.path().display().to_string();
    let revisions = |range: &str| {
        let built = ["--build-command", "true", "--repository", &place];
        migcompat(&[&["bisect", "--case", CASE, range][..], &built].concat())
    };
    for (output, words) in [
        (
            migcompat(&["bisect", "--case", CASE, "/bin/true"]),
            "two or more",
        ),
        (
            migcompat(&["bisect", "--case", CASE, "/bin/true", "./none"]),
            "no such file",
        ),
        (
            migcompat(&["bisect", "--case", "q35", "/bin/true", "/bin/true"]),
            "id of a case",
        ),
        (migcompat(&["bisect", "/bin/true", "/bin/true"]), "--case"),
        (revisions("HEAD"), "GOOD..BAD"),
        (revisions("HEAD...HEAD~1"), "GOOD..BAD"),
        (revisions("nothing..HEAD"), "nothing"),
        (revisions("HEAD..HEAD~1"), "ancestors"),
        (revisions("HEAD..HEAD"), "two or more"),
    ] {
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{words}: {}",
            stderr(&output)
        );
    }
}
