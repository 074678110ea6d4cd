//! The comparison of two dumps: every section that one of them has, in each direction.

use crate::compare::dump::defects::defects;
use crate::compare::dump::pair::{Pair, pair_sections};
use crate::compare::layout::{Dumped, Interner, Layout};
use crate::compare::renames::Renames;
use crate::compare::sections;
use crate::compare::sections::{Subject, Wording, lone_rule};
use crate::model::Direction;
use crate::model::Rule;
use crate::model::Side as Build;
use crate::parallel::side_by_side;
use crate::report::{ChangeKey, Evidence, Finding, Shape};
use crate::rules::check;
use crate::vmstate::dump::{Dump, Section, Vmsd};

/// Compares two dumps in the given directions, and finds the defects of each build by itself in
/// sections that both have. Findings come section by section, one per cause and section; equal
/// causes in several sections are joined later, once they are judged.
pub fn compare(
    old: &Dump,
    new: &Dump,
    directions: &[Direction],
    renames: &dyn Renames,
) -> Vec<Finding> {
    let comparison = Comparison {
        old_states: old.states_array_lengths(),
        new_states: new.states_array_lengths(),
        directions,
        renames,
    };
    let pairs = pair_sections(old, new, renames);
    // Large sections are neighbours, since they have names in common: each thread takes every second one.
    let every_second = |from| -> Vec<Vec<Finding>> {
        let own = pairs.iter().skip(from).step_by(2);
        let mut interner = Interner::default();
        own.map(|pair| comparison.one(pair, &mut interner))
            .collect()
    };
    let (even, odd) = side_by_side(|| every_second(0), || every_second(1));
    let mut odd = odd.into_iter();
    let in_order = even
        .into_iter()
        .flat_map(|even| [even, odd.next().unwrap_or_default()]);
    in_order.flatten().collect()
}

/// The part of a comparison that is the same for all pairs of sections.
struct Comparison<'c> {
    old_states: bool,
    new_states: bool,
    directions: &'c [Direction],
    renames: &'c dyn Renames,
}

impl Comparison<'_> {
    fn one<'d>(&self, pair: &Pair<'d>, interner: &mut Interner<'d>) -> Vec<Finding> {
        let directions = self.directions.iter();
        match pair {
            Pair::Both { old, new, known } => {
                let own = defects(old, new, self.directions);
                let known = known.as_deref();
                let old = subject(old, self.old_states);
                let new = subject(new, self.new_states);
                let between: Vec<Finding> = directions
                    .flat_map(|&direction| {
                        let wording = Wording::by_age(direction);
                        sections::compare(old, new, known, wording, self.renames, interner)
                    })
                    .filter(|found| !is_own(found))
                    .collect();
                let mut findings = own;
                findings.retain(|own| !is_told_by(own, &between));
                findings.extend(between);
                findings
            }
            Pair::OldOnly(section) => directions
                .filter_map(|&direction| lone_section(section, Build::Old, direction))
                .collect(),
            Pair::NewOnly(section) => directions
                .filter_map(|&direction| lone_section(section, Build::New, direction))
                .collect(),
        }
    }
}

/// Tells whether a difference between two builds is a defect of one of them, found without regard
/// to the other one.
fn is_own(found: &Finding) -> bool {
    found.rule == Rule::SubsectionUnreachable
}

/// Tells whether a difference says everything that a defect says, and also that the other build
/// sends the field.
fn is_told_by(own: &Finding, between: &[Finding]) -> bool {
    own.rule == Rule::GateAboveVersion
        && between
            .iter()
            .any(|found| found.rule == Rule::GateExcludesField && found.path == own.path)
}

fn subject(section: &Section, states_lengths: bool) -> Subject<'_> {
    Subject {
        type_name: &section.type_name,
        layout: Layout::Dumped(Dumped {
            vmsd: &section.description,
            states_lengths,
        }),
    }
}

/// Returns the names of all sections and descriptions in some dumps.
pub(crate) fn names(dumps: &[&Dump]) -> check::Names {
    fn walk(description: &Vmsd, names: &mut check::Names) {
        if !names.descriptions.contains(&description.name) {
            names.descriptions.insert(description.name.clone());
        }
        description.nested().for_each(|inner| walk(inner, names));
    }
    let mut names = check::Names::default();
    for section in dumps.iter().flat_map(|dump| &dump.sections) {
        names.sections.insert(section.type_name.clone());
        walk(&section.description, &mut names);
    }
    names
}

/// A type that one build lacks concerns the direction in which a guest that has it would leave.
fn lone_section(section: &Section, has: Build, direction: Direction) -> Option<Finding> {
    if direction.source_destination(Build::Old, Build::New).0 != has {
        return None;
    }
    let rule = lone_rule(direction);
    let shape = Some(Shape {
        name: Some(section.type_name.clone()),
        ..Shape::default()
    });
    let vmsd = &section.description.name;
    Some(Finding {
        path: vec![vmsd.clone()],
        message: Wording::by_age(direction).lone_type(&section.type_name, rule),
        old: shape.clone().filter(|_| has == Build::Old),
        new: shape.filter(|_| has == Build::New),
        ..Finding::about(
            section.type_name.clone(),
            rule,
            direction,
            Evidence::Dump,
            ChangeKey::Lone(section.type_name.clone()),
        )
    })
}
