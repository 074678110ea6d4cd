//! The shipped device sets: complete, composable everywhere, and honest about what they leave out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use macro_rules_attribute::apply;
use migcompat::internals::devices::{DeviceError, DeviceSet, Drivers, Known, Reason, Target};
use migcompat::model::Side;

use crate::common::{report, with_builds, words};

const PLACES: &[(&str, &str)] = &[
    ("x86_64", "pc-q35"),
    ("x86_64", "pc-i440fx"),
    ("aarch64", "virt"),
    ("ppc64", "pseries"),
    ("s390x", "s390-ccw-virtio"),
    ("riscv64", "virt"),
    ("loongarch64", "virt"),
    ("m68k", "virt"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("device-sets")
}

fn version(text: &str) -> Known<'static> {
    Known {
        version: Some(text.parse().expect("a version")),
        ..Known::default()
    }
}

fn target<'a>(arch: &'a str, machine: &'a str, old: &str, new: &str) -> Target<'a> {
    Target {
        arch,
        machine,
        old: version(old),
        new: version(new),
    }
}

#[apply(test)]
fn every_file_is_shipped_under_its_own_name() {
    let mut files = BTreeSet::new();
    for file in std::fs::read_dir(folder()).expect("the folder of the sets") {
        let path = file.expect("readable").path();
        let stem = path.file_stem().expect("a name").to_string_lossy();
        // Machine profiles, what a driver does and what no guest sends live beside the sets.
        if path.extension().is_some_and(|e| e == "toml")
            && !["machines", "fallbacks", "driven", "never-sent"].contains(&&*stem)
        {
            let set = DeviceSet::load(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(set.name, stem, "a set is named as its file");
            assert!(!set.description.is_empty());
            files.insert(set.name);
        }
    }
    let shipped: BTreeSet<String> = DeviceSet::all().iter().map(|s| s.name.clone()).collect();
    assert_eq!(files, shipped);
    assert_eq!(DeviceSet::all()[0].name, "default");
}

#[apply(test)]
fn an_id_means_one_device_whatever_the_set() {
    let mut homes: BTreeMap<&str, &str> = BTreeMap::new();
    for set in DeviceSet::all() {
        for device in &set.devices {
            if let Some(other) = homes.insert(&device.id, &set.name) {
                panic!("{} is in {other} and in {}", device.id, set.name);
            }
        }
    }
}

#[apply(test)]
fn every_set_composes_everywhere_and_accounts_for_each_device() {
    for set in DeviceSet::all() {
        for (arch, machine) in PLACES {
            for (old, new) in [("5.2", "7.2"), ("7.2", "10.0"), ("10.0", "11.1")] {
                let composed = set.compose(&target(arch, machine, old, new));
                let place = format!("{} on {arch} {machine}, {old} to {new}", set.name);
                assert_eq!(
                    composed.included.len() + composed.excluded.len(),
                    set.devices.len(),
                    "{place}"
                );
                let plugged = composed.args.iter().filter(|a| *a == "-device").count();
                assert_eq!(plugged, composed.included.len(), "{place}");
                for exclusion in &composed.excluded {
                    assert!(!exclusion.reason.to_string().is_empty(), "{place}");
                    if let Reason::Needs { device } = &exclusion.reason {
                        let missing = composed.excluded.iter().any(|e| e.device == *device);
                        assert!(missing, "{place}: {exclusion}");
                    }
                }
            }
        }
    }
}

#[apply(test)]
fn guests_together_hold_all_that_the_set_holds() {
    for set in DeviceSet::all() {
        for (arch, machine) in PLACES {
            let target = target(arch, machine, "10.0", "11.1");
            let mut held = BTreeSet::new();
            let mut fits = BTreeSet::new();
            for guest in set.guests() {
                held.extend(guest.devices.iter().map(|d| d.id.clone()));
                let composed = guest.compose(&target);
                for exclusion in &composed.excluded {
                    let crowded = matches!(exclusion.reason, Reason::OneOf { .. });
                    assert!(!crowded, "{} on {machine}: {exclusion}", guest.name);
                }
                fits.extend(composed.included);
            }
            let all: BTreeSet<String> = set.devices.iter().map(|d| d.id.clone()).collect();
            assert_eq!(held, all, "{}", set.name);
            for id in set.compose(&target).included {
                assert!(fits.contains(&id), "{}: {id}", set.name);
            }
        }
    }
}

#[apply(test)]
fn the_default_set_loses_nothing_to_a_version() {
    let set = DeviceSet::shipped("default").expect("shipped");
    for (arch, machine) in PLACES {
        let composed = set.compose(&target(arch, machine, "5.2", "11.1"));
        for exclusion in &composed.excluded {
            let by_design = exclusion.reason.is_by_design()
                || matches!(&exclusion.reason, Reason::Needs { device }
                    if composed.excluded.iter().any(|e| e.device == *device && e.reason.is_by_design()));
            assert!(by_design, "{arch}: {exclusion}");
        }
        for id in [
            "net0", "blk0", "scsi0", "disk0", "vserial0", "vport0", "rng0", "balloon0", "video0",
        ] {
            assert!(
                composed.included.iter().any(|i| i == id),
                "{arch} lacks {id}"
            );
        }
    }
}

#[apply(test)]
fn backends_keep_to_names_of_their_own() {
    for set in DeviceSet::all() {
        for guest in set.guests() {
            for (arch, machine) in PLACES {
                let composed = guest.compose(&target(arch, machine, "11.1", "11.1"));
                let mut names = BTreeSet::new();
                for argument in &composed.args {
                    let named = argument.split(',').find_map(|item| {
                        item.strip_prefix("id=").or(item.strip_prefix("node-name="))
                    });
                    if let Some(name) = named {
                        assert!(names.insert(name), "{}: two of {name}", guest.name);
                    }
                    // QEMU refuses longer names of block nodes.
                    let node = argument.split_once("node-name=").map(|(_, rest)| rest);
                    let node = node.and_then(|rest| rest.split(',').next());
                    assert!(node.is_none_or(|n| n.len() < 32), "{argument}");
                }
            }
        }
    }
}

#[apply(test)]
fn nothing_reaches_for_the_host() {
    for set in DeviceSet::all() {
        for (arch, machine) in PLACES {
            for argument in set.compose(&target(arch, machine, "11.1", "11.1")).args {
                let host = ["path=", "file=", "host=", "/dev/", "socket,"];
                let reaches = host.iter().any(|word| argument.contains(word));
                assert!(!reaches, "{}: {argument}", set.name);
            }
        }
    }
}

#[apply(test)]
fn exclusions_name_the_build() {
    let network = DeviceSet::shipped("network").expect("shipped");
    // What one build alone lists, or lacks because it was built without a module, is not in the guest.
    let drivers = Drivers::from_help("name \"e1000\", bus PCI\nname \"rocker\", bus PCI\n");
    let thin = Known {
        drivers: Some(&drivers),
        ..version("7.2.22")
    };
    let composed = network.compose(&Target {
        old: thin,
        ..target("x86_64", "pc-q35-7.2", "7.2", "10.0.3")
    });
    let reason = |id: &str| {
        let found = composed.excluded.iter().find(|e| e.device == id);
        found.map(|e| e.reason.clone())
    };
    assert!(matches!(
        reason("igb"),
        Some(Reason::Absent { side: Side::Old })
    ));
    assert!(matches!(
        reason("rocker"),
        Some(Reason::Unmigratable { .. })
    ));
    assert!(matches!(
        reason("spapr-vlan"),
        Some(Reason::Architecture { .. })
    ));
    assert_eq!(reason("e1000"), None);
    assert!(composed.included.iter().any(|id| id == "e1000"));
    let text: Vec<String> = composed.excluded.iter().map(|e| e.to_string()).collect();
    assert!(
        text.contains(&"igb: the old build does not have it".to_owned()),
        "{text:#?}"
    );
    let json = serde_json::to_value(&composed.excluded).expect("plain data");
    assert!(json[0]["reason"].is_string(), "{json}");
}

#[apply(test)]
fn a_bare_driver_gets_what_it_needs() {
    let arguments = ["usb-kbd", "usb-mouse", "am53c974", "e1000e,addr=9"].map(str::to_owned);
    let set = DeviceSet::ad_hoc(&arguments, "x86_64").expect("good");
    let composed = set.compose(&target("x86_64", "pc-q35-7.2", "7.2", "10.0"));
    assert_eq!(
        composed.included,
        ["qemu-xhci", "usb-kbd", "usb-mouse", "am53c974", "e1000e"],
        "one controller for both"
    );
    assert_eq!(
        composed.args.last().map(String::as_str),
        Some("e1000e,addr=9")
    );

    let disk = DeviceSet::recipe("scsi-hd", "s390x").expect("there is one");
    let composed = disk.compose(&target("s390x", "s390-ccw-virtio-7.2", "7.2", "10.0"));
    assert_eq!(composed.included, ["scsi0", "disk0"]);
    assert!(DeviceSet::recipe("no-such-thing", "x86_64").is_none());
    assert!(DeviceSet::left_out("vfio-pci").is_some());
    assert!(DeviceSet::left_out("e1000e").is_none());
}

#[apply(test)]
fn a_driver_is_either_plugged_in_or_left_out() {
    for set in DeviceSet::all() {
        for device in &set.devices {
            for (arch, _) in PLACES {
                let driver = device.driver(arch);
                // Architectures differ: m68k has the devices of a virtio bus and no PCI.
                let elsewhere = driver.starts_with("virtio-") && driver.ends_with("-device");
                let left_out = DeviceSet::left_out(driver);
                assert!(left_out.is_none() || elsewhere, "{driver}: {left_out:?}");
            }
        }
    }
}

#[apply(test)]
fn own_sets_are_loaded_and_faults_have_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    let text = "name = \"own\"\ndescription = \"mine\"\n\n[[device]]\nid = \"nic\"\ndriver = \"igb\"\nquues = 4\n";
    std::fs::write(&file, text).expect("written");
    let error = DeviceSet::load(&file).expect_err("an unknown key");
    assert!(
        matches!(error, DeviceError::Malformed { line: 7, .. }),
        "{error}"
    );
    assert!(
        error.to_string().ends_with(
            "own.toml:7: unknown field `quues`, expected one of `id`, `driver`, `driver_on`, `driver_on_bus`, \
             `arch`, `machines`, `needs`, `instead_of`, `bus`, `backend`, `properties`, `one_of`, `unmigratable`, \
             `migratable_since`, `alone`, `boots_alone`"
        ),
        "{error}"
    );

    std::fs::write(&file, text.replace("quues = 4", "properties = { x = 4 }")).expect("written");
    let set = DeviceSet::load(&file).expect("good now");
    let composed = set.compose(&target("x86_64", "pc-q35-8.0", "8.0", "10.0"));
    assert_eq!(composed.args, ["-device", "igb,id=nic,x=4"]);

    let error = DeviceSet::load(&folder.path().join("none.toml")).expect_err("no file");
    assert!(matches!(error, DeviceError::Io { .. }), "{error}");
    let error = DeviceSet::shipped("defualt").expect_err("no such set");
    assert!(
        error.to_string().contains("default, bare, network"),
        "{error}"
    );
}

