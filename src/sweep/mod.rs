//! Every device that two builds can create, on every machine selected, in both directions.
//!
//! The list of devices comes from the builds themselves ([`catalogue`]). Many devices travel in one
//! guest ([`pack`]); the sweep of a machine splits a guest that fails until the culprits are alone.
//! A sweep may be spread over several runs ([`shard`]) whose reports are joined ([`merge`]).

pub(crate) mod assessment;
pub(crate) mod case_id;
mod cases;
pub(crate) mod catalogue;
pub(crate) mod findings;
mod machine;
pub(crate) mod merge;
pub(crate) mod pack;
mod pairing;
mod result;
mod run;
pub(crate) mod selection;
pub(crate) mod shard;
pub(crate) mod target;

pub use machine::{Advance, SweepPhase};
pub(crate) use machine::{Options, Packing};
pub(crate) use result::MachineResult;
pub(crate) use run::{SweepEvent, sweep};
