//! Sweeps of real builds: few devices, so that it stays quick, and what they have to tell apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{build, changed, program, script, stderr, stdout, with_builds, words};
use crate::processes::{Fault, faulty};

fn sweep(args: &[&str]) -> Output {
    let args = [&["sweep"], args].concat();
    with_builds(&args).output().expect("it runs")
}

fn report(args: &[&str]) -> (Value, Option<i32>) {
    let output = sweep(&[args, &["--format", "json", "-q"]].concat());
    (crate::common::report(&output), output.status.code())
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

#[apply(test)]
#[needs(Builds)]
fn a_pack_tells_what_one_by_one_tells() {
    let pair = ["debian:bookworm", "debian:trixie", "-M", "pc-q35-7.2"];
    let (packed, status) = report(&[&pair, MIXED].concat());
    assert_eq!(status, Some(1));
    let (alone, status) = report(&[&pair, MIXED, &["--one-by-one"]].concat());
    assert_eq!(status, Some(1));
    let found = outcomes(&packed);
    assert_eq!(found, outcomes(&alone));
    let whole = packed.clone();
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
    // The new build does not survive its own stream of it; the old one does, but not the new one's.
    let (isa_vga, control) = &found["q35/isa-vga/unix/backward"];
    assert_eq!(isa_vga, "crash");
    assert_eq!(control["old_to_old"], "pass");
    assert_eq!(control["new_to_new"], "crash");
    for device in ["e1000", "e1000e", "usb-kbd", "virtio-net-pci", "bare"] {
        for direction in ["forward", "backward"] {
            let id = format!("q35/{device}/unix/{direction}");
            assert_eq!(outcome(&found, &id), "pass", "{id}");
        }
    }
    // The dumps foretold it, the guests confirm it, and the stream says where.
    let case = |report: &Value, id: &str| {
        let cases = report["cases"].as_array().expect("cases");
        let found = cases.iter().find(|case| case["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}")).clone()
    };
    for device in ["am53c974", "dc390"] {
        let case = case(&whole, &format!("q35/{device}/unix/forward"));
        assert_eq!(case["cause"]["field"], "esp/drq_state", "{device}");
        assert_eq!(case["cause"]["rule"], "field-added", "{device}");
        assert_eq!(case["cause"]["expected"], "esp/drq_state (bool, 1 byte)");
        assert!(case["cause"]["offset"].is_u64(), "{case}");
        // What is explained is not tried again; what nobody foretold is.
        assert_eq!(case["repeated"], Value::Null);
    }
    let crash = case(&whole, "q35/isa-vga/unix/backward");
    // What a build dies of need not kill it each time.
    assert_eq!(crash["repeated"], json!({"failed": 4, "of": 4}));
    let findings = whole["findings"].as_array().expect("findings");
    let errors: Vec<&Value> = findings
        .iter()
        .filter(|f| f["level"] == "error" && f["allowed_by"] == Value::Null)
        .collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    for error in errors {
        let direction = error["direction"].as_str().expect("a direction");
        assert_eq!(error["section"], "am53c974");
        assert_eq!(error["also_in"], json!(["dc390"]));
        assert_eq!(
            error["confirmed_by"],
            format!("q35/am53c974/unix/{direction}")
        );
    }
    // What both builds sent of the same guests was compared as well, and names no place in a guest.
    let sent = findings.iter().filter(|f| f["evidence"] == "stream");
    let sections: Vec<&str> = sent.filter_map(|f| f["section"].as_str()).collect();
    assert!(sections.contains(&"globalstate"), "{sections:?}");
    assert!(sections.iter().all(|s| !s.contains('/')), "{sections:?}");
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

/// A report without what no two runs have in common: times, how much RAM was sent, folders, guests.
fn lasting(mut report: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| {
                    let measured = matches!(
                        key.as_str(),
                        "bytes"
                            | "pages"
                            | "passes"
                            | "logs"
                            | "reproducer"
                            | "guests"
                            | "started"
                            | "command"
                    );
                    !measured && !key.ends_with("_ms")
                });
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut report);
    report
}

fn merge(files: &[PathBuf], args: &[&str]) -> Output {
    let mut command = program(&["merge"]);
    command.args(files).args(args).output().expect("it runs")
}

/// Some hang on others that break, some start in no build, and some pass.
#[apply(test)]
#[needs(Builds)]
fn shards_joined_are_the_whole_run() {
    let pair = ["debian:bookworm", "debian:trixie", "-M", "pc-q35-7.2"];
    let only = [
        "am53c974",
        "dc390",
        "e1000",
        "isa-vga",
        "pxb*",
        "scsi-hd",
        "usb-host",
        "usb-kbd",
        "virtio-rng-pci",
    ];
    let only: Vec<&str> = only.iter().flat_map(|glob| ["--only", glob]).collect();
    let args = [&pair, only.as_slice()].concat();
    let (whole, status) = report(&args);
    assert_eq!(status, Some(1));
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, report: &Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, report.to_string()).expect("written");
        file
    };
    let mut files = Vec::new();
    let mut sizes = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let (part, _) = report(&[&args[..], &["--shard", shard]].concat());
        sizes.push(part["cases"].as_array().expect("cases").len());
        files.push(written(&shard.replace('/', "-"), &part));
    }
    let cases = whole["cases"].as_array().expect("cases").len();
    assert_eq!(sizes.iter().sum::<usize>(), cases, "{sizes:?}");
    assert!(
        sizes.iter().filter(|size| **size > 0).count() > 1,
        "{sizes:?}"
    );

    let merged = merge(&files, &["--format", "json"]);
    assert_eq!(merged.status.code(), Some(1));
    let merged: Value = serde_json::from_slice(&merged.stdout).expect("a report");
    let text = |report: Value| serde_json::to_string_pretty(&lasting(report)).expect("JSON");
    same_lines(&text(merged), &text(whole));

    let lacking = merge(&files[..2], &[]);
    assert_eq!(lacking.status.code(), Some(125));
    let printed = stderr(&lacking);
    assert!(printed.contains("shard 3 is missing of 3"), "{printed}");

    // The same machine and devices, and another build.
    let other = words!("debian:bookworm debian:trixie-backports -M pc-q35-7.2");
    let (part, _) = report(&[&other, only.as_slice(), &["--shard", "3/3"]].concat());
    files[2] = written("other", &part);
    let mixed = merge(&files, &[]);
    assert_eq!(mixed.status.code(), Some(2));
    let printed = stderr(&mixed);
    assert!(
        printed.contains("not of one run: the new build is"),
        "{printed}"
    );
}

