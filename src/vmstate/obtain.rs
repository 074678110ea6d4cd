//! Where the two dumps come from: files, or builds that are asked to write them.

use std::path::PathBuf;

use super::dump::Dump;
use super::read::{DumpError, parse_dump, read_dump};
use crate::model::{BuildKind, BuildRef};
use crate::qemu::{self, Build, BuildArg, BuildInfo, Cache, Progress, QemuError, machine};

/// The machine type that a dump is made with when none is asked for: the types are the same whatever
/// it is, and this one needs nothing.
const NO_MACHINE: &str = "none";

/// What to compare.
#[derive(Debug, Clone)]
pub struct Wanted<'w> {
    pub old: &'w str,
    pub new: &'w str,
    pub machine: Option<&'w str>,
    pub architecture: Option<&'w str>,
    pub cache: Option<PathBuf>,
    pub progress: Progress,
}

impl Wanted<'_> {
    fn architecture(&self) -> &str {
        machine::architecture(self.architecture, self.machine)
    }
}

/// Two dumps and what is known of them.
#[derive(Debug)]
pub struct Pair {
    pub old: (BuildRef, Dump),
    pub new: (BuildRef, Dump),
    /// The machine type asked for, resolved; else the type or the family that both dumps name.
    pub machine: Option<String>,
}

/// Why there are no two dumps.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    #[error(transparent)]
    Qemu(#[from] QemuError),
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
    #[error("{build} wrote a dump that cannot be read: {source}")]
    Unreadable { build: String, source: DumpError },
    #[error("{old} is a build for {old_target} and {new} one for {new_target}")]
    OtherTarget {
        old: String,
        old_target: String,
        new: String,
        new_target: String,
    },
}

impl ObtainError {
    /// Whether the arguments are to blame, rather than a build.
    pub fn is_usage(&self) -> bool {
        match self {
            ObtainError::Qemu(error) => error.is_usage(),
            ObtainError::Input(_)
            | ObtainError::OtherMachine { .. }
            | ObtainError::OtherTarget { .. } => true,
            ObtainError::Unreadable { .. } => false,
        }
    }
}

/// One side, as far as it is known before the machine type is.
enum Source {
    File(String, Box<Dump>),
    Build(Box<Build>, BuildInfo),
}

/// The dump of one build as the build wrote it; [`Wanted::new`] is not looked at.
pub fn dump_of(wanted: &Wanted) -> Result<Vec<u8>, ObtainError> {
    let arg = qemu::parse(wanted.old)?;
    let cache = Cache::new(wanted.cache.clone()).map_err(QemuError::from)?;
    let build = qemu::open(&arg, wanted.architecture(), &cache, wanted.progress)?;
    let machine = match wanted.machine {
        Some(wanted) => machine::resolve_one(wanted, &build.info()?).map_err(QemuError::from)?,
        None => NO_MACHINE.to_owned(),
    };
    let bytes = build.dump_vmstate(&machine)?;
    // What cannot be read back is not handed out as a dump.
    parse_dump(&bytes, build.label()).map_err(|source| ObtainError::Unreadable {
        build: build.label().to_owned(),
        source,
    })?;
    Ok(bytes)
}

/// Reads or makes both dumps. Builds are started side by side.
pub fn obtain(wanted: &Wanted) -> Result<Pair, ObtainError> {
    let architecture = wanted.architecture();
    let prepare = |arg: &str| -> Result<Source, ObtainError> {
        match qemu::parse(arg)? {
            BuildArg::Dump(path) => Ok(Source::File(arg.to_owned(), Box::new(read_dump(&path)?))),
            build => {
                let cache = Cache::new(wanted.cache.clone()).map_err(QemuError::from)?;
                let build = qemu::open(&build, architecture, &cache, wanted.progress)?;
                let info = build.info()?;
                Ok(Source::Build(Box::new(build), info))
            }
        }
    };
    let (old, new) = side_by_side(|| prepare(wanted.old), || prepare(wanted.new));
    let (old, new) = (old?, new?);
    let machine = choose_machine(wanted.machine, &old, &new)?;
    let (old, new) = side_by_side(
        || finish(old, machine.as_deref(), wanted.machine),
        || finish(new, machine.as_deref(), wanted.machine),
    );
    let (old, new) = (old?, new?);
    let machine = machine.or_else(|| match (&old.1.machine, &new.1.machine) {
        (Some(old), Some(new)) if old == NO_MACHINE || new == NO_MACHINE => None,
        (Some(old), Some(new)) if old == new => Some(old.clone()),
        // Each was made with its build's newest type of one family.
        (Some(old), Some(new)) if machine::family(old) == machine::family(new) => {
            Some(machine::family(old).to_owned())
        }
        _ => None,
    });
    Ok(Pair { old, new, machine })
}

/// Runs both; a panic of one is passed on.
fn side_by_side<T: Send>(old: impl FnOnce() -> T + Send, new: impl FnOnce() -> T + Send) -> (T, T) {
    std::thread::scope(|scope| {
        let new = scope.spawn(new);
        let old = old();
        let new = match new.join() {
            Ok(new) => new,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (old, new)
    })
}

fn choose_machine(
    wanted: Option<&str>,
    old: &Source,
    new: &Source,
) -> Result<Option<String>, ObtainError> {
    if let (Source::Build(a, old), Source::Build(b, new)) = (old, new)
        && old.target != new.target
    {
        return Err(ObtainError::OtherTarget {
            old: a.label().to_owned(),
            old_target: old.target.clone(),
            new: b.label().to_owned(),
            new_target: new.target.clone(),
        });
    }
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let resolved = match (old, new) {
        (Source::Build(_, old), Source::Build(_, new)) => machine::resolve(wanted, old, new),
        (Source::Build(_, info), Source::File(..)) | (Source::File(..), Source::Build(_, info)) => {
            machine::resolve_one(wanted, info)
        }
        (Source::File(_, old), Source::File(..)) => return Ok(old.machine.clone()),
    };
    Ok(Some(resolved.map_err(QemuError::from)?))
}

fn finish(
    source: Source,
    machine: Option<&str>,
    wanted: Option<&str>,
) -> Result<(BuildRef, Dump), ObtainError> {
    match source {
        Source::File(label, dump) => {
            if let (Some(wanted), Some(made)) = (wanted, &dump.machine)
                && !made.contains(wanted)
            {
                return Err(ObtainError::OtherMachine {
                    file: label,
                    made: made.clone(),
                    wanted: wanted.to_owned(),
                });
            }
            let build = BuildRef {
                label,
                kind: BuildKind::Dump,
                version: None,
            };
            Ok((build, *dump))
        }
        Source::Build(build, info) => {
            let bytes = build.dump_vmstate(machine.unwrap_or(NO_MACHINE))?;
            let dump =
                parse_dump(&bytes, build.label()).map_err(|source| ObtainError::Unreadable {
                    build: build.label().to_owned(),
                    source,
                })?;
            let build = BuildRef {
                label: build.label().to_owned(),
                kind: build.kind(),
                version: Some(info.version),
            };
            Ok((build, dump))
        }
    }
}
