//! The source of the two dumps: files, or builds that are asked to write them.

use std::sync::Arc;

use crate::api::config::Builds;
use crate::api::confinement;
use crate::api::error::{ObtainError, other_machine};
use crate::migration::endpoint::vm::Endpoint;
use crate::model::{BuildKind, BuildRef};
use crate::parallel::side_by_side;
use crate::qemu::machine::{self, Machines};
use crate::qemu::{
    self, Build, BuildArg, FetchWatcher, Means, Opened, Pair as OpenedPair, QemuError,
};
use crate::report::{Notice, NoticeKind};
use crate::vmstate::dump::Dump;
use crate::vmstate::read::{parse_dump, read_dump};

/// The machine type that a dump is made with when none is requested: the device types are the same
/// with every machine, and this one needs nothing.
const NO_MACHINE: &str = "none";

/// Returns the means of opening builds that are asked for their dumps alone.
fn means<'w>(builds: &Builds, machine: Option<&str>, watcher: FetchWatcher<'w>) -> Means<'w> {
    Means {
        architecture: machine::architecture(builds.architecture.as_deref(), machine).to_owned(),
        cache: builds.cache.clone(),
        watcher,
        lists_drivers: false,
        confine: confinement::of_own(builds.confine),
    }
}

/// The dumps of the old and of the new build.
pub(crate) type Dumps = (Arc<Dump>, Arc<Dump>);

/// Returns the endpoints of two builds, with their dumps where they are known.
pub(crate) fn endpoints(builds: &OpenedPair, dumps: Option<&Dumps>) -> (Endpoint, Endpoint) {
    let (mut old, mut new) = Endpoint::both(builds);
    if let Some((of_old, of_new)) = dumps {
        old.dump = Some(Arc::clone(of_old));
        new.dump = Some(Arc::clone(of_new));
    }
    (old, new)
}

/// Two dumps and what is known of them.
#[derive(Debug)]
pub(crate) struct Pair {
    pub old: (BuildRef, Dump),
    pub new: (BuildRef, Dump),
    /// The machine types that were asked for or picked; else the type or the family that both dumps name.
    pub machines: Option<Machines>,
}

impl Pair {
    /// Returns the notices about the dumps, which a reader needs beside their comparison.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let machines = match &self.machines {
            Some(paired) if paired.are_paired() => Some(paired_notice(paired)),
            _ => differing(&self.old.1, &self.new.1).map(|(old, new)| {
                NoticeKind::MachinesDiffer.about(machine::family(old), other_machine(old, new))
            }),
        };
        machines.into_iter().chain(self.unreadable()).collect()
    }

    /// Returns the notices about sections that cannot be read.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = Notice> {
        let sides = [&self.old, &self.new].into_iter();
        sides.flat_map(|(build, dump)| {
            dump.unreadable.iter().map(|section| {
                let subject = format!("{} of {}", section.type_name, build.label);
                NoticeKind::SectionUnreadable.about(subject, &section.reason)
            })
        })
    }

    /// Returns the dumps alone.
    pub(crate) fn shared(self) -> Dumps {
        (Arc::new(self.old.1), Arc::new(self.new.1))
    }
}

/// Returns the machine types that two dumps name, if they are different ones.
fn differing<'d>(old: &'d Dump, new: &'d Dump) -> Option<(&'d str, &'d str)> {
    let machines = old.machine.as_deref().zip(new.machine.as_deref());
    machines.filter(|(old, new)| old != new && *old != NO_MACHINE && *new != NO_MACHINE)
}

/// Returns the notice about machine types of two names, which guests move between all the same.
pub(crate) fn paired_notice(machines: &Machines) -> Notice {
    let why = format!(
        "{}, so that the name in streams is changed on the way",
        other_machine(&machines.old, &machines.new)
    );
    NoticeKind::MachinesPaired.about(machines.to_string(), why)
}

/// One side, as far as it is known before the machine type is.
enum Source {
    File(String, Box<Dump>),
    Build(Box<Opened>),
}

/// The dump of the old build as the build wrote it; the new one is not looked at.
///
/// # Errors
/// As for [`obtain`].
pub(crate) fn dump_of(
    builds: &Builds,
    machine: Option<&str>,
    watcher: FetchWatcher<'_>,
) -> Result<Vec<u8>, ObtainError> {
    let arg = qemu::parse(&builds.old)?;
    let means = means(builds, machine, watcher);
    let (build, machine) = match machine {
        Some(wanted) => {
            let opened = Opened::new(&arg, &means)?;
            let machine = machine::resolve_one(wanted, &opened.info).map_err(QemuError::from)?;
            (opened.build, machine)
        }
        None => {
            let cache = qemu::Cache::new(means.cache).map_err(QemuError::from)?;
            let build = qemu::open(&arg, &means.architecture, &cache, means.watcher)?;
            (build, NO_MACHINE.to_owned())
        }
    };
    // A file that cannot be read back is not returned as a dump.
    Ok(written(&build, &machine)?.0)
}

/// Has a build write its dump, and reads it.
fn written(build: &Build, machine: &str) -> Result<(Vec<u8>, Dump), ObtainError> {
    let bytes = build.dump_vmstate(machine)?;
    let dump = parse_dump(&bytes, build.label()).map_err(|source| ObtainError::Unreadable {
        build: build.label().to_owned(),
        source,
    })?;
    Ok((bytes, dump))
}