/// The first line that differs says more than two reports.
fn same_lines(one: &str, other: &str) {
    for (at, (one, other)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(one, other, "line {}", at + 1);
    }
    assert_eq!(one.lines().count(), other.lines().count());
}

/// Of an e1000 alone, all that a guest with it can send is sent; of a vhost device, nothing is.
#[apply(test)]
#[needs(Builds)]
fn coverage_gates_where_it_is_asked_for() {
    let pair = ["debian:bookworm", "debian:trixie", "-M", "pc-q35-7.2"];
    let all = [&pair[..], &["--only", "e1000", "--min-coverage", "100"]].concat();
    let (enough, status) = report(&all);
    assert_eq!(status, Some(0));
    assert_eq!(enough["coverage"]["counts"]["percent"], 100);
    let sections = enough["coverage"]["sections"].as_array().expect("a list");
    let of = |name: &str| {
        let found = sections.iter().find(|section| section["section"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(of("e1000")["reached"], "passed");
    assert_eq!(of("rtl8139")["possible"], false, "it was not asked for");
    // What is in every guest of the machine.
    assert_eq!(of("mch")["reached"], "passed");

    let less = [&all[..], &["--only", "vhost-vsock*"]].concat();
    let (less, status) = report(&less);
    assert_eq!(status, Some(125));
    assert_eq!(less["verdict"], "untested");
    assert_eq!(less["coverage"]["required"], 100);
}

/// What a build does to each stream of a type without a version, or under a name of another release, keeps the machine from
/// migrating, and hides its devices no more: alone, or beside a section that is refused as well.
#[apply(test)]
#[needs(Builds)]
fn devices_are_tried_with_the_switch_without_which_their_machine_does_not_migrate() {
    let (report, status) = report(&words!(
        "debian:bookworm debian:trixie -M pc-q35-7.2=pc-q35-10.0 -M isapc --only virtio-blk-pci --only sb16 --only ne2k_isa"
    ));
    assert_eq!(status, Some(1));
    let with = json!({"side": "new", "args": "-global migration.send-switchover-start=off"});
    let backward = |machine: usize| &report["swept"][machine]["grafted"];
    assert_eq!(
        *backward(0),
        json!([{"direction": "backward", "sections": [], "with": with}])
    );
    assert_eq!(
        *backward(1),
        json!([{"direction": "backward", "sections": ["isa-ide"], "with": with}])
    );
    let cases = report["cases"].as_array().expect("cases");
    let case = |id: &str| {
        let found = cases.iter().find(|case| case["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}"))
    };
    for (id, outcome, is_helped) in [
        (
            "pc-q35-7.2=pc-q35-10.0/virtio-blk-pci/unix/forward",
            "pass",
            false,
        ),
        (
            "pc-q35-7.2=pc-q35-10.0/virtio-blk-pci/unix/backward",
            "pass",
            true,
        ),
        ("isapc/ne2k_isa/unix/backward", "pass", true),
        ("isapc/sb16/unix/backward", "lost", true),
    ] {
        assert_eq!(case(id)["outcome"], outcome, "{id}");
        let expected = if is_helped { &with } else { &Value::Null };
        assert_eq!(case(id)["tried_with"], *expected, "{id}");
    }
    // It passes with that alone, and says so; what needs a section of the other build as well does not.
    let bare = |id: &str| {
        let bare = case(id);
        assert_eq!(bare["outcome"], "fail", "{id}");
        assert_eq!(bare["tried_with"], Value::Null);
        bare["passes_with"].clone()
    };
    assert_eq!(bare("pc-q35-7.2=pc-q35-10.0/bare/unix/backward"), with);
    assert_eq!(bare("isapc/bare/unix/backward"), Value::Null);
    // Builds by themselves would stop at the switch.
    let again = case("isapc/sb16/unix/backward")["reproduce"].as_str();
    let sweep = "migcompat sweep debian:bookworm debian:trixie -M x86_64/isapc --only sb16 --direction backward";
    assert_eq!(again, Some(sweep));
}

#[apply(test)]
#[needs(Builds)]
fn several_machines_of_several_architectures_are_one_report() {
    let (report, status) = report(&words!(
        "debian:bookworm debian:trixie -M q35 -M pc -M m68k/virt -M virt -M pc-q35-99.0 --only virtio-rng*"
    ));
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
    // Said once of the machine; its devices are tried with the destination's own CPU, and each says so.
    assert_eq!(outcome(&found, "aarch64/virt/bare/unix/forward"), "fail");
    let virt = &report["swept"][3];
    assert_eq!(
        virt["grafted"],
        json!([
            {"direction": "forward", "sections": ["cpu"]},
            {"direction": "backward", "sections": ["cpu"]},
        ])
    );
    assert!(virt["exercised"].as_u64() > Some(0), "{virt}");
    let cases = report["cases"].as_array().expect("cases");
    let grafted = |id: &str| {
        let case = cases.iter().find(|case| case["id"] == id);
        case.unwrap_or_else(|| panic!("no {id}"))["grafted"].clone()
    };
    for direction in ["forward", "backward"] {
        let id = format!("aarch64/virt/virtio-rng-pci/unix/{direction}");
        assert_eq!(outcome(&found, &id), "pass");
        assert_eq!(grafted(&id), json!(["cpu"]));
        let whole = format!("q35/virtio-rng-pci/unix/{direction}");
        assert_eq!(grafted(&whole), json!([]));
    }
    assert_eq!(outcome(&found, "q35/bare/unix/forward"), "pass");
    assert_eq!(outcome(&found, "pc-q35-99.0/bare/unix/forward"), "skip");
}

#[apply(test)]
#[needs(Builds)]
fn a_page_shows_what_did_not_pass_and_no_more() {
    let args = words!(
        "debian:bookworm debian:trixie -M pc-q35-7.2 --direction forward --only am53c974 --only dc390 --only e1000"
    );
    let output = sweep(&args);
    let text = stdout(&output);
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
    let by_hand = text
        .lines()
        .find_map(|line| line.strip_prefix("  by hand    sh "));
    assert!(Path::new(by_hand.expect("a script")).is_file(), "{text}");
    assert!(!text.contains("q35/e1000/"), "{text}");
    let verbose = sweep(&[&args[..], &["-v"]].concat());
    let text = stdout(&verbose);
    assert!(text.contains("pass     q35/e1000/unix/forward"), "{text}");
}

/// A load writes into the page of vmclock in every build, also from a build to itself: that is no loss, of
/// a pack as little as of the device alone.
#[apply(test)]
#[needs(Builds)]
fn what_a_load_changes_within_a_build_is_no_loss() {
    let pair = ["debian:trixie", "debian:trixie", "-M", "pc-q35-10.0"];
    let only = ["--only", "vmclock", "--only", "e1000*", "--only", "rtl8139"];
    let (packed, status) = report(&[&pair[..], &only].concat());
    assert_eq!(status, Some(0));
    let (alone, _) = report(&[&pair[..], &only, &["--one-by-one"]].concat());
    let found = outcomes(&packed);
    assert_eq!(found, outcomes(&alone));
    assert_eq!(outcome(&found, "q35/vmclock/unix/forward"), "pass");
    assert_eq!(outcome(&found, "q35/e1000/unix/forward"), "pass");
    let standing = |report: &Value| report["coverage"]["sections"].clone();
    assert_eq!(standing(&packed), standing(&alone));
    // The bare machine both ways, and the pack both ways: there with a control, and once more without that page.
    // What is known of a device on the way there is known on the way back.
    assert_eq!(packed["swept"][0]["guests"], json!(6));
    for report in [&packed, &alone] {
        let cases = report["cases"].as_array().expect("cases");
        let changed = |case: &&Value| case["changed_by_load"] != json!([]);
        let changed: Vec<&Value> = cases.iter().filter(changed).collect();
        assert_eq!(changed.len(), 2, "vmclock, each way: {changed:#?}");
        for case in changed {
            assert_eq!(case["device_set"], "vmclock");
            assert_eq!(
                case["changed_by_load"],
                json!([{
                    "section": null, "field": null, "block": "vmclock_page", "count": 1,
                    "builds": ["debian:trixie"]
                }])
            );
        }
        let notice = &report["notices"][0];
        assert_eq!(notice["kind"], "changed-by-load");
        assert_eq!(notice["subject"], "vmclock_page");
    }
}

/// A machine with a card of its own that loses values on the way back: one finding, and the devices that
/// can be plugged into it are tried.
#[apply(test)]
#[needs(Builds)]
fn a_machine_that_loads_with_a_loss_has_its_devices_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let with_card = |suite: &str| {
        let at = folder.path().join(suite);
        std::fs::create_dir(&at).expect("made");
        let card = "set -- \"$@\" -audiodev none,id=a0 -device sb16,audiodev=a0";
        changed(
            &at,
            suite,
            &format!("case \"$*\" in *pc-q35*) {card} ;; esac"),
        )
    };
    let (old, new) = (with_card("debian:bookworm"), with_card("debian:trixie"));
    let only = [
        "--only", "e1000*", "--only", "rtl8139", "--only", "am53c974",
    ];
    let (found, status) = report(&[&[&old, &new, "-M", "pc-q35-7.2"][..], &only].concat());
    assert_eq!(status, Some(1));
    let found = outcomes(&found);
    assert_eq!(outcome(&found, "q35/bare/unix/forward"), "pass");
    assert_eq!(outcome(&found, "q35/bare/unix/backward"), "lost");
    for device in ["e1000", "e1000e", "rtl8139"] {
        for direction in ["forward", "backward"] {
            let id = format!("q35/{device}/unix/{direction}");
            assert_eq!(outcome(&found, &id), "pass", "{id}");
        }
    }
    // What a device loses itself is still told.
    assert_eq!(outcome(&found, "q35/am53c974/unix/backward"), "lost");
}

/// Devices that pass one by one, and not in one guest: the case of all of them together, with controls of its own.
#[apply(test)]
#[needs(Builds)]
fn devices_that_fail_only_together_are_a_case_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    // Beside the one, the other is set up anew in this build.
    let first = "case \"$*\" in *pvpanic-pci*virtio-rng-pci,*) set -- \"$@\" -global virtio-rng-pci.disable-legacy=on ;; esac";
    let new = changed(folder.path(), "debian:trixie", first);
    let only = &words!("-M pc-q35-10.0 --only pvpanic* --only virtio-rng-*")[..];
    let (found, status) = report(&[&["debian:trixie", &*new], only].concat());
    assert_eq!(status, Some(1));
    let by_id = outcomes(&found);
    for device in ["pvpanic", "pvpanic-pci", "virtio-rng-pci"] {
        for direction in ["forward", "backward"] {
            let id = format!("q35/{device}/unix/{direction}");
            assert_eq!(outcome(&by_id, &id), "pass", "{id}");
        }
    }
    for direction in ["forward", "backward"] {
        let cases = found["cases"].as_array().expect("cases");
        let id = format!("q35/together-1/unix/{direction}");
        let case = cases.iter().find(|case| case["id"] == *id);
        let case = case.unwrap_or_else(|| panic!("no {id} in {by_id:#?}"));
        assert_eq!(case["outcome"], "fail", "{case:#}");
        assert_eq!(
            case["devices"],
            json!(["pvpanic-pci", "virtio-rng-pci"]),
            "{case:#}"
        );
        assert_eq!(case["repeated"], json!({"failed": 3, "of": 3}));
        let control = json!({"old_to_old": "pass", "new_to_new": "pass"});
        assert_eq!(case["control"], control);
        let message = case["cause"]["message"].as_str().expect("a text");
        let alone = "; each of the devices passes without the others";
        assert!(message.ends_with(alone), "{message}");
        let explained = "where a guest cannot write, first at 0x2 (device id)";
        assert!(message.contains(explained), "{message}");
    }
}

/// What a device loses when it loads is known of each build by its controls, and no break where both do so.
#[apply(test)]
#[needs(Builds)]
fn what_each_build_changes_of_a_device_is_calibrated_and_what_one_changes_is_a_defect_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let [one, other] = ["one", "other"].map(|name| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).expect("made");
        let prefix = build("debian:trixie").shell_prefix();
        let loses = faulty(&prefix, "<\"completed\"", Fault::Write(0x378, 0x33), None);
        let text =
            format!("case \"$*\" in *isa-parallel*) {loses} ;; esac\nexec env {prefix} \"$@\"");
        script(&folder, "qemu-system-x86_64", &text)
    });
    let only = &words!("-M pc-q35-10.0 --only isa-parallel --only pvpanic --only e1000")[..];
    let (found, status) = report(&[&[&*one, &*other], only].concat());
    assert_eq!(status, Some(0), "{:#}", found["cases"]);
    for case in found["cases"].as_array().expect("cases") {
        assert_eq!(case["outcome"], "pass", "{case:#}");
        let changes = case["changed_by_load"].as_array().expect("changes");
        let fields: Vec<&str> = changes
            .iter()
            .filter_map(|of| of["field"].as_str())
            .collect();
        let expected: &[&str] = match case["device_set"] == "isa-parallel" {
            true => &["state.dataw"],
            false => &[],
        };
        assert_eq!(fields, expected, "{case:#}");
    }
    let (found, _) = report(&[&["debian:trixie", &*one], only].concat());
    let by_id = outcomes(&found);
    assert_eq!(outcome(&by_id, "q35/isa-parallel/unix/forward"), "broken");
    assert_eq!(outcome(&by_id, "q35/isa-parallel/unix/backward"), "pass");
    assert_eq!(outcome(&by_id, "q35/e1000/unix/forward"), "pass");
}

