//! Why a case failed, and which device, field or property is to blame.

pub(crate) mod cause;
pub(crate) mod culprits;
pub(crate) mod evidence;
pub(crate) mod explain;
pub mod layouts;
pub mod link;
pub(crate) mod load_trace;
pub mod properties;
pub(crate) mod reproduce;
pub(crate) mod section_override;
