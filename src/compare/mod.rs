//! Comparison of two layouts or two streams: what differs, what it means on the wire, and
//! why a load failed.

pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod explain;
pub(crate) mod fidelity;
pub(crate) mod layout;
mod registers;
pub(crate) mod renames;
mod sections;
pub(crate) mod streams;
