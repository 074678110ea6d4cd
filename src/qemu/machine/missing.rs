//! The error of a machine type that builds lack, and what comes closest.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Side, Version, nearest};
use crate::qemu::machine::pick::pick;
use crate::qemu::machine::{aliases, families, plain_family, split};
use crate::qemu::{BuildInfo, MachineType};

/// The most names that a message lists where none is similar.
const LISTED: usize = 8;

/// The builds that lack the very name that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Old(Version),
    New(Version),
    Both,
    Only(Version),
    /// The build of this side, of which the type is paired with one of the other.
    Paired(Side, Version),
}

/// No machine type that fits, and what comes closest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoCommonMachine {
    /// The name that was asked for.
    pub wanted: String,
    missing: Missing,
    /// The names that it is short for, in builds that lack it as such, where not all builds have them.
    pub alias_of: Vec<String>,
    /// Set if a build has versioned types of which it is the family's name.
    is_family: bool,
    /// Set if its family has earlier and later versions, and not this one: it is neither too new for the builds nor
    /// one that they have dropped.
    is_passed_over: bool,
    /// The newest type of the same family that all builds asked have.
    pub newest: Option<String>,
    /// The one of them whose version is the nearest.
    pub nearest: Option<String>,
    /// Similar names that would do, the most similar first; none if there is a `newest`. Where none is similar and
    /// the name is unknown, those that there are, families of versioned types first.
    pub near: Vec<String>,
    /// The number of names besides.
    more: u16,
    /// Set if it would do without the options behind it.
    has_options: bool,
    /// The target of the builds, where no name of theirs is similar: those for another may have it.
    target: Option<String>,
}

impl NoCommonMachine {
    /// Tells whether neither the name nor a family or an alias that it may belong to is known to
    /// any build, or it has a version that its family never had: it is misspelt, rather than missing from one of
    /// them.
    pub fn is_unknown(&self) -> bool {
        let is_strange = self.alias_of.is_empty() && self.newest.is_none() && !self.is_family;
        !matches!(self.missing, Missing::Old(_) | Missing::New(_))
            && (is_strange || self.is_passed_over)
    }

    /// Looks for what comes closest to a name that `common` lacks, the types that all builds have.
    pub(super) fn new(
        wanted: &str,
        missing: Missing,
        builds: &[&BuildInfo],
        common: &[&str],
    ) -> Box<Self> {
        let machines = || builds.iter().flat_map(|build| &build.machines);
        let mut alias_of: Vec<String> = machines()
            .filter(|machine| {
                let alias = machine.alias.as_deref();
                aliases(wanted).any(|name| alias == Some(name))
            })
            .map(|machine| machine.name.clone())
            .collect();
        alias_of.dedup();
        // Found by its name in the builds, or by another usual name.
        let of_family = |machine: &MachineType| {
            let family = split(&machine.name).map(|(family, _)| family);
            let wanted = split(wanted).map_or(wanted, |(family, _)| family);
            let known = |family: &str| families(wanted).any(|known| known == family);
            family.is_some_and(known)
        };
        let is_family = machines().any(of_family);
        let versions = || {
            let same = machines().filter(|machine| of_family(machine));
            same.filter_map(|machine| Some(split(&machine.name)?.1))
        };
        let version = split(wanted).map(|(_, version)| version);
        let is_passed_over = version.as_ref().is_some_and(|version| {
            versions().any(|known| known < *version)
                && versions().any(|known| known > *version)
                && versions().all(|known| known != *version)
        });
        let newest = split(wanted).and_then(|(family, _)| pick(family, builds, common));
        let aliases = machines()
            .filter_map(|machine| machine.alias.as_deref())
            .filter(|alias| pick(alias, builds, common).is_some());
        // A family stands for its versions: its name would do as well.
        let names = common
            .iter()
            .map(|name| split(name).map_or(*name, |(family, _)| family));
        let mut near = match newest {
            Some(_) => Vec::new(),
            None => nearest(wanted, names.clone().chain(aliases)),
        };
        if newest.is_none() && near.is_empty() {
            // One of a distribution's own, of which other builds have the plain ones.
            let plain =
                plain_family(wanted).filter(|plain| names.clone().any(|name| name == *plain));
            near.extend(plain.map(str::to_owned));
        }
        let options = wanted.split_once(',');
        let mut error = NoCommonMachine {
            wanted: wanted.to_owned(),
            missing,
            alias_of,
            is_family,
            is_passed_over,
            nearest: version.and_then(|version| nearest_version(wanted, &version, common)),
            newest,
            near,
            more: 0,
            has_options: options.is_some_and(|(name, _)| pick(name, builds, common).is_some()),
            target: None,
        };
        if error.near.is_empty() && error.is_unknown() {
            error.near = known(common);
            let more = error.near.len().saturating_sub(LISTED);
            error.more = more.try_into().unwrap_or(u16::MAX);
            error.near.truncate(LISTED);
            error.target = builds.first().map(|build| build.target.clone());
        }
        Box::new(error)
    }
}

