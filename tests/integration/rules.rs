//! Every rule is shown by a pair that triggers it and nothing else: minimal dumps, or how two builds
//! set up a machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use macro_rules_attribute::apply;
use migcompat::internals::compare::NoRenames;
use migcompat::internals::compare::compare;

use migcompat::internals::migration::{self, Compared, Snapshots};
use migcompat::internals::qemu::properties::Snapshot;
use migcompat::internals::rules::KnownIssues;
use migcompat::internals::vmstate::Dump;
use migcompat::internals::vmstate::read_dump;
use migcompat::model::Direction;
use migcompat::model::Rule;
use migcompat::report::{Evidence, Finding, Level};

use crate::common::{migcompat, report, stdout};

fn folder(rule: Rule) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/rules")
        .join(rule.id())
}

/// What one build has.
enum Half {
    Dump(Dump),
    Properties(Snapshot),
}

fn pair(rule: Rule) -> (Half, Half) {
    let read = |name: &str| {
        let file = folder(rule).join(name);
        match rule.entry().fixture.evidence {
            Evidence::Dump => Half::Dump(
                read_dump(&file).unwrap_or_else(|e| panic!("{rule} needs a fixture: {e}")),
            ),
            Evidence::Properties => {
                let text = std::fs::read(&file).expect("a fixture");
                Half::Properties(serde_json::from_slice(&text).expect("a snapshot"))
            }
            other => panic!("{rule}: there are no fixtures of {other:?}"),
        }
    };
    (read("old.json"), read("new.json"))
}

fn triggered(old: &Half, new: &Half) -> (BTreeSet<(String, Direction)>, Vec<Finding>) {
    let findings = match (old, new) {
        (Half::Dump(old), Half::Dump(new)) => compare(old, new, &Direction::BOTH, &NoRenames),
        (Half::Properties(old), Half::Properties(new)) => {
            let snapshots = Snapshots {
                old: old.clone(),
                new: new.clone(),
            };
            let lists = KnownIssues::load(&[]).expect("the shipped lists");
            let differences = migration::compare(&snapshots, Compared::Everything, &lists);
            migration::findings(&differences, &Direction::BOTH, "pc-q35-7.2")
        }
        _ => panic!("one half of each kind"),
    };
    let rules = findings
        .iter()
        .map(|f| (f.rule.to_string(), f.direction))
        .collect();
    (rules, findings)
}

#[apply(test)]
fn each_pair_triggers_its_rule_alone_in_the_stated_directions() {
    for &rule in Rule::ALL {
        let (old, new) = pair(rule);
        let (rules, findings) = triggered(&old, &new);
        let stated: BTreeSet<_> = rule
            .entry()
            .fixture
            .directions
            .iter()
            .map(|&direction| (rule.id().to_owned(), direction))
            .collect();
        assert_eq!(
            rules, stated,
            "{rule}: found (left) is not what [fixture] states (right): {findings:#?}"
        );
        assert_eq!(
            findings.len(),
            stated.len(),
            "{rule}: one finding a direction"
        );
        for finding in &findings {
            let harmless = rule.entry().fixture.notes.contains(&finding.direction);
            let level = if harmless { Level::Note } else { rule.level() };
            assert_eq!(finding.level, level, "{rule} {}", finding.direction);
        }
    }
}

#[apply(test)]
fn swapping_the_pair_swaps_the_directions_and_mirrors_the_rule() {
    for &rule in Rule::ALL {
        // These say which build lacks a type, and only the removal matters to a guest.
        if matches!(rule, Rule::SectionAdded | Rule::SectionRemoved) {
            continue;
        }
        let (old, new) = pair(rule);
        let (rules, _) = triggered(&old, &new);
        let swapped: BTreeSet<_> = rules
            .into_iter()
            .map(|(_, direction)| (rule.mirror().id().to_owned(), direction.reversed()))
            .collect();
        assert_eq!(
            triggered(&new, &old).0,
            swapped,
            "{rule}: with the pair swapped, this was found (left), and its mirror is this (right); a rule \
             for one direction in time needs a twin, as field-added has field-removed"
        );
    }
}

#[apply(test)]
fn what_is_to_be_changed_in_qemu_comes_as_code() {
    let mut tried = 0;
    for &rule in Rule::ALL {
        let entry = rule.entry();
        if entry.code.is_empty() || entry.fixture.evidence != Evidence::Dump {
            continue;
        }
        let file = |side: &str| format!("fixtures/rules/{rule}/{side}.json");
        let args = ["static", &file("old"), &file("new"), "--format", "json"];
        let told = report(&migcompat(&args));
        let findings = told["findings"].as_array().expect("a list").iter();
        for finding in findings.filter(|finding| finding["level"] != "note") {
            let code = finding["code"].as_array().expect("a list");
            assert_eq!(
                code.len(),
                entry.code.len(),
                "{rule}: of the templates {:?}, some have a name that this finding does not have \
                 (src/rules/code.rs, `values()`), and only these are filled: {code:#?}",
                entry.code
            );
            tried += 1;
        }
        let text = stdout(&migcompat(&["static", &file("old"), &file("new"), "-v"]));
        assert!(text.contains("= code: "), "{rule}: {text}");
    }
    assert!(tried >= 8, "{tried}");
}

#[apply(test)]
fn no_fixture_is_left_without_a_rule() {
    let all = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/rules");
    for entry in std::fs::read_dir(all).expect("the fixtures") {
        let name = entry.expect("readable").file_name();
        let id = name.to_string_lossy();
        assert!(
            id == "README.md" || Rule::from_id(&id).is_some(),
            "fixtures/rules/{id} belongs to no rule"
        );
    }
}
