//! The layouts that two builds really send for one configuration, as evidence beside their dumps.

use crate::compare::renames::{NoRenames, Renames};
use crate::compare::streams;
use crate::compare::streams::{CommonWidth, Side};
use crate::devices::DeviceSet;
use crate::migration::config::MigrationConfig;
use crate::migration::leg::save::save_new_machine;
use crate::model::Direction;
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

/// Compares the layouts of both streams. A finding that the dumps gave already, by rule and
/// field, is confirmed there; what a guest has `survived` in that direction is no more than a note.
pub(crate) fn findings(
    (old, new): (&Stream, &Stream),
    dumps: Option<(&Dump, &Dump)>,
    directions: &[Direction],
    renames: &dyn Renames,
    known: &mut [Finding],
    survived: impl Fn(Direction) -> bool,
) -> Vec<Finding> {
    let old = Side {
        stream: old,
        dump: dumps.map(|(old, _)| old),
    };
    let new = Side {
        stream: new,
        dump: dumps.map(|(_, new)| new),
    };
    let mut found = streams::compare(old, new, directions, renames);
    let field = |finding: &Finding| finding.path.last().cloned();
    found.retain(|finding| {
        let mut same = known.iter_mut().filter(|known| {
            known.rule == finding.rule
                && known.direction == finding.direction
                && field(known) == field(finding)
                // Of what is about a whole section, the path is the section's name.
                && (known.path.len() > 1 || known.path == finding.path)
        });
        match same.next() {
            Some(known) => {
                known.confirmed_by.get_or_insert(Confirmation::Streams);
                false
            }
            None => true,
        }
    });
    for finding in &mut found {
        if finding.level != Level::Note && survived(finding.direction) {
            finding.level = Level::Note;
            finding
                .message
                .push_str("; a guest in this state was moved whole");
        }
    }
    found
}
