//! Builds of the revisions of a git repository, each made in a worktree of its own by the user's command.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bisect::git::{self, GitError, git, outside_git};
use crate::cleanup::{OWN, TempFolder, end_dead_runs};
use crate::qemu::{Ended, RunError, Running, block_on};

/// Time limit of a build. It is the user's command: this is for what hangs for ever.
const BUILD: Duration = Duration::from_secs(24 * 60 * 60);
/// Digits of a revision that people are shown.
const SHORT: usize = 12;

/// A range of revisions, from one that is the first end to the other.
#[derive(Debug, Clone)]
pub(crate) struct Revisions {
    repository: PathBuf,
    revisions: Vec<Revision>,
    /// The command that makes a build in a worktree, for a shell.
    command: String,
    /// The place of the program in a worktree, or of a folder that has it.
    program: PathBuf,
    /// The folder in which worktrees are made.
    worktrees: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    hash: String,
    pub subject: String,
}

impl Revision {
    pub(crate) fn short(&self) -> &str {
        short(&self.hash)
    }
}

/// A build of a revision, there as long as this is.
#[derive(Debug)]
pub(crate) struct Built {
    pub program: PathBuf,
    _worktree: Worktree,
}

/// A range of revisions that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevisionError {
    #[error("{0:?} is no range of revisions; write GOOD..BAD, for instance v9.0.0..v9.1.0")]
    BadRange(String),
    #[error("{}: {name}: {words}", repository.display())]
    NoRevision {
        repository: PathBuf,
        name: String,
        words: String,
    },
    #[error("{}: {good} is not among the ancestors of {bad}, so that there is nothing between them", repository.display())]
    NotAncestor {
        repository: PathBuf,
        good: String,
        bad: String,
    },
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A revision of which there is no build.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("no worktree can be made: {0}")]
    NoWorktree(String),
    #[error("the build command {how}{stderr}")]
    Failed { how: Ended, stderr: String },
    #[error(
        "the build command made no {} in the worktree; --program PATH says where a build has its program",
        .0.display()
    )]
    NoProgram(PathBuf),
    #[error("the build command cannot be run: {0}")]
    Run(#[from] RunError),
    #[error("no folder for a worktree: {0}")]
    Folder(#[from] io::Error),
}

impl Revisions {
    /// Looks up the revisions of a range, along the first parents: a merge counts as one.
    ///
    /// # Errors
    /// It is no range, or the repository does not have it.
    pub(crate) fn list(
        repository: &Path,
        range: &str,
        command: &str,
        program: &Path,
        worktrees: &Path,
    ) -> Result<Revisions, RevisionError> {
        let bad_range = || RevisionError::BadRange(range.to_owned());
        let (good, bad) = range.split_once("..").ok_or_else(bad_range)?;
        end_dead_runs(worktrees);
        if good.is_empty() || bad.starts_with('.') {
            return Err(bad_range());
        }
        let bad = if bad.is_empty() { "HEAD" } else { bad };
        let no_revision = |name: &str, words| RevisionError::NoRevision {
            repository: repository.to_owned(),
            name: name.to_owned(),
            words,
        };
        let resolved = |name: &str| -> Result<String, RevisionError> {
            let commit = format!("{name}^{{commit}}");
            let args = ["rev-parse", "--verify", "--end-of-options", &commit];
            let told = git(repository, &args)?.map_err(|words| no_revision(name, words));
            Ok(told?.trim().to_owned())
        };
        let (from, to) = (resolved(good)?, resolved(bad)?);
        forget_dead_worktrees(repository)?;
        if git(repository, &["merge-base", "--is-ancestor", &from, &to])?.is_err() {
            return Err(RevisionError::NotAncestor {
                repository: repository.to_owned(),
                good: good.to_owned(),
                bad: bad.to_owned(),
            });
        }
        let between = format!("{from}..{to}");
        let mut all = Vec::new();
        for listed in [["-1", &from], ["--first-parent", &between]] {
            let pairs =
                git::revisions(repository, &listed)?.map_err(|words| no_revision(range, words))?;
            all.extend(
                pairs
                    .into_iter()
                    .map(|(hash, subject)| Revision { hash, subject }),
            );
        }
        Ok(Revisions {
            repository: repository.to_owned(),
            revisions: all,
            command: command.to_owned(),
            program: program.to_owned(),
            worktrees: worktrees.to_owned(),
        })
    }

    pub(crate) fn all(&self) -> &[Revision] {
        &self.revisions
    }

    /// Checks a revision out and builds it.
    ///
    /// # Errors
    /// It cannot be checked out, or the command fails.
    pub(crate) fn build(&self, revision: &Revision) -> Result<Built, BuildError> {
        let worktree = Worktree::add(&self.repository, &revision.hash, &self.worktrees)?;
        let mut command = Command::new("sh");
        command
            // One output has all, in its order: compilers use the one, and what calls them the other.
            .args(["-c", "exec >&2; eval \"$1\"", "sh", &self.command])
            .current_dir(&worktree.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        outside_git(&mut command);
        let built = block_on(async {
            let mut running = Running::start(command)?;
            let status = running.wait(BUILD).await?;
            Ok::<_, RunError>((status, running.stderr()))
        });
        let (status, stderr) = built??;
        if !status.success() {
            return Err(BuildError::Failed {
                how: Ended(status),
                stderr: last_lines(&stderr),
            });
        }
        let program = worktree.path.join(&self.program);
        if !program.exists() {
            return Err(BuildError::NoProgram(self.program.clone()));
        }
        Ok(Built {
            program,
            _worktree: worktree,
        })
    }
}

/// Returns a revision as people write it.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// Returns the end of what a build printed, for a sentence.
fn last_lines(printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().collect();
    match &lines[lines.len().saturating_sub(3)..] {
        [] => String::new(),
        last => format!(": {}", last.join(" / ")),
    }
}

/// A worktree, removed when this is dropped or the process ends. If the process is killed, the next run does so.
#[derive(Debug)]
struct Worktree {
    repository: PathBuf,
    path: PathBuf,
    _folder: TempFolder,
    /// What the repository knows of it.
    _entry: TempFolder,
}

impl Worktree {
    fn add(repository: &Path, hash: &str, parent: &Path) -> Result<Worktree, BuildError> {
        let folder = TempFolder::of_run(tempfile::Builder::new().prefix(&prefix()), parent)?;
        let name = folder.path().file_name().unwrap_or_default();
        // git has an entry of the last name of the path, which nobody else has.
        let name = name.to_string_lossy().replace(OWN, "migcompat-");
        let path = folder.path().join(&name);
        let run = |args: &[&str]| {
            let ran = git(repository, args).map_err(|error| error.to_string());
            ran.and_then(|ran| ran).map_err(BuildError::NoWorktree)
        };
        let shared = run(&["rev-parse", "--git-common-dir"])?;
        let shared = repository.join(shared.trim_end_matches('\n'));
        let entry = TempFolder::of_other(shared.join("worktrees").join(name));
        let place = path.display().to_string();
        run(&["worktree", "add", "--detach", &place, hash])?;
        Ok(Worktree {
            repository: repository.to_owned(),
            path,
            _folder: folder,
            _entry: entry,
        })
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let place = self.path.display().to_string();
        let args = ["worktree", "remove", "--force", "--force", &place];
        let _left_to_git = git(&self.repository, &args);
    }
}

/// Returns the beginning of the names of the folders in which worktrees are made.
fn prefix() -> String {
    format!("{OWN}bisect-")
}

/// Has a repository forget the worktrees of killed runs, whose folders are gone.
fn forget_dead_worktrees(repository: &Path) -> Result<(), RevisionError> {
    let Ok(listed) = git::worktrees(repository)? else {
        return Ok(());
    };
    for git::Worktree { path, .. } in listed {
        let is_dead = |folder: &Path| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix()) && !folder.exists()
        };
        if path.parent().is_some_and(is_dead) {
            // Twice: it is locked if the run was killed while git made it.
            let place = path.display().to_string();
            let remove = ["worktree", "remove", "--force", "--force", &place];
            let _left_to_git = git(repository, &remove)?;
        }
    }
    Ok(())
}
