//! Several things in one text for people: how many, all of them, or the first ones.

use std::fmt::Display;

/// Returns a number of things: `1 error`, `2 errors`.
pub(crate) fn count<N: Display + From<u8> + PartialEq>(number: N, what: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{s}")
}

/// Joins several things by what stands between two of them.
pub(crate) fn joined(all: impl IntoIterator<Item: Display>, between: &str) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    all.join(between)
}

/// Lists the first ones of several, and how many more there are.
pub(crate) fn first_few(all: impl IntoIterator<Item: Display>, most: usize) -> String {
    let mut all = all.into_iter();
    let named = joined(all.by_ref().take(most), ", ");
    match all.count() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
