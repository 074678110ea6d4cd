//! A vmstate dump: its model, and how it is read.

pub(crate) mod dump;
mod plain;
pub(crate) mod read;
pub(crate) mod senders;
#[cfg(test)]
pub(crate) mod testing;
