//! Data that are part of the program: files and regular expressions.

use regex::Regex;

/// Lists files of a folder of the repository, each with its path from there.
macro_rules! data_files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$((
            concat!($folder, "/", $name, ".toml"),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name, ".toml")),
        )),+]
    };
}

pub(crate) use data_files;

/// Compiles a regular expression that is written in the program. What reads with it has a test, so that a wrong one
/// is found there.
pub(crate) fn regex(expression: &str) -> Regex {
    Regex::new(expression).unwrap_or_else(|error| unreachable!("{expression}: {error}"))
}
