//! Data files that are part of the program.

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
