//! The builds that a guest moves from and to.

use super::Direction;

/// The builds that a guest moves from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A move from one build of the pair to the other.
    Across(Direction),
    /// A move from the old build to itself.
    OldToOld,
    /// A move from the new build to itself.
    NewToNew,
}

impl Route {
    /// The routes from each build to itself.
    pub const CONTROLS: [Route; 2] = [Route::OldToOld, Route::NewToNew];

    /// Returns the direction of a route between the builds.
    pub fn direction(self) -> Option<Direction> {
        match self {
            Route::Across(direction) => Some(direction),
            Route::OldToOld | Route::NewToNew => None,
        }
    }

    /// Returns the route back; of a build to itself, the same route.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Route::Across(direction) => Route::Across(direction.reversed()),
            within_one_build => within_one_build,
        }
    }

    /// Picks the source's and the destination's part out of something that old and new both have.
    pub fn source_destination<T: Clone>(self, old: T, new: T) -> (T, T) {
        match self {
            Route::Across(direction) => direction.source_destination(old, new),
            Route::OldToOld => (old.clone(), old),
            Route::NewToNew => (new.clone(), new),
        }
    }
}
