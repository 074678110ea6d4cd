//! Where the logs of cases that do not pass are kept.

use std::path::{Path, PathBuf};

use crate::api::error::{Error, Problem};

/// A folder for logs.
#[derive(Debug)]
pub(crate) enum LogFolder {
    /// The user's own.
    Named(PathBuf),
    /// Gone with everything in it, unless a report names what is there.
    Temporary(tempfile::TempDir),
}

impl LogFolder {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(wanted: Option<&Path>) -> Result<LogFolder, Error> {
        let Some(folder) = wanted else {
            let folder = tempfile::Builder::new()
                .prefix("migcompat-logs-")
                .tempdir()
                .map_err(Problem::NoTemporaryFolder)?;
            return Ok(LogFolder::Temporary(folder));
        };
        let folder = folder.to_owned();
        if let Err(source) = std::fs::create_dir_all(&folder) {
            return Err(Problem::NoLogFolder { folder, source }.into());
        }
        // The lines that reproduce a case name it from wherever they are typed.
        match folder.canonicalize() {
            Ok(folder) => Ok(LogFolder::Named(folder)),
            Err(source) => Err(Problem::BadLogFolder { folder, source }.into()),
        }
    }

    /// Returns where the folder is.
    pub(crate) fn path(&self) -> &Path {
        match self {
            LogFolder::Named(folder) => folder,
            LogFolder::Temporary(folder) => folder.path(),
        }
    }

    /// Leaves what cases have left in it, since a report names it.
    pub(crate) fn keep(self) {
        if let LogFolder::Temporary(folder) = self
            && std::fs::read_dir(folder.path()).is_ok_and(|mut items| items.next().is_some())
        {
            let _as_before = folder.keep();
        }
    }
}
