//! The words of a shell line, with their places. Nothing is expanded: a line that a shell would change is refused.

use serde::de::IgnoredAny;

use crate::guest::error::ReadError;
use crate::guest::given::Word;

/// The words of the first command in a text, and those that come after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub words: Vec<Word>,
    pub rest: Vec<Word>,
}

/// Splits a text into the words of its first command. `first` is the number of its first line. A line that begins
/// with a dash goes on with the command before it, also without a backslash.
///
/// # Errors
/// A quote is open at the end, or the shell would put something else in the place of a word.
pub(super) fn split(text: &str, first: usize) -> Result<Split, ReadError> {
    let mut reader = Reader {
        chars: text.chars().peekable(),
        line: first,
        has_open_json: false,
    };
    let mut split = Split::default();
    loop {
        match reader.next()? {
            Token::Word(word) => split.words.push(word),
            Token::NewLine => {
                if split.words.is_empty() || reader.next_line_goes_on() {
                    continue;
                }
                break;
            }
            Token::Operator(word) => {
                split.rest.push(word);
                break;
            }
            Token::End => return Ok(split),
        }
    }
    let line = reader.line;
    let left: String = reader.chars.collect();
    for (number, text) in left.lines().enumerate() {
        let text = text.trim();
        if !text.is_empty() {
            split.rest.push(Word {
                line: line + number,
                text: text.to_owned(),
            });
        }
    }
    Ok(split)
}

enum Token {
    Word(Word),
    NewLine,
    /// The end of a command: `;`, `&`, `|`, `<` or `>`.
    Operator(Word),
    End,
}

struct Reader<'t> {
    chars: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
    /// An object of JSON has begun that does not end on this line.
    has_open_json: bool,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
            self.has_open_json = false;
        }
        c
    }

    fn next_line_goes_on(&self) -> bool {
        let ahead = self.chars.clone();
        let mut text = ahead.skip_while(|c| c.is_whitespace());
        text.next() == Some('-')
    }

    fn next(&mut self) -> Result<Token, ReadError> {
        loop {
            match self.chars.peek() {
                None => return Ok(Token::End),
                Some('\n') => {
                    self.take();
                    return Ok(Token::NewLine);
                }
                Some(c) if c.is_whitespace() => {
                    self.take();
                }
                Some('#') => while self.chars.next_if(|&c| c != '\n').is_some() {},
                Some('\\') => {
                    let mut ahead = self.chars.clone();
                    ahead.next();
                    match (ahead.next(), ahead.next()) {
                        (Some('\n'), _) => {
                            self.take();
                            self.take();
                        }
                        (Some('\r'), Some('\n')) => {
                            self.take();
                            self.take();
                            self.take();
                        }
                        (None, _) => {
                            self.take();
                        }
                        _ => return self.word().map(Token::Word),
                    }
                }
                Some(&c @ (';' | '&' | '|' | '<' | '>')) => {
                    let line = self.line;
                    self.take();
                    return Ok(Token::Operator(Word {
                        line,
                        text: c.to_string(),
                    }));
                }
                Some(_) => return self.word().map(Token::Word),
            }
        }
    }

    /// Takes an object of JSON that nothing quotes, as a list of processes shows it: a shell would take its quotes away, and
    /// nobody means that.
    fn json(&mut self) -> Option<String> {
        let starts = self.chars.clone().take(2).eq(['{', '"']);
        if !starts || self.has_open_json {
            return None;
        }
        let Some(length) = object_length(self.chars.clone()) else {
            // Nor does one that begins later on the line end.
            self.has_open_json = true;
            return None;
        };
        let text: String = self.chars.clone().take(length).collect();
        serde_json::from_str::<IgnoredAny>(&text).ok()?;
        for _ in 0..length {
            self.take();
        }
        Some(text)
    }

    fn word(&mut self) -> Result<Word, ReadError> {
        let line = self.line;
        if let Some(text) = self.json() {
            return Ok(Word { line, text });
        }
        let mut text = String::new();
        let expands = |what: char| ReadError::Expands { line, what };
        while let Some(&c) = self.chars.peek() {
            match c {
                c if c.is_whitespace() => break,
                ';' | '&' | '|' | '<' | '>' => break,
                '$' | '`' => return Err(expands(c)),
                '\'' => {
                    self.take();
                    loop {
                        match self.take() {
                            Some('\'') => break,
                            Some(c) => text.push(c),
                            None => return Err(ReadError::OpenQuote { line }),
                        }
                    }
                }
                '"' => {
                    self.take();
                    loop {
                        match self.take() {
                            Some('"') => break,
                            Some('\\') => match self.take() {
                                Some('\n') => {}
                                Some(c @ ('"' | '\\' | '$' | '`')) => text.push(c),
                                Some(c) => {
                                    text.push('\\');
                                    text.push(c);
                                }
                                None => return Err(ReadError::OpenQuote { line }),
                            },
                            Some(c @ ('$' | '`')) => return Err(expands(c)),
                            Some(c) => text.push(c),
                            None => return Err(ReadError::OpenQuote { line }),
                        }
                    }
                }
                '\\' => {
                    self.take();
                    match self.take() {
                        Some('\n') | None => {}
                        Some(c) => text.push(c),
                    }
                }
                _ => {
                    text.push(c);
                    self.take();
                }
            }
        }
        Ok(Word { line, text })
    }
}

