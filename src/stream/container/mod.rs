//! The containers of a migration stream: the image that libvirt saves a guest to, a snapshot in a qcow2 image,
//! a place within a file.
//!
//! Other containers are named and refused, with a remedy.

mod qcow2;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};

use crate::compression;
use qcow2::Qcow2Error;

/// `virQEMUSaveHeader` in libvirt's `src/qemu/qemu_saveimage.h`: the magic, the version, the length of the XML
/// behind the header, whether the guest ran, the form of the stream, and what is not needed here.
const LIBVIRT_HEADER: usize = 92;
const LIBVIRT_MAGIC: [u8; 16] = *b"LibvirtQemudSave";
/// The magic while the image is being written.
const LIBVIRT_UNFINISHED: [u8; 16] = *b"LibvirtQemudPart";
/// The highest version of the header: a higher number is one in the other byte order.
const LIBVIRT_VERSIONS: u32 = 0xffff;
/// The XML of a guest is some kilobytes long.
const LONGEST_XML: u32 = 64 << 20;

/// A file without a migration stream that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error(
        "a qcow2 image, whose snapshots are read from the file itself: not from standard input, and not where it is \
         compressed"
    )]
    Qcow2Piped,
    #[error(transparent)]
    Qcow2(Qcow2Error),
    #[error("no qcow2 image, so it has no snapshot {wanted:?}")]
    NoImage { wanted: String },
    #[error("compressed by {program}; unpack it with `{program} -dc` and give the result")]
    Compressed { program: &'static str },
    #[error(
        "an image that libvirt saved, in which the stream is compressed by {program}; unpack it with `tail -c +{from} \
         FILE | {program} -dc` and give the result"
    )]
    CompressedImage { program: &'static str, from: u64 },
    #[error("an image that libvirt has not finished saving")]
    Unfinished,
    #[error(
        "an image that libvirt saved, with a header that makes no sense: {length} bytes of XML"
    )]
    Libvirt { length: u32 },
    #[error("shorter than the {offset} bytes before the stream")]
    Short { offset: u64 },
    #[error("cannot read on: {0}")]
    Io(io::Error),
}

/// A stream out of its container.
pub struct Contained<'r> {
    pub input: Box<dyn Read + 'r>,
    /// Bytes of the file before the stream: places in the stream's data are counted from the start
    /// of the file.
    pub offset: u64,
    /// The domain that libvirt put in front of it.
    pub domain: Option<Vec<u8>>,
}

impl<'r> Contained<'r> {
    fn at(offset: u64, input: Box<dyn Read + 'r>) -> Contained<'r> {
        Contained {
            input,
            offset,
            domain: None,
        }
    }
}

/// Finds the stream of a snapshot where a file is an image of them; `None` where it is something else. The file is
/// at its start again then.
///
/// # Errors
/// There is no such snapshot, or the image cannot be read here.
pub(super) fn snapshot(
    file: &mut File,
    wanted: Option<&str>,
) -> Result<Option<Contained<'static>>, ContainerError> {
    // What cannot be read twice is no image.
    if file.stream_position().is_err() {
        return Ok(None);
    }
    let start = first(file, qcow2::MAGIC.len() as u64)?;
    file.rewind().map_err(ContainerError::Io)?;
    match (start == qcow2::MAGIC, wanted) {
        (true, _) => {
            let image = file.try_clone().map_err(ContainerError::Io)?;
            let state = qcow2::open(image, wanted).map_err(|error| match error {
                Qcow2Error::Io(error) => ContainerError::Io(error),
                error => ContainerError::Qcow2(error),
            })?;
            Ok(Some(Contained::at(0, Box::new(state))))
        }
        (false, Some(wanted)) => Err(ContainerError::NoImage {
            wanted: wanted.to_owned(),
        }),
        (false, None) => Ok(None),
    }
}

/// Finds the stream in the contents of a file, `offset` bytes from its start or wherever its
/// container has it.
///
/// # Errors
/// It is in a container that cannot be read, or the file is too short.
pub(super) fn contained<'r>(
    mut input: Box<dyn Read + 'r>,
    offset: u64,
) -> Result<Contained<'r>, ContainerError> {
    if offset > 0 {
        skip(&mut input, offset)?;
        return Ok(Contained::at(offset, input));
    }
    let header = LIBVIRT_HEADER as u64;
    let start = first(&mut input, header)?;
    if start.starts_with(&qcow2::MAGIC) {
        return Err(ContainerError::Qcow2Piped);
    }
    if start.starts_with(&LIBVIRT_UNFINISHED) {
        return Err(ContainerError::Unfinished);
    }
    if let Some(program) = packer(&start) {
        return Err(ContainerError::Compressed { program });
    }
    if start.starts_with(&LIBVIRT_MAGIC) && start.len() == LIBVIRT_HEADER {
        let length = xml_length(&start);
        if length > LONGEST_XML {
            return Err(ContainerError::Libvirt { length });
        }
        let mut domain = first(&mut input, length.into())?;
        let offset = header + u64::from(length);
        if domain.len() as u64 + header < offset {
            return Err(ContainerError::Short { offset });
        }
        // It ends with a zero, and a second document may follow.
        let end = domain.iter().position(|&byte| byte == 0);
        domain.truncate(end.unwrap_or(domain.len()));
        let found = in_image(input, offset)?;
        return Ok(Contained {
            domain: Some(domain),
            ..found
        });
    }
    Ok(Contained::at(0, Box::new(Cursor::new(start).chain(input))))
}

