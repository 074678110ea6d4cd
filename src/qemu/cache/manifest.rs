//! The files of an unpacked build as they were unpacked, by which one is known that lost or changed some since.
//!
//! A start compares names, kinds, sizes and times, which takes a few milliseconds. A file is read only where its time
//! alone is another one, as in a copy of a cache, or where everything is to be read.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::qemu::cache::keep::keep_synced;
use crate::qemu::cache::record::{CacheError, Record, at};
use crate::qemu::identity::content_hash;

const MANIFEST: &str = "manifest.json";

/// Folders below the root with what nothing runs or loads, and two of three files are there.
const FOR_PEOPLE: [&str; 4] = [
    "root/usr/share/doc",
    "root/usr/share/info",
    "root/usr/share/locale",
    "root/usr/share/man",
];

/// Something below the root of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Folder,
    Link {
        to: String,
    },
    File {
        bytes: u64,
        /// Seconds since 1970: an archive of a cache may keep no more.
        modified: i64,
        /// Hash of the content. Nobody who may write here needs to forge it, since he may write the manifest too.
        hash: String,
    },
}

/// Every file below the root that something may use, by its path.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest(BTreeMap<String, Item>);

/// The care with which files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// The state of each file by the system.
    Quick,
    /// All contents, too.
    Thorough,
}

/// The first difference between a build and what was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} {kind}")]
pub struct Damage {
    /// The path below the folder of the build.
    path: String,
    kind: DamageKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum DamageKind {
    #[error("is missing")]
    Missing,
    #[error("was added")]
    Added,
    /// It is no file, no folder or no link any more, or a link to something else.
    #[error("was replaced by something else")]
    Replaced,
    #[error("has {is} bytes instead of {was}")]
    Size { is: u64, was: u64 },
    #[error("has other contents")]
    Content,
    #[error("cannot be read")]
    Unreadable,
}

impl Damage {
    fn new(path: impl Into<String>, kind: DamageKind) -> Damage {
        let path = path.into();
        Damage { path, kind }
    }

    /// The entry itself is no folder that a fetch has made.
    pub(super) fn of_entry(path: &Path) -> Damage {
        Damage::new(path.display().to_string(), DamageKind::Replaced)
    }
}

/// Checks that a file or a folder is this user's or root's.
///
/// # Errors
/// It is another user's: whoever owns a program decides what it does.
pub(in crate::qemu) fn ours(path: &Path, data: &Metadata) -> Result<(), CacheError> {
    let owner = data.uid();
    match owner == geteuid().as_raw() || owner == 0 {
        true => Ok(()),
        false => Err(CacheError::Foreign {
            path: path.to_owned(),
            owner,
        }),
    }
}

/// Writes down what was unpacked into an entry.
///
/// # Errors
/// A file cannot be read, or the manifest cannot be written.
pub(super) fn record(entry: &Path) -> Result<(), CacheError> {
    Manifest::of(entry)?.write(entry)
}

/// Compares an entry with its manifest. One of before there were manifests is compared with its record, and gets one.
///
/// # Errors
/// Something in it is another user's, or cannot be read.
pub(super) fn damage(
    entry: &Path,
    record: &Record,
    care: Care,
) -> Result<Option<Damage>, CacheError> {
    // Beside the root there are the manifest, the record, a script, notes and answers.
    for item in items(entry)? {
        let path = item.path();
        let data = item.metadata().map_err(at("reading", &path))?;
        ours(&path, &data)?;
        if data.is_symlink() {
            let name = item.file_name().to_string_lossy().into_owned();
            return Ok(Some(Damage::new(name, DamageKind::Replaced)));
        }
    }
    let path = entry.join(MANIFEST);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match record.has_manifest {
                true => Ok(Some(Damage::new(MANIFEST, DamageKind::Missing))),
                false => adopt(entry, record),
            };
        }
        read => read.map_err(at("reading", &path))?,
    };
    let Ok(mut known) = serde_json::from_slice::<Manifest>(&text) else {
        return Ok(Some(Damage::new(MANIFEST, DamageKind::Unreadable)));
    };
    let (damage, has_copies) = known.compare(entry, care)?;
    if damage.is_none() && has_copies {
        // The next start need not read them. A cache that is only readable stays as it is.
        let _only_slower = known.write(entry);
    }
    Ok(damage)
}

