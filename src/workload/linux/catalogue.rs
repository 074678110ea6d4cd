//! The modules of a kernel, by what each says of itself. It takes seconds to read them all, so that it is done once and
//! kept, as `depmod` does where a kernel is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use lzma_rust2::XzReader;
use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};

use crate::parallel::each;
use crate::qemu::keep;
use crate::workload::linux::aliases::{self, PciFunction};

/// The file that keeps it. The number changes with its form.
const KEPT: &str = "modules.migcompat-1.json";
/// The list of modules that are part of the image.
const BUILTIN: &str = "modules.builtin";
/// The information in modules: `NAME.KEY=VALUE`, each ended by a zero.
const BUILTIN_INFO: &str = "modules.builtin.modinfo";
/// The longest entry of a `.modinfo`.
const MAX_ENTRY: usize = 4096;

/// The modules of a kernel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    /// By the names that the kernel has for them.
    modules: BTreeMap<String, Module>,
    /// The names of those that are part of the image, with their patterns.
    builtin: BTreeMap<String, Vec<String>>,
}

/// A module, as it describes itself.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Module {
    /// Its file in the folder of the kernel's modules.
    pub path: PathBuf,
    /// The modules that have to be there before it.
    pub depends: Vec<String>,
    /// Patterns of devices that it drives, and other names of its own.
    pub aliases: Vec<String>,
}

impl Catalogue {
    /// Reads the modules in a folder, or what is kept of them in another one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn of(folder: &Path, notes: &Path) -> io::Result<Catalogue> {
        let kept = notes.join(KEPT);
        if let Some(known) = fs::read(&kept)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            return Ok(known);
        }
        let read = Catalogue::read(folder)?;
        let bytes = serde_json::to_vec(&read)?;
        if let Err(error) = keep(notes, KEPT, &bytes) {
            // The next run reads them again.
            tracing::debug!(%error, "the catalogue of modules is not kept");
        }
        Ok(read)
    }

    fn read(folder: &Path) -> io::Result<Catalogue> {
        let mut paths = Vec::new();
        find(folder, &mut paths)?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let modules = each(threads, paths, |path| described(folder, &path));
        let modules = modules.into_iter().filter_map(Result::transpose);
        Ok(Catalogue {
            modules: modules.collect::<io::Result<_>>()?,
            builtin: builtin(folder)?,
        })
    }

    /// Returns a module by its name, or by another way to write it.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &Module)> {
        let (name, module) = self.modules.get_key_value(&kernel_name(name))?;
        Some((name, module))
    }

    /// Tells whether the kernel has a driver for a function, or, of a virtio device, for its kind. The driver of their bus is
    /// part of the image, of which many kernels do not say what it drives.
    pub(crate) fn drives(&self, function: &PciFunction) -> bool {
        let modules = self.modules.values().map(|module| &module.aliases);
        let mut patterns = modules.chain(self.builtin.values()).flatten();
        match function.virtio_kind() {
            Some(_) => patterns.any(|pattern| function.has_virtio_driven_by(pattern)),
            None => patterns.any(|pattern| function.is_driven_by(pattern)),
        }
    }

    /// Returns the modules that a machine with these functions may ask for: their own, those of classes of devices on the
    /// buses that these bring, and what is known by these names.
    pub(crate) fn candidates<'c>(
        &'c self,
        functions: &[PciFunction],
        names: &'c BTreeSet<String>,
    ) -> BTreeSet<&'c str> {
        let of_function = |pattern: &String| {
            functions
                .iter()
                .any(|at| at.is_driven_by(pattern) || at.has_virtio_driven_by(pattern))
        };
        let mut found = BTreeSet::new();
        for (name, module) in &self.modules {
            if module.aliases.iter().any(of_function) {
                self.add(name, &mut found);
            }
        }
        for name in names {
            for known in self.known_as(name) {
                self.add(known, &mut found);
            }
        }
        let of_class = |module: &&Module| module.aliases.iter().any(|at| aliases::is_of_class(at));
        loop {
            let before = found.len();
            for (name, module) in self.modules.iter().filter(|(_, module)| of_class(module)) {
                // The core of its bus is one of them, or part of the image.
                let depends = &module.depends;
                if depends.is_empty() || depends.iter().any(|bus| found.contains(bus.as_str())) {
                    self.add(name, &mut found);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Returns the modules that have a name, or drive a device of that name.
    pub(crate) fn known_as<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'c str> {
        let itself = self.get(name).map(|(name, _)| name);
        let fits = move |module: &Module| module.aliases.iter().any(|at| aliases::fits(at, name));
        let driving = self.modules.iter().filter(move |(_, module)| fits(module));
        itself
            .into_iter()
            .chain(driving.map(|(name, _)| name.as_str()))
    }

    /// Returns all that a module needs before it, the first to load first.
    pub(crate) fn needs(&self, name: &str) -> Vec<&str> {
        let mut order = BTreeSet::new();
        let mut needed = Vec::new();
        self.collect(name, &mut order, &mut needed);
        needed.pop();
        needed
    }

    fn add<'c>(&'c self, name: &'c str, found: &mut BTreeSet<&'c str>) {
        let mut order = Vec::new();
        self.collect(name, found, &mut order);
    }

    /// Collects a module behind all that it needs.
    fn collect<'c>(&'c self, name: &str, seen: &mut BTreeSet<&'c str>, order: &mut Vec<&'c str>) {
        let Some((name, module)) = self.get(name) else {
            return;
        };
        if seen.insert(name) {
            for needed in &module.depends {
                self.collect(needed, seen, order);
            }
            order.push(name);
        }
    }
}

