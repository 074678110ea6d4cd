//! One migration case: what is plugged in, what runs meanwhile, and what must not change.

pub mod devices;
pub mod workload;
