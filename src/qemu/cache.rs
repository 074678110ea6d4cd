//! Unpacked builds on disk, one folder for each suite and package.
//!
//! ```text
//! debian/bookworm/.fetch.lock              held while something of the suite is fetched
//! debian/bookworm/.fetch-XXXXXX/           a fetch under way, or the remains of a killed one
//! debian/bookworm/.qemu-system-x86.lock    shared while a build is in use, alone to remove it
//! debian/bookworm/qemu-system-x86/         complete, for it got its name last
//!     build.json, manifest.json, root/, answers/
//! ```
//!
//! The locks are advisory and die with their process, so a killed run leaves none behind. Lock
//! files stay, since removing one would let two processes each hold "the" lock; but where a fetch leaves nothing else
//! in the folder of a suite, its holder removes both, and whoever waited for it takes another.
//!
//! Before a build is used, its files are compared with its manifest. One that lost or changed some is
//! fetched again, and nothing that is another user's is used.

mod keep;
mod manifest;
mod record;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::cleanup::{TempFolder, uninterrupted};
use crate::model::Version;
use crate::qemu::{BuildArg, FetchEvent, FetchWatcher};
pub(crate) use keep::keep;
use manifest::Care;
pub use manifest::Damage;
pub(super) use manifest::ours;
pub(crate) use record::{CacheError, FORMAT, Record, at};

const RECORD: &str = "build.json";
const FETCH_LOCK: &str = ".fetch.lock";
const FETCH_PREFIX: &str = ".fetch-";

/// A build in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub record: Record,
    /// The folder of the entry.
    pub path: PathBuf,
}

impl Entry {
    /// Returns the QEMU release of a package of QEMU.
    pub(crate) fn release(&self) -> Option<Version> {
        // Debian writes an epoch before the version.
        let version = self.record.version.rsplit(':').next().unwrap_or_default();
        version.parse().ok()
    }
}

/// The place of fetched builds, and whether more may be fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CacheConfig {
    /// The folder; by default `migcompat` in the user's cache folder.
    pub folder: Option<PathBuf>,
    /// No network: what is not in the folder is an error.
    pub offline: bool,
}

impl From<Option<PathBuf>> for CacheConfig {
    fn from(folder: Option<PathBuf>) -> CacheConfig {
        CacheConfig {
            folder,
            ..CacheConfig::default()
        }
    }
}

/// The folder in which fetched builds are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Nothing where no folder is named and there is no home: what needs no cache works without one.
    dir: Option<PathBuf>,
    offline: bool,
    care: Care,
}

/// The entry that a cache has for what is looked for.
#[derive(Debug)]
pub(crate) enum Cached {
    Fits(InUse),
    /// Its files are not what was unpacked.
    Damaged(Damage),
    Nothing,
}

/// A complete entry that no process removes while this lives.
#[derive(Debug)]
pub(crate) struct InUse {
    pub root: PathBuf,
    pub lock: Arc<Flock<File>>,
}

impl InUse {
    /// Returns the folder in which something may be kept that was found out about it.
    pub(crate) fn notes(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }
}

/// The right to fetch something of a suite, and a folder to do it in, removed when dropped.
#[derive(Debug)]
pub(crate) struct Fetching {
    suite_dir: PathBuf,
    work: TempFolder,
    /// Declared last, so that it is released after the folder was removed.
    _lock: FetchLock,
}

/// The lock of all fetches of a suite. A folder of the suite that has nothing else when it is released goes.
#[derive(Debug)]
struct FetchLock {
    /// The folder of the suite, and those above it that were made for it.
    folders: Vec<PathBuf>,
    path: PathBuf,
    /// Released after the folder was removed.
    _lock: Flock<File>,
}

