//! A developer who stands in a tree of QEMU and names no build.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use macro_rules_attribute::apply;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::common::{
    build, cache_dir, follows_the_schema, program, report, script, stderr, stdout, wait_until,
    with_builds, words,
};

/// What a build folder has, so that it is one of a tree elsewhere.
const CONFIGURED: &str = "config-host.mak";

/// The sources of a device.
const LSI: &str = "\
static const TypeInfo lsi_info = {
};
static const VMStateDescription vmstate_lsi_scsi = {
    .name = \"lsiscsi\",
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, LSIState),
        VMSTATE_UINT8(respid0, LSIState),
        VMSTATE_END_OF_LIST()
    }
};
";

/// A tree of sources that is not built.
fn tree(folder: &Path, version: &str) -> PathBuf {
    let top = folder.join("qemu");
    for folder in ["include/qemu", "hw/net", "build"] {
        fs::create_dir_all(top.join(folder)).expect("made");
    }
    fs::write(top.join("VERSION"), format!("{version}\n")).expect("written");
    fs::write(top.join("include/qemu/osdep.h"), "").expect("written");
    top
}

/// Links a tree's program: it is that of a suite.
fn link(top: &Path, suite: &str) {
    let line = format!("exec env {} \"$@\"", build(suite).shell_prefix());
    script(&top.join("build"), "qemu-system-x86_64", &line);
}

fn at(folder: &Path, args: &[&str]) -> Output {
    with_builds(args)
        .current_dir(folder)
        .output()
        .expect("it starts")
}

/// The file that a run says to have saved the baseline in.
fn saved_baseline(output: &Output) -> String {
    let told = stderr(output);
    let file = told
        .split_once("this is the baseline now (")
        .map(|(_, file)| file);
    let file = file.and_then(|file| file.split_once(')'));
    file.unwrap_or_else(|| panic!("{told}")).0.to_owned()
}

fn label<'r>(report: &'r Value, side: &str) -> &'r str {
    report[side]["label"].as_str().expect("a label")
}

#[apply(test)]
#[needs(Builds)]
fn a_tree_is_compared_with_the_last_release_wherever_one_stands_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    link(&top, "debian:trixie");
    build("debian:bookworm");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let configured = format!("SRC_PATH={}\n", top.display());
    fs::write(elsewhere.join(CONFIGURED), configured).expect("written");
    fs::copy(
        top.join("build/qemu-system-x86_64"),
        elsewhere.join("qemu-system-x86_64"),
    )
    .expect("copied");
    let absolute = top.join("build").display().to_string();
    for (folder, args, new) in [
        (&top, vec!["static"], "./build"),
        (&top.join("hw/net"), vec!["static"], &*absolute),
        (&elsewhere, vec!["static"], "./"),
        (&top, vec!["static", "last-release", "."], "."),
        (
            &top,
            vec!["static", "./build", "--against", "last-release"],
            "./build",
        ),
        (
            &top,
            vec!["sweep", "last-release", "build", "--only", "isa-debug-exit"],
            "build",
        ),
    ] {
        let told = report(&at(folder, &[&args[..], &["--format", "json"]].concat()));
        assert_eq!(label(&told, "new"), new, "{args:?}");
        assert_eq!(told["new"]["version"], "10.0.13");
        // Of the fetched releases, it is the newest before 10.0.
        let version = told["old"]["version"].as_str().expect("a version");
        assert!(
            version.starts_with("7.2.") || version.starts_with("9."),
            "{version}"
        );
        let machine = told["machine"].as_str().expect("the usual machine");
        assert!(machine.starts_with("pc-q35-"), "{machine}");
    }
    let told = report(&at(
        &top,
        &["static", "--against", "debian:trixie", "--format", "json"],
    ));
    assert_eq!(label(&told, "old"), "debian:trixie");
    assert_eq!(told["verdict"], "compatible");
}

#[apply(test)]
fn a_build_that_is_not_named_and_not_there_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "0.1.0");
    let own = |args: &[&str]| {
        let output = program(args)
            .current_dir(&top)
            .args(["--cache", "cache"])
            .output();
        output.expect("it starts")
    };
    let refused = |output: &Output, wanted: &str| {
        assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
        assert!(stderr(output).contains(wanted), "{}", stderr(output));
    };
    refused(&own(&["static"]), "is not built");
    refused(
        &own(&["check", "./build"]),
        "one BUILD, and two are compared",
    );
    refused(
        &own(&["static", "last-release", "last-release"]),
        "goes with one",
    );
    refused(&own(&["dump", "last-release", "-o", "-"]), "goes with one");
    refused(
        &own(&["check", "a", "b", "--against", "c"]),
        "cannot be used with",
    );
    script(&top.join("build"), "qemu-system-x86_64", "exit 1");
    refused(&own(&["static"]), "no build of QEMU 0.0");
    fs::remove_file(top.join("VERSION")).expect("removed");
    refused(&own(&["live"]), "in no tree of QEMU");
}

