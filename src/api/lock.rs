//! A lock for a freeze: this program, the lists and the device sets as they were, so that an outcome that
//! changes is QEMU's doing.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::Tester;
use crate::input::read_text;
use crate::whole_file::neighbour;

/// Everything that tests and can be held, as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    /// The version of this program.
    pub migcompat: String,
    /// A hash of all lists.
    pub lists: String,
    /// A hash of all device sets.
    pub device_sets: String,
}

/// A lock that cannot be used, or that this run does not keep.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("cannot use the lock {}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is no lock of migcompat: {reason}", file.display())]
    Malformed { file: PathBuf, reason: String },
    #[error(
        "{} holds another state than this run has: {}; --ack REASON runs nonetheless",
        file.display(),
        changed.join(", ")
    )]
    Broken { file: PathBuf, changed: Vec<String> },
}

impl Lock {
    /// Compares with the lock in a file, which is made where there is none, and names the parts that differ.
    ///
    /// # Errors
    /// The file cannot be used, or is no lock.
    pub(crate) fn hold(&self, file: &Path) -> Result<Vec<String>, LockError> {
        let failed = |source| LockError::Io {
            file: file.to_owned(),
            source,
        };
        let text = match read_text(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.make(file) {
                // Another process has just made it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => read_text(file),
                made => return made.map(|()| Vec::new()).map_err(failed),
            },
            text => text,
        };
        let text = text.map_err(failed)?;
        let then: Lock = toml::from_str(&text).map_err(|error| LockError::Malformed {
            file: file.to_owned(),
            reason: error.message().to_owned(),
        })?;
        Ok(self.tester().differences(&then.tester()))
    }

    /// Returns what is held of a tester: a lock may go from host to host.
    fn tester(&self) -> Tester {
        Tester {
            tool: self.migcompat.clone(),
            lists: self.lists.clone(),
            device_sets: self.device_sets.clone(),
            ..Tester::default()
        }
    }

    fn make(&self, file: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let mut whole = neighbour(file)?;
        whole.write_all(text.as_bytes())?;
        // Never over one that another process has just made.
        whole.persist_noclobber(file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_begin_at_once_make_one_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = |lists: &str| Lock {
            migcompat: "1".to_owned(),
            lists: lists.to_owned(),
            device_sets: "2".to_owned(),
        };
        let ours = lock("3");
        for round in 0..50 {
            let file = folder.path().join(round.to_string());
            std::thread::scope(|scope| {
                let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| ours.hold(&file))).collect();
                for run in runs {
                    let differences = run.join().expect("no panic").expect("the lock is whole");
                    assert!(differences.is_empty(), "{differences:?}");
                }
            });
            let differences = lock("4").hold(&file).expect("the lock is whole");
            assert_eq!(differences.len(), 1, "{differences:?}");
        }
    }
}
