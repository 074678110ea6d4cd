//! The packages that a guest is made of, fetched like a build: `guests/linux/kernels.toml`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::qemu::{Cache, CacheError, Extent, FetchWatcher, InUse, QemuError, Wanted, obtain};
use crate::workload::linux::aliases::PciFunction;
use crate::workload::linux::kernel::Kernel;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kernels {
    /// The suite that everything comes from, unless an entry names another one. The same holds for what follows.
    suite: String,
    processors: u32,
    /// In MiB.
    memory: u32,
    kernel: Vec<KernelEntry>,
}

/// The kernels for some targets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelEntry {
    targets: Vec<String>,
    suite: Option<String>,
    debian: String,
    busybox: String,
    packages: Vec<String>,
    append: String,
    timer: String,
    processors: Option<u32>,
    memory: Option<u32>,
}

static KERNELS: LazyLock<Kernels> = LazyLock::new(|| {
    // Not external input: the file is part of the program, and a test reads it.
    toml::from_str(include_str!("../../../guests/linux/kernels.toml"))
        .unwrap_or_else(|error| unreachable!("guests/linux/kernels.toml: {error}"))
});

/// Returns the targets for which there is a kernel.
pub(crate) fn targets() -> impl Iterator<Item = &'static str> {
    let entries = KERNELS.kernel.iter();
    entries.flat_map(|entry| entry.targets.iter().map(String::as_str))
}

/// Returns the memory that a machine of a target has to have for its kernel, in MiB.
pub(crate) fn memory_mib(target: &str) -> u32 {
    let entry = KERNELS.of_target(target);
    entry
        .and_then(|entry| entry.memory)
        .unwrap_or(KERNELS.memory)
}

impl Kernels {
    fn of_target(&self, target: &str) -> Option<&KernelEntry> {
        self.kernel
            .iter()
            .find(|entry| entry.targets.iter().any(|of| of == target))
    }
}

/// Unpacked packages, which no process removes while this lives.
#[derive(Debug)]
pub(crate) struct Packages {
    pub(super) kernel: Kernel,
    /// The shell and everything else that the guest runs, in one file.
    pub(super) busybox: PathBuf,
    /// Options that this kernel needs.
    pub(super) append: &'static str,
    /// The word that stands in the line of the timers of its processors.
    pub(super) timer: &'static str,
    /// The processors that its machine has.
    pub(super) processors: u32,
    /// The memory that its machine has to have, in MiB.
    pub(super) memory_mib: u32,
    _in_use: Vec<InUse>,
}

/// The devices that a kernel is to have drivers for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Driven<'f> {
    /// These.
    Functions(&'f [PciFunction]),
    /// Any.
    All,
}

/// Returns the kernel of a target that drives most of some devices, the first of several, with what it runs; fetched
/// where it is not in the cache. `None` if there is no kernel for the target.
///
/// # Errors
/// A package cannot be fetched or read.
pub(crate) fn packages(
    target: &str,
    wanted: Driven<'_>,
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<Option<Packages>, QemuError> {
    let Some(source) = Source::of_target(target, cache, watcher) else {
        return Ok(None);
    };
    let entry = source.entry;
    let (busybox, shell) = source.busybox()?;
    let mut in_use = vec![shell];
    let mut best: Option<(usize, Kernel)> = None;
    let (packages, functions) = match wanted {
        Driven::Functions(functions) => (&entry.packages[..], functions),
        // The last one has most drivers.
        Driven::All => (
            entry.packages.last().map_or(&[][..], std::slice::from_ref),
            &[][..],
        ),
    };
    for package in packages {
        let (kernel, unpacked) = source.kernel(package)?;
        in_use.push(unpacked);
        let driven = functions.iter().filter(|at| kernel.catalogue.drives(at));
        let driven = driven.count();
        if best.as_ref().is_none_or(|(most, _)| driven > *most) {
            best = Some((driven, kernel));
        }
        if driven == functions.len() {
            break;
        }
    }
    Ok(best.map(|(_, kernel)| Packages {
        kernel,
        busybox,
        append: &entry.append,
        timer: &entry.timer,
        processors: entry.processors.unwrap_or(KERNELS.processors),
        memory_mib: memory_mib(target),
        _in_use: in_use,
    }))
}

/// Fetches everything that guests of a target may run, and returns the releases of the kernels; none if there is
/// no kernel for the target.
///
/// # Errors
/// A package cannot be fetched or read.
pub(crate) fn fetch_all(
    target: &str,
    cache: &Cache,
    watcher: FetchWatcher<'_>,
) -> Result<Vec<String>, QemuError> {
    let Some(source) = Source::of_target(target, cache, watcher) else {
        return Ok(Vec::new());
    };
    source.busybox()?;
    let kernels = source.entry.packages.iter().map(|package| {
        let (kernel, _) = source.kernel(package)?;
        Ok(kernel.release)
    });
    kernels.collect()
}

/// The place that packages of a target come from.
struct Source<'s> {
    entry: &'static KernelEntry,
    target: &'s str,
    cache: &'s Cache,
    watcher: FetchWatcher<'s>,
}

impl<'s> Source<'s> {
    fn of_target(
        target: &'s str,
        cache: &'s Cache,
        watcher: FetchWatcher<'s>,
    ) -> Option<Source<'s>> {
        Some(Source {
            entry: KERNELS.of_target(target)?,
            target,
            cache,
            watcher,
        })
    }

    fn busybox(&self) -> Result<(PathBuf, InUse), QemuError> {
        let what = "shell for a guest";
        let has = |root: &Path| busybox_in(root).is_some();
        let unpacked = self.obtain(&self.entry.busybox, Extent::Alone, what, has)?;
        // It was there a moment ago, and nothing removes it.
        let path = busybox_in(&unpacked.root).unwrap_or_default();
        Ok((path, unpacked))
    }

    fn kernel(&self, package: &String) -> Result<(Kernel, InUse), QemuError> {
        let extent = Extent::Dependency("linux-image-");
        let unpacked = self.obtain(package, extent, "kernel", Kernel::is_in)?;
        let read = Kernel::in_root(&unpacked.root, unpacked.notes());
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let kernel = read.and_then(|kernel| kernel.ok_or_else(missing));
        let kernel = kernel.map_err(|source| CacheError::Io {
            what: "reading a kernel",
            path: unpacked.root.clone(),
            source,
        })?;
        Ok((kernel, unpacked))
    }

    fn obtain(
        &self,
        package: &String,
        extent: Extent,
        what: &str,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<InUse, QemuError> {
        let wanted = Wanted {
            suite: self.entry.suite.as_ref().unwrap_or(&KERNELS.suite),
            packages: std::slice::from_ref(package),
            extent,
            architecture: Some(&self.entry.debian),
            what,
            command: &format!("builds fetch --workload linux --arch {}", self.target),
        };
        obtain(wanted, fits, self.cache, self.watcher)
    }
}

fn busybox_in(root: &Path) -> Option<PathBuf> {
    let mut places = ["usr/bin/busybox", "bin/busybox"]
        .map(|path| root.join(path))
        .into_iter();
    places.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_has_one_kernel() {
        let mut targets: Vec<&str> = targets().collect();
        assert!(targets.contains(&"x86_64") && targets.contains(&"aarch64"));
        let all = targets.len();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), all);
        let shells = KERNELS.kernel.iter().map(|entry| &entry.busybox);
        let distinct: BTreeSet<&String> = shells.collect();
        assert_eq!(distinct.len(), KERNELS.kernel.len());
        assert!(KERNELS.of_target("m68k").is_none());
    }
}
