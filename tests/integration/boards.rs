//! Boards that are not in the table of machines: each starts with what it has by default, and is moved like any other.

use std::fs;
use std::process::Command;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build_for, script, with_builds, words};
use crate::live::Run;

const BUILD: &str = "debian:trixie";

/// The machine, of aarch64, and what is odd about it.
const BOARDS: [(&str, &str); 5] = [
    ("mps2-an385", "16 MiB of memory and no other size"),
    ("ast2500-evb", "512 MiB or more"),
    (
        "integratorcp",
        "a sound chip that wants to know where the sound goes",
    ),
    ("microbit", "no memory in the address space of the system"),
    (
        "fby35",
        "several processors with address spaces of their own",
    ),
];

#[apply(test)]
#[needs(Builds)]
fn boards_are_moved_with_the_memory_and_the_chips_that_they_have() {
    for (machine, oddity) in BOARDS {
        let bare = ["--arch", "aarch64", "-M", machine, "--device-set", "bare"];
        let args = [
            &["live", BUILD, BUILD, "--paused", "--direction", "forward"],
            &bare[..],
        ];
        let run = Run::new(&args.concat());
        assert_eq!(run.status(), Some(0), "{machine}, {oddity}: {}", run.said());
        let sections = &run.case(0)["state_checked"]["sections"];
        assert!(sections.as_u64() > Some(5), "{machine}: {sections}");
    }
}

/// The packages of a target that runs no boot code of PCI cards come without it, and one without a PCI bus is told nothing
/// of it.
#[apply(test)]
#[needs(Builds)]
fn boards_of_other_processors_take_cards_without_their_boot_code() {
    for (arch, machine, default) in [
        ("ppc", "g3beige", true),
        ("alpha", "clipper", true),
        ("avr", "arduino-mega", false),
    ] {
        let set = match default {
            true => "default",
            false => "bare",
        };
        let how = ["--arch", arch, "-M", machine, "--device-set", set];
        let args = ["live", BUILD, BUILD, "--paused", "--direction", "forward"];
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let logs = ["--log", log.to_str().unwrap()];
        let run = Run::new(&[&args[..], &how, &logs].concat());
        assert_eq!(run.outcomes(), ["pass"], "{machine}: {}", run.said());
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.contains("pci-device.romfile="), default, "{machine}");
    }
}

/// A machine without a PCI bus has virtio's devices on its own transports, as many as there are; one that takes nothing of
/// an ordinary guest is moved as it is, unless that set was asked for.
#[apply(test)]
#[needs(Builds)]
fn a_machine_is_moved_with_the_devices_that_it_has_a_place_for() {
    const NO_PCI: &str = "the machine has no PCI bus";
    let chosen = &["--device-set", "default"][..];
    for (arch, machine, set, devices, lacking) in [
        (
            "x86_64",
            "microvm",
            &[][..],
            &["net0", "disk0", "vkbd0"][..],
            NO_PCI,
        ),
        (
            "arm",
            "vexpress-a15",
            &[],
            &["net0", "vport0"],
            "no virtio-bus bus left",
        ),
        ("arm", "netduino2", &[], &[], NO_PCI),
        ("arm", "netduino2", chosen, &[], NO_PCI),
        ("sparc", "SS-5", &[], &[], "neither build has it"),
    ] {
        let how = [
            "--arch",
            arch,
            "-M",
            machine,
            "--paused",
            "--direction",
            "forward",
        ];
        let run = Run::new(&[&["live", BUILD, BUILD], &how[..], set].concat());
        let (outcome, device_set) = match (set.is_empty(), devices.is_empty()) {
            (false, _) => ("skip", "default"),
            (true, true) => ("pass", "bare"),
            (true, false) => ("pass", "default"),
        };
        assert_eq!(run.outcomes(), [outcome], "{machine}: {}", run.said());
        let case = run.case(0);
        assert_eq!(case["device_set"], device_set, "{machine}");
        let included = case["devices"].as_array().unwrap();
        assert_eq!(
            included.is_empty(),
            devices.is_empty(),
            "{machine}: {included:?}"
        );
        for device in devices {
            assert!(
                included.contains(&(*device).into()),
                "{machine}: {included:?}"
            );
        }
        let notices = run.report["notices"].as_array().unwrap();
        let notice = notices
            .iter()
            .find(|notice| notice["kind"] == "devices-without-place")
            .unwrap();
        assert_eq!(notice["subject"], "default", "{notice}");
        assert!(notice["detail"].to_string().contains(lacking), "{notice}");
    }
}

