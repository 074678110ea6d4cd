//! The way in which machines are swept.

use crate::model::{Direction, Exclusion};
use crate::sweep::catalogue::Only;
use crate::sweep::shard::Shard;
use crate::sweep::target::{SecondPass, SweepTarget};

/// The number of devices in one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Several: as many as there is room for.
    Packed,
    /// One: slow, and the reference for the results of packing.
    OneByOne,
}

/// The options of a sweep, for every machine.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub directions: Vec<Direction>,
    pub packing: Packing,
    pub only: Only,
    /// The passes in which what migrates is moved once more.
    pub second: Vec<SecondPass>,
    /// The cases that are left out on purpose.
    pub exclude: Vec<Exclusion>,
    /// The part of the run that this is; a whole run has none.
    pub shard: Option<Shard>,
}

/// The machine that is swept, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'t> {
    pub target: &'t SweepTarget,
    pub options: &'t Options,
}
