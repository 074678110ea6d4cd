//! Guests with drivers: what only they show.

use std::fs;
use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, changed, words};
use crate::live::Run;
use crate::processes::{Fault, faulty};

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

/// The devices of which the smaller kernel has all drivers.
const SET: &str = r#"
name = "paravirtual"
description = "a card, a disk, random numbers and a balloon"

[[device]]
id = "net0"
driver = "virtio-net-pci"
backend = ["-netdev", "hubport,id=net0-hub,hubid=0"]
properties = { netdev = "net0-hub" }

[[device]]
id = "blk0"
driver = "virtio-blk-pci"
backend = ["-blockdev", "null-co,node-name=blk0-node,size=67108864,read-zeroes=on"]
properties = { drive = "blk0-node" }

[[device]]
id = "rng0"
driver = "virtio-rng-pci"
backend = ["-object", "rng-builtin,id=rng0-source"]
properties = { rng = "rng0-source" }

[[device]]
id = "balloon0"
driver = "virtio-balloon-pci"

[[device]]
id = "watchdog0"
driver = "i6300esb"
"#;

fn set(folder: &Path) -> String {
    let path = folder.join("paravirtual.toml");
    fs::write(&path, SET).unwrap();
    path.to_str().unwrap().to_owned()
}

fn run(old: &str, new: &str, set: &str, more: &[&str]) -> Run {
    let args = ["live", old, new, "-M", "q35", "--device-set", set];
    Run::new(&[&args[..], more].concat())
}

fn features<'c>(case: &'c Value, kind: &str) -> Vec<&'c str> {
    let devices = case["linux"]["virtio"].as_array().unwrap();
    let of_kind = |device: &&Value| device["kind"] == kind;
    let device = devices.iter().find(of_kind).unwrap();
    let features = device["features"].as_array().unwrap();
    features.iter().map(|name| name.as_str().unwrap()).collect()
}

#[apply(test)]
#[needs(Builds)]
fn a_guest_whose_drivers_are_at_work_goes_back_and_forth() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--workload", "linux", "--loops", "2"];
    let run = run(OLD, NEW, &set(folder.path()), &more);
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["id"], "q35/paravirtual/unix/forward-loop2/linux");
    assert_eq!(case["running"], true);
    assert_eq!(case["legs"].as_array().unwrap().len(), 4);
    assert!(case["state_checked"]["legs"].as_u64() > Some(0), "{case}");
    let linux = &case["linux"];
    assert!(linux["kernel"].as_str().unwrap().starts_with("6."));
    assert_eq!(linux["undriven"], Value::Array(Vec::new()));
    assert!(features(case, "net").contains(&"mrg_rxbuf"));
    assert!(features(case, "blk").contains(&"flush"));
    assert_eq!(linux["uses"]["disks"], serde_json::json!(["vda"]));
    assert_eq!(linux["uses"]["nets"], serde_json::json!(["eth0"]));
    assert_eq!(
        linux["uses"]["watchdogs"],
        serde_json::json!(["i6300ESB_timer"])
    );
    let drivers = linux["virtio"].as_array().unwrap();
    let drivers = drivers.iter().map(|device| device["driver"].as_str());
    let expected = ["virtio_net", "virtio_blk", "virtio_rng", "virtio_balloon"];
    assert!(drivers.eq(expected.map(Some)), "{linux}");
    run.leaves_nothing();
}

/// Devices on a bus on a bus, and one whose driver the kernel asks for by name.
const NESTED: &str = r#"
name = "nested"
description = "USB and sound"

[[device]]
id = "usb0"
driver = "qemu-xhci"

[[device]]
id = "tablet0"
driver = "usb-tablet"
needs = ["usb0"]
bus = "usb0.0"

[[device]]
id = "stick0"
driver = "usb-storage"
needs = ["usb0"]
bus = "usb0.0"
backend = ["-blockdev", "null-co,node-name=stick0-node,size=67108864,read-zeroes=on"]
properties = { drive = "stick0-node" }

[[device]]
id = "sound0"
driver = "intel-hda"

[[device]]
id = "codec0"
driver = "hda-duplex"
needs = ["sound0"]
bus = "sound0.0"
backend = ["-audiodev", "none,id=codec0-out"]
properties = { audiodev = "codec0-out" }
"#;

