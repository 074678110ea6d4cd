//! Text from outside, made safe to show: nothing in it moves a cursor, sets a colour, hides or turns
//! around what stands beside it, or begins a line of its own.
//!
//! A name comes from a file that anyone may have written or from a build that is suspected of
//! anything. It is made visible where it is read, so that every output has it in that form.

use std::borrow::Cow;
use std::str::Chars;

/// Returns a name or a sentence in which every character is seen, as `\n` or `\u{202e}` if need be.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden, escaped)
}

/// Returns a text of several lines in which every other character is seen, as [`visible`] does.
pub(crate) fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'), escaped)
}

/// Most characters of a sentence. What a build printed, and is quoted, fits.
const MOST: usize = 8192;

/// Returns a sentence that is not too long to be read: of one that quotes a file at any length, the middle is left out.
pub(crate) fn in_brief(text: String) -> String {
    let Some(left_out @ 1..) = text.chars().count().checked_sub(MOST) else {
        return text;
    };
    let mut places = text.char_indices().map(|(at, _)| at);
    let head = places.nth(MOST / 2).unwrap_or_default();
    let tail = places.nth(left_out - 1).unwrap_or_default();
    format!("{} … {left_out} more … {}", &text[..head], &text[tail..])
}

/// Returns the output of a command in which every character is seen, colours aside, as it is about to be
/// written.
pub(crate) fn visible_output(text: &str) -> Cow<'_, str> {
    let is_control = |byte: &u8| (*byte < b' ' && !matches!(*byte, b'\n' | b'\t')) || *byte == 0x7f;
    if text.is_ascii() && !text.as_bytes().iter().any(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown: Option<String> = None;
    let mut rest = text;
    // Most of it is copied in one piece.
    while let Some(at) = rest.find(|c| is_hidden(c) && !matches!(c, '\n' | '\t')) {
        let (plain, found) = rest.split_at(at);
        let shown = shown.get_or_insert_with(|| String::with_capacity(text.len() + 64));
        shown.push_str(plain);
        let length = colour(found).unwrap_or_else(|| {
            let character = found.chars().next();
            shown.extend(character.into_iter().flat_map(char::escape_unicode));
            0
        });
        let (colour, _) = found.split_at(length);
        shown.push_str(colour);
        let next = match length {
            0 => found.chars().next().map_or(0, char::len_utf8),
            length => length,
        };
        rest = &found[next..];
    }
    match shown {
        Some(shown) => Cow::Owned(shown + rest),
        None => Cow::Borrowed(text),
    }
}

/// Returns JSON in which every character is seen. It may stand in strings alone, where JSON has an escape
/// for each.
pub(crate) fn visible_json(text: &str) -> Cow<'_, str> {
    let to_escape = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t' | '\r');
    escape(text, to_escape, |character, shown| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// Finds the first line of a TOML file, counted from 1, with a character that a reader does not see, as it
/// is or as an escape of a string.
pub(crate) fn hidden_line(toml: &str) -> Option<usize> {
    toml.lines().position(hides).map(|index| index + 1)
}

fn hides(line: &str) -> bool {
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        let hidden = match character {
            '\\' => match rest.next() {
                Some('b' | 'f' | 'e' | 'r') => true,
                Some('x') => coded(&mut rest, 2).is_some_and(is_hidden),
                Some('u') => coded(&mut rest, 4).is_some_and(is_hidden),
                Some('U') => coded(&mut rest, 8).is_some_and(is_hidden),
                _ => false,
            },
            '\t' => false,
            character => is_hidden(character),
        };
        if hidden {
            return true;
        }
    }
    false
}

/// Returns the character that the next digits are the code of.
fn coded(rest: &mut Chars<'_>, digits: usize) -> Option<char> {
    let code = rest.as_str().get(..digits)?;
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
}

/// Returns the length of the colour (a "select graphic rendition" sequence) that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\x1b[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some(2 + end + 1)
}

/// Tells whether a reader does not see a character: a control character, one that changes the order or
/// the joining of others, one without width, or none at all (a noncharacter, which XML forbids).
pub(crate) fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
        || u32::from(character) & 0xfffe == 0xfffe
}

