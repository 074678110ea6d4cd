//! Machines whose devices are driven from outside: what is seen without any guest.

use macro_rules_attribute::apply;
use serde_json::Value;

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

#[apply(test)]
#[needs(Builds)]
fn a_machine_without_a_map_is_refused_with_what_can_be_done() {
    let args = ["live", BUILD, BUILD, "-M", "microvm", "--driven"];
    let run = Run::new(&args);
    assert_eq!(run.status(), Some(2), "{}", run.said());
    let said = run.said();
    assert!(
        said.contains("the devices of microvm (x86_64) cannot be driven from outside"),
        "{said}"
    );
    assert!(said.contains("--paused"), "{said}");
}
