//! Options that are not typed: variables, and a `migcompat.toml` above the working folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{program, report, root, stderr, stdout};

const OLD: &str = "fixtures/rules/field-added/old.json";
const NEW: &str = "fixtures/rules/field-added/new.json";

/// A comparison that is started in a folder, with JSON on standard output.
fn compare_in(folder: &Path, more: &[&str]) -> Command {
    let [old, new] = [OLD, NEW].map(|file| root().join(file).display().to_string());
    let mut command = program(&["static", &old, &new, "--format", "json"]);
    command.args(more).current_dir(folder);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("it runs")
}

fn policy(output: &Output) -> Value {
    report(output)["policy"].clone()
}

#[apply(test)]
fn an_option_is_a_variable_too() {
    let plain = || compare_in(&root(), &[]);
    let mut allowed = plain();
    allowed
        .env("MIGCOMPAT_ALLOW", "field-added")
        .env("MIGCOMPAT_STRICT", "1");
    let allowed = run(allowed);
    assert_eq!(allowed.status.code(), Some(0), "{}", stderr(&allowed));
    assert_eq!(
        policy(&allowed)["levels"],
        serde_json::json!({"field-added": "allow"})
    );
    assert_eq!(policy(&allowed)["strict"], true);

    // What is typed comes first, and what conflicts with it is left out.
    let mut typed = compare_in(&root(), &["--direction", "forward"]);
    typed
        .env("MIGCOMPAT_DIRECTION", "backward")
        .env("MIGCOMPAT_STRICT", "0");
    let typed = report(&run(typed));
    let findings = typed["findings"].as_array().expect("a list").iter();
    let mut directions = findings.map(|finding| &finding["direction"]);
    assert!(directions.all(|direction| direction == "forward"));
    assert_eq!(typed["policy"]["strict"], false);
    let mut both = plain();
    let quiet_and_not = both
        .args(["-q"])
        .env("MIGCOMPAT_VERBOSE", "1")
        .output()
        .expect("it runs");
    assert_eq!(
        quiet_and_not.status.code(),
        Some(1),
        "{}",
        stderr(&quiet_and_not)
    );

    for (name, value, wanted) in [
        ("MIGCOMPAT_STRICT", "perhaps", "neither 1 nor 0"),
        ("MIGCOMPAT_GATE", "none", "MIGCOMPAT_GATE"),
        ("MIGCOMPAT_ALLOW", "field-aded", "did you mean"),
    ] {
        let mut command = plain();
        command.env(name, value);
        let output = run(command);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}

#[apply(test)]
fn a_variable_that_is_misspelt_is_told_of() {
    let mut command = compare_in(&root(), &[]);
    command.env("MIGCOMPAT_STRCIT", "1");
    let output = run(command);
    let told = stderr(&output);
    assert!(
        told.contains("the variable MIGCOMPAT_STRCIT sets no option; near it: MIGCOMPAT_STRICT"),
        "{told}"
    );
    assert_eq!(policy(&output)["strict"], false);
}

/// A sweep takes several machines, a comparison one: a project has them in one list.
#[apply(test)]
fn a_list_of_one_is_for_commands_that_take_one_alone_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let compared = |text: &str, more: &[&str]| {
        fs::write(folder.path().join("migcompat.toml"), text).expect("written");
        let output = run(compare_in(folder.path(), more));
        (output.status.code(), stderr(&output))
    };
    // What is typed comes before it, however many there are.
    for (text, more) in [
        ("machine = [\"none\"]\n", &[][..]),
        ("machine = []\n", &[]),
        ("machine = [\"q35\", \"pc\"]\n", &["-M", "none"]),
    ] {
        let (status, said) = compared(text, more);
        assert_eq!(status, Some(1), "{text}: {said}");
    }
    for (text, wanted) in [
        ("machine = [\"q35\"]\n", "not q35"),
        (
            "machine = [\"q35\", \"pc\"]\n",
            "'--machine <MACHINE>' cannot be used multiple times",
        ),
        ("machine = [\"q35\", \"pc\"]\n", "`machine` in /"),
    ] {
        let (status, said) = compared(text, &[]);
        assert_eq!(status, Some(2), "{text}: {said}");
        assert!(said.contains(wanted), "{text}: {said}");
    }
}

#[apply(test)]
fn a_file_above_the_working_folder_has_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("build/x86_64");
    fs::create_dir_all(&inner).expect("made");
    let set = |text: &str| fs::write(folder.path().join("migcompat.toml"), text).expect("written");
    set("allow = [\"field-added\"]\nstrict = false\n[static]\nstrict = true\n");
    let output = run(compare_in(&inner, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let seen = policy(&output);
    assert_eq!(seen["levels"], serde_json::json!({"field-added": "allow"}));
    // The table of the command comes before what is for all.
    assert_eq!(seen["strict"], true);
    // A variable comes before the file.
    let mut command = compare_in(&inner, &[]);
    command.env("MIGCOMPAT_ALLOW", "field-removed");
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        policy(&output)["levels"],
        serde_json::json!({"field-removed": "allow"})
    );
    // Another command does not have the options of this one.
    let mut list = program(&["rules", "list"]);
    let list = list.current_dir(&inner).output().expect("it runs");
    assert!(stdout(&list).contains("field-added"), "{}", stderr(&list));

    for (text, wanted) in [
        ("alow = [\"field-added\"]\n", "near it: allow"),
        ("[static]\njobs = 3\n", "`jobs` is no option of static"),
        ("[sweeep]\njobs = 3\n", "`sweeep` is no option"),
        ("strict = \"yes\"\n", "it is true or false"),
        ("allow = [true]\n", "it takes a text or a number"),
        ("gate = \"none\"\n", "`gate` in /"),
        (
            "gate = [\"all\", \"new\"]\n",
            "cannot be used multiple times",
        ),
        ("gate = [true]\n", "it takes a text or a number"),
        ("strict = [true]\n", "it is true or false"),
        ("output = \"a.json\"\n", "is not for a file"),
        ("lists = [\n", "migcompat.toml: TOML parse error"),
        ("lists = [\"nowhere\"]\n", "nowhere"),
    ] {
        set(text);
        let output = run(compare_in(&inner, &[]));
        assert_eq!(output.status.code(), Some(2), "{text}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(wanted),
            "{text}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
}
