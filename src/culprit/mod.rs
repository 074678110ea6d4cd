//! Group testing: which of many devices in one guest are to blame for its failure.

pub mod search;
pub mod split;
