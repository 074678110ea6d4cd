//! Reports that cannot be joined.

use crate::report::ShardRef;

/// Reports that cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MergeError {
    #[error("there is no report to merge")]
    Nothing,
    #[error("{0} is of a whole run, not of a shard, so it cannot be merged")]
    Whole(String),
    #[error(
        "{0}: it claims to be shard {index}/{of}, which does not exist",
        index = .1.index,
        of = .1.of
    )]
    NoSuchShard(String, ShardRef),
    #[error(
        "{one} and {other} are not of one run: {what} is {of_one} in the first and {of_other} in the second"
    )]
    Mixed {
        one: String,
        other: String,
        what: &'static str,
        of_one: String,
        of_other: String,
    },
    #[error(
        "{one} and {other} are not of one run: each planned other cases; did the builds, the lists of devices or migcompat itself change between them?"
    )]
    OtherPlan { one: String, other: String },
    #[error("{one} and {other} are both shard {index}/{of}")]
    Twice {
        one: String,
        other: String,
        index: u32,
        of: u32,
    },
    #[error("{one} and {other} both have the case {id}")]
    SameCase {
        one: String,
        other: String,
        id: String,
    },
    #[error("no shard reports the coverage that --min-coverage needs")]
    NoCoverage,
    #[error("{} missing of {of}; --partial merges the others", lacking(.missing))]
    Incomplete { missing: Vec<u32>, of: u32 },
}

impl MergeError {
    /// Tells whether the arguments are to blame. Otherwise a part of the run has no result.
    pub(crate) fn is_usage(&self) -> bool {
        !matches!(self, MergeError::Incomplete { .. })
    }
}

/// Returns `shard 2 is` or `shards 2, 3 are`.
fn lacking(missing: &[u32]) -> String {
    let numbers: Vec<String> = missing.iter().map(u32::to_string).collect();
    match numbers.as_slice() {
        [one] => format!("shard {one} is"),
        all => format!("shards {} are", all.join(", ")),
    }
}
