//! What runs in a QEMU writes into the folders of its run alone and reaches no network, and the report says so.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::Value;

use migcompat::internals::confinement::{behind, in_own_network};
use migcompat::model::Barrier;

use crate::common::{build, report, script, stderr, with_builds, words};

const BUILD: &str = "debian:trixie";

/// Moves a bare machine forward, or one with what else is asked for.
fn run(builds: [&str; 2], more: &[&str]) -> (Output, Value) {
    let args = ["live", builds[0], builds[1], "-M", "q35", "--paused"];
    let how = words!("--direction forward --retries 0 --format json");
    let output = with_builds(&[&args[..], &how, more].concat())
        .output()
        .unwrap();
    let report = report(&output);
    (output, report)
}

/// A device set with an option that leads out of the guest.
fn set(folder: &Path, option: &str, value: &str) -> String {
    let file = folder.join("own.toml");
    let text = format!(
        "name = 'own'\ndescription = 'd'\n[[device]]\nid = 'e1000'\nbackend = ['{option}', '{value}']\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn outcome(report: &Value) -> &str {
    report["cases"][0]["outcome"].as_str().unwrap()
}

/// The barriers around the first build, and why there are no more.
fn confinement(report: &Value) -> (Vec<&str>, Option<&str>) {
    let build = &report["confinement"][0];
    let by = build["by"].as_array().unwrap().iter();
    (
        by.map(|name| name.as_str().unwrap()).collect(),
        build["lacking"].as_str(),
    )
}

fn is_noticed(report: &Value) -> bool {
    let mut notices = report["notices"].as_array().unwrap().iter();
    notices.any(|notice| notice["kind"] == "unconfined")
}

/// Runs a script behind barriers, which may write into a folder.
fn behind_barriers(by: &[Barrier], folder: &Path, script: &str) -> (bool, String) {
    let mut command = Command::new("bash");
    behind(&mut command, by, folder).unwrap();
    let run = command.args(["-c", script]).output().unwrap();
    (run.status.success(), stderr(&run))
}

#[apply(test)]
#[needs(Landlock)]
fn what_is_confined_writes_in_its_folders_alone_and_reads_and_runs_all() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    fs::write(&victim, "whole").unwrap();
    let (at, other) = (inside.path().display(), outside.path().display());
    for (script, works) in [
        (
            format!("echo a > {at}/a && mkdir {at}/b && mv {at}/a {at}/b && rm -r {at}/b"),
            true,
        ),
        (format!("cat {other}/victim && ls / > /dev/null"), true),
        ("cat < /dev/zero | head -c 1 > /dev/null".to_owned(), true),
        (format!("echo a > {other}/a"), false),
        (format!("echo a >> {other}/victim"), false),
        (format!(": > {other}/victim"), false),
        (format!("rm {other}/victim"), false),
        (format!("mkdir {other}/b"), false),
        (format!("echo a > {at}/c && mv {at}/c {other}/c"), false),
        (
            format!("ln -s {other}/victim {at}/link && echo a > {at}/link"),
            false,
        ),
    ] {
        let (worked, said) = behind_barriers(&[Barrier::Landlock], inside.path(), &script);
        assert_eq!(worked, works, "{script}: {said}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    let left: Vec<_> = outside.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(behind_barriers(&[], inside.path(), &format!("rm {other}/victim")).0);
}

/// Holds that a port of the host is reached from outside of these barriers, and not from behind them.
fn keep_from_the_network(by: &[Barrier]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let folder = tempfile::tempdir().unwrap();
    for (by, works) in [(&[][..], true), (by, false)] {
        let (worked, said) = behind_barriers(by, folder.path(), &connect);
        assert_eq!(worked, works, "{by:?}: {said}");
    }
}

#[apply(test)]
#[needs(NetworkNamespace)]
fn nobody_reaches_the_network_from_an_empty_one() {
    keep_from_the_network(&[Barrier::NetworkNamespace]);
}

#[apply(test)]
#[needs(LandlockTcp)]
fn nobody_reaches_the_network_by_tcp_that_is_forbidden() {
    keep_from_the_network(&[Barrier::Landlock, Barrier::LandlockTcp]);
}

#[apply(test)]
#[needs(NetworkNamespace)]
fn an_empty_network_is_one_for_all_who_enter_it() {
    let folder = tempfile::tempdir().unwrap();
    let seen = || {
        let mut command = Command::new("readlink");
        behind(&mut command, &[Barrier::NetworkNamespace], folder.path()).unwrap();
        let seen = command.arg("/proc/self/ns/net").output().unwrap();
        assert!(seen.status.success());
        String::from_utf8(seen.stdout).unwrap()
    };
    let first = seen();
    assert_eq!(first, seen());
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(first.trim(), ours.to_string_lossy());
}

#[apply(test)]
#[needs(NetworkNamespace)]
fn a_namespace_of_its_own_has_no_interface_but_its_loopback() {
    let mut command = Command::new("cat");
    in_own_network(&mut command);
    let seen = command.arg("/proc/self/net/dev").output().unwrap();
    let seen = String::from_utf8(seen.stdout).unwrap();
    let names = seen.lines().filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"]);
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_program_is_confined_unless_it_is_not_to_be() {
    let bare = ["--device-set", "bare"];
    let (_, confined) = run([BUILD, "debian:bookworm"], &bare);
    assert_eq!(outcome(&confined), "pass");
    for build in [0, 1] {
        let by = confined["confinement"][build]["by"].as_array().unwrap();
        assert!(by.contains(&"landlock".into()), "{by:?}");
        assert!(by.contains(&"sandbox".into()), "{by:?}");
    }
    let (_, open) = run([BUILD, BUILD], &[&bare[..], &["--confine", "off"]].concat());
    assert_eq!(outcome(&open), "pass");
    let (by, lacking) = confinement(&open);
    assert_eq!(by.len(), 0);
    assert!(lacking.unwrap().contains("--confine off"), "{lacking:?}");
    // Nothing of a stranger's was in it.
    assert!(!is_noticed(&open));
    let (_, over_tcp) = run(
        [BUILD, BUILD],
        &[&bare[..], &["--transport", "tcp"]].concat(),
    );
    assert_eq!(outcome(&over_tcp), "pass");
    assert_eq!(confinement(&over_tcp).0, ["landlock", "sandbox"]);
    // QEMU starts programs for that, and is nobody else nonetheless.
    let more = [&bare[..], &["--transport", "exec"]].concat();
    let (_, by_programs) = run([BUILD, "debian:bookworm"], &more);
    assert_eq!(outcome(&by_programs), "pass");
    let (by, lacking) = confinement(&by_programs);
    assert!(by.contains(&"sandbox"), "{by:?}");
    assert!(lacking.unwrap().contains("programs"), "{lacking:?}");
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_set_that_starts_a_program_is_stopped_unless_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().display().to_string();
    let mark = dir.path().join("started");
    let helper = format!("touch '{}'\nexit 1", mark.display());
    let helper = script(dir.path(), "helper", &helper);
    let own = set(
        dir.path(),
        "-netdev",
        &format!("bridge,id=n,br=none,helper={helper}"),
    );
    let all = ["--device-set", &own, "--trust", &mine];
    let (output, open) = run([BUILD, BUILD], &all);
    // The helper gives it no network.
    assert_eq!(outcome(&open), "skip", "{}", stderr(&output));
    assert!(mark.exists());
    fs::remove_file(&mark).unwrap();
    let all = [&all[..], &["--confine", "require"]].concat();
    let (output, stopped) = run([BUILD, BUILD], &all);
    assert_eq!(outcome(&stopped), "skip", "{}", stderr(&output));
    assert!(confinement(&stopped).0.contains(&"sandbox"));
    let why = stopped["cases"][0]["cause"]["message"].to_string();
    assert!(why.contains("not permitted"), "{why}");
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_build_without_a_sandbox_is_refused_only_where_it_must_have_one() {
    let dir = tempfile::tempdir().unwrap();
    let start = format!("exec env {} \"$@\"", build(BUILD).shell_prefix());
    let without = format!(
        "case \" $* \" in *' -sandbox '*) echo 'no -sandbox here' >&2; exit 1;; esac\n{start}"
    );
    let without = script(dir.path(), "without", &without);
    let (output, own) = run([&without, BUILD], &["--device-set", "bare"]);
    assert_eq!(outcome(&own), "pass", "{}", stderr(&output));
    let all = ["live", &without, BUILD, "-M", "q35", "--confine", "require"];
    let required = with_builds(&all).output().unwrap();
    assert_eq!(required.status.code(), Some(125));
    let said = stderr(&required);
    assert!(
        said.contains("-sandbox") && said.contains("no -sandbox here"),
        "{said}"
    );
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_set_that_writes_outside_is_stopped_unless_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().display().to_string();
    let disk = dir.path().join("disk");
    fs::write(&disk, [0; 4096]).unwrap();
    let written = dir.path().join("written");
    for (option, value) in [
        ("-chardev", format!("file,id=c,path={}", written.display())),
        ("-pidfile", written.display().to_string()),
        (
            "-blockdev",
            format!(
                "file,node-name=n,auto-read-only=off,locking=off,filename={}",
                disk.display()
            ),
        ),
    ] {
        let own = set(dir.path(), option, &value);
        let all = ["--device-set", &own, "--trust", &mine];
        let (output, open) = run([BUILD, BUILD], &all);
        // Both sides want the one pidfile: whether they may have it is another question.
        let is_shared = option == "-pidfile";
        assert!(outcome(&open) == "pass" || is_shared, "{}", stderr(&output));
        let lacking = confinement(&open).1.unwrap();
        assert!(lacking.contains("--trust"), "{lacking}");
        assert!(!is_noticed(&open));
        let _made = fs::remove_file(&written);

        let (_, stopped) = run(
            [BUILD, BUILD],
            &[&all[..], &["--confine", "require"]].concat(),
        );
        assert_eq!(outcome(&stopped), "skip", "{option}");
        assert!(confinement(&stopped).0.contains(&"landlock"));
        let why = stopped["cases"][0]["cause"]["message"].to_string();
        assert!(why.contains("Permission denied"), "{why}");
        assert!(!written.exists(), "{option}");
    }
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_set_that_connects_to_the_host_is_stopped_unless_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = format!("socket,id=c,host=127.0.0.1,port={port}");
    let own = set(dir.path(), "-chardev", &to);
    let all = ["--device-set", &own, "--trust", &mine];
    let (output, open) = run([BUILD, BUILD], &all);
    assert_eq!(outcome(&open), "pass", "{}", stderr(&output));
    let connected = std::iter::from_fn(|| listener.accept().ok()).count();
    assert!(connected >= 2, "{connected}");
    let (_, stopped) = run(
        [BUILD, BUILD],
        &[&all[..], &["--confine", "require"]].concat(),
    );
    assert_eq!(outcome(&stopped), "skip");
    assert!(listener.accept().is_err());
}

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_script_of_the_users_own_is_let_alone_unless_all_is_confined() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let start = format!("exec env {} \"$@\"", build(BUILD).shell_prefix());
    let logging = format!("(echo started >> '{}') 2>/dev/null\n{start}", log.display());
    let logging = script(dir.path(), "logging", &logging);
    let strange = set(dir.path(), "-netdev", "hubport,id=n,hubid=0");
    for (set, is_strange) in [("bare", false), (&*strange, true)] {
        let more = ["--device-set", set];
        let (output, own) = run([&logging, BUILD], &more);
        assert_eq!(outcome(&own), "pass", "{}", stderr(&output));
        let (by, lacking) = confinement(&own);
        assert_eq!(by.len(), 0);
        assert!(lacking.unwrap().contains("script"), "{lacking:?}");
        // The other build is a program.
        let other = own["confinement"][1]["by"].as_array().unwrap();
        assert!(other.contains(&"landlock".into()));
        assert_eq!(is_noticed(&own), is_strange);
        fs::remove_file(&log).unwrap();

        let all = [&more[..], &["--confine", "require"]].concat();
        let (output, confined) = run([&logging, BUILD], &all);
        assert_eq!(outcome(&confined), "pass", "{}", stderr(&output));
        assert!(confinement(&confined).0.contains(&"landlock"));
        assert!(!is_noticed(&confined) && !log.exists());
    }

    // One that has to write does not start then.
    let must = format!("echo started >> '{}' || exit 3\n{start}", log.display());
    let must = script(dir.path(), "must", &must);
    let all = ["live", &must, BUILD, "-M", "q35", "--confine", "require"];
    let required = with_builds(&all).output().unwrap();
    assert_eq!(required.status.code(), Some(125), "{}", stderr(&required));
    assert!(!log.exists());
}
