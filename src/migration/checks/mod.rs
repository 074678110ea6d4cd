//! What must be the same on both sides when a guest has moved: its memory and the state of its devices.

pub(crate) mod memory;
pub(crate) mod memory_map;
pub(crate) mod padding;
pub(crate) mod pages;
pub mod state;
pub(crate) mod stream_memory;
