//! The reasons why a question has no answer.

use std::io;
use std::path::PathBuf;

use crate::api::lock::LockError;
use crate::api::unknown_name::UnknownName;
use crate::bisect::revisions::RevisionError;
use crate::devices::DeviceError;
use crate::guest::{Leak, ReadError as GuestReadError};
use crate::history::HistoryError;
use crate::migration::accelerator::NoAccelerator;
use crate::migration::load::BadState;
use crate::migration::pool::RunFailure;
use crate::owners::OwnersError;
use crate::qemu::QemuError;
use crate::report::read::ReadError;
use crate::rules::known_issues::ListError;
use crate::sweep::merge::MergeError;
use crate::vmstate::read::DumpError;

/// The reason why a function of this library returns no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong, or names something that cannot be read. It is wrong whatever the
    /// builds do.
    #[error(transparent)]
    Usage(Reason),
    /// The question is sound, but these builds cannot be asked here and now: one does not start, or
    /// they have no such machine.
    #[error(transparent)]
    Untestable(Reason),
}

/// A sentence for people that says what is wrong.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Reason(pub(crate) Box<Problem>);

/// Everything that can be wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(
        "these functions block and must not be called inside a runtime: use a thread of its own, for \
         instance std::thread::spawn"
    )]
    InsideRuntime,
    #[error("cannot use the lists: {0}")]
    Lists(#[from] ListError),
    #[error(transparent)]
    Dumps(#[from] ObtainError),
    #[error(transparent)]
    Build(#[from] QemuError),
    #[error(transparent)]
    Devices(#[from] DeviceError),
    #[error(
        "{set}: {leak}; a set of your own that needs it is used from a folder that you name with --trust DIR"
    )]
    Leak { set: String, leak: Leak },
    #[error("{}: there is no such folder, whose device sets were to be trusted (--trust DIR)", folder.display())]
    NothingTrusted { folder: PathBuf },
    #[error(transparent)]
    Run(#[from] RunFailure),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error("cannot make {}: {error}", folder.display())]
    NoLogFolder { folder: PathBuf, error: io::Error },
    #[error("cannot keep logs in {}: {error}", folder.display())]
    BadLogFolder { folder: PathBuf, error: io::Error },
    #[error("no folder for logs: {0}")]
    NoTemporaryFolder(io::Error),
    #[error("{label} is a build for {target}, but {wanted} was requested")]
    OtherTarget {
        label: String,
        target: String,
        wanted: String,
    },
    #[error(transparent)]
    Name(#[from] UnknownName),
    #[error("-M is missing, and the builds have in common no usual machine of {target}")]
    NoUsualMachine { target: String },
    #[error("{label}: no guest can be made of it: {error}")]
    Guest {
        label: String,
        error: GuestReadError,
    },
    #[error("{label}: the guest has no -machine: give the machine type with -M")]
    NoMachine { label: String },
    #[error(transparent)]
    State(#[from] BadState),
    #[error("{} does not say which machine type it is of: give it with -M", file.display())]
    StateOfNoMachine { file: PathBuf },
    #[error(
        "{most} files can be open at once here, and a migration needs {least}: raise the limit (ulimit -n {least})"
    )]
    FewOpenFiles { most: u64, least: u64 },
    #[error("no build to sweep")]
    NoBuild,
    #[error("{0}; --accel auto takes what both builds and this host can use")]
    NoAccelerator(#[from] NoAccelerator),
    #[error(
        "there is no Linux guest for {arch}, only for {known}; without --workload linux a small guest \
         of our own runs"
    )]
    NoLinux { arch: String, known: String },
    #[error(
        "the devices of {machine} ({arch}) cannot be driven from outside: nothing says where its buses are; they can be \
         moved as they are after reset (--paused)"
    )]
    NotDrivable { machine: String, arch: String },
    #[error(
        "new breaks alone can count only beside a baseline: name an earlier report (--baseline)"
    )]
    NoBaseline,
    #[error(
        "regressions can be told only beside a history, and so can tiers: name its file (--history)"
    )]
    NoHistory,
    #[error(
        "a comparison of dumps has no cases, and only cases have a tier: use --gate all, new or regression"
    )]
    NoCases,
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Owners(#[from] OwnersError),
    #[error("one build is nothing to compare: name two or more, in their order")]
    NothingToSearch,
    #[error("{0}")]
    Unavailable(String),
    #[error("{origin} is a map of other builds, pairs or machines than {first}")]
    OtherMap { origin: String, first: String },
    #[error(transparent)]
    Revisions(#[from] RevisionError),
}

impl Problem {
    /// Returns true if the configuration is to blame, rather than a build or this computer.
    fn is_usage(&self) -> bool {
        match self {
            Problem::Dumps(error) => error.is_usage(),
            Problem::Build(error) => error.is_usage(),
            Problem::Merge(error) => error.is_usage(),
            Problem::FewOpenFiles { .. }
            | Problem::Run(_)
            | Problem::NoTemporaryFolder(_)
            | Problem::NoBuild
            | Problem::NoAccelerator(_)
            | Problem::Unavailable(_) => false,
            Problem::InsideRuntime
            | Problem::NothingToSearch
            | Problem::OtherMap { .. }
            | Problem::Revisions(_)
            | Problem::Lists(_)
            | Problem::Devices(_)
            | Problem::Leak { .. }
            | Problem::NothingTrusted { .. }
            | Problem::Name(_)
            | Problem::Read(_)
            | Problem::Guest { .. }
            | Problem::NoMachine { .. }
            | Problem::State(_)
            | Problem::StateOfNoMachine { .. }
            | Problem::NoBaseline
            | Problem::NoHistory
            | Problem::NoCases
            | Problem::History(_)
            | Problem::Lock(_)
            | Problem::Owners(_)
            | Problem::NoLogFolder { .. }
            | Problem::BadLogFolder { .. }
            | Problem::NoUsualMachine { .. }
            | Problem::NoLinux { .. }
            | Problem::NotDrivable { .. }
            | Problem::OtherTarget { .. } => true,
        }
    }
}

impl<P: Into<Problem>> From<P> for Error {
    fn from(problem: P) -> Self {
        match problem.into() {
            problem if problem.is_usage() => Error::Usage(Reason(Box::new(problem))),
            problem => Error::Untestable(Reason(Box::new(problem))),
        }
    }
}

/// Returns QEMU's message about a guest of another machine type.
pub(crate) fn other_machine(old: &str, new: &str) -> String {
    format!("QEMU says \"Machine type received is '{old}' and local is '{new}'\"")
}

/// A failure to obtain the two dumps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObtainError {
    #[error(transparent)]
    Builds(#[from] QemuError),
    #[error(transparent)]
    Input(#[from] DumpError),
    #[error(
        "{file} was made with -M {made}, not {wanted}; a dump holds the same device types whatever the machine, so -M can be left out"
    )]
    OtherMachine {
        file: String,
        made: String,
        wanted: String,
    },
    #[error(
        "{old_file} was made with -M {old} and {new_file} with -M {new}, between which no guest migrates: {}; \
         -M {old}={new} compares them all the same",
        other_machine(old, new)
    )]
    DifferentMachines {
        old_file: String,
        old: String,
        new_file: String,
        new: String,
    },
    #[error("{build} wrote a dump that cannot be read: {source}")]
    Unreadable { build: String, source: DumpError },
}

impl ObtainError {
    /// Tells whether the arguments are to blame, rather than a build.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            ObtainError::Builds(error) => error.is_usage(),
            ObtainError::Unreadable { .. } => false,
            ObtainError::Input(_)
            | ObtainError::OtherMachine { .. }
            | ObtainError::DifferentMachines { .. } => true,
        }
    }
}
