//! Where the logs of cases that do not pass are kept.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cleanup::{TempFolder, uninterrupted};
use crate::cli::Failure;

/// A folder for logs.
#[derive(Debug)]
pub(crate) enum LogFolder {
    /// The user's own.
    Named(PathBuf),
    /// Gone with everything in it, unless a report names what is there.
    Temporary(TempFolder),
}

impl LogFolder {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or nothing can be made in it.
    pub fn new(wanted: Option<&Path>) -> Result<LogFolder, Failure> {
        let Some(folder) = wanted else {
            let mut builder = tempfile::Builder::new();
            builder.prefix("migcompat-logs-");
            return TempFolder::new(&mut builder, &std::env::temp_dir())
                .map(LogFolder::Temporary)
                .context("no folder for logs")
                .map_err(Failure::untestable);
        };
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))
            .map_err(Failure::usage)?;
        // The lines that reproduce a case name it from wherever they are typed.
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot use {}", folder.display()))
            .map_err(Failure::usage)?;
        // Every case has a folder of its own in it.
        uninterrupted(|| tempfile::tempdir_in(&folder).and_then(tempfile::TempDir::close))
            .with_context(|| format!("cannot keep logs in {}", folder.display()))
            .map_err(Failure::usage)?;
        Ok(LogFolder::Named(folder))
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        match self {
            LogFolder::Named(folder) => folder,
            LogFolder::Temporary(folder) => folder.path(),
        }
    }

    /// Leaves what cases have left in it, since a report has told where it is.
    pub fn keep(self) {
        if let LogFolder::Temporary(folder) = self
            && std::fs::read_dir(folder.path()).is_ok_and(|mut items| items.next().is_some())
        {
            folder.keep();
        }
    }
}
