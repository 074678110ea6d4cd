//! One migration case: what is plugged in, what runs meanwhile, and what must not change.

pub(crate) mod attempt;
pub mod bench;
mod blame;
pub mod buses;
mod bypass;
pub mod capability;
pub mod case;
pub mod cause;
mod commands;
pub mod devices;
mod explain;
mod filler;
pub mod integrity;
pub mod layouts;
pub mod leg;
pub mod pool;
mod post_mortem;
pub mod properties;
mod reached;
pub mod reproduce;
pub mod run;
pub mod split;
pub mod state;
mod tap;
pub mod transport;
pub mod vm;
pub mod workload;
