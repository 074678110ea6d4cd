//! Every device that two builds can create, on every machine selected, in both directions.
//!
//! The list of devices comes from the builds themselves ([`catalogue`]). Many devices travel in one
//! guest ([`pack`]); the sweep of a machine splits a guest that fails until the culprits are alone.
//! A sweep may be spread over several runs ([`shard`]) whose reports are joined ([`merge`]).

pub mod assessment;
pub mod case_id;
mod cases;
pub mod catalogue;
pub mod findings;
mod machine;
pub mod merge;
pub mod pack;
mod pairing;
mod result;
mod run;
pub mod selection;
pub mod shard;
pub mod target;

pub use machine::{Options, Packing};
pub use result::MachineResult;
pub use run::{SweepEvent, sweep};
