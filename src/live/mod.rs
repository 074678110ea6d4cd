//! One migration case: what is plugged in, what runs meanwhile, and what must not change.

mod blame;
pub mod buses;
pub mod capability;
pub mod case;
pub mod cause;
mod commands;
pub mod coverage;
pub mod devices;
mod explain;
pub mod integrity;
pub mod layouts;
pub mod leg;
pub mod pool;
pub mod properties;
pub mod reproduce;
pub mod run;
pub mod split;
pub mod state;
mod tap;
pub mod transport;
pub mod vm;
pub mod workload;
