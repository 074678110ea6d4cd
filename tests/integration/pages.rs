//! The report for people, as text and for a browser: what it tells first, that a page stands alone, and
//! that nothing in it becomes markup.

use base64::prelude::{BASE64_STANDARD, Engine};
use macro_rules_attribute::apply;
use migcompat::model::{Direction, Side};
use migcompat::report::render::{html, text};
use migcompat::report::{
    Case, Cause, Change, Confirmation, Control, Coverage, CoveredSection, CoveredSubsection,
    Grafted, LeftOut, Leg, Outcome, Owner, PassesWith, Policy, Reached, Repeated, Report,
    RunRecord, Source, Split, StateChecked, StateDiff, Swept,
};
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{migcompat, stderr, with_builds};

/// The page without its style, which no test is about.
fn page(report: &Report) -> String {
    let mut page = Vec::new();
    html::write(report, &mut page).expect("written");
    let page = String::from_utf8(page).expect("UTF-8");
    sound(&page);
    let page = without_script(&page);
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, body) = rest.split_once("</style>").expect("its end");
    let lines = format!("{head}{body}");
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// The page without its script, which is the one that it allows, and ours.
fn without_script(page: &str) -> String {
    let ours = include_str!("../../templates/report.js").trim();
    let (before, rest) = page.split_once("<script>").expect("a script");
    let (script, after) = rest.split_once("</script>").expect("its end");
    assert_eq!(script.trim(), ours);
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    let policy = format!(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'\""
    );
    let plain = before.replace("&#39;", "'").replace("&#43;", "+");
    assert!(plain.contains(&policy), "the page has to allow {policy}");
    before.to_owned() + after
}