/// Links a tree's program so that its dump is another one: what `sed` makes of it.
fn link_changed(top: &Path, suite: &str, sed: &str) {
    let run = format!("env {}", build(suite).shell_prefix());
    let script_text = format!(
        "dump=\nlast=\nfor word; do\n  [ \"$last\" = -dump-vmstate ] && dump=$word\n  last=$word\ndone\n\
         [ \"$dump\" ] || exec {run} \"$@\"\n{run} \"$@\" && sed -i {sed} \"$dump\""
    );
    script(&top.join("build"), "qemu-system-x86_64", &script_text);
}

#[apply(test)]
#[needs(Builds)]
fn a_change_in_a_tree_is_told_alone_until_the_baseline_is_reset() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    link(&top, "debian:trixie");
    let at = |args: &[&str]| {
        let mut command = program(args);
        command.env("MIGCOMPAT_CACHE", cache_dir());
        command.env("MIGCOMPAT_AGAINST", "debian:trixie");
        command.current_dir(&top).output().expect("it starts")
    };
    let json = ["--format", "json"];
    // Without a word, and with an option alone.
    let first = at(&[]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let saved = saved_baseline(&first);
    assert!(
        saved.starts_with("./build/migcompat/debian_trixie+pc-q35-10.0+"),
        "{saved}"
    );

    let again = at(&json);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let told = report(&again);
    assert_eq!(
        told["baseline"]["counts"]["same"], 2,
        "the guest's two moves"
    );
    assert_eq!(told["baseline"]["counts"]["new"], 0);

    // A field that is twice as long, of a device whose sources are there.
    fs::write(
        top.join("MAINTAINERS"),
        "SCSI\nM: Sam <sam@example.org>\nF: hw/scsi/\n",
    )
    .expect("written");
    fs::create_dir(top.join("hw/scsi")).expect("made");
    fs::write(top.join("hw/scsi/lsi53c895a.c"), LSI).expect("written");
    let sed = "'/\"field\": \"respid0\"/,/\"size\"/s/\"size\": 1$/\"size\": 2/'";
    link_changed(&top, "debian:trixie", sed);
    let page = dir.path().join("told.txt").display().to_string();
    let both = [
        "-o", "-", "-o", &page, "--format", "json", "--format", "text",
    ];
    let told = report(&at(&both));
    let new: Vec<&Value> = told["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["baseline"] == "new")
        .collect();
    assert!(!new.is_empty(), "{told:#}");
    assert!(
        new.iter()
            .all(|finding| finding["section"] == "lsi53c810" || finding["section"] == "lsi53c895a"),
        "{new:#?}"
    );
    assert_eq!(told["verdict"], "incompatible");
    assert_eq!(
        new[0]["source"],
        json!({"file": "hw/scsi/lsi53c895a.c", "line": 3, "variable": "vmstate_lsi_scsi"})
    );
    assert_eq!(new[0]["owners"], json!(["SCSI"]));
    let owners = told["owners"].as_array().expect("a list");
    assert_eq!(owners.len(), 1, "of what is new: {owners:#?}");
    let code = new[0]["code"][0]["code"].as_str().expect("a text");
    for part in [
        "/* in LSIState */",
        "uint8_t respid0_wire;",
        "in vmstate_lsi_scsi",
    ] {
        assert!(code.contains(part), "{code}");
    }
    let text = fs::read_to_string(&page).expect("written");
    for part in [
        "= defined in: hw/scsi/lsi53c895a.c:3 (vmstate_lsi_scsi)",
        "        VMSTATE_UINT8(respid0_wire, LSIState),",
        "owner SCSI: Sam <sam@example.org>",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // The device is moved, which it was not before.
    let cases = told["cases"].as_array().expect("a list");
    assert!(
        cases.iter().any(|case| case["device_set"] == "lsi53c895a"),
        "{cases:#?}"
    );

    let reset = at(&["--reset"]);
    assert!(
        stderr(&reset).contains("this is the baseline now"),
        "{}",
        stderr(&reset)
    );
    let saved = fs::read(top.join(saved_baseline(&reset))).expect("saved");
    let saved: Value = serde_json::from_slice(&saved).expect("JSON");
    follows_the_schema(&saved);
    let mut findings = saved["findings"].as_array().expect("a list").iter();
    assert!(findings.any(|finding| finding["section"] == "lsi53c810"));
}

/// Runs git in a tree, whatever the user's own settings are, and returns what it prints.
fn git(top: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(top).args(["-c", "user.name=a test"]);
    command.args(["-c", "user.email=test@localhost"]).args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = command.output().expect("git");
    assert!(output.status.success(), "{args:?} {}", stderr(&output));
    stdout(&output).trim().to_owned()
}

/// Makes a repository of a tree, with one commit on `master`, and returns that.
fn commit_tree(top: &Path) -> String {
    git(top, &["init", "-q", "-b", "master"]);
    git(top, &["add", "VERSION", "include"]);
    git(top, &["commit", "-q", "-m", "the last of others"]);
    git(top, &["rev-parse", "--short=12", "HEAD"])
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn work_in_a_repository_is_held_against_the_commit_that_it_began_from() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    let commit = commit_tree(&top);
    let git = |args: &[&str]| git(&top, args);
    git(&["checkout", "-q", "-b", "topic"]);
    git(&["commit", "-q", "--allow-empty", "-m", "own work"]);
    let sed = "'/\"field\": \"respid0\"/,/\"size\"/s/\"size\": 1$/\"size\": 2/'";
    link_changed(&top, "debian:trixie", sed);
    let at = |args: &[&str]| {
        // What the dumps say is told, in whichever direction.
        let against = words!(
            "--against debian:bookworm --device-set bare --paused --direction forward --retries 0"
        );
        let mut command = with_builds(&[&against[..], args].concat());
        command.current_dir(&top).output().expect("it starts")
    };
    // The change is there from the first run on: nobody can tell it from what was there before.
    let first = at(&[]);
    let wanted = format!("git worktree add ../qemu-base {commit}");
    assert!(stderr(&first).contains(&wanted), "{}", stderr(&first));
    let is_told = |output: &Output| {
        let told = report(output);
        let findings = told["findings"].as_array().expect("a list").iter();
        let new = findings.filter(|finding| finding["baseline"] == "new");
        let new: BTreeSet<String> = new.map(|of| of["section"].to_string()).collect();
        !new.is_empty() && new.iter().all(|section| section.contains("lsi53c8"))
    };
    let json = ["--format", "json"];
    assert!(!is_told(&at(&json)));
    // A build of the commit says what was there before.
    git(&["worktree", "add", "-q", "../base", "master"]);
    let base = dir.path().join("base");
    fs::create_dir(base.join("build")).expect("made");
    link(&base, "debian:trixie");
    let told = at(&json);
    assert!(is_told(&told), "{}", stdout(&told));
    let since = format!("new since {commit}, where the work left master");
    assert!(stderr(&told).contains(&since), "{}", stderr(&told));
    // It is kept, and a reset is newer.
    git(&["worktree", "remove", "--force", "../base"]);
    assert!(is_told(&at(&json)));
    at(&["--reset", "-q"]);
    let again = at(&json);
    assert!(!is_told(&again), "{}", stderr(&again));
    let named = at(&["--base", "debian:trixie", "--format", "json"]);
    assert!(is_told(&named), "{}", stderr(&named));
    let refused = at(&["--base", "./nowhere"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

/// Fails unless a run has saved its report as a baseline of its own, as that of another question.
fn is_another_question(output: &Output) {
    let told = stderr(output);
    assert!(told.contains("this is the baseline now"), "{told}");
    assert!(!told.contains("what is new since"), "{told}");
}

/// Fails unless a run of a tree that is as it was shows nothing as new.
fn is_unchanged(output: &Output, since: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(0), "{}{told}", stdout(output));
    assert!(told.contains(since), "{told}");
}

#[apply(test)]
#[needs(Builds)]
fn another_question_has_a_baseline_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    link(&top, "debian:trixie");
    let set = dir.path().join("own.toml").display().to_string();
    let write_set = |driver: &str| {
        let text =
            format!("name = \"own\"\ndescription = \"A set.\"\n\n[[device]]\nid = \"{driver}\"\n");
        fs::write(&set, text).expect("written");
    };
    write_set("e1000");
    let quick = words!("--against debian:bookworm --paused --retries 0 --device-set");
    let run = |args: &[&str]| at(&top, &[&quick[..], args].concat());
    is_another_question(&run(&["bare", "--direction", "forward"]));
    // What only says how a run goes on asks nothing else.
    for args in [&["-j", "1"][..], &["--offline"], &["--history", "../h.db"]] {
        let args = [&["bare", "--direction", "forward"], args].concat();
        is_unchanged(&run(&args), "what is new since the baseline of 0 min ago");
    }
    for args in [
        &["bare", "--direction", "backward"][..],
        &["bare", "--device-set", "can", "--direction", "forward"],
        &["bare", "--direction", "forward", "--transport", "tcp"],
        &[
            "bare",
            "--direction",
            "forward",
            "--new-arg",
            "-no-user-config",
        ],
        &["bare", "--direction", "forward", "-M", "pc"],
        &[&set, "--direction", "forward"],
    ] {
        is_another_question(&run(args));
    }
    // The file is another one by its content.
    write_set("rtl8139");
    is_another_question(&run(&[&set, "--direction", "forward"]));
    is_unchanged(
        &run(&["bare", "--direction", "backward"]),
        "what is new since",
    );
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn the_base_of_the_work_is_asked_what_the_tree_is_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "7.2.0");
    let commit = commit_tree(&top);
    let git = |args: &[&str]| git(&top, args);
    git(&["tag", "v7.2.0"]);
    git(&["checkout", "-q", "-b", "topic"]);
    git(&["branch", "-D", "master"]);
    fs::write(top.join("VERSION"), "10.0.50\n").expect("written");
    git(&["commit", "-q", "-a", "-m", "open the tree"]);
    git(&["worktree", "add", "-q", "../base", "v7.2.0"]);
    let base = dir.path().join("base");
    fs::create_dir(base.join("build")).expect("made");
    link(&top, "debian:trixie");
    link(&base, "debian:trixie");
    build("debian:bookworm");
    build("debian:bullseye");
    // Of the base, the last release would be another one.
    let quick = words!("--device-set bare --paused --retries 0");
    let told = at(&top, &quick);
    let since = format!("what is new since {commit}, where the work left v7.2.0");
    is_unchanged(&told, &since);
    is_unchanged(
        &at(&top, &[&quick[..], &["--format", "json"]].concat()),
        &since,
    );
    // A base that lacks the machine of the tree is no base of that question.
    link(&base, "debian:bookworm");
    let newer = [&quick[..], &["--against", "debian:sid"]].concat();
    let told = at(&top, &newer);
    assert!(
        stderr(&told).contains("the tree is not held against"),
        "{}",
        stderr(&told)
    );
    is_another_question(&told);
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn a_worktree_with_changes_is_no_build_of_its_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    fs::write(top.join("include/a.h"), "").expect("written");
    let commit = commit_tree(&top);
    let git = |args: &[&str]| git(&top, args);
    git(&["checkout", "-q", "-b", "topic"]);
    git(&["commit", "-q", "--allow-empty", "-m", "own work"]);
    git(&["worktree", "add", "-q", "../base", "master"]);
    let base = dir.path().join("base");
    fs::create_dir(base.join("build")).expect("made");
    link(&top, "debian:trixie");
    link(&base, "debian:trixie");
    let run = || {
        let args = words!("--against debian:trixie --device-set bare --paused --retries 0");
        at(&top, &args)
    };
    let in_base = |args: &[&str]| git(&[&["-C", "../base"], args].concat());
    let changed = || fs::write(base.join("include/a.h"), "int a;\n").expect("written");
    for change in [
        &changed as &dyn Fn(),
        &|| {
            changed();
            in_base(&["add", "include/a.h"]);
        },
        &|| {
            in_base(&["rm", "-q", "include/a.h"]);
        },
    ] {
        change();
        let told = stderr(&run());
        let is_told = told.contains(&format!(
            "a worktree of {commit}, which the work began from: files in it"
        ));
        assert!(is_told, "{told}");
        assert!(!told.contains("checking "), "{told}");
        in_base(&["reset", "-q", "--hard"]);
    }
    // A file that git does not track is no change of it.
    fs::write(base.join("notes"), "").expect("written");
    is_unchanged(&run(), &format!("what is new since {commit}"));
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn the_work_began_where_it_left_the_nearest_branch() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    let git = |args: &[&str]| git(&top, args);
    let commit = |what: &str| {
        git(&["commit", "-q", "--allow-empty", "-m", what]);
        git(&["rev-parse", "--short=12", "HEAD"])
    };
    let first = commit_tree(&top);
    link(&top, "debian:trixie");
    let left = || {
        let args = words!("--against debian:trixie --device-set bare --paused --retries 0 --reset");
        let told = stderr(&at(&top, &args));
        let (_, left) = told.split_once("all that is new since ").expect("a base");
        left.split_once("; ")
            .or(left.split_once(", build"))
            .expect("its end")
            .0
            .to_owned()
    };
    // A fork that was fetched long ago.
    git(&["update-ref", "refs/remotes/origin/master", "HEAD"]);
    let second = commit("of others");
    git(&["checkout", "-q", "-b", "topic"]);
    commit("own work");
    assert_eq!(left(), format!("{second}, where the work left master"));
    // Of two that have as much in common, the first.
    git(&["update-ref", "refs/remotes/upstream/master", "master"]);
    assert_eq!(
        left(),
        format!("{second}, where the work left upstream/master")
    );
    git(&["update-ref", "-d", "refs/remotes/upstream/master"]);
    // A tag of the same name is none of them, and makes git write longer names.
    git(&["tag", "master", "topic"]);
    assert_eq!(left(), format!("{second}, where the work left master"));
    // The branch that the work is on is not one that it left.
    git(&["checkout", "-q", "refs/heads/master", "-B", "master"]);
    commit("own work on master");
    assert_eq!(
        left(),
        format!("{first}, where the work left origin/master")
    );
}

/// Puts a suite that is fetched into another cache.
fn add_to_cache(folder: &Path, suite: &str) {
    let debian = folder.join("debian");
    fs::create_dir_all(&debian).expect("made");
    let fetched = cache_dir().join("debian").join(suite);
    symlink(fetched, debian.join(suite)).expect("linked");
}

#[apply(test)]
#[needs(Builds)]
fn a_release_that_is_fetched_later_has_a_baseline_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "11.0.50");
    for suite in ["debian:bookworm", "debian:trixie"] {
        build(suite);
    }
    link(&top, "debian:sid");
    let cache = dir.path().join("cache");
    let run = || {
        let mut command = program(&words!("--device-set bare --paused --retries 0"));
        command.env("MIGCOMPAT_CACHE", &cache).current_dir(&top);
        command.output().expect("it starts")
    };
    add_to_cache(&cache, "bookworm");
    is_another_question(&run());
    is_unchanged(&run(), "what is new since the baseline");
    add_to_cache(&cache, "trixie");
    is_another_question(&run());
    is_unchanged(&run(), "what is new since the baseline");
}

