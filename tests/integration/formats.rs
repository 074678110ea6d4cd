//! Every format held against a reader or a schema that is not ours, several outputs at once, and reports that were saved.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use macro_rules_attribute::apply;
use migcompat::report::render::{codequality, github, junit, markdown, sarif};
use migcompat::report::{BaselineStatus, Case, Gate, Policy, Report};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use serde::Deserialize;
use serde_json::Value;

use crate::common::{follows_the_schema, migcompat, program, root, stderr, stdout, words};
use crate::manual::formats;
use crate::pages::{everything, poisoned};

const OLD: &str = "fixtures/rules/field-added/old.json";
const NEW: &str = "fixtures/rules/field-added/new.json";

/// Texts that mean something in one of the forms, and a report with each of them wherever it can stand.
fn hostile() -> Vec<(&'static str, Report)> {
    let report = everything();
    let texts = [
        "",
        "\n::error::forged\r\n::stop-commands::x",
        "%0A::warning title=a,b:c::d",
        "|x|\n|-|\n<script>alert(1)</script>",
        "`*_[a](javascript:b)_*` ~~c~~ ![d](e) &lt; $f$ # g",
        "]]>&amp;<testcase name=\"forged\"/>\u{1}",
        "\"}],\"level\":\"none\",{[\"\\",
        "\u{202e}é ü/../..//host",
    ];
    let with = |text| (text, poisoned(&report, text).0);
    texts.into_iter().map(with).collect()
}

/// A new format is held to it as well.
#[apply(test)]
fn every_format_names_what_counts_and_what_could_not_be_had() {
    let report = everything();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json").display().to_string();
    std::fs::write(&file, serde_json::to_vec(&report).expect("JSON")).expect("written");
    let findings = report.findings.iter();
    let findings = findings.filter(|finding| report.policy.counts_finding(finding));
    let cases = report.cases.iter();
    let cases = cases.filter(|case| report.policy.counts_case(case));
    // A problem may stand where its source is, and beside another device of the same one.
    let cause = |case: &Case| Some(case.cause.as_ref()?.message.clone());
    let names = findings
        .flat_map(|of| [vec![of.rule.id().to_owned()], vec![of.section.to_string()]])
        .chain(cases.map(|case| {
            [
                Some(case.id.clone()),
                cause(case),
                case.devices.first().cloned(),
            ]
            .into_iter()
            .flatten()
            .collect()
        }))
        .chain(report.notices.iter().map(|of| vec![of.detail.clone()]));
    let names: Vec<Vec<String>> = names.collect();
    assert!(names.len() > 6, "{names:?}");
    for format in formats() {
        let output = migcompat(&["render", &file, "--format", &format]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{format}: {}",
            stderr(&output)
        );
        let text = stdout(&output);
        for name in &names {
            assert!(
                name.iter().any(|one| text.contains(one)),
                "{format}: {name:?}"
            );
        }
    }
}

