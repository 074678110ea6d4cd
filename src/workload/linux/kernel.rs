//! A kernel as its package unpacks it: the image, and its modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

/// The beginning of the entry in a module's `.modinfo` that lists the modules it depends on. Entries end with a zero.
const DEPENDS: &[u8] = b"\0depends=";

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The file that a loader starts.
    pub image: PathBuf,
    /// The release, as the kernel names itself: `6.12.57+deb13-cloud-amd64`.
    pub release: String,
    /// Files of modules, by the names that the kernel has for them.
    modules: BTreeMap<String, PathBuf>,
    /// The modules that are part of the image.
    builtin: BTreeSet<String>,
}

/// A module that can be loaded once those before it are.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub name: String,
    /// The file, not compressed.
    pub bytes: Vec<u8>,
}

impl Kernel {
    /// Reads what an unpacked package has. `None` if it has no kernel.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(crate) fn in_root(root: &Path) -> io::Result<Option<Kernel>> {
        let Some(image) = first_in(&root.join("boot"), "vmlinu")? else {
            return Ok(None);
        };
        for lib in ["usr/lib/modules", "lib/modules"] {
            if let Some(folder) = first_in(&root.join(lib), "")? {
                let mut modules = BTreeMap::new();
                find_modules(&folder, &mut modules)?;
                let builtin = fs::read_to_string(folder.join("modules.builtin"))?;
                let release = folder.file_name().unwrap_or_default();
                return Ok(Some(Kernel {
                    image,
                    release: release.to_string_lossy().into_owned(),
                    modules,
                    builtin: builtin.lines().filter_map(module_name).collect(),
                }));
            }
        }
        Ok(None)
    }

    /// Tells whether the kernel has a driver, be it part of its image or a module.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.builtin.contains(name) || self.modules.contains_key(name)
    }

    /// Reads modules with all that they depend on, in the order in which they can be loaded. What is part of the
    /// image, or not there at all, is left out.
    ///
    /// # Errors
    /// A module cannot be read.
    pub(crate) fn load_order(&self, wanted: &[String]) -> io::Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.add(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn add(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> io::Result<()> {
        let Some(path) = self.modules.get(name) else {
            return Ok(());
        };
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let bytes = read_module(path)?;
        for needed in dependencies(&bytes) {
            self.add(&needed, seen, order)?;
        }
        order.push(Module {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
}

/// Returns the first entry of a folder whose name begins so; `None` also where there is no such folder.
fn first_in(folder: &Path, beginning: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(beginning) {
            found.push(entry.path());
        }
    }
    Ok(found.into_iter().min())
}

fn find_modules(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, modules)?;
        } else if let Some(name) = path.to_str().and_then(module_name) {
            modules.insert(name, path);
        }
    }
    Ok(())
}

/// Returns the name that the kernel has for the module in a file: it knows no dashes.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, ending) = file.split_once(".ko")?;
    matches!(ending, "" | ".xz").then(|| name.replace('-', "_"))
}

fn read_module(path: &Path) -> io::Result<Vec<u8>> {
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

/// Returns the modules that one says it depends on.
fn dependencies(module: &[u8]) -> Vec<String> {
    let at = module
        .windows(DEPENDS.len())
        .position(|window| window == DEPENDS);
    let list = at.and_then(|at| module.get(at + DEPENDS.len()..));
    let list = list.and_then(|list| list.split(|&byte| byte == 0).next());
    let list = String::from_utf8_lossy(list.unwrap_or_default()).into_owned();
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(folder: &Path, modules: &[(&str, &str)], builtin: &str) -> Kernel {
        let put = |path: String, text: &[u8]| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("boot/config-6.1".to_owned(), b"");
        put("boot/vmlinuz-6.1".to_owned(), b"");
        let tree = "usr/lib/modules/6.1";
        put(format!("{tree}/modules.builtin"), builtin.as_bytes());
        for (name, depends) in modules {
            let text = format!("\x7fELF..\0license=GPL\0depends={depends}\0name={name}\0");
            put(format!("{tree}/kernel/{name}.ko"), text.as_bytes());
        }
        Kernel::in_root(folder).unwrap().unwrap()
    }

    #[test]
    fn modules_come_after_what_they_depend_on_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = kernel(
            folder.path(),
            &[
                ("net/virtio_net", "net_failover,virtio"),
                ("net/net_failover", "failover"),
                ("net/failover", ""),
                ("scsi/scsi-mod", ""),
                ("scsi/sd_mod", "scsi-mod"),
            ],
            "kernel/drivers/virtio/virtio.ko\n",
        );
        assert_eq!(kernel.release, "6.1");
        let wanted = ["sd_mod", "virtio_net", "failover", "virtio", "nvme"].map(str::to_owned);
        let order = kernel.load_order(&wanted).unwrap();
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "scsi_mod",
                "sd_mod",
                "failover",
                "net_failover",
                "virtio_net"
            ]
        );
        let has = |name: &str| kernel.has(name);
        assert!(has("virtio") && has("scsi_mod") && !has("nvme"));
    }

    #[test]
    fn modules_that_depend_on_each_other_end() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = kernel(folder.path(), &[("a", "b"), ("b", "a")], "");
        let order = kernel.load_order(&["a".to_owned()]).unwrap();
        assert_eq!(order.len(), 2);
    }

    #[test]
    fn a_root_without_a_kernel_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Kernel::in_root(folder.path()).unwrap().is_none());
    }
}
