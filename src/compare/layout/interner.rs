//! Names and paths as numbers.

use rustc_hash::FxHashMap;

/// An interned name, path or label.
pub(crate) type Id = u32;

/// The place of an item in the structures around it.
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

    pub(crate) fn place(&mut self, parent: Option<Id>, name: &'d str) -> Id {
        self.places.push(Place { parent, name });
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

    /// Returns how many structures deep an item stands, itself included.
    pub(crate) fn depth(&self, place: Id) -> usize {
        let mut depth = 0;
        let mut at = Some(place);
        while let Some(id) = at {
            depth += 1;
            at = self.places[id as usize].parent;
        }
        depth
    }

    /// Returns the field names from the description's own fields down to the item.
    pub(crate) fn names_of(&self, place: Id) -> Vec<&'d str> {
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
