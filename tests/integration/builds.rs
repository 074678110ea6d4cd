//! Real builds, fetched from the Debian archive, and fake ones that misbehave.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use migcompat::internals::qemu;
use migcompat::internals::qemu::{Build, BuildArg, Cache, Deadlines, Problem, QemuError, machine};
use migcompat::model::BuildKind;

use crate::common::{build, cache_dir, program, script, stderr};
use crate::needs::under_permissions;
use crate::processes::{monitor, open_elsewhere};
use crate::signals::names;

fn fetched(suite: &str) -> Build {
    build(&format!("debian:{suite}"))
}

#[apply(test)]
#[needs(Builds)]
fn two_real_builds_agree_on_a_machine_and_dump_it() {
    let builds = [fetched("bookworm"), fetched("trixie")];
    let infos = builds.each_ref().map(|build| build.info().unwrap());
    let [old, new] = &infos;
    assert_eq!((old.version.major, old.version.minor), (7, 2));
    assert_eq!((new.version.major, new.version.minor), (10, 0));
    for info in &infos {
        assert_eq!(info.target, "x86_64");
        assert!(info.package.starts_with("Debian 1:"), "{}", info.package);
        assert_eq!(
            info.machines
                .iter()
                .filter(|machine| machine.is_default)
                .count(),
            1
        );
    }
    assert!(new.machines.iter().any(|machine| machine.deprecated));

    let machine = machine::resolve("q35", old, new).unwrap();
    assert_eq!(machine, "pc-q35-7.2");
    assert_eq!(machine::resolve("pc", old, new).unwrap(), "pc-i440fx-7.2");
    let none = machine::resolve("pc-q35-10.0", old, new).unwrap_err();
    assert_eq!(none.newest.as_deref(), Some("pc-q35-7.2"));

    for build in &builds {
        assert_eq!(build.kind(), BuildKind::Package);
        let dump = build.dump_vmstate(&machine).unwrap();
        let dump: serde_json::Value = serde_json::from_slice(&dump).unwrap();
        assert_eq!(dump["vmschkmachine"]["Name"], machine.as_str());
        assert!(dump.as_object().unwrap().len() > 100);

        let error = build.dump_vmstate("no-such-machine").unwrap_err();
        assert!(!error.is_usage());
        assert!(error.to_string().contains("unsupported machine"), "{error}");
    }
}

/// What is printed for doing it by hand works when done by hand.
#[apply(test)]
#[needs(Builds)]
fn the_shell_prefix_starts_the_same_build() {
    let build = fetched("bookworm");
    let by_hand = |command: &mut Command| {
        let run = command.output().unwrap();
        String::from_utf8(run.stdout).unwrap()
    };
    let line = format!("{} -version", build.shell_prefix());
    let typed = by_hand(Command::new("sh").args(["-c", &line]));
    assert!(typed.contains("version 7.2"), "{typed}");
    assert_eq!(typed, by_hand(build.command().arg("-version")));
}

