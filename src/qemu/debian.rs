//! Fetching a QEMU, or what a guest runs, out of the Debian archive, without installing anything.
//!
//! apt does the work with a state of its own: one suite in its source list, an empty list of what
//! is installed, everything in a temporary folder. Mirror, proxy and keyrings are those of the
//! machine's own apt, and signatures are always checked.

mod apt;
mod files;
mod sources;

use std::path::Path;

use crate::qemu::build::Build;
use crate::qemu::cache::{Cache, CacheError, Cached, Fetching, InUse, Instead, Record};
use crate::qemu::progress::{FetchStep, Step};
use crate::qemu::{FetchError, FetchEvent, FetchWatcher, QemuError, block_on};
use apt::Apt;

/// Opens the build of a suite for a target, from the cache or fetched into it.
///
/// # Errors
/// The suite is unknown, unverifiable or out of reach, it has no QEMU for the target, or the cache
/// cannot be used.
pub(crate) fn open(
    suite: &str,
    arch: &str,
    packages: &[String],
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<Build, QemuError> {
    let label = format!("debian:{suite}");
    let wanted = Wanted {
        suite,
        packages,
        extent: Extent::WithDependencies,
        architecture: None,
        what: &format!("QEMU for {arch}"),
        command: &format!("builds fetch debian:{suite} --arch {arch}"),
    };
    let fits = |root: &Path| Build::package(&label, arch, root, None).is_some();
    let InUse { root, lock } = obtain(wanted, fits, cache, watcher)?;
    // What starts it by hand stands beside it for all who share it, however their cache leads to it.
    let root = root.canonicalize().unwrap_or(root);
    let build = Build::package(&label, arch, &root, Some(lock)).ok_or_else(|| {
        // It fitted a moment ago, and nothing removes it while the lock is ours.
        let package = root.parent().and_then(Path::file_name).unwrap_or_default();
        wanted.lacks(&package.to_string_lossy(), "")
    })?;
    let build = match root.parent() {
        Some(entry) => build.with_script(entry),
        None => build,
    };
    tracing::debug!(
        suite,
        arch,
        program = build.shell_prefix(),
        "the build is in the cache"
    );
    Ok(build)
}

/// The part of the archive that a package stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The package, and all that it depends on: a program that is to run.
    WithDependencies,
    /// The package alone: it is read, and nothing in it runs here.
    Alone,
    /// The one package whose name begins so among those that it depends on: it is there for that alone.
    Dependency(&'static str),
}

/// One of several packages of a suite, to be unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub suite: &'a str,
    /// The likelier first. One that several architectures have under one name has its own behind a colon, for the cache.
    pub packages: &'a [String],
    pub extent: Extent,
    /// Debian's name of the architecture; by default the machine's own.
    pub architecture: Option<&'a str>,
    /// The contents that are needed, for errors.
    pub what: &'a str,
    /// The arguments of ours that fetch them, for errors.
    pub command: &'a str,
}

impl Wanted<'_> {
    /// Makes the error of a package that does not have what is needed.
    fn lacks(&self, package: &str, version: &str) -> FetchError {
        FetchError::NotInPackage {
            suite: self.suite.to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            what: self.what.to_owned(),
        }
    }
}

/// Returns the unpacked files of the first package that the cache or the suite has; fetched where they are not
/// in the cache, or not as they were unpacked.
///
/// # Errors
/// The suite is unknown, unverifiable or out of reach, it has none of the packages, what it has does
/// not fit, or the cache cannot be used.
pub(crate) fn obtain(
    wanted: Wanted<'_>,
    fits: impl Fn(&Path) -> bool,
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<InUse, QemuError> {
    let Wanted {
        suite, packages, ..
    } = wanted;
    let cached = || cache.find(suite, packages, &fits);
    let damage = match cached()? {
        Cached::Fits(found) => return Ok(found),
        Cached::Damaged(damage) => {
            watcher(FetchEvent::Damaged {
                suite,
                damage: &damage,
            });
            Some(damage)
        }
        Cached::Nothing => None,
    };
    let instead = match damage {
        Some(_) => Instead::OfDamaged,
        None => Instead::OfOther,
    };
    let fetched = fetch_into(wanted, instead, &cached, cache, watcher);
    fetched.map_err(|error| match damage {
        Some(damage) => QemuError::from(FetchError::Damaged {
            suite: suite.to_owned(),
            damage,
            source: Box::new(error),
        }),
        None => error,
    })
}

fn fetch_into(
    wanted: Wanted<'_>,
    instead: Instead,
    cached: &dyn Fn() -> Result<Cached, CacheError>,
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<InUse, QemuError> {
    let suite = wanted.suite;
    if cache.is_offline() {
        return Err(FetchError::Offline {
            suite: suite.to_owned(),
            what: wanted.what.to_owned(),
            folder: cache.path()?.to_owned(),
            command: wanted.command.to_owned(),
        }
        .into());
    }
    let fetching = cache.start_fetch(suite, watcher)?;
    // The previous owner of the lock may have fetched what is needed here.
    if let Cached::Fits(found) = cached()? {
        return Ok(found);
    }
    let fetched =
        block_on(fetch(wanted, instead, cache, &fetching, watcher)).map_err(|source| {
            FetchError::Io {
                suite: suite.to_owned(),
                path: fetching.work().to_owned(),
                source,
            }
        })??;
    fetching.finish(&fetched, instead)?;
    watcher(FetchEvent::Fetched {
        suite,
        package: &fetched.package,
        version: &fetched.version,
        unpacked_bytes: fetched.unpacked_bytes,
    });
    match cached()? {
        Cached::Fits(found) => Ok(found),
        Cached::Damaged(_) | Cached::Nothing => {
            Err(wanted.lacks(&fetched.package, &fetched.version).into())
        }
    }
}

async fn fetch(
    wanted: Wanted<'_>,
    instead: Instead,
    cache: &Cache,
    fetching: &Fetching,
    watcher: FetchWatcher<'_>,
) -> Result<Record, FetchError> {
    let Wanted {
        suite, packages, ..
    } = wanted;
    let apt = Apt::new(suite, wanted.architecture, fetching.work()).await?;
    {
        let _step = Step::begin(watcher, suite, FetchStep::PackageList);
        apt.update().await?;
    }
    let Some((package, version)) = apt.choose(packages).await? else {
        return Err(FetchError::NoPackage {
            suite: suite.to_owned(),
            what: wanted.what.to_owned(),
            packages: packages.to_vec(),
        });
    };
    // It is in the cache already, but did not fit: fetching it again would not change that.
    let known = match instead {
        Instead::OfOther => cache.list().unwrap_or_default(),
        Instead::OfDamaged => Vec::new(),
    };
    let is_this = |of: &Record| of.suite == suite && of.package == package && of.version == version;
    if known.iter().any(|entry| is_this(&entry.record)) {
        return Err(wanted.lacks(&package, &version));
    }
    let mut record = Record::new(suite, &package, &version);
    let files = apt
        .download(&package, &version, wanted.extent, watcher)
        .await?;
    record.download_bytes = files.iter().map(|file| file.size).sum();
    record.files = files.iter().map(|file| file.name.clone()).collect();
    record.files.sort();
    record.unpacked_bytes = apt.unpack(&files, watcher).await?;
    Ok(record)
}
