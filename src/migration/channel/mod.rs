//! The channel from the source to the destination, and the proxy that reads the stream on it.

pub(crate) mod connect;
pub(crate) mod proxy;
pub(crate) mod transport;