impl FetchLock {
    /// Makes the folder of a suite and locks its fetches; `busy` is called before another run is waited for.
    ///
    /// # Errors
    /// The folder cannot be made, or the lock not be taken.
    fn wait(suite_dir: &Path, busy: impl Fn()) -> Result<FetchLock, CacheError> {
        let path = suite_dir.join(FETCH_LOCK);
        let failed = |errno: Errno| at("locking", &path)(errno.into());
        loop {
            let missing = suite_dir.ancestors().skip(1);
            let missing = missing.take_while(|folder| !folder.exists());
            let folders = [suite_dir].into_iter().chain(missing);
            let folders = folders.map(Path::to_owned).collect();
            fs::create_dir_all(suite_dir).map_err(at("making a folder", suite_dir))?;
            let file = match lock_at(&path) {
                // Another run has removed the folder meanwhile.
                Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                file => file?,
            };
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((file, Errno::EWOULDBLOCK)) => {
                    busy();
                    Flock::lock(file, FlockArg::LockExclusive)
                        .map_err(|(_, errno)| failed(errno))?
                }
                Err((_, errno)) => return Err(failed(errno)),
            };
            if FetchLock::is_one(&lock) {
                return Ok(FetchLock {
                    folders,
                    path,
                    _lock: lock,
                });
            }
        }
    }

    /// Locks the fetches of a suite if no run has locked them.
    fn of_idle(suite_dir: PathBuf) -> Option<FetchLock> {
        let path = suite_dir.join(FETCH_LOCK);
        let file = lock_at(&path).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        FetchLock::is_one(&lock).then(|| FetchLock {
            folders: vec![suite_dir],
            path,
            _lock: lock,
        })
    }

    /// Tells whether the file is still there: only who holds the lock removes it.
    fn is_one(lock: &Flock<File>) -> bool {
        lock.metadata().is_ok_and(|of| of.nlink() > 0)
    }
}

impl Drop for FetchLock {
    fn drop(&mut self) {
        let suite_dir = self.folders.first().and_then(|dir| fs::read_dir(dir).ok());
        if suite_dir.is_some_and(|items| items.count() == 1) {
            // Best effort: a folder that got something meanwhile stays.
            let _stays = fs::remove_file(&self.path)
                .and_then(|()| self.folders.iter().try_for_each(fs::remove_dir));
        }
    }
}

impl Cache {
    /// The cache in the folder that is named, or else in `$XDG_CACHE_HOME/migcompat`, by default
    /// `~/.cache/migcompat`. Nothing is made before it is needed, and no home is no error before that.
    ///
    /// # Errors
    /// Something else than a folder has the name.
    pub fn new(config: impl Into<CacheConfig>) -> Result<Cache, CacheError> {
        let CacheConfig { folder, offline } = config.into();
        // The XDG base directory specification: a relative path there is to be ignored.
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let dir = match folder {
            Some(dir) => Some(std::path::absolute(&dir).map_err(at("finding the folder", &dir))?),
            None => absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
                .map(|caches| caches.join(env!("CARGO_PKG_NAME"))),
        };
        match dir {
            Some(dir) if dir.exists() && !dir.is_dir() => Err(CacheError::NotAFolder(dir)),
            dir => Ok(Cache {
                dir,
                offline,
                care: Care::Quick,
            }),
        }
    }

    /// Has the contents of all files read before a build is used, not only what the system says of them.
    pub(crate) fn with_care(self) -> Cache {
        Cache {
            care: Care::Thorough,
            ..self
        }
    }

    /// Tells whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Returns the folder, which need not be there yet.
    ///
    /// # Errors
    /// None is named, and there is no home.
    pub fn path(&self) -> Result<&Path, CacheError> {
        self.dir.as_deref().ok_or(CacheError::NoHome)
    }

    /// The complete entries, by suite and package.
    ///
    /// # Errors
    /// The folder cannot be read. An empty or missing one has no entries.
    pub fn list(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries = Vec::new();
        for suite in self.suites()? {
            for path in folders(&suite)? {
                if let Some(record) = record(&path) {
                    entries.push(Entry { record, path });
                }
            }
        }
        let name = |of: &Entry| (of.record.suite.clone(), of.record.package.clone());
        entries.sort_by_cached_key(name);
        Ok(entries)
    }