/// Every versioned machine type that both builds have, in their order.
#[apply(test)]
#[needs(Builds)]
fn all_machines_of_an_architecture_are_swept() {
    let pair = ["debian:bookworm", "debian:trixie", "--arch", "m68k"];
    let of_all = &words!("--all-machines --only virtio-rng-device")[..];
    let (found, status) = report(&[&pair[..], of_all].concat());
    assert_eq!(status, Some(0), "{:#}", found["cases"]);
    let swept = found["swept"].as_array().expect("machines");
    let machines: Vec<&str> = swept
        .iter()
        .filter_map(|of| of["machine"].as_str())
        .collect();
    assert_eq!(
        machines,
        [
            "virt-6.0", "virt-6.1", "virt-6.2", "virt-7.0", "virt-7.1", "virt-7.2"
        ]
    );
    let of_none = words!("debian:bookworm debian:trixie --arch or1k --all-machines");
    let (found, status) = report(&of_none);
    assert_eq!(status, Some(125));
    for case in found["cases"].as_array().expect("cases") {
        let why = "the builds have no versioned machine type in common";
        assert_eq!(case["cause"]["message"], why);
    }
}

/// The old build moves none of its own cards to itself, the new one does: that it does not take what the old
/// one sends is a break, whichever of the two is called old.
#[apply(test)]
#[needs(Builds)]
fn a_control_of_the_other_build_that_fails_does_not_clear_the_pair() {
    for (pair, broken, control) in [
        (
            ["debian:trixie", "debian:trixie-backports"],
            "forward",
            "new_to_new",
        ),
        (
            ["debian:trixie-backports", "debian:trixie"],
            "backward",
            "old_to_old",
        ),
    ] {
        let args = words!("-M pc-q35-10.0 --only isa-vga --direction {broken}");
        let (report, status) = report(&[&pair[..], &args].concat());
        assert_eq!(report["verdict"], "incompatible", "{pair:?}");
        assert_eq!(status, Some(1));
        let found = outcomes(&report);
        let (outcome, controls) = &found[&format!("q35/isa-vga/unix/{broken}")];
        assert_eq!(outcome, "fail");
        assert_eq!(controls[control], "pass", "{controls}");
        assert!(
            controls
                .as_object()
                .expect("both")
                .values()
                .any(|c| c == "crash")
        );
    }
}