/// Nothing that runs comes from the machine's own libraries.
#[apply(test)]
#[needs(Builds)]
fn a_fetched_build_loads_nothing_from_outside() {
    for suite in ["bookworm", "trixie"] {
        let build = fetched(suite);
        let mut child = build
            .command()
            .args(["-M", "none", "-S", "-nodefaults", "-display", "none"])
            .args(["-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // By the time it greets, all is loaded.
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut greeting)
            .unwrap();
        assert!(greeting.contains("QMP"), "{greeting}");
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let outside: Vec<_> = maps
            .lines()
            .filter(|line| line.contains(".so") && !line.contains(&format!("debian/{suite}/")))
            .collect();
        assert!(outside.is_empty(), "{outside:#?}");
        assert!(maps.contains("libc.so") || maps.contains("libc-"), "{maps}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_suite_that_does_not_exist_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
    let arg = qemu::parse("debian:no-such-suite").unwrap();
    let error = qemu::open(&arg, "x86_64", &cache, &|_| ()).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains("no such suite"), "{error}");
    assert!(error.to_string().contains("such as bookworm"), "{error}");
    assert!(cache.list().unwrap().is_empty());
    assert_eq!(names(dir.path()), [""; 0]);
}

/// The same with the `apt.conf` in the folder.
fn open_configured(dir: &Path) -> Command {
    let mut command = open_elsewhere(dir);
    command.env("APT_CONFIG", dir.join("apt.conf"));
    command
}

/// The output of an opening that fails for no fault of the user's.
fn refused(opening: &mut Command) -> String {
    let printed = stderr(&opening.output().unwrap());
    assert!(printed.contains("REFUSED usage=false"), "{printed}");
    printed
}

/// A folder with an `apt.conf` that other processes of the test can be given.
fn apt_config(text: impl FnOnce(&Path) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // Readable for the user whom apt becomes.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("apt.conf"), text(dir.path())).unwrap();
    dir
}

#[apply(test)]
#[needs(Builds)]
fn a_killed_fetch_leaves_no_build_and_two_at_once_share_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
    let suite = dir.path().join("debian/bookworm");
    let left = || {
        let items = fs::read_dir(&suite).into_iter().flatten().flatten();
        items.filter(|item| item.path().is_dir()).count()
    };

    let mut fetch = open_elsewhere(dir.path()).spawn().unwrap();
    let mut lines = BufReader::new(fetch.stderr.take().unwrap()).lines();
    // Killed in the middle of the work, with half a root on the disk.
    assert!(
        lines.any(|line| line.unwrap().contains("unpacking")),
        "it never unpacked"
    );
    fetch.kill().unwrap();
    fetch.wait().unwrap();
    assert!(cache.list().unwrap().is_empty());
    assert_eq!(left(), 1, "nothing was left to sweep away");

    // One that lost all its files heals by being fetched again.
    emptied_entry(dir.path());
    let both = [(); 2].map(|()| open_elsewhere(dir.path()).spawn().unwrap());
    let printed = both.map(|one| {
        let run = one.wait_with_output().unwrap();
        String::from_utf8(run.stderr).unwrap()
    });
    for printed in &printed {
        assert!(printed.contains("OPENED debian:bookworm"), "{printed}");
    }
    let with = |text: &str| {
        printed
            .iter()
            .filter(|printed| printed.contains(text))
            .count()
    };
    assert_eq!(with("unpacking"), 1, "{printed:#?}");
    assert_eq!(with("another run is fetching"), 1, "{printed:#?}");
    assert_eq!(with("in the cache is damaged (root/"), 2, "{printed:#?}");
    assert_eq!(left(), 1, "the complete entry alone");

    let arg = qemu::parse("debian:bookworm").unwrap();
    let build = qemu::open(&arg, "x86_64", &cache, &|_| ()).unwrap();
    assert_eq!(build.info().unwrap().version.major, 7);
    let entries = cache.list().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].record.package, "qemu-system-x86");
    assert!(entries[0].record.unpacked_bytes > entries[0].record.download_bytes);

    let error = cache.remove(&arg).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(build);
    assert_eq!(cache.remove(&arg).unwrap(), entries);
    assert_eq!(left(), 0);
}

/// Makes the entry of a real build in a cache, without the files.
fn emptied_entry(cache: &Path) -> PathBuf {
    build("debian:bookworm");
    let known = cache_dir().join(ENTRY);
    let entry = cache.join(ENTRY);
    fs::create_dir_all(entry.join("root")).unwrap();
    for name in ["build.json", "manifest.json"] {
        fs::copy(known.join(name), entry.join(name)).unwrap();
    }
    entry
}

const ENTRY: &str = "debian/bookworm/qemu-system-x86";

/// Nor does it take the machine's own library instead.
#[apply(test)]
#[needs(Builds, Program("apt-get"))]
fn a_build_that_lost_a_library_is_not_run() {
    let dir = apt_config(|_| NO_NETWORK.to_owned());
    let entry = emptied_entry(dir.path());
    let known = cache_dir().join(ENTRY);
    let copied = Command::new("cp")
        .args(["-r", "--reflink=auto"])
        .args([known.join("root"), entry.clone()])
        .status()
        .unwrap();
    assert!(copied.success());
    // All times are other ones now, and nothing is lost.
    let whole = stderr(&open_configured(dir.path()).output().unwrap());
    assert!(whole.contains("OPENED"), "{whole}");
    let library = "root/usr/lib/x86_64-linux-gnu/libpixman-1.so.0";
    fs::remove_file(entry.join(library)).unwrap();
    let printed = refused(&mut open_configured(dir.path()));
    for words in [
        &format!("is damaged ({library} is missing)"),
        "cannot be reached",
        "`migcompat builds fetch debian:bookworm`",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
}

#[apply(test)]
#[needs(Builds, Root)]
fn what_is_another_users_is_refused() {
    for part in [
        "",
        "debian",
        "debian/bookworm",
        ENTRY,
        "debian/bookworm/qemu-system-x86/build.json",
    ] {
        let dir = tempfile::tempdir().unwrap();
        emptied_entry(dir.path());
        let path = dir.path().join(part);
        chown(&path, Some(1234), Some(4321)).unwrap();
        let printed = stderr(&open_elsewhere(dir.path()).output().unwrap());
        assert!(printed.contains("REFUSED usage=true"), "{part}: {printed}");
        let words = "belongs to another user (1234)";
        assert!(printed.contains(words), "{part}: {printed}");
    }
}

#[apply(test)]
#[needs(Permissions)]
fn a_fetch_into_a_folder_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("debian/sid");
    fs::create_dir_all(&suite).unwrap();
    fs::set_permissions(&suite, Permissions::from_mode(0o555)).unwrap();
    let cache = dir.path().display().to_string();
    let command = program(&["builds", "fetch", "debian:sid", "--cache", &cache]);
    let output = under_permissions(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains(".fetch.lock: Permission denied"), "{said}");
    assert!(names(&suite).is_empty());
}