fn escape(
    text: &str,
    to_escape: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    // Nearly every text is like that.
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) || !text.contains(&to_escape) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match to_escape(character) {
            true => write(character, &mut shown),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

fn escaped(character: char, shown: &mut String) {
    match character {
        '\n' | '\r' | '\t' => shown.extend(character.escape_debug()),
        _ => shown.extend(character.escape_unicode()),
    }
}

/// Tells whether every byte of a JSON text stands for itself and is seen. All that QEMU writes is like that.
/// Block by block, which is as fast as memory.
pub(crate) fn is_plain_json(json: &[u8]) -> bool {
    let is_odd = |byte: &u8| *byte == b'\\' || *byte >= 0x7f;
    let has_odd = |block: &[u8]| block.iter().fold(false, |odd, byte| odd | is_odd(byte));
    !json.chunks(4096).any(has_odd)
}

/// Makes text visible in place.
pub(crate) fn make_visible(text: &mut String) {
    if let Cow::Owned(shown) = visible(text) {
        *text = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_would_not_see_is_shown() {
        for (text, shown) in [
            ("pc-q35-7.2", "pc-q35-7.2"),
            ("grün › 中文 \u{1f600}", "grün › 中文 \u{1f600}"),
            ("a\n\ncompatible: all", "a\\n\\ncompatible: all"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("nosj.exe\u{202e}", "nosj.exe\\u{202e}"),
            ("a\u{200b}b\u{feff}c\u{ad}", "a\\u{200b}b\\u{feff}c\\u{ad}"),
            ("\u{fffe}\u{1ffff}\u{fdd0}", "\\u{fffe}\\u{1ffff}\\u{fdd0}"),
            ("\0\x7f", "\\u{0}\\u{7f}"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(visible(&visible(text)), shown, "once is enough");
        }
        assert_eq!(visible_lines("a\r\n\tb\x08"), "a\\r\n\tb\\u{8}");
    }

    #[test]
    fn of_a_long_sentence_the_middle_is_left_out() {
        for (length, shown) in [
            (MOST, "a".repeat(MOST)),
            (
                MOST + 1,
                format!(
                    "{} … 1 more … {}",
                    "a".repeat(MOST / 2),
                    "a".repeat(MOST / 2)
                ),
            ),
        ] {
            assert_eq!(in_brief("a".repeat(length)), shown);
        }
        let text = format!("begin {} end", "é".repeat(1 << 20));
        let brief = in_brief(text);
        assert!(brief.starts_with("begin é") && brief.ends_with("é end"));
        assert!(brief.contains(" … 1040394 more … "), "{}", &brief[..9000]);
        assert!(brief.chars().count() < MOST + 50);
    }

    #[test]
    fn an_output_keeps_its_lines_and_colours_alone() {
        let text = "\x1b[1;31merror\x1b[0m: a\n\tb \x1b]0;owned\x07\x1b[2J\u{202e}\x1b[";
        let shown =
            "\x1b[1;31merror\x1b[0m: a\n\tb \\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{202e}\\u{1b}[";
        assert_eq!(visible_output(text), shown);
        assert!(matches!(visible_output("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({"a\u{9b}": "b\n\x1b \u{202e} \u{e0001} \x7f \u{fffe}"});
        let text = serde_json::to_string_pretty(&value).expect("in memory");
        let shown = visible_json(&text);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            value
        );
    }

    #[test]
    fn a_file_hides_nothing_in_a_string() {
        for (toml, line) in [
            ("a = \"b\"\nc = \"d\\n\\te ü\"\n\tf = 1\r\n", None),
            ("a = \"\\u001b[31m\"", Some(1)),
            ("a = 1\nb = \"\\u202E\"", Some(2)),
            ("a = 1\nb = \"\u{202e}\"", Some(2)),
            ("a = \"\\\\u001b\"", None),
            ("a = \"\\e\"", Some(1)),
            ("a = \"\\U0010FFFF\"", Some(1)),
            ("a = \"\\u12\"", None),
        ] {
            assert_eq!(hidden_line(toml), line, "{toml}");
        }
    }

    #[test]
    fn a_plain_text_is_not_copied() {
        assert!(matches!(visible("am53c974 › esp"), Cow::Borrowed(_)));
    }
}
