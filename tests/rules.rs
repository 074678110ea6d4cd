//! Every rule is shown by a pair of minimal dumps that triggers it and nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;

use migcompat::model::{Direction, Finding};
use migcompat::rules::Rule;
use migcompat::vmstate::compare::compare;
use migcompat::vmstate::dump::Dump;
use migcompat::vmstate::read::read_dump;
use migcompat::vmstate::renames::NoRenames;

fn folder(rule: Rule) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/rules")
        .join(rule.id())
}

fn pair(rule: Rule) -> (Dump, Dump) {
    let read = |name: &str| {
        let file = folder(rule).join(name);
        read_dump(&file).unwrap_or_else(|e| panic!("{rule} needs a fixture: {e}"))
    };
    (read("old.json"), read("new.json"))
}

fn triggered(old: &Dump, new: &Dump) -> (BTreeSet<(String, Direction)>, Vec<Finding>) {
    let findings = compare(old, new, &Direction::BOTH, &NoRenames);
    let rules = findings
        .iter()
        .map(|f| (f.rule.clone(), f.direction))
        .collect();
    (rules, findings)
}

#[test]
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
        assert_eq!(rules, stated, "{rule}: {findings:#?}");
        assert_eq!(
            findings.len(),
            stated.len(),
            "{rule}: one finding a direction"
        );
        for finding in &findings {
            assert_eq!(finding.level, rule.level(), "{rule}");
        }
    }
}

#[test]
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
        assert_eq!(triggered(&new, &old).0, swapped, "{rule}");
    }
}

#[test]
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
