//! The layout of a section as a dump describes it.
//!
//! Structure boundaries are not on the wire, so they are dissolved here; version gates are decided;
//! fields behind a run-time test are marked. Arrays of structures stay one item with their own
//! sequence inside, since their elements lie back to back.

use rustc_hash::FxHashMap;

use crate::compare::layout::interner::{Id, Interner, Place, ROOT};
use crate::compare::layout::item::{Item, Kind, SizeIs, fits_integer, on_wire};
use crate::compare::layout::{Dumped, Layout};
use crate::vmstate::dump::{Vmsd, VmsdField};

/// Lays out what a build sends or reads behind a header of a version, which is the source's own.
/// What its dump does not state of arrays is taken from the `counterpart` in the other build's.
pub(crate) fn items<'d>(
    interner: &mut Interner<'d>,
    dumped: Dumped<'d>,
    header_version: i64,
    counterpart: Option<&'d Vmsd>,
) -> Vec<Item<'d>> {
    let (fields, subsections) = (dumped.vmsd.fields(), &dumped.vmsd.subsections);
    let mut items = Vec::with_capacity(fields.len() + subsections.len());
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

/// Tells whether two descriptions are laid out alike, of which only one states the lengths of arrays: the other's are taken
/// from it. No version is refused.
pub(crate) fn is_same_but_for_lengths(stated: &Vmsd, unstated: &Vmsd) -> bool {
    let field = |stated: &VmsdField, unstated: &VmsdField| {
        stated.size == unstated.size
            && stated.version_id == unstated.version_id
            && stated.conditional == unstated.conditional
            // It is not sent, and the other build does not say so.
            && stated.num != Some(0)
            && stated.name == unstated.name
            && match (&stated.description, &unstated.description) {
                (Some(stated), Some(unstated)) => is_same_but_for_lengths(stated, unstated),
                (None, None) => true,
                _ => false,
            }
    };
    fn all<T>(stated: &[T], unstated: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
        let mut pairs = stated.iter().zip(unstated);
        stated.len() == unstated.len() && pairs.all(|(stated, unstated)| same(stated, unstated))
    }
    stated.name == unstated.name
        && stated.version_id == unstated.version_id
        && stated.minimum_version_id == unstated.minimum_version_id
        && stated.minimum_version_id <= stated.version_id
        && stated.fields.is_some() == unstated.fields.is_some()
        && all(stated.fields(), unstated.fields(), field)
        && all(
            &stated.subsections,
            &unstated.subsections,
            is_same_but_for_lengths,
        )
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
        let fields = description.fields();
        // Where lengths are stated, only structures are in doubt.
        let in_doubt =
            |_: &&Vmsd| !self.states_lengths || fields.iter().any(|f| f.description.is_some());
        let counterpart = counterpart.filter(in_doubt);
        let mut twins = counterpart.map(|other| Twins::new(fields, other.fields()));
        for (at, field) in fields.iter().enumerate() {
            let twin = twins.as_mut().and_then(|twins| twins.of(at, field));
            // What a structure that this build alone has groups stands around it in the other one.
            let inside = match twin {
                Some(twin) => twin.description.as_deref(),
                None => counterpart,
            };
            let twin = Twin {
                field: twin,
                inside,
            };
            self.field(description, field, version, twin, around, items);
        }
        // A loader finds subsections by name, so their order among themselves says nothing. Of several
        // that have one name it takes the first.
        let mut subsections: Vec<_> = description.subsections.iter().collect();
        subsections.sort_by_key(|subsection| subsection.name.as_str());
        subsections.dedup_by_key(|subsection| subsection.name.as_str());
        for vmsd in subsections {
            let layout = Layout::Dumped(Dumped {
                vmsd,
                states_lengths: self.states_lengths,
            });
            items.push(Item {
                present: around.present,
                loose: around.loose,
                ..Item::subsection(self.interner, layout, &description.name, around.place)
            });
        }
    }

    fn field(
        &mut self,
        description: &'d Vmsd,
        field: &'d VmsdField,
        version: i64,
        twin: Twin<'d>,
        around: Around,
        items: &mut Vec<Item<'d>>,
    ) {
        if field.num == Some(0) {
            return;
        }
        // Where there is a test, the gate is not looked at: vmstate_field_exists().
        let is_open = field.conditional || field.version_id <= version;
        let place = self.interner.place(Place {
            parent: around.place,
            name: &field.name,
            tested: field.conditional,
            closed: (!is_open).then_some(field.version_id),
        });
        let (path, leaf) = self.interner.path(around.path, &field.name);
        let conditional = around.conditional || field.conditional;
        let present = around.present && is_open;
        let num = match field.num {
            None if !self.states_lengths => twin.field.and_then(|twin| borrowed(field, twin)),
            stated => stated,
        };
        let inner = field.description.as_deref();
        // What is an array in the other build is compared with it element by element, where its own dump states one
        // element, and where it states no number, which then comes from the state.
        let is_elastic = self.states_lengths
            && field.num.is_none_or(|num| num == 1)
            && (twin.field).is_some_and(|twin| twin.num.is_some_and(|num| num > 1))
            && (twin.inside.zip(inner)).is_some_and(|(other, inner)| other.name == inner.name);
        // A length of one and no length at all are the same bytes.
        let num = num.filter(|&n| n != 1 || is_elastic);
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
            counted: field.num.is_some(),
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
        let Some(inner) = inner else {
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
        if num.is_none() && !is_elastic {
            // A nested version is not on the wire: each side decides with its own.
            self.description(inner, inner.version_id, twin.inside, inside, items);
        } else {
            inside.conditional = false;
            inside.path = ROOT;
            let mut element = Vec::new();
            self.description(inner, inner.version_id, twin.inside, inside, &mut element);
            item.kind = Kind::Array(element);
            items.push(item);
        }
    }
}