/// A build that refuses its own streams now and then, as it refuses the other one's, is no break of the pair, though its first
/// control passed.
#[apply(test)]
#[needs(Builds)]
fn what_a_build_refuses_of_itself_now_and_then_is_broken() {
    let suite = "debian:bookworm";
    let dir = tempfile::tempdir().expect("a folder");
    let count = dir.path().join("count").display().to_string();
    // The first load, the fourth and so on.
    let first = format!(
        "case \"$*\" in *-incoming*intel-hda*|*intel-hda*-incoming*) echo >> {count}; \
         [ $(($(wc -l < {count}) % 3)) != 1 ] || set -- \"$@\" -global intel-hda.msi=off ;; esac"
    );
    let new = changed(dir.path(), suite, &first);
    // Loads come one after the other, in one order.
    let args = words!("{suite} {new} -M pc-q35-7.2 --only intel-hda --direction forward --jobs 1");
    let (report, _) = report(&args);
    let (outcome, control) = &outcomes(&report)["q35/intel-hda/unix/forward"];
    assert_eq!(
        control,
        &json!({"old_to_old": "pass", "new_to_new": "fail"})
    );
    assert_eq!(outcome, "broken");
}

/// A dump lists no type without a description, and abstract ones like all others: the builds know better.
#[apply(test)]
#[needs(Builds)]
fn what_one_dump_alone_describes_is_not_always_gone() {
    let check = "check debian:bookworm debian:trixie -M pc-q35-7.2 --device-set bare --paused --format json -q";
    let of_check = with_builds(&words!("{check}")).output().expect("it runs");
    let of_check = crate::common::report(&of_check);
    let (of_sweep, _) = report(&words!(
        "debian:bookworm debian:trixie -M pc-q35-7.2 --only ramfb"
    ));
    for report in [of_check, of_sweep] {
        let found = |rule: &str, section: &str| {
            let findings = report["findings"].as_array().expect("findings").iter();
            let mut found = findings.filter(|f| f["rule"] == rule && f["section"] == section);
            let found = found.next().unwrap_or_else(|| panic!("no {section}"));
            (found["lone_type"].clone(), found["level"].clone())
        };
        for (rule, section, expected) in [
            (
                "section-removed",
                "sysbus-ahci",
                (Value::Null, "warning".into()),
            ),
            (
                "section-removed",
                "pci-piix3",
                ("abstract".into(), "note".into()),
            ),
            ("section-added", "xen-evtchn", (Value::Null, "note".into())),
            (
                "section-added",
                "ramfb",
                ("undescribed".into(), "note".into()),
            ),
            (
                "section-added",
                "sdmmc-common",
                ("abstract".into(), "note".into()),
            ),
        ] {
            assert_eq!(found(rule, section), expected, "{section}");
        }
    }
}

