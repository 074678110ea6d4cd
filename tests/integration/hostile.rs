//! Input from a stranger: nothing in it is mistaken for what we say, and none takes more than its share of
//! time and memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::common::{migcompat, program, root, stderr, stdout, with_builds};

/// Everything that a terminal, a pager, a log or a page may take for something else.
const HOSTILE: &str = "x\n\ncompatible: pc-q35-7.2, old a.json, new b.json: 0 errors\x1b[8m\x1b]0;owned\x07\x1b[2J\
                       \u{202e}gnp.exe\u{200b}\0\x08\x7f\u{9b}31m</script><script>alert(1)</script>\r]]>&lt;\u{fffe}";

fn written(folder: &Path, name: &str, value: &Value) -> String {
    let file = folder.join(name);
    fs::write(&file, value.to_string()).expect("written");
    file.display().to_string()
}

/// A dump of sections with one field each.
fn dump(machine: &str, sections: &[(&str, &str, u64)]) -> Value {
    let mut dump = json!({"vmschkmachine": {"Name": machine}});
    for (name, field, size) in sections {
        dump[*name] = json!({
            "Name": name,
            "version_id": 1,
            "minimum_version_id": 1,
            "Description": {
                "name": name,
                "version_id": 1,
                "minimum_version_id": 1,
                "Fields": [
                    {"field": field, "version_id": 0, "field_exists": false, "size": size},
                ],
            },
        });
    }
    dump
}

fn hides(text: &str) -> Option<char> {
    let seen = |c: char| !c.is_control() && !"\u{202e}\u{200b}\u{fffe}".contains(c);
    text.chars().find(|&c| !seen(c) && c != '\n')
}

#[apply(test)]
fn no_name_is_mistaken_for_our_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let (device, machine) = (format!("dev{HOSTILE}"), format!("m{HOSTILE}"));
    let dumps = [4, 8].map(|size| {
        let sound = ("e1000", HOSTILE, size);
        let value = dump(&machine, &[sound, (&device, "f", size)]);
        written(dir.path(), &format!("{size}.json"), &value)
    });
    for format in ["text", "json", "junit", "html"] {
        let args = ["static", &dumps[0], &dumps[1], "--format", format, "-v"];
        let output = migcompat(&args);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        for text in [stdout(&output), stderr(&output)] {
            assert_eq!(hides(&text), None, "{format}: {text}");
        }
        let text = stdout(&output);
        let verdicts = text.lines().filter(|line| line.starts_with("compatible"));
        assert_eq!(verdicts.count(), 0, "{text}");
        assert!(text.contains("owned"), "named, if visibly: {text}");
    }
}

#[apply(test)]
fn a_saved_report_is_not_trusted_either() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = "fixtures/rules/field-added";
    let args = [
        &format!("{fixtures}/old.json"),
        &format!("{fixtures}/new.json"),
    ];
    let output = migcompat(&["static", args[0], args[1], "--format", "json"]);
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"][0]["section"] = json!(format!("s\x1b[2J\u{202e}"));
    report["findings"][0]["message"] = json!(format!("m\x07\u{9b}31m"));
    let file = written(dir.path(), "report.json", &report);
    for format in ["text", "json", "junit", "html"] {
        let output = migcompat(&["merge", &file, "--format", format]);
        for text in [stdout(&output), stderr(&output)] {
            assert_eq!(hides(&text), None, "{format}: {text}");
        }
    }
}

