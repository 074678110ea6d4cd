//! A history that cannot be used.

use std::path::PathBuf;

/// A history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot use the history {}: {source}", file.display())]
    Sqlite {
        file: PathBuf,
        source: rusqlite::Error,
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
    #[error("{} holds {what} {text:?}, which this migcompat does not know", file.display())]
    Unreadable {
        file: PathBuf,
        what: &'static str,
        text: String,
    },
}