/// Nothing lists the drivers of these: the devices name themselves.
#[apply(test)]
#[needs(Builds)]
fn a_device_on_a_bus_of_a_bus_has_its_driver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested.toml");
    fs::write(&path, NESTED).unwrap();
    let more = ["--workload", "linux", "--direction", "forward"];
    let run = run(OLD, NEW, path.to_str().unwrap(), &more);
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let linux = &run.case(0)["linux"];
    assert_eq!(linux["undriven"], serde_json::json!([]), "{linux}");
    run.leaves_nothing();
}

/// What a driver of a virtio console writes arrives only where somebody has opened the other end.
#[apply(test)]
#[needs(Builds)]
fn an_ordinary_guest_goes_back_and_forth() {
    let more = ["--workload", "linux", "--loops", "1"];
    let run = run(OLD, NEW, "default", &more);
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let linux = &run.case(0)["linux"];
    assert_eq!(linux["undriven"], serde_json::json!([]), "{linux}");
    assert!(features(run.case(0), "serial").contains(&"multiport"));
    assert_ne!(linux["uses"]["ports"], serde_json::json!([]), "{linux}");
    run.leaves_nothing();
}

/// The kind of break that people report most: without a driver it is a possibility, with one it happens.
#[apply(test)]
#[needs(Builds)]
fn a_feature_that_a_driver_accepted_is_missed_where_it_is_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let first = "set -- \"$@\" -global virtio-net-pci.mrg_rxbuf=off";
    let without = changed(folder.path(), NEW, first);
    // One device: nobody has to be looked for, and each build boots once.
    let card = ["--device", "virtio-net-pci"];
    let run = |old: &str, new: &str, more: &[&str]| {
        let args = ["live", old, new, "-M", "q35"];
        Run::new(&[&args[..], &card, more].concat())
    };
    let dropped = |run: &Run| {
        let findings = run.report["findings"].as_array().unwrap().iter();
        let mut found = findings.filter(|finding| finding["rule"] == "feature-dropped");
        let finding = found.next().expect("a finding").clone();
        assert_eq!(
            finding["path"].as_array().unwrap().last().unwrap(),
            "mrg_rxbuf"
        );
        finding
    };
    for (old, new, direction) in [(NEW, &*without, "forward"), (&*without, NEW, "backward")] {
        let tiny = run(old, new, &[]);
        assert_eq!(tiny.status(), Some(0), "{}", tiny.said());
        assert_eq!(dropped(&tiny)["level"], "warning");
        let linux = run(old, new, &["--workload", "linux", "--retries", "0"]);
        assert_eq!(linux.status(), Some(1), "{}", linux.said());
        for case in linux.report["cases"].as_array().unwrap() {
            let fails = case["direction"] == direction;
            assert_eq!(case["outcome"] == "fail", fails, "{case}");
            if fails {
                let message = case["cause"]["message"].as_str().unwrap();
                assert!(message.contains("mrg_rxbuf"), "{message}");
                assert_eq!(case["cause"]["rule"], "feature-dropped");
                assert_eq!(case["cause"]["features"], serde_json::json!(["mrg_rxbuf"]));
            }
        }
        assert_eq!(dropped(&linux)["direction"], direction);
        linux.leaves_nothing();
    }
}

/// A real break between two of Debian's builds that no machine without a driver shows: up to 6.1 a subsection of the
/// balloon, sent once a driver has accepted `page-poison`, has a name that its own load does not look for, and what
/// follows is read as something else.
#[apply(test)]
#[needs(Builds)]
fn a_subsection_that_only_a_driver_brings_about_is_refused_with_linux_alone() {
    const OLDEST: &str = "debian:bullseye";
    let run = |device: &str, more: &[&str]| {
        let args = ["live", OLDEST, OLD, "-M", "q35", "--device", device];
        Run::new(&[&args[..], more].concat())
    };
    let balloon = "virtio-balloon-pci";
    let linux = ["--workload", "linux", "--retries", "0"];
    for without_driver in [&["--paused"][..], &[]] {
        let run = run(balloon, without_driver);
        assert_eq!(run.outcomes(), ["pass", "pass"], "{}", run.said());
    }
    let broken = run(balloon, &linux);
    assert_eq!(broken.status(), Some(1), "{}", broken.said());
    // The older build does not take its own stream either: the way back is no break between the two.
    assert_eq!(broken.outcomes(), ["fail", "broken"], "{}", broken.said());
    for case in broken.report["cases"].as_array().unwrap() {
        let section = case["cause"]["section"].as_str().unwrap();
        assert!(section.ends_with("/virtio-balloon"), "{case}");
        assert_eq!(case["cause"]["side"], "destination");
        assert_eq!(case["control"]["old_to_old"], "fail");
        assert_eq!(case["control"]["new_to_new"], "pass");
        assert!(features(case, "balloon").contains(&"page-poison"), "{case}");
    }
    broken.leaves_nothing();
    let forward = [&linux[..], &["--direction", "forward"]].concat();
    let unpoisoned = run("virtio-balloon-pci,page-poison=off", &forward);
    assert_eq!(unpoisoned.outcomes(), ["pass"], "{}", unpoisoned.said());
}

