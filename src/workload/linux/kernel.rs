//! A kernel as its package unpacks it: the image, and its modules.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::qemu::keep;
use crate::workload::linux::catalogue::{Catalogue, contents};
use crate::workload::linux::image;

/// The file that keeps what guests asked for, a name a line.
const ASKED: &str = "modules.migcompat-asked";

/// The form of a kernel that a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// As it is packaged, which every firmware starts.
    Packed,
    /// What is packed in it, where QEMU can start that by itself; otherwise the same.
    Unpacked,
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The file that a loader starts.
    pub image: PathBuf,
    /// The release, as the kernel names itself: `6.12.57+deb13-cloud-amd64`.
    pub release: String,
    pub catalogue: Catalogue,
    /// The folder of its modules.
    folder: PathBuf,
    /// The folder of what is kept from one run to the next.
    notes: PathBuf,
    /// The file that has what is packed in the image, if there is one. Made once a guest boots.
    unpacked: OnceLock<Option<PathBuf>>,
}

impl Kernel {
    /// Tells whether an unpacked package has a kernel.
    pub(crate) fn is_in(root: &Path) -> bool {
        matches!(places(root), Ok(Some(_)))
    }

    /// Reads what an unpacked package has. `None` if it has no kernel. Notes are kept in a folder apart, so that the
    /// package stays as it was unpacked.
    ///
    /// # Errors
    /// A file or a folder cannot be read.
    pub(crate) fn in_root(root: &Path, notes: &Path) -> io::Result<Option<Kernel>> {
        let Some((image, modules)) = places(root)? else {
            return Ok(None);
        };
        let release = modules.file_name().unwrap_or_default();
        Ok(Some(Kernel {
            image,
            release: release.to_string_lossy().into_owned(),
            catalogue: Catalogue::of(&modules, notes)?,
            folder: modules,
            notes: notes.to_owned(),
            unpacked: OnceLock::new(),
        }))
    }

    /// Returns the file that has what is packed in the image, if QEMU can start that by itself.
    pub(crate) fn unpacked(&self) -> Option<&PathBuf> {
        let made = self.unpacked.get_or_init(|| {
            let made = image::unpacked(&self.image, &self.release, &self.notes);
            made.unwrap_or_else(|error| {
                tracing::debug!(%error, "the kernel is not unpacked");
                None
            })
        });
        made.as_ref()
    }

    /// Returns the names that guests of earlier runs asked for.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        let kept = fs::read_to_string(self.notes.join(ASKED)).unwrap_or_default();
        kept.lines().map(str::to_owned).collect()
    }

    /// Keeps names that guests asked for, as far as it has something by them, so that the next run has it at once.
    pub(crate) fn keep_asked(&self, names: &BTreeSet<String>) {
        let known = |name: &&String| self.catalogue.known_as(name).next().is_some();
        let lines = names.iter().filter(known).map(|name| format!("{name}\n"));
        if let Err(error) = keep(&self.notes, ASKED, lines.collect::<String>().as_bytes()) {
            tracing::debug!(%error, "what guests asked for is not kept");
        }
    }

    /// Reads the file of a module, not compressed. A module that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn module(&self, name: &str) -> io::Result<Vec<u8>> {
        match self.catalogue.get(name) {
            Some((_, module)) => contents(&self.folder.join(&module.path)),
            None => Ok(Vec::new()),
        }
    }
}

/// Returns the image and the folder of the modules of an unpacked kernel.
fn places(root: &Path) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let Some(image) = first_in(&root.join("boot"), "vmlinu")? else {
        return Ok(None);
    };
    for lib in ["usr/lib/modules", "lib/modules"] {
        if let Some(modules) = first_in(&root.join(lib), "")? {
            return Ok(Some((image, modules)));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::linux::catalogue::tests::write_modules;

    #[test]
    fn a_kernel_has_an_image_and_modules() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("usr/lib/modules/6.1");
        fs::create_dir_all(folder.path().join("boot")).unwrap();
        fs::write(folder.path().join("boot/config-6.1"), "").unwrap();
        fs::write(folder.path().join("boot/vmlinuz-6.1"), "").unwrap();
        fs::create_dir_all(&modules).unwrap();
        write_modules(&modules, &[("net/e1000", "", &[])], &[]);
        assert!(Kernel::is_in(folder.path()));
        let kernel = Kernel::in_root(folder.path(), folder.path())
            .unwrap()
            .unwrap();
        assert_eq!(kernel.release, "6.1");
        assert!(kernel.image.ends_with("boot/vmlinuz-6.1"));
        assert!(kernel.module("e1000").unwrap().starts_with(b"\x7fELF"));
        assert!(kernel.module("nvme").unwrap().is_empty());
        assert!(kernel.asked().is_empty());
        kernel.keep_asked(&["e1000", "acpi:LNXCPU:"].map(str::to_owned).into());
        assert_eq!(kernel.asked(), ["e1000".to_owned()].into());
    }

    #[test]
    fn a_root_without_a_kernel_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Kernel::is_in(folder.path()));
        assert!(
            Kernel::in_root(folder.path(), folder.path())
                .unwrap()
                .is_none()
        );
    }
}
