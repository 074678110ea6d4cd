//! The sentences of findings.
//!
//! A message says what the two builds put on the wire here; what follows from it and what to do is
//! the rule's, in the catalogue.

use rustc_hash::FxHashSet;

use crate::compare::layout::{Id, Item, Layout};
use crate::compare::sections::fit::{Widened, total};
use crate::compare::sections::spot::Spot;
use crate::compare::sections::terms::{NAMES, Wording, bytes, elements, list, plural, widths};
use crate::model::Rule;
use crate::model::Side as Build;

impl Wording {
    pub(crate) fn lone_type(self, type_name: &str, rule: Rule) -> String {
        let without = match rule {
            Rule::SectionRemoved => self.new,
            _ => self.old,
        };
        format!(
            "{without} describes no device type `{type_name}`: where it has none, a guest with one cannot start there"
        )
    }

    pub(crate) fn type_renamed(
        self,
        old: &str,
        new: &str,
        vmsd: &str,
        known: Option<&str>,
    ) -> String {
        let text = format!(
            "the device type `{old}` is called `{new}` in {}; the wire says `{vmsd}`, as before",
            self.new
        );
        with_reason(text, known)
    }

    pub(crate) fn vmsd_renamed(self, old: &str, new: &str) -> String {
        format!(
            "{} sends a section `{old}`, {} one called `{new}`: {} does not know the name it gets",
            self.old, self.new, self.destination
        )
    }

    pub(crate) fn unmigratable(self, without: Build) -> String {
        let (who, other) = match without {
            Build::Old => (self.old, self.new),
            _ => (self.new, self.old),
        };
        let verb = match self.is_source(without) {
            true => "send",
            false => "load",
        };
        format!(
            "{who} has no field table for this device, so it cannot {verb} it; {other} can migrate it"
        )
    }

    /// Says that the version in the header of a section is refused.
    pub(crate) fn refused(self, refusal: Refusal, source: Layout, destination: Layout) -> String {
        let (from, to, sent) = (self.source, self.destination, source.version_id());
        match refusal {
            Refusal::TooNew => {
                let most = destination.version_id();
                format!("{from} sends version {sent}, {to} knows up to version {most}")
            }
            Refusal::TooOld { minimum } => {
                format!("{from} sends version {sent}, {to} wants version {minimum} at least")
            }
        }
    }

    pub(crate) fn subsection_refused(self, source: Layout, destination: Layout) -> String {
        let (from, to, name) = (self.source, self.destination, source.name());
        let (sent, own) = (source.version_id(), destination.version_id());
        match destination.minimum_version_id() {
            Some(minimum) => format!(
                "{from} sends the subsection `{name}` at version {sent}, {to} takes versions {minimum} \
                 to {own}"
            ),
            None => format!(
                "{from} sends the subsection {name} at version {sent}, {to} is at version {own}"
            ),
        }
    }

    pub(crate) fn minimum_changed(old: i64, new: i64, version: i64) -> String {
        format!(
            "the oldest version accepted went from {old} to {new}; both builds send version {version}"
        )
    }

    pub(crate) fn unreachable(self, subsection: &str, description: &str) -> String {
        format!(
            "{} lists the subsection `{subsection}` under `{description}`, but takes only longer \
             names that begin with that",
            self.destination
        )
    }
}

/// The reason why a loader refuses the version in a header at once (`vmstate_load_state()`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooNew,
    TooOld { minimum: i64 },
}

impl Refusal {
    pub(crate) fn of(source: Layout, destination: Layout) -> Option<Refusal> {
        let sent = source.version_id();
        if sent > destination.version_id() {
            return Some(Refusal::TooNew);
        }
        let minimum = destination.minimum_version_id();
        let minimum = minimum.filter(|&minimum| sent < minimum)?;
        Some(Refusal::TooOld { minimum })
    }

    pub(crate) fn rule(self) -> Rule {
        match self {
            Refusal::TooNew => Rule::VersionTooNew,
            Refusal::TooOld { .. } => Rule::VersionTooOld,
        }
    }
}

