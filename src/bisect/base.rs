//! The commit that the work in a repository began from, and where it is built.

use std::path::{Path, PathBuf};

use crate::bisect::git::{self, git};
use crate::bisect::revisions::short;

/// Branches that work leaves, the likeliest first: QEMU's own, as a remote has them or as they are kept here. A tag may
/// have the same short name.
const BRANCHES: [&str; 5] = [
    "refs/remotes/upstream/master",
    "refs/remotes/origin/master",
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/heads/master",
];
/// The beginnings of their names that nobody writes.
const PREFIXES: [&str; 2] = ["refs/remotes/", "refs/heads/"];
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
    /// Finds the last commit that a repository's work has in common with any of the branches that it may have left, or
    /// else its last release; nothing outside a repository.
    pub(crate) fn of(repository: &Path) -> Option<Base> {
        let run = |args: &[&str]| Some(git(repository, args).ok()?.ok()?.trim().to_owned());
        // A tree that was unpacked within a repository of something else is no work in that one.
        let top = PathBuf::from(run(&["rev-parse", "--show-toplevel"])?);
        if top.canonicalize().ok()? != repository.canonicalize().ok()? {
            return None;
        }
        // Nothing where no branch is checked out.
        let own = run(&["symbolic-ref", "--quiet", "HEAD"]);
        let others = BRANCHES
            .iter()
            .filter(|branch| own.as_deref() != Some(**branch));
        let common: Vec<(&str, String)> = others
            .filter_map(|branch| Some((*branch, run(&["merge-base", "HEAD", branch])?)))
            .collect();
        // A branch that was fetched long ago has less in common: the others descend from what it has.
        let commits: Vec<&str> = common.iter().map(|(_, commit)| &**commit).collect();
        let last = || run(&[&["merge-base", "--independent"][..], &commits].concat());
        let last = if common.is_empty() { None } else { last() };
        let is_last = |commit: &str| {
            last.iter()
                .any(|last| last.lines().any(|line| line == commit))
        };
        let nearest = common.into_iter().find(|(_, commit)| is_last(commit));
        let nearest = nearest.map(|(branch, commit)| {
            let name = PREFIXES
                .iter()
                .find_map(|prefix| branch.strip_prefix(prefix));
            (name.unwrap_or(branch).to_owned(), commit)
        });
        let released = || {
            let tag = run(&["describe", "--tags", "--abbrev=0", "--match", RELEASES])?;
            let commit = run(&["rev-parse", &format!("refs/tags/{tag}^{{commit}}")])?;
            Some((tag, commit))
        };
        let (left, commit) = nearest.or_else(released)?;
        Some(Base { commit, left })
    }

    /// Returns its hash as people write it.
    pub(crate) fn short(&self) -> &str {
        short(&self.commit)
    }

    /// Returns the worktrees of the repository that it is checked out in.
    pub(crate) fn worktrees(&self, repository: &Path) -> Vec<PathBuf> {
        let Ok(Ok(listed)) = git::worktrees(repository) else {
            return Vec::new();
        };
        let of_it = |tree: &git::Worktree| tree.head.as_ref() == Some(&self.commit);
        let of_it = listed.into_iter().filter(of_it);
        of_it.map(|tree| tree.path).collect()
    }
}

/// Tells whether a worktree is as it was committed. One that git cannot tell of is not.
pub(crate) fn is_committed(worktree: &Path) -> bool {
    matches!(git::is_changed(worktree), Ok(Ok(false)))
}
