//! Opening of a stream's file: its bytes are unpacked as they are read, for guest memory may be any
//! size.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::compression;

/// A failure to read a file at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot read the migration stream {}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is a folder; a file with a migration stream is needed", file.display())]
    Folder { file: PathBuf },
    #[error(
        "{} is empty: the migration failed before it sent anything, or has not begun",
        file.display()
    )]
    Empty { file: PathBuf },
}

/// Opens a stream; `-` is standard input. The compression is recognised by the content, not by the
/// name.
///
/// # Errors
/// The file cannot be read, is a folder, or is empty.
pub fn open(file: &Path) -> Result<Box<dyn Read>, OpenError> {
    let io_error = |source| OpenError::Io {
        file: file.to_owned(),
        source,
    };
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let input = File::open(file).map_err(io_error)?;
        if input.metadata().map_err(io_error)?.is_dir() {
            return Err(OpenError::Folder {
                file: file.to_owned(),
            });
        }
        Box::new(input)
    };
    compression::reader(input)
        .map_err(io_error)?
        .ok_or_else(|| OpenError::Empty {
            file: file.to_owned(),
        })
}
