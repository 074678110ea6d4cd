//! What is written beside an unpacked build, and the errors of the cache.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The form of an entry. An entry of another form is fetched again.
pub(crate) const FORMAT: u32 = 1;

/// An error of the cache folder.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(
        "no cache folder: neither HOME nor XDG_CACHE_HOME names an absolute path; set --cache DIR"
    )]
    NoHome,
    #[error("{}: the cache folder is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error(
        "{} belongs to another user ({owner}), so that nothing of it is run: remove it, or name a folder \
         of your own with --cache DIR", path.display()
    )]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{what} in the cache: {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{suite} {package} is in use by another run of migcompat; it was not removed")]
    InUse { suite: String, package: String },
    #[error("{0} is not a fetched build; only debian:SUITE can be removed from the cache")]
    NotFetched(String),
}

impl CacheError {
    /// Tells whether the arguments or the environment are to blame.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            CacheError::NoHome
                | CacheError::NotAFolder(_)
                | CacheError::NotFetched(_)
                | CacheError::Foreign { .. }
        )
    }
}

pub(crate) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { what, path, source }
}

/// The record beside an unpacked build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub suite: String,
    pub package: String,
    /// Debian's version of the package, for instance `1:7.2+dfsg-7+deb12u18`.
    pub version: String,
    /// The time when it was fetched, in UTC.
    pub date: String,
    pub download_bytes: u64,
    pub unpacked_bytes: u64,
    /// The files unpacked, QEMU and every library, which name their versions.
    pub files: Vec<String>,
    /// False of an entry of before there were manifests.
    #[serde(default)]
    pub has_manifest: bool,
}

impl Record {
    pub(crate) fn new(suite: &str, package: &str, version: &str) -> Self {
        Record {
            format: FORMAT,
            suite: suite.to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            date: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            download_bytes: 0,
            unpacked_bytes: 0,
            files: Vec::new(),
            has_manifest: true,
        }
    }
}