    /// Removes everything fetched of a suite and returns what was removed.
    ///
    /// # Errors
    /// An entry is in use by a running migcompat: what was removed before it stays removed.
    pub fn remove(&self, arg: &BuildArg) -> Result<Vec<Entry>, CacheError> {
        let BuildArg::Debian { suite } = arg else {
            return Err(CacheError::NotFetched(arg.label()));
        };
        let mut removed = self.list()?;
        removed.retain(|entry| &entry.record.suite == suite);
        for entry in &removed {
            let suite_dir = self.suite(suite)?;
            let _lock = lock_entry(&entry.path, suite, FlockArg::LockExclusiveNonblock)?;
            // A folder half removed must not pass for a build: it loses its name first. If this
            // process dies here, the next fetch removes the rest.
            let doomed = fetch_folder(&suite_dir)?;
            let moved = fs::rename(&entry.path, doomed.path().join("old"));
            match moved {
                // Another run was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved.map_err(at("removing", &entry.path))?,
            }
            doomed.close().map_err(at("removing", &entry.path))?;
        }
        Ok(removed)
    }

    /// Returns the first of the packages that is complete, sound and passes `fits`, and keeps it from
    /// being removed.
    ///
    /// # Errors
    /// A folder of the cache cannot be read or locked, or is another user's.
    pub(crate) fn find(
        &self,
        suite: &str,
        packages: &[String],
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Cached, CacheError> {
        let suite_dir = self.suite(suite)?;
        self.refuse_others(&suite_dir)?;
        let mut damaged = None;
        for package in packages {
            let path = suite_dir.join(package);
            if let Ok(data) = fs::symlink_metadata(&path) {
                ours(&path, &data)?;
                if !data.is_dir() {
                    damaged.get_or_insert(Damage::of_entry(&path));
                    continue;
                }
            }
            if record(&path).is_none() {
                continue;
            }
            let lock = lock_entry(&path, suite, FlockArg::LockShared)?;
            // Another process may have removed it before the lock was ours.
            let root = path.join("root");
            let Some(record) = record(&path) else {
                continue;
            };
            if let Some(damage) = manifest::damage(&path, &record, self.care)? {
                damaged.get_or_insert(damage);
            } else if fits(&root) {
                let lock = Arc::new(lock);
                return Ok(Cached::Fits(InUse { root, lock }));
            }
        }
        Ok(damaged.map_or(Cached::Nothing, Cached::Damaged))
    }

    /// Checks that the folders above an entry are this user's, as far as they are there.
    fn refuse_others(&self, suite_dir: &Path) -> Result<(), CacheError> {
        for path in [self.path()?, &self.debian()?, suite_dir] {
            // Neither a link nor what it leads to.
            for data in [fs::symlink_metadata(path), fs::metadata(path)] {
                match data {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    data => ours(path, &data.map_err(at("reading", path))?)?,
                }
            }
        }
        Ok(())
    }

    /// Waits for its turn to fetch something of a suite, and removes what killed runs left.
    ///
    /// # Errors
    /// The folder of the suite cannot be made or locked, or an unfinished fetch cannot be removed.
    pub(crate) fn start_fetch(
        &self,
        suite: &str,
        watcher: FetchWatcher<'_>,
    ) -> Result<Fetching, CacheError> {
        let suite_dir = self.suite(suite)?;
        self.refuse_others(&suite_dir)?;
        let lock = FetchLock::wait(&suite_dir, || watcher(FetchEvent::Waiting { suite }))?;
        self.sweep(&suite_dir);
        let work = fetch_folder(&suite_dir)?;
        Ok(Fetching {
            suite_dir,
            work,
            _lock: lock,
        })
    }

    /// Removes unfinished fetches whose lock is free. `ours` is a suite whose lock is ours.
    /// Best effort: what cannot be removed now does no harm.
    fn sweep(&self, ours: &Path) {
        for suite in self.suites().unwrap_or_default() {
            let _lock = match suite == ours {
                true => None,
                false => match FetchLock::of_idle(suite.clone()) {
                    Some(lock) => Some(lock),
                    None => continue,
                },
            };
            let Ok(found) = fs::read_dir(&suite) else {
                continue;
            };
            for left in found.flatten() {
                let name = left.file_name();
                if name.to_string_lossy().starts_with(FETCH_PREFIX) && left.path().is_dir() {
                    let _in_nobodys_way = fs::remove_dir_all(left.path());
                }
            }
        }
    }

    fn debian(&self) -> Result<PathBuf, CacheError> {
        Ok(self.path()?.join("debian"))
    }

    fn suite(&self, suite: &str) -> Result<PathBuf, CacheError> {
        Ok(self.debian()?.join(suite))
    }

    /// Returns the folders of suites; none where there is no cache.
    fn suites(&self) -> Result<Vec<PathBuf>, CacheError> {
        match &self.dir {
            Some(_) => folders(&self.debian()?),
            None => Ok(Vec::new()),
        }
    }
}

/// The entry that a fetched one replaces, if something has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// One that does not have what is wanted.
    OfOther,
    OfDamaged,
}

