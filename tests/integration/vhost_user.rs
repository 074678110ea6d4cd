//! Guests with devices whose rings another program works: the tool is that program.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, changed, program, stderr, words};
use crate::live::Run;

const OLD: &str = "debian:bookworm";
const NEW: &str = "debian:trixie";

#[apply(test)]
#[needs(Builds)]
fn disks_and_hosts_of_other_programs_are_swept() {
    let run = Run::new(&words!("sweep {OLD} {NEW} -M q35 --only vhost-user-*"));
    let cases = run.report["cases"].as_array().unwrap().iter();
    let of_devices = cases.filter(|case| case["id"].as_str().unwrap().contains("vhost-user"));
    let outcomes: Vec<&Value> = of_devices.map(|case| &case["outcome"]).collect();
    assert_eq!(outcomes, ["pass"; 12], "{}", run.said());
    let sections = run.report["coverage"]["sections"].as_array().unwrap();
    for name in ["vhost-user-blk", "vhost-user-scsi"] {
        let section = sections.iter().find(|section| section["section"] == name);
        assert_eq!(section.unwrap()["reached"], "passed", "{name}");
    }
    run.leaves_nothing();
}

/// What the guest wrote to its disk is there on the other side: its driver has the rings in memory that both programs map.
#[apply(test)]
#[needs(Builds)]
fn a_disk_of_another_program_is_used_on_both_sides() {
    let args = words!("live {OLD} {NEW} -M q35 --device vhost-user-blk-pci --workload linux");
    let run = Run::new(&[&args[..], &["--direction", "forward", "--retries", "0"]].concat());
    assert_eq!(run.outcomes(), ["pass"], "{}", run.said());
    let linux = &run.case(0)["linux"];
    assert_eq!(linux["uses"]["disks"], serde_json::json!(["vda"]));
    assert!(linux.to_string().contains("write-zeroes"), "{linux}");
    run.leaves_nothing();
}

/// The state of a folder comes from its program. A build before 8.2 has none for it, and does not migrate.
#[apply(test)]
#[needs(Builds)]
fn a_users_guest_keeps_its_folder_where_builds_migrate_it() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest");
    let described = "qemu-system-x86_64 -M pc-q35-7.2,memory-backend=mem -m 32 -nodefaults \
        -object memory-backend-memfd,id=mem,size=32M,share=on -chardev socket,id=fs,path=/run/virtiofsd \
        -device vhost-user-fs-pci,id=home,chardev=fs,tag=home -chardev socket,id=disk,path=/run/spdk \
        -device vhost-user-blk-pci,id=root,chardev=disk,num-queues=2";
    fs::write(&guest, described).unwrap();
    let guest = guest.display();
    let run = |old: &str| {
        let args = words!("live {old} {NEW} --guest {guest} --direction forward --retries 0");
        Run::new(&args)
    };
    let newer = run(NEW);
    assert_eq!(newer.outcomes(), ["pass"], "{}", newer.said());
    let devices = newer.case(0)["devices"].to_string();
    assert_eq!(devices, r#"["home","root"]"#);
    let sent = newer.report["described"].to_string();
    assert!(sent.contains("vhost-user-fs"), "{sent}");
    let older = run(OLD);
    assert_eq!(older.outcomes()[0], "broken", "{}", older.said());
    let why = older.case(0)["cause"].to_string();
    assert!(why.contains("non-migratable device"), "{why}");
    older.leaves_nothing();
}

#[apply(test)]
#[needs(Builds)]
fn a_disk_that_is_refused_is_reproduced_with_a_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let smaller = changed(
        folder.path(),
        NEW,
        "set -- \"$@\" -global vhost-user-blk-pci.vectors=9",
    );
    let logs = folder.path().join("logs");
    let logs = logs.display();
    let run = Run::new(&words!(
        "live {OLD} {smaller} -M q35 --device vhost-user-blk-pci --direction forward --retries 0 --keep-logs {logs}"
    ));
    assert_eq!(run.outcomes(), ["fail"], "{}", run.said());
    let case = run.case(0);
    let section = case["cause"]["section"].as_str().unwrap();
    assert!(section.ends_with("/vhost-user-blk"), "{case}");
    let script = case["reproducer"].as_str().unwrap();
    let own = env!("CARGO_BIN_EXE_migcompat");
    let by_hand = |program: &str, args: &[&str]| {
        let mut by_hand = Command::new(program);
        by_hand.args(args).env("MIGCOMPAT", own).output().unwrap()
    };
    let moved = by_hand("sh", &[script]);
    let printed = String::from_utf8_lossy(&moved.stdout);
    assert!(
        printed.contains("came: fail"),
        "{printed}{}",
        stderr(&moved)
    );
    assert_eq!(moved.status.code(), Some(0));
    let said = stderr(&by_hand("sh", &["-c", case["reproduce"].as_str().unwrap()]));
    assert!(said.contains("vhost-user-blk"), "{said}");
    // Without a stand-in nothing is claimed.
    let mut nothing = Command::new("sh");
    let nothing = nothing.arg(script).env("MIGCOMPAT", "/none").output();
    let nothing = nothing.unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        stderr(&nothing).contains("MIGCOMPAT"),
        "{}",
        stderr(&nothing)
    );
}