/// isa-vga of releases before 11.1 describes another structure than it has, and sends addresses of its process: what a load
/// does with them is chance.
#[apply(test)]
#[needs(Builds)]
fn what_has_addresses_of_its_process_has_to_pass_more_than_once() {
    let suite = "debian:bookworm";
    let dir = tempfile::tempdir().expect("a folder");
    let count = dir.path().join("count").display().to_string();
    // One source, after the first few, has memory of another size, which is refused. One with filled memory is none.
    let first = format!(
        "case \"$GLIBC_TUNABLES$*\" in *perturb*|*-incoming*) ;; *isa-vga*) echo >> {count}; \
         if [ $(wc -l < {count}) -ge 4 ] && mkdir {count}.done 2>/dev/null; \
         then set -- \"$@\" -global isa-vga.vgamem_mb=32; fi ;; esac"
    );
    let now_and_then = changed(dir.path(), suite, &first);
    let found = |old: &str, new: &str, device: &str| {
        let args = words!("{old} {new} -M pc-q35-7.2 --only {device} --direction forward");
        let (report, _) = report(&args);
        let id = format!("q35/{device}/unix/forward");
        let cases = report["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["id"] == id).expect("a case");
        let notices = report["notices"].as_array().expect("notices").iter();
        let notices = notices.filter(|notice| notice["kind"] == "own-addresses");
        (case.clone(), notices.cloned().collect::<Vec<Value>>())
    };
    let (case, notices) = found(suite, suite, "isa-vga");
    assert_eq!(case["outcome"], "pass");
    assert_eq!(case["repeated"], json!({"failed": 0, "of": 5}));
    assert_eq!(
        case["own_addresses"],
        json!([{"section": "vga", "build": suite}])
    );
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0]["subject"], "vga");
    let (case, _) = found(&now_and_then, suite, "isa-vga");
    assert_eq!(case["outcome"], "fail");
    assert_eq!(case["repeated"]["failed"], 1, "{}", case["repeated"]);
    // What describes what it has is moved once.
    for (build, device) in [(suite, "VGA"), ("debian:trixie-backports", "isa-vga")] {
        let (case, notices) = found(build, build, device);
        assert_eq!(case["outcome"], "pass", "{device}");
        assert_eq!(case["repeated"], Value::Null, "{device}");
        assert_eq!(case.get("own_addresses"), None);
        assert!(notices.is_empty(), "{notices:?}");
    }
}

