//! Fetching a QEMU out of the Debian archive, without installing anything.
//!
//! apt does the work with a state of its own: one suite in its source list, an empty list of what
//! is installed, everything in a temporary folder. Mirror, proxy and keyrings are those of the
//! machine's own apt, and signatures are always checked.

mod apt;
mod files;
mod sources;

use std::io;
use std::path::{Path, PathBuf};

use crate::qemu::build::Build;
use crate::qemu::cache::{Cache, Fetching, InUse, Record};
use crate::qemu::process::quoted;
use crate::qemu::progress::{FetchStep, Step};
use crate::qemu::{CacheError, FetchEvent, FetchWatcher, QemuError, RunError, block_on};
use apt::Apt;

const INSTEAD: &str = "pass a QEMU binary or a vmstate dump instead of debian:SUITE";

/// A suite could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetching debian:{suite} needs {tool}, which is not on this machine; {INSTEAD}")]
    NoTool { suite: String, tool: &'static str },
    #[error(
        "fetching debian:{suite}: this machine's apt has no Debian archive among its sources \
         (if it has, `apt-get update` may help it to know); {INSTEAD}"
    )]
    NoArchive { suite: String },
    #[error("debian:{suite}: the Debian archive has no such suite{}", quoted(.detail))]
    NoSuchSuite { suite: String, detail: String },
    #[error(
        "debian:{suite}: its signature cannot be verified with the keys on this machine, so it is \
         not used (a newer debian-archive-keyring may know it){}", quoted(.detail)
    )]
    Unverified { suite: String, detail: String },
    #[error("debian:{suite}: the Debian archive cannot be reached; {INSTEAD}{}", quoted(.detail))]
    Unreachable { suite: String, detail: String },
    #[error(
        "debian:{suite} has no package with a QEMU for {arch} (looked for {})", packages.join(", ")
    )]
    NoPackage {
        suite: String,
        arch: String,
        packages: Vec<String>,
    },
    #[error("debian:{suite}: {package} {version} has no QEMU for {arch}")]
    NoProgram {
        suite: String,
        package: String,
        version: String,
        arch: String,
    },
    #[error("debian:{suite}: {what} failed{}", quoted(.detail))]
    Failed {
        suite: String,
        what: String,
        detail: String,
    },
    #[error("debian:{suite}: {source}")]
    Run { suite: String, source: RunError },
    #[error("debian:{suite}: {}: {source}", path.display())]
    Io {
        suite: String,
        path: PathBuf,
        source: io::Error,
    },
}

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
    let fits = |root: &Path| Build::package(&label, arch, root, None).is_some();
    let cached = || -> Result<Option<Build>, CacheError> {
        let found = cache.find(suite, packages, fits)?;
        Ok(found.and_then(|InUse { root, lock }| {
            let build = Build::package(&label, arch, &root, Some(lock))?;
            Some(match root.parent() {
                Some(entry) => build.with_script(entry),
                None => build,
            })
        }))
    };
    if let Some(build) = cached()? {
        tracing::debug!(
            suite,
            arch,
            program = build.shell_prefix(),
            "the build is in the cache"
        );
        return Ok(build);
    }
    let fetching = cache.start_fetch(suite, watcher)?;
    // The previous owner of the lock may have fetched what is needed here.
    if let Some(build) = cached()? {
        return Ok(build);
    }
    let fetched =
        block_on(fetch(suite, arch, packages, cache, &fetching, watcher)).map_err(|source| {
            FetchError::Io {
                suite: suite.to_owned(),
                path: fetching.work().to_owned(),
                source,
            }
        })??;
    let program = |record: &Record| FetchError::NoProgram {
        suite: suite.to_owned(),
        package: record.package.clone(),
        version: record.version.clone(),
        arch: arch.to_owned(),
    };
    fetching.finish(&fetched)?;
    watcher(FetchEvent::Fetched {
        suite,
        package: &fetched.package,
        version: &fetched.version,
        unpacked_bytes: fetched.unpacked_bytes,
    });
    Ok(cached()?.ok_or_else(|| program(&fetched))?)
}

async fn fetch(
    suite: &str,
    arch: &str,
    packages: &[String],
    cache: &Cache,
    fetching: &Fetching,
    watcher: FetchWatcher<'_>,
) -> Result<Record, FetchError> {
    let apt = Apt::new(suite, fetching.work()).await?;
    {
        let _step = Step::begin(watcher, suite, FetchStep::PackageList);
        apt.update().await?;
    }
    let Some((package, version)) = apt.choose(packages).await? else {
        return Err(FetchError::NoPackage {
            suite: suite.to_owned(),
            arch: arch.to_owned(),
            packages: packages.to_vec(),
        });
    };
    // It is in the cache already, but did not fit: fetching it again would not change that.
    let known = cache.list().unwrap_or_default();
    if known
        .iter()
        .any(|entry| entry.suite == suite && entry.package == package && entry.version == version)
    {
        return Err(FetchError::NoProgram {
            suite: suite.to_owned(),
            package,
            version,
            arch: arch.to_owned(),
        });
    }
    let mut record = Record::new(suite, &package, &version);
    let files = apt.download(&package, &version, watcher).await?;
    record.download_bytes = files.iter().map(|file| file.size).sum();
    record.files = files.iter().map(|file| file.name.clone()).collect();
    record.files.sort();
    record.unpacked_bytes = apt.unpack(&files, watcher).await?;
    Ok(record)
}
