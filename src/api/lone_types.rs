//! Types that one dump alone describes, as the builds themselves know them.
//!
//! A dump lists types that have a description, abstract ones among them (`dump_vmstate_json_to_file()`, migration/savevm.c):
//! what it does not list the build may have all the same.

use crate::migration::config::MigrationConfig;
use crate::report::{Evidence, Finding, Level, LoneType, is_lone};
use crate::sweep::target::BuildTypes;

/// Says of each type that one dump alone describes what the builds know of it. They are asked only if there are such types, and
/// where one does not answer, the findings are left as they are.
pub(crate) fn tell_apart(config: &MigrationConfig, findings: &mut [Finding]) {
    if findings.iter().any(is_open) {
        match BuildTypes::ask(&config.old.build, &config.new.build) {
            Ok(types) => tell_apart_by(&types, findings),
            Err(error) => tracing::debug!(%error, "the types of the builds are not known"),
        }
    }
}

/// [`tell_apart`] where the types are known.
pub(crate) fn tell_apart_by(types: &BuildTypes, findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| is_open(finding)) {
        let direction = finding.direction;
        let (with, without) = direction.source_destination("old", "new");
        let (described, others) = types.source_destination(direction);
        let name = &finding.section;
        if others.contains(name) {
            finding.lone_type = Some(LoneType::Undescribed);
            finding.message = format!(
                "{without} has a device type `{name}` as well, and its dump no description of it: only a guest shows what it \
                 sends"
            );
        } else if !described.contains(name) {
            finding.lone_type = Some(LoneType::Abstract);
            finding.level = Level::Note;
            finding.message = format!(
                "{with} alone has the abstract type `{name}`: no device is of it, and those derived from it are described by \
                 themselves"
            );
        }
    }
}

fn is_open(finding: &Finding) -> bool {
    is_lone(finding) && finding.evidence == Evidence::Dump
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    #[test]
    fn a_type_is_gone_abstract_or_has_no_description() {
        let types = BuildTypes::of_test(&["both", "old"], &["both", "new"]);
        for (direction, name, level, expected) in [
            ("forward", "old", "warning", None),
            ("forward", "both", "warning", Some(LoneType::Undescribed)),
            ("forward", "base", "note", Some(LoneType::Abstract)),
            ("backward", "new", "note", None),
            ("backward", "both", "note", Some(LoneType::Undescribed)),
            ("backward", "base", "note", Some(LoneType::Abstract)),
        ] {
            let (rule, before) = match direction {
                "forward" => ("section-removed", "warning"),
                _ => ("section-added", "note"),
            };
            let mut found = testing::finding(json!({
                "rule": rule, "level": before, "direction": direction, "section": name, "path": [name],
            }));
            tell_apart_by(&types, std::slice::from_mut(&mut found));
            assert_eq!(found.lone_type, expected, "{direction} {name}");
            assert_eq!(found.level.to_string(), level, "{direction} {name}");
        }
        // A stream shows what is sent, whatever there is.
        let mut sent = testing::finding(json!({
            "rule": "section-added", "level": "error", "direction": "backward", "section": "both", "path": ["both"],
            "evidence": "stream",
        }));
        tell_apart_by(&types, std::slice::from_mut(&mut sent));
        assert_eq!(sent.lone_type, None);
    }
}
