//! The items of one change: their places, their form on either side, and the key by which the same
//! change is found in other sections.

use crate::compare::layout::{Id, Interner, Item, Kind};
use crate::compare::sections::terms::{Wording, layout_line};
use crate::model::Rule;
use crate::model::Side as Build;
use crate::report::{ChangeKey, Changed, FieldKey, Shape};

/// The items of one change, with what is needed to word it.
pub(crate) struct Spot<'s, 'd> {
    pub interner: &'s Interner<'d>,
    pub wording: Wording,
    pub old: &'s [&'s Item<'d>],
    pub new: &'s [&'s Item<'d>],
    /// The places of the arrays around them.
    pub arrays: Option<(Id, Id)>,
    /// More than names changed.
    pub altered: bool,
    /// The old and the new ones stand at different places.
    pub moved: bool,
}

impl<'d> Spot<'_, 'd> {
    /// Returns the field names from the description at hand down to the first item.
    pub(super) fn path(&self) -> Vec<String> {
        let first = self.old.first().or(self.new.first());
        first.map_or_else(Vec::new, |item| self.names(item))
    }

    fn names(&self, item: &Item<'d>) -> Vec<String> {
        let names = self.interner.names_of(item.place).into_iter();
        names.map(str::to_owned).collect()
    }

    /// Returns the fields that the destination reads where the source sends padding, if that is what changed.
    pub(super) fn read_from_padding(&self) -> Vec<&Item<'d>> {
        let (_, read) = self
            .wording
            .direction
            .source_destination(self.old, self.new);
        read.iter().copied().filter(|i| !i.is_padding()).collect()
    }

    /// Returns the key that is equal in every section that embeds the description in which the
    /// change was made.
    pub(super) fn change(&self) -> ChangeKey {
        let side = |items: &[&Item]| {
            let key = |item: &&Item| FieldKey {
                description: item.description.to_owned(),
                name: item.name.to_owned(),
                size: item.size,
                num: item.num,
            };
            items.iter().map(key).collect()
        };
        ChangeKey::Fields {
            old: side(self.old),
            new: side(self.new),
        }
    }

    /// Returns what changed, as the lists name it. Items pair up where both sides have as many. `scope` is the path down to
    /// the description at hand.
    pub(super) fn items(&self, rule: Rule, known: bool, scope: &[String]) -> Vec<Changed> {
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
        let mut items: Vec<Changed> = (0..longer)
            .filter_map(|at| Some((at, *self.new.get(at).or(self.old.get(at))?)))
            .map(|(at, item)| Changed {
                description: item.description.to_owned(),
                path: [scope, &self.names(item)].concat(),
                old: of(self.old, at).filter(|_| paired || self.new.is_empty()),
                new: of(self.new, at).filter(|_| paired || self.old.is_empty()),
                known,
                moved: self.moved,
            })
            .collect();
        items.dedup();
        items
    }

    pub(super) fn shape(&self, build: Build) -> Option<Shape> {
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
                    Kind::Subsection(layout) => Some(layout.version_id()),
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
}