/// Every angle bracket is a tag's, every tag is closed, and nothing is run or loaded but for one known script.
fn sound(page: &str) {
    let page = without_script(page);
    let page = page.strip_prefix("<!doctype html>").expect("HTML");
    let tag =
        Regex::new(r#"^<(/?)([a-z][a-z0-9]*)((?: [a-z-]+(?:="[^"<>]*")?)*)>"#).expect("sound");
    let inert =
        Regex::new(r##" (?:(?:data-[a-z]+|id)=\"[^\"<>]*\"|href=\"#[^\"<>]*\")"##).expect("sound");
    let mut open: Vec<&str> = Vec::new();
    for (at, _) in page.match_indices('<') {
        let excerpt: String = page[at..].chars().take(80).collect();
        let tag = tag.captures(&page[at..]).expect(&excerpt);
        let (closing, name) = (!tag[1].is_empty(), tag.get(2).expect("a name").as_str());
        // What the script selects by, and an anchor, is no markup, whatever it is.
        let attributes = inert.replace_all(&tag[3], "");
        for risky in [" on", " src", "href=\"http", "javascript"] {
            assert!(!attributes.contains(risky), "{excerpt}");
        }
        match (name, closing) {
            ("meta" | "br" | "input", _) => {}
            ("script" | "link" | "img" | "iframe", _) => panic!("{excerpt}"),
            (name, false) => open.push(name),
            (name, true) => assert_eq!(open.pop(), Some(name), "{excerpt}"),
        }
    }
    assert_eq!(open, [""; 0]);
    let mut anchors: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let all = anchors.len();
    anchors.sort_unstable();
    anchors.dedup();
    assert_eq!(anchors.len(), all, "an anchor twice");
    let links = page.split(" href=\"#").skip(1);
    for link in links.filter_map(|rest| rest.split('"').next()) {
        assert!(anchors.binary_search(&link).is_ok(), "{link} leads nowhere");
    }
    for foreign in ["@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

/// A real comparison, for which cases, coverage and a machine are made up: one of everything.
pub fn everything() -> Report {
    let folder = "fixtures/rules/field-added";
    let [old, new] = ["old", "new"].map(|side| format!("{folder}/{side}.json"));
    let output = migcompat(&["static", &old, &new, "--format", "json"]);
    let mut compared: Report = serde_json::from_slice(&output.stdout).expect("a report");
    for finding in &mut compared.findings {
        finding.owners = vec!["ESP".to_owned()];
        finding.source = Some(Source {
            file: "hw/scsi/esp.c".to_owned(),
            line: 1090,
            variable: "vmstate_esp".to_owned(),
            ..Source::default()
        });
        let case = "q35/am53c974/unix/forward".to_owned();
        finding.confirmed_by = Some(match finding.direction {
            Direction::Forward => Confirmation::Case(case),
            Direction::Backward => Confirmation::Streams,
        });
    }
    let case = |device: &str, direction, outcome| {
        let id = format!("q35/{device}/unix/{direction}");
        Case {
            devices: vec![device.to_owned()],
            outcome,
            legs: vec![Leg {
                index: 0,
                direction,
                outcome,
                total_ms: Some(31),
                downtime_ms: Some(9),
                setup_ms: Some(1),
                bytes: Some(1 << 20),
                pages: Some(256),
                passes: None,
            }],
            elapsed_ms: 120,
            ..Case::untried(id, "pc-q35-7.2", device, "unix", direction)
        }
    };
    let cause = |message: &str| Cause {
        message: message.to_owned(),
        ..Cause::default()
    };
    let control = Some(Control {
        old_to_old: Outcome::Pass,
        new_to_new: Outcome::Pass,
    });
    let refused = |device: &str, slot: u32| {
        let section = format!("0000:00:0{slot}.0/pciespscsi");
        Case {
            cause: Some(Cause {
                section: Some(section.as_str().into()),
                instance: Some(0),
                field: Some("esp/drq_state".to_owned()),
                rule: Some(migcompat::model::Rule::FieldAdded),
                message: format!("Missing section footer for {section}"),
                offset: Some(316_834),
                sent: Some("the end of the section".to_owned()),
                expected: Some("esp/drq_state (bool, 1 byte)".to_owned()),
                ..Cause::default()
            }),
            control: control.clone(),
            repeated: Some(Repeated { failed: 3, of: 3 }),
            reproduce: Some("d=$(mktemp -d); echo 'migrate' | qemu".to_owned()),
            destination_stderr: format!("qemu: Missing section footer for {section}"),
            logs: Some("/tmp/logs".to_owned()),
            ..case(device, Direction::Forward, Outcome::Fail)
        }
    };
    let cases = vec![
        refused("am53c974", 1),
        refused("dc390", 2),
        Case {
            cause: Some(cause("it loaded, but esp/lun went into esp/ti_cmd")),
            control: control.clone(),
            split: Some(Split {
                culprits: vec![vec!["am53c974".to_owned()]],
                passed: vec!["e1000e".to_owned(), "nvme".to_owned()],
                hidden: vec!["scsi-hd".to_owned()],
                ..Split::default()
            }),
            state_diff: vec![StateDiff {
                fresh: None,
                leg: 0,
                section: "0000:00:01.0/pciespscsi".into(),
                instance: 0,
                field: "esp/lun".to_owned(),
                change: Change::Displaced,
                sent: "0x0".to_owned(),
                held: None,
                landed_in: Some("esp/ti_cmd".to_owned()),
            }],
            ..case("am53c974", Direction::Backward, Outcome::Lost)
        },
        Case {
            cause: Some(cause("the destination was killed by SIGSEGV")),
            control: Some(Control {
                old_to_old: Outcome::Pass,
                new_to_new: Outcome::Crash,
            }),
            source_stderr: "shutting down".to_owned(),
            ..case("isa-vga", Direction::Backward, Outcome::Broken)
        },
        Case {
            cause: Some(cause("Unknown savevm section or instance")),
            control,
            allowed_by: Some("deliberate-breaks.toml: removed on purpose".to_owned()),
            ..case("hpet", Direction::Forward, Outcome::Fail)
        },
        Case {
            cause: Some(cause("needs am53c974, which does not migrate")),
            ..case("scsi-hd", Direction::Forward, Outcome::Skip)
        },
        Case {
            left_out: vec![LeftOut {
                device: "qxl".to_owned(),
                reason: "not in the new build".to_owned(),
            }],
            state_checked: Some(StateChecked {
                legs: 1,
                sections: 40,
                bytes: 20_000,
            }),
            ..case("e1000e", Direction::Forward, Outcome::Pass)
        },
        Case {
            state_unchecked: Some("multifd goes another way".to_owned()),
            ..case("e1000e", Direction::Backward, Outcome::Pass)
        },
    ];
    let section = |name: &str, reached, reason: Option<&str>| CoveredSection {
        section: name.to_owned(),
        vmsd: name.to_owned(),
        possible: true,
        reached,
        reason: reason.map(str::to_owned),
        subsections: ["a", "b"]
            .map(|part| CoveredSubsection {
                name: format!("{name}/{part}"),
                sent: reached == Reached::Passed && part == "a",
            })
            .into(),
        conditional_fields: Vec::new(),
        sent_in: Vec::new(),
    };
    let coverage = Coverage::of(vec![
        section("e1000e", Reached::Passed, None),
        section("am53c974", Reached::Sent, None),
        section("nvme", Reached::NotCreated, Some("it cannot migrate")),
        section("rtl8139", Reached::Compared, None),
    ]);
    let report = Report {
        run: Some(RunRecord {
            started: "2026-01-02T03:04:05Z".to_owned(),
            host: "builder".to_owned(),
            command: ["migcompat", "sweep", "old build", "new"]
                .map(str::to_owned)
                .into(),
            elapsed_ms: Some(125_000),
            ..RunRecord::default()
        }),
        machine: Some("pc-q35-7.2".to_owned()),
        swept: vec![Swept {
            architecture: "x86_64".to_owned(),
            machine: "pc-q35-7.2".to_owned(),
            shared: 7,
            cpu_models: 0,
            cpu_models_compared: 0,
            exercised: 5,
            by_fall_back: 1,
            fall_back: vec!["pc-testdev".to_owned()],
            grafted: vec![
                Grafted {
                    direction: Direction::Forward,
                    sections: vec!["cpu".to_owned()],
                    with: None,
                },
                Grafted {
                    direction: Direction::Backward,
                    sections: vec!["cpu".to_owned(), "timer".to_owned()],
                    with: Some(PassesWith {
                        side: Side::New,
                        args: "-global migration.send-switchover-start=off".to_owned(),
                    }),
                },
            ],
            left_out: vec![LeftOut {
                device: "usb-host".to_owned(),
                reason: "needs a device of the host".to_owned(),
            }],
            only_old: vec!["qxl".to_owned()],
            only_new: Vec::new(),
            guests: 9,
            elapsed_ms: 5000,
        }],
        cases,
        owners: vec![Owner {
            name: Some("ESP".to_owned()),
            people: vec!["A. Maintainer <a@example.org>".to_owned()],
            findings: vec!["forward/field-added/am53c974".to_owned()],
            ..Owner::default()
        }],
        coverage: Some(coverage),
        ..compared
    };
    report.judged_by(Policy {
        required_coverage: Some(90),
        ..Policy::default()
    })
}

#[apply(test)]
fn a_page_tells_what_did_not_pass_first() {
    // A release changes no more of it.
    let version = concat!("migcompat ", env!("CARGO_PKG_VERSION"));
    insta::assert_snapshot!(page(&everything()).replace(version, "migcompat VERSION"));
}

#[apply(test)]
fn a_text_tells_what_did_not_pass_first() {
    let options = text::Options {
        width: 100,
        verbose: false,
        quiet: false,
        code: false,
    };
    let mut out = anstream::StripStream::new(Vec::new());
    text::write(&everything(), options, &mut out).expect("written");
    insta::assert_snapshot!(String::from_utf8(out.into_inner()).expect("UTF-8"));
}

#[apply(test)]
fn a_comparison_of_dumps_alone_is_a_page_too() {
    let report = Report {
        cases: Vec::new(),
        swept: Vec::new(),
        coverage: None,
        ..everything()
    };
    let page = page(&report.judged_by(Policy::default()));
    for part in ["id=\"failed\"", "id=\"coverage\"", "id=\"passed\"", "moved"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("<code>field-added</code>"), "{page}");
}

#[apply(test)]
fn a_loop_goes_both_ways() {
    let leg = |index, direction| Leg {
        index,
        direction,
        outcome: Outcome::Pass,
        total_ms: None,
        downtime_ms: None,
        setup_ms: None,
        bytes: None,
        pages: None,
        passes: None,
    };
    let id = "q35/default/unix/forward-loop1".to_owned();
    let case = Case {
        outcome: Outcome::Pass,
        legs: vec![leg(0, Direction::Forward), leg(1, Direction::Backward)],
        ..Case::untried(id, "pc-q35-7.2", "default", "unix", Direction::Forward)
    };
    let report = Report {
        cases: vec![case],
        ..everything()
    };
    let page = page(&report.judged_by(Policy::default()));
    let expected =
        "<dd>forward, backward <span class=\"dim\">1 case; forward is from old to new</span>";
    assert!(page.contains(expected), "{page}");
}

/// Texts of a report, of whoever wrote them, with `wrong` in their place wherever a report can be read
/// with it; and how many they are.
pub fn poisoned(report: &Report, wrong: &str) -> (Report, usize) {
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(at.to_owned()),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    pointers(item, &format!("{at}/{index}"), found);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    pointers(item, &format!("{at}/{key}"), found);
                }
            }
            _ => {}
        }
    }
    let mut whole = serde_json::to_value(report).expect("JSON");
    let mut all = Vec::new();
    pointers(&whole, "", &mut all);
    let mut count = 0;
    for pointer in all {
        let mut changed = whole.clone();
        let text = changed.pointer_mut(&pointer).expect("it was found there");
        // Ids tell cases apart, and rules find their texts.
        *text = Value::String(format!("{}{wrong}", text.as_str().unwrap_or_default()));
        if serde_json::from_value::<Report>(changed.clone()).is_ok() {
            whole = changed;
            count += 1;
        }
    }
    (serde_json::from_value(whole).expect("a report"), count)
}

