//! Files that appear whole or not at all: written beside their place, and then given their name.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Returns the folder that a file is in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a temporary file beside a file, to get its name. Whoever may read what the user writes may read it.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn neighbour(file: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        // What the umask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(file))
}