fn written(report: &Report, write: fn(&Report, &mut dyn Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(report, &mut out).expect("written");
    String::from_utf8(out).expect("UTF-8")
}

/// The schema of SARIF that the package has whose types read it below.
fn sarif_schema() -> Value {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("metadata");
    let mut packages = metadata.packages.into_iter();
    let package = packages.find(|package| package.name == "serde-sarif");
    let manifest = package.expect("a dependency of the tests").manifest_path;
    let schema = fs::read(manifest.with_file_name("src/schema.json")).expect("a schema");
    serde_json::from_slice(&schema).expect("JSON")
}

#[apply(test)]
fn sarif_follows_the_schema_of_the_standard() {
    let mut schema = sarif_schema();
    // This pattern is no regular expression, by one bracket too many. Nothing here has a language.
    for of in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][of]["properties"]["language"];
        let language = language.as_object_mut().expect("it is there");
        language.remove("pattern");
    }
    let validator = jsonschema::validator_for(&schema).expect("the schema is sound");
    for (text, report) in hostile() {
        let log: Value = serde_json::from_str(&written(&report, sarif::write)).expect("JSON");
        let wrong: Vec<String> = validator
            .iter_errors(&log)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{text:?}: {wrong:#?}");
        let read: serde_sarif::sarif::Sarif = serde_json::from_value(log).expect("it is read");
        let run = &read.runs[0];
        let results = run.results.as_ref().expect("results");
        // Two findings, and five cases that did not pass.
        assert_eq!(results.len(), 7, "{text:?}");
        let rules = run.tool.driver.rules.as_ref().expect("rules");
        for result in results {
            let index = usize::try_from(result.rule_index.expect("an index")).expect("a place");
            assert_eq!(result.rule_id.as_ref(), Some(&rules[index].id), "{text:?}");
        }
        let suppressed = results.iter().filter(|result| {
            let suppressions = result.suppressions.as_ref().expect("known");
            !suppressions.is_empty()
        });
        assert_eq!(suppressed.count(), 1, "{text:?}");
    }
    // Two findings and the case that confirms one are where the description is defined.
    let log: Value = serde_json::from_str(&written(&everything(), sarif::write)).expect("JSON");
    let results = log["runs"][0]["results"].as_array().expect("results");
    let defined = results.iter().filter(|result| {
        let place = &result["locations"][0]["physicalLocation"];
        let remedies = result["properties"]["code"].as_array().expect("code");
        place["artifactLocation"]["uri"] == "hw/scsi/esp.c"
            && place["region"]["startLine"] == 1090
            && remedies[0]["code"].as_str().expect("C").contains("VMState")
            && result["properties"].to_string().contains("A. Maintainer")
    });
    assert_eq!(defined.count(), 2, "{log:#}");
    let at_the_place = |uri: &str| {
        results.iter().any(|result| {
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
        })
    };
    assert!(at_the_place("q35/isa-vga/unix/backward"), "{log:#}");
}

/// The elements and attributes that the schema of Jenkins' xUnit plugin (`junit-10.xsd`) has: name, attributes and
/// children.
const JENKINS: [(&str, &[&str], &[&str]); 9] = [
    (
        "testsuites",
        &["name", "time", "tests", "failures", "errors"],
        &["testsuite"],
    ),
    (
        "testsuite",
        &["name", "tests", "failures", "errors", "time", "skipped"],
        &["properties", "testcase", "system-out", "system-err"],
    ),
    ("properties", &[], &["property"]),
    ("property", &["name", "value"], &[]),
    (
        "testcase",
        &["name", "time", "classname"],
        &["skipped", "error", "failure", "system-out", "system-err"],
    ),
    ("failure", &["type", "message"], &[]),
    ("skipped", &["type", "message"], &[]),
    ("system-out", &[], &[]),
    ("system-err", &[], &[]),
];

