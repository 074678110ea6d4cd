//! The test of a host: outcomes that are known, provoked with a real build, and what the host lacks.

use macro_rules_attribute::apply;
use serde_json::Value;

use crate::common::{build, migcompat, program, script, stderr, stdout, with_builds};

fn outcomes(result: &Value) -> Vec<(String, String)> {
    let cases = result["cases"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    cases
        .map(|case| (text(&case["expected"]), text(&case["outcome"])))
        .collect()
}

#[apply(test)]
#[needs(Builds)]
fn known_outcomes_come_out_with_the_oldest_and_the_newest_build() {
    for suite in ["debian:bullseye", "debian:trixie-backports"] {
        let output = with_builds(&["self-test", suite, "--format", "json"]).output();
        let output = output.expect("it starts");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let known = ["pass", "fail", "lost", "broken", "hang"];
        let wanted = known.map(|outcome| (outcome.to_owned(), outcome.to_owned()));
        assert_eq!(outcomes(&result), wanted, "{suite}: {result:#}");
        assert_eq!(result["schema"], "migcompat-self-test-1");
        assert_eq!(result["build"]["label"], suite);
        let host = result["host"].as_array().expect("a list");
        let names: Vec<&str> = host.iter().filter_map(|one| one["name"].as_str()).collect();
        let wanted = [
            "kvm",
            "locked-memory",
            "apt",
            "time",
            "disk",
            "cache",
            "descriptors",
            "confinement",
        ];
        assert_eq!(names, wanted);
        let failed = host.iter().any(|one| one["state"] == "failed");
        assert_eq!(result["verdict"] == "trusted", !failed, "{result:#}");
        assert_eq!(output.status.code(), Some(i32::from(failed)));
    }
}

#[apply(test)]
#[needs(Builds)]
fn a_host_on_which_a_sound_migration_fails_is_not_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    // What arrives is refused, whatever it is.
    let line = format!(
        "case \"$*\" in *-incoming*) set -- \"$@\" -m 512M;; esac\n\
         exec {} \"$@\"",
        build("debian:trixie").shell_prefix()
    );
    let refusing = script(folder.path(), "qemu-system-x86_64", &line);
    let output = with_builds(&["self-test", &refusing])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("WRONG    pass "), "{text}");
    assert!(text.contains("\nnot trusted: "), "{text}");
}

#[apply(test)]
fn without_a_build_a_host_is_untested() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().display().to_string();
    let output = program(&["self-test", "--cache", &cache])
        .env("PATH", folder.path())
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("untested: no build: "), "{text}");
    assert!(text.contains("warning  apt "), "{text}");
    // One that is named and is not there is wrong usage.
    let named = migcompat(&["self-test", "nowhere/qemu-system-x86_64", "--cache", &cache]);
    assert_eq!(named.status.code(), Some(2), "{}", stderr(&named));
}