#[apply(test)]
fn what_a_build_or_a_file_said_is_no_markup() {
    let report = everything();
    for wrong in [
        "<script>alert(1)</script>",
        "</style><img src=x onerror=alert(1)>",
        "\"><a href=\"javascript:alert(1)\">",
        "' onmouseover='alert(1)",
        "&lt;b&gt;",
        "-->]]>{{ 7 * 7 }}",
    ] {
        let (report, count) = poisoned(&report, wrong);
        assert!(count > 80, "{count} texts");
        // It is sound, or this fails.
        let page = page(&report);
        assert!(!page.contains(wrong), "{wrong}: {page}");
        let escaped = wrong
            .replace('&', "&#38;")
            .replace('<', "&#60;")
            .replace('>', "&#62;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        let shown = page.matches(&escaped).count();
        assert!(shown > 60, "{shown} times {escaped}: {page}");
    }
}

/// The filter that turns escaping off.
#[apply(test)]
fn no_template_lets_text_through_unescaped() {
    let filter = Regex::new(r"\|\s*safe|\bescape\b").expect("sound");
    let mut files = 0;
    for file in std::fs::read_dir(crate::common::root().join("templates")).expect("the templates") {
        let path = file.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(!filter.is_match(&text), "{}", path.display());
        files += 1;
    }
    assert!(files > 3, "{files}");
}

#[apply(test)]
#[needs(Builds)]
fn a_sweep_of_real_builds_is_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    let pair = ["sweep", "debian:bookworm", "debian:trixie"];
    let what = ["-M", "pc-q35-7.2", "-M", "pc-i440fx-7.2", "-q"];
    let only = ["am53c974", "dc390", "e1000", "isa-vga", "usb-host"];
    let only: Vec<&str> = only.iter().flat_map(|glob| ["--only", glob]).collect();
    let name = file.to_str().expect("a name");
    let format = ["--format", "html", "-o", name];
    let args = [&pair[..], &what, &only, &format].concat();
    let output = with_builds(&args)
        .env("TMPDIR", folder.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let page = std::fs::read_to_string(&file).expect("a page");
    sound(&page);
    let has = |text: &str| assert!(page.contains(text), "{text}: {page}");
    has("<b>debian:bookworm</b> <span class=\"version\">7.2.");
    has("x86_64 pc-q35-7.2, x86_64 pc-i440fx-7.2");
    // Two devices on two machines, one way: one cause.
    has(
        "<span class=\"outcome fail\">fail</span> <b>i440fx/am53c974/unix/forward</b> <span class=\"dim\">and 3 more</span>",
    );
    has("old to old: <span class=\"outcome pass\">pass</span>");
    has("<td>went into esp/ti_cmd</td>");
    has("needs a device of the host");
    has("q35/e1000/unix/backward</th>");
    has("mktemp -d");
    let rows = page.matches("<th scope=\"row\">q35/").count();
    // The machine, isa-vga and e1000, each way but one, that passed.
    assert_eq!(rows, 5, "{page}");
    // am53c974, dc390 and isa-vga that failed have a row each for both machines, and each case has an anchor.
    for device in ["am53c974", "dc390", "isa-vga"] {
        let row = format!("<th scope=\"row\">{device}/unix</th>");
        assert_eq!(page.matches(&row).count(), 1, "{device}: {page}");
        has(&format!("id=\"case-q35/{device}/unix/backward\""));
    }
    // A finding leads to the case that proves it, and the case to it.
    has("<dt>confirmed by</dt><dd><a href=\"#case-");
    has("<a href=\"#finding-forward/field-added/am53c974/");
    has("<a id=\"finding-forward/field-added/am53c974/");
    has(&format!("migcompat {}</p>", env!("CARGO_PKG_VERSION")));
}
