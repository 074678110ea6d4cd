//! Temporary folders, which go when they are dropped, when the process ends, or with the next run if it was killed.
//!
//! A folder of a run has a mark in it, by which the next run knows that nobody uses it. The mark is the last thing that
//! is removed and the first that is made: in between, a folder of a killed run has nothing in it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::cleanup::{DEATH, registered, run_id, uninterrupted, wait_until};

/// The beginning of the names of folders that a run uses for itself. A user gives no folder such a name.
pub(crate) const OWN: &str = ".migcompat-";
/// The beginning of the names of folders that a run may leave for its user.
pub(crate) const SHOWN: &str = "migcompat-";
/// The link in a folder of a run that has the run's id.
const MARK: &str = ".run";
/// Times that a folder is made which another run takes for one that a killed run has left.
const TRIES: usize = 16;

/// A temporary folder, removed with all that is in it when this is dropped or the process ends.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes a folder in another one.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn new(builder: &mut tempfile::Builder, parent: &Path) -> io::Result<TempFolder> {
        uninterrupted(|| {
            // It must be found again from wherever the process has gone by then.
            let parent = std::path::absolute(parent)?;
            let folder = builder.tempdir_in(parent)?.keep();
            registered().folders.insert(folder.clone());
            Ok(TempFolder(folder))
        })
    }

    /// Makes a folder that the next run removes if this one is killed: see [`end_dead_runs`].
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn of_run(builder: &mut tempfile::Builder, parent: &Path) -> io::Result<TempFolder> {
        let Some(id) = run_id::ours() else {
            return TempFolder::new(builder, parent);
        };
        for _ in 0..TRIES {
            let folder = TempFolder::new(builder, parent)?;
            match symlink(&id, folder.path().join(MARK)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Without room for a mark the folder serves as well, and stays behind if the run is killed.
                Ok(()) | Err(_) => return Ok(folder),
            }
        }
        TempFolder::new(builder, parent)
    }

    /// A folder that another program makes, and removes if all goes well.
    pub fn of_other(path: PathBuf) -> TempFolder {
        registered().folders.insert(path.clone());
        TempFolder(path)
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn close(self) -> io::Result<()> {
        remove(self.path())
    }

    /// Leaves the folder where it is, unless a signal ends the process: then no output names it.
    pub fn keep(self) {
        // Once the process is ending, nobody would look again at what is kept.
        uninterrupted(|| {
            let _has_none = fs::remove_file(self.path().join(MARK));
            let mut registered = registered();
            registered.folders.remove(self.path());
            registered.kept.insert(self.path().to_owned());
        });
        std::mem::forget(self);
    }

    /// Tells whether nothing was put into the folder.
    pub fn is_empty(&self) -> bool {
        let items = fs::read_dir(self.path()).into_iter().flatten().flatten();
        items.filter(|item| item.file_name() != MARK).count() == 0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let removed = remove(self.path());
        // Only now: what is removed in part when the process ends is still registered, and so is what could not be removed,
        // for want of a descriptor for instance: it is tried again at the end.
        if removed.is_ok() || fs::symlink_metadata(self.path()).is_err() {
            registered().folders.remove(self.path());
        }
    }
}

/// Kills what goes on of runs that have ended, and removes their folders in `parent`.
pub(crate) fn end_dead_runs(parent: &Path) {
    // What still runs may put something into a folder that is being removed.
    run_id::kill_those_of_dead_runs();
    for item in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = item.file_name();
        let begins_with = |prefix: &str| name.as_bytes().starts_with(prefix.as_bytes());
        let folder = item.path();
        // Nothing of another user's, and no link.
        let is_ours = || {
            fs::symlink_metadata(&folder)
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw())
        };
        if !(begins_with(OWN) || begins_with(SHOWN)) || !is_ours() {
            continue;
        }
        match fs::read_link(folder.join(MARK)) {
            Ok(run) if run_id::is_over(run.as_os_str()) => remove_in_time(&folder),
            // Killed before the mark was made or after it was removed, if there is nothing in it. A run that goes on
            // and has not yet made the mark makes another folder.
            Err(_) if begins_with(OWN) => {
                let _has_something = fs::remove_dir(&folder);
            }
            _ => {}
        }
    }
}

/// Removes a folder into which somebody may still be writing, or which another one is removing.
pub(super) fn remove_in_time(folder: &Path) {
    wait_until(DEATH, || {
        remove(folder).is_ok() || fs::symlink_metadata(folder).is_err()
    });
}

