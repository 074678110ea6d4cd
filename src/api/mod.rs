//! The library: what a program that embeds this one calls.

pub mod dumps;
