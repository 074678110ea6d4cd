//! Migrations between two builds. A case runs a guest along its builds, leg by leg; each leg transfers the
//! guest, checks what arrived and lets it go on; a failure is diagnosed.

pub mod batch;
pub mod boot;
pub(crate) mod calibration;
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
pub(crate) mod run;
