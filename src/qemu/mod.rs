//! A build of QEMU: where it comes from, what it can do, starting it.
//!
//! An argument ([`BuildArg`]) is opened into a [`Build`], fetched from a Debian archive into the
//! [`Cache`] where it is a suite. A build is asked over [`qmp`] for its version and machine types
//! ([`BuildInfo`]), which decide the [`machine`] type, and it writes the vmstate dump of one.
//!
//! The functions that are not `async` start a runtime of their own and must not be called from
//! inside another one.

pub(crate) mod accelerator;
mod address_space;
mod answers;
mod build;
mod build_info;
mod bulk;
mod cache;
mod confinement;
pub(crate) mod cpu_models;
mod debian;
mod dump;
mod error;
mod firmware;
mod identity;
mod info;
mod introspect;
mod last_release;
pub mod machine;
mod memory_kills;
mod monitor;
mod namespace;
pub mod object;
mod options;
pub(crate) mod output;
mod pair;
mod process;
mod progress;
pub mod properties;
pub mod qmp;
mod spec;
mod tree;

pub(crate) use answers::{Answer, Question, Subject};
pub(crate) use build::MallocFill;
pub use build::{Build, Deadlines};
pub(crate) use build_info::BuildInfo;
pub use cache::{Cache, CacheConfig, Damage};
pub(crate) use cache::{CacheError, Cached, InUse, keep};
pub use confinement::ConfinePolicy;
pub(crate) use confinement::{Channel, Granted, Lacking, confine};
pub(crate) use debian::{Extent, Wanted, obtain};
pub use error::QemuError;
pub(crate) use error::{DumpError, FetchError};
pub(crate) use firmware::{Firmware, FirmwareSource};
pub(crate) use info::to_be_asked;
pub(crate) use introspect::{Switch, Switches};
pub(crate) use last_release::parse_both;
pub(crate) use machine::NoCommonMachine;
pub(crate) use memory_kills::MemoryKills;
pub(crate) use monitor::{Monitored, StartError};
pub use monitor::{Problem, private_dir};
pub(crate) use namespace::NetworkNamespace;
pub(crate) use options::{is_id, option_value, quote, settings, split_option};
pub(crate) use pair::{Fingerprints, Opened};
pub use pair::{Means, Pair};
pub(crate) use process::{Ended, ProcessState, RunError, Running, output};
pub(crate) use progress::FetchWatcher;
pub use progress::{FetchEvent, FetchStep};
pub(crate) use qmp::MachineType;
pub use spec::BuildArg;
pub(crate) use spec::LAST_RELEASE;
pub(crate) use spec::SpecError;
pub(crate) use spec::is_program;
pub(crate) use tree::Tree;

use crate::cleanup::until_the_end;

/// Reads a BUILD argument and checks that what it names exists.
///
/// # Errors
/// The argument is malformed, or names a file or a program that does not exist or cannot be used.
pub fn parse(arg: &str) -> Result<BuildArg, QemuError> {
    Ok(arg.parse::<BuildArg>()?)
}

/// Makes a build ready to run, fetching it into the cache where it is a Debian suite that is not
/// there yet. `arch` is the target as QEMU names it (`x86_64`, `aarch64`); it chooses the program
/// of a suite and does not affect a binary.
///
/// # Errors
/// A dump is refused: it cannot be run. A suite may be unknown, unverifiable or out of reach.
pub fn open(
    arg: &BuildArg,
    arch: &str,
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<Build, QemuError> {
    if machine::target_called(arch).is_some() {
        return Err(SpecError::unknown_architecture(arch).into());
    }
    match arg {
        BuildArg::Dump(path) => Err(SpecError::DumpCannotRun(path.clone()).into()),
        BuildArg::Binary { label, path } => Ok(Build::binary(label, path)),
        BuildArg::Folder { label, path } => {
            Ok(Build::binary(label, &spec::program_in(path, arch)?))
        }
        BuildArg::Debian { suite } => {
            let packages =
                machine::packages(arch).ok_or_else(|| SpecError::unknown_architecture(arch))?;
            debian::open(suite, arch, packages, cache, watcher)
        }
    }
}

/// Runs a future to its end on a runtime of its own; the future stops once the process is ending.
///
/// # Errors
/// The system provides no runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(until_the_end(future)))
}

#[cfg(test)]
mod testing {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// Writes a file that can be executed, with the folders above it.
    pub(super) fn file(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
}
