//! The contents of a folder of fetched files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The bytes of the files right in a folder, as far as they can be seen: for a progress bar.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|item| item.metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum()
}

/// Takes set-user-id and set-group-id off every file, for nothing here is to run as another user,
/// makes every folder deletable again, and returns how many bytes the files have.
///
/// # Errors
/// A folder cannot be read, or a mode cannot be changed.
pub(crate) fn tame(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for item in fs::read_dir(dir)? {
        let item = item?;
        let data = item.metadata()?;
        let kind = data.file_type();
        if kind.is_symlink() {
            continue;
        }
        let mode = data.permissions().mode();
        let tamed = if kind.is_dir() {
            mode & !0o6000 | 0o700
        } else {
            mode & !0o6000
        };
        if tamed != mode {
            fs::set_permissions(item.path(), fs::Permissions::from_mode(tamed))?;
        }
        bytes += if kind.is_dir() {
            tame(&item.path())?
        } else {
            data.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unpacked_runs_as_somebody_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/su");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "12345").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        assert_eq!(tame(dir.path()).unwrap(), 5);
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }
}
