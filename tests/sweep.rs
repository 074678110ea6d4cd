//! Sweeps of real builds: few devices, so that it stays quick, and what they have to tell apart.
//!
//! The builds are those of `tests/builds.rs`: fetched into `$MIGCOMPAT_CACHE`, or else below the
//! target folder. `MIGCOMPAT_OFFLINE=1` says loudly that nothing was tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn cache_dir() -> PathBuf {
    std::env::var_os("MIGCOMPAT_CACHE").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        PathBuf::from,
    )
}

fn online(test: &str) -> bool {
    let offline = std::env::var_os("MIGCOMPAT_OFFLINE").is_some_and(|value| value == "1");
    if offline {
        eprintln!("UNTESTED: {test}: MIGCOMPAT_OFFLINE=1 is set, no real build was fetched or run");
    }
    !offline
}

fn sweep(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migcompat"))
        .args(["sweep"])
        .args(args)
        .arg("--cache")
        .arg(cache_dir())
        .output()
        .expect("it runs")
}

/// The report, held against the schema.
fn report(args: &[&str]) -> (Value, Option<i32>) {
    let output = sweep(&[args, &["--format", "json", "-q"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let schema = include_str!("../report-schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is sound");
    let errors: Vec<String> = validator
        .iter_errors(&report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    (report, output.status.code())
}

/// Outcome and control of every case, by id.
fn outcomes(report: &Value) -> BTreeMap<String, (String, Value)> {
    let cases = report["cases"].as_array().expect("cases");
    let entry = |case: &Value| {
        let text = |key: &str| case[key].as_str().expect("a text").to_owned();
        (text("id"), (text("outcome"), case["control"].clone()))
    };
    cases.iter().map(entry).collect()
}

fn outcome<'r>(outcomes: &'r BTreeMap<String, (String, Value)>, id: &str) -> &'r str {
    let found = outcomes.get(id);
    &found
        .unwrap_or_else(|| panic!("no {id} in {outcomes:#?}"))
        .0
}

/// Devices of which some break, one way or in one build, among many that do not.
const MIXED: &[&str] = &[
    "--only", "am53c974", "--only", "dc390", "--only", "isa-vga", "--only", "e1000*", "--only",
    "usb-*", "--only", "virtio-*", "--only", "pxb*",
];

#[test]
fn a_pack_tells_what_one_by_one_tells() {
    if !online("a_pack_tells_what_one_by_one_tells") {
        return;
    }
    let pair = ["debian:bookworm", "debian:trixie", "-M", "pc-q35-7.2"];
    let (packed, status) = report(&[&pair, MIXED].concat());
    assert_eq!(status, Some(1));
    let (alone, status) = report(&[&pair, MIXED, &["--one-by-one"]].concat());
    assert_eq!(status, Some(1));
    let found = outcomes(&packed);
    assert_eq!(found, outcomes(&alone));
    let (packed, alone) = (&packed["swept"][0], &alone["swept"][0]);
    assert_eq!(packed["left_out"], alone["left_out"]);
    let guests = |swept: &Value| swept["guests"].as_u64().expect("a number");
    assert!(
        guests(packed) * 2 < guests(alone),
        "{} guests, alone {}",
        guests(packed),
        guests(alone)
    );

    // The controller of the board is in both builds, and they disagree about its wire form.
    for device in ["am53c974", "dc390"] {
        let (outcome, control) = &found[&format!("q35/{device}/unix/forward")];
        assert_eq!(outcome, "fail", "{device}");
        assert_eq!(control["old_to_old"], "pass");
        assert_eq!(control["new_to_new"], "pass");
    }
    assert_eq!(outcome(&found, "q35/isa-vga/unix/backward"), "broken");
    for device in ["e1000", "e1000e", "usb-kbd", "virtio-net-pci", "bare"] {
        for direction in ["forward", "backward"] {
            let id = format!("q35/{device}/unix/{direction}");
            assert_eq!(outcome(&found, &id), "pass", "{id}");
        }
    }
    // In words of ours, of the data, and of the build.
    let left_out = packed["left_out"].as_array().expect("a list");
    let reason = |device: &str| {
        let entry = left_out.iter().find(|entry| entry["device"] == device);
        entry.unwrap_or_else(|| panic!("{device}: {left_out:#?}"))["reason"].clone()
    };
    assert_eq!(reason("usb-host"), "needs a device of the host");
    assert_eq!(
        reason("pxb"),
        "debian:bookworm does not start with it: -device pxb,id=any-pxb: pxb devices cannot reside on a PCIe bus"
    );
    let exercised = packed["exercised"].as_u64().expect("a number") as usize;
    let shared = packed["shared"].as_u64().expect("a number") as usize;
    assert_eq!(exercised + left_out.len(), shared, "nothing is silent");
}

#[test]
fn several_machines_of_several_architectures_are_one_report() {
    if !online("several_machines_of_several_architectures_are_one_report") {
        return;
    }
    let (report, status) = report(&[
        "debian:bookworm",
        "debian:trixie",
        "-M",
        "q35",
        "-M",
        "pc",
        "-M",
        "m68k/virt",
        "-M",
        "virt",
        "-M",
        "pc-q35-99.0",
        "--only",
        "virtio-rng*",
    ]);
    assert_eq!(status, Some(1), "aarch64 does not get across");
    assert_eq!(report["machine"], Value::Null);
    let places: Vec<(&str, &str)> = report["swept"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|s| Some((s["architecture"].as_str()?, s["machine"].as_str()?)))
        .collect();
    assert_eq!(
        places,
        [
            ("x86_64", "pc-q35-7.2"),
            ("x86_64", "pc-i440fx-7.2"),
            ("m68k", "virt-7.2"),
            ("aarch64", "virt-7.2"),
        ]
    );
    let found = outcomes(&report);
    for id in [
        "q35/virtio-rng-pci/unix/forward",
        "i440fx/virtio-rng-pci/unix/backward",
        "m68k/virt/virtio-rng-device/unix/forward",
    ] {
        assert_eq!(outcome(&found, id), "pass", "{id}");
    }
    // Said once of the machine, and no device is blamed for it.
    assert_eq!(outcome(&found, "aarch64/virt/bare/unix/forward"), "fail");
    assert_eq!(
        outcome(&found, "aarch64/virt/virtio-rng-pci/unix/forward"),
        "skip"
    );
    assert_eq!(outcome(&found, "q35/bare/unix/forward"), "pass");
    assert_eq!(outcome(&found, "pc-q35-99.0/bare/unix/forward"), "skip");
}

#[test]
fn a_page_shows_what_did_not_pass_and_no_more() {
    if !online("a_page_shows_what_did_not_pass_and_no_more") {
        return;
    }
    let args = [
        "debian:bookworm",
        "debian:trixie",
        "-M",
        "pc-q35-7.2",
        "--direction",
        "forward",
        "--only",
        "am53c974",
        "--only",
        "dc390",
        "--only",
        "e1000",
    ];
    let output = sweep(&args);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("3 device types in both builds: 3 exercised, 0 left out"),
        "{text}"
    );
    assert!(
        text.contains("fail     q35/am53c974/unix/forward"),
        "{text}"
    );
    assert!(
        text.contains("same in    q35/dc390/unix/forward"),
        "one cause, once: {text}"
    );
    assert!(text.contains("by hand    d=$(mktemp -d); "), "{text}");
    assert!(!text.contains("q35/e1000/"), "{text}");
    let verbose = sweep(&[&args[..], &["-v"]].concat());
    let text = String::from_utf8_lossy(&verbose.stdout);
    assert!(text.contains("pass     q35/e1000/unix/forward"), "{text}");
}

#[test]
fn wrong_wishes_are_told() {
    for (args, wanted) in [
        (
            &["a", "b", "--all-machines", "-M", "q35"][..],
            "cannot be used with",
        ),
        (
            &["a", "b", "--arch", "x86_64", "--all-arches"],
            "cannot be used with",
        ),
        (&["a", "b", "--timeout", "0"], "0 is not in"),
        (&["/no/such/build", "b"], "/no/such/build"),
        (
            &["debian:bookworm", "debian:trixie", "--arch", "vax"],
            "vax",
        ),
    ] {
        let output = sweep(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}