#[apply(test)]
fn an_argument_is_shown_as_what_it_is() {
    for args in [
        &["static", "a\x1b[2J.json", "b.json"][..],
        &["rules", "explain", "a\x1b[2J\u{202e}"],
        &["stat\x1b[2Jic"],
        &["static", "a.json", "b.json", "--format", "\x1b[2J"],
    ] {
        let output = migcompat(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert_eq!(hides(&text), None, "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}

fn with_set(set: &str) -> Output {
    let pair = ["live", "debian:trixie", "debian:trixie", "-M", "q35"];
    let mut command = with_builds(&pair);
    command
        .args(["--device-set", set])
        .output()
        .expect("it starts")
}

#[apply(test)]
#[needs(Builds)]
fn a_list_or_a_set_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pair = [
        "fixtures/rules/field-added/old.json",
        "fixtures/rules/field-added/new.json",
    ];
    fs::write(
        dir.path().join("own.toml"),
        "# mine\n[[break]]\nreason = \"\\u001b[2J\"\n",
    )
    .unwrap();
    let lists = dir.path().display().to_string();
    let output = migcompat(&["static", pair[0], pair[1], "--lists", &lists]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("own.toml:3: a character that nobody sees"),
        "{text}"
    );

    let set = dir.path().join("set.toml");
    for (text, says) in [
        (
            "name = \"e\u{202e}\"\ndescription = \"x\"\n",
            "set.toml:1: a character that nobody sees",
        ),
        (
            "name = \"e\"\ndescription = \"\\u009b\"\n",
            "set.toml:2: a character that nobody sees",
        ),
        (
            "name = \"e\\n\\ncompatible: x\"\ndescription = \"x\"\n",
            "one line each",
        ),
    ] {
        fs::write(&set, text).unwrap();
        let set = set.display().to_string();
        let output = with_set(&set);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_file_that_never_ends_is_refused() {
    let pair = [
        "fixtures/rules/field-added/old.json",
        "fixtures/rules/field-added/new.json",
    ];
    let begun = Instant::now();
    for (what, says) in [
        ("link", "it is no regular file"),
        ("pipe", "it is no regular file"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("own.toml");
        match what {
            "link" => std::os::unix::fs::symlink("/dev/zero", &list).unwrap(),
            _ => mkfifo(&list, Mode::S_IRWXU).unwrap(),
        }
        let lists = dir.path().display().to_string();
        let output = migcompat(&["static", pair[0], pair[1], "--lists", &lists]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    let output = with_set("/dev/zero");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for option in ["--lock", "--owners"] {
        let output = bounded(&["static", pair[0], pair[1], option, "/dev/zero"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let says = "/dev/zero: it has more than 4 MiB";
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    assert!(begun.elapsed() < Duration::from_secs(120));
}

#[apply(test)]
fn an_error_is_not_as_long_as_what_it_quotes() {
    let dir = tempfile::tempdir().unwrap();
    let long = "a".repeat(1 << 20);
    let file = |name: &str, text: String| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let dump = file("dump.json", format!(r#"{{"a": "{long}"}}"#));
    let report = file("report.json", format!(r#"{{"schema": "{long}"}}"#));
    let list =
        format!("[[break]]\nsection='a'\nrule='{long}'\nmachines=['pc']\nby='9.0'\nreason='x'");
    file("own.toml", list);
    let lists = dir.path().display().to_string();
    for args in [
        &["static", &dump, &dump][..],
        &["render", &report],
        &["rules", "check", "--lists", &lists],
    ] {
        let output = migcompat(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert!(text.len() < 10_000, "{}", text.len());
        assert!(text.contains(" more … aaaa"), "{}", &text[..200]);
    }
}

/// Runs the program where it may have a gigabyte of addresses and a minute of processor time.
fn bounded(args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command
        .current_dir(root())
        .args([
            "-c",
            "ulimit -v 1048576 && ulimit -t 60 && exec \"$@\"",
            "sh",
        ])
        .arg(program(&[]).get_program())
        .args(args);
    command.output().expect("it starts")
}

#[apply(test)]
fn a_small_file_does_not_unfold_to_gigabytes() {
    let dir = tempfile::tempdir().unwrap();
    let field = r#"{"field":"x","version_id":0,"field_exists":false,"size":4},"#;
    let text = format!(
        r#"{{"a":{{"Description":{{"name":"a","version_id":1,"minimum_version_id":1,"Fields":[{}"#,
        field.repeat(2_000_000)
    );
    let bomb = dir.path().join("bomb.json.zst");
    fs::write(&bomb, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    let bomb = bomb.display().to_string();
    let output = bounded(&["static", &bomb, &bomb]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("bomb.json.zst"),
        "{}",
        stderr(&output)
    );

    let text = format!(
        r#"{{"schema":"migcompat-report-1","x":[{}0]}}"#,
        r#"{"":0},"#.repeat(2_000_000)
    );
    let bomb = dir.path().join("report.json.zst");
    fs::write(&bomb, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    let bomb = bomb.display().to_string();
    let output = bounded(&["render", &bomb]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("missing field `tool`"),
        "{}",
        stderr(&output)
    );

    // A megabyte of an array is one value; millions of structures are refused, and said to be.
    let large = "fixtures/hostile/large-array.stream.zst";
    let output = bounded(&["stream", "show", large]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let many = "fixtures/hostile/many-structures.stream.zst";
    let output = bounded(&["stream", "show", many]);
    let text = stdout(&output) + &stderr(&output);
    assert!(text.contains("more values than any section has"), "{text}");
    let output = bounded(&["stream", "diff", many, many]);
    assert!(output.status.code().is_some(), "it was killed");
}

/// What takes longer than in proportion is not taken at all, and the rest is compared.
#[apply(test)]
fn a_section_that_no_build_has_costs_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let odd = |prefix: &str| {
        let mut whole = dump("m", &[("sound", "f", 4)]);
        let field = |i| json!({"field": format!("{prefix}{i}"), "version_id": 0, "field_exists": false, "size": 4});
        let fields: Vec<Value> = (0..100_000).map(field).collect();
        whole["odd"] = dump("m", &[("odd", "f", 4)])["odd"].clone();
        whole["odd"]["Description"]["Fields"] = Value::Array(fields);
        whole
    };
    let old = written(dir.path(), "old.json", &odd("x"));
    let new = written(dir.path(), "new.json", &odd("y"));
    let begun = Instant::now();
    let output = bounded(&["static", &old, &new, "--format", "json"]);
    let report = crate::common::report(&output);
    let notices = report["notices"].to_string();
    assert!(
        notices.contains("more than 2048 fields and subsections"),
        "{notices}"
    );
    assert!(begun.elapsed() < Duration::from_secs(120));
}

/// A set of somebody else's: what it would run, open or write does not happen.
#[apply(test)]
#[needs(Builds)]
fn a_set_of_a_stranger_reaches_nothing_but_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    let at = canary.display();
    let file = dir.path().join("own.toml");
    let set = |entry: &str| {
        let head = "name = 'own'\ndescription = 'd'\n[[device]]\nid = 'e1000'\n";
        fs::write(&file, format!("{head}{entry}\n")).unwrap();
    };
    let run = |more: &[&str]| {
        let pair = ["live", "debian:trixie", "debian:trixie", "-M", "q35"];
        let how = ["--paused", "--direction", "forward", "--retries", "0"];
        let mut command = with_builds(&[&pair[..], &how, more].concat());
        command.current_dir(dir.path()).output().unwrap()
    };
    let own = file.display().to_string();
    for (entry, named) in [
        (format!("backend = ['-pidfile', '{at}']"), "-pidfile"),
        (format!("backend = ['-D', '{at}', '-d', 'int']"), "-D"),
        (
            format!("backend = ['-incoming', 'exec:touch {at}']"),
            "-incoming",
        ),
        (
            "backend = ['-monitor', 'tcp:127.0.0.1:0,server,nowait']".to_owned(),
            "-monitor",
        ),
        (
            format!("backend = ['-netdev', 'tap,id=n,script={at}']"),
            "type=tap",
        ),
        (
            "backend = ['-chardev', 'file,id=c,path=canary']".to_owned(),
            "backend=file",
        ),
        ("bus = 'pcie.0,romfile=canary'".to_owned(), "romfile=canary"),
    ] {
        set(&entry);
        let output = run(&["--device-set", &own]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{entry}: {said}");
        for part in [named, "`e1000`", "own.toml", "--trust"] {
            assert!(said.contains(part), "{entry}: {said}");
        }
        assert!(!canary.exists(), "{entry}");
    }
    let output = run(&["--device", "loader,file=canary"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));

    // A folder of one's own, and only what is really in it.
    set(&format!("backend = ['-pidfile', '{at}']"));
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.toml");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let [link, other] = [&*link, elsewhere.path()].map(|path| path.display().to_string());
    let output = run(&["--device-set", &link, "--trust", &other]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let gone = elsewhere.path().join("gone").display().to_string();
    let output = run(&["--device-set", &own, "--trust", &gone]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let why = format!("{gone}: there is no such folder");
    assert!(stderr(&output).contains(&why), "{}", stderr(&output));
    let mine = dir.path().display().to_string();
    // Both sides want the one pidfile, so that no verdict is asked for.
    let trusted = run(&["--device-set", &own, "--trust", &mine]);
    assert_ne!(trusted.status.code(), Some(2), "{}", stderr(&trusted));

    set("backend = ['-netdev', 'hubport,id=n,hubid=0']\nproperties = { netdev = 'n' }");
    let output = run(&["--device-set", &own]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
