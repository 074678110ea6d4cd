//! Numbers as C and its tools write them.

/// Reads a number, in hexadecimal after `0x`.
pub(crate) fn c_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
