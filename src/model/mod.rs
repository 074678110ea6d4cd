//! The facts that every module shares: releases, directions, builds and the ids of rules.

mod build;
mod direction;
mod machines;
mod pattern;
mod route;
pub(crate) mod rule;
mod version;

pub use build::{BuildKind, BuildRef};
pub use direction::{Direction, Side};
pub use machines::Machines;
pub use pattern::Pattern;
pub use route::Route;
pub use rule::Rule;
pub use version::{BadVersion, Version};
