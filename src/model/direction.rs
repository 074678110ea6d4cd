//! The direction in which a guest moves, and the two builds that it moves between.

use serde::{Deserialize, Serialize};

use crate::model::display_as_serialized;

/// The direction in which a guest moves: `Forward` from the old build to the new one, `Backward`
/// from the new one to the old.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A move from the old build to the new one.
    #[default]
    Forward,
    /// A move from the new build to the old one.
    Backward,
}

impl Direction {
    /// Both directions, forward first.
    pub const BOTH: [Direction; 2] = [Direction::Forward, Direction::Backward];

    /// Returns the other direction.
    pub fn reversed(self) -> Self {
        match self {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        }
    }

    /// Picks the source's and the destination's part out of something that old and new both have.
    pub fn source_destination<T>(self, old: T, new: T) -> (T, T) {
        match self {
            Direction::Forward => (old, new),
            Direction::Backward => (new, old),
        }
    }
}

display_as_serialized!(Direction, Side);

/// The build that a line of a structured diff belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Both builds have it.
    Both,
    /// The old build alone has it.
    Old,
    /// The new build alone has it.
    New,
}

impl Side {
    /// Returns the mark of a line in a diff.
    pub fn mark(self) -> char {
        match self {
            Side::Both => ' ',
            Side::Old => '-',
            Side::New => '+',
        }
    }
}
