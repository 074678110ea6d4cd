//! Diagnosis of a failed case: its cause, and the device, field or property that is to blame.

pub(crate) mod cause;
pub(crate) mod cpu_models;
pub(crate) mod culprits;
pub(crate) mod evidence;
pub(crate) mod explain;
pub(crate) mod layouts;
pub(crate) mod link;
pub(crate) mod load_trace;
pub(crate) mod properties;
pub(crate) mod property_diff;
pub(crate) mod reproduce;
pub(crate) mod reproducer;
pub(crate) mod section_override;
pub(crate) mod survey;
pub(crate) mod switches;
pub(crate) mod withdraw;
