//! Files of the cache that are there as a whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::cleanup::uninterrupted;
use crate::whole_file::neighbour;

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
        let place = folder.join(name);
        let mut file = neighbour(&place)?;
        file.write_all(bytes)?;
        before_its_name(file.as_file())?;
        file.persist(place)?;
        Ok(())
    })
}
