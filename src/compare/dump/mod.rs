//! Two vmstate dumps compared by what goes over the wire.

pub mod compare;
mod defects;
mod pair;
