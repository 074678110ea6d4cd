//! Options of the builds that are compared, and of their machine.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::model::{AcceleratorPreference, Confine, Direction};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Directions {
    Forward,
    Backward,
    Both,
}

impl Directions {
    pub(crate) fn list(self) -> &'static [Direction] {
        match self {
            Directions::Forward => &[Direction::Forward],
            Directions::Backward => &[Direction::Backward],
            Directions::Both => &Direction::BOTH,
        }
    }
}

/// The choice of what executes a guest's instructions.
#[derive(Debug, Args)]
pub(crate) struct AccelArgs {
    /// Accelerator of the guests: tcg, kvm, or a list in the order of preference, of which the first is taken that both
    /// builds and this host can use; auto means kvm,tcg
    #[arg(long, value_name = "LIST", default_value_t)]
    pub accel: AcceleratorPreference,
}

/// The confinement of what is started.
#[derive(Debug, Args)]
pub(crate) struct ConfineArgs {
    /// Confinement of every QEMU that is started to the folder of its run, without a network: auto, as far as the host
    /// can, and not of your own scripts and trusted sets; off; or require, which starts nothing where the host cannot
    #[arg(long, value_name = "WHEN", default_value_t, hide_short_help = true)]
    pub confine: Confine,
}

/// The folder for fetched builds, and whether more are fetched.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Folder for fetched builds [default: $XDG_CACHE_HOME/migcompat]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache: Option<PathBuf>,
    /// Use no network: a build or a kernel that is not in the cache is an error that says what to fetch
    #[arg(long, global = true)]
    pub offline: bool,
}

/// The machine type, and the folder for fetched builds.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Machine type; an alias like q35 is the newest versioned one that the builds share, and OLD=NEW pairs two names
    #[arg(short = 'M', long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Architecture of the guest; by default what the machine type implies, else x86_64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub confine: ConfineArgs,
}

/// The builds, and the direction.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Build that guests start on [default in a tree of QEMU: last-release]
    #[arg(value_name = "OLD")]
    pub old: Option<String>,
    /// Build that they migrate to, and back from; with --against the only one [default in a tree of QEMU: its build]
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// Build that guests start on, in the place of OLD
    #[arg(long, value_name = "BUILD", conflicts_with = "new")]
    pub against: Option<String>,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Direction of the migration
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,
}

/// The work in a tree of QEMU, whose build is not named.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// In a tree of QEMU: check again each time that its build is linked, until a signal ends it
    #[arg(long, conflicts_with = "old")]
    pub watch: bool,
    /// In a tree of QEMU: the build of the commit that the work began from, whose differences are not shown [default: a
    /// worktree of that commit that is built]
    #[arg(long, value_name = "BUILD", conflicts_with_all = ["old", "reset"])]
    pub base: Option<String>,
    /// In a tree of QEMU: make the tree as it is now the baseline, instead of the one that is saved in its build
    #[arg(long, conflicts_with = "old")]
    pub reset: bool,
}