/// Since 11.1 a build does not say in which byte order its processor works; the name of its program does.
#[apply(test)]
#[needs(Builds)]
fn builds_of_one_byte_order_are_a_pair_and_others_are_not() {
    const NEWER: &str = "debian:trixie-backports";
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, arch: &str| {
        let text = format!("exec env {} \"$@\"", build_for(NEWER, arch).shell_prefix());
        script(dir.path(), name, &text)
    };
    let (named, little, big) = (
        of("qemu-system-mipsel", "mipsel"),
        of("little", "mipsel"),
        of("big", "mips"),
    );
    let how = ["-M", "malta", "--device-set", "bare", "--paused"];
    let forward = [&how[..], &["--direction", "forward"]].concat();
    for new in [NEWER, &named, &little] {
        let pair = ["live", BUILD, new, "--arch", "mipsel"];
        let run = Run::new(&[&pair[..], &forward].concat());
        assert_eq!(run.status(), Some(0), "{new}: {}", run.said());
        assert_eq!(run.outcomes(), ["pass"], "{new}");
    }
    let pair = ["live", BUILD, &big, "--arch", "mipsel"];
    let run = Run::new(&[&pair[..], &forward].concat());
    assert_eq!(run.status(), Some(2), "{}", run.said());
    let words = "is a build for mipsel and ";
    assert!(run.said().contains(words), "{}", run.said());
}

/// Moves a board between two releases without devices.
fn between(arch: &str, machine: &str, direction: &str) -> Run {
    let of = ["live", BUILD, "debian:trixie-backports"];
    let board = ["--arch", arch, "-M", machine, "--direction", direction];
    let how = ["--device-set", "bare", "--paused", "--retries", "0"];
    Run::new(&[&of[..], &board, &how].concat())
}

/// A build writes into the SCSI chip's state with which version of it that was written.
#[apply(test)]
#[needs(Builds)]
fn a_version_that_each_build_writes_for_itself_is_no_loss() {
    let run = between("m68k", "q800", "forward");
    assert_eq!(run.status(), Some(0), "{}", run.said());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
}

/// A load sets the priorities of the interrupt controller anew, in every build: that is told, and is no failure of the
/// controls of a stream that was refused for something else.
#[apply(test)]
#[needs(Builds)]
fn what_a_load_changes_in_any_case_is_no_failure_of_a_control() {
    let run = between("ppc", "mac99", "backward");
    assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
    let case = run.case(0);
    let passed = serde_json::json!({"old_to_old": "pass", "new_to_new": "pass"});
    assert_eq!(case["control"], passed, "{}", run.said());
    let changed = &case["changed_by_load"];
    assert_eq!(changed[0]["section"], "openpic", "{changed:#}");
    let builds = &changed[0]["builds"];
    assert_eq!(builds.as_array().unwrap().len(), 2, "{changed:#}");
}

/// A board that a load changes in any case is refused for its CPU: its devices are tried with another CPU's state, as they are
/// on a board that a load leaves as it was, and their controls have passed.
#[apply(test)]
#[needs(Builds)]
fn devices_of_a_board_that_is_refused_are_tried() {
    let passed = serde_json::json!({"old_to_old": "pass", "new_to_new": "pass"});
    let board = ["--arch", "ppc", "-M", "mac99", "--only", "am53c974"];
    let of = ["sweep", BUILD, "debian:trixie-backports"];
    let run = Run::new(&[&of[..], &board, &["--direction", "backward"]].concat());
    for device in ["bare", "am53c974"] {
        let id = format!("ppc/mac99/{device}/unix/backward");
        let mut cases = run.report["cases"].as_array().unwrap().iter();
        let case = cases.find(|case| case["id"] == *id).unwrap();
        assert_eq!(case["outcome"], "fail", "{case:#}");
        assert_eq!(case["control"], passed, "{case:#}");
    }
}

