//! Files of the cache that are there as a whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cleanup::uninterrupted;

/// Keeps something that was found out about an entry in a file, where another run may be reading the previous one.
///
/// # Errors
/// It cannot be written.
pub(crate) fn keep(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    put(folder, name, bytes, |_| Ok(()))
}

/// The same, on the disk before it has its name.
///
/// # Errors
/// It cannot be written.
pub(super) fn keep_synced(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    put(folder, name, bytes, File::sync_data)
}

fn put(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    before_its_name: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    uninterrupted(|| {
        let mut builder = tempfile::Builder::new();
        // What the umask leaves of it: whoever may use the build may read what is known of it.
        builder.permissions(Permissions::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        before_its_name(file.as_file())?;
        file.persist(folder.join(name))?;
        Ok(())
    })
}
