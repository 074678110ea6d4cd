//! The name of the machine type at the head of a stream, and another one in its place.

use std::borrow::Cow;
use std::mem;

use crate::stream::record::CONFIGURATION;

/// The bytes before the length of the name: magic, version, and the type of the configuration.
pub(crate) const BEFORE: usize = 9;
/// The bytes before the name.
pub(crate) const TO_NAME: usize = BEFORE + 4;

/// Puts another name in the place of the machine type's while a stream passes: QEMU takes no guest of a machine type that it
/// calls otherwise.
#[derive(Debug)]
pub(crate) struct Renaming {
    name: String,
    /// The beginning of the stream, until the name is whole.
    head: Option<Vec<u8>>,
}

impl Renaming {
    /// Makes a renaming of a stream that has not begun.
    pub(crate) fn to(name: &str) -> Renaming {
        Renaming {
            name: name.to_owned(),
            head: Some(Vec::new()),
        }
    }

    /// Returns what to pass on after more bytes of the stream: nothing until the name is whole. A stream without a name stays
    /// as it is.
    pub(crate) fn pass<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let Some(head) = &mut self.head else {
            return Cow::Borrowed(bytes);
        };
        head.extend_from_slice(bytes);
        let is_named = head
            .get(BEFORE - 1)
            .is_none_or(|kind| *kind == CONFIGURATION);
        let length = head.get(BEFORE..).and_then(|rest| rest.first_chunk());
        let length = length.map(|bytes| u32::from_be_bytes(*bytes));
        let end = length.map(|length| TO_NAME.saturating_add(length as usize));
        match end {
            _ if !is_named => Cow::Owned(self.rest()),
            Some(end) if head.len() >= end => {
                let head = self.rest();
                let length = u32::try_from(self.name.len()).unwrap_or(u32::MAX);
                let (length, name) = (length.to_be_bytes(), self.name.as_bytes());
                Cow::Owned([&head[..BEFORE], &length, name, &head[end..]].concat())
            }
            _ => Cow::Borrowed(&[]),
        }
    }

    /// Returns what was held back of a stream that has ended before its name.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.head).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x04virtEVM";

    #[test]
    fn the_name_is_another_one_however_the_stream_comes() {
        for (name, changed) in [
            ("pc-q35", &b"QEVM\0\0\0\x03\x07\0\0\0\x06pc-q35EVM"[..]),
            ("pc", b"QEVM\0\0\0\x03\x07\0\0\0\x02pcEVM"),
        ] {
            for size in 1..=STREAM.len() {
                let mut renaming = Renaming::to(name);
                let chunks = STREAM.chunks(size);
                let passed: Vec<u8> = chunks.flat_map(|c| renaming.pass(c).into_owned()).collect();
                assert_eq!(passed, changed, "{size}");
            }
        }
    }

    #[test]
    fn what_has_no_name_passes_as_it_is() {
        // Without the configuration, ended within it, and of no bytes.
        for stream in [&b"QEVM\0\0\0\x03\x01\0\0\0\x04virt"[..], &STREAM[..15], &[]] {
            let mut renaming = Renaming::to("pc");
            let mut passed = renaming.pass(stream).into_owned();
            passed.extend(renaming.rest());
            assert_eq!(passed, stream);
        }
    }
}
