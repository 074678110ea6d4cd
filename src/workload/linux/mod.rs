//! The Linux guest: a kernel of Debian's with its drivers, and a program of ours that uses every device.
//!
//! `guests/linux/README.md` describes what runs in the guest and what it prints. Here it is put together: the
//! [`kernel`](Kernel), the [modules](drivers) that drive a guest's devices, the first file system that
//! holds them, and the [backends] on the host that devices at work need.

mod backends;
mod cpio;
mod drivers;
mod inventory;
mod kernel;
mod lines;
mod packages;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use backends::Network;
pub(crate) use inventory::{Bus, Inventory};
pub(crate) use lines::{Beat, Line};
pub(crate) use packages::{Packages, fetch_all, packages, targets};

use cpio::Archive;
use kernel::Kernel;

/// The name of the file that holds the guest's first file system.
const INITRAMFS: &str = "initramfs";
/// Memory of the machine, in MiB: enough for the larger kernel with all of its modules.
const MEMORY_MIB: u32 = 256;
/// Processors of the machine: what one starts, another ends.
const PROCESSORS: u32 = 2;
/// The guest's first program.
const INIT: &[u8] = include_bytes!("../../../guests/linux/init");
/// What every kernel is told, whatever its architecture. Memory that is free is zeroes, so that it need not be
/// sent; addresses do not depend on chance; and a host that is busy is no fault of the guest.
const APPEND: &str =
    "loglevel=1 panic=-1 nokaslr init_on_free=1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// A kernel, a shell, and what they run on: all that the guests of a run have in common.
#[derive(Debug)]
pub struct Kit {
    packages: Packages,
    network: Network,
    /// File systems that were made, by the modules that were asked for.
    made: Mutex<HashMap<Vec<String>, Arc<Vec<u8>>>>,
}

impl Kit {
    /// A kit of unpacked packages, for guests on a network.
    pub(crate) fn new(packages: Packages, network: Network) -> Kit {
        Kit {
            packages,
            network,
            made: Mutex::default(),
        }
    }

    fn initramfs(&self, modules: &[String]) -> io::Result<Arc<Vec<u8>>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(modules) {
            return Ok(Arc::clone(known));
        }
        let archive = Arc::new(compose(
            &self.packages.kernel,
            &fs::read(&self.packages.busybox)?,
            modules,
        )?);
        made.insert(modules.to_owned(), Arc::clone(&archive));
        Ok(archive)
    }
}

/// Puts a first file system together: the shell, our program, and the modules in the order in which they are
/// loaded.
fn compose(kernel: &Kernel, busybox: &[u8], modules: &[String]) -> io::Result<Vec<u8>> {
    let modules = kernel.load_order(modules)?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules"] {
        archive.folder(folder);
    }
    archive.device("dev/console", (5, 1));
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT);
    let mut order = String::new();
    for module in &modules {
        order.push_str(&module.name);
        order.push('\n');
        archive.file(&format!("modules/{}.ko", module.name), &module.bytes);
    }
    archive.file("modules/order", order.as_bytes());
    Ok(archive.finish())
}

/// A guest with certain devices.
#[derive(Debug, Clone)]
pub struct LinuxGuest {
    kit: Arc<Kit>,
    /// The modules that its devices need.
    modules: Vec<String>,
}

impl LinuxGuest {
    /// A guest of a machine with these devices, as the arguments plug them in.
    pub(crate) fn new(kit: Arc<Kit>, device_args: &[String]) -> LinuxGuest {
        let modules = drivers::modules(driver_names(device_args));
        LinuxGuest { kit, modules }
    }

    /// Returns the release of its kernel.
    pub(crate) fn kernel(&self) -> &str {
        &self.kit.packages.kernel.release
    }

    /// Memory that the machine has to have, in MiB.
    pub(crate) fn memory_mib(&self) -> u32 {
        MEMORY_MIB
    }

    /// The options that make QEMU start this guest from the files in a folder.
    pub(crate) fn attach_args(&self, folder: &Path) -> Vec<OsString> {
        let Packages { kernel, append, .. } = &self.kit.packages;
        let answers = match self.kit.network.answers() {
            true => "answers",
            false => "silent",
        };
        vec![
            "-smp".into(),
            PROCESSORS.to_string().into(),
            "-kernel".into(),
            kernel.image.clone().into(),
            "-initrd".into(),
            folder.join(INITRAMFS).into(),
            "-append".into(),
            format!("{append} {APPEND} migcompat.net={answers}").into(),
        ]
    }

    /// Returns the arguments that plug in the devices, with backends that a guest at work needs.
    pub(crate) fn device_args(&self, args: &[String], folder: &Path) -> Vec<String> {
        backends::of_host(args, self.kit.network, folder)
    }

    /// Writes the files that the arguments name.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn prepare(&self, device_args: &[String], folder: &Path) -> io::Result<()> {
        let initramfs = self.kit.initramfs(&self.modules)?;
        fs::write(folder.join(INITRAMFS), &*initramfs)?;
        backends::prepare(device_args, self.kit.network, folder)
    }

    /// Copies what a guest has written to its disks.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn copy_disks(
        &self,
        device_args: &[String],
        from: &Path,
        to: &Path,
    ) -> io::Result<()> {
        backends::copy_disks(device_args, from, to)
    }
}

/// Returns the names of the drivers that arguments plug in.
fn driver_names(args: &[String]) -> impl Iterator<Item = &str> {
    args.windows(2).filter_map(|pair| match pair {
        [option, value] if option == "-device" => {
            let name = value.split(',').next()?;
            Some(name.strip_prefix("driver=").unwrap_or(name))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_the_modules_of_its_devices() {
        let args = [
            "-netdev",
            "hubport,id=e1000,hubid=0",
            "-device",
            "e1000,netdev=e1000",
            "-device",
            "driver=nvme,id=x",
        ]
        .map(str::to_owned);
        assert_eq!(drivers::modules(driver_names(&args)), ["e1000", "nvme"]);
    }
}
