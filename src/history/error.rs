//! A history that cannot be used.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    // SQLite's own words stand in the sentence: below them is a number, and the same once more.
    #[error("cannot use the history {}: {error}", file.display())]
    Sqlite {
        file: PathBuf,
        error: rusqlite::Error,
    },
    #[error(
        "the history {} is damaged: {error}; move it away, and fill a new one from saved reports with `history import`",
        file.display()
    )]
    Damaged {
        file: PathBuf,
        error: rusqlite::Error,
    },
    #[error("there is no history {}; --history on a run makes one, and so does `history import`", file.display())]
    Missing { file: PathBuf },
    #[error("{} is a database of something else", file.display())]
    Foreign { file: PathBuf },
    #[error(
        "{} is of a newer migcompat: it has form {found}, and this one knows {known}",
        file.display()
    )]
    Newer {
        file: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "{} is of an older migcompat, and cannot be written to be brought up: it has form {found}, and this one reads {known}",
        file.display()
    )]
    Older {
        file: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("{} holds {what} {text:?}, which this migcompat does not know", file.display())]
    Unreadable {
        file: PathBuf,
        what: &'static str,
        text: String,
    },
}

impl HistoryError {
    /// Returns what an error of SQLite means for a file.
    pub(super) fn of(file: &Path, error: rusqlite::Error) -> HistoryError {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => HistoryError::Damaged { file, error },
            _ => HistoryError::Sqlite { file, error },
        }
    }
}
