//! Reading a description: its form is found by its content.

use crate::guest::MOST_BYTES;
use crate::guest::config;
use crate::guest::domain;
use crate::guest::error::ReadError;
use crate::guest::given;
use crate::guest::given::{Description, Word};
use crate::guest::shell;
use crate::input::as_utf8;
use crate::qemu::is_program;
use crate::report::GuestFormat;

/// The words in the line of a log that a start begins with.
const LOG_HEADER: &str = "starting up libvirt version";

/// Reads a description.
///
/// # Errors
/// It is too long, is no text, or is no command line of QEMU.
pub(super) fn read(bytes: &[u8]) -> Result<Description, ReadError> {
    if bytes.len() > MOST_BYTES {
        return Err(ReadError::TooLong);
    }
    let bytes = &*as_utf8(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| ReadError::NotText {
        line: 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
    })?;
    if text.trim().is_empty() {
        return Err(ReadError::Empty);
    }
    let (before, config) = config::split(text);
    let has_command = before.lines().any(|line| !is_comment(line));
    let description = if text.trim_start().starts_with('<') {
        domain::read(text)
    } else if !config.is_empty() && !has_command {
        let words = Vec::new();
        let description = Description::of(GuestFormat::Configuration, None, Vec::new(), words);
        Ok(description.configured(config))
    } else if before.contains('\0') {
        let mut words: Vec<Word> = (before.split_terminator('\0'))
            .map(|text| Word {
                line: 1,
                text: text.to_owned(),
            })
            .collect();
        if !config.is_empty() && !before.ends_with('\0') {
            // A comment of the file, before its first section.
            words.pop();
        }
        let description = command(GuestFormat::ProcessCommandLine, words, Vec::new());
        description.map(|description| description.configured(config))
    } else if let Some((text, line)) = last_start(text) {
        let split = shell::split(text, line)?;
        // What a log has after the command is about the run.
        command(GuestFormat::LibvirtLog, split.words, Vec::new())
    } else {
        let split = shell::split(before, 1)?;
        let description = command(GuestFormat::CommandLine, split.words, split.rest);
        description.map(|description| description.configured(config))
    }?;
    let lacking = description
        .options
        .iter()
        .find(|option| option.value.is_none() && !given::is_flag(&option.name));
    match lacking {
        Some(option) => Err(ReadError::NoArgument {
            line: option.line,
            option: option.name.clone(),
        }),
        None => Ok(description),
    }
}

/// Returns the command of the last start in a log of libvirt, and the number of its first line.
fn last_start(text: &str) -> Option<(&str, usize)> {
    let mut found = None;
    let mut end = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        end += line.len();
        if line.contains(LOG_HEADER) {
            found = Some((end, number + 2));
        }
    }
    found.map(|(start, line)| (&text[start..], line))
}

/// Finds the program among the words; the options follow it.
fn command(
    format: GuestFormat,
    mut words: Vec<Word>,
    rest: Vec<Word>,
) -> Result<Description, ReadError> {
    // What begins with an option is the options alone, of which one may name a folder like a program.
    if words.first().is_some_and(|word| word.text.starts_with('-')) {
        return Ok(Description::of(format, None, rest, words));
    }
    let name = |word: &Word| {
        let name = word.text.rsplit('/').next().unwrap_or_default().to_owned();
        is_program(&name).then_some(name)
    };
    let found = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| Some((at, name(word)?)));
    let (at, program) = found.ok_or(ReadError::NoCommand)?;
    let options = words.split_off(at + 1);
    words.pop();
    words.extend(rest);
    Ok(Description::of(format, Some(program), words, options))
}

/// Tells whether a line of a configuration file says nothing.
fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}
