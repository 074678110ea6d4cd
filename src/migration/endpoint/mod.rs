//! One side of a migration: a build that was started with a guest in it, and the monitor commands it takes.

pub(crate) mod buses;
pub(crate) mod capability;
pub(crate) mod commands;
mod driving;
pub(crate) mod root_devices;
pub(crate) mod seat;
pub(crate) mod tls;
pub(crate) mod vm;
