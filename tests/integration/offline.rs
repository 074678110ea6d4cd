//! `--offline`: what is in the cache is used, what is not is named, and nothing is reached.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use macro_rules_attribute::apply;

use crate::common::{cache_dir, program, stderr, stdout, with_builds, words};
use crate::needs::OFFLINE;

/// A proxy for apt that takes no request, and counts who wants one.
struct Proxy {
    listener: TcpListener,
    folder: tempfile::TempDir,
}

impl Proxy {
    fn new() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("it need not wait");
        let folder = tempfile::tempdir().expect("a folder");
        let address = listener.local_addr().expect("an address");
        // An archive of nobody's: whatever the machine's own sources are, this one is asked by way of the proxy.
        let text = format!(
            "Acquire::http::Proxy \"http://{address}\";\nAcquire::Retries \"0\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::sourcelist \"{}\";\n",
            folder.path().join("sources.list").display()
        );
        let source = "deb http://archive.invalid/debian bookworm main\n";
        fs::write(folder.path().join("sources.list"), source).expect("written");
        fs::write(folder.path().join("apt.conf"), text).expect("written");
        Proxy { listener, folder }
    }

    /// Runs the program with an empty cache, closes each connection, and returns how many came.
    fn run(&self, command: &mut Command) -> (Output, usize) {
        command.env("APT_CONFIG", self.folder.path().join("apt.conf"));
        let running = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let mut running = running.expect("it starts");
        let mut came = 0;
        loop {
            let ended = running.try_wait().expect("ours").is_some();
            match self.listener.accept() {
                Ok(_) => came += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock && ended => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
        (running.wait_with_output().expect("its output"), came)
    }

    fn cache(&self) -> &Path {
        self.folder.path()
    }
}

/// Questions of all kinds about a build that is not in the cache.
const QUESTIONS: [&[&str]; 9] = [
    &["check", "debian:bookworm", "debian:trixie", "-M", "q35"],
    &["static", "debian:bookworm", "debian:trixie"],
    &["live", "debian:bookworm", "debian:trixie", "-M", "q35"],
    &["sweep", "debian:bookworm", "debian:trixie"],
    &["map", "debian:bookworm", "debian:trixie"],
    &[
        "bisect",
        "debian:bookworm",
        "debian:trixie",
        "--case",
        "q35/default/unix/forward",
    ],
    &["dump", "debian:bookworm", "-M", "q35", "-o", "-"],
    &["self-test", "debian:bookworm"],
    &["builds", "fetch", "debian:bookworm"],
];

#[apply(test)]
#[needs(Program("apt-get"))]
fn what_is_not_in_the_cache_is_an_error_and_nothing_is_reached() {
    let proxy = Proxy::new();
    let ask = |question: &[&str]| {
        let mut command = program(question);
        command
            .env_remove(OFFLINE)
            .arg("--cache")
            .arg(proxy.cache());
        command
    };
    for question in QUESTIONS {
        let (output, came) = proxy.run(ask(question).arg("--offline"));
        assert_eq!(came, 0, "{question:?}");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{question:?}: {}",
            stderr(&output)
        );
        let command = "`migcompat builds fetch debian:bookworm --arch x86_64` fetches it where there is a network";
        assert!(stderr(&output).contains(command), "{}", stderr(&output));
    }
    let mut kernels = ask(&["builds", "fetch", "--workload", "linux", "--offline"]);
    let (output, came) = proxy.run(&mut kernels);
    assert_eq!((output.status.code(), came), (Some(2), 0));
    let command = "`migcompat builds fetch --workload linux --arch x86_64`";
    assert!(stderr(&output).contains(command), "{}", stderr(&output));

    // The same by the variable; and without either the proxy is asked.
    let question = &["builds", "fetch", "debian:bookworm"];
    let (output, came) = proxy.run(ask(question).env(OFFLINE, "1"));
    assert_eq!((output.status.code(), came), (Some(2), 0));
    let (output, came) = proxy.run(&mut ask(question));
    assert!(came > 0, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
}

#[apply(test)]
#[needs(Builds)]
fn what_is_in_the_cache_is_used_and_kept() {
    crate::common::build("debian:bookworm");
    let proxy = Proxy::new();
    let question = words!("static debian:bookworm debian:bookworm -M q35 --offline");
    let (output, came) = proxy.run(&mut with_builds(&question));
    assert_eq!(
        (output.status.code(), came),
        (Some(0), 0),
        "{}",
        stderr(&output)
    );
    let listed = || stdout(&with_builds(&["builds", "list"]).output().expect("it runs"));
    let before = listed();
    for refresh in [&["--offline"][..], &[]] {
        let mut command = with_builds(&["builds", "fetch", "--refresh", "debian:bookworm"]);
        let (output, came) = proxy.run(command.args(refresh).env(OFFLINE, "1"));
        assert_eq!(
            (output.status.code(), came),
            (Some(2), 0),
            "{}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains("leave out one of them"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(listed(), before);
}

/// What was damaged would be fetched again.
#[apply(test)]
#[needs(Builds)]
fn what_is_damaged_is_not_run_instead() {
    crate::common::build("debian:bookworm");
    let proxy = Proxy::new();
    let suite = proxy.cache().join("debian/bookworm");
    fs::create_dir_all(&suite).expect("made");
    let from = cache_dir().join("debian/bookworm/qemu-system-x86");
    let copied = Command::new("cp").arg("-a").arg(from).arg(&suite).status();
    assert!(copied.expect("cp").success());
    fs::remove_file(suite.join("qemu-system-x86/root/usr/bin/qemu-system-x86_64")).expect("there");
    let mut command = program(&["builds", "fetch", "debian:bookworm", "--offline", "--cache"]);
    let (output, came) = proxy.run(command.arg(proxy.cache()));
    assert_eq!(
        (output.status.code(), came),
        (Some(2), 0),
        "{}",
        stderr(&output)
    );
    for part in [
        "is damaged (root/usr/bin/qemu-system-x86_64 is missing)",
        "(--offline)",
    ] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}
