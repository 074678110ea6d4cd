//! One side of a migration: a build that was started with a guest in it, and the monitor commands it takes.

pub mod buses;
pub mod capability;
pub(crate) mod commands;
pub mod vm;