#[apply(test)]
#[needs(Builds)]
fn builds_of_ones_own_need_no_home() {
    let dir = tempfile::tempdir().unwrap();
    let own = format!("exec {} \"$@\"", build("debian:bookworm").shell_prefix());
    let own = script(dir.path(), "qemu-system-x86_64", &own);
    for (new, status) in [(&*own, 0), ("debian:trixie", 2)] {
        let output = program(&["static", &own, new, "-M", "q35"])
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("MIGCOMPAT_CACHE")
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{new}: {said}");
        assert_eq!(said.contains("set --cache DIR"), status == 2, "{said}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_cache_behind_a_link_has_the_scripts_that_it_has_without() {
    let dir = tempfile::tempdir().unwrap();
    fetched("bookworm");
    let by_hand = cache_dir().join("debian/bookworm/qemu-system-x86/qemu-system-x86_64");
    let before = fs::read_to_string(&by_hand).unwrap();
    let link = dir.path().join("cache");
    symlink(cache_dir(), &link).unwrap();
    let output = program(&["static", "debian:bookworm", "debian:bookworm", "-M", "q35"])
        .env("MIGCOMPAT_CACHE", &link)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // The link may go, or be another one in another container.
    assert_eq!(fs::read_to_string(&by_hand).unwrap(), before);
}

/// A mirror behind a proxy that is not there stands for a machine without a network.
const NO_NETWORK: &str = "Acquire::http::Proxy \"http://127.0.0.1:9/\";
Acquire::https::Proxy \"http://127.0.0.1:9/\";
Acquire::Retries \"0\";
";

#[apply(test)]
fn without_apt_the_error_says_what_to_do_instead() {
    let dir = tempfile::tempdir().unwrap();
    let printed = refused(open_elsewhere(dir.path()).env("PATH", dir.path()));
    assert!(printed.contains("needs apt-get"), "{printed}");
    assert_eq!(names(dir.path()), [""; 0]);
    assert!(
        printed.contains("pass a QEMU binary or a vmstate dump"),
        "{printed}"
    );
}

#[apply(test)]
#[needs(Program("apt-get"))]
fn without_a_network_the_error_says_what_to_do_instead() {
    let dir = apt_config(|_| NO_NETWORK.to_owned());
    let printed = refused(&mut open_configured(dir.path()));
    assert!(printed.contains("cannot be reached"), "{printed}");
    assert!(
        printed.contains("pass a QEMU binary or a vmstate dump"),
        "{printed}"
    );
}

/// Not even where the machine's own apt is configured to trust it.
#[apply(test)]
#[needs(Program("apt-get"))]
fn a_suite_without_a_signature_is_refused() {
    let dir = apt_config(|dir| {
        format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{}\";\n\
             Acquire::AllowInsecureRepositories \"1\";\nAPT::Get::AllowUnauthenticated \"1\";\n",
            dir.join("sources").display()
        )
    });
    let (archive, sources) = (dir.path().join("debian"), dir.path().join("sources"));
    let suite = archive.join("dists/bookworm");
    fs::create_dir_all(suite.join("main/binary-amd64")).unwrap();
    fs::create_dir(&sources).unwrap();
    fs::write(suite.join("main/binary-amd64/Packages"), "").unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let release = format!(
        "Origin: Debian\nLabel: Debian\nSuite: bookworm\nCodename: bookworm\n\
         Date: Sat, 10 Jun 2023 08:00:00 UTC\nArchitectures: amd64\nComponents: main\n\
         SHA256:\n {empty} 0 main/binary-amd64/Packages\n"
    );
    fs::write(suite.join("Release"), release).unwrap();
    let source = format!(
        "Types: deb\nURIs: file:{}\nSuites: bookworm\nComponents: main\nTrusted: yes\n",
        archive.display()
    );
    fs::write(sources.join("own.sources"), source).unwrap();
    let printed = refused(&mut open_configured(dir.path()));
    assert!(
        printed.contains("signature cannot be verified"),
        "{printed}"
    );
    assert!(printed.contains("is not signed"), "{printed}");
}

// Builds that misbehave.

/// In what is said of a deadline that passed.
const SOON: &str = " 4 s";

/// A build of which the program is a shell script.
enum Fake {
    /// This script, whatever the arguments.
    Script(&'static str),
    /// One that connects to us as QEMU would, says this line if there is any, and waits.
    Monitor(&'static str),
}

impl Fake {
    /// With a deadline that passes, where the message has to say so, and else with one that does not on a busy host.
    fn build(&self, dir: &Path, message: &str) -> Build {
        let soon = if message.contains(SOON) { 4 } else { 60 };
        let soon = Duration::from_secs(soon);
        let text = match self {
            Fake::Script(text) => (*text).to_owned(),
            Fake::Monitor(line) => format!("echo some noise >&2\n{}", monitor(line)),
        };
        let arg = qemu::parse(&script(dir, "qemu.sh", &text)).unwrap();
        let cache = Cache::new(Some(dir.join("cache"))).unwrap();
        qemu::open(&arg, "x86_64", &cache, &|_| ())
            .unwrap()
            .with_deadlines(Deadlines {
                start: soon,
                command: soon,
                dump: soon,
            })
    }
}

#[apply(test)]
fn builds_that_will_not_talk_are_told_apart() {
    let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 5}, "package": ""}, "capabilities": []}}"#;
    for (fake, message) in [
        (
            Fake::Script("echo some noise >&2; exit 3"),
            "it exited with status 3 instead",
        ),
        (
            Fake::Script("echo some noise >&2; exit 0"),
            "it exited with status 0 instead",
        ),
        (
            Fake::Script("echo some noise >&2; kill -SEGV $$"),
            "it was killed by SIGSEGV",
        ),
        (
            Fake::Script("echo some noise >&2; sleep 1000"),
            "did not open its monitor within 4 s",
        ),
        (
            Fake::Script("echo some noise >&2; echo '{\"QMP\": {}}'; exit 0"),
            "exited with status 0",
        ),
        (Fake::Monitor("Welcome!"), "is not QMP: \"Welcome!\""),
        (
            Fake::Monitor("{}"),
            "the greeting: the reply cannot be read",
        ),
        (Fake::Monitor(""), "no answer to the greeting within 4 s"),
        (
            Fake::Monitor(greeting),
            "no answer to the greeting within 4 s",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let build = fake.build(dir.path(), message);
        let started = Instant::now();
        let error = build.info().unwrap_err();
        let text = error.to_string();
        // Before any deadline but the short one.
        assert!(started.elapsed() < Duration::from_secs(50), "{text}");
        assert!(!error.is_usage(), "{text}");
        assert!(text.contains(message), "{message}: {text}");
        assert!(text.contains("qemu.sh: "), "{text}");
        let QemuError::Start(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.stderr, "some noise", "{text}");
        let closed = matches!(error.problem, Problem::Qmp(qemu::qmp::QmpError::Closed));
        assert!(!closed, "how it ended is known: {text}");
    }
}

