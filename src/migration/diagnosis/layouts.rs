//! The layouts that two builds really send for one configuration, as evidence beside their dumps.

use crate::compare::renames::{NoRenames, Renames};
use crate::compare::streams;
use crate::compare::streams::{CommonWidth, Side};
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::leg::save::save_new_machine;
use crate::model::{Direction, Rule};
use crate::report::{Case, Confirmation, Described, Finding, Level, Outcome};
use crate::stream::Stream;
use crate::vmstate::dump::Dump;

/// Returns the lengths that differ in the same way in several kinds of section, of a guest that never ran.
///
/// # Errors
/// A build does not start with the set, or does not save it; in words.
pub(crate) async fn common_widths(
    config: &MigrationConfig,
    set: &DeviceSet,
) -> Result<Vec<CommonWidth>, String> {
    let launch = config.launch(config.compose(set).args);
    let deadline = config.timeouts.leg;
    let (old, new) = tokio::try_join!(
        Box::pin(save_new_machine(&config.old, &launch, deadline)),
        Box::pin(save_new_machine(&config.new, &launch, deadline))
    )?;
    // A difference in length is one in either direction.
    let found = streams::compare(&old, &new, &[Direction::Forward], &NoRenames);
    Ok(streams::join(found)
        .iter()
        .filter_map(CommonWidth::of)
        .collect())
}

/// Returns how much of the data that two builds sent is described by their dumps.
pub(crate) fn described(streams: (&Stream, &Stream), dumps: (&Dump, &Dump)) -> Described {
    Described {
        old: streams::kinds(streams.0, dumps.0),
        new: streams::kinds(streams.1, dumps.1),
    }
}

/// Tells whether a guest of one of these cases came through a move in that direction.
pub(crate) fn survived(cases: &[&Case], direction: Direction) -> bool {
    let there = |case: &Case| case.legs.iter().any(|leg| leg.direction == direction);
    cases
        .iter()
        .any(|case| case.outcome == Outcome::Pass && there(case))
}

/// Compares the layouts of both streams. A finding that the dumps gave already is confirmed there; what a guest has `survived` in that direction is no more than a note.
pub(crate) fn findings(
    (old, new): (&Stream, &Stream),
    dumps: Option<(&Dump, &Dump)>,
    directions: &[Direction],
    renames: &dyn Renames,
    known: &mut [Finding],
    survived: impl Fn(&Finding) -> bool,
) -> Vec<Finding> {
    let side = |stream, dump| Side { stream, dump };
    let (old_dump, new_dump) = dumps.unzip();
    let (old, new) = (side(old, old_dump), side(new, new_dump));
    let mut found = streams::compare(old, new, directions, renames);
    found.retain(|finding| {
        let mut same = known.iter_mut().filter(|known| is_known(known, finding));
        match same.next() {
            Some(known) => {
                let is_other = known.rule != finding.rule;
                // A guest that came through is no proof of what the dumps warn of.
                if is_other && survived(finding) {
                    return false;
                }
                if is_other {
                    known.level = known.level.min(finding.level);
                }
                known.confirmed_by.get_or_insert(Confirmation::Streams);
                false
            }
            None => true,
        }
    });
    for finding in &mut found {
        if finding.level != Level::Note && survived(finding) {
            finding.level = Level::Note;
            finding
                .message
                .push_str("; a guest in this state was moved whole");
        }
    }
    found
}

/// Tells whether a finding of the dumps is about the same as one of the streams.
fn is_known(known: &Finding, sent: &Finding) -> bool {
    // A stream does not show that a field has a condition.
    let plain = |rule| match rule {
        Rule::ConditionalFieldAdded => Rule::FieldAdded,
        Rule::ConditionalFieldRemoved => Rule::FieldRemoved,
        other => other,
    };
    // Nor that a section has another name in the other build.
    let is_renamed = || {
        let lone = matches!(sent.rule, Rule::SectionAdded | Rule::SectionRemoved);
        lone && known.rule == Rule::VmsdRenamed && known.is_about(&sent.path[0])
    };
    let is_same = || {
        plain(known.rule) == plain(sent.rule)
            && known.path.last() == sent.path.last()
            // Of what is about a whole section, the path is the section's name.
            && (known.path.len() > 1 || known.path == sent.path)
    };
    known.direction == sent.direction && (is_same() || is_renamed())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    /// A finding backward, by its rule and its path.
    fn finding(of: &str) -> Finding {
        let (rule, path) = of.split_once(' ').expect("a rule and a path");
        let path: Vec<&str> = path.split('/').collect();
        testing::finding(json!({
            "rule": rule, "level": "warning", "direction": "backward", "section": "isa-vga",
            "path": path, "old": {"name": path.last()}, "new": {"name": "vga-isa"},
        }))
    }

    #[test]
    fn what_a_dump_says_of_a_difference_is_not_said_again() {
        for (known, sent, is_same) in [
            ("vmsd-renamed vga", "section-added vga-isa", true),
            ("vmsd-renamed vga", "section-removed vga", true),
            ("vmsd-renamed vga", "section-added virtio-vga", false),
            ("vmsd-renamed vga", "field-added vga-isa/vga", false),
            (
                "conditional-field-added esp/mode",
                "field-added esp/mode",
                true,
            ),
            (
                "conditional-field-removed esp/mode",
                "field-removed esp/mode",
                true,
            ),
            (
                "conditional-field-added esp/mode",
                "field-removed esp/mode",
                false,
            ),
            ("field-renamed esp/mode", "field-removed esp/mode", false),
            ("section-added a", "section-added b", false),
        ] {
            let (known, sent) = (finding(known), finding(sent));
            assert_eq!(is_known(&known, &sent), is_same, "{known:?} {sent:?}");
            let other_way = Finding {
                direction: Direction::Forward,
                ..known
            };
            assert!(!is_known(&other_way, &sent));
        }
    }
}