/// A case of one device, so that nobody has to be looked for, with a destination that `first` changes. From another build
/// it has a control, for which a second guest boots; from `None`, the changed build itself, it needs none.
fn alone(old: Option<&str>, device: &str, first: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let changed = changed(folder.path(), NEW, first);
    let old = old.unwrap_or(&changed);
    let args = words!("live {old} {changed} -M q35 --device {device} --workload linux");
    Run::new(&[&args[..], &words!("--direction forward --retries 0")].concat())
}

/// A disk that is another one on the other side: nothing in the stream shows it, the guest does.
#[apply(test)]
#[needs(Builds)]
fn a_disk_that_lost_what_was_written_is_found_by_the_guest() {
    let first = r#"case "$*" in *-incoming*)
for arg; do
    shift
    case "$arg" in file,node-name=*)
        disk=${arg#*filename=}
        disk=${disk%%,*}
        truncate -s 67108864 "$disk.other"
        arg=$(echo "$arg" | sed "s|$disk|$disk.other|")
    esac
    set -- "$@" "$arg"
done
esac"#;
    let run = alone(Some(OLD), "virtio-blk-pci", first);
    let case = run.case(0);
    // The build forgets what it wrote itself, too.
    assert_eq!(case["outcome"], "broken", "{}", run.said());
    assert_eq!(case["control"]["old_to_old"], "pass");
    let message = case["cause"]["message"].as_str().unwrap();
    assert!(
        message.contains("the guest's check failed: disk vda pattern"),
        "{message}"
    );
    run.leaves_nothing();
}

/// A disk that takes nothing more on the other side: the guest says so, and does not wait for it.
#[apply(test)]
#[needs(Builds)]
fn a_disk_that_takes_nothing_more_is_found_by_the_guest() {
    let first = r#"case "$*" in *-incoming*)
for arg; do
    shift
    case "$arg" in file,node-name=*)
        fails=inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=5
        arg=$(echo "$arg" | sed "s/^file,/blkdebug,$fails,image.driver=file,/; s/,\(filename\|locking\)=/,image.\1=/g")
    esac
    set -- "$@" "$arg"
done
esac"#;
    let run = alone(None, "virtio-blk-pci", first);
    let message = run.case(0)["cause"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("disk vda write") || message.contains("I/O error, dev vda"),
        "{message}"
    );
    run.leaves_nothing();
}

/// A card that is connected to nobody on the other side: what the guest sends there is not answered.
#[apply(test)]
#[needs(Builds)]
fn a_network_that_answers_no_more_is_found_by_the_guest() {
    let first = r#"case "$*" in *-incoming*)
for arg; do
    shift
    case "$arg" in tap,*) arg=$(echo "$arg" | sed "s|script=[^,]*/up,|script=/bin/true,|") ;; esac
    set -- "$@" "$arg"
done
esac"#;
    let run = alone(None, "virtio-net-pci", first);
    let message = run.case(0)["cause"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("the guest's check failed: net eth0 reply"),
        "{message}"
    );
    run.leaves_nothing();
}

