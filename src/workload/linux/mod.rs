//! The Linux guest: a kernel of Debian's with its drivers, and a program of ours that uses every device.
//!
//! `guests/linux/README.md` describes what runs in the guest and what it prints. Here it is put together: the
//! [`kernel`](Kernel), the modules by the [names](aliases) of the devices that they drive, the first file system that
//! holds them, and the [backends] on the host that devices at work need.

mod aliases;
mod backends;
mod catalogue;
mod cpio;
mod image;
mod inventory;
mod kernel;
mod lines;
mod packages;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use aliases::PciFunction;
pub(crate) use backends::{Interfaces, Network, copy_disks};
pub(crate) use inventory::Inventory;
pub(crate) use lines::{Beat, Bus, Line};
pub(crate) use packages::{Driven, Packages, fetch_all, memory_mib, packages, targets};

use cpio::Archive;
pub(crate) use kernel::Image;
use kernel::Kernel;

/// The name of the file that leads to the kernel.
const KERNEL: &str = "kernel";
/// The name of the file that holds the guest's first file system.
const INITRAMFS: &str = "initramfs";
/// The guest's first program.
const INIT: &[u8] = include_bytes!("../../../guests/linux/init");
/// The program by which the kernel itself asks for a module.
const MODPROBE: &[u8] = include_bytes!("../../../guests/linux/modprobe");
/// Options of every kernel, whatever its architecture. Memory that is free is zeroes, so that it need not be
/// sent; addresses do not depend on chance; a host that is busy is no fault of the guest; and nothing is guarded, measured or
/// optimized for which nobody is there, since emulation translates the code of it anew after each move.
const APPEND: &str = "loglevel=1 panic=-1 nokaslr init_on_free=1 init_on_alloc=0 nowatchdog \
    rcupdate.rcu_cpu_stall_suppress=1 mitigations=off psi=0 lsm= audit=0 hardened_usercopy=off randomize_kstack_offset=off \
    cpuidle.off=1 noautogroup transparent_hugepage=never vt.global_cursor_default=0";

/// The Linux guest of a run's machines of one target: a kernel, a shell, and what they run on.
#[derive(Debug)]
pub struct LinuxGuest {
    packages: Packages,
    network: Network,
    known: Mutex<Known>,
}

/// Facts about the machines of a run.
#[derive(Debug, Default)]
struct Known {
    /// The PCI functions of machines, by the arguments that plug in their devices.
    functions: HashMap<Vec<String>, Arc<[PciFunction]>>,
    /// Devices and modules by name that guests had no module for, though the kernel has one.
    asked: BTreeSet<String>,
    /// File systems that were made, by the names of the modules in them.
    made: HashMap<Vec<String>, Arc<Vec<u8>>>,
}

impl LinuxGuest {
    /// A guest of unpacked packages on a network.
    pub(crate) fn new(packages: Packages, network: Network) -> LinuxGuest {
        let known = Known {
            asked: packages.kernel.asked(),
            ..Known::default()
        };
        LinuxGuest {
            packages,
            network,
            known: Mutex::new(known),
        }
    }

    pub(crate) fn network(&self) -> Network {
        self.network
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the names of the modules that a machine with these functions may ask for.
    fn candidates(&self, functions: &[PciFunction]) -> Vec<String> {
        let catalogue = &self.packages.kernel.catalogue;
        let known = self.known();
        let found = catalogue.candidates(functions, &known.asked);
        found.into_iter().map(str::to_owned).collect()
    }

    fn initramfs(&self, functions: &[PciFunction]) -> io::Result<Arc<Vec<u8>>> {
        let modules = self.candidates(functions);
        if let Some(made) = self.known().made.get(&modules) {
            return Ok(Arc::clone(made));
        }
        let archive = Arc::new(compose(
            &self.packages.kernel,
            &fs::read(&self.packages.busybox)?,
            &modules,
        )?);
        self.known().made.insert(modules, Arc::clone(&archive));
        Ok(archive)
    }
}

/// Puts a first file system together: the shell, our program, and the modules with the lists by which the shell
/// finds them.
fn compose(kernel: &Kernel, busybox: &[u8], modules: &[String]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    let folder = format!("lib/modules/{}", kernel.release);
    for folder in ["bin", "sbin", "dev", "lib", "lib/modules", &folder] {
        archive.folder(folder);
    }
    archive.device("dev/console", (5, 1));
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT);
    archive.program("sbin/modprobe", MODPROBE);
    let (mut dependencies, mut aliases) = (String::new(), String::new());
    // Writing into a string cannot fail.
    for name in modules {
        archive.file(&format!("{folder}/{name}.ko"), &kernel.module(name)?);
        let _ok = write!(dependencies, "{name}.ko:");
        // The one that is loaded first comes last.
        for needed in kernel.catalogue.needs(name).into_iter().rev() {
            let _ok = write!(dependencies, " {needed}.ko");
        }
        dependencies.push('\n');
        let known = kernel.catalogue.get(name);
        for pattern in known.into_iter().flat_map(|(_, module)| &module.aliases) {
            let _ok = writeln!(aliases, "alias {pattern} {name}");
        }
    }
    archive.file(&format!("{folder}/modules.dep"), dependencies.as_bytes());
    archive.file(&format!("{folder}/modules.alias"), aliases.as_bytes());
    Ok(archive.finish())
}