impl Fetching {
    /// The folder to work in; `root` in it becomes the root of the build.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Gives the unpacked root its name, after everything in it has reached the disk. An entry of this name that is
    /// damaged goes, unless a run uses it; one that did not fit is waited for.
    ///
    /// # Errors
    /// The entry cannot be written, synchronised or renamed, or what it takes the place of is in use.
    pub(crate) fn finish(self, record: &Record, instead: Instead) -> Result<(), CacheError> {
        let entry = self.work().join("entry");
        fs::create_dir(&entry).map_err(at("making a folder", &entry))?;
        let root = entry.join("root");
        fs::rename(self.work().join("root"), &root).map_err(at("renaming", &root))?;
        let path = entry.join(RECORD);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| at("writing", &path)(error.into()))?;
        fs::write(&path, text).map_err(at("writing", &path))?;
        manifest::record(&entry)?;
        // One call for some thousand files: a power cut must not leave a complete name on
        // files without contents.
        let dir = File::open(&entry).map_err(at("opening", &entry))?;
        nix::unistd::syncfs(&dir).map_err(|errno| at("syncing", &entry)(errno.into()))?;

        let to = self.suite_dir.join(&record.package);
        // Another process may be removing, or running, an entry of this name that did not fit.
        let how = match instead {
            Instead::OfOther => FlockArg::LockExclusive,
            Instead::OfDamaged => FlockArg::LockExclusiveNonblock,
        };
        let _lock = lock_entry(&to, &record.suite, how)?;
        // No process removes our folder between the two steps.
        uninterrupted(|| {
            if fs::symlink_metadata(&to).is_ok() {
                let old = self.work().join("old");
                fs::rename(&to, &old).map_err(at("renaming", &to))?;
            }
            fs::rename(&entry, &to).map_err(at("renaming", &to))
        })?;
        let suite = File::open(&self.suite_dir).map_err(at("opening", &self.suite_dir))?;
        suite.sync_all().map_err(at("syncing", &self.suite_dir))
    }
}

/// A folder that passes for no build, whatever is in it.
fn fetch_folder(suite_dir: &Path) -> Result<TempFolder, CacheError> {
    TempFolder::new(tempfile::Builder::new().prefix(FETCH_PREFIX), suite_dir)
        .map_err(at("making a folder", suite_dir))
}