#[apply(test)]
fn junit_is_as_jenkins_takes_it() {
    for (text, report) in hostile() {
        let document = written(&report, junit::write);
        let tree = roxmltree::Document::parse(&document).expect("XML");
        for node in tree.descendants().filter(roxmltree::Node::is_element) {
            let name = node.tag_name().name();
            let known = JENKINS.iter().find(|(element, ..)| *element == name);
            let (_, attributes, children) = known.expect(name);
            for attribute in node.attributes() {
                assert!(
                    attributes.contains(&attribute.name()),
                    "{name}: {attribute:?}"
                );
            }
            for child in node.children().filter(roxmltree::Node::is_element) {
                assert!(
                    children.contains(&child.tag_name().name()),
                    "{name}: {child:?}"
                );
            }
        }
        let read = junit_parser::from_reader(document.as_bytes()).expect("it is read");
        assert_eq!(read.suites.len(), 2, "{text:?}");
        let [comparison, migration] = [&read.suites[0], &read.suites[1]];
        assert_eq!((comparison.tests, comparison.failures), (2, 2), "{text:?}");
        // Allowed to fail is no failure, and was tried.
        assert_eq!(
            (migration.tests, migration.failures, migration.skipped),
            (8, 3, 2),
            "{text:?}"
        );
        assert_eq!((read.tests, read.failures), (10, 5), "{text:?}");
        assert!((migration.time - 0.96).abs() < 0.001, "{}", migration.time);
        assert!((read.time - migration.time).abs() < 0.001, "{}", read.time);
        let failed = comparison.cases.iter().chain(&migration.cases);
        let failed = failed.filter(|case| case.status.is_failure());
        let explained = failed.filter(|case| {
            let failure = case.status.failure_as_ref();
            failure.text.contains("\nfix: ") || failure.text.starts_with("fix: ")
        });
        // The findings, and the cases that a rule explains.
        assert_eq!(explained.count(), 4, "{text:?}");
    }
    let document = written(&everything(), junit::write);
    for part in [
        "defined in: hw/scsi/esp.c:1090 (vmstate_esp)\n",
        "owner: ESP: A. Maintainer &lt;a@example.org&gt;",
        "code: a subsection for the states that need it:\n",
        ".needed = ",
    ] {
        assert!(document.contains(part), "{part}: {document}");
    }
}

/// An issue as GitLab reads it: what its schema (`codeclimate.json`) requires, and where its parser finds the line.
#[derive(Deserialize)]
struct Issue {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: String,
    location: Location,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    body: String,
}

#[derive(Deserialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Deserialize)]
struct Lines {
    begin: u32,
}

#[apply(test)]
fn code_quality_has_what_gitlab_reads() {
    const SEVERITIES: [&str; 5] = ["info", "minor", "major", "critical", "blocker"];
    let issues = |report: &Report| -> Vec<Issue> {
        serde_json::from_str(&written(report, codequality::write)).expect("issues")
    };
    let names = |issues: &[Issue]| -> BTreeSet<String> {
        issues
            .iter()
            .map(|issue| issue.fingerprint.clone())
            .collect()
    };
    for (text, report) in hostile() {
        let found = issues(&report);
        // Two findings and four cases: one of the five is allowed.
        assert_eq!(found.len(), 6, "{text:?}");
        assert_eq!(names(&found).len(), found.len(), "{text:?}");
        for issue in &found {
            assert!(
                SEVERITIES.contains(&issue.severity.as_str()),
                "{}",
                issue.severity
            );
            assert!(!issue.description.is_empty() && !issue.check_name.is_empty());
            assert!(!issue.location.path.is_empty());
        }
        // Two findings and the case that confirms one are where the description is defined.
        let lines = found.iter().map(|issue| issue.location.lines.begin);
        let mut lines: Vec<u32> = lines.collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 1, 1, 1090, 1090, 1090], "{text:?}");
        let defined = found.iter().filter(|issue| issue.location.lines.begin > 1);
        for issue in defined {
            assert!(issue.location.path.starts_with("hw/scsi/esp.c"));
            let content = issue.content.as_ref().expect("more");
            assert!(content.body.contains("VMSTATE_"), "{}", content.body);
        }
    }
    // A break that is mended goes; the others keep their names.
    let all = everything();
    let mut fewer = all.clone();
    fewer
        .cases
        .retain(|case| case.id != "q35/dc390/unix/forward");
    let fewer = fewer.judged_by(Policy::default());
    let (all, fewer) = (names(&issues(&all)), names(&issues(&fewer)));
    assert!(fewer.is_subset(&all) && fewer.len() + 1 == all.len());
}

