//! The results of earlier runs, in one file, and what they say of a new result.
//!
//! The file is an SQLite database with a row a case and run ([`store`]). Many processes may write it at
//! once, and one that is killed loses nothing that it has reported as recorded. What a result means beside
//! the earlier ones is decided by [`judge()`], from data alone, and so is the [`tier`] of a case.

mod error;
mod finding;
mod flake;
mod judge;
mod row;
mod schema;
mod store;
mod tier;
#[cfg(test)]
mod year;

/// The earlier results of a case that are looked at.
pub(crate) const MOST: usize = 1000;

pub use error::HistoryError;
pub(crate) use finding::{Findings, Sighting, over, rows_of};
pub use judge::judge;
pub use row::{BuildId, Entry, Kind, Purpose, Row, Run, Tester, Trial};
pub(crate) use row::{day, moment};
pub use store::{Access, History, Stats, Written};
pub(crate) use tier::TierChange;
pub use tier::TierRules;
