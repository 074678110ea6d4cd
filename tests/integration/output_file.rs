//! The effect of `-o FILE` on a file of that name, and the time at which an error of writing is reported.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use macro_rules_attribute::apply;

use crate::common::{
    cache_dir, follows_the_schema, program, root, script, stderr, stdout, with_builds,
};
use crate::needs::{device, mounted};

const OLD: &str = "fixtures/rules/field-added/old.json";
const NEW: &str = "fixtures/rules/field-added/new.json";
const STREAM: &str = "fixtures/streams/7.2.22/s390x-ccw.stream.zst";

/// Has a comparison written there; it ends with 1.
fn compare_to(file: &Path) -> Output {
    let mut command = program(&["static", OLD, NEW, "-o"]);
    command.arg(file).output().unwrap()
}

/// What that writes to standard output.
fn report() -> String {
    let printed = program(&["static", OLD, NEW]).output().unwrap();
    assert_eq!(printed.status.code(), Some(1), "{}", stderr(&printed));
    stdout(&printed)
}

#[track_caller]
fn written(output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert_eq!(stdout(output), "");
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let stderr_text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{stderr_text}");
    assert!(
        stderr_text.contains("cannot write") && stderr_text.contains(why),
        "{stderr_text}"
    );
}

#[track_caller]
fn holds(folder: &Path, items: &[&str]) {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, items);
}

/// A shell script with the program and the folder of the fixtures for its arguments, run in a folder that
/// is a file system of its own.
fn in_mounted(folder: &Path, text: &str) -> Output {
    mounted(folder, "size=1m", &format!("{{ set -e; {text}; }}"))
        .arg(env!("CARGO_BIN_EXE_migcompat"))
        .arg(root())
        .output()
        .unwrap()
}

fn pipe(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[apply(test)]
#[needs(Root)]
fn a_device_is_written_into_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let null = device(folder.path(), "null", 3).unwrap();
    let number = fs::symlink_metadata(&null).unwrap().rdev();
    written(&compare_to(&null));
    for args in [
        ["stream", "show", STREAM].as_slice(),
        &["stream", "diff", STREAM, STREAM],
    ] {
        let output = program(args).arg("-o").arg(&null).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    assert_eq!(fs::symlink_metadata(&null).unwrap().rdev(), number);
    holds(folder.path(), &["null"]);

    // One that is always full tells that something was written.
    let full = device(folder.path(), "full", 7).unwrap();
    refused(&compare_to(&full), "No space left");
    let metadata = fs::symlink_metadata(&full).unwrap();
    assert!(metadata.file_type().is_char_device());
    holds(folder.path(), &["full", "null"]);
}

#[apply(test)]
fn a_pipe_is_written_into_for_whoever_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    pipe(&path);
    let read = || {
        let mut reader = Command::new("cat");
        reader.arg(&path).stdout(Stdio::piped()).spawn().unwrap()
    };
    // The reader waits.
    let reader = read();
    written(&compare_to(&path));
    assert_eq!(stdout(&reader.wait_with_output().unwrap()), report());

    // The reader comes later: nobody else opens the pipe.
    let mut writer = program(&["static", OLD, NEW, "-o"]);
    let writer = writer.arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let reader = read();
    written(&writer.wait_with_output().unwrap());
    assert_eq!(stdout(&reader.wait_with_output().unwrap()), report());

    // A reader that waits learns that nothing comes.
    let reader = read();
    let mut failing = program(&["static", OLD, "nowhere.json", "-o"]);
    let failed = failing.arg(&path).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(stdout(&reader.wait_with_output().unwrap()), "");

    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    holds(folder.path(), &["pipe"]);
}

