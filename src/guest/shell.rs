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
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
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
        let ahead: String = self.chars.clone().take_while(|&c| c != '\n').collect();
        if !ahead.starts_with("{\"") {
            return None;
        }
        let mut objects = serde_json::Deserializer::from_str(&ahead).into_iter::<IgnoredAny>();
        objects.next()?.ok()?;
        let text = &ahead[..objects.byte_offset()];
        for _ in text.chars() {
            self.take();
        }
        Some(text.to_owned())
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
            (r#"q {"a":b"#, "{a:b"),
            ("q {a}", "{a}"),
        ] {
            assert_eq!(words(text)[1].1, second);
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
