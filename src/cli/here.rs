//! The tree of QEMU that the user stands in.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::cli::Failure;
use crate::qemu::{Tree, parse};

/// Returns the tree that the working folder is in.
pub(crate) fn tree() -> Option<Tree> {
    Tree::find(&working_folder())
}

fn working_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_default()
}

/// Returns what is wrong where no command is typed and the working folder is in no tree.
pub(crate) fn no_command() -> Failure {
    Failure::usage(anyhow!(
        "no command is named, and {} is in no tree of QEMU whose build could be checked: name one, for instance \
         migcompat check debian:bookworm debian:trixie",
        working_folder().display()
    ))
}

/// Returns the BUILD argument for that tree.
///
/// # Errors
/// The working folder is in no tree, or the tree is not built.
pub(crate) fn build() -> Result<String, Failure> {
    let tree = tree().ok_or_else(|| {
        Failure::usage(anyhow!(
            "no BUILD is named, and {} is in no tree of QEMU whose build could be meant: name OLD and NEW, for instance \
             debian:stable ./build",
            working_folder().display()
        ))
    })?;
    let build = shown(&tree.build);
    parse(&build).map_err(|_| {
        Failure::usage(anyhow!(
            "the tree {} is not built: there is no qemu-system-ARCH in {build}; build one, or name OLD and NEW",
            tree.top.display()
        ))
    })?;
    Ok(build)
}

/// Returns a path as the user would type it from here. It has a slash, so that it is no name of a program.
pub(crate) fn shown(path: &Path) -> String {
    match path.strip_prefix(working_folder()) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}