#[apply(test)]
fn descriptors_are_written_to_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [
        ("/dev/stdout", ""),
        ("/dev/stderr", "2>&1"),
        ("/dev/fd/1", ""),
        ("/proc/self/fd/1", ""),
        ("/dev/fd/3", "3>&1"),
        ("link", ""),
    ] {
        let link = folder.path().join("link");
        let _absent = fs::remove_file(&link);
        symlink("/dev/stdout", &link).unwrap();
        for end in [" | cat", " >file; cat file", " >>file; cat file"] {
            let name = match name {
                "link" => link.to_str().unwrap(),
                name => name,
            };
            // What others write to the file before and after stays.
            let text = format!(
                "cd \"$1\"; rm -f file; {{ echo before; (cd \"$2\"; \"$0\" static {OLD} {NEW} -o {name} {more}); \
                 echo after; }}{end}"
            );
            let output = Command::new("sh")
                .args(["-c", &text, env!("CARGO_BIN_EXE_migcompat")])
                .arg(folder.path())
                .arg(root())
                .output()
                .unwrap();
            let expected = format!("before\n{}after\n", report());
            // Where the shell goes on in a file it tells through its own descriptor alone.
            if (name, end) != ("/dev/fd/3", " >file; cat file") {
                assert_eq!(stdout(&output), expected, "{name} {end}: {output:?}");
            }
        }
    }
    assert!(folder.path().join("link").is_symlink());
}

#[apply(test)]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("sub/file"), "as before").unwrap();
    fs::set_permissions(at("sub/file"), Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(at("sub/file"), at("known")).unwrap();
    symlink("sub/file", at("link")).unwrap();
    symlink(at("link"), at("sub/link to the link")).unwrap();
    written(&compare_to(&at("sub/link to the link")));
    assert!(at("link").is_symlink() && at("sub/link to the link").is_symlink());
    assert_eq!(fs::read_to_string(at("sub/file")).unwrap(), report());
    let mode = fs::metadata(at("sub/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    // Whoever had it open reads on what was there.
    assert_eq!(fs::read_to_string(at("known")).unwrap(), "as before");
    holds(&at("sub"), &["file", "link to the link"]);

    // One that leads nowhere yet.
    symlink("sub/new", at("dangling")).unwrap();
    written(&compare_to(&at("dangling")));
    assert!(at("dangling").is_symlink());
    assert_eq!(fs::read_to_string(at("sub/new")).unwrap(), report());

    // One that can lead nowhere.
    symlink("none/new", at("astray")).unwrap();
    refused(&compare_to(&at("astray")), "no folder");
    symlink("circle", at("circle")).unwrap();
    refused(&compare_to(&at("circle")), "symbolic links");
    assert!(at("astray").is_symlink() && at("circle").is_symlink());

    // One that leads to a pipe.
    pipe(&at("pipe"));
    symlink("pipe", at("to the pipe")).unwrap();
    let mut reader = Command::new("cat");
    let reader = reader
        .arg(at("pipe"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    written(&compare_to(&at("to the pipe")));
    assert_eq!(stdout(&reader.wait_with_output().unwrap()), report());
    assert!(at("to the pipe").is_symlink());
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
}

#[apply(test)]
fn a_file_is_replaced_as_a_whole_with_what_it_may_be_used_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    for mode in [0o600, 0o664, 0o755] {
        fs::write(&file, "as before").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let before = fs::metadata(&file).unwrap();
        written(&compare_to(&file));
        let after = fs::metadata(&file).unwrap();
        assert_eq!(after.permissions().mode() & 0o7777, mode);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino());
        assert_eq!(fs::read_to_string(&file).unwrap(), report());
    }
    // A run that gives nothing changes nothing.
    fs::write(&file, "as before").unwrap();
    let mut failing = program(&["static", OLD, "nowhere.json", "-o"]);
    let failed = failing.arg(&file).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), "as before");
    holds(folder.path(), &["file"]);
}