/// Reads or makes both dumps. Builds are started side by side.
///
/// # Errors
/// A file is not a dump or is another machine's, or a build does not write one.
pub(crate) fn obtain(
    builds: &Builds,
    wanted: Option<&str>,
    watcher: FetchWatcher<'_>,
) -> Result<Pair, ObtainError> {
    let means = means(builds, wanted, watcher);
    let (old, new) = qemu::parse_both(&builds.old, &builds.new, &means)?;
    let of_builds = |builds: &OpenedPair| {
        let machine = match wanted {
            Some(wanted) => Some(builds.machines(wanted).map_err(QemuError::from)?),
            None => builds.usual_machine().map(Machines::same),
        };
        dumps(builds, machine)
    };
    let source = |arg: &BuildArg, label: &str| -> Result<Source, ObtainError> {
        Ok(match arg {
            BuildArg::Dump(path) => Source::File(label.to_owned(), Box::new(read_dump(path)?)),
            build => Source::Build(Box::new(Opened::new(build, &means)?)),
        })
    };
    let (old, new) = match (&old, &new) {
        (BuildArg::Dump(_), _) | (_, BuildArg::Dump(_)) => {
            side_by_side(|| source(&old, &builds.old), || source(&new, &builds.new))
        }
        _ => return of_builds(&OpenedPair::open(&old, &new, &means)?),
    };
    let (old, new) = (old?, new?);
    let (of_old, of_new) = match wanted.map(machine::sides) {
        Some((of_old, Some(of_new))) => (Some(of_old), Some(of_new)),
        _ => (wanted, wanted),
    };
    let are_paired = of_old != of_new;
    let machine = match (&old, &new) {
        (Source::Build(build), Source::File(..)) if are_paired => named(of_old, build)?,
        (Source::File(..), Source::Build(build)) if are_paired => named(of_new, build)?,
        (Source::Build(build), Source::File(_, dump))
        | (Source::File(_, dump), Source::Build(build)) => machine_beside(wanted, dump, build)?,
        _ => None,
    };
    let finish = |source, wanted| match source {
        Source::File(label, dump) => finish_file(label, *dump, wanted),
        Source::Build(build) => dump(&build, machine.as_deref()),
    };
    let (old, new) = (finish(old, of_old)?, finish(new, of_new)?);
    let paired = differing(&old.1, &new.1).filter(|_| are_paired);
    let paired = paired.map(|(old, new)| Machines {
        old: old.to_owned(),
        new: new.to_owned(),
    });
    pair(old, new, paired.or(machine.map(Machines::same)))
}

/// Returns the machine type of a build that a name means, if one is given.
fn named(wanted: Option<&str>, build: &Opened) -> Result<Option<String>, ObtainError> {
    let found = wanted.map(|wanted| machine::resolve_one(wanted, &build.info));
    Ok(found.transpose().map_err(QemuError::from)?)
}

/// Returns the machine type for a build that is compared with a dump: that of the dump, where the
/// build has it.
fn machine_beside(
    wanted: Option<&str>,
    dump: &Dump,
    build: &Opened,
) -> Result<Option<String>, ObtainError> {
    let made = dump.machine.as_deref().filter(|made| *made != NO_MACHINE);
    let same = made.filter(|made| wanted.is_none_or(|wanted| made.contains(wanted)));
    if let Some(same) = same.and_then(|made| machine::resolve_one(made, &build.info).ok()) {
        return Ok(Some(same));
    }
    let family = made.map(machine::family);
    match (wanted, family) {
        (Some(_), _) => named(wanted, build),
        (None, Some(family)) => Ok(machine::resolve_one(family, &build.info).ok()),
        (None, None) => Ok(None),
    }
}

/// Has two open builds write their dumps; `machines` are types that they have.
///
/// # Errors
/// One does not write a dump, or none that can be read.
pub(crate) fn dumps(builds: &OpenedPair, machines: Option<Machines>) -> Result<Pair, ObtainError> {
    let (old, new) = side_by_side(
        || dump(&builds.old, machines.as_ref().map(|of| &*of.old)),
        || dump(&builds.new, machines.as_ref().map(|of| &*of.new)),
    );
    pair(old?, new?, machines)
}

/// Makes a pair of two dumps, of one machine type or at least of one family, or of two types that a user pairs.
fn pair(
    old: (BuildRef, Dump),
    new: (BuildRef, Dump),
    machines: Option<Machines>,
) -> Result<Pair, ObtainError> {
    let machines = match (machines, differing(&old.1, &new.1)) {
        (Some(paired), _) if paired.are_paired() => Some(paired),
        (_, Some((a, b))) if machine::family(a) == machine::family(b) => {
            Some(Machines::same(machine::family(a)))
        }
        (_, Some((a, b))) => {
            return Err(ObtainError::DifferentMachines {
                old: a.to_owned(),
                new: b.to_owned(),
                old_file: old.0.label,
                new_file: new.0.label,
            });
        }
        (machine, None) => machine.or_else(|| {
            let both = old.1.machine.as_ref().zip(new.1.machine.as_ref());
            let same = both.filter(|(a, b)| a == b && *a != NO_MACHINE);
            same.map(|(same, _)| Machines::same(same))
        }),
    };
    Ok(Pair { old, new, machines })
}

fn finish_file(
    label: String,
    dump: Dump,
    wanted: Option<&str>,
) -> Result<(BuildRef, Dump), ObtainError> {
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
    Ok((build, dump))
}

/// Has an open build write its dump, with this machine type or with none.
///
/// # Errors
/// It writes none, or none that can be read.
pub(crate) fn dump(
    opened: &Opened,
    machine: Option<&str>,
) -> Result<(BuildRef, Dump), ObtainError> {
    let (_, dump) = written(&opened.build, machine.unwrap_or(NO_MACHINE))?;
    Ok((opened.reference(), dump))
}
