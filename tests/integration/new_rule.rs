//! The script that makes a new rule, run on a copy of what it changes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use macro_rules_attribute::apply;
use migcompat::internals::vmstate::read_dump;

use crate::common::{root, stderr};

const LIST: &str = "src/model/rule.rs";

/// A folder with the script and the list of rules.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for folder in ["scripts", "src/model", "rules", "fixtures/rules"] {
        fs::create_dir_all(tree.path().join(folder)).unwrap();
    }
    for file in ["scripts/new-rule", LIST] {
        fs::copy(root().join(file), tree.path().join(file)).unwrap();
    }
    tree
}

fn new_rule(tree: &Path, args: &[&str]) -> Output {
    // What was just written may be open in a process that another test starts, and then cannot be run itself.
    Command::new("bash")
        .arg(tree.join("scripts/new-rule"))
        .args(args)
        .output()
        .unwrap()
}

fn rules_in(tree: &Path) -> Vec<String> {
    let list = fs::read_to_string(tree.join(LIST)).unwrap();
    let lines = list.lines().map(str::trim);
    lines
        .filter(|line| line.ends_with("\","))
        .map(str::to_owned)
        .collect()
}

#[apply(test)]
fn a_new_rule_has_its_text_its_pair_and_its_line() {
    let tree = tree();
    let tree = tree.path();
    let before = rules_in(tree);
    let output = new_rule(tree, &["field-turned-around", "--after", "field-added"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut expected = before;
    let at = expected
        .iter()
        .position(|l| l == "FieldAdded = \"field-added\",")
        .unwrap();
    expected.insert(
        at + 1,
        "FieldTurnedAround = \"field-turned-around\",".to_owned(),
    );
    assert_eq!(rules_in(tree), expected);

    let output = new_rule(tree, &["last-of-all"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    expected.push("LastOfAll = \"last-of-all\",".to_owned());
    assert_eq!(rules_in(tree), expected);

    let text = fs::read_to_string(tree.join("rules/last-of-all.toml")).unwrap();
    let entry: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(entry["id"].as_str(), Some("last-of-all"));
    let why = entry["why"].as_str().unwrap();
    assert!(why.starts_with("FILL IN"), "{why}");
    let [old, new] = ["old", "new"].map(|side| {
        read_dump(&tree.join(format!("fixtures/rules/last-of-all/{side}.json"))).unwrap()
    });
    assert_eq!(old, new);
}

#[apply(test)]
fn a_rule_that_is_there_and_an_id_that_is_none_are_refused_and_change_nothing() {
    let tree = tree();
    let tree = tree.path();
    fs::write(tree.join("rules/half-made.toml"), "").unwrap();
    fs::create_dir(tree.join("fixtures/rules/half-shown")).unwrap();
    let list = fs::read_to_string(tree.join(LIST)).unwrap();
    for (args, message) in [
        (&["field-added"][..], "there is a rule field-added already"),
        (&["half-made"], "rules/half-made.toml is there already"),
        (
            &["half-shown"],
            "fixtures/rules/half-shown is there already",
        ),
        (&["Field_Added"], "Field_Added is none"),
        (&["field-"], "field- is none"),
        (&["../x"], "../x is none"),
        (&["new", "--after", "no-such"], "there is no rule no-such"),
        (&[], "usage: "),
        (&["a", "b"], "usage: "),
    ] {
        let output = new_rule(tree, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(tree.join(LIST)).unwrap(), list);
    assert_eq!(fs::read_dir(tree.join("rules")).unwrap().count(), 1);
}
