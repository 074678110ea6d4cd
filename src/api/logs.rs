//! The place where the logs of cases that do not pass are kept.

use std::path::{Path, PathBuf};

use crate::api::error::{Error, Problem};
use crate::cleanup::{SHOWN, TempFolder, uninterrupted};

#[derive(Debug)]
pub(crate) enum LogFolder {
    /// The user's own.
    Named(PathBuf),
    /// The temporary folder, removed with everything in it, unless a report names what is there.
    Temporary(TempFolder),
}

impl LogFolder {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or nothing can be made in it.
    pub(crate) fn new(wanted: Option<&Path>) -> Result<LogFolder, Error> {
        let Some(folder) = wanted else {
            let prefix = format!("{SHOWN}logs-");
            let mut builder = tempfile::Builder::new();
            let folder = TempFolder::of_run(builder.prefix(&prefix), &std::env::temp_dir());
            let folder = folder.map_err(Problem::NoTemporaryFolder)?;
            return Ok(LogFolder::Temporary(folder));
        };
        let folder = folder.to_owned();
        if let Err(error) = std::fs::create_dir_all(&folder) {
            return Err(Problem::NoLogFolder { folder, error }.into());
        }
        // The lines that reproduce a case name it from wherever they are typed.
        let folder = match folder.canonicalize() {
            Ok(folder) => folder,
            Err(error) => return Err(Problem::BadLogFolder { folder, error }.into()),
        };
        // Every case has a folder of its own in it.
        let tried = uninterrupted(|| tempfile::tempdir_in(&folder)?.close());
        match tried {
            Ok(()) => Ok(LogFolder::Named(folder)),
            Err(error) => Err(Problem::BadLogFolder { folder, error }.into()),
        }
    }

    /// Returns where the folder is.
    pub(crate) fn path(&self) -> &Path {
        match self {
            LogFolder::Named(folder) => folder,
            LogFolder::Temporary(folder) => folder.path(),
        }
    }

    /// Keeps what cases have left in it, since a report names it.
    pub(crate) fn keep(self) {
        if let LogFolder::Temporary(folder) = self
            && !folder.is_empty()
        {
            folder.keep();
        }
    }
}
