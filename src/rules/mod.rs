//! The rule catalogue and the known issues: what a finding means, and which ones have a reason.
//!
//! All of it is data: `rules/*.toml` holds one rule a file, `rename-lists/*.toml` the names that
//! changed and the breaks that upstream chose.

pub(crate) mod catalogue;
pub(crate) mod check;
pub(crate) mod code;
pub(crate) mod judge;
pub(crate) mod known_issues;
pub(crate) mod suggest;
