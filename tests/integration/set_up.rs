//! Builds that set up one machine type differently: what no dump shows, and what a failed migration
//! is explained by.

use std::path::Path;

use macro_rules_attribute::apply;
use serde_json::Value;

use migcompat::internals::devices::DeviceSet;
use migcompat::internals::migration::{Endpoint, LaunchSpec, MigrationConfig, Names, Role, Vm};
use migcompat::internals::qemu::object::{Kind, Object};
use migcompat::internals::qemu::properties::Snapshot;
use migcompat::internals::qemu::{ConfinePolicy, Means, Pair, parse, private_dir};
use migcompat::internals::rules::{KnownIssues, Scope};

use crate::common::{cache_dir, changed, with_builds, words};
use crate::live::Run;

/// A real build that has other defaults: a script around it that sets them.
fn other_defaults(folder: &Path, suite: &str, globals: &[&str]) -> String {
    let globals = globals.iter().map(|global| format!("-global {global} "));
    let first = format!("set -- {}\"$@\"", globals.collect::<String>());
    changed(folder, &format!("debian:{suite}"), &first)
}

fn report(args: &[&str]) -> (Value, Option<i32>) {
    let temp = tempfile::tempdir().unwrap();
    let args = [args, &["--format", "json"]].concat();
    let output = with_builds(&args).env("TMPDIR", temp.path()).output();
    let output = output.unwrap();
    (crate::common::report(&output), output.status.code())
}

fn by_properties(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["evidence"] == "properties")
        .collect()
}

#[apply(test)]
#[needs(Builds)]
fn a_changed_default_explains_the_load_that_fails_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let old = other_defaults(folder.path(), "bookworm", &["intel-hda.msi=off"]);
    let new = "debian:bookworm";
    // One and the same program: the dumps are equal.
    let (by_dump, status) = report(&["static", &old, new, "-M", "q35"]);
    assert_eq!(status, Some(0));
    assert_eq!(by_dump["findings"], serde_json::json!([]));

    let live = ["live", &old, new, "-M", "q35", "--paused", "--retries", "0"];
    let (moved, status) = report(&[&live[..], &["--device", "intel-hda"]].concat());
    assert_eq!(status, Some(1));
    let words = "old sets `msi` to off with pc-q35-7.2; new leaves it at its default, auto";
    for case in moved["cases"].as_array().unwrap() {
        assert_eq!(case["outcome"], "fail", "{case:#}");
        let cause = &case["cause"];
        assert_eq!(cause["section"], "0000:00:01.0/intel-hda");
        assert_eq!(cause["rule"], "property-default-changed");
        let message = cause["message"].as_str().unwrap();
        assert!(message.contains("Bad config data"), "{message}");
        assert!(message.ends_with(words), "{message}");
    }
    let found = by_properties(&moved);
    assert_eq!(found.len(), 2, "one a direction: {found:#?}");
    for (finding, direction) in found.iter().zip(["forward", "backward"]) {
        assert_eq!(finding["section"], "intel-hda");
        assert_eq!(finding["path"], serde_json::json!(["msi"]));
        assert_eq!(finding["level"], "warning");
        assert_eq!(finding["direction"], direction);
        assert_eq!(finding["old"]["value"], "off");
        assert_eq!(finding["new"]["value"], "auto");
        assert_eq!(
            finding["confirmed_by"],
            format!("q35/ad-hoc/unix/{direction}/paused")
        );
    }
    assert!(moved["rules"]["property-default-changed"]["fix"].is_string());

    // A failure of another device has another cause.
    let neighbours = ["--device", "e1000e", "--device", "intel-hda"];
    let (moved, _) = report(&[&live[..], &neighbours].concat());
    assert!(
        by_properties(&moved)
            .iter()
            .all(|f| f["section"] == "intel-hda")
    );
}

