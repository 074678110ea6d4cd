//! Pairing of the sections of one build with those of the other.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::compare::renames::Renames;
use crate::vmstate::dump::{Dump, Section};

/// A section of one build and what it is in the other.
pub(crate) enum Pair<'d> {
    Both {
        old: &'d Section,
        new: &'d Section,
        /// The reason why types of different names are one.
        known: Option<String>,
    },
    OldOnly(&'d Section),
    NewOnly(&'d Section),
}

/// Pairs by QOM type, and what is left over by vmsd name, which is what the wire carries. A section
/// that cannot be read in the other dump is neither paired nor counted as gone.
pub(crate) fn pair_sections<'d>(
    old: &'d Dump,
    new: &'d Dump,
    renames: &dyn Renames,
) -> Vec<Pair<'d>> {
    let by_type = |dump: &'d Dump| -> FxHashMap<&'d str, &'d Section> {
        dump.sections
            .iter()
            .map(|s| (s.type_name.as_str(), s))
            .collect()
    };
    let (old_types, new_types) = (by_type(old), by_type(new));
    let mut types: Vec<&str> = old_types.keys().chain(new_types.keys()).copied().collect();
    types.sort_unstable();
    types.dedup();
    types.retain(|name| !old.has_unreadable(name) && !new.has_unreadable(name));

    // vmsd name → the types that only one build has, in order of name.
    let mut lone: BTreeMap<&str, (Vec<&Section>, Vec<&Section>)> = BTreeMap::new();
    for name in &types {
        let (old, new) = (old_types.get(name), new_types.get(name));
        if old.is_some() != new.is_some()
            && let Some(section) = old.or(new)
        {
            let (olds, news) = lone.entry(&section.description.name).or_default();
            olds.extend(old.copied());
            news.extend(new.copied());
        }
    }
    let mut renamed: BTreeMap<&str, (&Section, Option<String>)> = BTreeMap::new();
    let mut taken = FxHashSet::default();
    for (vmsd, (olds, news)) in &lone {
        for section in olds {
            let known = news.iter().find_map(|candidate| {
                let reason = renames.section(vmsd, &section.type_name, &candidate.type_name)?;
                Some((*candidate, Some(reason)))
            });
            // Several types may share a vmsd; only an unambiguous pair is taken without a list.
            let only = (olds.len() == 1 && news.len() == 1).then(|| (news[0], None));
            if let Some((candidate, reason)) = known.or(only)
                && taken.insert(candidate.type_name.as_str())
            {
                renamed.insert(&section.type_name, (candidate, reason));
            }
        }
    }

    types
        .into_iter()
        .filter_map(|name| match (old_types.get(name), new_types.get(name)) {
            (Some(&old), Some(&new)) => Some(Pair::Both {
                old,
                new,
                known: None,
            }),
            (Some(&old), None) => Some(match renamed.remove(name) {
                Some((new, known)) => Pair::Both { old, new, known },
                None => Pair::OldOnly(old),
            }),
            (None, Some(&new)) => (!taken.contains(name)).then_some(Pair::NewOnly(new)),
            (None, None) => None,
        })
        .collect()
}