/// Errors, warnings, failures and what is broken within a build: with `--gate new` a reader of any format looks for what is new alone.
#[apply(test)]
fn what_the_baseline_has_too_is_shown_by_no_format_where_new_breaks_alone_count() {
    let held = |is_new: &dyn Fn(&str) -> bool| {
        let mut report = everything();
        let status = |id: &str| match is_new(id) {
            true => BaselineStatus::New,
            false => BaselineStatus::Same,
        };
        for finding in &mut report.findings {
            finding.baseline = Some(status(&finding.id));
        }
        for case in &mut report.cases {
            case.baseline = Some(status(&case.id));
        }
        report.judged_by(Policy {
            gate: Gate::New,
            ..Policy::default()
        })
    };
    // How many problems each format shows: issues, results that nothing suppresses, annotations, and rows of tables.
    let shown = |report: &Report| {
        let json = |text: String| -> Value { serde_json::from_str(&text).expect("JSON") };
        let issues = json(written(report, codequality::write));
        let sarif = json(written(report, sarif::write));
        let results = sarif["runs"][0]["results"]
            .as_array()
            .expect("results")
            .iter();
        let open = results.filter(|of| of["suppressions"] == serde_json::json!([]));
        let log = written(report, github::write);
        let commands = log.lines().map(|line| command(line).0);
        let text = written(report, markdown::write);
        [
            issues.as_array().expect("issues").len(),
            open.count(),
            commands.filter(|name| name != "notice").count(),
            text.matches("### Findings").count() + text.matches("### Migrations").count(),
        ]
    };
    assert_eq!(shown(&held(&|_| false)), [0; 4]);
    let report = everything();
    let names = report.findings.iter().map(|of| &of.id);
    let names = names.chain(report.cases.iter().map(|of| &of.id));
    let mut seen = 0;
    for name in names {
        let [issues, results, annotations, tables] = shown(&held(&|id| id == name));
        assert_eq!(issues, results, "{name}");
        assert_eq!(
            (annotations > 0, tables > 0),
            (issues > 0, issues > 0),
            "{name}"
        );
        seen += issues;
    }
    // Two findings and four cases, each by itself.
    assert_eq!(seen, 6);
}

/// A workflow command as the runner of a job reads a line: its name, its properties and its data, unescaped.
fn command(line: &str) -> (String, Vec<(String, String)>, String) {
    let rest = line.trim_start().strip_prefix("::").expect(line);
    let (head, data) = rest.split_once("::").expect(line);
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let data_of = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%25", "%")
    };
    let properties = properties.split(',').filter(|pair| !pair.is_empty());
    let properties = properties.map(|pair| {
        let (key, value) = pair.split_once('=').expect(line);
        let value = value.replace("%3A", ":").replace("%2C", ",");
        (key.to_owned(), data_of(&value))
    });
    (name.to_owned(), properties.collect(), data_of(data))
}

#[apply(test)]
fn an_annotation_is_one_command_whatever_is_in_it() {
    for (text, report) in hostile() {
        let log = written(&report, github::write);
        let commands: Vec<_> = log.lines().map(command).collect();
        let count = |wanted: &str| commands.iter().filter(|(name, ..)| name == wanted).count();
        // One change; a cause of two cases, and another; what is broken within a build.
        assert_eq!(
            (count("error"), count("warning")),
            (3, 1),
            "{text:?}: {log}"
        );
        assert_eq!(count("notice"), commands.len() - 4, "{text:?}: {log}");
        for (_, properties, data) in &commands {
            let keys: Vec<&str> = properties.iter().map(|(key, _)| key.as_str()).collect();
            match data.contains("VMSTATE_") {
                true => {
                    assert_eq!(keys, ["file", "line", "title"], "{text:?}");
                    assert!(properties[0].1.starts_with("hw/scsi/esp.c"), "{text:?}");
                    assert_eq!(properties[1].1, "1090", "{text:?}");
                    assert!(data.contains("\nowner: ESP"), "{text:?}: {data}");
                }
                false => assert_eq!(keys, ["title"], "{text:?}"),
            }
            assert!(!data.is_empty());
        }
        let (_, properties, data) = commands.last().expect("the verdict");
        assert_eq!(properties[0].1, "migcompat: verdict");
        assert!(data.starts_with("incompatible: "), "{data}");
        if !text.is_empty() && !text.contains('\u{1}') {
            let whole = commands
                .iter()
                .filter(|(_, _, data)| data.contains(text.trim_end()));
            assert!(whole.count() > 0, "{text:?}: {log}");
        }
    }
}

