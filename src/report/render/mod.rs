//! Output formats. Each reads the report and nothing else.

pub mod bisection;
mod cases;
mod coverage;
mod groups;
mod guest;
pub mod html;
pub mod json;
pub mod junit;
pub mod map;
pub mod sweep;
pub mod text;