/// Returns the type of the family whose version is the nearest to one, the later of two that are as near.
fn nearest_version(wanted: &str, version: &[u32], common: &[&str]) -> Option<String> {
    let (family, _) = split(wanted)?;
    // QEMU has three releases a year, of which the last digit counts.
    let distance = |known: &[u32]| {
        let place = |of: &[u32]| match of {
            [major, minor, ..] => u64::from(*major) * 10 + u64::from(*minor),
            [major] => u64::from(*major) * 10,
            [] => 0,
        };
        place(known).abs_diff(place(version))
    };
    let same = common.iter().filter_map(|name| {
        let (of, known) = split(name)?;
        families(family)
            .any(|known| known == of)
            .then(|| (distance(&known), Reverse(known), *name))
    });
    same.min().map(|(.., name)| name.to_owned())
}

/// Returns the families of versioned types, and then the other types.
fn known(common: &[&str]) -> Vec<String> {
    let families = common
        .iter()
        .filter_map(|name| split(name).map(|(family, _)| family));
    let families: BTreeSet<&str> = families.collect();
    let others: BTreeSet<&str> = common
        .iter()
        .copied()
        .filter(|name| split(name).is_none())
        .collect();
    let names = families.into_iter().chain(others);
    names.map(str::to_owned).collect()
}

impl fmt::Display for NoCommonMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = match &*self.wanted {
            // One half of a pair may be empty.
            "" => "\"\"",
            wanted => wanted,
        };
        if let Some((_, options)) = wanted.split_once(',').filter(|_| self.has_options) {
            return write!(
                f,
                "{wanted}: the machine type is given alone, and its options elsewhere: `backend = [\"-machine\", \
                 \"{options}\"]` of a device in a set of your own, or a wrapper script that starts the build with \
                 `-machine {options}`"
            );
        }
        let (who, have) = match self.missing {
            Missing::Old(version) => (format!("the old build ({version}) has no"), "both have"),
            Missing::New(version) => (format!("the new build ({version}) has no"), "both have"),
            Missing::Both => ("the two builds have in common no".to_owned(), "both have"),
            Missing::Only(version) => (format!("the build ({version}) has no"), "it has"),
            Missing::Paired(side, version) => {
                (format!("the {side} build ({version}) has no"), "it has")
            }
        };
        write!(f, "{who} machine type {wanted}")?;
        match (&*self.alias_of, self.missing) {
            // The other one has a type of that very name.
            ([name, ..], Missing::Old(_) | Missing::New(_)) => write!(
                f,
                ": there {wanted} is short for {name}, in the other build it is a type of its own, and QEMU takes no \
                 guest of another machine type; without -M, `static` compares the dumps alone"
            )?,
            ([old, new], Missing::Both) => write!(
                f,
                ", which is short for {old} in the old one and for {new} in the new one; `-M {old}={new}` pairs them"
            )?,
            ([name, ..], Missing::Both | Missing::Only(_) | Missing::Paired(..)) => {
                write!(f, ", which is short for {name} in one of them")?;
            }
            ([], _) => {}
        }
        if let Some(newest) = &self.newest {
            write!(f, "; the newest of its family that {have} is {newest}")?;
            if let Some(nearest) = self.nearest.as_ref().filter(|nearest| *nearest != newest) {
                write!(f, ", and the nearest {nearest}")?;
            }
        } else if !self.near.is_empty() {
            write!(f, "; {have} {}", self.near.join(", "))?;
            if self.more > 0 {
                write!(f, " and {} more", self.more)?;
            }
        }
        if let Some(target) = &self.target {
            write!(
                f,
                "; these are for {target}, and --arch names another architecture"
            )?;
        }
        Ok(())
    }
}
