//! The syntax of an option's argument, `type,name=value,...`, as QemuOpts reads it (util/qemu-option.c).

/// Splits an argument at its commas; a doubled comma is a comma.
pub(crate) fn split_option(argument: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = argument.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items
}

/// Returns a value, for instance a path, as it stands in an argument: a comma is written twice.
pub(crate) fn option_value(value: &str) -> String {
    value.replace(',', ",,")
}

/// Returns the settings behind the first word of a value, if that is this one, with its key or without.
pub(crate) fn settings<'a>(
    arg: &'a str,
    key: &str,
    first: &str,
) -> Option<impl Iterator<Item = (&'a str, &'a str)>> {
    let mut words = arg.split(',');
    let word = words.next()?;
    let value = word
        .strip_prefix(key)
        .and_then(|rest| rest.strip_prefix('='));
    (value.unwrap_or(word) == first).then(|| words.filter_map(|word| word.split_once('=')))
}

/// Tells whether QEMU takes this as an `id=`.
pub(crate) fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// Quotes one word for a shell.
pub(crate) fn quote(word: &str) -> String {
    // The one thing that cannot be quoted is a NUL, which no argument can hold either.
    shlex::try_quote(word).map_or_else(|_| word.replace('\0', ""), String::from)
}