/// A field that the newer version has is not why the older version is refused, and nothing is said of the inside of what
/// no build read.
#[apply(test)]
#[needs(Builds)]
fn a_version_that_is_refused_is_the_cause_whatever_else_differs() {
    let run = between("arm", "ast1030-evb", "forward");
    let cause = &run.case(0)["cause"];
    assert_eq!(cause["section"], "aspeed.i2c", "{cause:#}");
    assert_eq!(cause["rule"], "version-too-old", "{cause:#}");
    let findings = run.report["findings"].as_array().unwrap();
    let others = findings.iter().filter(|of| of["rule"] != "version-too-old");
    for finding in others {
        assert_ne!(finding["section"], "aspeed.i2c", "{finding:#}");
    }
    // Which another section would be refused for as well.
    let refused = findings.iter().filter(|of| of["rule"] == "version-too-old");
    let sections: Vec<&Value> = refused.map(|of| &of["section"]).collect();
    assert_eq!(sections, ["aspeed.hace", "aspeed.i2c"]);
}

/// The target for 32-bit processors has a machine of the same name, and no other processors.
#[apply(test)]
#[needs(Builds)]
fn a_machine_of_32_bits_starts_with_a_processor_of_its_own() {
    let how = ["--arch", "arm", "-M", "virt", "--direction", "forward"];
    for set in [&["--device-set", "bare"][..], &["--driven"]] {
        let mode = if set[0] == "--driven" {
            &[][..]
        } else {
            &["--paused"]
        };
        let run = Run::new(&[&["live", BUILD, BUILD], &how[..], set, mode].concat());
        assert_eq!(run.status(), Some(0), "{}", run.said());
        assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    }
}

/// What lies in padding is no value that a build may have died of.
#[apply(test)]
#[needs(Builds)]
fn a_death_is_put_down_to_no_padding() {
    let run = between("arm", "lm3s6965evb", "forward");
    assert_eq!(run.outcomes(), ["broken"], "{}", run.said());
    let message = run.case(0)["cause"]["message"].as_str().unwrap();
    assert!(message.contains("sd-card"), "{message}");
    assert!(!message.contains("unused"), "{message}");
}

/// The two builds come with firmware of two sizes. A machine without versions is what each build makes of it: no old
/// one can be kept as it was.
#[apply(test)]
#[needs(Builds)]
fn the_firmware_of_each_build_is_told_and_nothing_is_to_be_pinned() {
    let pair = [
        "live",
        "debian:bookworm",
        BUILD,
        "-M",
        "microvm",
        "--paused",
    ];
    let how = ["--device-set", "bare", "--retries", "0"];
    let run = Run::new(&[&pair[..], &how].concat());
    assert_eq!(run.outcomes(), ["fail", "fail"], "{}", run.said());
    for index in [0, 1] {
        let message = run.case(index)["cause"]["message"].as_str().unwrap();
        assert!(message.contains("pc.bios"), "{message}");
        let words =
            "its contents are those of the file bios-microvm.bin that comes with each build";
        assert!(message.ends_with(words), "{message}");
        assert_eq!(run.case(index)["cause"]["file"], "bios-microvm.bin");
    }
    let findings = run.report["findings"].as_array().unwrap();
    let mut set_up = findings
        .iter()
        .filter(|of| of["rule"] == "property-default-changed")
        .peekable();
    assert!(set_up.peek().is_some(), "{findings:#?}");
    for finding in set_up {
        assert_eq!(finding["code"], serde_json::json!([]), "{finding:#}");
    }
}

/// Memory that no monitor can read is compared by what the stream has of it; where that does not show it either, nothing is
/// said of it.
#[apply(test)]
#[needs(Builds)]
fn memory_that_cannot_be_seen_is_untested() {
    let args = [
        "--arch",
        "aarch64",
        "-M",
        "microbit",
        "--device-set",
        "bare",
        "--paused",
    ];
    let run = Run::new(
        &[
            &["live", BUILD, BUILD, "--capability", "multifd"],
            &args[..],
        ]
        .concat(),
    );
    assert_eq!(run.status(), Some(125), "{}", run.said());
    assert!(run.outcomes().iter().all(|outcome| *outcome == "skip"));
    let message = run.case(0)["cause"]["message"].as_str().unwrap();
    assert!(message.contains("cannot be read from outside"), "{message}");
}