/// What a user tries before it is rolled out: an option for one side alone breaks a pair, or mends it.
#[apply(test)]
#[needs(Builds)]
fn an_option_of_one_side_breaks_and_mends_a_move() {
    let build = "debian:bookworm";
    let live = words!("live {build} {build} -M q35 --paused --retries 0");
    let live = [&live[..], &["--device", "intel-hda"]].concat();
    let off = "-global intel-hda.msi=off";
    let outcomes = |more: &[&str]| -> Vec<String> {
        let (moved, _) = report(&[&live[..], more].concat());
        let cases = moved["cases"].as_array().unwrap().iter();
        let outcome = |case: &Value| case["outcome"].as_str().unwrap().to_owned();
        cases.map(outcome).collect()
    };
    assert_eq!(outcomes(&["--old-arg", off]), ["fail", "fail"]);
    // Such a difference of the sides is there within a build as well.
    assert_eq!(outcomes(&["--src-arg", off]), ["broken", "broken"]);
    assert_eq!(
        outcomes(&["--old-arg", off, "--new-arg", off]),
        ["pass", "pass"]
    );
    assert_eq!(
        outcomes(&["--src-arg", off, "--dst-arg", off]),
        ["pass", "pass"]
    );
    // A section that the other side takes, and whose need its state does not have, is not lost.
    let optional = "-global migration.store-global-state=off";
    assert_eq!(outcomes(&["--new-arg", optional]), ["pass", "pass"]);
    let output = with_builds(&[&live[..], &["--new-arg", "-global 'x"]].concat()).output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}

/// The advice names what makes up for the difference, and it does when it is tried.
#[apply(test)]
#[needs(Builds)]
fn the_advice_for_a_guest_makes_it_move() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.txt");
    let text = "kvm -machine pc-q35-7.2 -m 64 -nodefaults -device e1000,id=net0\n -device intel-hda,id=hda0\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let old = other_defaults(folder.path(), "bookworm", &["intel-hda.msi=off"]);
    let live = words!("live {old} debian:bookworm --paused --retries 0 --guest {file}");
    let (moved, status) = report(&live);
    assert_eq!(status, Some(1));
    let answers = moved["guest"]["answers"].as_array().unwrap();
    let forward = answers
        .iter()
        .find(|a| a["direction"] == "forward")
        .unwrap();
    assert_eq!(
        forward["blamed"],
        serde_json::json!([{"line": 2, "device": "hda0"}])
    );
    let advice = serde_json::json!([
        {"build": "new", "side": "destination", "option": "-global intel-hda.msi=off"},
        {"build": "old", "side": "source", "option": "-global intel-hda.msi=auto"}
    ]);
    assert_eq!(forward["advice"], advice);
    let option = advice[0]["option"].as_str().unwrap();
    let (mended, status) = report(&[&live[..], &["--new-arg", option]].concat());
    assert_eq!(status, Some(0), "{mended:#}");
    assert!(
        mended["guest"]["answers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|a| a["advice"] == serde_json::json!([]))
    );
}

#[apply(test)]
#[needs(Builds)]
fn what_nothing_fails_by_is_a_note_and_noise_is_none() {
    let folder = tempfile::tempdir().unwrap();
    // A property of a device of the default set that a stopped migration does not mind. One of VGA would also take
    // away the card that the machine has by default.
    let globals = ["usb-tablet.head=1", "virtio-balloon-pci.rombar=1"];
    let old = other_defaults(folder.path(), "bookworm", &globals);
    let args = ["check", &old, "debian:bookworm", "-M", "q35", "--paused"];
    let (checked, status) = report(&args);
    assert_eq!(status, Some(0), "{checked:#}");
    let found = by_properties(&checked);
    assert_eq!(found.len(), 2, "one a direction: {found:#?}");
    for finding in found {
        assert_eq!(finding["section"], "usb-tablet");
        assert_eq!(finding["path"], serde_json::json!(["head"]));
        assert_eq!(finding["level"], "note");
        assert_eq!(finding["confirmed_by"], Value::Null);
    }
}

