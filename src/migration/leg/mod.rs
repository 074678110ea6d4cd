//! One migration between two started QEMUs, and the checks that follow it.

pub mod error;
pub(crate) mod execution;
pub mod transfer;
