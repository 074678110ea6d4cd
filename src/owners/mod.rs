//! The people to tell of a break: a file in the style of QEMU's MAINTAINERS, and what its entries are about.
//!
//! An entry names device types and descriptions itself (`D: virtio-gpu*`), or files (`F: hw/display/`): then a tree of
//! QEMU's sources says in which files a type or a description is defined.

mod file;
mod files;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::input::{as_utf8, read_bytes};
use crate::qemu::Tree;
use crate::report::identity::FindingId;
use crate::report::{BaselineStatus, Case, Finding, Level, Owner, Report, Source};
use file::Entry;
use tree::Places;

/// The name of the file in a tree.
const MAINTAINERS: &str = "MAINTAINERS";

/// A failure to read who owns what.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnersError {
    #[error("cannot read the owners {}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error(
        "{} names no owners: an entry is a headline, and lines below it as `M: NAME <ADDRESS>`, `F: FILES` or \
         `D: DEVICES`",
        .0.display()
    )]
    Empty(PathBuf),
    #[error("{}: line {line}: {reason}", file.display())]
    Malformed {
        file: PathBuf,
        line: usize,
        reason: &'static str,
    },
    #[error("cannot search the tree {}: {source}", tree.display())]
    Tree { tree: PathBuf, source: io::Error },
    #[error(
        "{} is no tree of QEMU's sources, which has a {MAINTAINERS} at its top: {}",
        tree.display(),
        match top {
            Some(top) => format!("it is in that of {}, which --tree may name", top.display()),
            None => "name the folder of a clone of QEMU's repository or of an unpacked release, or a file of owners \
                     (--owners)".to_owned(),
        }
    )]
    NoTree { tree: PathBuf, top: Option<PathBuf> },
}

/// The owners, and what they own.
#[derive(Debug)]
pub(crate) struct Owners {
    entries: Vec<Entry>,
    tree: Option<PathBuf>,
}

impl Owners {
    /// Reads the file of owners; without one, that of the tree.
    ///
    /// # Errors
    /// There is no such file or tree, or the file has no entry.
    pub(crate) fn read(
        file: Option<&Path>,
        tree: Option<&Path>,
    ) -> Result<Option<Owners>, OwnersError> {
        let own = tree.map(|tree| tree.join(MAINTAINERS));
        let Some(file) = file.or(own.as_deref()) else {
            return Ok(None);
        };
        if let Some(tree) = tree.filter(|tree| !tree.is_dir()) {
            let kind = match tree.exists() {
                true => io::ErrorKind::NotADirectory,
                false => io::ErrorKind::NotFound,
            };
            return Err(OwnersError::Tree {
                tree: tree.to_owned(),
                source: kind.into(),
            });
        }
        if let Some(tree) = tree.filter(|_| own.as_deref() == Some(file) && !file.exists()) {
            let known = std::path::absolute(tree)
                .ok()
                .and_then(|tree| Tree::find(&tree));
            return Err(OwnersError::NoTree {
                tree: tree.to_owned(),
                top: known
                    .map(|known| known.top)
                    .filter(|top| top.join(MAINTAINERS).is_file()),
            });
        }
        let text = read_bytes(file).map_err(|source| OwnersError::Io {
            file: file.to_owned(),
            source,
        })?;
        let text = as_utf8(&text);
        let entries = file::parse(&String::from_utf8_lossy(&text)).map_err(|(line, reason)| {
            OwnersError::Malformed {
                file: file.to_owned(),
                line,
                reason,
            }
        })?;
        match entries.is_empty() {
            true => Err(OwnersError::Empty(file.to_owned())),
            false => Ok(Some(Owners {
                entries,
                tree: tree.map(Path::to_owned),
            })),
        }
    }

    /// Returns the tree in which files are looked for, if there is one.
    pub(crate) fn tree(&self) -> Option<&Path> {
        self.tree.as_deref()
    }

    /// Notes at each finding and case of a report who owns it, and groups what is broken by owner, or of that what is
    /// new.
    ///
    /// # Errors
    /// The tree cannot be searched.
    pub(crate) fn assign(&self, report: &mut Report, only_new: bool) -> Result<(), OwnersError> {
        let counts = |status: Option<BaselineStatus>| {
            !only_new || status.is_none_or(|status| status == BaselineStatus::New)
        };
        let findings = report.findings.iter();
        let descriptions = findings.clone().flat_map(descriptions_of);
        let names: BTreeSet<String> = findings
            .flat_map(names_of_finding)
            .chain(descriptions)
            .chain(report.cases.iter().flat_map(names_of_case))
            .map(str::to_owned)
            .collect();
        let places = match &self.tree {
            Some(tree) => tree::places(tree, &names).map_err(|source| OwnersError::Tree {
                tree: tree.clone(),
                source,
            })?,
            None => Places::default(),
        };
        let owned: BTreeMap<String, Vec<usize>> = names
            .into_iter()
            .map(|name| {
                let entries = self.entries_of(&name, places.files.get(&name));
                (name, entries)
            })
            .collect();
        let mut groups: BTreeMap<Option<usize>, Owner> = BTreeMap::new();
        for finding in &mut report.findings {
            finding.source = source_of(finding, &places.sources).cloned();
            let entries = first(&owned, names_of_finding(finding));
            finding.owners = self.titles(entries);
            let is_broken = finding.level != Level::Note && finding.allowed_by.is_none();
            if is_broken && counts(finding.baseline) {
                for owner in self.groups(&mut groups, entries) {
                    owner.findings.push(FindingId(finding).to_string());
                }
            }
        }
        for case in &mut report.cases {
            let entries = first(&owned, names_of_case(case));
            case.owners = self.titles(entries);
            if (case.gates() || report.policy.counts_case(case)) && counts(case.baseline) {
                for owner in self.groups(&mut groups, entries) {
                    owner.cases.push(case.id.clone());
                }
            }
        }
        // What nobody owns comes last.
        let nobody = groups.remove(&None);
        report.owners = groups.into_values().chain(nobody).collect();
        Ok(())
    }