/// A feature that the source alone offers is refused once a driver has accepted it, which no guest here does.
#[apply(test)]
#[needs(Builds)]
fn a_feature_that_the_source_alone_offers_is_a_warning_that_way() {
    for (device, type_name, feature) in [
        ("virtio-net-pci", "virtio-net-device", "mrg_rxbuf"),
        ("virtio-blk-pci", "virtio-blk-device", "discard"),
        ("virtio-scsi-pci", "virtio-scsi-device", "hotplug"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let without = other_defaults(
            folder.path(),
            "trixie",
            &[&format!("{device}.{feature}=off")],
        );
        let with = "debian:trixie";
        for (old, new, direction) in [(with, &*without, "forward"), (&without, with, "backward")] {
            let live = ["live", old, new, "-M", "pc-q35-10.0", "--paused"];
            let (moved, status) = report(&[&live[..], &["--device", device]].concat());
            assert_eq!(status, Some(0), "{moved:#}");
            let found = by_properties(&moved);
            assert_eq!(found.len(), 1, "one way alone: {found:#?}");
            assert_eq!(found[0]["rule"], "feature-dropped");
            assert_eq!(found[0]["level"], "warning");
            assert_eq!(found[0]["direction"], direction);
            assert_eq!(found[0]["section"], type_name);
            assert_eq!(found[0]["path"], serde_json::json!([feature]));
        }
    }
    // Properties that are no features, though a build may describe them alike.
    for (device, other) in [
        ("virtio-rng-pci", "virtio-rng-pci.max-bytes=1024"),
        ("virtio-blk-pci", "virtio-blk-device.request-merging=off"),
        ("virtio-blk-pci", "virtio-device.use-started=off"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let old = other_defaults(folder.path(), "trixie", &[other]);
        let live = ["live", &old, "debian:trixie", "-M", "pc-q35-10.0"];
        let how = ["--paused", "--device", device];
        let (moved, _) = report(&[&live[..], &how].concat());
        assert_eq!(by_properties(&moved), Vec::<&Value>::new(), "{moved:#}");
    }
}

/// The cause of the first case of a `live` run between two builds with other defaults.
fn cause(old: &str, new: &str, device: &str, how: &[&str]) -> Value {
    let args = ["live", old, new, "-M", "pc-q35-10.0", "--retries", "0"];
    let device = ["--device", device, "--direction", "forward"];
    let (moved, status) = report(&[&args[..], how, &device].concat());
    assert_eq!(status, Some(1), "{moved:#}");
    assert_eq!(moved["cases"][0]["outcome"], "fail", "{moved:#}");
    moved["cases"][0]["cause"].clone()
}

fn message(cause: &Value) -> &str {
    cause["message"].as_str().expect("a message")
}

/// QEMU names the block and both sizes; the property behind it comes from us.
#[apply(test)]
#[needs(Builds)]
fn a_block_of_memory_that_is_refused_is_explained_by_the_property_of_its_owner() {
    let plain = "debian:trixie";
    let vram = ["VGA.vgamem_mb=32", "sets `vgamem_mb` to 32"];
    let cirrus = ["cirrus-vga.vgamem_mb=8", "sets `vgamem_mb` to 8"];
    for (device, [global, words], how) in [
        ("VGA", vram, &[][..]),
        ("VGA", vram, &["--paused"]),
        ("cirrus-vga", cirrus, &["--paused"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // A setting of another device explains nothing.
        let globals = [global, "ICH9-LPC.disable_s3=1"];
        let other = other_defaults(folder.path(), "trixie", &globals);
        let cause = cause(plain, &other, device, how);
        assert_eq!(cause["section"], "ram", "{cause:#}");
        assert_eq!(cause["rule"], "property-default-changed", "{cause:#}");
        let message = message(&cause);
        assert!(message.contains("Size mismatch"), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("disable_s3"), "{message}");
    }
    // One side alone has the block, or each build reads it from a file of its own.
    let folder = tempfile::tempdir().unwrap();
    let other = other_defaults(folder.path(), "trixie", &["e1000.romfile="]);
    let without_rom = cause(plain, &other, "e1000", &["--paused"]);
    let words = message(&without_rom);
    assert!(words.contains("`romfile`"), "{words}");
    let other = other_defaults(folder.path(), "trixie", &["e1000.romsize=524288"]);
    let of_file = cause(plain, &other, "e1000", &["--paused"]);
    let words = message(&of_file);
    assert!(words.contains("the file efi-e1000.rom"), "{words}");
    assert_eq!(of_file["file"], "efi-e1000.rom");
}

/// What a build adds to each stream by itself, machine types with a version turn off for builds that do not know it; others
/// leave that to whoever runs them.
#[apply(test)]
#[needs(Builds)]
fn what_a_source_adds_to_each_stream_is_turned_off_by_whoever_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = "set -- -global migration.send-switchover-start=on \"$@\"";
    let new = changed(folder.path(), "debian:trixie", first);
    let args = words!("live debian:bookworm {new} -M pc-q35-7.2 --device-set bare --paused");
    let run = Run::new(&[&args[..], &["--retries", "0"]].concat());
    assert_eq!(run.outcomes(), ["pass", "fail"], "{}", run.said());
    let case = run.case(1);
    assert_eq!(case["cause"]["section"], Value::Null, "{case:#}");
    let option = "-global migration.send-switchover-start=off";
    let with = serde_json::json!({"side": "new", "args": option});
    assert_eq!(case["passes_with"], with, "{case:#}");
    assert_eq!(run.case(0)["passes_with"], Value::Null);
    // It does as it is told.
    let with = format!("--new-arg={option}");
    let passes = Run::new(&[&args[..], &[&with]].concat());
    assert_eq!(passes.outcomes(), ["pass", "pass"], "{}", passes.said());

    // It passes once with the option, by chance: that is no way around.
    let once = folder.path().join("once");
    let chance = format!(
        "case \"$*\" in *send-switchover-start=off*) [ -e {0} ] || {{ : > {0}; plain=1; }} ;; esac
[ -n \"$plain\" ] || set -- \"$@\" -global migration.send-switchover-start=on",
        once.display()
    );
    let new = changed(folder.path(), "debian:trixie", &chance);
    let args = words!("live debian:bookworm {new} -M pc-q35-7.2 --device-set bare --paused");
    let run = Run::new(&[&args[..], &["--direction", "backward"]].concat());
    assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
    assert!(once.exists());
    let case = run.case(0);
    assert_eq!(case["repeated"]["of"], 3, "{case:#}");
    assert_eq!(case["passes_with"], Value::Null, "{case:#}");
}

/// Since 8.0 threads of multifd meet once in a pass over memory, and not after each section, which older builds expect: a switch
/// that is off there, of the build that takes as well as of that which sends. Where another one stands in the way too, both are needed.
#[apply(test)]
#[needs(Builds)]
fn switches_that_only_one_build_has_are_set_as_the_other_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let multifd = "migration.multifd-flush-after-each-section";
    let start = "migration.send-switchover-start";
    let new = other_defaults(folder.path(), "trixie", &[&format!("{multifd}=off")]);
    // A guest that does not move hangs.
    let args =
        words!("live debian:bookworm {new} -M pc-q35-7.2 --device-set bare --paused --timeout 5");
    let run = Run::new(&[&args[..], &["--capability", "multifd"]].concat());
    assert!(!run.outcomes().contains(&"pass"), "{}", run.said());
    let with = serde_json::json!({"side": "new", "args": format!("-global {multifd}=on")});
    for direction in 0..2 {
        let case = run.case(direction);
        assert_eq!(case["passes_with"], with, "{case:#}");
    }

    let both = [format!("{multifd}=off"), format!("{start}=on")];
    let new = other_defaults(
        folder.path(),
        "trixie",
        &both.each_ref().map(|global| &**global),
    );
    let args =
        words!("live debian:bookworm {new} -M pc-q35-7.2 --device-set bare --paused --retries 0");
    let how = words!("--capability multifd --direction backward --timeout 5");
    let run = Run::new(&[&args[..], &how].concat());
    let with = format!("-global {multifd}=on -global {start}=off");
    assert_eq!(run.case(0)["passes_with"]["args"], with, "{}", run.said());
}

/// A build before 7.1 has no property of the machine that says how much memory it has.
#[apply(test)]
#[needs(Builds)]
fn other_memory_by_default_is_named_whatever_a_build_tells_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let old = changed(folder.path(), "debian:bullseye", "set -- \"$@\" -m 256");
    let args = words!("live {old} debian:bookworm -M pc-q35-5.2 --paused --retries 0");
    let device = ["--device", "e1000", "--direction", "forward"];
    let (moved, _) = report(&[&args[..], &device].concat());
    let cause = &moved["cases"][0]["cause"];
    assert_eq!(cause["rule"], "property-default-changed", "{moved:#}");
    let words = "`memory.size` is 268435456 in old and";
    assert!(message(cause).contains(words), "{cause:#}");
}

/// A board has other parts, or they have other names, where its machine or another device is set up otherwise.
#[apply(test)]
#[needs(Builds)]
fn a_section_that_one_build_alone_sends_is_explained_by_what_gives_it() {
    for (arch, device, option, property, directions) in [
        (
            "aarch64",
            "virtio-rng-pci",
            "-machine gic-version=3",
            "gic-version",
            &["forward", "backward"][..],
        ),
        (
            "aarch64",
            "virtio-rng-pci",
            "-machine iommu=smmuv3,gic-version=3",
            "iommu",
            &["backward"],
        ),
        (
            "s390x",
            "virtio-rng-ccw",
            "-global virtual-css-bridge.css_dev_path=off",
            "css_dev_path",
            &["forward"],
        ),
    ] {
        let line = words!("live debian:bookworm debian:bookworm --arch {arch} --device {device}");
        let option = format!("--new-arg={option}");
        let how = ["--paused", "--retries", "0", &option];
        let (moved, status) = report(&[&line[..], &how].concat());
        assert_eq!(status, Some(1), "{moved:#}");
        let cases = moved["cases"].as_array().unwrap();
        for case in cases {
            let direction = case["direction"].as_str().unwrap();
            if !directions.contains(&direction) {
                continue;
            }
            assert_eq!(case["outcome"], "fail", "{case:#}");
            assert_eq!(
                case["cause"]["rule"], "property-default-changed",
                "{case:#}"
            );
            let words = format!("`{property}`");
            assert!(message(&case["cause"]).contains(&words), "{case:#}");
            let found = by_properties(&moved);
            let mut named = found.iter().filter(|of| of["confirmed_by"] == case["id"]);
            assert!(
                named.any(|of| of["path"] == serde_json::json!([property])),
                "{found:#?}"
            );
        }
    }
}

/// The board and the transport decide what a device can be, which shows in its own properties at best.
#[apply(test)]
#[needs(Builds)]
fn what_another_default_makes_of_a_device_is_explained_by_that_default() {
    for (how, old, new, property) in [
        (
            "--device virtio-rng-pci --paused --direction backward",
            "-machine gic-version=3",
            "-machine gic-version=3,its=off",
            "its",
        ),
        (
            "--device virtio-rng-device --driven --direction forward",
            "-machine gic-version=2",
            "-global virtio-mmio.force-legacy=off",
            "force-legacy",
        ),
    ] {
        let pair = words!("live debian:bookworm debian:bookworm --arch aarch64 --retries 0 {how}");
        let (old, new) = (format!("--old-arg={old}"), format!("--new-arg={new}"));
        let (moved, _) = report(&[&pair[..], &[&old, &new]].concat());
        let cause = &moved["cases"][0]["cause"];
        assert_eq!(cause["rule"], "property-default-changed", "{moved:#}");
        let words = format!("`{property}`");
        assert!(message(cause).contains(&words), "{cause:#}");
        assert!(!message(cause).contains("`vectors`"), "{cause:#}");
    }
}

/// The firmware of a guest that runs is a driver: it accepts what a disk offers it. QEMU prints masks.
#[apply(test)]
#[needs(Builds)]
fn features_that_the_firmware_accepted_have_their_names() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let modern = "virtio-blk-pci.disable-legacy=on";
    let offers = [modern, "virtio-blk-pci.iommu_platform=on"];
    let with = other_defaults(folders[0].path(), "trixie", &offers);
    let without = other_defaults(folders[1].path(), "trixie", &[modern]);
    let cause = cause(&with, &without, "virtio-blk-pci", &[]);
    assert_eq!(
        cause["features"].as_array().map(Vec::len),
        Some(1),
        "{cause:#}"
    );
    assert_eq!(cause["features"][0], "iommu_platform", "{cause:#}");
}

/// 5.2 has a switch for 3D that its device turns off by itself where there is no display, whatever the machine
/// type: 7.2, which has none, offers as little.
#[apply(test)]
#[needs(Builds)]
fn a_feature_that_a_device_gives_up_by_itself_is_not_one_that_is_lost() {
    for machine in ["pc-q35-5.2", "pc-q35-4.2"] {
        let args = ["live", "debian:bullseye", "debian:bookworm", "-M", machine];
        let how = ["--paused", "--retries", "0", "--device", "virtio-gpu-pci"];
        let (moved, _) = report(&[&args[..], &how].concat());
        let found = by_properties(&moved);
        let lost = found.iter().filter(|f| f["rule"] == "feature-dropped");
        assert_eq!(lost.count(), 0, "{found:#?}");
    }
}

/// A capability that the destination alone has, and one bit of one that both have.
#[apply(test)]
#[needs(Builds)]
fn a_capability_of_one_side_is_named_with_its_property() {
    let modern = "virtio-net-pci.disable-legacy=on";
    let platform = "virtio-net-pci.iommu_platform=on";
    for (both, one, property, words) in [
        (
            vec![modern, platform],
            "virtio-net-pci.ats=on",
            "`ats`",
            "capability address translation services (ATS), which the source does not have",
        ),
        (
            vec![modern, platform, "virtio-net-pci.ats=on"],
            "virtio-net-pci.x-ats-page-aligned=off",
            "`x-ats-page-aligned`",
            "0x104 (capability address translation services (ATS))",
        ),
    ] {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let old = other_defaults(folders[0].path(), "trixie", &both);
        let new = other_defaults(folders[1].path(), "trixie", &[&both[..], &[one]].concat());
        let port = ["--device", "pcie-root-port,id=downstream", "--paused"];
        let cause = cause(&old, &new, "virtio-net-pci,bus=downstream", &port);
        assert_eq!(cause["rule"], "property-default-changed", "{cause:#}");
        let message = message(&cause);
        assert!(message.contains(words), "{message}");
        assert!(message.contains(property), "{message}");
    }
}

/// QEMU names the byte; the register, the capability and the property behind it come from us.
#[apply(test)]
#[needs(Builds)]
fn a_refused_config_byte_is_explained_by_its_capability_and_property() {
    let folder = tempfile::tempdir().unwrap();
    let new = other_defaults(folder.path(), "bookworm", &["virtio-rng-pci.vectors=0"]);
    let args = words!("live debian:bookworm {new} -M q35 --retries 0");
    let how = ["--device", "virtio-rng-pci", "--direction", "forward"];
    for paused in [&[][..], &["--paused"]] {
        let (moved, status) = report(&[&args[..], &how, paused].concat());
        assert_eq!(status, Some(1));
        let cause = &moved["cases"][0]["cause"];
        assert_eq!(cause["rule"], "property-default-changed", "{cause:#}");
        let message = cause["message"].as_str().unwrap();
        assert!(
            message.contains("0x34 (capabilities pointer, to MSI-X)"),
            "{message}"
        );
        assert!(
            message.contains("`vectors` is 2 in old and 0 in new"),
            "{message}"
        );
        // The length of the opaque field that the byte is in says nothing more.
        let findings = moved["findings"].as_array().unwrap();
        let lengths = findings.iter().filter(|f| f["rule"] == "field-resized");
        assert_eq!(lengths.count(), 0, "{findings:#?}");
    }
}

/// Of the properties that a release has brought, the one to blame is found by turning each the other way: a machine
/// without versions pins none of them.
#[apply(test)]
#[needs(Builds)]
fn the_one_new_property_that_is_to_blame_is_named_alone() {
    let pair = words!("sweep debian:bookworm debian:trixie -M riscv64/virt --only e1000e");
    let (swept, _) = report(&[&pair[..], &["--direction", "forward"]].concat());
    let cases = swept["cases"].as_array().unwrap();
    let card = cases.iter().find(|case| case["devices"][0] == "e1000e");
    let cause = &card.unwrap()["cause"];
    assert_eq!(cause["rule"], "property-default-changed", "{cause:#}");
    let message = message(cause);
    assert!(
        message.contains("0xe4 (capability PCI Express)"),
        "{message}"
    );
    let named: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, ["x-pcie-ext-tag"], "{message}");
}