/// Returns the name that the kernel has for a module: it knows no dashes.
fn kernel_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the name of the module in a file.
fn module_name(path: &Path) -> Option<String> {
    let (name, ending) = path.file_name()?.to_str()?.split_once(".ko")?;
    matches!(ending, "" | ".xz").then(|| kernel_name(name))
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, paths)?;
        } else if module_name(&path).is_some() {
            paths.push(path);
        }
    }
    Ok(())
}

fn described(folder: &Path, path: &Path) -> io::Result<Option<(String, Module)>> {
    let Some(name) = module_name(path) else {
        return Ok(None);
    };
    let module = Module {
        path: path.strip_prefix(folder).unwrap_or(path).to_owned(),
        ..describe(&contents(path)?)
    };
    Ok(Some((name, module)))
}

/// Reads the file of a module, which may be compressed.
///
/// # Errors
/// It cannot be read.
pub(super) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|ending| ending == "xz") {
        XzReader::new(io::BufReader::new(file), true).read_to_end(&mut bytes)
    } else {
        io::BufReader::new(file).read_to_end(&mut bytes)
    }
    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(bytes)
}

/// Reads what a module says of itself: entries `KEY=VALUE` of its `.modinfo`, each between zeroes.
fn describe(module: &[u8]) -> Module {
    let aliases = entries(module, b"\0alias=");
    let depends = entries(module, b"\0depends=").last().unwrap_or_default();
    let names = depends.split(',').filter(|name| !name.is_empty());
    Module {
        path: PathBuf::new(),
        depends: names.map(kernel_name).collect(),
        aliases: aliases.collect(),
    }
}

