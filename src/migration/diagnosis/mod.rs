//! Why a case failed, and which device, field or property is to blame.

pub mod cause;
pub(crate) mod culprits;
pub(crate) mod explain;
pub mod layouts;
pub(crate) mod load_trace;
pub(crate) mod post_mortem;
pub mod properties;
pub mod reproduce;
pub(crate) mod section_override;
