//! The command line as a user meets it: exit status, messages, formats.

use std::path::Path;

use macro_rules_attribute::apply;
use migcompat::report::Evidence;
use serde_json::Value;

use crate::common::{dump, migcompat, root, stderr, stdout, with_builds, words};

const PAIR: [&str; 2] = [
    "fixtures/rules/field-added/old.json",
    "fixtures/rules/field-added/new.json",
];

fn report(args: &[&str]) -> Value {
    crate::common::report(&migcompat(&[args, &["--format", "json"]].concat()))
}

fn findings<'r>(report: &'r Value, section: &str) -> Vec<&'r Value> {
    report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|f| {
            f["section"] == section
                || f["also_in"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|s| s == section))
        })
        .collect()
}

#[apply(test)]
fn a_real_break_is_told_like_a_compiler_does() {
    let output = migcompat(&[
        "static",
        &dump("7.2.22", "x86_64-q35"),
        &dump("10.0.13", "x86_64-q35"),
        "-q",
    ]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(stdout(&output));
}

#[apply(test)]
fn the_levels_of_the_known_cases() {
    let between =
        |old, new| report(&["static", &dump(old, "x86_64-q35"), &dump(new, "x86_64-q35")]);
    let levels = |report: &Value, section: &str| -> Vec<String> {
        findings(report, section)
            .iter()
            .map(|f| f["level"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let to_10 = between("7.2.22", "10.0.13");
    // Its flags became padding: what the new build skips is harmless, what the old one reads as zeros may
    // not be.
    for finding in findings(&to_10, "e1000e") {
        let padded = finding["rule"] == "field-padded" && finding["direction"] == "backward";
        let level = if padded { "warning" } else { "note" };
        assert_eq!(finding["level"], level, "{finding}");
    }
    let e1000e = levels(&to_10, "e1000e");
    assert_eq!(e1000e.iter().filter(|l| *l == "warning").count(), 2);
    assert!(e1000e.len() > 2, "{e1000e:?}");

    let forward: Vec<&Value> = findings(&to_10, "am53c974")
        .into_iter()
        .filter(|f| f["level"] == "error" && f["direction"] == "forward")
        .collect();
    assert_eq!(forward.len(), 1);
    assert_eq!(forward[0]["rule"], "field-added");
    assert_eq!(
        forward[0]["path"],
        serde_json::json!(["pciespscsi", "esp", "drq_state"])
    );
    assert_eq!(forward[0]["old"], Value::Null);
    assert_eq!(forward[0]["new"], serde_json::json!({"size": 1}));

    let to_11 = between("10.0.13", "11.1.3");
    let rtc = levels(&to_11, "mc146818rtc");
    assert!(
        !rtc.is_empty() && rtc.iter().all(|l| l == "note"),
        "{rtc:?}"
    );
    let pvscsi = levels(&to_11, "pvscsi");
    assert!(!pvscsi.contains(&"error".to_owned()), "{pvscsi:?}");
}

#[apply(test)]
fn every_fixture_report_follows_the_schema() {
    for entry in std::fs::read_dir(root().join("fixtures/rules")).expect("the fixtures") {
        let folder = entry.expect("readable").path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let rule = migcompat::model::Rule::from_id(&name);
        // Others show how builds set up a machine, which is not compared from files.
        let dumps = |rule: migcompat::model::Rule| rule.entry().fixture.evidence == Evidence::Dump;
        if rule.is_some_and(dumps) {
            let file = |name: &str| folder.join(name).display().to_string();
            report(&["static", &file("old.json"), &file("new.json")]);
        }
    }
}

#[apply(test)]
fn options_say_what_a_rule_is_worth() {
    let pair = [
        "fixtures/rules/field-added/old.json",
        "fixtures/rules/field-added/new.json",
    ];
    let warning = [
        "fixtures/rules/condition-added/old.json",
        "fixtures/rules/condition-added/new.json",
    ];
    let note = [
        "fixtures/rules/field-renamed/old.json",
        "fixtures/rules/field-renamed/new.json",
    ];
    for (files, options, status) in [
        (pair, &[][..], 1),
        (pair, &["--allow", "field-added"], 0),
        (pair, &["--warn", "field-added"], 0),
        (pair, &["--warn", "field-added", "--strict"], 1),
        (pair, &["--direction", "forward"], 1),
        (warning, &[], 0),
        (warning, &["--strict"], 1),
        (warning, &["--deny", "condition-added"], 1),
        (note, &["--strict"], 0),
        (note, &["--deny", "field-renamed"], 1),
    ] {
        let output = migcompat(&[&["static", files[0], files[1]], options].concat());
        assert_eq!(
            output.status.code(),
            Some(status),
            "{files:?} {options:?}: {}",
            stdout(&output)
        );
    }
    let forward = report(&["static", pair[0], pair[1], "--direction", "forward"]);
    let directions: Vec<&Value> = forward["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| &f["direction"])
        .collect();
    assert_eq!(directions, ["forward"]);
}

#[apply(test)]
fn bad_input_ends_with_2_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &[u8]| -> String {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("writable");
        file.display().to_string()
    };
    let good = dump("7.2.22", "x86_64-q35");
    let whole = zstd::decode_all(
        std::fs::read(root().join(&good))
            .expect("a dump")
            .as_slice(),
    )
    .expect("a good file");
    let cases = [
        (write("empty.json", b""), "is empty"),
        (
            write("cut.json", &whole[..whole.len() / 2]),
            "the file is cut off",
        ),
        (
            write(
                "cut.json.zst",
                &zstd::encode_all(&whole[..], 1).expect("in memory")[..999],
            ),
            "cannot unpack",
        ),
        (write("text.json", b"hello"), "1:1"),
        (
            write("other.json", b"{\"name\": \"package\", \"version\": 1}"),
            "at name",
        ),
        (write("deep.json", "[".repeat(10_000).as_bytes()), "1:"),
        (write("latin.json", b"{\"\xe9\": 1}"), "not UTF-8"),
        (folder.path().display().to_string(), "folder"),
        (
            folder.path().join("none.json").display().to_string(),
            "no such file",
        ),
    ];
    for (file, wanted) in &cases {
        for args in [["static", file, &good], ["static", &good, file]] {
            let output = migcompat(&args);
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{file}: {message}");
            assert!(message.contains(wanted), "wanted {wanted:?} in {message:?}");
            assert!(message.contains(&**file), "the file is named: {message:?}");
        }
    }
    for args in [
        &["static", &good][..],
        &["static", &good, &good, "--deny", "no-such-rule"],
        &["static", &good, &good, "-M", "pc-q35-7.2"],
        &["static", "fedora:40", &good],
        &["static", &good, &good, "--lists", "/nonexistent"],
        &["static", &good, &good, "--rules", "/nonexistent"],
        &["rules", "explain", "no-such-rule"],
        &["frobnicate"],
    ] {
        assert_eq!(migcompat(args).status.code(), Some(2), "{args:?}");
    }
}

/// A shell of Windows writes what it is given with `>` in UTF-16, and editors begin UTF-8 with a mark.
#[apply(test)]
fn dumps_reports_and_lists_of_another_system_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [old, new] = ["old", "new"].map(|side| {
        let file = root().join(format!("fixtures/rules/field-added/{side}.json"));
        std::fs::read_to_string(file).expect("a dump")
    });
    let utf_16 = |name: &str, text: &str| {
        let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        std::fs::write(path(name), bytes).expect("writable");
    };
    utf_16("old.json", &old);
    std::fs::write(path("new.json"), format!("\u{feff}{new}")).expect("writable");
    let pair = [&*path("old.json"), &path("new.json")];
    let output = migcompat(&[&["static", "--format", "json"], &pair[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    utf_16("report.json", &stdout(&output));
    let args = [
        "static",
        "--gate",
        "new",
        "--baseline",
        &path("report.json"),
    ];
    let output = migcompat(&[&args, &pair[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let suggested = stdout(&migcompat(&[&["static", "--suggest"], &pair[..]].concat()));
    std::fs::create_dir(path("lists")).expect("writable");
    let suggested = suggested.replace("after = \"FILL IN\"", "");
    let filled = suggested.replace("machines = [\"FILL IN\"]", "machines = [\"*\"]");
    utf_16("lists/own.toml", &filled.replace("FILL IN", "9.0"));
    let output = migcompat(&[&["static", "--lists", &path("lists")], &pair[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[apply(test)]
fn a_suggested_entry_settles_its_finding_once_it_is_filled_in() {
    let pair = [
        "fixtures/rules/field-added/old.json",
        "fixtures/rules/field-added/new.json",
    ];
    let output = migcompat(&["static", pair[0], pair[1], "--suggest"]);
    assert_eq!(output.status.code(), Some(1), "as without the option");
    let stanzas = stdout(&output);
    insta::assert_snapshot!(stanzas);

    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("own.toml");
    let check = |text: &str| {
        std::fs::write(&list, text).expect("writable");
        migcompat(&[
            "static",
            pair[0],
            pair[1],
            "--lists",
            &folder.path().display().to_string(),
        ])
    };
    let unfilled = check(&stanzas);
    assert_eq!(
        unfilled.status.code(),
        Some(2),
        "an entry must not be pasted unread"
    );
    assert!(
        stderr(&unfilled).contains("own.toml"),
        "{}",
        stderr(&unfilled)
    );

    // One word left is one too many, wherever it stands.
    for left in ["reason", "machines", "commit"] {
        let text = stanzas
            .replace("after = \"FILL IN\"", "")
            .replace("by = \"FILL IN\"", "by = \"10.0\"");
        let text = [
            ("machines", "[\"FILL IN\"]", "[\"*\"]"),
            ("reason", "\"FILL IN\"", "\"meant\""),
            ("commit", "\"FILL IN\"", "\"4711\""),
        ]
        .iter()
        .filter(|(key, _, _)| *key != left)
        .fold(text, |text, (key, from, to)| {
            text.replace(&format!("{key} = {from}"), &format!("{key} = {to}"))
        });
        let unfilled = check(&text);
        assert_eq!(unfilled.status.code(), Some(2), "{text}");
        let message = stderr(&unfilled);
        assert!(
            message.contains(&format!("`{left}` is still to be filled in")),
            "{message}"
        );
    }

    let filled = stanzas
        .replace("machines = [\"FILL IN\"]", "machines = [\"*\"]")
        .replace("after = \"FILL IN\"", "")
        .replace("by = \"FILL IN\"", "by = \"10.0\"")
        .replace("reason = \"FILL IN\"", "reason = \"meant\"")
        .replace("commit = \"FILL IN\"", "commit = \"4711\"");
    let settled = check(&filled);
    assert_eq!(
        settled.status.code(),
        Some(0),
        "{}{}",
        stdout(&settled),
        stderr(&settled)
    );
    assert!(
        stdout(&settled).contains("2 allowed"),
        "{}",
        stdout(&settled)
    );
}

/// An entry says what changed from one release to the next one, whichever way the builds were named.
#[apply(test)]
#[needs(Builds)]
fn a_suggested_entry_settles_its_finding_whichever_build_is_named_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = folder.path().display().to_string();
    let run = |old: &str, new: &str, more: &[&str]| {
        let args = [&["static", old, new, "-M", "q35"], more].concat();
        with_builds(&args).output().expect("it starts")
    };
    let (older, newer) = ("debian:bookworm", "debian:trixie");
    let suggested = stdout(&run(newer, older, &["--suggest"]));
    assert!(
        suggested.contains("after = \"7.2\"\nby = \"10.0\"\n"),
        "{suggested}"
    );
    let filled = suggested.replace("FILL IN", "known");
    std::fs::write(folder.path().join("own.toml"), filled).expect("writable");
    for (old, new) in [(newer, older), (older, newer)] {
        let settled = run(old, new, &["--lists", &lists]);
        assert_eq!(settled.status.code(), Some(0), "{}", stderr(&settled));
        assert!(
            stderr(&settled).contains(": 0 errors, "),
            "{}",
            stderr(&settled)
        );
    }
}

/// Whoever names the builds the other way round has an ordinary verdict, and is told.
#[apply(test)]
fn builds_that_are_named_in_the_wrong_order_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json").display().to_string();
    let pair = ["old", "new"].map(|side| format!("fixtures/rules/field-added/{side}.json"));
    let made = migcompat(&["static", &pair[0], &pair[1], "--format", "json"]);
    let mut saved = crate::common::report(&made);
    let mut said = |old: &str, new: &str, more: &[&str]| {
        (saved["old"]["version"], saved["new"]["version"]) = (old.into(), new.into());
        std::fs::write(&file, saved.to_string()).expect("writable");
        let output = migcompat(&[&["render", &file], more].concat());
        assert_eq!(output.status.code(), Some(1), "as in the right order");
        stderr(&output)
    };
    for (old, new, is_wrong) in [
        ("10.0.13", "7.2.22", true),
        ("10.0.13", "10.0.2", true),
        ("7.2.22", "10.0.13", false),
        ("10.0.2", "10.0.2", false),
        ("10.1.0", "10.1.50", false),
    ] {
        let told = said(old, new, &[]);
        let hint = told
            .lines()
            .find(|line| line.starts_with("hint: ") && line.contains("is a newer release than"));
        assert_eq!(hint.is_some(), is_wrong, "{old} {new}: {told}");
        let last = told.lines().last().expect("a line");
        assert!(last.starts_with("incompatible: "), "{told}");
    }
    let told = said("10.0.13", "7.2.22", &["-q"]);
    assert!(!told.contains("hint: "), "{told}");
}

#[apply(test)]
fn a_suggested_entry_has_the_path_in_every_section_that_the_change_is_in() {
    let dump = |version: &str| format!("fixtures/dumps/{version}/x86_64-q35.json.zst");
    let output = migcompat(&["static", &dump("7.2.22"), &dump("10.0.13"), "--suggest"]);
    let stanzas = stdout(&output);
    let path = "path = [\"pciespscsi\", \"esp\", \"drq_state\"]";
    for section in ["am53c974", "dc390"] {
        let section = format!("section = \"{section}\"\nrule = \"field-added\"\n{path}\n");
        assert_eq!(stanzas.matches(&section).count(), 2, "{stanzas}");
    }
    assert!(!stanzas.contains("path = [\"FILL IN\"]"), "{stanzas}");
}

#[apply(test)]
fn an_entry_of_ones_own_that_serves_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("own.toml");
    let entry = "[[break]]\nsection = \"am53c974\"\nrule = \"field-added\"\n\
                 path = [\"pciespscsi\", \"esp\", \"drq_state\"]\nmachines = [\"pc-q35\"]\n\
                 after = \"7.2\"\nby = \"10.0\"\nreason = \"meant\"\n";
    std::fs::write(&list, entry).expect("writable");
    let own = folder.path().display().to_string();
    let check = ["rules", "check", "--dumps", "fixtures/dumps"];
    let output = migcompat(&[&check[..], &["--lists", &own]].concat());
    let text = stdout(&output);
    let named = format!("{}:1: matched in ", list.display());
    assert!(text.contains(&named), "{text}");
    assert_eq!(text.matches(": matched in ").count(), 1, "{text}");
    let output = migcompat(&[&check[..], &["-v"]].concat());
    let shipped = "deliberate-breaks.toml:";
    assert!(stdout(&output).contains(shipped), "{}", stdout(&output));
}

#[apply(test)]
fn own_lists_are_named_by_both_options_and_help_shows_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = "[[break]]\nsection = \"*\"\nrule = \"field-added\"\nwhole_section = true\nmachines = [\"*\"]\nby = \"10.0\"\nreason = \"meant\"\n";
    let section = report(&["static", PAIR[0], PAIR[1]])["findings"][0]["section"].clone();
    let section = section.as_str().expect("a name");
    let entry = entry.replace("\"*\"\nrule", &format!("{section:?}\nrule"));
    std::fs::write(folder.path().join("own.toml"), entry).expect("writable");
    let folder = folder.path().display().to_string();
    for option in ["--lists", "--rules"] {
        let output = migcompat(&["static", PAIR[0], PAIR[1], option, &folder]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{option}: {text}");
        assert!(text.contains("allowed"), "{option}: {text}");
    }
    for command in [
        &["static"][..],
        &["live"],
        &["check"],
        &["sweep"],
        &["rules", "check"],
        &["stream", "diff"],
    ] {
        let help = stdout(&migcompat(&[command, &["--help"]].concat()));
        assert!(help.contains("--lists <DIR>"), "{command:?}: {help}");
        assert!(!help.contains("--rules"), "{command:?}: {help}");
    }
}

#[apply(test)]
fn a_report_names_the_policy_that_its_verdict_was_drawn_by() {
    let plain = report(&["static", PAIR[0], PAIR[1]]);
    let none = serde_json::json!({
        "gate": "all", "strict": false, "required_coverage": null, "required_state": {"subsections": null, "fields": null},
        "levels": {}, "case": null, "exclude": [],
    });
    assert_eq!(plain["policy"], none);
    assert_eq!(plain["notices"], serde_json::json!([]));
    let options = words!("--strict --warn field-added --allow field-removed");
    let judged = report(&[&["static", PAIR[0], PAIR[1]][..], &options].concat());
    assert_eq!(
        judged["policy"],
        serde_json::json!({
            "gate": "all", "strict": true, "required_coverage": null, "required_state": {"subsections": null, "fields": null},
        "case": null, "exclude": [],
            "levels": {"field-added": "warn", "field-removed": "allow"},
        })
    );
    assert_eq!(judged["verdict"], "incompatible");
}

#[apply(test)]
fn the_shipped_lists_are_in_order() {
    let output = migcompat(&["rules", "check", "--dumps", "fixtures/dumps"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains(" 0 stale"), "{}", stdout(&output));
}

#[apply(test)]
fn a_stale_an_over_wide_and_a_double_entry_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = "[[break]]\nsection = \"e1000e\"\nrule = \"field-added\"\nwhole_section = true\nmachines = [\"*\"]\nby = \"8.0\"\nreason = \"no such break\"\n";
    let volatile =
        "[[volatile]]\ndescription = \"cpu\"\nfields = [\"x\"]\nsource = \"y\"\nreason = \"z\"\n";
    let entries = format!("{entry}\n{entry}\n{volatile}\n{volatile}");
    std::fs::write(folder.path().join("own.toml"), entries).expect("writable");
    let rules = folder.path().display().to_string();
    let output = migcompat(&words!(
        "rules check --dumps fixtures/dumps --lists {rules}"
    ));
    assert_eq!(output.status.code(), Some(1));
    for complaint in [
        "own.toml:1: stale",
        "own.toml:1: too wide",
        "own.toml:9: double",
        "own.toml:17: too wide: every target has a `cpu` of its own",
        "own.toml:23: double",
    ] {
        assert!(stdout(&output).contains(complaint), "{}", stdout(&output));
    }
}

#[apply(test)]
fn a_report_file_appears_whole_and_without_colour() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.txt");
    let pair = [
        "fixtures/rules/field-added/old.json",
        "fixtures/rules/field-added/new.json",
    ];
    let output = migcompat(&[
        "static",
        pair[0],
        pair[1],
        "--color",
        "always",
        "-o",
        &file.display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let text = std::fs::read_to_string(&file).expect("the report");
    assert!(
        text.contains("error[field-added]") && !text.contains('\u{1b}'),
        "{text}"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
    let coloured = migcompat(&["static", pair[0], pair[1], "--color", "always"]);
    assert!(stdout(&coloured).contains('\u{1b}'));
    assert!(!stdout(&migcompat(&["static", pair[0], pair[1]])).contains('\u{1b}'));

    let nowhere = Path::new("/nonexistent/report.txt").display().to_string();
    let output = migcompat(&["static", pair[0], pair[1], "-o", &nowhere]);
    assert_eq!(output.status.code(), Some(2));
}

#[apply(test)]
fn rules_are_listed_and_explained() {
    let list = stdout(&migcompat(&["rules", "list"]));
    for rule in migcompat::model::Rule::ALL {
        assert!(list.contains(rule.id()), "{rule}");
        let explained = migcompat(&["rules", "explain", rule.id()]);
        assert_eq!(explained.status.code(), Some(0));
        assert!(stdout(&explained).contains("What to do"), "{rule}");
    }
}

#[apply(test)]
fn junit_fails_what_gates_and_skips_what_does_not() {
    let junit = |rule: &str, options: &[&str]| -> String {
        let file = |side: &str| format!("fixtures/rules/{rule}/{side}.json");
        let (old, new) = (file("old"), file("new"));
        stdout(&migcompat(
            &[&["static", &old, &new, "--format", "junit"], options].concat(),
        ))
    };
    insta::assert_snapshot!(junit("field-added", &[]));
    assert!(junit("field-added", &["--allow", "field-added"]).contains("failures=\"0\""));
    assert!(junit("condition-added", &[]).contains("failures=\"0\""));
    assert!(junit("condition-added", &["--strict"]).contains("failures=\"2\""));
    assert!(junit("field-renamed", &[]).contains("tests=\"1\""));
}

#[apply(test)]
fn a_cause_is_said_once_and_a_far_fetched_name_never() {
    for args in [
        &["static", PAIR[0], PAIR[1], "--lists", "/nonexistent"][..],
        &["rules", "check", "--lists", "/nonexistent"],
        &["merge", "nonexistent.json"],
        &["stream", "show", "nonexistent"],
        &[
            "stream",
            "diff",
            PAIR[0],
            PAIR[1],
            "--lists",
            "/nonexistent",
        ],
    ] {
        let output = migcompat(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert_eq!(text.matches("No such file").count(), 1, "{args:?}: {text}");
        assert_eq!(text.matches("nonexistent").count(), 1, "{args:?}: {text}");
    }
    for (typed, meant) in [
        ("nosuchrule", None),
        ("x", None),
        ("field-aded", Some("field-added")),
        ("subsecton-unknown", Some("subsection-unknown")),
    ] {
        let text = stderr(&migcompat(&["rules", "explain", typed]));
        assert!(text.contains("`migcompat rules list` shows all"), "{text}");
        let offered = text.contains("did you mean");
        assert_eq!(offered, meant.is_some(), "{typed}: {text}");
        assert!(meant.is_none_or(|rule| text.contains(rule)), "{text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().display().to_string();
    let output = migcompat(&["builds", "--cache", &cache, "remove", "debian:nosuch"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("nothing of debian:nosuch is in the cache"));
}

#[apply(test)]
fn an_entry_of_ones_own_excuses_a_finding_until_it_expires() {
    let pair = ["old", "new"].map(|side| format!("fixtures/rules/field-added/{side}.json"));
    let folder = tempfile::tempdir().expect("a folder");
    let lists = folder.path().display().to_string();
    let judged = |section: &str, expires: &str| {
        let entry = format!(
            "[[failure]]\nrule = 'field-added'\nsection = '{section}'\nmachines = ['*']\n\
             reason = 'known'\nowner = 'Jo'\nexpires = '{expires}'\n"
        );
        std::fs::write(folder.path().join("own.toml"), entry).expect("writable");
        migcompat(&[
            "static", &pair[0], &pair[1], "--lists", &lists, "--format", "json",
        ])
    };
    let first = crate::common::report(&migcompat(&[
        "static", &pair[0], &pair[1], "--format", "json",
    ]));
    let section = first["findings"][0]["section"].as_str().expect("a section");
    let open = judged(section, "2999-12-31");
    assert_eq!(open.status.code(), Some(0), "{}", stderr(&open));
    let open = crate::common::report(&open);
    let reason = open["findings"][0]["allowed_by"].as_str().expect("excused");
    assert!(
        reason.ends_with("own.toml:1: known (Jo, until 2999-12-31)"),
        "{reason}"
    );
    assert_eq!(open["notices"], serde_json::json!([]));
    for (section, expires, kind) in [
        (section, "2024-12-31", "known-failure-expired"),
        ("elsewhere", "2999-12-31", "known-failure-unmatched"),
    ] {
        let judged = judged(section, expires);
        assert_eq!(judged.status.code(), Some(1));
        assert_eq!(crate::common::report(&judged)["notices"][0]["kind"], kind);
    }
    let unfilled = judged(section, "FILL IN");
    assert_eq!(unfilled.status.code(), Some(2));
    assert!(
        stderr(&unfilled).contains("still to be filled in"),
        "{}",
        stderr(&unfilled)
    );
}

#[apply(test)]
#[needs(Builds)]
fn a_suggested_entry_excuses_the_case_that_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = folder.path().display().to_string();
    let live = words!("live debian:bookworm debian:trixie -M q35 --paused --retries 1");
    let live = [
        &live[..],
        &["--device", "am53c974", "--direction", "forward"],
    ]
    .concat();
    let run = |more: &[&str]| {
        with_builds(&[&live[..], more].concat())
            .output()
            .expect("it starts")
    };
    let suggested = run(&["--suggest"]);
    assert_eq!(suggested.status.code(), Some(1));
    let text = stdout(&suggested);
    assert!(text.contains("[[failure]]"), "{text}");
    let optional = "link = \"FILL IN\"  # this line goes where there is none\n";
    assert!(text.contains(optional), "{text}");
    let filled = text.replace("expires = \"FILL IN\"", "expires = \"99.0\"");
    let filled = filled.replace("FILL IN", "known");
    std::fs::write(folder.path().join("own.toml"), filled).expect("writable");
    let excused = run(&["--lists", &lists, "--format", "json"]);
    assert_eq!(excused.status.code(), Some(0), "{}", stderr(&excused));
    let case = &crate::common::report(&excused)["cases"][0];
    assert_eq!(case["outcome"], "fail");
    assert!(
        case["allowed_by"]
            .as_str()
            .expect("excused")
            .contains("own.toml"),
        "{case:#}"
    );
}

/// Every example in the help of a command is one that the program takes, up to the builds and files that it names.
#[apply(test)]
fn the_examples_in_the_help_are_arguments() {
    let help = stdout(&migcompat(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut seen = 0;
    for command in commands.filter(|name| !name.is_empty() && *name != "help") {
        let help = stdout(&migcompat(&[command, "--help"]));
        for example in help
            .lines()
            .filter_map(|line| line.strip_prefix("  migcompat "))
        {
            seen += 1;
            let plain = example.split(" > ").next().unwrap();
            let mut words: Vec<String> = plain
                .split(' ')
                .map(|word| word.replace('\'', ""))
                .collect();
            assert_eq!(words[0], command, "{example}");
            // What comes last is refused, so that nothing else is done.
            words.push("--no-such-option".to_owned());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let refused = migcompat(&words);
            assert_eq!(refused.status.code(), Some(2), "{example}");
            let said = stderr(&refused);
            assert!(said.contains("'--no-such-option'"), "{example}: {said}");
        }
    }
    assert!(seen > 10, "{seen}");
}

#[apply(test)]
fn completions_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = migcompat(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(
            text.contains("self-test") && text.contains("min-coverage"),
            "{shell}"
        );
    }
    assert_eq!(
        migcompat(&["completions", "cmd.exe"]).status.code(),
        Some(2)
    );
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("share/man1");
    let output = migcompat(&["man", man.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (page, word) in [
        ("migcompat.1", "self"),
        ("migcompat-check.1", "baseline"),
        ("migcompat-stream-diff.1", "section"),
    ] {
        let text = std::fs::read_to_string(man.join(page)).expect(page);
        assert!(text.contains(".TH") && text.contains(word), "{page}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = migcompat(&["man", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot write man pages into"),
        "{}",
        stderr(&output)
    );
    let told = format!("{} is a file, and they need a folder", file.display());
    for folder in [&file, &file.join("man1")] {
        let output = migcompat(&["man", folder.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    }
}