/// Every virtio device of one build has the same in it that the other refuses: each is tried, and one of
/// them stands for all in the controls and the explanations.
#[apply(test)]
#[needs(Builds)]
fn a_few_devices_stand_for_many_that_fail_of_one_cause() {
    let pair = words!("debian:trixie debian:trixie-backports -M pc-q35-10.0");
    let only = words!("--only virtio-*-pci --only e1000 --direction forward");
    let (packed, status) = report(&[&pair[..], &only].concat());
    assert_eq!(status, Some(1));
    let (alone, _) = report(&[&pair[..], &only, &["--one-by-one"]].concat());
    assert_eq!(outcomes(&packed), outcomes(&alone));
    let cases = packed["cases"].as_array().expect("cases");
    let failed: Vec<&Value> = cases
        .iter()
        .filter(|case| case["outcome"] == "fail")
        .collect();
    assert!(failed.len() > 8, "{}", failed.len());
    let (like, own): (Vec<&Value>, Vec<&Value>) =
        failed.iter().partition(|case| case["same_as"].is_string());
    assert_eq!(own.len(), 1, "one stands for all: {own:#?}");
    for case in &like {
        assert_eq!(case["same_as"], own[0]["id"]);
        assert_eq!(case["control"], own[0]["control"]);
        let cause = case["cause"]["message"].as_str().expect("a cause");
        assert!(cause.contains("vring.num"), "{cause}");
    }
    // One guest each, and hardly more than that for all of them together.
    let guests = packed["swept"][0]["guests"].as_u64().expect("a number") as usize;
    assert!(
        guests < 2 * failed.len() + 12,
        "{guests} for {}",
        failed.len()
    );
    assert!(
        alone["cases"]
            .as_array()
            .expect("cases")
            .iter()
            .all(|c| c["same_as"] == json!(null))
    );
}

/// A break that somebody chose is one for the guests that meet it, too; and what is swept decides what
/// the findings are about.
#[apply(test)]
#[needs(Builds)]
fn what_a_list_allows_does_not_gate() {
    let lists = tempfile::tempdir().expect("a folder");
    let entry = |section: &str| {
        format!(
            "[[break]]\nsection = \"{section}\"\nrule = \"field-added\"\n\
             path = [\"pciespscsi\", \"esp\", \"drq_state\"]\ndirection = \"forward\"\n\
             machines = [\"pc-q35\"]\nby = \"8.0\"\ncommit = \"0123456\"\nreason = \"meant to\"\n"
        )
    };
    let text = ["am53c974", "dc390"].map(entry).concat();
    std::fs::write(lists.path().join("own.toml"), text).expect("written");
    let rules = lists.path().to_str().expect("a name");
    let args = words!(
        "debian:bookworm debian:trixie -M pc-q35-7.2 --direction forward --only am53c974 --only e1000"
    );
    let (gated, status) = report(&args);
    assert_eq!(status, Some(1));
    assert_eq!(gated["summary"]["errors"], 1);
    let (allowed, status) = report(&[&args[..], &["--lists", rules]].concat());
    assert_eq!(status, Some(0), "{allowed:#}");
    let case = &allowed["cases"][0];
    assert_eq!(case["id"], "q35/am53c974/unix/forward");
    assert_eq!(case["outcome"], "fail");
    let by = case["allowed_by"].as_str().expect("an entry");
    assert!(by.contains("meant to"), "{by}");
    let (denied, status) = report(&words!(
        "debian:bookworm debian:trixie -M pc-q35-7.2 --only e1000 --deny subsection-unknown"
    ));
    // What is built into boards concerns every guest; a SCSI controller that was not asked for, none.
    assert_eq!(status, Some(1), "{denied:#}");
    let findings = denied["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|f| f["section"] != "am53c974"));
}

/// A driver is a proxy of the device that the dumps describe: what the lists know of that one holds for it, whatever
/// else is swept.
#[apply(test)]
#[needs(Builds)]
fn findings_are_about_the_parts_of_what_is_swept() {
    for (pair, machine, only, part, is_allowed) in [
        (
            ["debian:bullseye", "debian:bookworm"],
            "virt",
            "virtio-iommu-pci",
            "virtio-iommu-device",
            true,
        ),
        (
            ["debian:bookworm", "debian:trixie"],
            "q35",
            "virtio-gpu-pci",
            "virtio-gpu-device",
            false,
        ),
        (
            ["debian:bookworm", "debian:trixie"],
            "q35",
            "vhost-user-fs-pci",
            "vhost-user-fs-device",
            false,
        ),
    ] {
        let (report, _) = report(&[&pair[..], &["-M", machine, "--only", only]].concat());
        let findings = report["findings"].as_array().expect("findings");
        let about: Vec<&Value> = findings.iter().filter(|f| f["section"] == part).collect();
        let counted = about.iter().filter(|f| f["level"] != "note");
        assert!(counted.count() > 0, "{only}: {findings:#?}");
        if is_allowed {
            assert!(
                about.iter().all(|f| f["allowed_by"].is_string()),
                "{about:#?}"
            );
        }
        let mut errors = findings.iter().filter(|f| f["level"] == "error");
        assert!(errors.all(|f| f["allowed_by"].is_string()), "{findings:#?}");
    }
}

/// The machine alone says nothing of the devices that were asked for.
#[apply(test)]
#[needs(Builds)]
fn a_sweep_in_which_nothing_was_tried_is_untested() {
    let pair = ["debian:bookworm", "debian:trixie", "-M", "pc-q35-7.2"];
    for (only, names) in [
        (&["vfio-*"][..], "vfio-pci: "),
        (&["usb-host"], "usb-host: needs a device of the host"),
        (
            &["vfio-*", "pxb"],
            "pxb: debian:bookworm does not start with it",
        ),
    ] {
        let only: Vec<&str> = only.iter().flat_map(|glob| ["--only", glob]).collect();
        let (found, status) = report(&[&pair[..], &only].concat());
        assert_eq!(found["verdict"], "untested", "{only:?}");
        assert_eq!(status, Some(125), "{only:?}");
        let notices = found["notices"].as_array().expect("notices");
        let told = notices.iter().find(|n| n["kind"] == "nothing-tried");
        let detail = told.expect("a notice")["detail"].as_str().expect("a text");
        assert!(detail.contains(names), "{only:?}: {detail}");
    }
    // Beside a device that is tried, what is left out is told as always.
    let only = ["--only", "usb-host", "--only", "e1000"];
    let (found, status) = report(&[&pair[..], &only].concat());
    assert_eq!((&found["verdict"], status), (&json!("compatible"), Some(0)));
}

const PAIR: &str = "pc-q35-7.1=pc-q35-7.2";

/// A case of a report, by its id.
fn case<'r>(report: &'r Value, id: &str) -> &'r Value {
    let mut cases = report["cases"].as_array().expect("cases").iter();
    cases
        .find(|case| case["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {:#?}", outcomes(report)))
}