/// Returns the number of elements of a field whose own dump states none, after the counterpart that states it. Structures
/// and numbers of another width are taken to be as many; what is as wide as the whole array is no array itself, and what
/// else has another width may have any number.
fn borrowed(field: &VmsdField, twin: &VmsdField) -> Option<u64> {
    let num = twin.num?;
    let (own, other) = (on_wire(field.size), on_wire(twin.size));
    let is_as_many = match (&field.description, &twin.description) {
        (Some(_), Some(_)) => true,
        (None, None) if own == other => true,
        (None, None) => {
            fits_integer(own) && fits_integer(other) && own != other.saturating_mul(num)
        }
        _ => false,
    };
    is_as_many.then_some(num)
}

/// The counterpart of a field in the other build.
#[derive(Debug, Clone, Copy)]
struct Twin<'d> {
    field: Option<&'d VmsdField>,
    /// The description that has the counterparts of the fields in it.
    inside: Option<&'d Vmsd>,
}

/// The fields of the other build's description, for each field the one of that name.
enum Twins<'d> {
    /// All names are the same, one for one.
    InStep(&'d [VmsdField]),
    /// By name and occurrence, and the number of occurrences so far.
    ByName(FxHashMap<&'d str, (Vec<&'d VmsdField>, usize)>),
}

impl<'d> Twins<'d> {
    fn new(fields: &[VmsdField], others: &'d [VmsdField]) -> Self {
        if fields.len() == others.len() && fields.iter().zip(others).all(|(a, b)| a.name == b.name)
        {
            return Twins::InStep(others);
        }
        let mut by_name: FxHashMap<&str, (Vec<&VmsdField>, usize)> = FxHashMap::default();
        let mut open = vec![others];
        while let Some(others) = open.pop() {
            for other in others {
                by_name.entry(&other.name).or_default().0.push(other);
            }
            // What the other build alone groups stands around it in this one.
            let single = others.iter().filter(|other| {
                let is_lone = fields.iter().all(|field| field.name != other.name);
                is_lone && other.num.is_none_or(|num| num == 1)
            });
            open.extend(single.filter_map(|other| Some(other.description.as_deref()?.fields())));
        }
        Twins::ByName(by_name)
    }