#[apply(test)]
fn a_summary_in_markdown_has_no_markup_but_ours() {
    let mut shape = None;
    for (text, report) in hostile() {
        let page = written(&report, markdown::write);
        let options = Options::ENABLE_GFM
            | Options::ENABLE_TABLES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_MATH;
        let events: Vec<Event<'_>> = Parser::new_ext(&page, options).collect();
        let mut tags = Vec::new();
        let mut shown = String::new();
        for event in &events {
            match event {
                Event::Start(tag) => tags.push(match tag {
                    Tag::Paragraph => "paragraph",
                    Tag::Heading { .. } => "heading",
                    Tag::Table(_) => "table",
                    Tag::TableHead => "head",
                    Tag::TableRow => "row",
                    Tag::TableCell => "cell",
                    Tag::List(None) => "list",
                    Tag::Item => "item",
                    Tag::Strong => "strong",
                    Tag::CodeBlock(CodeBlockKind::Fenced(_)) => "code",
                    other => panic!("{text:?}: {other:?} in {page}"),
                }),
                Event::Text(part) => shown.push_str(part),
                Event::End(_) | Event::SoftBreak => {}
                other => panic!("{text:?}: {other:?} in {page}"),
            }
        }
        // The same page, whatever the texts in it are.
        assert_eq!(*shape.get_or_insert(tags.clone()), tags, "{text:?}: {page}");
        assert!(
            tags.contains(&"code") && shown.contains("VMSTATE_"),
            "{page}"
        );
        let as_shown = text.replace(['\r', '\n'], " ");
        assert!(shown.contains(as_shown.trim()), "{text:?}: {shown}");
    }
}

