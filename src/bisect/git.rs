//! The one place that runs git: what a user or a repository has set changes nothing of what it answers.
//!
//! Only commands are used whose output git keeps for scripts, with full names of what they are asked for: `log`,
//! `branch` and short names print what the settings say.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::qemu::{RunError, block_on, output};

/// Time limit of a command of git.
const LIMIT: Duration = Duration::from_secs(600);

/// A git that does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git cannot be run: {0}")]
    Run(#[from] RunError),
    #[error("no command can be run: {0}")]
    Runtime(#[from] io::Error),
}

/// What git prints, or what it complains of.
pub(super) type Told<T> = Result<Result<T, String>, GitError>;

/// A worktree of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worktree {
    pub path: PathBuf,
    /// The hash of the commit that is checked out; a bare repository has none.
    pub head: Option<String>,
}

/// Runs git, and returns what it prints, or what it complains of.
pub(super) fn git(repository: &Path, args: &[&str]) -> Told<String> {
    let mut command = Command::new("git");
    // A look at somebody's worktree takes no lock in it.
    command.arg("--no-optional-locks");
    command.arg("-C").arg(repository).args(args);
    command.stdin(Stdio::null());
    outside_git(&mut command);
    let ran = block_on(output(command, LIMIT))??;
    Ok(match ran.status.success() {
        true => Ok(ran.stdout),
        false => Err(ran.stderr),
    })
}

/// Returns the hashes and the subjects of a range of revisions, the oldest first.
pub(super) fn revisions(repository: &Path, range: &[&str]) -> Told<Vec<(String, String)>> {
    let how = [
        "rev-list",
        "--reverse",
        "--encoding=UTF-8",
        "--format=%H %s",
    ];
    let listed = git(repository, &[&how[..], range].concat())?;
    Ok(listed.map(|listed| {
        // Above each is a line of git's own that names its commit.
        let lines = listed.lines().skip(1).step_by(2);
        let pairs = lines.map(|line| {
            let (hash, subject) = line.split_once(' ').unwrap_or((line, ""));
            (hash.to_owned(), subject.to_owned())
        });
        pairs.collect()
    }))
}

/// Returns all worktrees of a repository, its own first.
pub(super) fn worktrees(repository: &Path) -> Told<Vec<Worktree>> {
    let listed = git(repository, &["worktree", "list", "--porcelain"])?;
    Ok(listed.map(|listed| {
        let entries = listed.split("\n\n").filter_map(|entry| {
            let value = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key));
            Some(Worktree {
                path: value("worktree ")?.into(),
                head: value("HEAD ").map(str::to_owned),
            })
        });
        entries.collect()
    }))
}

/// Tells whether files that git tracks are not as they are in the commit that is checked out, in submodules too.
pub(super) fn is_changed(worktree: &Path) -> Told<bool> {
    let args = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--ignore-submodules=none",
    ];
    Ok(git(worktree, &args)?.map(|told| !told.is_empty()))
}

/// Takes out what git sets for its hooks: another repository may be meant.
pub(super) fn outside_git(command: &mut Command) {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
}
