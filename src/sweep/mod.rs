//! Every device that two builds can create, on every machine asked for, both ways.
//!
//! What there is comes from the builds themselves ([`catalogue`]). Many devices travel in one guest
//! ([`pack`]); a guest that fails is split until the culprits are alone ([`split`]). A sweep may be
//! spread over several runs ([`shard`]) whose reports are joined ([`merge`]).

pub mod assessment;
mod cases;
pub mod catalogue;
pub mod findings;
pub mod merge;
pub mod pack;
mod pairing;
pub mod place;
mod rom;
mod run;
pub mod shard;
mod visit;

pub use cases::{Found, absent, is_held};
pub use run::{Told, sweep};
pub use visit::{Options, Packing};
