//! Builds that were handed on without their firmware, and machine types of two names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, script, stderr, with_builds, words};
use crate::live::Run;

const BUILD: &str = "debian:bookworm";

/// A program that was copied out of a package into a folder, and the folders of firmware that it left behind.
pub fn bare(folder: &Path, suite: &str) -> (String, Vec<PathBuf>) {
    fs::create_dir_all(folder).unwrap();
    // A fetched build is started by a script, whose last line has its options.
    let text = fs::read_to_string(build(suite).shell_prefix()).unwrap();
    let (environment, start) = text.rsplit_once("exec ").unwrap();
    let mut words = shlex::split(start).unwrap();
    assert_eq!(words.pop().as_deref(), Some("$@"));
    let mut firmware = Vec::new();
    while let Some(at) = words.iter().position(|word| word == "-L") {
        let option: Vec<String> = words.drain(at..at + 2).collect();
        firmware.push(PathBuf::from(&option[1]));
    }
    assert!(!firmware.is_empty());
    let copy = folder.join("program");
    fs::copy(words.pop().unwrap(), &copy).unwrap();
    words.push(copy.display().to_string());
    let start = shlex::try_join(words.iter().map(String::as_str)).unwrap();
    let text = format!("{environment}\nexec {start} \"$@\"");
    (script(folder, "qemu-system-x86_64", &text), firmware)
}

fn live(old: &str, new: &str, more: &[&str]) -> Run {
    let args = ["live", old, new, "--paused"];
    Run::new(&[&args[..], more].concat())
}

fn notices<'r>(run: &'r Run, kind: &str) -> Vec<(&'r str, &'r str)> {
    let notices = run.report["notices"].as_array().expect("a report");
    let text = |notice: &'r Value, key: &str| notice[key].as_str().unwrap();
    notices
        .iter()
        .filter(|notice| notice["kind"] == kind)
        .map(|notice| (text(notice, "subject"), text(notice, "detail")))
        .collect()
}

#[apply(test)]
#[needs(Builds)]
fn a_build_without_firmware_gets_that_of_the_other_build() {
    let folder = tempfile::tempdir().unwrap();
    let (bare, firmware) = bare(&folder.path().join("a/b/c"), BUILD);
    let run = live(&bare, BUILD, &["-M", "q35"]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    assert_eq!(run.outcomes(), ["pass", "pass"]);
    let [(subject, detail)] = notices(&run, "other-firmware")[..] else {
        panic!("{:#}", run.report["notices"]);
    };
    assert_eq!(subject, bare);
    assert!(detail.contains(BUILD), "{detail}");
    for folder in &firmware {
        assert!(detail.contains(&*folder.to_string_lossy()), "{detail}");
    }
    run.leaves_nothing();
    // A build that has some is given none.
    let run = live(BUILD, BUILD, &["-M", "q35", "--direction", "forward"]);
    assert_eq!(notices(&run, "other-firmware"), []);
}

#[apply(test)]
#[needs(Builds)]
fn two_builds_without_firmware_get_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (other, _) = bare(&folder.path().join("other"), BUILD);
    let (bare, firmware) = bare(&folder.path().join("a/b/c"), BUILD);
    let run = live(&bare, &other, &["-M", "q35", "--direction", "forward"]);
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let told = notices(&run, "other-firmware");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].1, told[1].1);
    assert!(told[0].1.contains("debian:"), "{told:?}");
    drop(run);

    // The tree that it was built in comes first.
    let tree = folder.path().join("a/b/pc-bios");
    fs::create_dir(&tree).unwrap();
    for file in firmware.iter().flat_map(|from| fs::read_dir(from).unwrap()) {
        let file = file.unwrap();
        let name = tree.join(file.file_name());
        if !name.exists() {
            symlink(fs::canonicalize(file.path()).unwrap(), name).unwrap();
        }
    }
    let dump = folder.path().join("dump.json").display().to_string();
    let dumped = with_builds(&["dump", &bare, "-M", "q35", "-o", &dump])
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", stderr(&dumped));
    let run = live(&bare, &bare, &["-M", "q35", "--direction", "forward"]);
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    for (_, detail) in notices(&run, "other-firmware") {
        assert!(detail.ends_with(&*tree.to_string_lossy()), "{detail}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn machine_types_of_two_names_are_paired() {
    let pair = "pc-q35-7.2=pc-q35-7.1";
    let run = live(BUILD, BUILD, &["-M", pair, "--device", "e1000"]);
    assert_eq!(run.report["machine"], pair);
    assert_eq!(
        run.outcomes(),
        ["pass", "pass"],
        "{:#}",
        run.report["cases"]
    );
    let [(subject, detail)] = notices(&run, "machines-paired")[..] else {
        panic!("{:#}", run.report["notices"]);
    };
    assert_eq!(subject, pair);
    assert!(
        detail.contains("Machine type received is 'pc-q35-7.2'"),
        "{detail}"
    );
    // From 8.0 to 11.0 a source that sends no name dies of that.
    let pair_later = ["-M", "pc-q35-10.0=pc-q35-9.2", "--device", "virtio-rng-pci"];
    for transport in ["unix", "tcp", "fd"] {
        let more = ["--direction", "forward", "--transport", transport];
        let run = live(
            "debian:trixie",
            "debian:trixie",
            &[&pair_later[..], &more].concat(),
        );
        assert_eq!(run.outcomes(), ["pass"], "{transport}: {}", run.said());
    }
    let run = live(
        "debian:trixie",
        "debian:trixie",
        &[&pair_later[..], &["--transport", "exec"]].concat(),
    );
    assert_eq!(run.outcomes(), ["skip", "skip"], "{}", run.said());
    assert!(
        run.said().contains("is changed in passing"),
        "{}",
        run.said()
    );
    // What the two types set up differently is found between them as between two builds.
    let device = ["--device", "virtio-rng-pci", "--retries", "0"];
    let run = live(BUILD, BUILD, &[&["-M", pair], &device[..]].concat());
    assert_eq!(
        run.outcomes(),
        ["fail", "fail"],
        "{:#}",
        run.report["cases"]
    );
    for index in [0, 1] {
        let case = run.case(index);
        assert_eq!(
            case["cause"]["rule"], "property-default-changed",
            "{case:#}"
        );
        assert_eq!(case["control"]["old_to_old"], "pass");
        assert_eq!(case["control"]["new_to_new"], "pass");
    }
    // Each build has no type but that of its side.
    let other = words!("-M pc-q35-7.2=pc-q35-5.2 --device e1000 --retries 0");
    let run = live(BUILD, "debian:bullseye", &other);
    assert_eq!(
        run.outcomes(),
        ["fail", "pass"],
        "{:#}",
        run.report["cases"]
    );
    assert_eq!(run.case(0)["cause"]["rule"], "subsection-unknown");

    let checked = Run::new(&["static", BUILD, BUILD, "-M", pair]);
    assert_eq!(checked.report["machine"], pair);
    assert_eq!(notices(&checked, "machines-paired").len(), 1);
    for (pair, words) in [
        ("pc-q35-7.2=pc-q35-99.0", "pc-q35-99.0"),
        ("=pc-q35-7.2", "no machine type"),
        ("pc-q35-7.2=", "no machine type"),
    ] {
        let run = live(BUILD, BUILD, &["--machine", pair]);
        assert!(matches!(run.status(), Some(2 | 125)), "{pair}");
        assert!(run.said().contains(words), "{}", run.said());
    }
}
