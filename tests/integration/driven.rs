//! Machines whose devices are driven from outside: what is seen without any guest.

use std::collections::BTreeSet;
use std::fs;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{changed, root, words};
use crate::live::Run;

const BUILD: &str = "debian:bookworm-backports";

/// Moves the machine from a build to itself.
fn run(more: &[&str]) -> Run {
    let args = ["live", BUILD, BUILD, "-M", "q35"];
    Run::new(&[&args[..], more].concat())
}

/// The virtio devices of a case that have a driver: their kinds, and the features that were accepted.
fn driven(case: &Value) -> Vec<(&str, Vec<&str>)> {
    let devices = case["driven"]["virtio"].as_array().unwrap().iter();
    let devices = devices.filter(|device| device["driver"] == "migcompat");
    let names = |device: &'_ Value| device["features"].as_array().unwrap().len();
    devices
        .inspect(|device| assert!(names(device) > 0, "{device}"))
        .map(|device| {
            let features = device["features"].as_array().unwrap().iter();
            let features = features.map(|name| name.as_str().unwrap());
            (device["kind"].as_str().unwrap(), features.collect())
        })
        .collect()
}

#[apply(test)]
#[needs(Builds)]
fn every_virtio_device_has_its_features_accepted_and_comes_back() {
    let run = run(&["--driven", "--loops", "2"]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let case = run.case(0);
    assert_eq!(case["id"], "q35/default/unix/forward-loop2/driven");
    assert_eq!(case["running"], false);
    let devices = driven(case);
    let kinds: Vec<&str> = devices.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["net", "blk", "scsi", "serial", "rng", "balloon"]);
    for (kind, features) in &devices {
        assert!(features.contains(&"version_1"), "{kind}: {features:?}");
    }
    let states = case["driven"]["states"].as_array().unwrap();
    assert!(states.iter().any(|state| state == "AHCI"), "{states:?}");
    run.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_feature_that_one_side_lacks_is_refused_without_any_guest() {
    let lacks = "--new-arg=-global virtio-net-pci.mrg_rxbuf=off";
    let card = ["--device", "virtio-net-pci", lacks, "--retries", "0"];
    let paused = run(&[&card[..], &["--paused"]].concat());
    assert_eq!(paused.status(), Some(0), "{}", paused.said());
    let driven = run(&[&card[..], &["--driven"]].concat());
    assert_eq!(driven.status(), Some(1), "{}", driven.said());
    for case in driven.report["cases"].as_array().unwrap() {
        let fails = case["direction"] == "forward";
        assert_eq!(case["outcome"] == "fail", fails, "{case}");
        if fails {
            assert_eq!(case["cause"]["rule"], "feature-dropped");
            assert_eq!(case["cause"]["features"], serde_json::json!(["mrg_rxbuf"]));
            let line = case["reproduce"].as_str().unwrap();
            assert!(line.contains("# without what --driven does"), "{line}");
        }
    }
    driven.leaves_nothing();
}

/// Old devices have other registers, and none of the newer features.
#[apply(test)]
#[needs(Builds)]
fn a_device_without_the_newer_registers_is_driven_by_its_ports() {
    let device = "virtio-balloon-pci,disable-modern=on,disable-legacy=off";
    let run = run(&["--driven", "--device", device]);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let devices = driven(run.case(0));
    assert_eq!(devices.len(), 1);
    let (kind, features) = &devices[0];
    assert_eq!(*kind, "balloon");
    assert!(features.contains(&"event_idx"), "{features:?}");
    assert!(!features.contains(&"version_1"), "{features:?}");
}

/// What is behind bridges is found, and has its addresses passed on.
#[apply(test)]
#[needs(Builds)]
fn a_device_behind_a_bridge_is_driven() {
    let bridges = [
        "pcie-root-port,id=rp1,chassis=1,slot=1",
        "pcie-pci-bridge,id=behind,bus=rp1",
        "virtio-rng-pci,bus=behind,addr=3",
        "virtio-balloon-pci,bus=rp2",
    ];
    let mut args = vec!["--driven"];
    args.extend(["--device", bridges[0], "--device", bridges[1]]);
    args.extend(["--device", bridges[2]]);
    args.extend(["--device", "pcie-root-port,id=rp2,chassis=2,slot=2"]);
    args.extend(["--device", bridges[3]]);
    let run = run(&args);
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let case = run.case(0);
    let kinds: Vec<&str> = driven(case).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["rng", "balloon"]);
    let virtio = case["driven"]["virtio"].as_array().unwrap();
    assert_eq!(virtio[0]["name"], "0000:02:03.0");
}

