//! The user's own guest: read, started without anything of the host, moved, and blamed by its lines.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{migcompat, report, root, script, stderr, stdout, with_builds, words};

const OLD: &str = "debian:bookworm-backports";
const NEW: &str = "debian:trixie-backports";

fn guest(name: &str) -> String {
    format!("fixtures/guests/{name}")
}

fn outcomes(report: &Value) -> Vec<&str> {
    let cases = report["cases"].as_array().unwrap().iter();
    cases
        .map(|case| case["outcome"].as_str().unwrap())
        .collect()
}

#[apply(test)]
#[needs(Builds)]
fn a_guest_of_libvirt_moves_both_ways_and_its_lines_are_told() {
    let file = guest("libvirt.log");
    let output = with_builds(&["live", "--guest", &file, OLD, NEW, "--format", "json"])
        .output()
        .unwrap();
    let report = report(&output);
    assert_eq!(outcomes(&report), ["pass", "pass"], "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["machine"], "pc-q35-10.0");
    let cases = report["cases"].as_array().unwrap();
    assert!(
        cases.iter().all(|case| case["running"] == true),
        "{cases:#?}"
    );
    assert!(cases[0]["devices"].as_array().unwrap().len() >= 12);
    let answers = report["guest"]["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer["outcome"] == "pass"));
    let (treatment, told) = cpu(&report);
    assert_eq!(treatment, "replaced");
    assert!(told.unwrap().contains("tcg has no such model"), "{told:?}");
}

/// A build that has no such device type cannot have the guest, whatever the rest of it does.
#[apply(test)]
#[needs(Builds)]
fn a_guest_does_not_move_where_a_build_has_not_each_of_its_devices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    let lives = |device: &str| {
        let line = format!(
            "qemu-kvm -M pc-q35-7.2 -nodefaults -device virtio-rng-pci,id=rng -device {device},id=it"
        );
        fs::write(&file, line).unwrap();
        let file = file.display().to_string();
        let args = words!("live debian:bookworm debian:trixie --guest {file} --paused");
        let output = with_builds(&[&args[..], &["--format", "json"]].concat()).output();
        let output = output.unwrap();
        (report(&output), output.status.code())
    };
    // The old build has not the first, and neither the last.
    for device in ["virtio-sound-pci", "virtio-rtc-pci"] {
        let (report, status) = lives(device);
        assert_eq!(outcomes(&report), ["skip", "skip"], "{report:#}");
        assert_eq!(status, Some(125));
        for answer in report["guest"]["answers"].as_array().unwrap() {
            assert_eq!(answer["outcome"], "skip");
            assert_eq!(answer["blamed"][0]["device"], "it", "{answer:#}");
        }
        let cause = report["cases"][0]["cause"]["message"].as_str().unwrap();
        assert!(cause.starts_with("what is left of it moves"), "{cause}");
    }
    let (report, status) = lives("virtio-serial-pci");
    assert_eq!((outcomes(&report), status), (vec!["pass", "pass"], Some(0)));
}

/// Cards have boot code where the guest of a real host has it, which is a block of memory of one size on both; without it
/// where a build has no such file.
#[apply(test)]
#[needs(Builds)]
fn a_guest_has_the_boot_code_of_its_cards_if_both_builds_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    let line = "qemu-system-aarch64 -M virt-10.0 -nodefaults -m 64M -device virtio-net-pci,id=net";
    fs::write(&file, line).unwrap();
    let file = file.display().to_string();
    // Debian has the code for this target since 11.1.
    const LACKING: &str = "debian:trixie";
    for (build, lacks) in [
        (NEW, None),
        (LACKING, Some("debian:trixie finds no efi-virtio")),
    ] {
        let log = folder.path().join("log").display().to_string();
        let args =
            words!("live {build} {build} --guest {file} --paused --direction forward --log {log}");
        let output = with_builds(&[&args[..], &["--format", "json"]].concat()).output();
        let report = report(&output.unwrap());
        assert_eq!(outcomes(&report), ["pass"], "{report:#}");
        let mut notices = report["notices"].as_array().unwrap().iter();
        let notice = notices.find(|notice| notice["kind"] == "no-boot-code");
        let told = notice.map(|notice| notice["detail"].as_str().unwrap());
        match lacks {
            Some(lacks) => assert!(told.unwrap().starts_with(lacks), "{told:?}"),
            None => assert_eq!(told, None),
        }
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.contains("pci-device.romfile="), lacks.is_some());
    }
}

