//! What runs in a QEMU writes into the folders of its run alone and reaches no network, and the report says so.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, report, script, stderr, with_builds};

const BUILD: &str = "debian:trixie";

/// Moves a bare machine forward, or one with what else is asked for.
fn run(builds: [&str; 2], more: &[&str]) -> (Output, Value) {
    let args = ["live", builds[0], builds[1], "-M", "q35", "--paused"];
    let how = [
        "--direction",
        "forward",
        "--retries",
        "0",
        "--format",
        "json",
    ];
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

#[apply(test)]
#[needs(Builds, Landlock)]
fn a_program_is_confined_unless_it_is_not_to_be() {
    let bare = ["--device-set", "bare"];
    let (_, confined) = run([BUILD, "debian:bookworm"], &bare);
    assert_eq!(outcome(&confined), "pass");
    for build in [0, 1] {
        let by = confined["confinement"][build]["by"].as_array().unwrap();
        assert!(by.contains(&"landlock".into()), "{by:?}");
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
    assert_eq!(confinement(&over_tcp).0, ["landlock"]);
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
