//! What a description puts on the wire: a flat sequence of items in the order they are sent.
//!
//! Structure boundaries are not on the wire, so they are dissolved here; version gates are decided;
//! fields behind a run-time test are marked. Arrays of structures stay one item with their own
//! sequence inside, since their elements lie back to back.

use rustc_hash::FxHashMap;

use crate::vmstate::dump::{Description, Field};

/// An interned name, path or label.
pub(crate) type Id = u32;

/// One thing on the wire.
#[derive(Debug)]
pub(crate) struct Item<'d> {
    /// Where the dump has it, for people.
    pub place: Id,
    /// Where the dump has it, regardless of how C structures group it: `core.itr` and `core` › `itr`
    /// are one path.
    pub path: Id,
    /// The last part of [`Item::path`].
    pub leaf: Id,
    pub name: &'d str,
    /// The innermost description around it.
    pub description: &'d str,
    pub size: u64,
    pub num: Option<u64>,
    /// A run-time test of the field or of a structure around it decides.
    pub conditional: bool,
    /// The version gates let it through.
    pub present: bool,
    pub gate: i64,
    /// The number of elements is not known: the dump prints none, here or for a structure around it.
    pub loose: bool,
    pub kind: Kind<'d>,
}

#[derive(Debug)]
pub(crate) enum Kind<'d> {
    Field,
    /// `VMSTATE_UNUSED`: bytes without a meaning.
    Filler,
    /// An array of structures of known length.
    Array(Vec<Item<'d>>),
    /// The place where the description's subsections follow.
    Subsection(&'d Description),
}

/// In-memory size of a `QEMUTimer`, which is 8 bytes on the wire (`include/qemu/timer.h`,
/// `vmstate_info_timer`). No buffer in QEMU 5.2 to 11.1 has this size.
pub(crate) const TIMER_SIZE: u64 = 48;

impl Item<'_> {
    pub fn is_filler(&self) -> bool {
        matches!(self.kind, Kind::Filler)
    }

    pub fn is_subsection(&self) -> bool {
        matches!(self.kind, Kind::Subsection(_))
    }

    /// The dump says nothing of its width: variable buffers, bitmaps and most custom kinds.
    pub fn is_opaque(&self) -> bool {
        self.size == 0 && matches!(self.kind, Kind::Field)
    }

    /// A single integer as far as the dump tells.
    pub fn is_integer(&self) -> bool {
        matches!(self.kind, Kind::Field) && matches!(self.size, 1 | 2 | 4 | 8)
    }

    /// Bytes on the wire when it is sent, as far as the dump tells. A loose count is taken as one.
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Array(inner) => {
                let element: u64 = inner
                    .iter()
                    .filter(|item| item.present && !item.conditional)
                    .map(Item::bytes)
                    .fold(0, u64::saturating_add);
                element.saturating_mul(self.num.unwrap_or(1))
            }
            Kind::Subsection(_) => 0,
            Kind::Field if self.size == TIMER_SIZE => self.num.unwrap_or(1).saturating_mul(8),
            _ => self.size.saturating_mul(self.num.unwrap_or(1)),
        }
    }

    /// Always sent, and something of it is on the wire.
    pub fn is_certain(&self) -> bool {
        self.present && !self.conditional && !self.is_subsection() && !self.is_opaque()
    }
}

/// Where an item stands in the dump.
#[derive(Debug, Clone, Copy)]
struct Place<'d> {
    parent: Option<Id>,
    name: &'d str,
}

/// Interns what the layouts of two descriptions have in common, so that items compare as numbers.
#[derive(Debug, Default)]
pub(crate) struct Interner<'d> {
    names: FxHashMap<&'d str, Id>,
    paths: FxHashMap<(Id, Id), Id>,
    places: Vec<Place<'d>>,
}

const ROOT: Id = 0;

impl<'d> Interner<'d> {
    fn name(&mut self, name: &'d str) -> Id {
        let next = self.names.len() as Id + 1;
        *self.names.entry(name).or_insert(next)
    }

    /// The path below `parent` of a field called `name`, which may be a C expression like
    /// `dev.core->itr`, and the path's last part.
    fn path(&mut self, parent: Id, name: &'d str) -> (Id, Id) {
        let mut path = parent;
        let mut leaf = ROOT;
        for part in name.split(['.', '>']) {
            let part = part.strip_suffix('-').unwrap_or(part);
            leaf = self.name(part);
            let next = self.paths.len() as Id + 1;
            path = *self.paths.entry((path, leaf)).or_insert(next);
        }
        (path, leaf)
    }

    fn place(&mut self, parent: Option<Id>, name: &'d str) -> Id {
        self.places.push(Place { parent, name });
        self.places.len() as Id - 1
    }

