//! A build as a report names it.

use serde::{Deserialize, Serialize};

use super::{Version, display_as_serialized};

/// The origin of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildKind {
    /// A file with a vmstate dump.
    Dump,
    /// A program or a script that starts one.
    Binary,
    /// A package of a distribution.
    Package,
    /// A file with the state of a guest, of a build that is not known.
    State,
}

display_as_serialized!(BuildKind);

/// A build as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRef {
    /// The text that the user wrote.
    pub label: String,
    /// The kind of place that it comes from.
    pub kind: BuildKind,
    /// Unknown for a dump: the file does not say it.
    pub version: Option<Version>,
}
