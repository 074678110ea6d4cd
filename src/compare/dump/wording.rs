//! The sentences of findings, and the shapes and lines that go with them.
//!
//! A message says what the two builds put on the wire here; what follows from it and what to do is
//! the rule's, in the catalogue.

use rustc_hash::FxHashSet;

use crate::model::Direction;
use crate::model::Rule;
use crate::model::Side as Build;
use crate::report::{Changed, Shape};
use crate::vmstate::dump::Description;
use crate::vmstate::layout::{Interner, Item, Kind};

/// How many names a sentence lists before it counts the rest.
const NAMES: usize = 4;

/// The items of one change, with what is needed to word it.
pub(crate) struct Spot<'s, 'd> {
    pub interner: &'s Interner<'d>,
    pub direction: Direction,
    pub old: &'s [&'s Item<'d>],
    pub new: &'s [&'s Item<'d>],
}

impl<'d> Spot<'_, 'd> {
    /// Field names from the description at hand down to the first item.
    pub fn path(&self) -> Vec<String> {
        let first = self.old.first().or(self.new.first());
        first.map_or_else(Vec::new, |item| {
            let names = self.interner.names_of(item.place);
            names.into_iter().map(str::to_owned).collect()
        })
    }

    /// The same in every section that embeds the description in which the change was made.
    pub fn cause(&self, rule: Rule) -> String {
        let side = |items: &[&Item]| -> Vec<String> {
            items
                .iter()
                .map(|i| format!("{}/{} {} {:?}", i.description, i.name, i.size, i.num))
                .collect()
        };
        format!("{rule} {:?} {:?}", side(self.old), side(self.new))
    }

    /// What changed, as the lists name it. Items pair up where both sides have as many.
    pub fn items(&self, rule: Rule) -> Vec<Changed> {
        let name = |item: &&Item| {
            let name = match rule {
                Rule::DescriptionRenamed => item.description,
                _ => item.name,
            };
            Some(name.to_owned())
        };
        let paired = self.old.len() == self.new.len();
        let longer = self.old.len().max(self.new.len());
        let of = |items: &[&Item], at: usize| items.get(at).and_then(name);
        let around = |items: &[&Item], at: usize| items.get(at).map(|i| i.description.to_owned());
        let mut items: Vec<Changed> = (0..longer)
            .map(|at| Changed {
                description: around(self.new, at)
                    .or_else(|| around(self.old, at))
                    .unwrap_or_default(),
                old: of(self.old, at).filter(|_| paired || self.new.is_empty()),
                new: of(self.new, at).filter(|_| paired || self.old.is_empty()),
                known: false,
            })
            .collect();
        items.dedup();
        items
    }

    pub fn shape(&self, build: Build) -> Option<Shape> {
        let items = if build == Build::Old {
            self.old
        } else {
            self.new
        };
        match items {
            [] => None,
            [item] => Some(Shape {
                name: (item.name != self.path().last().map_or("", String::as_str))
                    .then(|| item.name.to_owned()),
                size: (!item.is_subsection()).then_some(item.size),
                num: item.num,
                conditional: item.conditional && !item.is_subsection(),
                version_id: match item.kind {
                    Kind::Subsection(description) => Some(description.version_id),
                    _ => (item.gate != 0).then_some(item.gate),
                },
                ..Shape::default()
            }),
            items => Some(Shape {
                fields: items
                    .iter()
                    .map(|i| layout_line(self.interner, i))
                    .collect(),
                ..Shape::default()
            }),
        }
    }

    pub fn message(&self, rule: Rule, known: Option<&str>) -> String {
        let (source, destination) = self.direction.source_destination("old", "new");
        let (old, new) = (list(self.old), list(self.new));
        let text = match rule {
            Rule::FieldAdded | Rule::FieldRemoved => {
                let (owner, items) = self.owned();
                let what = format!("{} ({})", list(items), bytes(items));
                if owner == source {
                    format!("{source} sends {what}, which {destination} does not read")
                } else {
                    format!("{destination} reads {what}, which {source} never sends")
                }
            }
            Rule::ConditionalFieldAdded | Rule::ConditionalFieldRemoved => {
                let (owner, items) = self.owned();
                let (what, these) = (
                    list(items),
                    plural(items, "its test says", "their tests say"),
                );
                if owner == source {
                    format!("{source} sends {what} when {these} so, {destination} does not read it")
                } else {
                    format!("{destination} reads {what} when {these} so, {source} never sends it")
                }
            }
            Rule::FieldResized => format!(
                "{old} is {} in old and {} in new",
                bytes(self.old),
                bytes(self.new)
            ),
            Rule::ArrayResized => format!(
                "{old} has {} in old and {} in new",
                elements(self.old),
                elements(self.new)
            ),
            Rule::FieldsSwapped => {
                format!("{old} stands at another place in new, so other fields get its bytes")
            }
            Rule::FieldsRecut => format!(
                "old cuts the same {} into {}, new into {}",
                bytes(self.old),
                widths(self.old),
                widths(self.new)
            ),
            Rule::GateExcludesField => self.gate_message(source, destination),
            Rule::FieldRenamed => match known {
                Some(_) => format!("{old} is called {new} in new"),
                None => format!("{}; the bytes are the same", self.renames()),
            },
            Rule::FieldRegrouped => {
                format!("{old} is grouped differently in new; the bytes are the same")
            }
            Rule::FieldPadded => {
                if self.new.iter().all(|item| item.is_filler()) {
                    format!(
                        "{old} ({}) became padding of the same size",
                        bytes(self.old)
                    )
                } else {
                    format!("{new} ({}) took the place of padding", bytes(self.new))
                }
            }
            Rule::VersionGateChanged => {
                let (a, b) = (self.old.first(), self.new.first());
                format!(
                    "the version gate of {old} went from {} to {}; both builds have it at the version sent",
                    a.map_or(0, |i| i.gate),
                    b.map_or(0, |i| i.gate)
                )
            }
            Rule::TypeSizeOnly => format!(
                "{old} takes {} bytes of memory in old and {} in new, as a timer does that is now \
                 embedded or now a pointer; a timer is 8 bytes on the wire",
                self.old.first().map_or(0, |i| i.size),
                self.new.first().map_or(0, |i| i.size)
            ),
            Rule::SizeUndecided => format!(
                "{old} has the size {} in old and {} in new; a dump does not say what that is on the wire",
                self.old.first().map_or(0, |i| i.size),
                self.new.first().map_or(0, |i| i.size)
            ),
            Rule::ArrayLengthUnstated => {
                let unstated = if self.old.iter().any(|i| i.num.is_none() && i.size > 0)
                    && !self.new.iter().all(|i| i.num.is_none())
                    || self.old.iter().any(|i| i.loose)
                {
                    "old"
                } else {
                    "new"
                };
                let now = if old == new { "it".to_owned() } else { new };
                format!(
                    "{unstated} does not say how many elements {old} has; {now} agrees only if the \
                     lengths do ({} against {})",
                    widths(self.old),
                    widths(self.new)
                )
            }
            Rule::OpaqueFieldChanged => match (self.old.is_empty(), self.new.is_empty()) {
                (false, false) => {
                    format!("{old} is {new} in new; a dump does not say how wide they are")
                }
                (true, _) => format!("{new} is new; a dump does not say how wide it is"),
                (_, true) => format!("{old} is gone; a dump does not say how wide it was"),
            },
            Rule::DescriptionRenamed => format!(
                "the description of the structure around {old} is called `{}` in old and `{}` in new; \
                 the name of a nested description is not on the wire",
                self.old.first().map_or("", |i| i.description),
                self.new.first().map_or("", |i| i.description)
            ),
            Rule::ConditionAdded => format!(
                "old always has {old}, new decides at run time{}",
                renamed_to(&old, &new)
            ),
            Rule::ConditionRemoved => format!(
                "old decides at run time whether it has {old}, new always has it{}",
                renamed_to(&old, &new)
            ),
            Rule::ConditionalFieldChanged => {
                if old == new && widths(self.old) == widths(self.new) {
                    format!("{old}, sent when a test says so, stands at another place in new")
                } else {
                    format!(
                        "{old} ({}), sent when a test says so, is {new} ({}) in new; whether the tests \
                         agree a dump does not say",
                        widths(self.old),
                        widths(self.new)
                    )
                }
            }
            Rule::SubsectionUnknown => format!(
                "{source} may send the subsection {}, which {destination} does not know",
                list(self.owned().1)
            ),
            Rule::SubsectionMoved => {
                format!("the subsection {old} is sent at another place in new")
            }
            // Said of sections and subsections, not of items.
            _ => rule.entry().name.clone(),
        };
        match known {
            Some(reason) => format!("{text}: {reason}"),
            None => text,
        }
    }

    /// Whose items these are, where only one build has them.
    fn owned(&self) -> (&'static str, &[&Item<'d>]) {
        if self.old.is_empty() {
            ("new", self.new)
        } else {
            ("old", self.old)
        }
    }

    fn gate_message(&self, source: &str, destination: &str) -> String {
        let (Some(old), Some(new)) = (self.old.first(), self.new.first()) else {
            return Rule::GateExcludesField.entry().name.clone();
        };
        let gate = |item: &Item| match (item.conditional, item.gate) {
            (true, _) => "a run-time test".to_owned(),
            (_, 0) => "no gate".to_owned(),
            (_, gate) => format!("gate {gate}"),
        };
        let (sent, _) = self.direction.source_destination(old.present, new.present);
        let outcome = if sent {
            format!("{source} sends it and {destination} does not read it")
        } else {
            format!("{source} does not send it and {destination} reads it")
        };
        format!(
            "`{}` has {} in old and {} in new: at the version sent, {outcome}",
            old.name,
            gate(old),
            gate(new)
        )
    }

    /// Which names became which, each pair once; the first few, and how many more.
    fn renames(&self) -> String {
        let mut seen = FxHashSet::default();
        let mut pairs: Vec<String> = Vec::new();
        for (old, new) in self.old.iter().zip(self.new) {
            let (mut a, mut b) = (
                self.interner.names_of(old.place),
                self.interner.names_of(new.place),
            );
            while a.len() > 1 && b.len() > 1 && a.last() == b.last() {
                a.pop();
                b.pop();
            }
            let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            let same = same.min(a.len() - 1).min(b.len() - 1);
            let (a, b) = (a.split_off(same), b.split_off(same));
            if seen.insert((a.clone(), b.clone())) && pairs.len() < NAMES {
                pairs.push(format!(
                    "`{}` is called `{}` in new",
                    a.join("/"),
                    b.join("/")
                ));
            }
        }
        let more = seen.len() - pairs.len();
        let mut text = pairs.join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }
}

