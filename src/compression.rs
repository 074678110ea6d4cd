//! Input that may be compressed: gzip and zstd, recognised by the first bytes, whatever the file's
//! name.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Cursor, Read};

/// A compressed form that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Gzip,
    Zstd,
}

impl Format {
    /// Recognises the form by the first four bytes; `None` is plain.
    fn detect(start: &[u8]) -> Option<Format> {
        match start {
            [0x1f, 0x8b, ..] => Some(Format::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::Zstd),
            _ => None,
        }
    }

    fn decoder<'r>(self, input: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            // A multi-member file is what `cat a.gz b.gz` and parallel compressors make.
            Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Format::Zstd => Box::new(zstd::Decoder::new(input)?),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        })
    }
}

/// A compressed input that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("cannot unpack {origin} as {format}: {source}")]
    Damaged {
        origin: String,
        format: Format,
        source: io::Error,
    },
    #[error("{origin} has more than {limit} bytes when unpacked, more than any such file")]
    TooLarge { origin: String, limit: u64 },
}

/// Unpacks input as it is read, however much it is; `None` if there is nothing in it.
///
/// # Errors
/// The input cannot be read.
pub(crate) fn reader<'r>(mut input: impl Read + 'r) -> io::Result<Option<Box<dyn Read + 'r>>> {
    let mut start = Vec::new();
    input.by_ref().take(4).read_to_end(&mut start)?;
    if start.is_empty() {
        return Ok(None);
    }
    let format = Format::detect(&start);
    let whole = Cursor::new(start).chain(input);
    Ok(Some(match format {
        Some(format) => format.decoder(whole)?,
        None => Box::new(whole),
    }))
}

/// Unpacks bytes in memory to at most `limit` bytes; `origin` names them in errors.
///
/// # Errors
/// They are damaged, or more than that.
pub(crate) fn unpacked<'b>(
    bytes: &'b [u8],
    origin: &str,
    limit: u64,
) -> Result<Cow<'b, [u8]>, UnpackError> {
    let content = match Format::detect(bytes) {
        None => Cow::Borrowed(bytes),
        Some(format) => {
            let mut content = Vec::new();
            format
                .decoder(bytes)
                .and_then(|decoder| {
                    let mut bounded = decoder.take(limit.saturating_add(1));
                    bounded.read_to_end(&mut content)
                })
                .map_err(|source| UnpackError::Damaged {
                    origin: origin.to_owned(),
                    format,
                    source,
                })?;
            Cow::Owned(content)
        }
    };
    if content.len() as u64 > limit {
        return Err(UnpackError::TooLarge {
            origin: origin.to_owned(),
            limit,
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).expect("in memory");
        gz.finish().expect("in memory")
    }

    #[test]
    fn the_form_is_recognised_by_the_content() {
        let text = b"some text";
        let zst = zstd::encode_all(&text[..], 1).expect("in memory");
        let members = [gzip(b"some "), gzip(b"text")].concat();
        for bytes in [text.to_vec(), gzip(text), members, zst] {
            assert_eq!(unpacked(&bytes, "x", 9).expect("sound"), &text[..]);
            let mut read = Vec::new();
            let mut reader = reader(&bytes[..]).expect("readable").expect("not empty");
            reader.read_to_end(&mut read).expect("sound");
            assert_eq!(read, text);
        }
        assert!(reader(io::empty()).expect("readable").is_none());
    }

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_refused() {
        let text = vec![b'a'; 1 << 20];
        let zst = zstd::encode_all(&text[..], 1).expect("in memory");
        assert!(zst.len() < 1000);
        for bytes in [&text, &gzip(&text), &zst] {
            assert!(unpacked(bytes, "x", 1 << 20).is_ok());
            let error = unpacked(bytes, "x", (1 << 20) - 1).expect_err("too much");
            assert!(matches!(error, UnpackError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_cut_off_is_damaged() {
        let zst = zstd::encode_all(&b"some text"[..], 1).expect("in memory");
        for bytes in [&gzip(b"some text"), &zst] {
            let error = unpacked(&bytes[..bytes.len() / 2], "x", 99).expect_err("cut off");
            assert!(
                error.to_string().starts_with("cannot unpack x as "),
                "{error}"
            );
        }
    }
}
