//! How the stream gets from the source to the destination, and how it is read on its way.

pub(crate) mod connect;
pub(crate) mod proxy;
pub mod transport;
