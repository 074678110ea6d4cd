//! A view on the bytes at hand that knows how to ask for more.

use crate::model::is_hidden;
use crate::stream::error::{StreamError, StreamErrorKind};

/// The reason why a step cannot be completed.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The number of bytes that are needed, counted from the start of the view. Always small:
    /// whatever may be long is taken in pieces.
    Need(usize),
    /// `at` counts from the start of the view.
    Fail { at: usize, kind: StreamErrorKind },
    /// A failure at a place that lies before the view.
    Error(StreamError),
}

/// Bytes from the start of a record on. Reading moves forward; a record that is not complete is
/// tried again from its start once more bytes have come.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The start of the record that is being read.
    start: usize,
    /// Set once no more bytes will come.
    last: bool,
}

impl<'a> Cut<'a> {
    pub(super) fn new(bytes: &'a [u8], last: bool) -> Self {
        Cut {
            bytes,
            at: 0,
            start: 0,
            last,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.at
    }

    /// The next record starts here.
    pub(super) fn mark(&mut self) {
        self.start = self.at;
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Goes back to where the record that is not complete began.
    pub(super) fn reset(&mut self) {
        self.at = self.start;
    }

    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, size: usize) -> Result<&'a [u8], Stop> {
        let bytes = self.peek(size)?;
        self.at += size;
        Ok(bytes)
    }

    pub(super) fn peek(&self, size: usize) -> Result<&'a [u8], Stop> {
        self.rest().get(..size).ok_or(Stop::Need(self.at + size))
    }

    /// Returns that many bytes, or fewer if the stream ends before.
    pub(super) fn peek_up_to(&self, size: usize) -> Result<&'a [u8], Stop> {
        match self.peek(size) {
            Err(_) if self.last => Ok(self.rest()),
            other => other,
        }
    }

    /// Takes what there is, up to `most` bytes.
    pub(super) fn take_up_to(&mut self, most: usize) -> &'a [u8] {
        let rest = self.rest();
        let taken = rest.get(..most).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn peek_u64(&self) -> Result<u64, Stop> {
        let mut array = [0; 8];
        array.copy_from_slice(self.peek(8)?);
        Ok(u64::from_be_bytes(array))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length byte and that many bytes of text.
    pub(super) fn name(&mut self, what: &'static str) -> Result<&'a str, Stop> {
        let start = self.at;
        let length = self.u8()?;
        let bytes = self.take(length.into())?;
        text(bytes).ok_or_else(|| Stop::Fail {
            at: start,
            kind: StreamErrorKind::Name {
                what,
                found: bytes.to_vec(),
            },
        })
    }

    /// A failure at the place reached.
    pub(super) fn fail(&self, kind: StreamErrorKind) -> Stop {
        self.fail_back(0, kind)
    }

    /// A failure that many bytes before the place reached.
    pub(super) fn fail_back(&self, back: usize, kind: StreamErrorKind) -> Stop {
        Stop::Fail {
            at: self.at.saturating_sub(back),
            kind,
        }
    }

    /// Takes a length, which is four bytes and at most this much.
    pub(super) fn length(&mut self, what: &'static str, most: u64) -> Result<u64, Stop> {
        let found = u64::from(self.u32()?);
        if found > most {
            return Err(self.fail_back(4, StreamErrorKind::Length { what, found, most }));
        }
        Ok(found)
    }

    /// A failure of the record as a whole.
    pub(super) fn fail_start(&self, kind: StreamErrorKind) -> Stop {
        Stop::Fail {
            at: self.start,
            kind,
        }
    }
}

/// A name as QEMU gives them: not empty, printable.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains(is_hidden)).then_some(text)
}