/// Finds the values of a key, which is given with what stands around it.
fn entries(module: &[u8], key: &'static [u8]) -> impl Iterator<Item = String> {
    let found = memmem::find_iter(module, key);
    let values = found.map(move |at| {
        let rest = &module[at + key.len()..];
        rest.split_at(memchr(0, rest).unwrap_or(rest.len())).0
    });
    let short = values.filter(|value| value.len() <= MAX_ENTRY);
    short.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Reads what is part of the image.
fn builtin(folder: &Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    let list = fs::read_to_string(folder.join(BUILTIN))?;
    let names = list.lines().filter_map(|path| module_name(Path::new(path)));
    let mut builtin: BTreeMap<String, Vec<String>> = names.map(|name| (name, Vec::new())).collect();
    // Older kernels have no such file: nothing says then what its drivers are for.
    let info = fs::read(folder.join(BUILTIN_INFO)).unwrap_or_default();
    for entry in info.split(|&byte| byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let Some((name, rest)) = entry.split_once('.') else {
            continue;
        };
        if let Some(alias) = rest.strip_prefix("alias=") {
            let known = builtin.entry(kernel_name(name)).or_default();
            known.push(alias.to_owned());
        }
    }
    Ok(builtin)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes modules into a folder: path without ending, `depends`, and aliases.
    pub(in crate::workload::linux) fn write_modules(
        folder: &Path,
        modules: &[(&str, &str, &[&str])],
        builtin: &[(&str, &str)],
    ) {
        for (path, depends, aliases) in modules {
            let path = folder.join(format!("kernel/{path}.ko"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let aliases: String = aliases.iter().map(|at| format!("alias={at}\0")).collect();
            let text = format!("\x7fELF..\0license=GPL\0{aliases}depends={depends}\0");
            fs::write(path, text).unwrap();
        }
        let list: String = builtin
            .iter()
            .map(|(name, _)| format!("kernel/{name}.ko\n"))
            .collect();
        fs::write(folder.join(BUILTIN), list).unwrap();
        let info: String = builtin
            .iter()
            .map(|(name, alias)| format!("{name}.alias={alias}\0{name}.license=GPL\0"))
            .collect();
        fs::write(folder.join(BUILTIN_INFO), info).unwrap();
    }

    const XHCI: PciFunction = PciFunction {
        vendor: 0x1b36,
        device: 0x000d,
        subsystem: None,
        class: 0x0c03,
    };
    const NET: PciFunction = PciFunction {
        vendor: 0x1af4,
        device: 0x1041,
        subsystem: None,
        class: 0x0200,
    };

    fn catalogue(folder: &Path) -> Catalogue {
        write_modules(
            folder,
            &[
                ("usb/xhci-pci", "xhci-hcd", &["pci:v*d*sv*sd*bc0Csc03i30*"]),
                ("usb/xhci-hcd", "usbcore", &[]),
                ("usb/usbcore", "", &[]),
                (
                    "hid/usbhid",
                    "hid,usbcore",
                    &["usb:v*p*d*dc*dsc*dp*ic03isc*ip*in*"],
                ),
                ("hid/hid", "", &[]),
                ("hid/hid-generic", "hid", &["hid:b*g*v*p*"]),
                (
                    "usb/ftdi_sio",
                    "usbcore",
                    &["usb:v0403p6001d*dc*dsc*dp*ic*isc*ip*in*"],
                ),
                ("scsi/sd_mod", "scsi_mod", &["scsi:t-0x00*"]),
                ("scsi/scsi_mod", "", &[]),
                ("input/evdev", "", &["input:b*v*p*e*-e*k*r*a*m*l*s*f*w*"]),
                ("net/virtio_net", "", &["virtio:d00000001v*"]),
            ],
            &[("virtio_pci", "pci:v00001AF4d*sv*sd*bc*sc*i*")],
        );
        Catalogue::of(folder, folder).unwrap()
    }

    #[test]
    fn classes_come_with_the_bus_that_they_are_on() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path());
        let none = BTreeSet::new();
        let names = |functions: &[PciFunction], names: &BTreeSet<String>| {
            catalogue
                .candidates(functions, names)
                .into_iter()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names(&[NET], &none), "evdev virtio_net");
        assert_eq!(
            names(&[XHCI], &none),
            "evdev hid hid_generic usbcore usbhid xhci_hcd xhci_pci"
        );
        let asked = [
            "usb:v0403p6001d0400dc00dsc00dp00icFFiscFFipFFin00",
            "sd-mod",
        ];
        let asked = asked.map(str::to_owned).into();
        assert_eq!(
            names(&[], &asked),
            "evdev ftdi_sio scsi_mod sd_mod usbcore usbhid hid hid_generic"
                .split(' ')
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
                .join(" ")
        );
    }

    #[test]
    fn a_virtio_device_needs_the_driver_of_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let block = PciFunction {
            device: 0x1042,
            ..NET
        };
        let told = catalogue(folder.path());
        assert!(told.drives(&NET) && told.drives(&XHCI));
        assert!(!told.drives(&block));
        // What is part of the image may name nothing that it drives.
        let folder = tempfile::tempdir().unwrap();
        let modules: &[(&str, &str, &[&str])] = &[("virtio_net", "", &["virtio:d00000001v*"])];
        write_modules(folder.path(), modules, &[]);
        let untold = Catalogue::of(folder.path(), folder.path()).unwrap();
        assert!(untold.drives(&NET));
        assert!(!untold.drives(&block) && !untold.drives(&XHCI));
    }

    #[test]
    fn modules_come_after_what_they_depend_on_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path());
        assert_eq!(catalogue.needs("usbhid"), ["hid", "usbcore"]);
        assert_eq!(catalogue.needs("xhci-pci"), ["usbcore", "xhci_hcd"]);
        assert!(catalogue.needs("nothing").is_empty());
    }

    #[test]
    fn modules_that_depend_on_each_other_end() {
        let folder = tempfile::tempdir().unwrap();
        write_modules(folder.path(), &[("a", "b", &[]), ("b", "a", &[])], &[]);
        let catalogue = Catalogue::of(folder.path(), folder.path()).unwrap();
        assert_eq!(catalogue.needs("a"), ["b"]);
    }

    #[test]
    fn what_was_read_is_kept_and_damage_to_it_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        drop(catalogue(folder.path()));
        let kept = folder.path().join(KEPT);
        let first = fs::read(&kept).unwrap();
        fs::write(&kept, "damaged").unwrap();
        assert!(
            Catalogue::of(folder.path(), folder.path())
                .unwrap()
                .get("sd-mod")
                .is_some()
        );
        assert_eq!(fs::read(&kept).unwrap(), first);
    }
}
