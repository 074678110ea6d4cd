//! Two builds made ready for migrations, and the machine type they share.

use std::path::PathBuf;

use super::devices::Drivers;
use super::vm::Party;
use crate::qemu::{self, Cache, NoCommonMachine, Progress, QemuError, machine};

/// Which builds, as the user wrote them.
#[derive(Debug, Clone)]
pub struct Wanted<'w> {
    pub old: &'w str,
    pub new: &'w str,
    pub machine: &'w str,
    pub architecture: Option<&'w str>,
    pub cache: Option<PathBuf>,
    pub progress: Progress,
}

/// Two builds that can run the same machine.
#[derive(Debug, Clone)]
pub struct Pair {
    pub old: Party,
    pub new: Party,
    /// A type that both list.
    pub machine: String,
    /// The target of both, as in `qemu-system-TARGET`.
    pub arch: String,
}

/// Why there is no such pair.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Qemu(#[from] QemuError),
    #[error("{old} is a build for {old_target} and {new} one for {new_target}")]
    OtherTarget {
        old: String,
        old_target: String,
        new: String,
        new_target: String,
    },
}

impl OpenError {
    /// Whether the arguments are to blame, rather than a build.
    pub fn is_usage(&self) -> bool {
        match self {
            OpenError::Qemu(error) => error.is_usage(),
            OpenError::OtherTarget { .. } => true,
        }
    }
}

impl From<NoCommonMachine> for OpenError {
    fn from(error: NoCommonMachine) -> Self {
        OpenError::Qemu(error.into())
    }
}

/// Opens both builds side by side and asks them what they are.
///
/// # Errors
/// One is not to be had or does not start, or they have no machine in common.
pub fn open(wanted: &Wanted) -> Result<Pair, OpenError> {
    let architecture = machine::architecture(wanted.architecture, Some(wanted.machine));
    let prepare = |arg: &str| -> Result<Party, OpenError> {
        let arg = qemu::parse(arg)?;
        let cache = Cache::new(wanted.cache.clone()).map_err(QemuError::from)?;
        let build = qemu::open(&arg, architecture, &cache, wanted.progress)?;
        let info = build.info()?;
        // Versions decide where a build does not say what it can plug in.
        let help = build.device_help().unwrap_or_default();
        let drivers = (!help.trim().is_empty()).then(|| Drivers::from_help(&help));
        Ok(Party {
            build,
            info,
            drivers,
        })
    };
    let (old, new) = std::thread::scope(|scope| {
        let new = scope.spawn(|| prepare(wanted.new));
        let old = prepare(wanted.old);
        match new.join() {
            Ok(new) => (old, new),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let (old, new) = (old?, new?);
    if old.info.target != new.info.target {
        return Err(OpenError::OtherTarget {
            old: old.build.label().to_owned(),
            old_target: old.info.target,
            new: new.build.label().to_owned(),
            new_target: new.info.target,
        });
    }
    let machine = machine::resolve(wanted.machine, &old.info, &new.info)?;
    Ok(Pair {
        machine,
        arch: old.info.target.clone(),
        old,
        new,
    })
}
