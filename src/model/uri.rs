//! Paths as parts of addresses.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What an address has to escape in a path (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Returns a path, which may have any bytes, as an address has it.
pub(crate) fn uri_path(path: &[u8]) -> String {
    percent_encode(path, ESCAPED).to_string()
}
