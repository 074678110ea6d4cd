//! The commit that the work in a repository began from, and where it is built.

use std::path::{Path, PathBuf};

use crate::bisect::revisions::{git, short};

/// Branches that work leaves, the likeliest first: QEMU's own, as a remote has them or as they are kept here.
const BRANCHES: [&str; 5] = [
    "upstream/master",
    "origin/master",
    "origin/HEAD",
    "origin/main",
    "master",
];
/// The tags of releases.
const RELEASES: &str = "v[0-9]*";

/// The commit that the work began from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// Its hash.
    pub commit: String,
    /// The branch or the release that the work left there.
    pub left: String,
}

impl Base {
    /// Finds the last commit that a repository's work has in common with the branch that it left, or else its last
    /// release; nothing outside a repository.
    pub(crate) fn of(repository: &Path) -> Option<Base> {
        let run = |args: &[&str]| Some(git(repository, args).ok()?.ok()?.trim().to_owned());
        // A tree that was unpacked within a repository of something else is no work in that one.
        let top = PathBuf::from(run(&["rev-parse", "--show-toplevel"])?);
        if top.canonicalize().ok()? != repository.canonicalize().ok()? {
            return None;
        }
        let own = run(&["rev-parse", "--abbrev-ref", "HEAD"])?;
        let mut others = BRANCHES.iter().filter(|branch| **branch != own);
        let common = others.find_map(|branch| {
            let commit = run(&["merge-base", "HEAD", branch])?;
            Some(((*branch).to_owned(), commit))
        });
        let released = || {
            let tag = run(&["describe", "--tags", "--abbrev=0", "--match", RELEASES])?;
            let commit = run(&["rev-parse", &format!("{tag}^{{commit}}")])?;
            Some((tag, commit))
        };
        let (left, commit) = common.or_else(released)?;
        Some(Base { commit, left })
    }

    /// Returns its hash as people write it.
    pub(crate) fn short(&self) -> &str {
        short(&self.commit)
    }

    /// Returns the worktrees of the repository that it is checked out in.
    pub(crate) fn worktrees(&self, repository: &Path) -> Vec<PathBuf> {
        let listed = git(repository, &["worktree", "list", "--porcelain"]);
        let Ok(Ok(listed)) = listed else {
            return Vec::new();
        };
        let head = format!("HEAD {}", self.commit);
        let entries = listed.split("\n\n");
        let of_it = entries.filter(|entry| entry.lines().any(|line| line == head));
        let path = |entry: &str| {
            let path = entry
                .lines()
                .find_map(|line| line.strip_prefix("worktree "))?;
            Some(PathBuf::from(path))
        };
        of_it.filter_map(path).collect()
    }
}
