//! One migration case: how a guest is moved, what is checked on its way, and why it failed.

pub mod batch;
pub mod case;
pub mod channel;
pub mod checks;
pub mod config;
pub mod coverage;
pub mod diagnosis;
pub mod endpoint;
pub(crate) mod leg;
pub mod pool;
pub(crate) mod result;
mod run;
