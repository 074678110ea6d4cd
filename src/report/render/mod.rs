//! Output formats. Each reads the report and nothing else.

pub mod bisection;
mod cases;
pub mod codequality;
mod coverage;
pub mod github;
mod groups;
mod guest;
pub mod html;
pub mod json;
pub mod junit;
pub mod map;
pub mod markdown;
mod matrix;
mod page;
mod problem;
pub mod sarif;
pub mod sweep;
pub mod text;
