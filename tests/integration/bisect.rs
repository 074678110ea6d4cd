//! The search for the first build that breaks a case: by `git bisect run`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;

use crate::common::{build, cache_dir, report, root, script, stderr, stdout, with_builds};

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

/// The block of commands in README that has some words in it.
fn example(words: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).expect("README");
    let mut blocks = readme.split("```sh\n").skip(1);
    let block = blocks.find_map(|block| {
        let block = block.split("```").next()?;
        block.contains(words).then(|| block.to_owned())
    });
    block.expect("an example")
}

#[apply(test)]
#[needs(Builds, Program("git"))]
fn git_finds_the_first_bad_revision_as_the_readme_shows_it() {
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
        let missing = notices.iter().any(|of| of["kind"] == "case-missing");
        assert_eq!(missing, outcome.is_none(), "{command} {case}");
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
