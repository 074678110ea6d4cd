//! The layout of a section as a dump describes it.
//!
//! Structure boundaries are not on the wire, so they are dissolved here; version gates are decided;
//! fields behind a run-time test are marked. Arrays of structures stay one item with their own
//! sequence inside, since their elements lie back to back.

use rustc_hash::FxHashMap;

use crate::compare::layout::interner::{Id, Interner, ROOT};
use crate::compare::layout::item::{Item, Kind, SizeIs};
use crate::compare::layout::{Dumped, Layout};
use crate::vmstate::dump::{Vmsd, VmsdField};

/// Lays out what a build sends or reads behind a header of a version, which is the source's own.
/// Lengths of arrays that its dump does not state are taken from the `counterpart` in the other
/// build's.
pub(crate) fn items<'d>(
    interner: &mut Interner<'d>,
    dumped: Dumped<'d>,
    header_version: i64,
    counterpart: Option<&'d Vmsd>,
) -> Vec<Item<'d>> {
    let mut items = Vec::new();
    let mut walk = Walk {
        interner,
        states_lengths: dumped.states_lengths,
    };
    let around = Around {
        place: None,
        path: ROOT,
        conditional: false,
        present: true,
        loose: false,
    };
    walk.description(dumped.vmsd, header_version, counterpart, around, &mut items);
    items
}

/// The structures around a field, and what follows from them.
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
        description: &'d Vmsd,
        version: i64,
        counterpart: Option<&'d Vmsd>,
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
        // A loader finds subsections by name, so their order among themselves says nothing. Of several
        // that have one name it takes the first.
        let mut subsections: Vec<_> = description.subsections.iter().collect();
        subsections.sort_by_key(|subsection| subsection.name.as_str());
        subsections.dedup_by_key(|subsection| subsection.name.as_str());
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
                size_is: SizeIs::InMemory,
                num: None,
                conditional: true,
                present: around.present,
                gate: 0,
                loose: around.loose,
                kind: Kind::Subsection(Layout::Dumped(Dumped {
                    vmsd: subsection,
                    states_lengths: self.states_lengths,
                })),
            });
        }
    }

    fn field(
        &mut self,
        description: &'d Vmsd,
        field: &'d VmsdField,
        version: i64,
        twin: Option<&'d VmsdField>,
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
            size_is: SizeIs::InMemory,
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
                item.kind = Kind::Padding;
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
struct ByName<'d>(FxHashMap<&'d str, Vec<&'d VmsdField>>);

impl<'d> ByName<'d> {
    fn new(description: &'d Vmsd) -> Self {
        let mut by_name: FxHashMap<&str, Vec<&VmsdField>> = FxHashMap::default();
        for field in description.fields() {
            by_name.entry(&field.name).or_default().push(field);
        }
        ByName(by_name)
    }

    fn get(&self, name: &str, nth: usize) -> Option<&'d VmsdField> {
        self.0.get(name)?.get(nth).copied()
    }
}
