//! Known issues about migrations that failed.

use crate::report::{Case, Finding, Level, Outcome};
use crate::rules::known_issues::{Holds, Match, Refused, Scope};

impl<'k> Scope<'k> {
    /// Returns why an entry allows that a case failed, if one does: one about the migration, the one
    /// that allows the finding that predicted it, or one that knows the failure.
    pub fn allows_case(&self, case: &Case, foreseen: Option<&Finding>) -> Option<String> {
        let found = self.refused_by_choice(case, foreseen);
        let found = found.or_else(|| self.known_case(case));
        found.map(|found| found.reason)
    }

    /// Returns the entry by which a refusal is allowed. A crash, a hang or lost memory is never chosen.
    fn refused_by_choice(&self, case: &Case, foreseen: Option<&Finding>) -> Option<Match<'k>> {
        // What else there is in a set of which some devices were not separated is unknown.
        let undecided = case
            .split
            .as_ref()
            .is_some_and(|split| !split.without_any && !split.undecided.is_empty());
        if case.outcome != Outcome::Fail || undecided {
            return None;
        }
        let mut migrations = self.lists.migrations.iter();
        let refuses = |entry: &&Refused| {
            self.is_like(entry, case) && (entry.intermittent || fails_always(case))
        };
        if let Some(found) = migrations.find(refuses) {
            let reason = format!("{}: {}", found.place, found.reason);
            return Some(Match::sourced(&found.place, &reason, &found.source));
        }
        let certain = foreseen.filter(|finding| finding.level == Level::Error);
        certain.filter(|_| fails_always(case)).and_then(|finding| {
            let chosen = self.chosen(finding);
            chosen.or_else(|| self.known_finding(finding))
        })
    }

    /// Tells whether a case failed as an entry says, be it once.
    pub(super) fn is_like(&self, entry: &Refused, case: &Case) -> bool {
        let Some(cause) = &case.cause else {
            return false;
        };
        let Some(section) = &cause.section else {
            return false;
        };
        let named = section.ends_in(&entry.section);
        let field = entry.field.is_none() || entry.field == cause.field;
        let leg = case.last_direction();
        let direction = match Holds::of(entry.by, self.old, self.new) {
            Holds::InOrder => Some(leg),
            Holds::Swapped => Some(leg.reversed()),
            // A build that was run says its version.
            Holds::Perhaps | Holds::No => None,
        };
        let same_direction =
            direction.is_some_and(|moved| entry.direction.is_none_or(|listed| listed == moved));
        let machine = entry.machines.include(self.machine);
        named && field && same_direction && machine
    }
}

/// Tells whether a case failed as often as it was tried. A failure that a finding explains happens
/// every time; one that nothing explains may be an accident, if it was seen once.
fn fails_always(case: &Case) -> bool {
    match case.repeated {
        Some(repeated) => repeated.failed == repeated.of && repeated.of > 1,
        // What others of its kind do every time, it does.
        None if case.same_as.is_some() => true,
        None => case
            .cause
            .as_ref()
            .is_some_and(|cause| cause.rule.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Version;
    use crate::rules::known_issues::load::tests::lists;

    const ENTRY: &str = r#"
[[migration]]
section = "icp/server"
direction = "backward"
machines = ["pseries"]
by = "8.0"
source = "QEMU 8.0"
reason = "chosen"
"#;

    fn case(change: impl FnOnce(&mut Case)) -> Case {
        let mut case: Case = serde_json::from_value(json!({
            "id": "x", "machine": "pseries-7.2", "device_set": "bare", "devices": [],
            "left_out": [], "transport": "unix", "direction": "forward", "running": true,
            "outcome": "fail",
            "cause": {"section": "icp/server", "instance": 1, "field": "a", "rule": null, "message": "no"},
            "control": null, "repeated": {"failed": 3, "of": 3},
            "legs": [{"index": 0, "direction": "backward", "outcome": "fail", "total_ms": null,
                "downtime_ms": null, "setup_ms": null, "bytes": null, "pages": null}],
            "state_diff": [], "allowed_by": null, "reproduce": null, "source_stderr": "",
            "destination_stderr": "", "logs": null, "elapsed_ms": 1
        }))
        .unwrap();
        change(&mut case);
        case
    }

    #[test]
    fn only_the_refusal_that_is_meant_is_allowed() {
        let allowed = |entry: &str, case: &Case, old, new| {
            let lists = lists(entry).unwrap();
            let scope = Scope::of(&lists, Some(old), Some(new), Some(&case.machine));
            scope.allows_case(case, None).is_some()
        };
        let (old, new) = (Version::new(7, 2, 0), Version::new(10, 0, 2));
        assert!(allowed(ENTRY, &case(|_| {}), old, new));
        assert!(
            !allowed(ENTRY, &case(|_| {}), new, new),
            "no change between them"
        );
        assert!(
            !allowed(ENTRY, &case(|_| {}), new, old),
            "the other way round"
        );
        let sometimes = |case: &mut Case| {
            case.repeated = Some(crate::report::Repeated { failed: 1, of: 3 });
        };
        assert!(!allowed(ENTRY, &case(sometimes), old, new));
        let moody = format!("{ENTRY}intermittent = true\n");
        assert!(allowed(&moody, &case(sometimes), old, new));
        let other = format!("{ENTRY}field = \"b\"\n");
        assert!(!allowed(&other, &case(|_| {}), old, new));
        for change in [
            |case: &mut Case| case.outcome = Outcome::Crash,
            |case: &mut Case| case.machine = "pc-q35-7.2".to_owned(),
            |case: &mut Case| case.cause.as_mut().unwrap().section = Some("cpu".into()),
            |case: &mut Case| case.legs[0].direction = crate::model::Direction::Forward,
            |case: &mut Case| {
                case.split = Some(crate::report::Split {
                    undecided: vec!["e1000".to_owned()],
                    ..Default::default()
                });
            },
        ] {
            assert!(!allowed(ENTRY, &case(change), old, new));
        }
    }

    #[test]
    fn an_entry_needs_a_section_and_machines() {
        for text in [
            ENTRY.replace("[\"pseries\"]", "[]"),
            ENTRY.replace("icp/server", ""),
            ENTRY.replace("by = ", "bye = "),
        ] {
            assert!(lists(&text).is_err(), "{text}");
        }
    }
}
