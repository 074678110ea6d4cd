//! Reading of the texts that a person writes and names: lists, device sets, settings, owners, locks. Whatever such a
//! name leads to, it takes bounded time and memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Most bytes of such a text. The longest that is shipped has a hundredth of it.
const MOST: u64 = 4 << 20;

/// Returns a text in UTF-8 and without a mark of its encoding. Editors and shells of other systems write such a mark, and
/// UTF-16 behind it. What is neither stays as it is.
pub(crate) fn as_utf8(text: &[u8]) -> Cow<'_, [u8]> {
    let (unit, units): (fn([u8; 2]) -> u16, _) = match text {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Cow::Borrowed(rest),
        [0xff, 0xfe, rest @ ..] => (u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => (u16::from_be_bytes, rest),
        _ => return Cow::Borrowed(text),
    };
    let (units, []) = units.as_chunks() else {
        return Cow::Borrowed(text);
    };
    let read: Result<String, _> =
        char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect();
    read.map_or(Cow::Borrowed(text), |read| Cow::Owned(read.into_bytes()))
}

/// Reads a text.
///
/// # Errors
/// The file cannot be read, is too long or is neither UTF-8 nor marked as UTF-16.
pub(crate) fn read_text(file: &Path) -> io::Result<String> {
    let text = String::from_utf8(as_utf8(&read_bytes(file)?).into_owned());
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
    fn a_text_of_another_system_is_read_as_what_its_mark_says() {
        let utf_16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2], text: &str| {
            let units = text.encode_utf16().flat_map(bytes);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        let text = "{\"a\": \"\u{e9}\u{1f5a5}\"}\r\n";
        let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        let little = utf_16([0xff, 0xfe], u16::to_le_bytes, text);
        let big = utf_16([0xfe, 0xff], u16::to_be_bytes, text);
        for saved in [text.as_bytes(), &marked, &little, &big] {
            assert_eq!(*as_utf8(saved), *text.as_bytes(), "{saved:x?}");
        }
        // Cut off, half of a pair, and no mark.
        for odd in [
            &little[..little.len() - 1],
            b"\xff\xfe\x00\xd8",
            b"\xff",
            b"",
        ] {
            assert_eq!(*as_utf8(odd), *odd, "{odd:x?}");
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        let endless = Path::new("/dev/zero");
        let error = read_text(endless).expect_err("endless");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
        let error = read_listed_text(endless).expect_err("a device");
        assert_eq!(error.to_string(), "it is no regular file");
    }
}
