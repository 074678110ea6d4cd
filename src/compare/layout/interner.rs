//! Names and paths as numbers.

use rustc_hash::FxHashMap;

/// An interned name, path or label.
pub(crate) type Id = u32;

/// The place of an item in the structures around it, and what decides there whether it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'d> {
    pub parent: Option<Id>,
    pub name: &'d str,
    /// A run-time test of its own decides.
    pub tested: bool,
    /// The version gate that is closed here.
    pub closed: Option<i64>,
}

impl<'d> Place<'d> {
    /// Returns the place of what nothing but the structures around it decides upon.
    pub(super) fn open(parent: Option<Id>, name: &'d str) -> Place<'d> {
        Place {
            parent,
            name,
            tested: false,
            closed: None,
        }
    }
}

/// Interns what the layouts of two descriptions have in common, so that items compare as numbers.
#[derive(Debug, Default)]
pub(crate) struct Interner<'d> {
    names: FxHashMap<&'d str, Id>,
    paths: FxHashMap<(Id, Id), Id>,
    places: Vec<Place<'d>>,
}

/// The path above all others.
pub(crate) const ROOT: Id = 0;

impl<'d> Interner<'d> {
    /// Forgets the places of items that are no longer needed; names and paths stay.
    pub(crate) fn forget_places(&mut self) {
        self.places.clear();
    }

    fn name(&mut self, name: &'d str) -> Id {
        let next = self.names.len() as Id + 1;
        *self.names.entry(name).or_insert(next)
    }

    /// Returns the path below `parent` of a field called `name`, which may be a C expression like
    /// `dev.core->itr`, and the path's last part.
    pub(crate) fn path(&mut self, parent: Id, name: &'d str) -> (Id, Id) {
        // Hardly any name is an expression, and a look at the bytes is cheaper than a search.
        if !name.bytes().any(|byte| matches!(byte, b'.' | b'>')) {
            let leaf = self.name(name.strip_suffix('-').unwrap_or(name));
            return (self.below(parent, leaf), leaf);
        }
        let mut path = parent;
        let mut leaf = ROOT;
        for part in name.split(['.', '>']) {
            let part = part.strip_suffix('-').unwrap_or(part);
            leaf = self.name(part);
            path = self.below(path, leaf);
        }
        (path, leaf)
    }

    fn below(&mut self, path: Id, leaf: Id) -> Id {
        let next = self.paths.len() as Id + 1;
        *self.paths.entry((path, leaf)).or_insert(next)
    }

    pub(super) fn place(&mut self, place: Place<'d>) -> Id {
        self.places.push(place);
        self.places.len() as Id - 1
    }

    /// Tells whether two items stand under the same names. The two places in `alike` are taken to have the same one.
    pub(crate) fn same_names(&self, one: Id, other: Id, alike: Option<(Id, Id)>) -> bool {
        let (mut one, mut other) = (Some(one), Some(other));
        loop {
            match (one, other) {
                (Some(a), Some(b)) if alike == Some((a, b)) => return true,
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

    /// Returns an item's place and those around it, from the inside out.
    fn outwards(&self, place: Id) -> impl Iterator<Item = (Id, Place<'d>)> + '_ {
        let at = |id: Id| (id, self.places[id as usize]);
        std::iter::successors(Some(at(place)), move |(_, inner)| inner.parent.map(at))
    }

    /// Returns how many structures deep an item stands, itself included.
    pub(crate) fn depth(&self, place: Id) -> usize {
        self.outwards(place).count()
    }

    /// Returns the field names from the description's own fields down to the item.
    pub(crate) fn names_of(&self, place: Id) -> Vec<&'d str> {
        let mut names: Vec<&str> = self.outwards(place).map(|(_, at)| at.name).collect();
        names.reverse();
        names
    }

    /// Returns the names of the fields whose tests decide together whether an item is sent, from the inside out. Those of
    /// the array around it, and of what is around that, decide about the array.
    pub(crate) fn tests_of(&self, place: Id, array: Option<Id>) -> impl Iterator<Item = &'d str> {
        self.outwards(place)
            .take_while(move |(id, _)| Some(*id) != array)
            .filter(|(_, at)| at.tested)
            .map(|(_, at)| at.name.rsplit(['.', '>']).next().unwrap_or(at.name))
    }

    /// Returns the outermost structure around an item whose version gate is closed, and that gate.
    pub(crate) fn closed_around(&self, place: Id) -> Option<(&'d str, i64)> {
        let around = self.outwards(place).skip(1);
        around
            .filter_map(|(_, at)| Some((at.name, at.closed?)))
            .last()
    }
}