#[apply(test)]
#[needs(Builds)]
fn the_state_of_a_board_with_one_size_of_memory_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let board = build_for(BUILD, "aarch64");
    let line = format!(
        "printf 'migrate \"exec:cat > {}\"\\nquit\\n' | {} -M mps2-an385 -nodefaults -S -display none -monitor stdio",
        state.display(),
        board.shell_prefix()
    );
    let saved = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(
        fs::metadata(&state).is_ok_and(|of| of.len() > 1000),
        "{saved:?}"
    );
    let load = with_builds(&["load", "--arch", "aarch64", "-M", "mps2-an385"])
        .arg(&state)
        .arg(BUILD)
        .output()
        .unwrap();
    assert_eq!(load.status.code(), Some(0), "{load:?}");
}

/// Before 8.2 a sound chip that nobody tells where the sound goes tries whatever the host has, and complains of each.
#[apply(test)]
#[needs(Builds)]
fn no_sound_is_looked_for_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let board = words!("--arch aarch64 -M integratorcp --device-set bare");
    let args = words!("live debian:bookworm debian:bookworm --paused --direction forward");
    let log_to = ["--log", log.to_str().unwrap()];
    let run = Run::new(&[&args[..], &board, &log_to].concat());
    assert_eq!(run.status(), Some(0), "{}", run.said());
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("killed by us"), "{text}");
    assert!(!text.contains("voice"), "{text}");
}

/// A dump lists the devices of all boards. What this one neither has nor takes breaks nothing on it; what it has, or takes,
/// is judged as ever. Which parts a machine type with a version has may be its users' choice, and is left to the lists.
#[apply(test)]
#[needs(Builds)]
fn a_device_of_another_board_breaks_nothing() {
    let musicpal = words!("--arch arm -M musicpal --direction forward");
    let check = ["check", "debian:bookworm", BUILD, "--paused"];
    let sweep = ["sweep", "debian:bookworm", BUILD, "--only", "pca9552"];
    let has_no = "the board does not have it";
    let takes_no = "the board cannot be given it: the machine has no PCI bus";
    let listed = "rename-lists/";
    for command in [&check[..], &sweep[..]] {
        let run = Run::new(&[command, &musicpal].concat());
        assert_eq!(run.status(), Some(1), "{}", run.said());
        let findings = run.report["findings"].as_array().unwrap();
        let errors = findings.iter().filter(|of| of["level"] == "error");
        let (open, allowed): (Vec<&Value>, Vec<&Value>) =
            errors.partition(|of| of["allowed_by"].is_null());
        let open: Vec<&Value> = open.iter().map(|of| &of["section"]).collect();
        assert_eq!(open, ["pca9552"], "{command:?}");
        for (section, why) in [
            ("imx.serial", has_no),
            ("aspeed.i2c", has_no),
            ("am53c974", takes_no),
            ("musicpal_key", listed),
        ] {
            // A sweep is about what it was asked for.
            let found = allowed.iter().find(|of| of["section"] == section);
            let by = found.map(|of| of["allowed_by"].as_str().unwrap());
            let is_asked_for = command == check || section != "am53c974";
            assert_eq!(by.is_some(), is_asked_for, "{command:?} {section}");
            assert!(by.is_none_or(|by| by.starts_with(why)), "{section}: {by:?}");
        }
    }
    let virt = words!("--arch aarch64 -M virt --direction backward --only virtio-rng-pci");
    let run = Run::new(&[&["sweep", BUILD, "debian:trixie-backports"][..], &virt].concat());
    let findings = run.report["findings"].as_array().unwrap();
    let gic = findings.iter().find(|of| of["section"] == "arm-gicv3");
    assert_eq!(gic.unwrap()["allowed_by"], Value::Null, "{}", run.said());
}
