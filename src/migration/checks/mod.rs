//! What must be the same on both sides when a guest has moved.

pub mod integrity;
pub(crate) mod memory;
pub(crate) mod padding;
pub mod state;
