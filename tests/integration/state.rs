//! What devices hold after a migration between real builds, and how a refused stream is explained.

use std::process::Command;

use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::common::{build, build_for, script, with_builds, words};
use crate::processes::losing;

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";
const NEWEST: &str = "debian:trixie-backports";

/// The cases of a `live` run.
fn live(old: &str, new: &str, args: &[&str]) -> Vec<Value> {
    cases(with_builds(
        &[&["live", old, new, "--format", "json"], args].concat(),
    ))
}

fn cases(mut command: Command) -> Vec<Value> {
    let temp = tempfile::tempdir().unwrap();
    let output = command.env("TMPDIR", temp.path()).output();
    let report = crate::common::report(&output.unwrap());
    report["cases"].as_array().unwrap().clone()
}

/// All of it was compared, and nothing was lost.
fn nothing_lost(case: &Value, legs: u64) {
    assert_eq!(case["outcome"], "pass", "{case:#}");
    assert_eq!(case["state_diff"], json!([]), "{case:#}");
    assert_eq!(case["state_unchecked"], Value::Null, "{case:#}");
    let checked = &case["state_checked"];
    assert_eq!(checked["legs"], legs, "{case:#}");
    assert!(checked["sections"].as_u64().unwrap() > 20, "{checked}");
    assert!(checked["bytes"].as_u64().unwrap() > 10_000, "{checked}");
}

/// A conditional byte leaves as an unconditional one enters: the load succeeds, and is wrong.
#[apply(test)]
#[needs(Builds)]
fn a_field_that_went_into_another_is_lost_and_one_that_is_missing_is_named() {
    let args = ["-M", "pc-q35-7.2", "--device", "am53c974", "--paused"];
    let cases = live(OLD, NEW, &args);
    let [forward, backward] = cases.as_slice() else {
        panic!("{cases:#?}");
    };
    let section = "0000:00:01.0/pciespscsi";
    for case in &cases {
        assert_eq!(case["control"]["old_to_old"], "pass");
        assert_eq!(case["control"]["new_to_new"], "pass");
        assert_eq!(case["cause"]["section"], section, "{case:#}");
        assert_eq!(case["repeated"]["failed"], case["repeated"]["of"]);
    }

    assert_eq!(backward["outcome"], "lost", "{backward:#}");
    assert_eq!(
        backward["state_diff"],
        json!([{
            "leg": 0,
            "section": section,
            "instance": 0,
            "field": "esp/lun",
            "change": "displaced",
            "sent": "0x0",
            "held": "0x0",
            "landed_in": "esp/ti_cmd",
            "fresh": null,
        }])
    );
    assert_eq!(backward["cause"]["field"], "esp/lun");

    assert_eq!(forward["outcome"], "fail", "{forward:#}");
    let cause = &forward["cause"];
    assert_eq!(cause["field"], "esp/drq_state", "{cause:#}");
    assert_eq!(cause["rule"], "field-added");
    assert!(cause["offset"].as_u64().unwrap() > 0);
    assert_eq!(cause["sent"], "the end of the section");
    assert_eq!(cause["expected"], "esp/drq_state (bool, 1 byte)");
    let message = cause["message"].as_str().unwrap();
    // The build's own message stays, and its meaning follows.
    let (printed, meant) = message.split_once("; ").unwrap();
    assert_eq!(printed, format!("Missing section footer for {section}"));
    assert!(meant.contains("esp/drq_state"), "{message}");
}

