//! One leg: a migration between two started QEMUs, in its order. Set-up, transfer, checks, resume.

pub(crate) mod error;
pub(crate) mod result;
pub(crate) mod resume;
pub(crate) mod save;
pub(crate) mod set_up;
pub(crate) mod transfer;
pub(crate) mod watch;
