//! Two layouts or two streams held against each other: what differs, what it means on the wire, and
//! why a load failed.

pub mod diff;
pub mod dump;
pub mod explain;
pub mod fidelity;
pub mod layouts;
pub mod renames;
