//! A vmstate dump: its model, what of it goes over the wire, and the comparison of two.
//!
//! The flow: [`read`] turns bytes into a [`dump::Dump`]; `layout` turns a description into the
//! sequence of items that a build writes or reads; `align` matches two such sequences; `gap`
//! says what became of the items that have no exact match, `run` of those that stand elsewhere;
//! [`compare`] walks the sections that `pair` puts together.

pub mod dump;
pub mod layout;
pub mod read;