/// As between two builds, what the types set up differently is found, and what a shell is told to do does the same.
#[apply(test)]
#[needs(Builds)]
fn machine_types_of_two_names_are_swept() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().display();
    let args = words!(
        "debian:bookworm debian:trixie -M {PAIR} --only e1000 --only virtio-rng-pci --keep-logs {logs}"
    );
    let (found, status) = report(&args);
    assert_eq!(status, Some(1));
    assert_eq!(found["machine"], PAIR);
    assert_eq!(found["swept"][0]["machine"], PAIR);
    let notices = found["notices"].as_array().expect("notices");
    let paired = notices.iter().find(|of| of["kind"] == "machines-paired");
    assert_eq!(paired.expect("a notice")["subject"], PAIR);
    for direction in ["forward", "backward"] {
        for device in ["bare", "e1000"] {
            let id = format!("q35/{device}/unix/{direction}");
            let case = case(&found, &id);
            assert_eq!(
                (&case["machine"], &case["outcome"]),
                (&json!(PAIR), &json!("pass"))
            );
        }
        let failed = case(&found, &format!("q35/virtio-rng-pci/unix/{direction}"));
        assert_eq!(failed["outcome"], "fail", "{failed:#}");
        assert_eq!(failed["cause"]["rule"], "property-default-changed");
        let control = json!({"old_to_old": "pass", "new_to_new": "pass"});
        assert_eq!(failed["control"], control);
        let message = failed["cause"]["message"].as_str().expect("a text");
        let set = "old sets `queue_reset` to off with pc-q35-7.1; new leaves it at its default";
        assert!(message.contains(set), "{message}");

        let sh = |args: &[&str]| Command::new("sh").args(args).output().expect("a shell");
        let by_script = sh(&[failed["reproducer"].as_str().expect("a script")]);
        assert!(by_script.status.success(), "{}", stdout(&by_script));
        let by_hand = sh(&["-c", failed["reproduce"].as_str().expect("a line")]);
        let printed = stderr(&by_hand);
        assert!(
            printed.contains("Failed to load virtio-rng:virtio"),
            "{printed}"
        );
        assert!(!printed.contains("Machine type received"), "{printed}");
    }
}

