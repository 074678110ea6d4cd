//! Comparison of two layouts or two streams: what differs, what it means on the wire, and
//! why a load failed.

pub mod diff;
pub mod dump;
pub mod explain;
pub mod fidelity;
pub(crate) mod layout;
pub mod renames;
mod sections;
pub mod streams;
