//! One case: what to plug into the guests, source and destination, and whether the guest survived.

pub mod devices;