/// 10.0 sends padding where 7.2 has fields, of sb16 for what the command line says and of e1000e for
/// what is 0 on a machine that never ran, too.
#[apply(test)]
#[needs(Builds)]
fn a_value_from_padding_is_lost_where_a_machine_that_never_ran_has_another() {
    let args = ["-M", "pc-q35-7.2", "--paused"];
    let cases = live(OLD, NEW, &[&args[..], &["--device", "sb16"]].concat());
    let [forward, backward] = cases.as_slice() else {
        panic!("{cases:#?}");
    };
    nothing_lost(forward, 1);
    assert_eq!(backward["outcome"], "lost", "{backward:#}");
    assert_eq!(backward["control"]["old_to_old"], "pass");
    assert_eq!(backward["control"]["new_to_new"], "pass");
    let row = |field, sent, held, fresh| {
        json!({
            "leg": 0,
            "section": "sb16",
            "instance": 0,
            "field": field,
            "change": "filled",
            "sent": sent,
            "held": held,
            "landed_in": null,
            "fresh": fresh,
        })
    };
    let bytes = "00 00 00 00";
    assert_eq!(
        backward["state_diff"],
        json!([
            row("irq", bytes, "0x0", "0x5"),
            row("dma", bytes, "0x0", "0x1"),
            row("hdma", bytes, "0x0", "0x5"),
            row("port", bytes, "0x0", "0x220"),
            row("ver", bytes, "0x0", "0x405"),
        ])
    );
    let message = backward["cause"]["message"].as_str().unwrap();
    assert!(message.contains("does not send irq"), "{message}");

    // In a loop it shows in the leg that arrives there.
    let looped = ["--device", "sb16", "--loops", "2", "--retries", "0"];
    let cases = live(OLD, NEW, &[&args[..], &looped].concat());
    assert_eq!(cases[0]["outcome"], "lost", "{cases:#?}");
    let legs: Vec<&Value> = cases[0]["state_diff"].as_array().unwrap().iter().collect();
    assert!(legs.iter().all(|diff| diff["leg"] == 1), "{legs:#?}");

    let cases = live(OLD, NEW, &[&args[..], &["--device", "e1000e"]].concat());
    assert_eq!(cases.len(), 2);
    for case in &cases {
        nothing_lost(case, 1);
    }
}

/// The CPU of this machine has other system registers in each release. One that the destination lacks
/// ends the load, be the list longer or shorter than its own.
#[apply(test)]
#[needs(Builds)]
fn a_cpu_that_is_refused_is_explained_to_the_register() {
    let args = ["--arch", "aarch64", "-M", "virt-7.2", "--paused"];
    let cases = live(OLD, NEW, &[&args[..], &["--device-set", "bare"]].concat());
    let [forward, backward] = cases.as_slice() else {
        panic!("{cases:#?}");
    };
    for (case, field, sent, expected) in [
        (
            forward,
            "cpreg_vmstate_indexes",
            "cpreg_vmstate_indexes[86] = 0x40200000200f3a00",
            "a system register that the CPU has",
        ),
        (
            backward,
            "cpreg_vmstate_indexes",
            "cpreg_vmstate_indexes[3] = 0x40200000200e0002",
            "a system register that the CPU has",
        ),
    ] {
        let cause = &case["cause"];
        assert_eq!(case["outcome"], "fail", "{case:#}");
        assert_eq!(cause["section"], "cpu", "{cause:#}");
        assert_eq!(cause["field"], field, "{cause:#}");
        assert_eq!(cause["sent"], sent, "{cause:#}");
        assert_eq!(cause["expected"], expected, "{cause:#}");
        // No property of the board has to do with it.
        assert_ne!(cause["rule"], "property-default-changed", "{cause:#}");
    }
}

/// A load of uefi-vars by 10.0.2 adds up sizes of which one was never set. Each build has it, running or not, and
/// the sum is another one by chance alone.
#[apply(test)]
#[needs(Builds)]
fn a_field_that_a_load_leaves_to_chance_is_a_defect_within_the_build() {
    let build = "debian:bookworm-backports";
    for how in [&[][..], &["--paused"]] {
        let args = words!("live {build} {build} --format json -M pc-q35-10.0");
        let args = [&args[..], &["--device", "uefi-vars-x64"], how].concat();
        let mut command = with_builds(&args);
        // The memory is zero now and then, as it should be.
        command.env(
            "GLIBC_TUNABLES",
            "glibc.malloc.perturb=90:glibc.malloc.tcache_count=0",
        );
        let cases = cases(command);
        assert_eq!(cases.len(), 2);
        for case in &cases {
            assert_eq!(case["outcome"], "broken", "{case:#}");
            let cause = &case["cause"];
            assert_eq!(cause["section"], "uefi-vars-sysbus", "{cause:#}");
            assert_eq!(cause["field"], "state/used_storage", "{cause:#}");
            let message = cause["message"].as_str().unwrap();
            assert!(message.contains("sent as 0x327 twice"), "{message}");
            assert_eq!(case["changed_by_load"], json!([]), "{case:#}");
        }
    }
}