    /// Returns the counterpart of a field in its place; to be asked for each in turn.
    fn of(&mut self, at: usize, field: &VmsdField) -> Option<&'d VmsdField> {
        match self {
            Twins::InStep(others) => others.get(at),
            Twins::ByName(others) => {
                let (others, seen) = others.get_mut(field.name.as_str())?;
                *seen += 1;
                others.get(*seen - 1).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(size: u64, num: Option<u64>, description: Option<Vmsd>) -> VmsdField {
        VmsdField {
            name: "f".to_owned(),
            version_id: 0,
            conditional: false,
            num,
            size,
            description: description.map(Box::new),
        }
    }

    fn description(field: VmsdField, subsections: Vec<Vmsd>) -> Vmsd {
        Vmsd {
            name: "d".to_owned(),
            version_id: 2,
            minimum_version_id: 1,
            fields: Some(vec![field]),
            subsections,
        }
    }

    #[test]
    fn only_lengths_that_one_build_does_not_state_are_passed_over() {
        // A field, one in a structure in an array, and one in a subsection.
        let whole = |num: [Option<u64>; 3], size: u64| {
            let inner = description(field(size, num[1], None), Vec::new());
            let subsection = description(field(1, num[2], None), Vec::new());
            description(field(4, num[0], Some(inner)), vec![subsection])
        };
        let unstated = whole([None; 3], 8);
        let stated = whole([Some(3), Some(1), Some(9)], 8);
        assert!(is_same_but_for_lengths(&stated, &unstated));
        for at in 0..3 {
            let mut num = [Some(3), Some(1), Some(9)];
            num[at] = Some(0);
            assert!(!is_same_but_for_lengths(&whole(num, 8), &unstated));
        }
        assert!(!is_same_but_for_lengths(&stated, &whole([None; 3], 4)));
        let others: [fn(&mut Vmsd); 6] = [
            |other| other.name.push('x'),
            |other| other.version_id = 3,
            |other| other.minimum_version_id = 2,
            |other| other.fields = None,
            |other| other.subsections.clear(),
            |other| other.subsections[0].version_id = 3,
        ];
        for change in others {
            let mut other = unstated.clone();
            change(&mut other);
            assert!(!is_same_but_for_lengths(&stated, &other), "{other:?}");
        }
        // Each refuses what the other sends.
        let refused = |mut one: Vmsd| {
            one.minimum_version_id = 3;
            one
        };
        assert!(!is_same_but_for_lengths(
            &refused(stated),
            &refused(unstated)
        ));
    }

    #[test]
    fn a_field_has_its_twin_by_name_and_occurrence() {
        let named = |name: &str, size: u64| VmsdField {
            name: name.to_owned(),
            ..field(size, None, None)
        };
        let ours = [named("a", 0), named("b", 0), named("a", 0), named("c", 0)];
        for (others, twins) in [
            (
                vec![named("a", 1), named("b", 2), named("a", 3), named("c", 4)],
                [Some(1), Some(2), Some(3), Some(4)],
            ),
            (
                vec![named("c", 1), named("a", 2), named("x", 3), named("a", 4)],
                [Some(2), None, Some(4), Some(1)],
            ),
            (vec![named("a", 1)], [Some(1), None, None, None]),
        ] {
            let mut found = Twins::new(&ours, &others);
            let found = ours
                .iter()
                .enumerate()
                .map(|(at, field)| found.of(at, field));
            let sizes: Vec<Option<u64>> = found.map(|twin| twin.map(|twin| twin.size)).collect();
            assert_eq!(sizes, twins);
        }
    }
}