/// The user's own machine, with drivers at work: its disks keep what is written, and its cards have a network of the run's.
#[apply(test)]
#[needs(Builds)]
fn linux_works_in_the_machine_of_a_users_guest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.txt");
    let run = |memory: &str| {
        let text = format!(
            "qemu-system-x86_64 -machine pc-q35-7.2 -m {memory} -smp 1 -nodefaults \\\n\
             -blockdev driver=file,filename=/images/root.img,node-name=root \\\n\
             -device virtio-blk-pci,drive=root,id=disk0 \\\n\
             -drive file=/images/data.img,if=none,id=data -device virtio-scsi-pci,id=scsi0 \\\n\
             -device scsi-hd,bus=scsi0.0,drive=data \\\n\
             -netdev tap,id=hostnet0,ifname=vnet0 -device virtio-net-pci,netdev=hostnet0,id=net0\n"
        );
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let args = ["live", "--guest", file, OLD, NEW, "--workload", "linux"];
        Run::new(&[&args[..], &["--direction", "forward"]].concat())
    };
    let works = run("320");
    assert_eq!(works.outcomes(), ["pass"], "{}", works.said());
    let case = works.case(0);
    assert_eq!(case["running"], true);
    assert_eq!(case["linux"]["undriven"], serde_json::json!([]), "{case}");
    assert!(features(case, "net").contains(&"mrg_rxbuf"), "{case}");
    assert!(features(case, "blk").contains(&"flush"), "{case}");
    works.leaves_nothing();
    let small = run("128");
    assert_eq!(small.outcomes(), ["pass"], "{}", small.said());
    assert_eq!(small.case(0)["running"], false);
    let told = small.report["notices"].to_string();
    assert!(told.contains("takes at least 256 MiB of memory"), "{told}");
}

/// Many devices share a guest, and the one to blame is found among them.
#[apply(test)]
#[needs(Builds)]
fn a_sweep_with_linux_finds_the_device_whose_feature_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let first = "set -- \"$@\" -global virtio-net-pci.mrg_rxbuf=off";
    let lacks = changed(folder.path(), NEW, first);
    let run = Run::new(&words!(
        "sweep {NEW} {lacks} -M q35 --only virtio-net-pci --only virtio-rng-pci --direction forward --workload linux"
    ));
    assert_eq!(run.status(), Some(1), "{}", run.said());
    let case = |id: &str| {
        let mut cases = run.report["cases"].as_array().unwrap().iter();
        let case = cases.find(|case| case["id"] == id);
        case.unwrap_or_else(|| panic!("{id}: {}", run.said()))
    };
    for passes in [
        "q35/virtio-net-pci/unix/forward",
        "q35/bare/unix/forward/linux",
        "q35/virtio-rng-pci/unix/forward/linux",
    ] {
        assert_eq!(case(passes)["outcome"], "pass", "{}", run.said());
    }
    let failed = case("q35/virtio-net-pci/unix/forward/linux");
    assert_eq!(failed["outcome"], "fail");
    assert_eq!(
        failed["cause"]["features"],
        serde_json::json!(["mrg_rxbuf"])
    );
    assert_eq!(failed["cause"]["rule"], "feature-dropped");
    let findings = run.report["findings"].as_array().unwrap();
    let warned = findings.iter().find(|of| of["rule"] == "feature-dropped");
    let warned = warned.unwrap_or_else(|| panic!("{}", run.said()));
    let path = warned["path"].as_array().unwrap();
    assert_eq!(path.last().unwrap(), "mrg_rxbuf", "{warned}");
    assert_eq!(warned["confirmed_by"], failed["id"], "{warned}");
    let again = failed["reproduce"].as_str().unwrap();
    assert!(again.contains("-kernel"), "{again}");
    let at_work = case("q35/virtio-rng-pci/unix/forward/linux");
    assert_eq!(at_work["running"], true);
    assert!(
        at_work["linux"]["kernel"]
            .as_str()
            .unwrap()
            .starts_with("6.")
    );
    run.leaves_nothing();
}

/// What was asked for and cannot be had is no pass.
#[apply(test)]
#[needs(Builds)]
fn a_sweep_of_machines_without_a_kernel_is_not_taken_for_one_with_linux() {
    let sweep = |machines: &[&str]| {
        let args = words!("sweep {NEW} {NEW} --only virtio-rng-*");
        let more = ["--direction", "forward", "--workload", "linux"];
        Run::new(&[&args[..], machines, &more].concat())
    };
    let alone = sweep(&["-M", "m68k/virt"]);
    assert_eq!(alone.status(), Some(2), "{}", alone.said());
    let said = alone.said();
    assert!(said.contains("there is no Linux guest for m68k"), "{said}");
    // As it is after reset this machine is swept, too.
    let beside = sweep(&["-M", "m68k/virt", "-M", "x86_64/q35"]);
    assert_eq!(beside.status(), Some(125), "{}", beside.said());
    let notices = beside.report["notices"].as_array().unwrap().iter();
    let kinds: Vec<&Value> = notices.map(|notice| &notice["kind"]).collect();
    assert!(
        kinds.contains(&&serde_json::json!("no-linux")),
        "{}",
        beside.said()
    );
}

