//! Buffers for people to read: as text, if they are one, or as digits.

use std::fmt::Write;

/// Returns a buffer as quoted text, if it is one: printable characters, then zeros up to its end.
pub(crate) fn text_of(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    let text = bytes.get(..end)?;
    // A number may look like a short one.
    let least = match end < bytes.len() && bytes.len() >= 8 {
        true => 3,
        false => 8,
    };
    let is_printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let is_text = text.len() >= least && text.iter().all(is_printable);
    // One byte again and again is said shorter.
    let is_filled = text.iter().all(|byte| Some(byte) == text.first());
    (is_text && !is_filled).then(|| format!("{:?}", String::from_utf8_lossy(text)))
}

/// Returns a buffer as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_from_numbers() {
        let mut state = *b"paused\0\0\0\0";
        assert_eq!(text_of(&state).as_deref(), Some("\"paused\""));
        assert_eq!(text_of(b"pc-q35-7.2").as_deref(), Some("\"pc-q35-7.2\""));
        assert_eq!(text_of(b"a \"name\"\0").as_deref(), Some(r#""a \"name\"""#));
        // Something is behind its end.
        state[9] = 1;
        assert_eq!(text_of(&state), None);
        for number in [
            &b""[..],
            b"\0\0\0\0\0\0\0\0",
            b"AB\0\0\0\0\0\0",
            b"ABCDEFG",
            b"ABC\0",
            b"00000000",
            b"caf\xc3\xa9 x\0",
        ] {
            assert_eq!(text_of(number), None, "{number:?}");
        }
    }
}
