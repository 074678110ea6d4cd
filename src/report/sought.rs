//! The differences that a run looked for: what it did not look for, it cannot miss.

use serde::{Deserialize, Serialize};

use crate::model::Direction;

/// The differences that a run looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sought {
    /// In these directions.
    pub directions: Vec<Direction>,
    /// Between the dumps, and not only to explain what failed.
    pub dumps: bool,
    /// Among these device sets, devices or patterns of them, where not everything was looked at.
    pub among: Vec<String>,
    /// Doubts that the baseline has are left out: of the devices that are moved for a doubt, only the others were looked at.
    pub new_doubts_alone: bool,
}

impl Sought {
    /// Returns those between the dumps and in the guests that moved.
    pub(crate) fn with_dumps(directions: &[Direction]) -> Sought {
        Sought {
            dumps: true,
            ..Sought::without_dumps(directions)
        }
    }

    /// Returns those in the guests that moved.
    pub(crate) fn without_dumps(directions: &[Direction]) -> Sought {
        Sought {
            directions: directions.to_vec(),
            ..Sought::default()
        }
    }

    /// Sets the device sets, devices or patterns of them that were looked at.
    pub(crate) fn among(self, names: impl IntoIterator<Item = String>) -> Sought {
        let mut among: Vec<String> = names.into_iter().collect();
        among.sort();
        Sought { among, ..self }
    }
}
