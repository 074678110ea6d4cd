//! A vmstate dump: its model, and how it is read.

pub(crate) mod dump;
pub(crate) mod read;
