//! Builds and items in words: their names, widths and lines.

use crate::compare::layout::{Interner, Item, Kind};
use crate::model::{Direction, Side as Build, count, first_few, joined};

/// Number of names that a sentence lists before it counts the rest.
pub(crate) const NAMES: usize = 4;

/// The names of the two builds in sentences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wording {
    pub direction: Direction,
    pub old: &'static str,
    pub new: &'static str,
    pub source: &'static str,
    pub destination: &'static str,
}

impl Wording {
    /// Calls them old and new, as a finding does.
    pub(crate) fn by_age(direction: Direction) -> Wording {
        let (source, destination) = direction.source_destination("old", "new");
        Wording {
            direction,
            old: "old",
            new: "new",
            source,
            destination,
        }
    }

    /// Calls them by their parts in a migration, as the cause of a case does.
    pub(crate) fn by_role(direction: Direction) -> Wording {
        let (source, destination) = ("the source", "the destination's build");
        let (old, new) = direction.source_destination(source, destination);
        Wording {
            direction,
            old,
            new,
            source,
            destination,
        }
    }

    pub(super) fn is_source(self, build: Build) -> bool {
        build == self.direction.source_destination(Build::Old, Build::New).0
    }
}

pub(crate) fn plural<'t>(items: &[&Item], one: &'t str, many: &'t str) -> &'t str {
    if items.len() == 1 { one } else { many }
}

/// `` `a`, `b` and 3 more``
pub(crate) fn list(items: &[&Item]) -> String {
    let names = items.iter().map(|i| format!("`{}`", i.name));
    if items.len() > NAMES + 1 {
        return first_few(names, NAMES);
    }
    let names: Vec<String> = names.collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Returns the bytes on the wire in words, as far as the dump shows.
pub(crate) fn bytes(items: &[&Item]) -> String {
    let total = items
        .iter()
        .fold(0u64, |sum, i| sum.saturating_add(i.bytes()));
    let total = count(total, "byte");
    let is_element = |item: &&Item| item.loose && matches!(item.kind, Kind::Field);
    match items.iter().any(is_element) {
        true => format!("{total} an element"),
        false => total,
    }
}

pub(crate) fn elements(items: &[&Item]) -> String {
    let is_one = |item: &Item| item.counted || !item.loose && matches!(item.kind, Kind::Field);
    match items.first() {
        Some(Item { num: Some(1), .. }) => "one element".to_owned(),
        Some(Item { num: Some(num), .. }) => format!("{num} elements"),
        Some(item) if is_one(item) => "one element".to_owned(),
        _ => "an unknown number of elements".to_owned(),
    }
}

/// `4 + 4`, `2×10`
pub(crate) fn widths(items: &[&Item]) -> String {
    joined(items.iter().map(|i| width(i)), " + ")
}

fn width(item: &Item) -> String {
    match (&item.kind, item.num) {
        (Kind::Array(_), Some(num)) => format!("[{num}]"),
        (Kind::Array(_), None) => "[?]".to_owned(),
        (Kind::Field, None) if item.size == 0 => "?".to_owned(),
        (_, Some(_)) if item.is_number_borrowed() => format!("{}×?", item.size),
        (_, Some(num)) => format!("{}×{num}", item.size),
        (_, None) if item.loose => format!("{}×?", item.size),
        (_, None) => item.size.to_string(),
    }
}

/// Returns one line of a layout for people: where, how wide, on what it depends.
pub(crate) fn layout_line(interner: &Interner, item: &Item) -> String {
    let name = interner.names_of(item.place).join("/");
    if let Kind::Subsection(layout) = item.kind {
        return format!("{name}  subsection v{}", layout.version_id());
    }
    let mut line = format!("{name}  {}", width(item));
    if item.conditional {
        line.push_str("  if");
    }
    if item.gate != 0 {
        line.push_str(&format!("  v{}+", item.gate));
    }
    line
}
