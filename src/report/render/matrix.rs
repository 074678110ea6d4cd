//! The table of what did not pass: a row for each device, and a column for each machine and direction.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Direction, joined};
use crate::report::Case;

/// The table.
pub(super) struct Matrix<'r> {
    /// The machines of the columns, each of which is one for every direction.
    pub(super) columns: Vec<&'r str>,
    pub(super) rows: Vec<Row<'r>>,
}

/// The cases of one set of devices.
pub(super) struct Row<'r> {
    /// The case without its direction, and without its machine where there are several.
    pub(super) what: String,
    cells: BTreeMap<(&'r str, Direction), Cell<'r>>,
}

/// A case, and where it is explained.
pub(super) struct Cell<'r> {
    pub(super) case: &'r Case,
    /// The number of the failure that explains it.
    pub(super) number: Option<usize>,
}

impl<'r> Matrix<'r> {
    /// Lists only what did not pass on some machine in some direction; the failures have numbers.
    pub(super) fn of(cases: &'r [Case], numbers: &BTreeMap<&str, usize>) -> Matrix<'r> {
        let mut columns: Vec<&str> = Vec::new();
        for case in cases {
            if !columns.contains(&case.machine.as_str()) {
                columns.push(&case.machine);
            }
        }
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for case in cases {
            let whole = without_direction(case);
            let short = match whole.split_once('/') {
                Some((_, short)) if columns.len() > 1 => short.to_owned(),
                _ => whole.clone(),
            };
            let place = (case.machine.as_str(), case.direction);
            // Another architecture may have a machine of that name.
            let is_taken = rows
                .get(&short)
                .is_some_and(|row| row.cells.contains_key(&place));
            let what = if is_taken { whole } else { short };
            let row = rows.entry(what.clone()).or_insert_with(|| Row {
                what,
                cells: BTreeMap::new(),
            });
            let number = numbers.get(case.id.as_str()).copied();
            row.cells.insert(place, Cell { case, number });
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.retain(|row| row.cells.values().any(|cell| cell.number.is_some()));
        // Sorted by the cause, so that related cases are together.
        rows.sort_by_key(|row| row.cells.values().filter_map(|cell| cell.number).min());
        let shown = |machine: &&str| {
            rows.iter()
                .any(|row| row.cells.keys().any(|(m, _)| m == machine))
        };
        columns.retain(|machine| shown(machine));
        Matrix { columns, rows }
    }
}

impl<'r> Row<'r> {
    /// Returns the case of a column.
    pub(super) fn cell(&self, machine: &'r str, direction: Direction) -> Option<&Cell<'r>> {
        self.cells.get(&(machine, direction))
    }

    pub(super) fn cases(&self) -> Vec<&'r Case> {
        self.cells.values().map(|cell| cell.case).collect()
    }
}

/// Returns the outcomes, machines and owners of some cases, by which the script of a page selects.
pub(super) fn facets(cases: &[&Case]) -> [String; 3] {
    let all_of = |facet: &dyn Fn(&Case) -> Vec<String>| {
        let all: BTreeSet<String> = cases.iter().flat_map(|case| facet(case)).collect();
        joined(all, "|")
    };
    [
        all_of(&|case| vec![case.outcome.to_string()]),
        all_of(&|case| vec![case.machine.clone()]),
        all_of(&|case| case.owners.clone()),
    ]
}

fn without_direction(case: &Case) -> String {
    let direction = case.direction.to_string();
    let parts = case.id.split('/').filter_map(|part| {
        let rest = part.strip_prefix(direction.as_str());
        match rest {
            Some("") => None,
            // Of a loop: what is behind the direction of its first leg.
            Some(rest) if rest.starts_with('-') => Some(&rest[1..]),
            _ => Some(part),
        }
    });
    joined(parts, "/")
}
