//! The search for the first of many builds, in their order, that is no longer like the ones before it.
//!
//! [`search`] decides which build is tried next, [`revisions`] makes builds of the revisions of a git
//! repository, [`base`] finds the one that work began from, both by [`git`]. What a build is worth is for the caller to say.

pub(crate) mod base;
pub(crate) mod git;
pub(crate) mod revisions;
pub(crate) mod search;
