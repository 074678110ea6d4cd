//! Numbers of things, for people.

use std::fmt::Display;

/// Returns a number of things: `1 error`, `2 errors`.
pub(crate) fn count<N: Display + From<u8> + PartialEq>(number: N, what: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{s}")
}

/// Lists the first ones of several, and how many more there are.
pub(crate) fn first_few(all: impl IntoIterator<Item: Display>, most: usize) -> String {
    let mut all = all.into_iter().map(|one| one.to_string());
    let named: Vec<String> = all.by_ref().take(most).collect();
    let named = named.join(", ");
    match all.count() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