/// Removes a folder, its mark last.
fn remove(folder: &Path) -> io::Result<()> {
    for item in in_order(folder)? {
        absent(match item.file_type()?.is_dir() {
            true => fs::remove_dir_all(item.path()),
            false => fs::remove_file(item.path()),
        })?;
    }
    fs::remove_dir(folder)
}

/// Returns what is in a folder, in the order in which it is removed.
fn in_order(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut items: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    items.sort_by_key(|item| item.file_name() == MARK);
    Ok(items)
}

/// Takes what was not there for what was removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(parent: &Path) -> TempFolder {
        TempFolder::of_run(tempfile::Builder::new().prefix(OWN), parent).unwrap()
    }

    #[test]
    fn a_folder_is_registered_until_it_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let known = |path: &Path| registered().folders.contains(path);
        let kept = |path: &Path| registered().kept.contains(path);
        for (end, stays) in [
            (drop as fn(TempFolder), false),
            (|folder| folder.close().unwrap(), false),
            (TempFolder::keep, true),
        ] {
            let folder = make(parent.path());
            let path = folder.path().to_owned();
            assert!(known(&path) && folder.is_empty());
            fs::write(path.join("log"), "").unwrap();
            assert!(!folder.is_empty());
            end(folder);
            assert_eq!(path.exists(), stays);
            assert_eq!((known(&path), kept(&path)), (false, stays));
        }
    }

    /// A folder that is kept is nobody's any more.
    #[test]
    fn what_cannot_be_removed_is_tried_again_at_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let folder = make(parent.path());
        let path = folder.path().to_owned();
        // A folder cannot be read for a while.
        let away = parent.path().join("away");
        fs::rename(&path, &away).unwrap();
        fs::write(&path, "").unwrap();
        drop(folder);
        assert!(registered().folders.contains(&path));
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        drop(TempFolder(path.clone()));
        assert!(!path.exists());
        assert!(!registered().folders.contains(&path));
    }

    #[test]
    fn what_is_kept_has_no_mark() {
        let parent = tempfile::tempdir().unwrap();
        let folder = make(parent.path());
        let path = folder.path().to_owned();
        assert!(fs::symlink_metadata(path.join(MARK)).is_ok());
        folder.keep();
        assert!(fs::read_dir(path).unwrap().next().is_none());
    }

    /// A run may be killed at any step of the making and the removal of a folder.
    #[test]
    fn a_killed_run_leaves_only_what_the_next_one_removes() {
        let dead = run_id::of_a_dead_run();
        for (name, files, marked, goes) in [
            (".migcompat-1", &[][..], false, true),
            (".migcompat-1", &[], true, true),
            (".migcompat-1", &["q", "folder/stream"], true, true),
            ("migcompat-logs-1", &["folder/stream"], true, true),
            // Not known to be ours.
            (".migcompat-1", &["folder/q"], false, false),
            ("migcompat-results", &[], false, false),
        ] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            if !files.is_empty() {
                fs::create_dir(folder.join("folder")).unwrap();
            }
            for file in files {
                fs::write(folder.join(file), "").unwrap();
            }
            if marked {
                symlink(&dead, folder.join(MARK)).unwrap();
            }
            end_dead_runs(parent.path());
            assert_eq!(!folder.exists(), goes, "{name} {files:?} {marked}");
        }
    }

    #[test]
    fn the_mark_goes_last() {
        let parent = tempfile::tempdir().unwrap();
        let folder = make(parent.path());
        for name in ["a", "q", "z"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = in_order(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
        assert_eq!(names.iter().position(|name| name == MARK), Some(3));
        folder.close().unwrap();
        assert!(fs::read_dir(parent.path()).unwrap().next().is_none());
    }

    #[test]
    fn the_folders_of_others_stay() {
        let (ours, dead) = (run_id::ours().unwrap(), run_id::of_a_dead_run());
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str, run: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            symlink(run, path.join(MARK)).unwrap();
            path
        };
        let stay = [
            folder(".migcompat-lives", &ours),
            folder(".migcompat-elsewhere", "1.1.another-boot.1"),
            folder("other-dead", &dead),
            folder("target", &dead),
        ];
        symlink(&stay[3], parent.path().join(".migcompat-link")).unwrap();
        end_dead_runs(parent.path());
        for path in stay {
            assert!(path.exists(), "{}", path.display());
        }
    }
}