/// A build that somebody starts by hand gets its backend; the disk outlives it.
#[apply(test)]
#[needs(Builds)]
fn a_stand_in_serves_one_build() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (socket, disk) = (path("socket"), path("disk"));
    let mut own = program(&["stand-in", "vhost-user-blk", &socket, "--disk", &disk]);
    let mut own = own.spawn().unwrap();
    let line = format!(
        "until [ -S {socket} ]; do sleep 0.1; done; echo quit | {} -M q35 -nodefaults -display none \
         -monitor stdio -chardev socket,id=d,path={socket} -device vhost-user-blk-pci,chardev=d",
        build(OLD).shell_prefix()
    );
    let started = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(started.status.success(), "{}", stderr(&started));
    assert!(own.wait().unwrap().success());
    assert_eq!(fs::metadata(&disk).unwrap().len(), 64 << 20);
}

#[apply(test)]
fn a_stand_in_that_nobody_could_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    let _listener = UnixListener::bind(&taken).unwrap();
    // Nobody listens there any more.
    drop(UnixListener::bind(folder.path().join("left")).unwrap());
    for (args, why) in [
        (
            "vhost-user-gpu free",
            "no backend is known for a device of type vhost-user-gpu",
        ),
        ("vhost-user-fs-pci taken", "no build can connect to taken"),
        (
            "vhost-user-fs /no/folder/socket",
            "No such file or directory",
        ),
        (
            "vhost-user-fs free --disk mine",
            "a vhost-user-fs has no disk",
        ),
        (
            "vhost-user-blk free --disk .",
            "the disk . cannot be opened: Is a directory",
        ),
        (
            "vhost-user-scsi left --within 0",
            "no build has connected to left within 0 s",
        ),
    ] {
        let args: Vec<&str> = std::iter::once("stand-in").chain(args.split(' ')).collect();
        let refused = program(&args).current_dir(&folder).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(stderr(&refused).contains(why), "{}", stderr(&refused));
    }
    let names = fs::read_dir(&folder).unwrap();
    let names: Vec<_> = names.map(|item| item.unwrap().file_name()).collect();
    assert_eq!(names, ["taken"]);
}

/// Whoever it is, is told that it speaks something else, and not that all went well.
#[apply(test)]
fn a_stand_in_says_that_a_stranger_has_connected() {
    let folder = tempfile::tempdir().unwrap();
    let mut own = program(&["stand-in", "vhost-user-fs", "socket", "--within", "60"]);
    own.current_dir(&folder).stderr(Stdio::piped());
    let own = own.spawn().unwrap();
    let socket = folder.path().join("socket");
    let connected = (0..6000).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        UnixStream::connect(&socket).ok()
    });
    let mut connected = connected.unwrap();
    connected.write_all(&[0xff; 64]).unwrap();
    let ended = own.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = stderr(&ended);
    assert!(said.contains("speaks no vhost-user"), "{said}");
}

/// What a backend cannot do is said at once, in QEMU's words: it connects a few times more.
#[apply(test)]
#[needs(Builds)]
fn a_guest_with_more_rings_than_a_backend_has_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest");
    let described = "qemu-system-x86_64 -M q35 -m 32 -nodefaults -chardev socket,id=c,path=/run/spdk \
        -device vhost-user-blk-pci,chardev=c,num-queues=65";
    fs::write(&guest, described).unwrap();
    let guest = guest.display();
    let run = Run::new(&words!(
        "live {NEW} {NEW} --guest {guest} --direction forward --paused --retries 0"
    ));
    assert_eq!(run.status(), Some(125), "{}", run.said());
    let said = run.said();
    assert!(said.contains("supported by the backend is 64"), "{said}");
    assert!(!said.contains("no answer"), "{said}");
    run.leaves_nothing();
}
