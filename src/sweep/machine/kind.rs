//! Kinds of failure: devices that fail for one cause, so that one of them stands for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::compare::streams::CommonWidth;
use crate::culprit::{Item, Search, Verdict};
use crate::migration::result::RunResult;
use crate::model::Route;
use crate::report::Outcome;
use crate::sweep::machine::run::Run;
use crate::sweep::target::SweepTarget;
use crate::vmstate::dump::{Vmsd, VmsdField};

/// A part that descriptions of several devices have in common: a field by its name, with the name
/// of its description.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    field: String,
    description: Option<String>,
}

/// A kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The builds do the same in the same place.
    Symptom {
        route: Route,
        outcome: Outcome,
        part: Part,
        /// The whole path of the field that failed.
        field: String,
        /// The words of the build, without numbers and names.
        words: String,
    },
    /// The part has another length in the other build, in this device as in others: the symptoms vary.
    Width { route: Route, part: Part },
}

impl Part {
    /// Returns the part of a section's description that a field is in, by the dumps of the builds.
    fn of(target: &SweepTarget, section: &str, field: &str) -> Option<Part> {
        let first = field.split('/').next().unwrap_or(field);
        let mut descriptions = descriptions(target);
        descriptions.find_map(|description| {
            (description.name == section).then_some(())?;
            let mut fields = description.fields.iter().flatten();
            let found = fields.find(|found| found.name == first)?;
            Some(Part::of_field(found))
        })
    }

    fn of_field(field: &VmsdField) -> Part {
        Part {
            field: field.name.clone(),
            description: field.description.as_ref().map(|vmsd| vmsd.name.clone()),
        }
    }
}

fn descriptions(target: &SweepTarget) -> impl Iterator<Item = &Vmsd> {
    let dumps = [&target.config.old.dump, &target.config.new.dump];
    let sections = dumps.into_iter().flatten().flat_map(|dump| &dump.sections);
    sections.map(|section| &section.description)
}

/// Returns the vmsd names of the sections that have the part in them that failed.
pub(crate) fn sections_alike<'t>(
    target: &'t SweepTarget,
    attempt: &RunResult,
) -> BTreeSet<&'t str> {
    let failed = attempt.failed_at.as_ref();
    let failed = failed.and_then(|at| Part::of(target, at.section.vmsd_name(), &at.field));
    failed.map_or_else(BTreeSet::new, |failed| sections_with(target, &failed))
}

/// Returns the vmsd names of the sections that have a part in them of which several are known to have another length.
pub(crate) fn sections_of_width<'t>(
    target: &'t SweepTarget,
    widths: &[CommonWidth],
) -> BTreeSet<&'t str> {
    let parts = widths.iter().flat_map(|width| {
        let parts = width.sections.iter();
        parts.filter_map(|section| Part::of(target, section, &width.field))
    });
    let parts: BTreeSet<Part> = parts.collect();
    let sections = parts.iter().flat_map(|part| sections_with(target, part));
    sections.collect()
}

fn sections_with<'t>(target: &'t SweepTarget, part: &Part) -> BTreeSet<&'t str> {
    let has_part = |description: &&Vmsd| {
        let mut fields = description.fields.iter().flatten();
        fields.any(|field| field.name == part.field && Part::of_field(field) == *part)
    };
    let found = descriptions(target).filter(has_part);
    found.map(|description| description.name.as_str()).collect()
}

impl Kind {
    /// Returns the kind of a failure of one device, where it has one: it is in a part that other devices
    /// may have, too.
    pub(crate) fn of(
        target: &SweepTarget,
        widths: &[CommonWidth],
        route: Route,
        attempt: &RunResult,
    ) -> Option<Kind> {
        if !attempt.failed() {
            return None;
        }
        if let Some(part) = of_common_width(target, widths, attempt) {
            return Some(Kind::Width { route, part });
        }
        let at = attempt.failed_at.as_ref()?;
        Some(Kind::Symptom {
            route,
            outcome: attempt.outcome,
            part: Part::of(target, at.section.vmsd_name(), &at.field)?,
            field: at.field.clone(),
            words: at.symptom(),
        })
    }
}

/// Returns the part that has another length in the section that failed, where that is known of several.
fn of_common_width(
    target: &SweepTarget,
    widths: &[CommonWidth],
    attempt: &RunResult,
) -> Option<Part> {
    let failed = attempt.cause.as_ref()?.section.as_ref()?.vmsd_name();
    widths.iter().find_map(|width| {
        let part = Part::of(target, failed, &width.field)?;
        let is_same = |section: &String| {
            Part::of(target, section, &width.field).is_some_and(|other| other == part)
        };
        width.sections.iter().any(is_same).then_some(part)
    })
}

/// The culprits of a search that others stand for, on a route: the first one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Represented(BTreeMap<(Route, Item), Item>);

impl Represented {
    /// Sorts the culprits of a search by their kinds.
    pub(crate) fn of(
        search: &Search<Arc<Run>>,
        kind: impl Fn(Route, Item, &Run) -> Option<Kind>,
    ) -> Represented {
        let mut kinds: BTreeMap<Kind, Vec<(Route, Item)>> = BTreeMap::new();
        for (&(route, item), verdict) in search.verdicts() {
            if let Verdict::Culprit(run) = verdict
                && let Some(kind) = kind(route, item, run)
            {
                kinds.entry(kind).or_default().push((route, item));
            }
        }
        let mut represented = BTreeMap::new();
        for members in kinds.values() {
            if let Some(((_, first), others)) = members.split_first() {
                represented.extend(others.iter().map(|&member| (member, *first)));
            }
        }
        Represented(represented)
    }

    /// Returns the device that stands for another one on a route, if one does.
    pub(crate) fn by(&self, route: Route, item: Item) -> Option<Item> {
        self.0.get(&(route, item)).copied()
    }
}
