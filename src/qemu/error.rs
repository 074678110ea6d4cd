//! The errors of a build, and whose fault they are.

use std::io;
use std::path::PathBuf;

use crate::qemu::process::quoted;
use crate::qemu::{
    CacheError, Damage, Ended, Lacking, NoCommonMachine, RunError, SpecError, StartError,
};

/// An error of this module. [`QemuError::is_usage`] separates an argument that is wrong (exit
/// status 2) from a build that could not be tested (125).
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The build cannot be confined, which is required.
    #[error(
        "{label} cannot be confined, as --confine require wants it: {lacking}; --confine auto confines as far as this \
         host can"
    )]
    NotConfined { label: String, lacking: Lacking },
    #[error(transparent)]
    Machine(#[from] Box<NoCommonMachine>),
    /// The builds of a pair.
    #[error("{old} is a build for {old_target} and {new} one for {new_target}")]
    OtherTarget {
        old: String,
        old_target: String,
        new: String,
        new_target: String,
    },
}

impl QemuError {
    /// Tells whether the arguments are to blame: they would be wrong on every machine and with any
    /// build. Everything else means that this pair could not be tested here and now.
    pub fn is_usage(&self) -> bool {
        match self {
            QemuError::Spec(_) | QemuError::OtherTarget { .. } => true,
            QemuError::Cache(error) => error.is_usage(),
            QemuError::Fetch(error) => error.is_usage(),
            QemuError::Machine(error) => error.is_unknown(),
            QemuError::Start(_) | QemuError::Dump(_) | QemuError::NotConfined { .. } => false,
        }
    }
}

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
    #[error(
        "debian:{suite}: the Debian archive has no such suite; its suites have names such as bookworm, trixie-backports \
         and stable{}", quoted(.detail)
    )]
    NoSuchSuite { suite: String, detail: String },
    #[error(
        "debian:{suite}: its signature cannot be verified with the keys on this machine, so it is \
         not used (a newer debian-archive-keyring may know it){}", quoted(.detail)
    )]
    Unverified { suite: String, detail: String },
    #[error("debian:{suite}: the Debian archive cannot be reached; {INSTEAD}{}", quoted(.detail))]
    Unreachable { suite: String, detail: String },
    #[error(
        "debian:{suite} has no {what} in the cache {}, and nothing is fetched (--offline): \
         `migcompat {command}` fetches it where there is a network", folder.display()
    )]
    Offline {
        suite: String,
        /// The contents that were looked for.
        what: String,
        folder: PathBuf,
        /// The arguments that fetch them.
        command: String,
    },
    #[error(
        "debian:{suite} has no package with a {what} (looked for {})", packages.join(", ")
    )]
    NoPackage {
        suite: String,
        /// The contents that were looked for.
        what: String,
        packages: Vec<String>,
    },
    #[error("debian:{suite}: {package} {version} has no {what}")]
    NotInPackage {
        suite: String,
        package: String,
        version: String,
        /// The contents that were looked for.
        what: String,
    },
    #[error(
        "debian:{suite} in the cache is damaged ({damage}), and it cannot be fetched again now; \
         `migcompat builds fetch debian:{suite}` does so later: {source}"
    )]
    Damaged {
        suite: String,
        damage: Damage,
        source: Box<QemuError>,
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

impl FetchError {
    /// Tells whether the arguments are to blame.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            FetchError::NoSuchSuite { .. } | FetchError::Offline { .. } => true,
            FetchError::Damaged { source, .. } => {
                matches!(&**source, QemuError::Fetch(FetchError::Offline { .. }))
            }
            _ => false,
        }
    }
}

/// A build gave no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The build failed, and its file is not to be trusted: a build that crashes half-way leaves a
    /// file that may even look whole.
    #[error("{label}: it {ended} while dumping {machine}{}", quoted(.stderr))]
    Failed {
        label: String,
        machine: String,
        ended: Ended,
        /// The end of its error output.
        stderr: String,
    },
    #[error("{label}: it exited successfully, but wrote no dump of {machine}{}", quoted(.stderr))]
    Empty {
        label: String,
        machine: String,
        stderr: String,
    },
    #[error("{label}: dumping {machine}: {source}")]
    Run {
        label: String,
        machine: String,
        source: RunError,
    },
    #[error("{label}: no temporary folder for its dump: {source}")]
    Temp { label: String, source: io::Error },
}