/// Returns the characters of the object that a text begins with, if it ends on the same line.
fn object_length(text: impl Iterator<Item = char>) -> Option<usize> {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for (at, c) in text.take_while(|&c| c != '\n').enumerate() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_string,
            '"' => is_string = !is_string,
            '{' if !is_string => depth += 1,
            '}' if !is_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(usize, String)> {
        let split = split(text, 1).unwrap();
        split.words.into_iter().map(|w| (w.line, w.text)).collect()
    }

    #[test]
    fn quotes_escapes_and_continued_lines_are_read_as_a_shell_reads_them() {
        let text = "# a comment\n\nq -a 'b \"c' \\\n  -d \"e 'f' \\\"g\\\" \\h\"\\\n  -i j\\ k'l'\"m\"\n-n o\nanother\n";
        let expected = [
            (3, "q"),
            (3, "-a"),
            (3, "b \"c"),
            (4, "-d"),
            (4, "e 'f' \"g\" \\h"),
            (5, "-i"),
            (5, "j klm"),
            (6, "-n"),
            (6, "o"),
        ];
        let found = words(text);
        let found: Vec<(usize, &str)> = found.iter().map(|(l, t)| (*l, t.as_str())).collect();
        assert_eq!(found, expected);
        let rest = split(text, 1).unwrap().rest;
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].text, "another");
    }

    #[test]
    fn json_that_nothing_quotes_is_a_word() {
        for (text, second) in [
            (
                r#"q {"a":"b c","d":[1,{"e":"$x"}]} -f"#,
                r#"{"a":"b c","d":[1,{"e":"$x"}]}"#,
            ),
            (r#"q {"a":"b"}"#, r#"{"a":"b"}"#),
            (r#"q '{"a":"b"}'"#, r#"{"a":"b"}"#),
            (r#"q {"a":"}"}x"#, r#"{"a":"}"}"#),
            (r#"q {"a":b} c"#, "{a:b}"),
            ("q {a}", "{a}"),
        ] {
            assert_eq!(words(text)[1].1, second);
        }
        // A text of many is read in no time.
        for one in [r#"{"a":1} "#, r#"{" {"#, "{\"\\ "] {
            let many = one.repeat((1 << 20) / one.len());
            let _some = split(&many, 1);
        }
    }

    #[test]
    fn what_a_shell_would_run_or_replace_is_not_read() {
        for text in ["q -a $HOME", "q -a \"`id`\"", "q $(id)", "q -a x`id`"] {
            assert!(
                matches!(split(text, 1), Err(ReadError::Expands { line: 1, .. })),
                "{text}"
            );
        }
        assert!(matches!(
            split("q 'open", 1),
            Err(ReadError::OpenQuote { line: 1 })
        ));
        assert_eq!(words("q '$HOME' -a"), words("q \\$HOME -a"));
        let split = split("q -a > log 2>&1; rm x", 4).unwrap();
        assert_eq!(split.words.len(), 2);
        assert_eq!(split.rest[0].text, ">");
    }
}