    fn titles(&self, entries: &[usize]) -> Vec<String> {
        let entries = entries.iter().filter_map(|at| self.entries.get(*at));
        entries.map(|entry| entry.title.clone()).collect()
    }

    /// Returns the groups of some entries; of none, that of what nobody owns.
    fn groups<'g>(
        &self,
        groups: &'g mut BTreeMap<Option<usize>, Owner>,
        entries: &[usize],
    ) -> Vec<&'g mut Owner> {
        let wanted: BTreeSet<Option<usize>> = match entries {
            [] => [None].into(),
            some => some.iter().copied().map(Some).collect(),
        };
        for at in &wanted {
            let entry = at.and_then(|at| self.entries.get(at));
            let owner = || entry.map_or_else(Owner::default, Entry::owner);
            groups.entry(*at).or_insert_with(owner);
        }
        let groups = groups.iter_mut();
        groups
            .filter(|(at, _)| wanted.contains(at))
            .map(|(_, owner)| owner)
            .collect()
    }

    /// Returns the entries that are the most exactly about a name: by the name itself, else by its files.
    fn entries_of(&self, name: &str, files: Option<&BTreeSet<String>>) -> Vec<usize> {
        let by_name = best(&self.entries, |entry| entry.names_device(name));
        if !by_name.is_empty() {
            return by_name;
        }
        let files = files.into_iter().flatten();
        let files: Vec<&str> = files.map(String::as_str).collect();
        best(&self.entries, |entry| {
            files.iter().filter_map(|file| entry.has_file(file)).max()
        })
    }
}

/// Returns the entries of the first name that has some.
fn first<'o, 'n>(
    owned: &'o BTreeMap<String, Vec<usize>>,
    mut names: impl Iterator<Item = &'n str>,
) -> &'o [usize] {
    let found = names.find_map(|name| owned.get(name).filter(|own| !own.is_empty()));
    found.map_or(&[], Vec::as_slice)
}

/// Returns the places of the entries with the most exact match.
fn best(entries: &[Entry], exactness: impl Fn(&Entry) -> Option<usize>) -> Vec<usize> {
    let all: Vec<Option<usize>> = entries.iter().map(exactness).collect();
    let Some(most) = all.iter().flatten().max() else {
        return Vec::new();
    };
    let places = all.iter().enumerate();
    places
        .filter(|(_, exactness)| exactness.as_ref() == Some(most))
        .map(|(at, _)| at)
        .collect()
}

/// Returns the names that a finding may be owned by, the nearest first: its type, and its description.
fn names_of_finding(finding: &Finding) -> impl Iterator<Item = &str> {
    let vmsd = finding.path.first().map(String::as_str);
    std::iter::once(finding.section.as_str()).chain(vmsd)
}

/// Returns the descriptions that a finding may be about, the innermost first: a subsection, the one around what changed,
/// and the section's.
fn descriptions_of(finding: &Finding) -> impl Iterator<Item = &str> {
    let subsection = finding.path.last().filter(|name| name.contains('/'));
    let around = finding.items.first().map(|item| &item.description);
    let section = finding.path.first();
    let all = subsection.into_iter().chain(around).chain(section);
    all.map(String::as_str)
}

/// Returns the description that a finding is about. Of several of one name, the one that has the field.
fn source_of<'s>(
    finding: &Finding,
    sources: &'s BTreeMap<String, Vec<Source>>,
) -> Option<&'s Source> {
    let field = finding.path.last()?;
    let mut names = descriptions_of(finding);
    let found = names.find_map(|name| sources.get(name))?;
    let has_field = |source: &&Source| source.fields.iter().any(|own| own.name == *field);
    found.iter().find(has_field).or(found.first())
}

/// Returns those of a case: the section to blame, the device type of a sweep, and the devices.
fn names_of_case(case: &Case) -> impl Iterator<Item = &str> {
    let section = case.cause.as_ref().and_then(|cause| cause.section.as_ref());
    let section = section.map(|section| section.vmsd_name());
    let devices = case.devices.iter().map(String::as_str);
    section
        .into_iter()
        .chain([case.device_set.as_str()])
        .chain(devices)
}

#[cfg(test)]
mod tests;
