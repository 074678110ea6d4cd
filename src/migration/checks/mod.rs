//! Checks that a guest which has moved is the same on both sides: its memory and the state of its devices.

pub(crate) mod changes;
pub(crate) mod memory;
pub(crate) mod memory_map;
pub(crate) mod padding;
pub(crate) mod pages;
pub(crate) mod state;
pub(crate) mod stream_memory;
