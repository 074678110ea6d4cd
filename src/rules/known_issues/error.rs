//! The errors of lists, and the checks that every kind of entry goes through.

use std::path::PathBuf;

use crate::model::{Rule, Version};
use crate::rules::known_issues::Place;

/// A list file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("cannot read the lists in {}: {source}", folder.display())]
    Io {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot read the list {}: {source}", file.display())]
    Unread {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{file}: {reason}")]
    Malformed { file: String, reason: String },
    #[error("{place}: {reason}")]
    Entry { place: Place, reason: String },
}

/// Returns the error of an entry that is well-formed and means nothing, or too much.
pub(super) fn refused(place: Place, reason: impl Into<String>) -> ListError {
    let reason = reason.into();
    ListError::Entry { place, reason }
}

/// The fault of an entry that names no machine.
pub(super) const NO_MACHINES: &str =
    "machines is empty; name them, or write [\"*\"] if it is every one";

/// Returns the rule that an entry names.
///
/// # Errors
/// There is none.
pub(super) fn rule(id: &str, place: &Place) -> Result<Rule, ListError> {
    let none = || refused(place.clone(), format!("there is no rule `{id}`"));
    Rule::from_id(id).ok_or_else(none)
}

/// Checks the releases around a change.
///
/// # Errors
/// They are in the wrong order.
pub(super) fn in_order(
    after: Option<Version>,
    by: Version,
    place: &Place,
) -> Result<(), ListError> {
    if after.is_some_and(|after| after >= by) {
        return Err(refused(
            place.clone(),
            "after must be an older release than by",
        ));
    }
    Ok(())
}
