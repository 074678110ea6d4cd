//! The rule catalogue and the known issues: what a finding means, and which ones have a reason.
//!
//! All of it is data: `rules/*.toml` holds one rule a file, `rename-lists/*.toml` the names that
//! changed and the breaks that upstream chose.

pub mod catalogue;
pub mod check;
pub mod judge;
pub mod known_issues;
pub mod suggest;