#[apply(test)]
#[needs(Builds)]
fn a_watched_tree_is_checked_again_when_it_is_linked() {
    let dir = tempfile::tempdir().expect("a folder");
    let top = tree(dir.path(), "10.0.13");
    link(&top, "debian:trixie");
    let told = dir.path().join("told");
    let args = words!("--watch --against debian:trixie --device-set bare");
    let mut child = with_builds(&args)
        .current_dir(&top)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&told).expect("a file"))
        .spawn()
        .expect("it starts");
    let times = |words: &str| {
        let told = fs::read_to_string(&told).expect("a text");
        told.matches(words).count()
    };
    wait_until("the first check", || times("watching ./build") == 1);
    assert_eq!(
        (
            times("this is the baseline now"),
            times("shown is what is new")
        ),
        (1, 0)
    );
    let path = top.join("build/qemu-system-x86_64");
    fs::remove_file(&path).expect("removed, as before it is linked");
    link(&top, "debian:trixie");
    wait_until("the second check", || times("watching ./build") == 2);
    assert_eq!(times("shown is what is new"), 1);
    // One that does not start ends nothing.
    script(&top.join("build"), "qemu-system-x86_64", "exit 1");
    wait_until("the third check", || times("watching ./build") == 3);
    assert_eq!(times("untested: "), 1);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
}

#[apply(test)]
fn nothing_is_meant_without_a_tree() {
    let dir = tempfile::tempdir().expect("a folder");
    for (args, wanted) in [
        (&[][..], "Usage: migcompat"),
        (&[], "error: no command is named, and /"),
        (&["--watch"], "unexpected argument '--watch'"),
        (&["--color", "never"], "Usage: migcompat"),
    ] {
        let output = program(args).current_dir(&dir).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
    let top = tree(dir.path(), "10.0.13");
    let output = program(&["--wathc"])
        .current_dir(&top)
        .output()
        .expect("it starts");
    assert!(stderr(&output).contains("'--watch'"), "{}", stderr(&output));
    let output = program(&["--machine", "q35", "static"])
        .current_dir(&top)
        .output()
        .expect("it starts");
    let told = stderr(&output);
    assert!(told.contains("'static --machine' exists"), "{told}");
}
