//! Reading of the texts that a person writes and names: lists, device sets, settings, owners, locks. Whatever such a
//! name leads to, it takes bounded time and memory.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Most bytes of such a text. The longest that is shipped has a hundredth of it.
const MOST: u64 = 4 << 20;

/// Reads a text.
///
/// # Errors
/// The file cannot be read, is too long or is not UTF-8.
pub(crate) fn read_text(file: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_bytes(file)?);
    text.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads a text of any encoding.
///
/// # Errors
/// The file cannot be read or is too long.
pub(crate) fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(MOST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MOST {
        true => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {} MiB", MOST >> 20),
        )),
        false => Ok(text),
    }
}

/// Reads a text of which only the folder was named: a pipe in it would be waited for without end.
///
/// # Errors
/// The file is no regular file, and as [`read_text`].
pub(crate) fn read_listed_text(file: &Path) -> io::Result<String> {
    match file.metadata()?.is_file() {
        true => read_text(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused() {
        let endless = Path::new("/dev/zero");
        let error = read_text(endless).expect_err("endless");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
        let error = read_listed_text(endless).expect_err("a device");
        assert_eq!(error.to_string(), "it is no regular file");
    }
}
