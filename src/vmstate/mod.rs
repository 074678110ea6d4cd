//! A vmstate dump: its model, and how it is read.

pub mod dump;
pub mod read;