fn adopt(entry: &Path, record: &Record) -> Result<Option<Damage>, CacheError> {
    let mut is = 0;
    walk(&entry.join("root"), "root", &[], &mut |_, _, data| {
        if data.is_file() {
            is += data.len();
        }
        Ok(())
    })?;
    let was = record.unpacked_bytes;
    if is != was {
        return Ok(Some(Damage::new("root", DamageKind::Size { is, was })));
    }
    let _only_slower = Manifest::of(entry)?.write(entry);
    Ok(None)
}

impl Manifest {
    fn of(entry: &Path) -> Result<Manifest, CacheError> {
        let mut manifest = Manifest::default();
        let root = entry.join("root");
        walk(&root, "root", &FOR_PEOPLE, &mut |path, name, data| {
            let kind = data.file_type();
            let item = if kind.is_dir() {
                Item::Folder
            } else if kind.is_symlink() {
                let to = fs::read_link(path).map_err(at("reading", path))?;
                let to = to.to_string_lossy().into_owned();
                Item::Link { to }
            } else {
                Item::File {
                    bytes: data.len(),
                    modified: data.mtime(),
                    hash: hash(path)?,
                }
            };
            manifest.0.insert(name.to_owned(), item);
            Ok(())
        })?;
        Ok(manifest)
    }

    /// Returns the first damage of what is there, and whether files were copied: their times are learnt, to be written.
    fn compare(&mut self, entry: &Path, care: Care) -> Result<(Option<Damage>, bool), CacheError> {
        let mut damage = None;
        let mut known = 0;
        let mut has_copies = false;
        let root = entry.join("root");
        let walked = walk(&root, "root", &FOR_PEOPLE, &mut |path, name, data| {
            if damage.is_some() {
                return Ok(());
            }
            let Some(item) = self.0.get_mut(name) else {
                damage = Some(Damage::new(name, DamageKind::Added));
                return Ok(());
            };
            known += 1;
            let kind = data.file_type();
            let found = match item {
                Item::Folder => (!kind.is_dir()).then_some(DamageKind::Replaced),
                Item::Link { to } => {
                    let is_same = fs::read_link(path).is_ok_and(|is| is.to_string_lossy() == **to);
                    (!is_same).then_some(DamageKind::Replaced)
                }
                Item::File { .. } if !kind.is_file() => Some(DamageKind::Replaced),
                Item::File { bytes, .. } if *bytes != data.len() => Some(DamageKind::Size {
                    is: data.len(),
                    was: *bytes,
                }),
                Item::File {
                    modified,
                    hash: was,
                    ..
                } => {
                    let is_copied = *modified != data.mtime();
                    if (is_copied || care == Care::Thorough) && hash(path)? != *was {
                        Some(DamageKind::Content)
                    } else {
                        has_copies |= is_copied;
                        *modified = data.mtime();
                        None
                    }
                }
            };
            damage = found.map(|kind| Damage::new(name, kind));
            Ok(())
        });
        match walked {
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                damage = Some(Damage::new("root", DamageKind::Missing));
            }
            walked => walked?,
        }
        if damage.is_none() && known < self.0.len() {
            let mut names = self.0.keys();
            let lost = names.find(|name| fs::symlink_metadata(entry.join(name)).is_err());
            damage = lost.map(|name| Damage::new(name, DamageKind::Missing));
        }
        Ok((damage, has_copies))
    }

    fn write(&self, entry: &Path) -> Result<(), CacheError> {
        let path = entry.join(MANIFEST);
        let text = serde_json::to_vec(self).map_err(|error| at("writing", &path)(error.into()))?;
        keep_synced(entry, MANIFEST, &text).map_err(at("writing", &path))
    }
}

fn hash(path: &Path) -> Result<String, CacheError> {
    content_hash([path], []).ok_or_else(|| {
        let read = File::open(path).map(drop).err();
        at("reading", path)(read.unwrap_or_else(|| io::ErrorKind::Other.into()))
    })
}

/// Returns what is in a folder, read to its end: few descriptors are enough to visit all below.
fn items(folder: &Path) -> Result<Vec<fs::DirEntry>, CacheError> {
    let items = fs::read_dir(folder).and_then(Iterator::collect);
    items.map_err(at("reading", folder))
}

