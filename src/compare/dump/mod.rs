//! Two vmstate dumps compared by what goes over the wire.

mod align;
pub mod compare;
mod gap;
mod pair;
mod run;
mod wording;