#[apply(test)]
#[needs(Builds)]
fn there_is_no_linux_guest_for_every_architecture() {
    let args = ["live", "debian:trixie", "debian:trixie", "--arch", "m68k"];
    let run = Run::new(&[&args[..], &["-M", "virt", "--workload", "linux"]].concat());
    assert_eq!(run.status(), Some(2));
    let said = run.said();
    assert!(said.contains("there is no Linux guest for m68k"), "{said}");
}

/// Lines of a script by which the guest's kernel gives up.
const PANICS: &str = r#"for arg; do
    shift
    case "$arg" in *panic=-1*) arg="$arg rdinit=/nothing" ;; esac
    set -- "$@" "$arg"
done"#;

/// A machine that boots a guest has moved nowhere yet: a build that dies of the boot once says nothing of a migration, and
/// neither does a kernel that gives up in it.
#[apply(test)]
#[needs(Builds)]
fn a_boot_that_fails_once_is_tried_again() {
    let prefix = build(NEW).shell_prefix();
    let dies = faulty(&prefix, "query-status", Fault::Signal("SIGSEGV", 0), None);
    for fault in [&dies[..], PANICS] {
        let folder = tempfile::tempdir().unwrap();
        let struck = folder.path().join("struck");
        let once = struck.display();
        let first = format!(
            "case \"$*\" in *-incoming*) ;; *-initrd*) [ -e '{once}' ] || {{ touch '{once}'\n{fault}\n}} ;; esac"
        );
        let fails = changed(folder.path(), NEW, &first);
        let args = words!("live {fails} {NEW} -M q35 --device virtio-rng-pci");
        let more = ["--workload", "linux", "--direction", "forward"];
        let run = Run::new(&[&args[..], &more, &["--retries", "0"]].concat());
        assert!(struck.exists(), "{}", run.said());
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
        run.leaves_nothing();
    }
}

/// What a kernel said first tells why it gave up, and not the end of a long report.
#[apply(test)]
#[needs(Builds)]
fn a_kernel_that_gives_up_each_time_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let panics = changed(folder.path(), NEW, PANICS);
    let args = words!("live {panics} {NEW} -M q35 --device virtio-rng-pci --workload linux");
    let run = Run::new(&[&args[..], &words!("--direction forward --retries 0")].concat());
    assert_eq!(run.outcomes(), ["skip"], "{}", run.said());
    assert!(
        run.said().contains("Unable to mount root fs"),
        "{}",
        run.said()
    );
    run.leaves_nothing();
}

/// Another architecture has its own packages, console and timers, perhaps another bus, and what its kernel needs.
#[apply(test)]
#[needs(Builds)]
fn linux_works_on_other_architectures() {
    for (arch, machine, bus, kernel) in [
        ("aarch64", "virt", "pci", "-arm64"),
        ("s390x", "s390-ccw-virtio", "ccw", "-s390x"),
        ("ppc64", "pseries", "pci", "-powerpc64le"),
    ] {
        let devices = ["net", "blk"].map(|kind| format!("virtio-{kind}-{bus}"));
        let devices = ["--device", &devices[0], "--device", &devices[1]];
        let args = ["live", NEW, NEW, "--arch", arch, "-M", machine];
        let more = ["--workload", "linux", "--direction", "forward"];
        let run = Run::new(&[&args[..], &devices, &more].concat());
        assert_eq!(run.outcomes(), ["pass"], "{arch}: {}", run.said());
        let case = run.case(0);
        let id = format!("{machine}/ad-hoc/unix/forward/linux");
        assert_eq!(case["id"], *id);
        let linux = &case["linux"];
        let release = linux["kernel"].as_str().unwrap();
        assert!(release.ends_with(kernel), "{linux}");
        assert_eq!(linux["undriven"], serde_json::json!([]), "{linux}");
        assert!(features(case, "net").contains(&"mrg_rxbuf"), "{case}");
        run.leaves_nothing();
    }
}