/// Devices in memory, those of a big-endian processor, and those whose configuration firmware has.
#[apply(test)]
#[needs(Builds)]
fn machines_of_every_kind_are_driven() {
    for (arch, machine, devices, kinds) in [
        (
            "x86_64",
            "microvm",
            ["virtio-rng-device", "virtio-balloon-device"],
            ["balloon", "rng"],
        ),
        (
            "m68k",
            "virt",
            ["virtio-rng-device", "virtio-balloon-device"],
            ["balloon", "rng"],
        ),
        (
            "ppc64",
            "pseries",
            ["virtio-rng-pci", "virtio-balloon-pci,disable-modern=on"],
            ["rng", "balloon"],
        ),
    ] {
        let args = ["live", BUILD, BUILD, "--arch", arch, "-M", machine];
        let [first, second] = devices;
        let how = ["--driven", "--device", first, "--device", second];
        let run = Run::new(&[&args[..], &how].concat());
        assert_eq!(run.status(), Some(0), "{machine}: {}", run.said());
        for case in run.report["cases"].as_array().unwrap() {
            let devices = driven(case);
            let found: Vec<&str> = devices.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(found, kinds, "{machine}");
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_machine_without_a_map_is_refused_with_what_can_be_done() {
    let args = ["live", BUILD, BUILD, "-M", "isapc", "--driven"];
    let run = Run::new(&args);
    assert_eq!(run.status(), Some(2), "{}", run.said());
    let said = run.said();
    assert!(
        said.contains("the devices of isapc (x86_64) cannot be driven from outside"),
        "{said}"
    );
    assert!(said.contains("--paused"), "{said}");
}

/// What `device-sets/never-sent.toml` says is never sent, each with its section; `*` is any.
fn never_sent() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("device-sets/never-sent.toml")).unwrap();
    let listed: toml::Table = text.parse().unwrap();
    let mut all = Vec::new();
    for entry in listed["never"].as_array().unwrap() {
        let reason = entry["reason"].as_str().unwrap();
        assert!(!reason.is_empty());
        for subsection in entry["subsections"].as_array().unwrap() {
            let (section, name) = subsection.as_str().unwrap().split_once(' ').unwrap();
            all.push((section.to_owned(), name.to_owned()));
        }
    }
    all
}

/// The subsections that a sweep sends or does not, with their sections, of those that a guest sent.
fn subsections(report: &Value, sent: bool) -> BTreeSet<(String, String)> {
    let sections = report["coverage"]["sections"].as_array().unwrap().iter();
    let reached =
        |section: &&Value| section["possible"] == true && section["reached"] != "not-created";
    let mut all = BTreeSet::new();
    for section in sections.filter(reached) {
        let name = section["section"].as_str().unwrap();
        for subsection in section["subsections"].as_array().unwrap() {
            if subsection["sent"] == sent {
                let subsection = subsection["name"].as_str().unwrap();
                all.insert((name.to_owned(), subsection.to_owned()));
            }
        }
    }
    all
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_with_drivers_at_work_sends_all_subsections_but_those_that_are_listed() {
    let pair = words!("sweep debian:trixie debian:trixie-backports -M q35");
    let run = Run::new(&[&pair[..], &["--driven"]].concat());
    let cases = run.report["cases"].as_array().unwrap();
    let of_driven = |case: &&Value| case["id"].as_str().unwrap().ends_with("/driven");
    let outcomes = |outcome: &str| {
        let driven = cases.iter().filter(of_driven);
        driven.filter(|case| case["outcome"] == outcome).count()
    };
    assert!(outcomes("pass") > 200, "{}", run.said());
    // What fails without a driver is not tried with one.
    for case in cases.iter().filter(of_driven) {
        let id = case["id"].as_str().unwrap();
        let plain = id.strip_suffix("/driven").unwrap();
        let plain = cases.iter().find(|case| case["id"] == plain).unwrap();
        if plain["outcome"] == "fail" {
            assert_eq!(case["outcome"], "skip", "{id}");
        }
    }
    let counts = &run.report["coverage"]["counts"];
    assert!(
        counts["subsections_sent"].as_u64().unwrap() >= 60,
        "{counts}"
    );
    let listed = never_sent();
    let fits = |of: &(String, String), (section, name): &(String, String)| {
        *name == of.1 && (section == "*" || *section == of.0)
    };
    let silent = subsections(&run.report, false);
    let unlisted = silent
        .iter()
        .filter(|of| !listed.iter().any(|entry| fits(of, entry)));
    let unlisted: Vec<_> = unlisted.collect();
    assert!(unlisted.is_empty(), "no reason is given for {unlisted:?}");
    let stale = listed
        .iter()
        .filter(|entry| !silent.iter().any(|of| fits(of, entry)));
    let stale: Vec<_> = stale.collect();
    assert!(
        stale.is_empty(),
        "these are sent, or no section has them: {stale:?}"
    );
    run.leaves_nothing();
}

/// A feature shows only once it has been accepted, and then each case says so in its name.
#[apply(test)]
#[needs(Builds)]
fn a_sweep_finds_a_feature_that_only_a_driver_shows() {
    let folder = tempfile::tempdir().unwrap();
    let first = "set -- \"$@\" -global virtio-net-pci.mrg_rxbuf=off";
    let lacks = changed(folder.path(), BUILD, first);
    let sweep = |more: &[&str]| {
        let args = words!("sweep {BUILD} {lacks} -M q35 --only virtio-net-pci");
        Run::new(&[&args[..], more].concat())
    };
    let plain = sweep(&[]);
    assert_eq!(plain.status(), Some(0), "{}", plain.said());
    let driven = sweep(&["--driven"]);
    assert_eq!(driven.status(), Some(1), "{}", driven.said());
    let failed = driven.report["cases"].as_array().unwrap().iter();
    let failed: Vec<&Value> = failed.filter(|case| case["outcome"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{}", driven.said());
    assert_eq!(failed[0]["id"], "q35/virtio-net-pci/unix/forward/driven");
    let features = serde_json::json!(["mrg_rxbuf"]);
    assert_eq!(failed[0]["cause"]["features"], features);
    assert_eq!(failed[0]["reproducer"], Value::Null);
    driven.leaves_nothing();
}

/// Builds alone do not drive a device: a sweep does what is said to do the same by hand.
#[apply(test)]
#[needs(Builds)]
fn a_case_with_a_driver_is_reproduced_with_a_driver() {
    let pair = words!("sweep debian:bookworm debian:trixie -M q35 --only virtio-mem-pci");
    let run = Run::new(&[&pair[..], &["--driven", "--direction", "backward"]].concat());
    let cases = run.report["cases"].as_array().unwrap();
    let failed: Vec<&Value> = cases
        .iter()
        .filter(|case| case["outcome"] == "fail")
        .collect();
    let ids = failed.iter().map(|case| case["id"].as_str().unwrap());
    let driven = ["bare", "virtio-mem-pci"].map(|of| format!("q35/{of}/unix/backward/driven"));
    assert_eq!(ids.collect::<Vec<_>>(), driven, "{}", run.said());
    for case in failed {
        assert_eq!(case["reproducer"], Value::Null, "{case:#}");
        let line = case["reproduce"].as_str().unwrap();
        let args = line.strip_prefix("migcompat ").unwrap();
        let again = Run::new(&args.split(' ').collect::<Vec<_>>());
        let cases = again.report["cases"].as_array().unwrap();
        let same = cases.iter().find(|again| again["id"] == case["id"]);
        assert_eq!(same.unwrap()["cause"]["section"], case["cause"]["section"]);
        assert_eq!(again.status(), Some(1), "{line}: {}", again.said());
    }
}