/// Returns what became of the line about the CPU, and the notice about the host's.
fn cpu(report: &Value) -> (&str, Option<&str>) {
    let mut lines = report["guest"]["lines"].as_array().unwrap().iter();
    let given = |line: &&Value| line["given"].as_str().unwrap().starts_with("-cpu");
    let line = lines.find(given).expect("a line about the CPU");
    let mut notices = report["notices"].as_array().unwrap().iter();
    let notice = notices.find(|notice| notice["kind"] == "host-cpu-replaced");
    let why = notice.map(|notice| notice["detail"].as_str().unwrap());
    (line["treatment"].as_str().unwrap(), why)
}

#[apply(test)]
#[needs(Builds, Kvm)]
fn with_kvm_a_guest_has_the_cpu_of_the_host_or_is_said_not_to() {
    let file = guest("libvirt.log");
    let args = ["live", "--guest", &file, OLD, NEW, "--paused"];
    let more = [
        "--accel",
        "kvm",
        "--direction",
        "forward",
        "--format",
        "json",
    ];
    let output = with_builds(&[&args[..], &more].concat()).output().unwrap();
    let moved = report(&output);
    assert_eq!(outcomes(&moved), ["pass"], "{}", stderr(&output));
    // Whether this host's KVM can is its own affair.
    match cpu(&moved) {
        ("kept", None) => {}
        ("replaced", Some(why)) => assert!(why.contains("moves within"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Who names a model has that one.
    let named = [&args[..], &more, &["--cpu", "EPYC"]].concat();
    let named = report(&with_builds(&named).output().unwrap());
    assert_eq!(cpu(&named), ("replaced", None));
}

/// The screens have one name on the wire, which that of ISA changed.
#[apply(test)]
#[needs(Builds)]
fn a_finding_counts_only_for_the_type_that_the_guest_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.txt");
    for (screen, has_isa) in [("-vga std", false), ("-device isa-vga", true)] {
        let line = format!("qemu-system-x86_64 -M q35 -m 64 {screen}");
        fs::write(&file, line).unwrap();
        let guest = file.to_str().unwrap();
        let args = words!("check --paused --retries 0 --format json --guest");
        let output = with_builds(&[&args[..], &[guest, OLD, NEW]].concat())
            .output()
            .unwrap();
        let report = report(&output);
        let mut findings = report["findings"].as_array().unwrap().iter();
        let is_told = findings.any(|finding| finding["section"] == "isa-vga");
        assert_eq!(is_told, has_isa, "{screen}: {}", stderr(&output));
        let is_tried = stdout(&output).contains("q35/isa-vga/");
        assert_eq!(is_tried, has_isa, "{screen}");
        if !has_isa {
            assert_eq!(outcomes(&report), ["pass", "pass"], "{}", stderr(&output));
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_guest_of_proxmox_is_taken_from_standard_input() {
    let text = fs::read(root().join(guest("proxmox.txt"))).unwrap();
    let mut child = with_builds(&["live", "--guest", "-", "--paused", OLD, NEW, "-v"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{told}{}", stderr(&output));
    for part in [
        "forward: it moves",
        "backward: it moves",
        "now -netdev type=hubport,id=net0,hubid=1",
        "without enforce: emulation lacks features of most models",
        "left out     1  -pidfile /var/run/qemu-server/104.pid",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn guests_with_defaults_and_with_firmware_of_their_own_move() {
    for (name, running) in [
        ("plain.txt", true),
        ("domain.xml", true),
        ("uefi.txt", false),
    ] {
        let file = guest(name);
        let output = with_builds(&["live", "--guest", &file, OLD, NEW, "--format", "json"])
            .output()
            .unwrap();
        let report = report(&output);
        assert_eq!(
            outcomes(&report),
            ["pass", "pass"],
            "{name}: {}",
            stderr(&output)
        );
        assert_eq!(report["cases"][0]["running"], running, "{name}");
        let told = report["notices"].to_string();
        let firmware = "its firmware is replaced by an empty one";
        assert_eq!(told.contains(firmware), !running, "{name}: {told}");
    }
}

/// A board takes an image of the size of its banks alone, whatever the image is called.
#[apply(test)]
#[needs(Builds)]
fn guests_with_flash_move_on_every_board() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    for (arch, machine) in [
        ("aarch64", "virt-10.0"),
        ("arm", "virt-10.0"),
        ("riscv64", "virt"),
        ("x86_64", "pc-q35-10.0"),
    ] {
        let domain = format!(
            "<domain type='kvm'><memory unit='MiB'>64</memory><vcpu>1</vcpu><os firmware='efi'>\
             <type arch='{arch}' machine='{machine}'>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/g_VARS.fd</nvram>\
             </os><features><acpi/></features></domain>"
        );
        fs::write(&file, domain).unwrap();
        let file = file.display().to_string();
        let build = "debian:trixie";
        let args = words!("live {build} {build} --guest {file} --paused --direction forward");
        let output = with_builds(&[&args[..], &["--format", "json"]].concat()).output();
        let report = report(&output.unwrap());
        assert_eq!(outcomes(&report), ["pass"], "{arch}: {report:#}");
    }
}

/// Devices in a file that is not opened are missed by others, and the answer names the file.
#[apply(test)]
#[needs(Builds)]
fn a_guest_that_lacks_a_file_of_devices_is_not_moved_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    let line = "kvm -M q35 -m 64 -nodefaults -readconfig /usr/share/qemu-server/pve-q35-4.0.cfg \
                -device usb-tablet,bus=ehci.0,port=1";
    fs::write(&file, line).unwrap();
    let file = file.display().to_string();
    let args = words!("live {NEW} {NEW} --guest {file} --paused --direction forward -q");
    let output = with_builds(&args).output().unwrap();
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(125), "{told}");
    let named = "without line 1: -readconfig /usr/share/qemu-server/pve-q35-4.0.cfg";
    assert!(told.contains(named), "{told}");
}

/// What a guest may have a device of is named beside each answer, also where it is not asked for what was left out.
#[apply(test)]
#[needs(Builds)]
fn an_answer_says_what_it_is_not_about() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    for (option, named) in [
        ("-readconfig /etc/q.cfg", true),
        ("-device vfio-pci,host=01:00.0", true),
        ("-device vhost-vsock-pci,guest-cid=3 -name web", true),
        ("-name web -display none", false),
    ] {
        fs::write(&file, format!("kvm -M q35 -m 64 -nodefaults {option}")).unwrap();
        let file = file.display().to_string();
        let args = words!("live {NEW} {NEW} --guest {file} --paused --direction forward -q");
        let output = with_builds(&args).output().unwrap();
        let told = stdout(&output);
        let first = option.split(" -").next().unwrap();
        assert!(told.contains("forward: it moves"), "{told}");
        assert_eq!(
            told.contains(&format!("without line 1: {first}")),
            named,
            "{told}"
        );
    }
}

/// QEMU takes what the settings of a domain are read as, old and new.
#[apply(test)]
#[needs(Builds)]
fn a_domain_with_all_kinds_of_settings_moves() {
    let file = guest("settings.xml");
    let args = words!("live --guest {file} debian:bookworm debian:trixie --paused --format json");
    let output = with_builds(&args).output().unwrap();
    let report = report(&output);
    // Debian has one of its devices in another package.
    assert_eq!(outcomes(&report), ["skip", "skip"], "{}", stderr(&output));
    let only = "what is left of it moves, but not all of it can be had: qxl-vga: the new build does not have it";
    assert_eq!(report["cases"][0]["cause"]["message"], only);
    let devices = report["cases"][0]["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 24, "{devices:?}");
    let lines = report["guest"]["lines"].to_string();
    assert!(!lines.contains(r#""reason":"unread""#), "{lines}");
}

#[apply(test)]
#[needs(Builds)]
fn the_line_to_blame_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.txt");
    let text = "qemu-system-x86_64 -machine pc-q35-7.2 -m 64 -nodefaults \\\n\
        -device e1000,id=net0 \\\n\
        -device am53c974,id=scsi0 \\\n\
        -device virtio-rng-pci,id=rng0\n";
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let args = words!("check --guest {file} debian:bookworm debian:trixie --paused");
    let output = with_builds(&args)
        .args(["--format", "json"])
        .output()
        .unwrap();
    let found = report(&output);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let answers = found["guest"]["answers"].as_array().unwrap();
    let forward = answers
        .iter()
        .find(|a| a["direction"] == "forward")
        .unwrap();
    assert_eq!(forward["outcome"], "fail");
    assert_eq!(
        forward["blamed"],
        serde_json::json!([{"line": 3, "device": "scsi0"}])
    );
    // Findings about devices that this guest does not have are none of its business.
    let findings = found["findings"].as_array().unwrap();
    let errors: Vec<&Value> = findings.iter().filter(|f| f["level"] == "error").collect();
    assert!(!errors.is_empty());
    // dc390 has the same, and is as little in it: neither told of nor moved.
    let is_own = |f: &&Value| f["section"] == "am53c974" && f["also_in"] == serde_json::json!([]);
    assert!(errors.iter().all(is_own), "{errors:#?}");
    let cases = found["cases"].to_string();
    assert!(cases.contains("q35/am53c974/unix/forward") && !cases.contains("dc390"));
    assert!(found["guest"]["other_findings"].as_u64().unwrap() > 0);
}

/// What a hostile file points at: nobody may have touched any of it.
struct Canary {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    unix: UnixListener,
}

impl Canary {
    fn new() -> Canary {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let ran = format!("touch {}", at("ran").display());
        script(folder.path(), "run.sh", &ran);
        fs::write(at("secret"), "-object secret,id=x\n").unwrap();
        fs::write(at("plugin.so"), "no library").unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let unix = UnixListener::bind(at("listening")).unwrap();
        unix.set_nonblocking(true).unwrap();
        Canary { folder, tcp, unix }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn is_untouched(&self, name: &str) {
        let mut files: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(
            files,
            ["listening", "pipe", "plugin.so", "run.sh", "secret"],
            "{name}"
        );
        let connected = self.tcp.accept().map(drop).unwrap_err();
        assert_eq!(connected.kind(), ErrorKind::WouldBlock, "{name}");
        let connected = self.unix.accept().map(drop).unwrap_err();
        assert_eq!(connected.kind(), ErrorKind::WouldBlock, "{name}");
        let reader = fs::OpenOptions::new()
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(self.path().join("pipe"));
        assert!(reader.is_err(), "{name}: somebody reads the pipe");
    }
}

/// A guest has what its host starts it with: the buses of a file, the console at its own address, and a hub before what is on it.
#[apply(test)]
#[needs(Builds)]
fn guests_of_other_hosts_start_and_work() {
    for (name, devices) in [
        ("incus.txt", "qemu_pcie0 qemu_balloon dev-qemu_rng"),
        (
            "proxmox-q35.txt",
            "ehci uhci-1 pcidmi pci.0 tablet vga balloon0 net0",
        ),
        ("power.xml", "scsi0 scsi-hd spapr-vlan"),
        (
            "smartcard.xml",
            "usb ich9-usb-uhci1 usb-hub ccid0 ccid-card-passthru usb-tablet",
        ),
    ] {
        let args = words!("live debian:trixie debian:trixie --direction forward --format json");
        let output = with_builds(&[&args[..], &["--guest", &guest(name)]].concat()).output();
        let report = report(&output.unwrap());
        assert_eq!(outcomes(&report), ["pass"], "{name}: {report:#}");
        let case = &report["cases"][0];
        assert_eq!(case["running"], true, "{name}: {case:#}");
        let found = case["devices"].as_array().unwrap().iter();
        let found: Vec<&str> = found.filter_map(|id| id.as_str()).collect();
        assert_eq!(found.join(" "), devices, "{name}");
    }
}

/// A machine that fails without its only device fails by itself.
#[apply(test)]
#[needs(Builds)]
fn a_lone_device_is_not_blamed_for_its_machine() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest");
    let on_pc = "kvm -M pc-q35-7.2 -m 64 -nodefaults -device am53c974";
    for (line, is_board) in [
        (
            "kvm -M pseries-7.2 -cpu POWER8 -m 512 -nodefaults -device virtio-rng-pci",
            true,
        ),
        (
            "kvm -M virt-7.2 -cpu cortex-a57 -m 64 -nodefaults -device virtio-rng-pci",
            true,
        ),
        (on_pc, false),
    ] {
        fs::write(&file, line).unwrap();
        let file = file.display().to_string();
        let args = words!(
            "live --guest {file} debian:bookworm debian:trixie --paused --direction backward --retries 0"
        );
        let output = with_builds(&[&args[..], &["--format", "json"]].concat()).output();
        let report = report(&output.unwrap());
        let answer = &report["guest"]["answers"][0];
        assert_eq!(answer["board"], is_board, "{line}: {answer:#}");
        let blamed = answer["blamed"].as_array().unwrap();
        assert_eq!(blamed.is_empty(), is_board, "{line}: {answer:#}");
    }
}

#[apply(test)]
#[needs(Builds)]
fn nothing_of_a_hostile_file_is_executed_opened_or_reached() {
    let canary = Canary::new();
    let port = canary.tcp.local_addr().unwrap().port().to_string();
    let work = tempfile::tempdir().unwrap();
    let mut files = 0;
    for entry in fs::read_dir(root().join(guest("hostile"))).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let place = canary.path().to_str().unwrap();
        let text = text.replace("@CANARY@", place).replace("@PORT@", &port);
        let file = work.path().join(name);
        fs::write(&file, text).unwrap();
        let log = work.path().join("debug.log");
        let output = with_builds(&["live", NEW, NEW, "--paused", "--direction", "forward"])
            .args(["--retries", "0", "--format", "json", "--guest"])
            .arg(&file)
            .arg("--log")
            .arg(&log)
            .output()
            .unwrap();
        let report = report(&output);
        assert_ne!(report["guest"], Value::Null);
        // It ran, or a build refused what was left of it.
        assert!(
            matches!(outcomes(&report)[0], "pass" | "skip"),
            "{name}: {report:#}"
        );
        let log = fs::read_to_string(&log).unwrap();
        let started = log.lines().filter(|line| line.contains("started line="));
        let started: Vec<&str> = started.collect();
        assert!(
            started.iter().any(|line| line.contains("-nodefaults")),
            "{name}: {log}"
        );
        for line in started {
            assert!(
                !line.contains(place) && !line.contains(&port),
                "{name}: {line}"
            );
        }
        canary.is_untouched(name);
        files += 1;
    }
    assert!(files >= 20, "{files}");
}

#[apply(test)]
fn what_is_no_guest_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let long = [b"kvm -M pc ".as_slice(), &vec![b'x'; 2 << 20]].concat();
    for (file, message) in [
        (
            file("empty", b""),
            "empty: no guest can be made of it: it is empty",
        ),
        (
            file("other", b"Dear all,\n"),
            "names no program called qemu-system-ARCH",
        ),
        (file("long", &long), "it has more than 1024 KiB"),
        (
            file("binary", b"kvm \xff\xfe"),
            "line 1: it is no text in UTF-8",
        ),
        (
            file("shell", b"kvm -M pc \\\n -name $NAME"),
            "line 2: a shell would put something",
        ),
        (file("machine", b"kvm -m 64"), "the guest has no -machine"),
        (
            folder.path().join("none").display().to_string(),
            "No such file or directory",
        ),
    ] {
        let output = migcompat(&["live", "--guest", &file, "qemu-a", "qemu-b"]);
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(
            stderr(&output).contains(message),
            "{file}: {}",
            stderr(&output)
        );
    }
    let output = migcompat(&["live", "--guest", "x", "--device", "e1000", "a", "b"]);
    assert_eq!(output.status.code(), Some(2));
}