impl LinuxGuest {
    /// Returns the PCI functions of a machine with these devices, if they are known.
    pub(crate) fn functions(&self, device_args: &[String]) -> Option<Arc<[PciFunction]>> {
        self.known().functions.get(device_args).cloned()
    }

    /// Records the PCI functions of a machine with these devices.
    pub(crate) fn learn_functions(&self, device_args: &[String], functions: Arc<[PciFunction]>) {
        let mut known = self.known();
        known.functions.insert(device_args.to_vec(), functions);
    }

    /// Records what a guest in a machine with these functions had no module for. Returns whether the kernel has one
    /// that the next such guest will find.
    pub(crate) fn learn(&self, functions: &[PciFunction], asked: &[String]) -> bool {
        let before = self.candidates(functions);
        self.known().asked.extend(asked.iter().cloned());
        let learned = self.candidates(functions) != before;
        if learned {
            self.packages.kernel.keep_asked(&self.known().asked);
        }
        learned
    }

    /// Returns the release of its kernel.
    pub(crate) fn kernel(&self) -> &str {
        &self.packages.kernel.release
    }

    /// Memory that the machine has to have, in MiB.
    pub(crate) fn memory_mib(&self) -> u32 {
        self.packages.memory_mib
    }

    /// Processors that the machine has.
    pub(crate) fn processors(&self) -> u32 {
        self.packages.processors
    }

    /// The options that make QEMU start this guest from the files in a folder.
    pub(crate) fn attach_args(&self, folder: &Path) -> Vec<OsString> {
        let Packages {
            append,
            timer,
            processors,
            ..
        } = &self.packages;
        // Where nothing is balanced, what runs where does not depend on chance.
        let isolated = match processors - 1 {
            0 => String::new(),
            last => format!("isolcpus={last}"),
        };
        let answers = match self.network.answers() {
            true => "answers",
            false => "silent",
        };
        vec![
            "-kernel".into(),
            folder.join(KERNEL).into(),
            "-initrd".into(),
            folder.join(INITRAMFS).into(),
            "-append".into(),
            format!("{append} {APPEND} {isolated} migcompat.net={answers} migcompat.timer={timer}")
                .into(),
        ]
    }

    /// Returns the arguments that plug in the devices, with backends that a guest at work needs.
    pub(crate) fn device_args(
        &self,
        args: &[String],
        interfaces: &Interfaces,
        folder: &Path,
    ) -> Vec<String> {
        backends::of_host(args, self.network, interfaces, folder)
    }

    /// Writes the files that the arguments name, for a guest that has booted: it has no use for its first file system.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn prepare(&self, device_args: &[String], folder: &Path) -> io::Result<()> {
        fs::write(folder.join(INITRAMFS), Archive::default().finish())?;
        self.place(Image::Packed, folder)?;
        backends::prepare(device_args, self.network, folder)
    }

    /// Writes the first file system of a guest that is to boot in a machine with these functions, from this form of the
    /// kernel.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn prepare_boot(
        &self,
        functions: &[PciFunction],
        image: Image,
        folder: &Path,
    ) -> io::Result<()> {
        self.place(image, folder)?;
        fs::write(folder.join(INITRAMFS), &*self.initramfs(functions)?)
    }

    /// Places the kernel in a folder.
    fn place(&self, image: Image, folder: &Path) -> io::Result<()> {
        let kernel = &self.packages.kernel;
        let image = match image {
            Image::Packed => &kernel.image,
            Image::Unpacked => kernel.unpacked().unwrap_or(&kernel.image),
        };
        let place = folder.join(KERNEL);
        // Another one from before.
        let _none = fs::remove_file(&place);
        symlink(image, place)
    }
}