    /// Whether two items stand under the same names.
    pub fn same_names(&self, one: Id, other: Id) -> bool {
        let (mut one, mut other) = (Some(one), Some(other));
        loop {
            match (one, other) {
                (Some(a), Some(b)) => {
                    let (a, b) = (self.places[a as usize], self.places[b as usize]);
                    if a.name != b.name {
                        return false;
                    }
                    (one, other) = (a.parent, b.parent);
                }
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// How many structures deep an item stands, itself included.
    pub fn depth(&self, place: Id) -> usize {
        let mut depth = 0;
        let mut at = Some(place);
        while let Some(id) = at {
            depth += 1;
            at = self.places[id as usize].parent;
        }
        depth
    }

    /// Field names from the description's own fields down to the item.
    pub fn names_of(&self, place: Id) -> Vec<&'d str> {
        let mut names = Vec::new();
        let mut at = Some(place);
        while let Some(Place { parent, name }) = at.map(|id| self.places[id as usize]) {
            names.push(name);
            at = parent;
        }
        names.reverse();
        names
    }
}

/// Lays out one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'d> {
    pub description: &'d Description,
    /// The version that the section's or subsection's header carries: the source's own.
    pub header_version: i64,
    /// The build prints array lengths.
    pub states_lengths: bool,
    /// The other build's description, from which array lengths are taken where this one prints none.
    pub counterpart: Option<&'d Description>,
}

pub(crate) fn lay_out<'d>(interner: &mut Interner<'d>, side: Side<'d>) -> Vec<Item<'d>> {
    let mut items = Vec::new();
    let mut walk = Walk {
        interner,
        states_lengths: side.states_lengths,
    };
    let around = Around {
        place: None,
        path: ROOT,
        conditional: false,
        present: true,
        loose: false,
    };
    walk.description(
        side.description,
        side.header_version,
        side.counterpart,
        around,
        &mut items,
    );
    items
}

/// What the structures around a field say of it.
#[derive(Debug, Clone, Copy)]
struct Around {
    place: Option<Id>,
    path: Id,
    conditional: bool,
    present: bool,
    loose: bool,
}

struct Walk<'i, 'd> {
    interner: &'i mut Interner<'d>,
    states_lengths: bool,
}

impl<'d> Walk<'_, 'd> {
    fn description(
        &mut self,
        description: &'d Description,
        version: i64,
        counterpart: Option<&'d Description>,
        around: Around,
        items: &mut Vec<Item<'d>>,
    ) {
        let counterpart = counterpart.map(ByName::new);
        let mut seen = FxHashMap::default();
        for field in description.fields() {
            let twin = counterpart.as_ref().and_then(|fields| {
                let nth = seen.entry(field.name.as_str()).or_insert(0usize);
                *nth += 1;
                fields.get(&field.name, *nth - 1)
            });
            self.field(description, field, version, twin, around, items);
        }
        // A loader finds subsections by name, so their order among themselves says nothing.
        let mut subsections: Vec<_> = description.subsections.iter().collect();
        subsections.sort_by_key(|subsection| subsection.name.as_str());
        for subsection in subsections {
            let place = self.interner.place(around.place, &subsection.name);
            let (path, leaf) = self.interner.path(ROOT, &subsection.name);
            items.push(Item {
                place,
                path,
                leaf,
                name: &subsection.name,
                description: &description.name,
                size: 0,
                num: None,
                conditional: true,
                present: around.present,
                gate: 0,
                loose: around.loose,
                kind: Kind::Subsection(subsection),
            });
        }
    }

    fn field(
        &mut self,
        description: &'d Description,
        field: &'d Field,
        version: i64,
        twin: Option<&'d Field>,
        around: Around,
        items: &mut Vec<Item<'d>>,
    ) {
        if field.num == Some(0) {
            return;
        }
        let place = self.interner.place(around.place, &field.name);
        let (path, leaf) = self.interner.path(around.path, &field.name);
        // Where there is a test, the gate is not looked at: vmstate_field_exists().
        let conditional = around.conditional || field.conditional;
        let present = around.present && (field.conditional || field.version_id <= version);
        let num = match field.num {
            None if !self.states_lengths => twin.and_then(|twin| twin.num),
            stated => stated,
        };
        // A length of one and no length at all are the same bytes.
        let num = num.filter(|&n| n != 1);
        let loose = around.loose || (num.is_none() && !self.states_lengths);
        let mut item = Item {
            place,
            path,
            leaf,
            name: &field.name,
            description: &description.name,
            size: field.size,
            num,
            conditional,
            present,
            gate: if field.conditional {
                0
            } else {
                field.version_id
            },
            loose,
            kind: Kind::Field,
        };
        let Some(inner) = field.description.as_deref() else {
            if field.name == "unused" {
                item.kind = Kind::Filler;
                item.loose = false;
            }
            items.push(item);
            return;
        };
        let mut inside = Around {
            place: Some(place),
            path,
            conditional,
            present,
            loose,
        };
        let twin = twin.and_then(|twin| twin.description.as_deref());
        if num.is_none() {
            // A nested version is not on the wire: each side decides with its own.
            self.description(inner, inner.version_id, twin, inside, items);
        } else {
            inside.conditional = false;
            let mut element = Vec::new();
            self.description(inner, inner.version_id, twin, inside, &mut element);
            item.kind = Kind::Array(element);
            items.push(item);
        }
    }
}

/// Fields of a description by name and occurrence.
struct ByName<'d>(FxHashMap<&'d str, Vec<&'d Field>>);

impl<'d> ByName<'d> {
    fn new(description: &'d Description) -> Self {
        let mut by_name: FxHashMap<&str, Vec<&Field>> = FxHashMap::default();
        for field in description.fields() {
            by_name.entry(&field.name).or_default().push(field);
        }
        ByName(by_name)
    }

    fn get(&self, name: &str, nth: usize) -> Option<&'d Field> {
        self.0.get(name)?.get(nth).copied()
    }
}