/// Once one switch is as the other build has it, the same section may be refused for the next.
#[apply(test)]
#[needs(Builds)]
fn new_properties_that_a_device_fails_by_one_after_the_other_are_all_named() {
    let tag = "x-pcie-ext-tag";
    let mask = "x-pcie-err-unc-mask";
    for names in [&[tag, mask][..], &[tag], &[mask]] {
        let folder = tempfile::tempdir().unwrap();
        let globals: Vec<String> = names
            .iter()
            .map(|name| format!("pcie-root-port.{name}=on"))
            .collect();
        let globals: Vec<&str> = globals.iter().map(String::as_str).collect();
        let new = other_defaults(folder.path(), "trixie", &globals);
        let args = words!("live debian:bookworm {new} -M pc-q35-7.2 --paused --retries 0");
        let how = words!("--device pcie-root-port --direction backward");
        let (moved, _) = report(&[&args[..], &how].concat());
        let cause = &moved["cases"][0]["cause"];
        assert_eq!(cause["rule"], "property-default-changed", "{moved:#}");
        let message = message(cause);
        let named: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, names, "{message}");
    }
}

/// A machine is asked for a thousand properties: as many as can be are told together.
#[apply(test)]
#[needs(Builds)]
fn values_told_together_are_those_that_each_question_answers() {
    let architectures = [
        ("bullseye", "bookworm", "x86_64", "q35"),
        ("trixie", "trixie-backports", "x86_64", "q35"),
        ("trixie", "trixie-backports", "aarch64", "virt"),
    ];
    for (old, new, arch, machine) in architectures {
        let means = Means {
            architecture: arch.to_owned(),
            cache: Some(cache_dir()).into(),
            watcher: &|event| eprintln!("{event}"),
            lists_drivers: true,
            confine: ConfinePolicy::default(),
        };
        let [old, new] = [old, new].map(|suite| parse(&format!("debian:{suite}")).unwrap());
        let pair = Pair::open(&old, &new, &means).unwrap();
        let (old, new) = Endpoint::both(&pair);
        let lists = KnownIssues::load(&[]).unwrap();
        let scope = Scope::of(
            &lists,
            Some(old.info.version),
            Some(new.info.version),
            Some(machine),
        );
        let config = MigrationConfig::paused(
            (old, new),
            pair.machine(machine).unwrap(),
            arch.to_owned(),
            std::env::temp_dir(),
            Names::of(&scope, arch),
        );
        let set = &DeviceSet::shipped("default").unwrap().guests()[0];
        let launch = config.launch(config.compose(set).args);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        for endpoint in [&config.old, &config.new] {
            runtime.block_on(compare_with_each_question(endpoint, &launch));
        }
    }
}

