//! The events of a fetch of a build, for a watcher.

use std::fmt;

use crate::qemu::Damage;

/// Something that happens while a build is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchEvent<'e> {
    /// Another run fetches from the same suite, and this one waits for it.
    Waiting {
        /// The suite, for instance `bookworm`.
        suite: &'e str,
    },
    /// A build in the cache is not what was unpacked there: it is fetched again.
    Damaged {
        /// The suite.
        suite: &'e str,
        /// The first difference.
        damage: &'e Damage,
    },
    /// A step began.
    Began {
        /// The suite.
        suite: &'e str,
        /// The step.
        step: FetchStep<'e>,
    },
    /// The step of a suite went on.
    Advanced {
        /// The suite.
        suite: &'e str,
        /// Bytes or packages so far, by the step.
        position: u64,
    },
    /// The step of a suite is over, well or not.
    Ended {
        /// The suite.
        suite: &'e str,
    },
    /// The build is in the cache.
    Fetched {
        /// The suite.
        suite: &'e str,
        /// The package with the program.
        package: &'e str,
        /// The package's version.
        version: &'e str,
        /// Bytes of all files.
        unpacked_bytes: u64,
    },
}

/// A step of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchStep<'e> {
    /// The list of packages is fetched; how long that takes is not known.
    PackageList,
    /// A package is fetched with all that it depends on.
    Download {
        /// The package with the program.
        package: &'e str,
        /// The package's version.
        version: &'e str,
        /// Bytes to fetch.
        bytes: u64,
    },
    /// The packages are unpacked.
    Unpack {
        /// The number of packages.
        packages: u64,
    },
}

impl FetchStep<'_> {
    /// Returns the position at which the step is done; of some it is not known.
    pub fn total(&self) -> Option<u64> {
        match *self {
            FetchStep::PackageList => None,
            FetchStep::Download { bytes, .. } => Some(bytes),
            FetchStep::Unpack { packages } => Some(packages),
        }
    }
}

/// A line for a log.
impl fmt::Display for FetchEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchEvent::Waiting { suite } => {
                write!(f, "another run is fetching debian:{suite}; waiting for it")
            }
            FetchEvent::Damaged { suite, damage } => write!(
                f,
                "debian:{suite} in the cache is damaged ({damage}): it is fetched again"
            ),
            FetchEvent::Began { suite, step } => match step {
                FetchStep::PackageList => {
                    write!(f, "fetching debian:{suite}: the list of packages")
                }
                FetchStep::Download {
                    package,
                    version,
                    bytes,
                } => write!(
                    f,
                    "fetching debian:{suite}: {package} {version}, {} MB",
                    bytes / 1_000_000
                ),
                FetchStep::Unpack { packages } => {
                    write!(f, "unpacking debian:{suite}: {packages} packages")
                }
            },
            FetchEvent::Advanced { suite, position } => {
                write!(f, "debian:{suite}: {position} so far")
            }
            FetchEvent::Ended { suite } => write!(f, "debian:{suite}: the step is over"),
            FetchEvent::Fetched {
                suite,
                package,
                version,
                unpacked_bytes,
            } => write!(
                f,
                "fetched debian:{suite}: {package} {version}, {} MB unpacked",
                unpacked_bytes / 1_000_000
            ),
        }
    }
}

/// A watcher of a fetch; called from any thread.
pub(crate) type FetchWatcher<'w> = &'w (dyn Fn(FetchEvent<'_>) + Sync);

/// A step under way; its end is reported when this is dropped.
pub(crate) struct Step<'w> {
    watcher: FetchWatcher<'w>,
    suite: &'w str,
}

impl<'w> Step<'w> {
    pub(crate) fn begin(watcher: FetchWatcher<'w>, suite: &'w str, step: FetchStep<'_>) -> Self {
        let event = FetchEvent::Began { suite, step };
        tracing::debug!("{event}");
        watcher(event);
        Step { watcher, suite }
    }

    pub(crate) fn advance(&self, position: u64) {
        let suite = self.suite;
        (self.watcher)(FetchEvent::Advanced { suite, position });
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let event = FetchEvent::Ended { suite: self.suite };
        tracing::debug!("{event}");
        (self.watcher)(event);
    }
}
