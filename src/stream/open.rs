//! From a file to the bytes of a stream: plain, gzip or zstd, unpacked as they are read.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot read the migration stream {}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is a folder; a file with a migration stream is wanted", file.display())]
    Folder { file: PathBuf },
    #[error(
        "{} is empty: the migration failed before it sent anything, or is still to come",
        file.display()
    )]
    Empty { file: PathBuf },
}

/// Opens a stream; `-` is standard input. The compression is told from the content, not from the
/// name.
pub fn open(file: &Path) -> Result<Box<dyn Read>, OpenError> {
    let io_error = |source| OpenError::Io {
        file: file.to_owned(),
        source,
    };
    let mut input: Box<dyn Read> = if file == Path::new("-") {
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
    let mut start = Vec::new();
    input
        .by_ref()
        .take(4)
        .read_to_end(&mut start)
        .map_err(io_error)?;
    let format = start.clone();
    let whole = Cursor::new(start).chain(input);
    Ok(match format.as_slice() {
        [] => {
            return Err(OpenError::Empty {
                file: file.to_owned(),
            });
        }
        // A multi-member file is what `cat a.gz b.gz` and parallel compressors make.
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole).map_err(io_error)?),
        _ => Box::new(whole),
    })
}