async fn compare_with_each_question(endpoint: &Endpoint, launch: &LaunchSpec) {
    let folder = private_dir().unwrap();
    launch.prepare(folder.path()).unwrap();
    let vm = Vm::start(endpoint, launch, Role::First, folder.path(), 0);
    let vm = vm.await.unwrap();
    let session = &vm.monitored.session;
    let all = |objects: &[Object]| vec![true; objects.len()];
    let snapshot = Snapshot::take(session, vm.command, all).await.unwrap();
    let mut compared = 0;
    for object in snapshot
        .objects
        .iter()
        .filter(|object| object.kind != Kind::Machine)
    {
        for (name, setting) in &object.properties {
            let question = qapi::qmp::qom_get {
                path: object.path.clone(),
                property: name.clone(),
            };
            let answer = session.execute(question, vm.command).await.unwrap();
            let of = format!("{} {} `{name}`", endpoint.build.label(), object.path);
            assert_eq!(answer, setting.value, "{of}");
            compared += 1;
        }
    }
    assert!(
        compared > 200,
        "{} has {compared} properties",
        endpoint.build.label()
    );
    vm.monitored.quit(vm.command).await;
}

/// A switch that the new build alone has is no cause where the guest fails in the same place without it.
#[apply(test)]
#[needs(Builds)]
fn a_switch_is_not_blamed_for_what_fails_without_it() {
    for (arch, machine, device) in [
        ("x86_64", "microvm", "virtio-net-device"),
        ("mipsel", "malta", "virtio-net-pci"),
    ] {
        let pair = words!("live debian:trixie debian:trixie-backports --arch {arch} -M {machine}");
        let how = words!("--device {device} --paused --direction forward --retries 0");
        let run = Run::new(&[pair, how].concat());
        assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
        let cause = &run.case(0)["cause"];
        let message = cause["message"].as_str().unwrap();
        assert!(message.contains("exceeds allocated max"), "{message}");
        assert!(!message.contains("guest_tunnel"), "{message}");
        assert_eq!(cause["rule"], Value::Null, "{cause:#}");
    }
}