#[apply(test)]
fn a_dump_counts_only_if_the_build_says_so() {
    // $7 is the file, after -M pc -nodefaults -display none -dump-vmstate.
    for (text, outcome) in [
        ("echo '{}' > $7", Ok("{}\n")),
        (
            "echo machine type is deprecated >&2; echo '{}' > $7",
            Ok("{}\n"),
        ),
        (
            "echo '{}' > $7; echo bad >&2; exit 1",
            Err("it exited with status 1 while dumping pc"),
        ),
        (
            "printf '{\"a\": ' > $7; echo bad >&2; kill -SEGV $$",
            Err("it was killed by SIGSEGV"),
        ),
        (": > $7; echo bad >&2", Err("wrote no dump of pc")),
        ("echo bad >&2", Err("wrote no dump of pc")),
        (
            "echo '{}' > $7; echo bad >&2; sleep 1000",
            Err("was not done after 4 s"),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::Script(text).build(dir.path(), outcome.err().unwrap_or_default());
        let dump = fake.dump_vmstate("pc");
        match (dump, outcome) {
            (Ok(dump), Ok(wanted)) => assert_eq!(dump, wanted.as_bytes(), "{text}"),
            (Err(error), Err(message)) => {
                assert!(!error.is_usage(), "{error}");
                let printed = error.to_string();
                assert!(
                    printed.contains(message) && printed.contains("bad"),
                    "{text}: {printed}"
                );
            }
            (dump, _) => panic!("{text}: {dump:?}"),
        }
    }
}

#[apply(test)]
fn a_dump_cannot_be_opened_as_a_build() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.json");
    fs::write(&path, "{}").unwrap();
    let cache = Cache::new(Some(dir.path().join("cache"))).unwrap();
    let open = |arg: &BuildArg, arch| qemu::open(arg, arch, &cache, &|_| ()).unwrap_err();
    let error = open(&qemu::parse(path.to_str().unwrap()).unwrap(), "x86_64");
    assert!(
        error.is_usage() && error.to_string().contains("cannot be run"),
        "{error}"
    );
    let error = open(&qemu::parse("debian:bookworm").unwrap(), "vax");
    assert!(
        error.is_usage() && error.to_string().contains("\"vax\""),
        "{error}"
    );
    assert!(cache.list().unwrap().is_empty());
}