/// Finds the stream behind the XML in an image of libvirt, `from` bytes from its start.
fn in_image<'r>(mut input: Box<dyn Read + 'r>, from: u64) -> Result<Contained<'r>, ContainerError> {
    let start = first(&mut input, 8)?;
    if let Some(program) = packer(&start) {
        return Err(ContainerError::CompressedImage {
            program,
            from: from + 1,
        });
    }
    let whole = Cursor::new(start).chain(input);
    let input = compression::reader(whole).map_err(ContainerError::Io)?;
    let input = input.unwrap_or_else(|| Box::new(io::empty()));
    Ok(Contained::at(from, input))
}

/// Reads the next bytes, or fewer where there are no more.
fn first(input: &mut dyn Read, length: u64) -> Result<Vec<u8>, ContainerError> {
    let mut bytes = Vec::new();
    let read = input.take(length).read_to_end(&mut bytes);
    read.map_err(ContainerError::Io)?;
    Ok(bytes)
}

/// Returns the length of the XML that follows the header, which is in the byte order of the host that wrote it.
fn xml_length(header: &[u8]) -> u32 {
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(bytes)
    };
    let (version, length) = (word(16), word(20));
    match version {
        ..=LIBVIRT_VERSIONS => length,
        _ => length.swap_bytes(),
    }
}

/// Returns the program that compresses in a form that is not read here.
fn packer(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [0x89, b'L', b'Z', b'O', ..] => Some("lzop"),
        _ => None,
    }
}

fn skip(input: &mut dyn Read, offset: u64) -> Result<(), ContainerError> {
    let skipped = io::copy(&mut input.take(offset), &mut io::sink()).map_err(ContainerError::Io)?;
    match skipped == offset {
        true => Ok(()),
        false => Err(ContainerError::Short { offset }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], offset: u64) -> Result<(Vec<u8>, u64), ContainerError> {
        let Contained {
            mut input, offset, ..
        } = contained(Box::new(bytes), offset)?;
        let mut content = Vec::new();
        input.read_to_end(&mut content).expect("in memory");
        Ok((content, offset))
    }

    /// An image as libvirt saves it.
    fn image(swapped: bool, xml: &str, content: &[u8]) -> Vec<u8> {
        let word = |n: u32| match swapped {
            true => n.to_be_bytes(),
            false => n.to_le_bytes(),
        };
        let mut image = LIBVIRT_MAGIC.to_vec();
        image.extend(word(2));
        image.extend(word(xml.len() as u32));
        image.resize(LIBVIRT_HEADER, 0);
        image.extend(xml.as_bytes());
        image.extend(content);
        image
    }

    #[test]
    fn a_stream_is_found_where_its_container_has_it() {
        let stream = b"QEVM\0\0\0\x03 and so on, longer than the header of an image is, which has 92 bytes in all";
        let zst = zstd::encode_all(&stream[..], 1).expect("in memory");
        let at = LIBVIRT_HEADER as u64 + 6;
        for (file, offset, begins) in [
            (stream.to_vec(), 0, 0),
            ([&b"12345"[..], stream].concat(), 5, 5),
            (image(false, "<xml/>", stream), 0, at),
            (image(true, "<xml/>", stream), 0, at),
            (image(false, "<xml/>", &zst), 0, at),
        ] {
            let (content, start) = found(&file, offset).expect("a stream");
            assert_eq!((&content[..], start), (&stream[..], begins));
        }
        assert_eq!(found(b"QEVM", 0).expect("short").0, b"QEVM");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut unfinished = image(false, "", b"");
        unfinished[..16].copy_from_slice(&LIBVIRT_UNFINISHED);
        let mut senseless = image(false, "", b"");
        senseless[20..24].fill(0xee);
        for (file, offset, words) in [
            (b"QFI\xfb\0\0\0\x03".to_vec(), 0, "not from standard input"),
            (b"BZh91AY".to_vec(), 0, "compressed by bzip2"),
            (b"\xfd7zXZ\0".to_vec(), 0, "`xz -dc`"),
            (
                image(false, "<xml/>", b"\x89LZO\0"),
                0,
                "`tail -c +99 FILE | lzop -dc`",
            ),
            (unfinished, 0, "not finished"),
            (senseless, 0, "makes no sense"),
            (b"QEVM".to_vec(), 5, "shorter than the 5 bytes"),
            (
                image(false, "<xml/>", b"")[..95].to_vec(),
                0,
                "shorter than",
            ),
        ] {
            let error = found(&file, offset).expect_err(words).to_string();
            assert!(error.contains(words), "wanted {words:?} in {error:?}");
        }
    }
}