/// What a load does by design is done by each build. What one does alone is a defect of it, whoever sent the guest, and in
/// neither case is a device to blame beside which it is.
#[apply(test)]
#[needs(Builds)]
fn a_field_that_one_build_alone_loses_from_itself_too_is_a_defect_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        losing(&folder, OLD)
    });
    let set = words!("-M q35 --device-set bare");
    for how in [&[][..], &["--paused"]] {
        let found = live(OLD, &one, &[&set[..], how].concat());
        let [forward, backward] = &found[..] else {
            panic!("{found:#?}");
        };
        assert_eq!(forward["outcome"], "broken", "{forward:#}");
        let cause = &forward["cause"];
        assert_eq!(cause["section"], "mc146818rtc", "{cause:#}");
        assert_eq!(cause["field"], "cmos_index", "{cause:#}");
        let message = cause["message"].as_str().unwrap();
        assert!(message.contains("it is 0x33"), "{message}");
        let holds = format!("; {OLD} holds what it sends itself");
        assert!(message.ends_with(&holds), "{message}");
        assert_eq!(forward["changed_by_load"], json!([]), "{forward:#}");
        assert_eq!(backward["outcome"], "pass", "{backward:#}");
    }
    for case in live(&one, &other, &[&set[..], &["--paused"]].concat()) {
        assert_eq!(case["outcome"], "pass", "{case:#}");
        let changed = &case["changed_by_load"][0];
        assert_eq!(changed["field"], "cmos_index", "{changed:#}");
        assert_eq!(changed["builds"], json!([one, other]), "{changed:#}");
    }
}

/// A page that every load writes is not what is lost beside it.
#[apply(test)]
#[needs(Builds)]
fn a_device_that_a_load_changes_in_any_case_is_not_to_blame_for_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = build(NEW).shell_prefix();
    let reports = "-global virtio-balloon-pci.free-page-reporting=on";
    let text = format!("exec env {prefix} \"$@\" {reports}");
    let new = script(dir.path(), "qemu-system-x86_64", &text);
    let devices = words!("--device vmclock --device virtio-balloon-pci");
    let how = words!("-M pc-q35-10.0 --paused --direction forward");
    let found = live(NEW, &new, &[devices, how].concat());
    assert_eq!(found[0]["outcome"], "lost", "{:#}", found[0]);
    let split = &found[0]["split"];
    assert_eq!(
        split["culprits"],
        json!([["virtio-balloon-pci"]]),
        "{split:#}"
    );
    assert_eq!(split["passed"], json!(["vmclock"]), "{split:#}");
    let message = found[0]["cause"]["message"].as_str().unwrap();
    assert!(message.contains("`free-page-reporting`"), "{message}");
}