/// Visits everything below a folder but these, with its path from the folder of the entry.
fn walk(
    folder: &Path,
    name: &str,
    but: &[&str],
    visit: &mut dyn FnMut(&Path, &str, &Metadata) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    for item in items(folder)? {
        let name = format!("{name}/{}", item.file_name().to_string_lossy());
        if but.contains(&&*name) {
            continue;
        }
        let path = item.path();
        let data = item.metadata().map_err(at("reading", &path))?;
        ours(&path, &data)?;
        visit(&path, &name, &data)?;
        if data.is_dir() {
            walk(&path, &name, but, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// An entry with a program, a library, a link to it and an empty folder.
    fn entry(folder: &Path) -> (PathBuf, Record) {
        let entry = folder.join("qemu");
        let lib = entry.join("root/usr/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::create_dir(entry.join("root/empty")).unwrap();
        fs::write(entry.join("root/usr/qemu"), "program").unwrap();
        fs::write(lib.join("lib.so.1"), "library").unwrap();
        symlink("lib.so.1", lib.join("lib.so")).unwrap();
        let mut known = Record::new("suite", "qemu", "1");
        known.unpacked_bytes = 14;
        record(&entry).unwrap();
        (entry, known)
    }

    fn found(entry: &Path, known: &Record, care: Care) -> Option<String> {
        damage(entry, known, care)
            .unwrap()
            .map(|damage| damage.to_string())
    }

    #[test]
    fn what_is_lost_changed_or_added_is_damage() {
        // What is done in the folder of an entry, and what is said of it.
        for row in [
            ">root/usr/lib/lib.so.1 # root/usr/lib/lib.so.1 has 0 bytes instead of 7",
            "printf progra >root/usr/qemu # root/usr/qemu has 6 bytes instead of 7",
            "printf PROGRAM >root/usr/qemu; touch -d @0 root/usr/qemu # root/usr/qemu has other contents",
            "rm root/usr/lib/lib.so.1 # root/usr/lib/lib.so.1 is missing",
            "rmdir root/empty # root/empty is missing",
            ">root/usr/lib/libc.so # root/usr/lib/libc.so was added",
            "ln -sf /bin/true root/usr/qemu # root/usr/qemu was replaced by something else",
            "ln -sf /lib.so root/usr/lib/lib.so # root/usr/lib/lib.so was replaced by something else",
            "mv root ../elsewhere; ln -s ../elsewhere root # root was replaced by something else",
            "rm -r root # root is missing",
            "rm manifest.json # manifest.json is missing",
            "truncate -s -9 manifest.json # manifest.json cannot be read",
        ] {
            let (change, wanted) = row.split_once(" # ").unwrap();
            let folder = tempfile::tempdir().unwrap();
            let (entry, known) = entry(folder.path());
            assert_eq!(found(&entry, &known, Care::Thorough), None);
            let mut shell = std::process::Command::new("sh");
            shell.args(["-ec", change]).current_dir(&entry);
            assert!(shell.status().unwrap().success(), "{change}");
            let told = found(&entry, &known, Care::Quick);
            assert_eq!(told.as_deref(), Some(wanted), "{change}");
        }
    }

    /// Sets another time than that of the manifest.
    fn age(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(1000);
        file.set_modified(then).unwrap();
    }

    #[test]
    fn a_copy_is_read_once_and_sound() {
        let folder = tempfile::tempdir().unwrap();
        let (entry, known) = entry(folder.path());
        let before = fs::read(entry.join(MANIFEST)).unwrap();
        age(&entry.join("root/usr/qemu"));
        assert_eq!(found(&entry, &known, Care::Quick), None);
        let after = fs::read(entry.join(MANIFEST)).unwrap();
        assert_ne!(before, after);
        assert_eq!(found(&entry, &known, Care::Quick), None);
        assert_eq!(fs::read(entry.join(MANIFEST)).unwrap(), after);
    }

    #[test]
    fn contents_that_only_the_disk_changed_are_found_by_reading_them() {
        let folder = tempfile::tempdir().unwrap();
        let (entry, known) = entry(folder.path());
        let path = entry.join("root/usr/qemu");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "PROGRAM").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(found(&entry, &known, Care::Quick), None);
        assert_eq!(
            found(&entry, &known, Care::Thorough).as_deref(),
            Some("root/usr/qemu has other contents")
        );
    }

    #[test]
    fn an_entry_of_before_there_were_manifests_gets_one_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (entry, mut known) = entry(folder.path());
        known.has_manifest = false;
        fs::remove_file(entry.join(MANIFEST)).unwrap();
        fs::write(entry.join("root/usr/lib/lib.so.1"), "").unwrap();
        assert_eq!(
            found(&entry, &known, Care::Quick).as_deref(),
            Some("root has 7 bytes instead of 14")
        );
        fs::write(entry.join("root/usr/lib/lib.so.1"), "library").unwrap();
        assert_eq!(found(&entry, &known, Care::Quick), None);
        assert!(entry.join(MANIFEST).exists());
    }
}