fn renamed_to(old: &str, new: &str) -> String {
    if old == new {
        String::new()
    } else {
        format!(" and calls it {new}")
    }
}

fn plural<'t>(items: &[&Item], one: &'t str, many: &'t str) -> &'t str {
    if items.len() == 1 { one } else { many }
}

/// `` `a`, `b` and 3 more``
fn list(items: &[&Item]) -> String {
    let shown = if items.len() > NAMES + 1 {
        NAMES
    } else {
        items.len()
    };
    let names: Vec<String> = items[..shown]
        .iter()
        .map(|i| format!("`{}`", i.name))
        .collect();
    match (names.split_last(), items.len() - shown) {
        (Some((last, [])), 0) => last.clone(),
        (Some((last, rest)), 0) => format!("{} and {last}", rest.join(", ")),
        (_, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Bytes on the wire in words, as far as the dump tells.
fn bytes(items: &[&Item]) -> String {
    let total = items
        .iter()
        .fold(0u64, |sum, i| sum.saturating_add(i.bytes()));
    let unit = if total == 1 { "byte" } else { "bytes" };
    if items
        .iter()
        .any(|i| i.loose && matches!(i.kind, Kind::Field))
    {
        format!("{total} {unit} an element")
    } else {
        format!("{total} {unit}")
    }
}

fn elements(items: &[&Item]) -> String {
    match items.first().map(|i| (i.num, i.loose)) {
        Some((Some(num), _)) => format!("{num} elements"),
        Some((None, false)) => "one element".to_owned(),
        _ => "an unknown number of elements".to_owned(),
    }
}

/// `4 + 4`, `2×10`
fn widths(items: &[&Item]) -> String {
    let each: Vec<String> = items.iter().map(|i| width(i)).collect();
    each.join(" + ")
}

fn width(item: &Item) -> String {
    match (&item.kind, item.num) {
        (Kind::Array(_), Some(num)) => format!("[{num}]"),
        (Kind::Field, None) if item.size == 0 => "?".to_owned(),
        (_, Some(num)) => format!("{}×{num}", item.size),
        (_, None) if item.loose => format!("{}×?", item.size),
        (_, None) => item.size.to_string(),
    }
}

/// One line of a layout for people: where, how wide, on what it depends.
pub(crate) fn layout_line(interner: &Interner, item: &Item) -> String {
    let name = interner.names_of(item.place).join("/");
    if let Kind::Subsection(description) = item.kind {
        return format!("{name}  subsection v{}", description.version_id);
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

pub(crate) fn lone_type(type_name: &str, rule: Rule) -> String {
    if rule == Rule::SectionRemoved {
        format!("new has no device type `{type_name}`: a guest that has one cannot start there")
    } else {
        format!("old has no device type `{type_name}`: a guest that has one cannot start there")
    }
}

pub(crate) fn type_renamed(old: &str, new: &str, vmsd: &str, known: Option<&str>) -> String {
    let text = format!(
        "the device type `{old}` is called `{new}` in new; the wire says `{vmsd}`, as before"
    );
    match known {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

pub(crate) fn vmsd_renamed(old: &str, new: &str, direction: Direction) -> String {
    let (_, destination) = direction.source_destination("old", "new");
    format!(
        "old sends a section `{old}`, new one called `{new}`: {destination} does not know the name it gets"
    )
}

pub(crate) fn unmigratable(without: Build, direction: Direction) -> String {
    let (who, other) = if without == Build::Old {
        ("old", "new")
    } else {
        ("new", "old")
    };
    let (source, _) = direction.source_destination("old", "new");
    let verb = if who == source { "send" } else { "load" };
    format!(
        "{who} has no field table for this device, so it cannot {verb} it; {other} can migrate it"
    )
}

pub(crate) fn refused(
    rule: Rule,
    direction: Direction,
    source: &Description,
    destination: &Description,
) -> String {
    let (from, to) = direction.source_destination("old", "new");
    if rule == Rule::VersionTooNew {
        format!(
            "{from} sends version {}, {to} knows up to version {}",
            source.version_id, destination.version_id
        )
    } else {
        format!(
            "{from} sends version {}, {to} wants version {} at least",
            source.version_id, destination.minimum_version_id
        )
    }
}

pub(crate) fn subsection_refused(
    direction: Direction,
    source: &Description,
    destination: &Description,
) -> String {
    let (from, to) = direction.source_destination("old", "new");
    format!(
        "{from} sends the subsection `{}` at version {}, {to} takes versions {} to {}",
        source.name, source.version_id, destination.minimum_version_id, destination.version_id
    )
}

pub(crate) fn minimum_changed(old: &Description, new: &Description) -> String {
    format!(
        "the oldest version accepted went from {} to {}; both builds send version {}",
        old.minimum_version_id, new.minimum_version_id, old.version_id
    )
}

pub(crate) fn unreachable(direction: Direction, subsection: &str, description: &str) -> String {
    let (_, to) = direction.source_destination("old", "new");
    format!(
        "{to} lists the subsection `{subsection}` under `{description}`, but takes only names that \
         begin with that"
    )
}
