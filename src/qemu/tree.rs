//! A tree of QEMU's sources, and the folder that it is built in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::Version;
use crate::qemu::spec;
use crate::qemu::spec::SpecError;

/// Folders up to which a tree is looked for, from where one stands upwards.
const LEVELS: usize = 8;

/// The file of a tree that has its version.
const VERSION: &str = "VERSION";
/// A header that every source of QEMU includes.
const HEADER: &str = "include/qemu/osdep.h";
/// The file of a build folder that says where its sources are.
const CONFIGURED: &str = "config-host.mak";
/// The usual folder to build in.
const BUILD: &str = "build";

/// A tree of sources with a folder that it is built in, which may be elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The top of the sources.
    pub top: PathBuf,
    /// The folder that it is built in. It need not be there.
    pub build: PathBuf,
    /// The version in the sources.
    pub version: Version,
}

impl Tree {
    /// Finds the tree that a folder is in, or that it is a build of.
    pub(crate) fn find(folder: &Path) -> Option<Tree> {
        let mut folders = folder.ancestors().take(LEVELS);
        folders.find_map(|folder| Tree::built_in(folder).or_else(|| Tree::at(folder)))
    }

    /// Returns the program that is built in it for a target.
    ///
    /// # Errors
    /// There is none, or there are several for other targets.
    pub(crate) fn program(&self, arch: &str) -> Result<PathBuf, SpecError> {
        spec::program_in(&self.build, arch)
    }

    /// Returns the tree of which a folder is the top.
    fn at(top: &Path) -> Option<Tree> {
        let version = version(top)?;
        let folders = spec::paths_in(top).into_iter();
        let folders = folders.filter(|path| path.is_dir() && !path.is_symlink());
        let mut built = [top.join(BUILD)].into_iter().chain(folders);
        let built = built.find(|folder| spec::has_program(folder));
        if built.is_none() && !top.join(HEADER).is_file() && !spec::has_program(top) {
            return None;
        }
        let in_place = || match spec::has_program(top) {
            true => top.to_owned(),
            false => top.join(BUILD),
        };
        Some(Tree {
            top: top.to_owned(),
            build: built.unwrap_or_else(in_place),
            version,
        })
    }

    /// Returns the tree that was configured to be built in a folder.
    fn built_in(folder: &Path) -> Option<Tree> {
        let configured = fs::read_to_string(folder.join(CONFIGURED)).ok()?;
        let top = configured
            .lines()
            .find_map(|line| line.strip_prefix("SRC_PATH="))?;
        let top = folder.join(top.trim());
        Some(Tree {
            version: version(&top)?,
            top,
            build: folder.to_owned(),
        })
    }
}

/// Returns the version that a tree has in its file, which holds nothing else.
fn version(top: &Path) -> Option<Version> {
    let text = fs::read_to_string(top.join(VERSION)).ok()?;
    let text = text.trim();
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::testing::file;

    #[test]
    fn a_tree_is_found_from_its_sources_and_from_its_build() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("qemu");
        file(&top, "VERSION", "10.1.50\n");
        fs::create_dir_all(top.join("hw/scsi")).unwrap();
        assert_eq!(Tree::find(&top), None, "as any project has a VERSION");
        file(&top, HEADER, "");
        let tree = Tree::find(&top.join("hw/scsi")).unwrap();
        assert_eq!(
            (&tree.top, &tree.build),
            (&top, &top.join("build")),
            "not built yet"
        );
        assert_eq!(tree.version, Version::new(10, 1, 50));
        file(&top, "build-debug/qemu-system-x86_64", "");
        assert_eq!(Tree::find(&top).unwrap().build, top.join("build-debug"));
        file(&top, "build/qemu-system-s390x", "");
        assert_eq!(Tree::find(&top).unwrap().build, top.join("build"));
        // One that stands in a build means that one, wherever it is.
        for folder in [top.join("build-debug"), dir.path().join("elsewhere")] {
            let mak = format!("# made\nSRC_PATH={}\n", top.display());
            file(&folder, CONFIGURED, &mak);
            fs::create_dir_all(folder.join("tests")).unwrap();
            let tree = Tree::find(&folder.join("tests")).unwrap();
            assert_eq!((&tree.top, &tree.build), (&top, &folder));
        }
        file(&top, "VERSION", "10.1.50 of another project\n");
        assert_eq!(Tree::find(&top), None);
    }
}