#[apply(test)]
fn several_outputs_have_the_format_of_their_suffix() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let names = [
        "a.json",
        "a.xml",
        "a.html",
        "a.sarif",
        "a.md",
        "a.txt",
        "gl-code-quality-report.json",
        "plain",
    ];
    let mut args = vec![
        "static".to_owned(),
        OLD.to_owned(),
        NEW.to_owned(),
        "-q".to_owned(),
    ];
    for name in names {
        args.extend(["-o".to_owned(), file(name)]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = migcompat(&args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    // The verdict is there, also when quiet and written elsewhere.
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("incompatible: any machine, old "),
        "{said}"
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("written");
    let saved: Value = serde_json::from_str(&read("a.json")).expect("JSON");
    follows_the_schema(&saved);
    for (name, start) in [
        ("a.xml", "<?xml"),
        ("a.html", "<!doctype html>"),
        (
            "a.sarif",
            "{\n  \"$schema\": \"https://json.schemastore.org/sarif-2.1.0.json\"",
        ),
        ("a.md", "## migcompat: incompatible\n"),
        ("a.txt", "error[field-added]"),
        ("gl-code-quality-report.json", "[\n"),
        ("plain", "error[field-added]"),
    ] {
        assert!(read(name).starts_with(start), "{name}: {}", read(name));
    }

    // Any of them comes from the saved report as well.
    for (format, name) in [
        ("json", "a.json"),
        ("junit", "a.xml"),
        ("html", "a.html"),
        ("sarif", "a.sarif"),
        ("markdown", "a.md"),
        ("codequality", "gl-code-quality-report.json"),
        ("text", "a.txt"),
    ] {
        let output = migcompat(&["render", &file("a.json"), "--format", format, "-q"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(stdout(&output), read(name), "{format}");
        assert_eq!(stderr(&output), said, "{format}");
    }
    let output = migcompat(&["render", &file("a.json"), "--format", "github"]);
    assert!(stdout(&output).starts_with("::error title=migcompat%3A field-added::"));
}

#[apply(test)]
fn formats_are_one_for_all_or_one_for_each_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (one, two) = (file("one"), file("two.xml"));
    let run = |more: &[&str]| migcompat(&[&["static", OLD, NEW][..], more].concat());
    let starts = |name: &str| fs::read_to_string(name).expect("written").chars().next();
    assert_eq!(
        run(&["-o", &one, "-o", &two, "--format", "json"])
            .status
            .code(),
        Some(1)
    );
    assert_eq!((starts(&one), starts(&two)), (Some('{'), Some('{')));
    let both = ["--format", "html", "--format", "text"];
    assert_eq!(
        run(&[&["-o", &one, "-o", &two][..], &both].concat())
            .status
            .code(),
        Some(1)
    );
    assert_eq!((starts(&one), starts(&two)), (Some('<'), Some('e')));
    // Standard output is one of several, and has a name.
    let output = run(&["-o", "-", "-o", &two]);
    assert!(stdout(&output).starts_with("error[field-added]"));
    assert_eq!(starts(&two), Some('<'));
    let wrong = run(&both);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("2 formats and 1 outputs"),
        "{}",
        stderr(&wrong)
    );
    // All others are written where one cannot be.
    let full = folder.path().join("gone/a.xml").display().to_string();
    let refused = run(&["-o", &full, "-o", &one]);
    assert_eq!(refused.status.code(), Some(2));
}

#[apply(test)]
fn a_suffix_that_no_format_has_is_refused_before_anything_is_done() {
    const STREAM: &str = "fixtures/streams/7.2.22/s390x-ccw.stream.zst";
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let builds = ["bisect", "a", "b", "--case", "q35/am53c974/unix/forward"];
    // One that is not there would be told of otherwise.
    for (command, suffixes) in [
        (&["static", OLD, "nowhere.json"][..], ".json, .xml, .html"),
        (&["sweep", "nowhere", "nowhere"], ".json, .xml, .html"),
        (&["render", "nowhere.json"], ".json, .xml, .html"),
        (&["stream", "show", "nowhere"], ".json, .txt, .log"),
        (&["self-test", "nowhere"], ".json, .txt, .log"),
        (&builds, ".json, .txt, .log"),
    ] {
        for name in ["a.foo", "report.json.gz", "a.json.bak"] {
            let file = file(name);
            let output = migcompat(&[command, &["-o", &file]].concat());
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{said}");
            let suffix = &name[name.rfind('.').expect("one")..];
            let wanted = format!("cannot write {file}: no format has the suffix {suffix}, but");
            assert!(said.contains(&wanted), "{said}");
            assert!(said.contains(suffixes), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);

    let begins = |name: &str| {
        let text = fs::read_to_string(file(name)).expect("written");
        text.chars().next()
    };
    let compared = |name: &str, more: &[&str]| {
        let file = file(name);
        let args = [&["static", OLD, NEW, "-o", &file], more].concat();
        assert_eq!(migcompat(&args).status.code(), Some(1), "{name}");
    };
    // A format that is typed is for any name, and so are list entries.
    compared("a.foo", &["--format", "json"]);
    assert_eq!(begins("a.foo"), Some('{'));
    compared("known.toml", &["--suggest"]);
    // What is text stays it: a log, a name without a suffix, the end of a release.
    for name in [
        "a.log",
        "a",
        ".hidden",
        "report-10.0",
        "tmp.abcdefghij",
        "r.a1B2c3",
    ] {
        compared(name, &[]);
        assert_eq!(begins(name), Some('e'), "{name}");
    }
    // Other commands have JSON by the suffix, too.
    let shown = migcompat(&["stream", "show", STREAM, "-o", &file("shown.json")]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    assert_eq!(begins("shown.json"), Some('{'));
}

#[apply(test)]
fn a_pipe_of_any_name_has_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.foo");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut reader = std::process::Command::new("cat");
    let reader = reader.arg(&pipe).stdout(std::process::Stdio::piped());
    let reader = reader.spawn().expect("it runs");
    let output = migcompat(&["static", OLD, NEW, "-o", &pipe.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let read = reader.wait_with_output().expect("it ends");
    assert!(stdout(&read).starts_with("error[field-added]"));
}

#[apply(test)]
fn what_is_no_report_is_not_rendered() {
    for (file, wanted) in [
        ("nowhere.json", "cannot read the report nowhere.json"),
        (OLD, "is not a report"),
        ("README.md", "is not a report"),
    ] {
        let output = program(&["render", file, "--format", "html"])
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

/// The lines of a log of events, each held against the schema.
fn events(log: &str) -> Vec<Value> {
    let schema = fs::read_to_string(root().join("events-schema.json")).expect("a schema");
    let lines = log.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        crate::common::follows(&schema, &event);
        event
    });
    lines.collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    let names = events.iter().map(|event| event["event"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

#[apply(test)]
fn events_are_lines_as_they_happen() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (log, html) = (file("log"), file("a.html"));
    fs::write(&log, "an older log").expect("written");
    let wanted = ["began", "opened", "compared", "ended"];
    let output = migcompat(&["static", OLD, NEW, "--events", &log, "-o", &html]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let logged = events(&fs::read_to_string(&log).expect("written"));
    assert_eq!(names(&logged), wanted);
    assert_eq!(logged[2]["findings"], serde_json::json!({"error": 2}));
    assert_eq!(logged[3]["verdict"], "incompatible");
    assert_eq!(logged[3]["status"], 1);

    // Standard output and descriptors.
    for name in ["-", "/dev/stdout", "/dev/fd/1"] {
        let output = migcompat(&["static", OLD, NEW, "--events", name, "-o", &html]);
        assert_eq!(names(&events(&stdout(&output))), wanted, "{name}");
    }
    // Not both in one place.
    let output = migcompat(&["static", OLD, NEW, "--events", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--events"), "{}", stderr(&output));

    // Without an answer, the last line says why.
    let output = migcompat(&["static", OLD, "nowhere.json", "--events", "-", "-o", &html]);
    assert_eq!(output.status.code(), Some(2));
    let logged = events(&stdout(&output));
    assert_eq!(names(&logged), ["began", "ended"]);
    assert_eq!(
        (&logged[1]["verdict"], &logged[1]["status"]),
        (&Value::Null, &2.into())
    );
    let why = logged[1]["error"].as_str().expect("a reason");
    assert!(why.contains("nowhere.json"), "{why}");

    let refused = migcompat(&["static", OLD, NEW, "--events", &file("none/log")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("cannot write"),
        "{}",
        stderr(&refused)
    );
}

#[apply(test)]
#[needs(Builds)]
fn events_of_guests_are_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("a.json").display().to_string();
    let args = words!("live debian:bookworm debian:trixie -M pc-q35-7.2");
    let more = ["--paused", "--device", "am53c974", "--direction", "forward"];
    let output =
        crate::common::with_builds(&[&args[..], &more, &["--events", "-", "-o", &report]].concat())
            .env("TMPDIR", folder.path())
            .output()
            .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let logged = events(&stdout(&output));
    let names = names(&logged);
    assert_eq!(
        &names[..4],
        ["began", "opened", "cases-planned", "case-began"]
    );
    assert_eq!(&names[names.len() - 2..], ["case-ended", "ended"]);
    let case = &logged[names.len() - 2];
    assert_eq!(case["outcome"], "fail");
    assert_eq!(case["id"], "q35/ad-hoc/unix/forward/paused");
}
