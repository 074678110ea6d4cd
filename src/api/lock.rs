//! A lock for a freeze: this program, the lists and the device sets as they were, so that an outcome that
//! changes is QEMU's doing.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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

/// A part that differs from the lock, as it was and as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    what: &'static str,
    then: String,
    now: String,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changed { what, then, now } = self;
        write!(f, "{what} ({then} then, {now} now)")
    }
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
        list(changed)
    )]
    Broken {
        file: PathBuf,
        changed: Vec<Changed>,
    },
}

/// Returns the parts in one sentence.
pub(crate) fn list(changed: &[Changed]) -> String {
    let parts: Vec<String> = changed.iter().map(ToString::to_string).collect();
    parts.join(", ")
}

impl Lock {
    /// Compares with the lock in a file, which is made where there is none.
    ///
    /// # Errors
    /// The file cannot be used, or is no lock.
    pub(crate) fn hold(&self, file: &Path) -> Result<Vec<Changed>, LockError> {
        let failed = |source| LockError::Io {
            file: file.to_owned(),
            source,
        };
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(file).map_err(failed)?;
                return Ok(Vec::new());
            }
            text => text.map_err(failed)?,
        };
        let then: Lock = toml::from_str(&text).map_err(|error| LockError::Malformed {
            file: file.to_owned(),
            reason: error.message().to_owned(),
        })?;
        let parts = [
            ("the version of migcompat", then.migcompat, &self.migcompat),
            ("the lists", then.lists, &self.lists),
            ("the device sets", then.device_sets, &self.device_sets),
        ];
        let changed = parts.into_iter().filter(|(_, then, now)| then != *now);
        Ok(changed
            .map(|(what, then, now)| Changed {
                what,
                then,
                now: now.clone(),
            })
            .collect())
    }

    fn make(&self, file: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        // Never over one that another process has just made.
        let mut made = OpenOptions::new().write(true).create_new(true).open(file)?;
        made.write_all(text.as_bytes())
    }
}
