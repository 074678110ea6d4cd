//! Checks the lists: finds entries that duplicate others, allow too much, or match nothing in the
//! very releases that they name.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::Version;
use crate::rules::known_issues::{Break, Holds, KnownIssues, Place, Rename, Renamed};

/// A defect of an entry; sorted by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Defect {
    pub place: Place,
    pub kind: DefectKind,
    pub text: String,
}

/// The ways in which an entry is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DefectKind {
    /// Matches nothing in its own version range.
    Stale,
    /// Allows more than one known fact.
    Wide,
    /// Says what another entry says.
    Double,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DefectKind::Stale => "stale",
            DefectKind::Wide => "too wide",
            DefectKind::Double => "double",
        };
        write!(f, "{}: {kind}: {}", self.place, self.text)
    }
}

/// Checks the entries by themselves.
pub(crate) fn review(lists: &KnownIssues) -> Vec<Defect> {
    let mut defects = Vec::new();
    doubles(&mut defects, &lists.renames, |r| {
        let names = (&r.old, &r.new);
        (&r.place, (r.what, &r.section, &r.description, names, r.by))
    });
    doubles(&mut defects, &lists.conditions, |c| {
        (&c.place, (&c.section, &c.description, &c.items, c.by))
    });
    doubles(&mut defects, &lists.breaks, |b| {
        let wire = (&b.section, b.rule, &b.path, b.direction);
        (&b.place, (wire, &b.machines, b.by))
    });
    doubles(&mut defects, &lists.migrations, |m| {
        let key = (&m.section, &m.field, m.direction, &m.machines, m.by);
        (&m.place, key)
    });
    doubles(&mut defects, &lists.failures, |f| (&f.place, f.key()));
    doubles(&mut defects, &lists.volatile, |v| {
        let fields: Vec<String> = v.fields.iter().map(ToString::to_string).collect();
        let difference = (&v.bytes, v.run, v.resized, v.sent_length);
        let key = (&v.description, fields, difference, &v.arch, &v.machines);
        (&v.place, key)
    });
    let mut wide = |place: &Place, text: String| {
        defects.push(Defect {
            place: place.clone(),
            kind: DefectKind::Wide,
            text,
        });
    };
    for b in &lists.breaks {
        if b.machines.are_all() && b.path.is_empty() && b.whole_section {
            wide(
                &b.place,
                format!(
                    "allows every {} in `{}` on every machine; name the machines or the path",
                    b.rule, b.section
                ),
            );
        }
    }
    for m in &lists.migrations {
        if m.machines.are_all() && m.field.is_none() {
            wide(
                &m.place,
                format!(
                    "allows every refusal of `{}` on every machine; name the machines or the field",
                    m.section
                ),
            );
        }
    }
    for v in &lists.volatile {
        if v.arch.is_empty() && v.machines.is_empty() && is_of_every_target(&v.description) {
            wide(
                &v.place,
                format!(
                    "every target has a `{}` of its own; name the targets in arch",
                    v.description
                ),
            );
        }
    }
    defects.sort();
    defects
}

/// Notes the entries that have the key of one before them.
fn doubles<'k, T, K: Ord>(
    defects: &mut Vec<Defect>,
    entries: &'k [T],
    place_and_key: impl Fn(&'k T) -> (&'k Place, K),
) {
    let mut seen: BTreeMap<K, &Place> = BTreeMap::new();
    for (place, key) in entries.iter().map(place_and_key) {
        match seen.entry(key) {
            Entry::Occupied(first) => defects.push(Defect {
                place: place.clone(),
                kind: DefectKind::Double,
                text: format!("{} says the same", first.get()),
            }),
            Entry::Vacant(first) => {
                first.insert(place);
            }
        }
    }
}

/// Tells whether a description of this name is in the streams of all targets, with other fields or
/// another meaning of theirs in each.
fn is_of_every_target(description: &str) -> bool {
    let (name, _) = description.split_once('/').unwrap_or((description, ""));
    matches!(name, "cpu" | "cpu_common")
}

/// The names that the two builds of a comparison have, to distinguish an entry that should have
/// matched from one that is about something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub sections: BTreeSet<String>,
    pub descriptions: BTreeSet<String>,
}

/// A comparison that was judged with the lists.
#[derive(Debug, Clone)]
pub(crate) struct Comparison<'k> {
    pub old: Version,
    pub new: Version,
    pub names: Names,
    /// The entries that had a part in it.
    pub used: BTreeSet<&'k Place>,
}

/// The entries that a set of comparisons put to the test: those that matched, and those that did not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// The entries that had a part, and the number of comparisons.
    pub matched: BTreeMap<Place, usize>,
    /// No comparison spans the entry's releases with builds that have its section.
    pub untried: usize,
    pub stale: Vec<Defect>,
}

/// Tells whether two entries allow the same rule of a section the same way.
fn is_like(one: &Break, other: &Break) -> bool {
    one.section == other.section && one.rule == other.rule && one.direction == other.direction
}

/// Finds which entries served in comparisons that were judged with them.
pub(crate) fn check_against(lists: &KnownIssues, comparisons: &[Comparison]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut judge =
        |place: &Place, by: Version, what: String, concerns: &dyn Fn(&Comparison<'_>) -> bool| {
            let put_to_test = comparisons.iter().any(|made| {
                Holds::of(by, Some(made.old), Some(made.new)) == Holds::InOrder && concerns(made)
            });
            let used = comparisons.iter().filter(|made| made.used.contains(place));
            let times = used.count();
            if times > 0 {
                outcome.matched.insert(place.clone(), times);
            } else if put_to_test {
                outcome.stale.push(Defect {
                    place: place.clone(),
                    kind: DefectKind::Stale,
                    text: format!("{what} matched nothing between builds on both sides of {by}"),
                });
            } else {
                outcome.untried += 1;
            }
        };
    for r in &lists.renames {
        let what = format!("`{}` to `{}`", r.old, r.new);
        judge(&r.place, r.by, what, &|made| {
            rename_concerns(r, &made.names)
        });
    }
    for c in &lists.conditions {
        let what = format!("{} of `{}`", c.items.join(", "), c.description);
        judge(&c.place, c.by, what, &|made| {
            let names = &made.names;
            names.descriptions.contains(&c.description) && has(&names.sections, &c.section)
        });
    }
    for b in &lists.breaks {
        let what = format!("{} in `{}`", b.rule, b.section);
        judge(&b.place, b.by, what, &|made| {
            // A section may break several times: where a comparison spans them all, one entry serves.
            let mut others = lists.breaks.iter().filter(|other| is_like(b, other));
            made.names.sections.contains(&b.section)
                && !others.any(|other| made.used.contains(&other.place))
        });
    }
    // Dumps do not show whether a migration is refused, nor what a load makes of a value.
    outcome.untried += lists.migrations.len() + lists.volatile.len() + lists.failures.len();
    outcome.stale.sort();
    outcome
}

fn rename_concerns(rename: &Rename, names: &Names) -> bool {
    if rename.what == Renamed::Section {
        return names.sections.contains(&rename.old) && names.sections.contains(&rename.new);
    }
    has(&names.sections, &rename.section) && has(&names.descriptions, &rename.description)
}

/// Tells whether builds have the one that an entry is limited to, if it is.
fn has(names: &BTreeSet<String>, limit: &Option<String>) -> bool {
    limit.as_ref().is_none_or(|name| names.contains(name))
}
