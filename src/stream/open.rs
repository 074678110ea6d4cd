//! Opening of a stream's file: its bytes are unpacked as they are read, for guest memory may be any
//! size.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::compression;
use crate::stream::container::{Contained, ContainerError, contained, snapshot};

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
    #[error("{} is {reason}", file.display())]
    Container {
        file: PathBuf,
        reason: ContainerError,
    },
}

/// The place of a stream in its file.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Bytes before it.
    pub offset: u64,
    /// The name or the id of a snapshot in a qcow2 image; the only one if nothing is said.
    pub snapshot: Option<String>,
}

/// Opens the stream of a file of its own, as [`open_at`] does.
///
/// # Errors
/// As for [`open_at`].
pub fn open(file: &Path) -> Result<Box<dyn Read>, OpenError> {
    open_at(file, &Place::default()).map(|contained| contained.input)
}

/// Opens a stream at a place in a file, or where a container has it; `-` is standard input. Compression and container are recognised by the content, not by the name.
///
/// # Errors
/// The file cannot be read, is empty, or is a container that is not read here.
pub fn open_at(file: &Path, place: &Place) -> Result<Contained<'static>, OpenError> {
    let io_error = |source| OpenError::Io {
        file: file.to_owned(),
        source,
    };
    let refused = |reason| match reason {
        ContainerError::Io(error) => io_error(error),
        reason => OpenError::Container {
            file: file.to_owned(),
            reason,
        },
    };
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let mut input = File::open(file).map_err(io_error)?;
        if input.metadata().map_err(io_error)?.is_dir() {
            return Err(OpenError::Folder {
                file: file.to_owned(),
            });
        }
        match snapshot(&mut input, place.snapshot.as_deref()) {
            Ok(None) => Box::new(input),
            Ok(Some(stream)) => return Ok(stream),
            Err(reason) => return Err(refused(reason)),
        }
    };
    let empty = || OpenError::Empty {
        file: file.to_owned(),
    };
    let unpacked = compression::reader(input).map_err(io_error)?;
    let mut found = contained(unpacked.ok_or_else(empty)?, place.offset).map_err(refused)?;
    // What is packed or behind something else may be empty as well.
    let mut start = Vec::new();
    let first = found.input.by_ref().take(1).read_to_end(&mut start);
    if first.map_err(io_error)? == 0 {
        return Err(empty());
    }
    found.input = Box::new(Cursor::new(start).chain(found.input));
    Ok(found)
}