#[apply(test)]
fn a_device_is_asked_for_by_its_id_too() {
    let ad_hoc = |id: &str| DeviceSet::ad_hoc(&[id.to_owned()], "x86_64").expect(id);
    let shipped = DeviceSet::all().iter().flat_map(|set| &set.devices);
    let other_id = shipped
        .clone()
        .find(|device| device.id != device.driver("x86_64"))
        .expect("an id of its own");
    let set = ad_hoc(&other_id.id);
    let found = set.devices.last().expect("it");
    assert_eq!(found.id, other_id.id);
    assert_eq!(found.driver("x86_64"), other_id.driver("x86_64"));
}

#[apply(test)]
#[needs(Builds)]
fn a_device_that_was_asked_for_is_not_passed_over() {
    let lives = |machine: &str, devices: [&str; 2]| {
        let [one, other] = devices;
        let args = words!(
            "live debian:bookworm debian:trixie -M {machine} --paused --device {one} --device {other}"
        );
        let output = with_builds(&[&args[..], &["--format", "json"]].concat()).output();
        report(&output.expect("it starts"))["cases"][0].clone()
    };
    let q35 = "pc-q35-7.2";
    for (machine, devices, why) in [
        (
            q35,
            ["virtio-rng-pci", "virtio-sound-pci"],
            "virtio-sound-pci: the old build does not have it",
        ),
        // A guest has one of them; a set would make two guests.
        (
            q35,
            ["tpm-crb", "tpm-tis"],
            "tpm-tis: a guest has one TPM, here it is tpm-crb",
        ),
        (
            q35,
            ["intel-iommu", "virtio-iommu-pci"],
            "virtio-iommu-pci: a guest has one IOMMU, here it is intel-iommu",
        ),
        // The set has it for other machines.
        (
            "isapc",
            ["ne2k_isa", "isa-serial"],
            "isa-serial: not a device for isapc",
        ),
    ] {
        let case = lives(machine, devices);
        assert_eq!(case["outcome"], "skip", "{case:#}");
        let cause = case["cause"]["message"].as_str().expect("a cause");
        assert!(cause.contains(why), "{cause}");
    }
    let case = lives(q35, ["virtio-rng-pci", "virtio-serial-pci"]);
    assert_eq!(case["outcome"], "pass", "{case:#}");
}

#[apply(test)]
#[needs(Builds)]
fn a_property_of_one_build_alone_costs_its_own_device_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    // `acpi-index` is in both builds, `x-max-bounce-buffer-size` came with 9.2.
    let text = "name = 'own'\ndescription = 'mine'\n\
                [[device]]\nid = 'old'\ndriver = 'edu'\nproperties = { acpi-index = 1 }\n\
                [[device]]\nid = 'new'\ndriver = 'edu'\nproperties = { x-max-bounce-buffer-size = 4096 }\n";
    std::fs::write(&file, text).expect("written");
    let mut args = words!(
        "live debian:bookworm debian:trixie -M pc-q35-7.2 --paused --format json --device-set"
    );
    let file = file.display().to_string();
    args.push(&file);
    let report = report(&with_builds(&args).output().expect("it starts"));
    for case in report["cases"].as_array().expect("cases") {
        assert_eq!(case["outcome"], "pass", "{case:#}");
        assert_eq!(case["devices"], serde_json::json!(["old"]));
        let left_out = &case["left_out"][0];
        assert_eq!(left_out["device"], "new", "{case:#}");
        let why = "edu of the old build has no property x-max-bounce-buffer-size";
        assert_eq!(left_out["reason"], why);
    }
}
