//! Migrations between two builds. A case runs a guest along its builds, leg by leg; each leg transfers the
//! guest, checks what arrived and lets it go on; a failure is diagnosed.

pub(crate) mod accelerator;
pub(crate) mod batch;
pub(crate) mod boot;
pub(crate) mod calibration;
pub mod case;
pub(crate) mod channel;
pub(crate) mod checks;
pub(crate) mod config;
pub(crate) mod coverage;
pub(crate) mod default_devices;
pub(crate) mod diagnosis;
pub(crate) mod endpoint;
pub(crate) mod leg;
pub(crate) mod linux_boot;
pub(crate) mod load;
pub(crate) mod pool;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod timeouts;
