//! `last-release`: the build to compare a new one with that nobody has to name.

use std::path::PathBuf;

use crate::model::Version;
use crate::qemu::pair::Means;
use crate::qemu::spec::LAST_RELEASE;
use crate::qemu::tree::Tree;
use crate::qemu::{BuildArg, Cache, Opened, QemuError, SpecError, machine};

/// Reads two BUILD arguments, of which one may be `last-release`.
///
/// # Errors
/// An argument names no build, no release before the other one is fetched, or the other one does not say its version.
pub(crate) fn parse_both(
    old: &str,
    new: &str,
    means: &Means<'_>,
) -> Result<(BuildArg, BuildArg), QemuError> {
    let parse = crate::qemu::parse;
    match (old == LAST_RELEASE, new == LAST_RELEASE) {
        (true, true) => Err(SpecError::LastReleaseAlone.into()),
        (false, false) => Ok((parse(old)?, parse(new)?)),
        (true, false) => {
            let new = parse(new)?;
            Ok((before(&new, means)?, new))
        }
        (false, true) => {
            let old = parse(old)?;
            Ok((old.clone(), before(&old, means)?))
        }
    }
}

/// Returns the last release before a build, or the newest one before that, of those that are fetched.
fn before(build: &BuildArg, means: &Means<'_>) -> Result<BuildArg, QemuError> {
    let release = version(build, means)?.last_release();
    let packages = machine::packages(&means.architecture).unwrap_or_default();
    let entries = Cache::new(means.cache.clone())?.list()?;
    let fetched = entries.into_iter().filter_map(|entry| {
        let version = entry.release()?;
        let fits = packages.contains(&entry.record.package) && version.is_of_or_before(release);
        fits.then_some((version, entry.record.suite))
    });
    match fetched.max() {
        Some((_, suite)) => Ok(BuildArg::Debian { suite }),
        None => Err(SpecError::NoLastRelease {
            release: format!("{}.{}", release.major, release.minor),
            label: build.label(),
        }
        .into()),
    }
}

/// Returns the version of a build: that of the tree that it was built in, or else the one that it says.
fn version(build: &BuildArg, means: &Means<'_>) -> Result<Version, QemuError> {
    let folder: Option<PathBuf> = match build {
        BuildArg::Dump(path) => return Err(SpecError::DumpCannotRun(path.clone()).into()),
        BuildArg::Debian { .. } => None,
        BuildArg::Folder { path, .. } => Some(path.clone()),
        BuildArg::Binary { path, .. } => path.parent().map(PathBuf::from),
    };
    match folder.as_deref().and_then(Tree::find) {
        Some(tree) => Ok(tree.version),
        None => Ok(Opened::new(build, means)?.info.version),
    }
}
