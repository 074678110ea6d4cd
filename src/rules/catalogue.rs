//! The meaning of each rule, read from its data file.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::model::rule::for_each_rule;
use crate::model::{Direction, Rule};
use crate::report::{Case, Evidence, Finding, Level, RuleText};

/// The content of `rules/ID.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: String,
    /// A headline for people.
    pub name: String,
    /// The level when the finding holds whatever the run-time state is. Inside a subsection or a
    /// conditional structure an error is lowered to a warning; where one direction is harmless, it is a note.
    pub level: Level,
    /// The rule that the same pair triggers when its builds are swapped; itself when absent.
    pub mirror: Option<Rule>,
    /// Description of what the two builds put on the wire.
    pub wire: String,
    /// The effect on a migration.
    pub why: String,
    /// The remedy in QEMU.
    pub fix: String,
    /// The files of `rules/code/` that have the remedy as code, in the order in which to consider them.
    #[serde(default)]
    pub code: Vec<String>,
    /// The file or commit of QEMU that shows it.
    pub source: String,
    pub fixture: Fixture,
}

/// The pair in `fixtures/rules/ID/`: dumps, or how two builds set up a machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The directions in which the pair triggers the rule, and nothing but the rule.
    pub directions: Vec<Direction>,
    /// Those of them in which it is harmless: a note, whatever the level of the rule.
    #[serde(default)]
    pub notes: Vec<Direction>,
    /// The kind of the pair.
    #[serde(default = "dumps")]
    pub evidence: Evidence,
}

fn dumps() -> Evidence {
    Evidence::Dump
}

/// The rules, read one by one as they are asked for: a run mentions a few, not all.
static ENTRIES: [OnceLock<Entry>; Rule::ALL.len()] = [const { OnceLock::new() }; Rule::ALL.len()];

macro_rules! sources {
    ($($variant:ident = $id:literal),+ $(,)?) => {
        /// The rule's data file, as `build.rs` makes it.
        const fn source(rule: Rule) -> &'static str {
            match rule {
                $(Rule::$variant => include_str!(concat!(env!("OUT_DIR"), "/rules/", $id, ".json"))),+
            }
        }
    };
}
for_each_rule!(sources);

impl Rule {
    /// Returns what the rule's data file says.
    pub fn entry(self) -> &'static Entry {
        ENTRIES[self as usize].get_or_init(|| match serde_json::from_str(source(self)) {
            Ok(entry) => entry,
            // The files are part of the program; the tests parse every one.
            Err(e) => panic!("the shipped rules/{self}.toml is malformed: {e}"),
        })
    }

    /// Returns the rule's level where the finding is certain.
    pub fn level(self) -> Level {
        self.entry().level
    }

    /// Returns the rule that is triggered when old and new are swapped.
    pub fn mirror(self) -> Rule {
        self.entry().mirror.unwrap_or(self)
    }
}

/// Returns the texts of the rules that occur in findings and in the causes of cases, for a report.
pub(crate) fn texts(findings: &[Finding], cases: &[Case]) -> BTreeMap<Rule, RuleText> {
    let causes = cases.iter().filter_map(|case| case.cause.as_ref());
    let named = causes.filter_map(|cause| cause.rule);
    named
        .chain(findings.iter().map(|finding| finding.rule))
        .map(|rule| {
            let entry = rule.entry();
            let text = RuleText {
                name: entry.name.clone(),
                effect: entry.why.trim().to_owned(),
                fix: entry.fix.trim().to_owned(),
            };
            (rule, text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_complete_data_file_of_its_own_name() {
        for rule in Rule::ALL {
            let entry = rule.entry();
            assert_eq!(entry.id, rule.id());
            for (key, text) in [
                ("name", &entry.name),
                ("wire", &entry.wire),
                ("why", &entry.why),
                ("fix", &entry.fix),
                ("source", &entry.source),
            ] {
                assert!(
                    text.trim()
                        .ends_with(|c: char| c == '.' || c.is_alphanumeric() || c == ')'),
                    "{rule}: {key} says nothing"
                );
                assert!(
                    !text.contains("FILL IN"),
                    "{rule}: {key} is to be filled in"
                );
            }
            let mirror = rule.mirror();
            assert_eq!(
                mirror.mirror(),
                *rule,
                "{rule}: its mirror is {mirror}, so rules/{mirror}.toml has to say mirror = \"{rule}\""
            );
            assert_eq!(mirror.level(), rule.level(), "{rule}: mirror level");
        }
    }

    #[test]
    fn no_data_file_is_left_without_a_rule() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
        for file in std::fs::read_dir(folder).expect("the rules folder") {
            let file = file.expect("readable");
            // The code of remedies is in a folder.
            if file.file_type().expect("readable").is_dir() {
                continue;
            }
            let name = file.file_name();
            let name = name.to_string_lossy();
            let id = name.strip_suffix(".toml").unwrap_or(&name);
            assert!(Rule::from_id(id).is_some(), "rules/{name} names no rule");
        }
    }
}
