//! Many cases: which ones there are, how they are spread, and what they cover.

pub mod merge;
pub mod shard;
