//! Firmware that a build finds, and where it comes from if the build finds none: a program that is handed on alone
//! leaves its BIOS and option ROMs behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::qemu::build::INSTALLED;
use crate::qemu::cache::Entry;
use crate::qemu::process::output;
use crate::qemu::spec::{BUNDLE_LEVELS, in_bundle, paths_in};
use crate::qemu::{Build, Cache, Cached, QemuError, block_on, machine};

/// Firmware that a build is started with although it does not find it by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    pub source: FirmwareSource,
    /// The folders that it is in.
    pub folders: Vec<PathBuf>,
}

/// The place where a build's firmware was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareSource {
    /// A tree that the program was built in or installed to.
    Tree,
    /// The other build, of this label.
    OtherBuild(String),
    /// A build in the cache, of this label.
    Fetched(String),
}

/// Folders up to which a tree is searched, from that of the program upwards.
const LEVELS: usize = 3;

impl Firmware {
    /// Looks for the tree of a program: QEMU itself looks beside it and in the place that it was configured for.
    pub(super) fn in_tree(program: &Path) -> Option<Firmware> {
        let program = fs::canonicalize(program).ok()?;
        let bases = program.ancestors().skip(1).take(LEVELS);
        let mut places = bases.flat_map(|base| {
            let built = ["pc-bios", "build/pc-bios"].map(|place| vec![base.join(place)]);
            let installed = INSTALLED.iter().map(|place| base.join(place)).collect();
            let bundles = ["qemu-bundle", "build/qemu-bundle"].map(|place| base.join(place));
            let bundled = bundles
                .iter()
                .filter_map(|bundle| in_bundle(bundle, "share/qemu", BUNDLE_LEVELS));
            built
                .into_iter()
                .chain([installed])
                .chain(bundled.map(|folder| vec![folder]))
                .collect::<Vec<_>>()
        });
        let folders = places.find_map(|mut place: Vec<PathBuf>| {
            place.retain(|folder| holds_firmware(folder));
            (!place.is_empty()).then_some(place)
        })?;
        Some(Firmware {
            source: FirmwareSource::Tree,
            folders,
        })
    }

    /// Returns the firmware of the newest fetched build for a target, and that build.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub(super) fn fetched(
        cache: &Cache,
        arch: &str,
    ) -> Result<Option<(Firmware, Build)>, QemuError> {
        let Some(packages) = machine::packages(arch) else {
            return Ok(None);
        };
        let mut entries = cache.list()?;
        entries.retain(|entry| packages.contains(&entry.record.package));
        entries.sort_by_cached_key(Entry::release);
        for entry in entries.iter().rev() {
            let label = format!("debian:{}", entry.record.suite);
            let Cached::Fits(found) = cache.find(&entry.record.suite, packages, |_| true)? else {
                continue;
            };
            let Some(build) = Build::package(&label, arch, &found.root, Some(found.lock)) else {
                continue;
            };
            let folders = build.given_firmware();
            if !folders.is_empty() {
                let source = FirmwareSource::Fetched(label);
                return Ok(Some((Firmware { source, folders }, build)));
            }
        }
        Ok(None)
    }
}

/// Tells whether an image of firmware is in a folder. A link to what was not handed on is none.
fn holds_firmware(folder: &Path) -> bool {
    paths_in(folder).into_iter().any(|path| {
        let kind = path.extension().and_then(|extension| extension.to_str());
        kind.is_some_and(|kind| ["bin", "rom", "img"].contains(&kind)) && path.is_file()
    })
}

impl Build {
    /// Returns the folders with firmware in which the build looks, by its own account. Of a package they are known.
    pub(super) fn found_firmware(&self) -> Vec<PathBuf> {
        let given = self.given_firmware();
        if !given.is_empty() {
            return given;
        }
        let Ok(mut command) = self.plain_command(None) else {
            return Vec::new();
        };
        command.args(["-L", "help"]);
        let listed = block_on(output(command, self.deadlines().start));
        let listed = listed.ok().and_then(Result::ok);
        let listed = listed.map_or_else(String::new, |listed| listed.stdout);
        let folders = listed.lines().map(PathBuf::from);
        folders.filter(|folder| holds_firmware(folder)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::testing::file;

    fn found(root: &Path, program: &str) -> Option<PathBuf> {
        let found = Firmware::in_tree(&root.join(program))?;
        assert_eq!(found.source, FirmwareSource::Tree);
        let root = fs::canonicalize(root).unwrap();
        found.folders[0].strip_prefix(root).ok().map(Path::to_owned)
    }

    #[test]
    fn a_tree_is_found_from_where_the_program_is_in_it() {
        for (program, image) in [
            ("build/qemu-system-x86_64", "pc-bios/bios-256k.bin"),
            ("qemu-system-x86_64", "pc-bios/efi-virtio.rom"),
            ("x/bin/qemu-system-s390x", "x/share/qemu/s390-ccw.img"),
            ("bin/qemu-system-i386", "share/seabios/bios.bin"),
            (
                "out/qemu-system-arm",
                "build/qemu-bundle/usr/local/share/qemu/a.rom",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            file(dir.path(), program, "");
            assert_eq!(found(dir.path(), program), None, "{program}");
            file(dir.path(), image, "");
            let folder = Path::new(image).parent().map(Path::to_owned);
            assert_eq!(found(dir.path(), program), folder, "{program}");
        }
    }

    #[test]
    fn a_folder_that_only_looks_like_firmware_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "build/qemu-system-x86_64", "");
        file(dir.path(), "build/pc-bios/keymaps/de", "");
        let bundle = dir.path().join("build/qemu-bundle/usr/local/share/qemu");
        fs::create_dir_all(&bundle).unwrap();
        // As where a job kept the links and not what they lead to.
        std::os::unix::fs::symlink("/nowhere/bios.bin", bundle.join("bios.bin")).unwrap();
        assert_eq!(found(dir.path(), "build/qemu-system-x86_64"), None);
        file(dir.path(), "pc-bios/bios.bin", "");
        let tree = Some(PathBuf::from("pc-bios"));
        assert_eq!(found(dir.path(), "build/qemu-system-x86_64"), tree);
    }
}