/// What differs in what builds send, and not in their dumps, is told by the default that brings it about.
#[apply(test)]
#[needs(Builds)]
fn what_the_set_up_of_a_swept_device_brings_about_is_told_by_the_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let balloon = ("virtio-balloon-pci", "free-page-reporting", "on");
    let serial = ("virtio-serial-pci", "max_ports", "15");
    let port = ("pcie-root-port", "x-migrate-msix", "off");
    let screens = ("virtio-gpu-pci", "max_outputs", "3");
    // The second board is refused itself, for its processor.
    for (old, arch, machine, family, defaults) in [
        (NEW, "x86_64", "q35", "q35", &[balloon, serial, port][..]),
        (
            OLD,
            "aarch64",
            "aarch64/virt",
            "aarch64/virt",
            &[port, screens],
        ),
    ] {
        let prefix = build_for(NEW, arch).shell_prefix();
        let globals = defaults.iter();
        let globals =
            globals.map(|(device, name, value)| format!("-global {device}.{name}={value}"));
        let globals: Vec<String> = globals.collect();
        // Another one of the command line comes later, and counts.
        let text = format!("exec env {prefix} {} \"$@\"", globals.join(" "));
        let new = script(dir.path(), &format!("qemu-system-{arch}"), &text);
        let devices = defaults.iter().flat_map(|(device, ..)| ["--only", *device]);
        let devices: Vec<&str> = devices.collect();
        let args = words!("sweep {old} {new} -M {machine} --format json");
        let found = cases(with_builds(&[args, devices].concat()));
        for (device, property, _) in defaults {
            let id = format!("{family}/{device}/unix/forward");
            let case = found.iter().find(|case| case["id"] == *id).unwrap();
            let cause = &case["cause"];
            assert_eq!(cause["rule"], "property-default-changed", "{case:#}");
            let message = cause["message"].as_str().unwrap();
            assert!(message.contains(&format!("`{property}`")), "{message}");
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn ordinary_devices_hold_what_was_sent() {
    let mut args = vec!["-M", "q35"];
    for device in [
        "e1000e",
        "virtio-net-pci",
        "virtio-blk-pci",
        "virtio-gpu-pci",
    ] {
        args.extend(["--device", device]);
    }
    for how in [&[][..], &["--paused"]] {
        let cases = live(OLD, NEW, &[&args, how].concat());
        assert_eq!(cases.len(), 2);
        for case in &cases {
            nothing_lost(case, 1);
        }
    }
}

/// The guest never runs: what one leg sends is what the destination of the one before it holds.
#[apply(test)]
#[needs(Builds)]
fn every_leg_of_a_loop_is_compared() {
    for how in [&[][..], &["--paused"]] {
        let args = ["-M", "q35", "--device-set", "bare", "--loops", "3"];
        let cases = live(OLD, NEW, &[&args, how].concat());
        assert_eq!(cases.len(), 1);
        nothing_lost(&cases[0], 6);
    }
}

/// 10.0.13 sends the sizes of queues once more, since its own default for them is another one, and 11.1,
/// whose default they are, does not.
#[apply(test)]
#[needs(Builds)]
fn a_subsection_that_a_build_adds_on_the_way_back_is_no_loss() {
    // Of virtio-gpu 11.1 has the longer configuration space, too.
    for device in ["virtio-rng-pci", "virtio-gpu-pci"] {
        let args = ["-M", "q35", "--device", device, "--paused"];
        let loops = ["--loops", "1", "--first", "new"];
        let cases = live(NEW, NEWEST, &[&args[..], &loops].concat());
        assert_eq!(cases.len(), 1);
        nothing_lost(&cases[0], 2);
    }
}

#[apply(test)]
#[needs(Builds)]
fn the_state_is_compared_whatever_way_the_stream_takes() {
    let args = ["-M", "q35", "--device-set", "bare", "--paused"];
    for transport in ["unix", "tcp", "fd", "exec", "file"] {
        let cases = live(
            NEW,
            NEWEST,
            &[&args[..], &["--transport", transport]].concat(),
        );
        assert_eq!(cases.len(), 2, "{transport}");
        for case in &cases {
            nothing_lost(case, 1);
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn what_cannot_be_compared_says_why() {
    let args = ["-M", "q35", "--device-set", "bare", "--paused"];
    let how = words!("--direction forward --capability multifd --repeat 0");
    let cases = live(OLD, NEW, &[&args[..], &how].concat());
    assert_eq!(cases.len(), 1);
    let case = &cases[0];
    assert_eq!(case["outcome"], "pass", "{case:#}");
    assert_eq!(case["state_checked"], Value::Null);
    let why = case["state_unchecked"].as_str().unwrap();
    assert!(why.contains("multifd"), "{why}");
}
