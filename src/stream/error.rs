//! The errors of a stream, with the byte where each stands.

use std::fmt;
use std::io;
use std::sync::Arc;

/// The reason why the framing of a stream cannot be followed any further, and the place.
#[derive(Debug, Clone, thiserror::Error)]
#[error("at offset {offset} (0x{offset:x}): {kind}")]
pub struct StreamError {
    /// Bytes from the start of the stream (unpacked) to what is wrong.
    pub offset: u64,
    pub kind: StreamErrorKind,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamErrorKind {
    #[error("cannot read on: {0}")]
    Io(Arc<io::Error>),
    #[error(
        "not a migration stream: it starts with {} instead of 51 45 56 4d (\"QEVM\")",
        Hex(found)
    )]
    Magic { found: Vec<u8> },
    #[error(
        "this is one of the extra channels of a multifd migration; the sections are in the main channel"
    )]
    MultifdChannel,
    #[error("stream version {found}; only version 3 exists since 2009")]
    Version { found: u32 },
    #[error("the stream ends in the middle of {reading}")]
    Ends { reading: String },
    #[error("expected {expected}, found byte 0x{found:02x}")]
    Record { expected: &'static str, found: u8 },
    #[error("{what} has the length {found}; at most {most} makes sense")]
    Length {
        what: &'static str,
        found: u64,
        most: u64,
    },
    #[error("{what} is not a readable name: {}", Hex(found))]
    Name { what: &'static str, found: Vec<u8> },
    #[error("subsection {name:?} of the configuration is not known, so its end is not either")]
    Configuration { name: String },
    #[error("a part of section {id}, which was never started")]
    UnknownSection { id: u32 },
    #[error(
        "expected the footer of section {section} (7e and id {id}), found {}",
        Hex(found)
    )]
    Footer {
        section: String,
        id: u32,
        found: Vec<u8>,
    },
    #[error("section {section} has version {found}; version {known} is known")]
    SectionVersion {
        section: String,
        found: u32,
        known: u32,
    },
    #[error(
        "RAM flags 0x{flags:x} mean nothing (a page size other than {page_size} would show like this too)"
    )]
    RamFlags { flags: u64, page_size: u32 },
    #[error("a page in RAM block {name:?}, which the stream did not announce")]
    RamBlock { name: String },
    #[error("a page that continues a RAM block, but none came before")]
    RamContinues,
    #[error("a page at 0x{address:x} of RAM block {name:?}, which has 0x{length:x} bytes")]
    RamAddress {
        name: String,
        address: u64,
        length: u64,
    },
    #[error("{found} where {expected} was expected, in {section}")]
    Iterative {
        section: &'static str,
        expected: &'static str,
        found: String,
    },
    #[error("{what} cannot be read: {why}")]
    Unsupported {
        what: &'static str,
        why: &'static str,
    },
    #[error("more than {limit} bytes of device state; raise the limit if that is expected")]
    TooLarge { limit: u64 },
    #[error("the description at the end of the stream is malformed: {0}")]
    Description(String),
    #[error(
        "the description says that pages have {described} bytes; the RAM section was read with {read}"
    )]
    PageSize { described: u64, read: u32 },
    #[error("section {name} {instance_id} has no footer, and the description does not list it")]
    Undelimited { name: String, instance_id: u32 },
}

impl StreamErrorKind {
    /// Tells whether the contents are something other than a stream with sections.
    pub fn is_other_data(&self) -> bool {
        matches!(
            self,
            StreamErrorKind::Magic { .. } | StreamErrorKind::MultifdChannel
        )
    }
}

/// The reason why the bytes of a section do not follow their description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset} (0x{offset:x}), {path}: {kind}")]
pub struct DecodeError {
    /// Bytes from the start of the stream.
    pub offset: u64,
    /// Names from the section's description down to the field, joined by `/`.
    pub path: String,
    pub kind: DecodeErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    #[error("{wanted} bytes are described, but the section has only {left} left")]
    Short { wanted: u64, left: u64 },
    #[error("{left} bytes are left over behind what the description covers")]
    LeftOver { left: u64 },
    #[error("expected subsection {expected:?}, found {found}")]
    Subsection { expected: String, found: String },
    #[error("expected the marker of {expected}, found byte 0x{found:02x}")]
    Marker { expected: &'static str, found: u8 },
    #[error("described as {described} bytes, but its parts have {parts}")]
    Size { described: u64, parts: u64 },
    #[error(
        "a pointer of this array was null where the description was written, so the layout of the others is not known"
    )]
    PointersUnknown,
    #[error("the description unfolds to more values than any section has")]
    TooMany,
}

/// Bytes as hex, the first sixteen of them.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (i, byte) in self.0.iter().take(16).enumerate() {
            write!(f, "{}{byte:02x}", if i > 0 { " " } else { "" })?;
        }
        if self.0.len() > 16 {
            f.write_str(" ...")?;
        }
        Ok(())
    }
}