/// The record of a complete entry of this form.
fn record(entry: &Path) -> Option<Record> {
    let text = fs::read(entry.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let named = entry
        .file_name()
        .is_some_and(|name| name == record.package.as_str());
    (record.format == FORMAT && named).then_some(record)
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let found = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(at("reading", dir))?,
    };
    let mut folders = Vec::new();
    for item in found {
        let item = item.map_err(at("reading", dir))?;
        if !item.file_name().to_string_lossy().starts_with('.') && item.path().is_dir() {
            folders.push(item.path());
        }
    }
    Ok(folders)
}

/// Locks an entry, which need not be there.
fn lock_entry(entry: &Path, suite: &str, how: FlockArg) -> Result<Flock<File>, CacheError> {
    let package = entry.file_name().unwrap_or_default().to_string_lossy();
    let file = lock_at(&entry.with_file_name(format!(".{package}.lock")))?;
    Flock::lock(file, how).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => CacheError::InUse {
            suite: suite.to_owned(),
            package: package.into_owned(),
        },
        errno => at("locking", entry)(errno.into()),
    })
}

fn lock_at(path: &Path) -> Result<File, CacheError> {
    let made = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path);
    match made {
        // Another user's cache, which is only readable: a shared lock needs no more.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // One that is not there cannot be made: that is the reason, and no folder that went meanwhile.
            File::open(path).map_err(|_| error)
        }
        made => made,
    }
    .map_err(at("locking", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian(suite: &str) -> BuildArg {
        BuildArg::Debian {
            suite: suite.to_owned(),
        }
    }

    fn fetch(cache: &Cache, suite: &str, package: &str) {
        let fetching = cache.start_fetch(suite, &|_| ()).unwrap();
        fs::create_dir(fetching.work().join("root")).unwrap();
        fetching
            .finish(&Record::new(suite, package, "1:1.0"), Instead::OfDamaged)
            .unwrap();
    }

    fn find(cache: &Cache, suite: &str, package: &str) -> Option<InUse> {
        match cache.find(suite, &[package.to_owned()], |_| true).unwrap() {
            Cached::Fits(found) => Some(found),
            Cached::Damaged(_) | Cached::Nothing => None,
        }
    }

    #[test]
    fn an_entry_is_there_when_finished_and_gone_when_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().join("new"))).unwrap();
        assert!(cache.list().unwrap().is_empty());
        assert!(cache.remove(&debian("one")).unwrap().is_empty());

        fetch(&cache, "one", "q");
        fetch(&cache, "two", "q");
        let names: Vec<_> = cache
            .list()
            .unwrap()
            .into_iter()
            .map(|e| e.record.suite)
            .collect();
        assert_eq!(names, ["one", "two"]);
        assert!(find(&cache, "one", "q").is_some());
        assert!(find(&cache, "one", "other").is_none());

        assert_eq!(cache.remove(&debian("one")).unwrap().len(), 1);
        assert!(find(&cache, "one", "q").is_none());
        assert!(find(&cache, "two", "q").is_some());
    }

    #[test]
    fn what_a_killed_fetch_left_is_no_build_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
        let left = dir.path().join("debian/one/.fetch-dead/root/usr");
        fs::create_dir_all(&left).unwrap();
        assert!(cache.list().unwrap().is_empty());
        fetch(&cache, "two", "q");
        assert!(!left.exists());
    }

    #[test]
    fn a_fetch_that_got_nothing_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().join("new"))).unwrap();
        let fetching = cache.start_fetch("one", &|_| ()).unwrap();
        assert!(fetching.work().exists());
        drop(fetching);
        assert!(!dir.path().join("new").exists());

        // What was there stays, and so does what another fetch got.
        fetch(&cache, "two", "q");
        drop(cache.start_fetch("one", &|_| ()).unwrap());
        drop(cache.start_fetch("two", &|_| ()).unwrap());
        let suites = folders(&dir.path().join("new/debian")).unwrap();
        assert_eq!(suites, [dir.path().join("new/debian/two")]);
        assert!(find(&cache, "two", "q").is_some());

        // What a killed one left goes with the next fetch.
        let left = dir.path().join("new/debian/one");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(FETCH_LOCK), "").unwrap();
        drop(cache.start_fetch("two", &|_| ()).unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn who_waits_for_a_fetch_that_leaves_nothing_gets_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().join("new"))).unwrap();
        let busy = cache.start_fetch("one", &|_| ()).unwrap();
        std::thread::scope(|scope| {
            let (waits, waiting) = std::sync::mpsc::channel();
            let other = scope.spawn({
                let cache = &cache;
                move || {
                    let told = |event: FetchEvent<'_>| {
                        if let FetchEvent::Waiting { .. } = event {
                            waits.send(()).unwrap();
                        }
                    };
                    let fetching = cache.start_fetch("one", &told).unwrap();
                    assert!(fetching.work().exists());
                    fetching
                }
            });
            waiting.recv().unwrap();
            drop(busy);
            let fetching = other.join().unwrap();
            // The lock that it has is the one of the suite.
            let suite = dir.path().join("new/debian/one");
            assert!(FetchLock::of_idle(suite).is_none());
            drop(fetching);
        });
        assert!(!dir.path().join("new").exists());
    }

    #[test]
    fn a_fetch_under_way_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
        let busy = cache.start_fetch("one", &|_| ()).unwrap();
        fetch(&cache, "two", "q");
        assert!(busy.work().exists());
    }

    #[test]
    fn an_entry_in_use_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
        fetch(&cache, "one", "q");
        let used = find(&cache, "one", "q").unwrap();
        assert!(matches!(
            cache.remove(&debian("one")),
            Err(CacheError::InUse { .. })
        ));
        assert!(used.root.exists());
        drop(used);
        assert_eq!(cache.remove(&debian("one")).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_entry_is_told_and_makes_room_unless_it_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
        let entry = dir.path().join("debian/one/q");
        let damaged = || {
            let found = cache.find("one", &["q".to_owned()], |_| true).unwrap();
            matches!(found, Cached::Damaged(_))
        };
        fetch(&cache, "one", "q");
        fs::write(entry.join("root/more"), "").unwrap();
        assert!(damaged());
        fetch(&cache, "one", "q");
        assert!(find(&cache, "one", "q").is_some());

        // A link to what is whole elsewhere.
        fs::rename(&entry, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &entry).unwrap();
        assert!(damaged());
        fetch(&cache, "one", "q");
        assert!(find(&cache, "one", "q").is_some());
        assert!(dir.path().join("elsewhere/build.json").exists());

        let used = find(&cache, "one", "q").unwrap();
        fs::write(entry.join("root/more"), "").unwrap();
        let fetching = cache.start_fetch("one", &|_| ()).unwrap();
        fs::create_dir(fetching.work().join("root")).unwrap();
        let record = Record::new("one", "q", "1:1.0");
        let refused = fetching.finish(&record, Instead::OfDamaged);
        assert!(matches!(refused, Err(CacheError::InUse { .. })));
        drop(used);
    }

    #[test]
    fn without_a_home_there_is_an_empty_cache_until_one_is_needed() {
        let cache = Cache {
            dir: None,
            offline: false,
            care: Care::Quick,
        };
        assert!(cache.list().unwrap().is_empty());
        assert!(matches!(
            cache.find("one", &["q".to_owned()], |_| true),
            Err(CacheError::NoHome)
        ));
        assert!(matches!(
            cache.start_fetch("one", &|_| ()),
            Err(CacheError::NoHome)
        ));
    }

    #[test]
    fn a_record_of_another_form_or_none_is_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned())).unwrap();
        fetch(&cache, "one", "q");
        let path = dir.path().join("debian/one/q/build.json");
        for text in [
            "",
            "{}",
            &fs::read_to_string(&path).unwrap().replace("1,", "99,"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(find(&cache, "one", "q").is_none(), "{text}");
        }
        fetch(&cache, "one", "q");
        assert!(find(&cache, "one", "q").is_some());
    }
}