#[apply(test)]
#[needs(Root)]
fn a_file_of_somebody_else_stays_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "as before").unwrap();
    let other = (Some(1234), Some(4321));
    chown(&file, other.0, other.1).unwrap();
    written(&compare_to(&file));
    let after = fs::metadata(&file).unwrap();
    assert_eq!((Some(after.uid()), Some(after.gid())), other);
}

#[apply(test)]
#[needs(Mount)]
fn a_file_that_something_is_mounted_on_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "echo as before >outside; : >inside; mount --bind outside inside; \
         file=$PWD/inside; (cd \"$2\"; \"$1\" static {OLD} {NEW} -o \"$file\") || [ $? = 1 ]; \
         cat outside; ls -A >&2"
    );
    let output = in_mounted(folder.path(), &text);
    assert_eq!(stdout(&output), report(), "{output:?}");
    let stderr_text = stderr(&output);
    let (verdict, listed) = stderr_text.split_once('\n').unwrap();
    assert!(verdict.starts_with("incompatible: "), "{stderr_text}");
    assert_eq!(listed, "inside\noutside\n");
}

/// Names that nothing can be written to, and why.
fn hopeless(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    fs::write(folder.join("file"), "as before").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    symlink("sub", folder.join("link")).unwrap();
    drop(UnixListener::bind(folder.join("socket")).unwrap());
    vec![
        (folder.join("sub"), "s a directory"),
        (folder.join("link"), "s a directory"),
        (folder.join("new/"), "s a directory"),
        (folder.join("none/new"), "no folder"),
        (folder.join("file/new"), "Not a directory"),
        (folder.join("socket"), "No such device"),
        (PathBuf::from("/proc/new"), ""),
    ]
}

#[apply(test)]
fn what_cannot_be_written_is_told_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let text = format!(": >'{}'; exit 1", started.display());
    let build = script(folder.path(), "qemu", &text);
    let outputs = folder.path().join("outputs");
    fs::create_dir(&outputs).unwrap();
    // Nobody ever writes into it: who reads it does not end.
    let never = folder.path().join("never.json");
    pipe(&never);
    let never = never.to_str().unwrap();
    for (output, why) in hopeless(&outputs) {
        for command in [
            ["check", &build, &build, "-M", "q35"].as_slice(),
            &["live", &build, &build, "-M", "q35"],
            &["sweep", &build, &build],
            &["static", &build, &build],
            &["dump", &build],
            &["check", "debian:none", "debian:none", "-M", "q35"],
            &["static", never, never],
            &["merge", never],
            &["stream", "show", never],
            &["stream", "diff", never, never],
        ] {
            let result = program(command).arg("-o").arg(&output).output().unwrap();
            refused(&result, why);
            assert!(!started.exists(), "{command:?}");
        }
    }
    assert_eq!(fs::read(outputs.join("file")).unwrap(), b"as before");
    holds(&outputs, &["file", "link", "socket", "sub"]);
}