impl<'d> Spot<'_, 'd> {
    pub(super) fn message(&self, rule: Rule, known: Option<&str>) -> String {
        let (in_old, in_new) = (self.wording.old, self.wording.new);
        let (old, new) = (list(self.old), list(self.new));
        let size = |items: &[&Item]| items.first().map_or(0, |item| item.size);
        let text = match rule {
            Rule::FieldAdded | Rule::FieldRemoved => self.on_one_side(),
            Rule::ConditionalFieldAdded | Rule::ConditionalFieldRemoved => {
                self.on_one_side_when_tested()
            }
            Rule::FieldResized => format!(
                "{old} is {} in {in_old} and {} in {in_new}",
                bytes(self.old),
                bytes(self.new)
            ),
            Rule::ArrayResized => format!(
                "{old} has {} in {in_old} and {} in {in_new}",
                elements(self.old),
                elements(self.new)
            ),
            Rule::FieldsSwapped => {
                format!("{old} stands at another place in {in_new}, so other fields get its bytes")
            }
            Rule::FieldsRecut => match Widened::of(self.old, self.new) {
                Some(widened) => self.widened(&widened),
                None => format!(
                    "{in_old} cuts the same {} into {}, {in_new} into {}",
                    bytes(self.old),
                    widths(self.old),
                    widths(self.new)
                ),
            },
            Rule::GateExcludesField => self.gate_message(),
            Rule::FieldRenamed => match known {
                Some(_) => format!("{old} is called {new} in {in_new}"),
                None => format!("{}{}", self.renames(), self.what_of_the_bytes()),
            },
            Rule::FieldRegrouped => format!(
                "{old} {} grouped differently in {in_new}{}",
                plural(self.old, "is", "are"),
                self.what_of_the_bytes()
            ),
            Rule::FieldPadded => self.padded(),
            Rule::VersionGateChanged => {
                let gate = |items: &[&Item]| items.first().map_or(0, |item| item.gate);
                format!(
                    "the version gate of {old} went from {} to {}; both builds have it at the version sent",
                    gate(self.old),
                    gate(self.new)
                )
            }
            Rule::TypeSizeOnly => format!(
                "{old} takes {} bytes of memory in {in_old} and {} in {in_new}, as a timer does that is now \
                 embedded or now a pointer; a timer is 8 bytes on the wire",
                size(self.old),
                size(self.new)
            ),
            Rule::SizeUndecided => format!(
                "{old} has the size {} in {in_old} and {} in {in_new}; a dump does not say what that is on the wire",
                size(self.old),
                size(self.new)
            ),
            Rule::ArrayLengthUnstated => self.of_unstated_length(),
            Rule::OpaqueFieldChanged => self.of_unknown_width(),
            Rule::DescriptionRenamed => {
                let name = |items: &[&Item<'d>]| items.first().map_or("", |item| item.description);
                format!(
                    "the description of the structure around {old} is called `{}` in {in_old} and `{}` in {in_new}; \
                     the name of a nested description is not on the wire",
                    name(self.old),
                    name(self.new)
                )
            }
            Rule::ConditionAdded => format!(
                "{in_old} always has {old}, {in_new} decides at run time{}",
                renamed_to(&old, &new)
            ),
            Rule::ConditionRemoved => format!(
                "{in_old} decides at run time whether it has {old}, {in_new} always has it{}",
                renamed_to(&old, &new)
            ),
            Rule::ConditionalFieldChanged => self.tested_otherwise(),
            Rule::SubsectionUnknown => format!(
                "{} may send the subsection {}, which {} does not know there",
                self.wording.source,
                list(self.owned().1),
                self.wording.destination
            ),
            Rule::SubsectionMoved => {
                format!("the subsection {old} is sent at another place in {in_new}")
            }
            // Those of sections and subsections have no items.
            _ => rule.entry().name.clone(),
        };
        with_reason(text, known)
    }

    /// Says who sends or reads fields that the other build does not have.
    fn on_one_side(&self) -> String {
        let (source, destination) = (self.wording.source, self.wording.destination);
        let (owner, items) = self.owned();
        let what = format!("{} ({})", list(items), bytes(items));
        match self.wording.is_source(owner) {
            true => format!("{source} sends {what}, which {destination} does not read"),
            false => format!("{destination} reads {what}, which {source} never sends"),
        }
    }

    /// Says the same of fields that are sent when a test says so.
    fn on_one_side_when_tested(&self) -> String {
        let (source, destination) = (self.wording.source, self.wording.destination);
        let (owner, items) = self.owned();
        let these = plural(items, "its test says", "their tests say");
        let what = format!("{} when {these} so", list(items));
        match self.wording.is_source(owner) {
            true => format!("{source} sends {what}, {destination} does not read it"),
            false => format!("{destination} reads {what}, {source} never sends it"),
        }
    }

    /// Adds that the bytes stayed the same, where they did. Else the dumps do not say by how much they changed.
    fn what_of_the_bytes(&self) -> String {
        match (self.altered, self.is_as_wide()) {
            (true, _) => String::new(),
            (false, true) => "; the bytes are the same".to_owned(),
            (false, false) => format!("; {}", self.says_no_length()),
        }
    }

    fn is_as_wide(&self) -> bool {
        total(self.old) == total(self.new)
    }

    /// Says on what it hangs whether arrays are as long on both sides.
    fn of_unstated_length(&self) -> String {
        let (old, new) = (list(self.old), list(self.new));
        let other = match self.unstated() {
            _ if old == new => "it",
            Build::Old => &new,
            _ => &old,
        };
        format!(
            "{}; {other} agrees only if the lengths do ({} against {})",
            self.says_no_length(),
            widths(self.old),
            widths(self.new)
        )
    }

    /// Says which fields came in the place of padding, or padding in theirs.
    fn padded(&self) -> String {
        let (source, destination) = (self.wording.source, self.wording.destination);
        let (was, is) = (bytes(self.old), bytes(self.new));
        let is_as_wide = self.is_as_wide();
        let read = self.read_from_padding();
        let text = if !read.is_empty() {
            let arrive = plural(&read, "it arrives", "they arrive");
            format!(
                "{source} sends padding where {destination} reads {} ({}): {arrive} as zeros",
                list(&read),
                bytes(&read)
            )
        } else if !self.new.iter().all(|item| item.is_padding()) {
            format!("{} ({is}) took the place of padding", list(self.new))
        } else if is_as_wide {
            format!("{} ({was}) became padding of the same size", list(self.old))
        } else {
            format!("{} ({was}) became padding ({is})", list(self.old))
        };
        match is_as_wide {
            true => text,
            false => format!("{text}; {}", self.says_no_length()),
        }
    }

    /// Says what became of fields of which a dump does not say how wide they are.
    fn of_unknown_width(&self) -> String {
        let in_new = self.wording.new;
        let (old, new) = (list(self.old), list(self.new));
        if self.moved {
            return format!(
                "{old} stands at another place in {in_new}; a dump does not say how wide it is"
            );
        }
        match (self.old.is_empty(), self.new.is_empty()) {
            (false, false) => {
                let sides = self.old.iter().chain(self.new);
                let unknown: Vec<&Item> = sides.copied().filter(|i| i.is_opaque()).collect();
                let is = plural(self.old, "is", "are");
                let wide = plural(&unknown, "is", "are");
                let unknown = list(&unknown);
                format!(
                    "{old} {is} {new} in {in_new}; a dump does not say how wide {unknown} {wide}"
                )
            }
            (true, _) => format!("{new} is new; a dump does not say how wide it is"),
            (_, true) => format!("{old} is gone; a dump does not say how wide it was"),
        }
    }

    /// Says what became of fields that are sent when a test says so.
    fn tested_otherwise(&self) -> String {
        let (in_old, in_new) = (self.wording.old, self.wording.new);
        let (old, new) = (list(self.old), list(self.new));
        if self.moved {
            return format!("{old}, sent when a test says so, stands at another place in {in_new}");
        }
        if old == new && widths(self.old) == widths(self.new) {
            let (of_old, of_new) = self.arrays.unzip();
            return format!(
                "{old} {is} sent when {} so in {in_old} and when {} so in {in_new}: a dump does not say whether \
                 that is the same",
                self.tests(self.old, of_old),
                self.tests(self.new, of_new),
                is = plural(self.old, "is", "are"),
            );
        }
        format!(
            "{old} ({}), sent when a test says so, is {new} ({}) in {in_new}; a dump does not say whether the tests \
             agree",
            widths(self.old),
            widths(self.new)
        )
    }

    /// Returns the build that has these items, where only one has them.
    fn owned(&self) -> (Build, &[&Item<'d>]) {
        if self.old.is_empty() {
            (Build::New, self.new)
        } else {
            (Build::Old, self.old)
        }
    }

    /// Says what becomes of a number that took up padding, or left some.
    fn widened(&self, widened: &Widened) -> String {
        let (source, destination) = (self.wording.source, self.wording.destination);
        let (padding, narrow, wide) = (
            bytes(widened.padding),
            list(&[widened.narrow]),
            list(&[widened.wide]),
        );
        match self.wording.is_source(widened.in_build) {
            false => format!(
                "{source} sends {padding} of padding and {narrow} ({}) where {destination} reads {wide} ({}): it arrives \
                 as it is, unless it is negative",
                bytes(&[widened.narrow]),
                bytes(&[widened.wide])
            ),
            true => format!(
                "{source} sends {wide} ({}) where {destination} skips {padding} and reads {narrow} ({}): it arrives as \
                 it is, if it fits",
                bytes(&[widened.wide]),
                bytes(&[widened.narrow])
            ),
        }
    }

    /// Returns the build of which the dump does not say how many elements there are.
    fn unstated(&self) -> Build {
        let is_guessed = |items: &[&Item]| items.iter().any(|i| i.loose || i.is_number_borrowed());
        let is_silent = |items: &[&Item]| items.iter().any(|i| !i.counted && i.size > 0);
        match is_guessed(self.old) || !is_guessed(self.new) && is_silent(self.old) {
            true => Build::Old,
            false => Build::New,
        }
    }

    fn says_no_length(&self) -> String {
        let (build, items) = match self.unstated() {
            Build::Old => (self.wording.old, self.old),
            _ => (self.wording.new, self.new),
        };
        let (names, have) = (list(items), plural(items, "has", "have"));
        format!("{build} does not say how many elements {names} {have}")
    }

    fn gate_message(&self) -> String {
        let Wording {
            old: in_old,
            new: in_new,
            source,
            destination,
            ..
        } = self.wording;
        let (Some(old), Some(new)) = (self.old.first(), self.new.first()) else {
            return Rule::GateExcludesField.entry().name.clone();
        };
        let gate = |item: &Item| match (item.conditional, item.gate) {
            (true, 0) => "a run-time test".to_owned(),
            (false, 0) => "no gate".to_owned(),
            (_, gate) => format!("gate {gate}"),
        };
        let (sent, _) = self
            .wording
            .direction
            .source_destination(old.present, new.present);
        let outcome = if sent {
            format!("{source} sends it and {destination} does not read it")
        } else {
            format!("{source} does not send it and {destination} reads it")
        };
        let (absent, without) = match old.present {
            true => (new, in_new),
            false => (old, in_old),
        };
        if let Some((structure, gate)) = self.interner.closed_around(absent.place) {
            return format!(
                "`{}` is in `{structure}`, which has gate {gate} in {without}: at the version sent, {outcome}",
                old.name
            );
        }
        format!(
            "`{}` has {} in {in_old} and {} in {in_new}: at the version sent, {outcome}",
            old.name,
            gate(old),
            gate(new)
        )
    }

    /// Says whose tests decide whether these are sent.
    fn tests(&self, items: &[&Item<'d>], array: Option<Id>) -> String {
        let of = |item: &Item| -> Vec<&str> { self.interner.tests_of(item.place, array).collect() };
        let mut of_each: Vec<Vec<&str>> = items.iter().map(|item| of(item)).collect();
        of_each.dedup();
        match of_each.as_mut_slice() {
            [tests] => {
                tests.reverse();
                let (test, says) = match tests.len() {
                    1 => ("test", "says"),
                    _ => ("tests", "say"),
                };
                format!("the {test} of `{}` {says}", tests.join("` and `"))
            }
            _ => "their tests say".to_owned(),
        }
    }

    /// Lists which names became which, each pair once; the first few, and how many more.
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
                    "`{}` is called `{}` in {}",
                    a.join("/"),
                    b.join("/"),
                    self.wording.new
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

/// Adds the reason why a change is known to do no harm.
fn with_reason(text: String, known: Option<&str>) -> String {
    match known {
        Some(reason) => format!("{text}: {reason}"),
        None => text,
    }
}

fn renamed_to(old: &str, new: &str) -> String {
    if old == new {
        String::new()
    } else {
        format!(" and calls it {new}")
    }
}
