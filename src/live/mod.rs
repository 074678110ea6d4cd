//! One case: a source, a destination, and proof that the guest arrived whole.

pub mod workload;