#[apply(test)]
fn where_logs_cannot_be_kept_is_told_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let text = format!(": >'{}'; exit 1", started.display());
    let build = script(folder.path(), "qemu", &text);
    let file = folder.path().join("file");
    fs::write(&file, "as before").unwrap();
    for logs in [file.clone(), file.join("sub"), PathBuf::from("/proc/logs")] {
        for command in ["check", "live", "sweep"] {
            let mut run = program(&[command, &build, &build, "-M", "q35", "--keep-logs"]);
            let result = run.arg(&logs).output().unwrap();
            let stderr_text = stderr(&result);
            assert_eq!(result.status.code(), Some(2), "{command}: {stderr_text}");
            assert!(
                stderr_text.contains(logs.to_str().unwrap()),
                "{command}: {stderr_text}"
            );
            assert!(!started.exists(), "{command}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"as before");
}

#[apply(test)]
#[needs(Mount)]
fn a_folder_that_takes_nothing_is_told_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
        mkdir outputs; mount -t tmpfs none outputs
        echo as before >outputs/file; mount -o remount,ro outputs
        printf \"#!/bin/sh\n: >'$PWD/started'\" >qemu; chmod +x qemu; mkfifo never.json
        for output in outputs/new outputs/file; do
          \"$1\" dump ./qemu -o $output || echo $?
          \"$1\" check ./qemu ./qemu -M q35 -o $output || echo $?
          \"$1\" stream show never.json -o $output || echo $?
        done
        for logs in outputs outputs/logs; do
          \"$1\" live ./qemu ./qemu -M q35 --keep-logs $logs || echo $?
        done
        cat outputs/file; ls . outputs";
    let output = in_mounted(folder.path(), text);
    let stderr_text = stderr(&output);
    let names = ".:\nnever.json\noutputs\nqemu\n\noutputs:\nfile\n";
    let expected = format!("{}as before\n{names}", "2\n".repeat(8));
    assert_eq!(stdout(&output), expected, "{stderr_text}");
    assert_eq!(
        stderr_text.matches("Read-only file system").count(),
        8,
        "{stderr_text}"
    );
}

#[apply(test)]
#[needs(Builds)]
fn every_command_that_runs_builds_writes_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cache = cache_dir();
    let guest = ["--device", "virtio-rng-pci", "--paused"];
    let builds = ["debian:bookworm", "debian:bookworm", "-M", "pc-q35-7.2"];
    let shard = ["--only", "virtio-rng-pci", "--shard", "1/1"];
    for (name, args) in [
        (
            "dump.json.gz",
            ["dump"]
                .into_iter()
                .chain(builds[1..].iter().copied())
                .collect(),
        ),
        ("live.json", [&["live"], &builds[..], &guest].concat()),
        ("check.json", [&["check"], &builds[..], &guest].concat()),
        ("sweep.json", [&["sweep"], &builds[..], &shard].concat()),
        ("merge.json", vec!["merge", &at("file of sweep.json")]),
    ] {
        let file = at(&format!("file of {name}"));
        symlink(&file, at(name)).unwrap();
        let mut command = program(&args);
        command.args(["-o", &at(name), "--quiet"]);
        if name != "merge.json" {
            command.arg("--cache").arg(&cache);
        }
        if name != "dump.json.gz" {
            command.args(["--format", "json"]);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{name}");
        assert!(Path::new(&at(name)).is_symlink(), "{name}");
        let text = fs::read(&file).unwrap();
        match name {
            "dump.json.gz" => assert_eq!(text[..2], [0x1f, 0x8b]),
            _ => follows_the_schema(&serde_json::from_slice(&text).unwrap()),
        }
    }
}

#[apply(test)]
fn a_reader_that_has_read_enough_is_no_error() {
    for (args, status) in [
        (&["completions", "bash"][..], 0),
        (&["rules", "list"], 0),
        (&["rules", "explain", "field-added"], 0),
        (&["rules", "check"], 0),
        (&["stream", "show", STREAM], 0),
        (&["static", OLD, NEW], 1),
        (&["--help"], 0),
    ] {
        let (gone, pipe) = std::io::pipe().unwrap();
        drop(gone);
        let output = program(args).stdout(pipe).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(status),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("error: "), "{}", stderr(&output));
    }
}

/// Progress, and what became of the events, go to standard error. The answer does not.
#[apply(test)]
#[needs(Builds)]
fn an_answer_is_the_same_where_progress_cannot_be_written() {
    let (gone, pipe) = std::io::pipe().unwrap();
    drop(gone);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    for error_output in [Stdio::from(full), Stdio::from(pipe)] {
        let build = "debian:bookworm";
        let mut live = with_builds(&["live", build, build, "-M", "q35", "--paused"]);
        live.args(["--device-set", "bare", "--events", "/dev/full"]);
        let output = live.stderr(error_output).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let cases = stdout(&output);
        assert_eq!(cases.matches("\npass ").count(), 2, "{cases}");
    }
}