/// The pair has its whole name there, and the other machine the one that it has without the pair.
#[apply(test)]
#[needs(Builds)]
fn machine_types_of_two_names_are_swept_beside_others() {
    let more = ["-M", PAIR, "--only", "e1000", "--only", "virtio-rng-pci"];
    let args = words!("debian:bookworm debian:trixie -M pc-q35-7.1");
    let args = [&args[..], &more].concat();
    let (whole, status) = report(&args);
    assert_eq!(status, Some(1));
    for (place, machine, outcome) in [("q35", "pc-q35-7.1", "pass"), (PAIR, PAIR, "fail")] {
        let id = format!("{place}/virtio-rng-pci/unix/forward");
        let case = case(&whole, &id);
        assert_eq!(
            (&case["machine"], &case["outcome"]),
            (&json!(machine), &json!(outcome))
        );
    }
    let findings = whole["findings"].as_array().expect("findings");
    let set_up = findings.iter().filter(|of| of["rule"] == "feature-dropped");
    let machines: Vec<&Value> = set_up.map(|finding| &finding["machines"]).collect();
    assert_eq!(machines, [&json!([PAIR])]);

    let folder = tempfile::tempdir().expect("a folder");
    let parts = ["1/2", "2/2"].map(|shard| {
        let (part, _) = report(&[&args[..], &["--shard", shard]].concat());
        let file = folder.path().join(shard.replace('/', "-"));
        std::fs::write(&file, part.to_string()).expect("written");
        file
    });
    let merged = merge(&parts, &["--format", "json"]);
    let merged: Value = serde_json::from_slice(&merged.stdout).expect("a report");
    assert_eq!(outcomes(&merged), outcomes(&whole));
    let machines = |report: &Value| {
        let swept = report["swept"].as_array().expect("machines").clone();
        swept
            .iter()
            .map(|of| of["machine"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(machines(&merged), machines(&whole));

    // The pair is another machine than its old type: nothing of it is in a baseline of that.
    let file = folder.path().join("baseline");
    std::fs::write(&file, whole.to_string()).expect("written");
    let baseline = file.display().to_string();
    for (machine, status) in [(PAIR, "new"), ("pc-q35-7.1", "same")] {
        let args = [
            "debian:bookworm",
            "debian:trixie",
            "-M",
            machine,
            "--only",
            "e1000",
        ];
        let (found, _) = report(&[&args[..], &["--baseline", &baseline]].concat());
        let case = case(&found, "q35/e1000/unix/forward");
        assert_eq!(case["baseline"], status, "{machine}");
    }
}

/// A list may name either type or the pair.
#[apply(test)]
#[needs(Builds)]
fn a_list_excuses_a_failure_between_types_of_two_names() {
    let args = words!("debian:bookworm debian:trixie -M {PAIR} --only virtio-rng-pci");
    for (machine, excused) in [
        ("pc-q35-7.1", true),
        ("pc-q35-7.2", true),
        ("q35", true),
        (PAIR, true),
        ("pc-q35-7.1=pc-q35-8.0", false),
        ("pc-q35-8.0", false),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = format!(
            "[[failure]]\noutcomes = ['fail']\ndevices = ['virtio-rng-pci']\nmachines = ['{machine}']\n\
             reason = 'known'\nowner = 'Jo'\nexpires = '2999-12-31'\n"
        );
        std::fs::write(folder.path().join("own.toml"), entry).expect("written");
        let lists = folder.path().display().to_string();
        let (found, _) = report(&[&args[..], &["--lists", &lists]].concat());
        let case = case(&found, "q35/virtio-rng-pci/unix/forward");
        assert_eq!(
            case["allowed_by"].is_string(),
            excused,
            "{machine}: {case:#}"
        );
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_case_is_run_alone_on_its_machine() {
    let builds = ["debian:bookworm", "debian:trixie"];
    let several = &["-M", "pc-q35-7.1", "-M", "pc-q35-7.2", "-M", PAIR][..];
    let pair = &["-M", PAIR][..];
    // The machines that are given, the case's, and its outcome.
    for (given, place, outcome) in [
        (several, "pc-q35-7.1", "pass"),
        (several, PAIR, "fail"),
        (&[][..], "pc-q35-7.1", "pass"),
        (&[], PAIR, "fail"),
        // Without the pair it is a case of another machine.
        (pair, "q35", "fail"),
        (&[], "q35", "pass"),
    ] {
        let id = format!("{place}/virtio-rng-pci/unix/forward");
        let (found, status) = report(&[&builds[..], given, &["--case", &id]].concat());
        assert_eq!(case(&found, &id)["outcome"], outcome, "{given:?} {id}");
        assert_eq!(status, Some(i32::from(outcome == "fail")), "{given:?} {id}");
        let swept = found["swept"].as_array().expect("machines");
        assert_eq!(swept.len(), 1, "{given:?} {id}");
    }
    // A check runs it, too, and calls it the same.
    let id = format!("{PAIR}/virtio-rng-pci/unix/forward");
    let args = words!("check debian:bookworm debian:trixie --case {id} --format json -q");
    let checked = with_builds(&args).output().expect("it starts");
    let found = crate::common::report(&checked);
    assert_eq!(case(&found, &id)["outcome"], "fail");
    assert_eq!(found["machine"], PAIR);
    // What has a driver at work is reproduced by a sweep.
    let id = "q35/bare/unix/backward/driven";
    let (found, _) = report(&[&builds[..], pair, &["--case", id]].concat());
    let line = case(&found, id)["reproduce"].as_str().expect("a line");
    let args: Vec<&str> = line.split(' ').skip(2).collect();
    assert!(line.contains(&format!("-M x86_64/{PAIR} ")), "{line}");
    let (again, status) = report(&args);
    assert_eq!(case(&again, id)["outcome"], "fail");
    assert_eq!(status, Some(1), "{line}");
}

#[apply(test)]
#[needs(Builds)]
fn a_machine_type_that_its_build_lacks_is_named_with_the_build() {
    let sweep = |pair: &str| {
        let args = words!("debian:bookworm debian:trixie -M {pair} --only e1000");
        let output = sweep(&args);
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    for (pair, status, said) in [
        (
            "pc-q35-7.1=pc-q53",
            2,
            "the new build (10.0.13) has no machine type pc-q53",
        ),
        (
            "pc-q53=pc-q35-7.2",
            2,
            "the old build (7.2.22) has no machine type pc-q53",
        ),
        (
            "=pc-q35-7.2",
            2,
            "the old build (7.2.22) has no machine type \"\";",
        ),
        // Each build is asked for the type of its side.
        (
            "pc-q35-10.0=pc-q35-7.2",
            125,
            "the old build (7.2.22) has no machine type pc-q35-10.0",
        ),
        (
            "pc-q35-10.0=pc-q53",
            2,
            "the new build (10.0.13) has no machine type pc-q53",
        ),
    ] {
        let (found, printed) = sweep(pair);
        assert_eq!(found, Some(status), "{pair}: {printed}");
        assert!(printed.contains(said), "{pair}: {printed}");
    }
}

#[apply(test)]
fn options_that_make_no_sense_are_refused_with_the_reason() {
    for (args, wanted) in [
        (
            &["a", "b", "--all-machines", "-M", "q35"][..],
            "cannot be used with",
        ),
        (
            &["a", "b", "--all-machines", "-M", PAIR],
            "cannot be used with",
        ),
        (
            &["a", "b", "--arch", "x86_64", "--all-arches"],
            "cannot be used with",
        ),
        (&["a", "b", "--timeout", "0"], "0 is not in"),
        (&["a", "b", "--shard", "4/3"], "there is no shard 4 of 3"),
        (
            &["a", "b", "--shard", "1/3", "--min-coverage", "1"],
            "cannot be used with",
        ),
        (&["a", "b", "--min-coverage", "101"], "101 is not in"),
        (&["/no/such/build", "b"], "/no/such/build"),
        (
            &["debian:bookworm", "debian:trixie", "--arch", "vax"],
            "vax",
        ),
        (
            &["debian:bookworm", "sh", "--arch", "ppc64el"],
            "which calls it ppc64",
        ),
    ] {
        let output = sweep(args);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {printed}");
        assert!(printed.contains(wanted), "{args:?}: {printed}");
    }
}
