//! The facts that every module shares: releases, directions, builds and the ids of rules.

mod build;
mod direction;
mod pattern;
pub(crate) mod rule;
mod version;

pub use build::{BuildKind, BuildRef};
pub use direction::{Direction, Side};
pub use pattern::Pattern;
pub use rule::Rule;
pub use version::{BadVersion, Version};
