//! A place to write to, checked before the work whose result is written there.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anstream::ColorChoice;
use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::cleanup::uninterrupted;
use crate::cli::Failure;
use crate::model::visible_output;
use crate::whole_file::{folder_of, neighbour};

/// Number of links that Linux itself follows.
const MOST_LINKS: usize = 40;

/// Standard output, or the file that the user has named instead.
#[derive(Debug)]
pub(crate) struct Target {
    /// The path as the user wrote it; nothing means standard output.
    name: Option<PathBuf>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Stdout,
    Stderr,
    /// A regular file or a free name, all links followed.
    File(PathBuf),
    /// An open target to write into: a device, a pipe, a descriptor that we were given.
    Stream(File),
    /// A named pipe that has no reader yet.
    Unread(PathBuf),
}

impl Target {
    /// Standard output.
    pub(super) const STDOUT: Target = Target {
        name: None,
        place: Place::Stdout,
    };

    /// Checks a file before there is anything to write to it, if one is named; the file stays as it
    /// is. `-` is standard output.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(file: Option<&Path>) -> Result<Target, Failure> {
        let Some(file) = file.filter(|file| *file != Path::new("-")) else {
            return Ok(Target::STDOUT);
        };
        let place = Place::of(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Target {
            name: Some(file.to_owned()),
            place,
        })
    }

    /// Returns whether no file was named.
    pub(super) fn is_stdout(&self) -> bool {
        self.name.is_none()
    }

    /// Returns whether it is standard error, by whatever name.
    pub(super) fn is_stderr(&self) -> bool {
        matches!(self.place, Place::Stderr)
    }

    /// Writes text that may have colours: they stay on a terminal.
    ///
    /// # Errors
    /// It cannot be written. A reader that has read enough and is gone is none.
    pub(super) fn write_text(
        self,
        render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_stdout() {
            return finished(None, print(render));
        }
        self.write_bytes(|| {
            let mut text = Vec::new();
            render(&mut text)?;
            // A file is read by programs and pagers: never coloured.
            Ok(anstream::adapter::strip_bytes(&shown(text)).into_vec())
        })
    }

    /// Writes the bytes of `make` unchanged.
    ///
    /// # Errors
    /// As for [`Target::write_text`].
    pub(super) fn write_bytes(
        self,
        make: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Result<(), Failure> {
        let Target { name, place } = self;
        let written = make().and_then(|content| place.write(&content));
        finished(name.as_deref(), written)
    }
}

/// Writes to standard output in one go, with colours or without as the terminal requires.
///
/// # Errors
/// It cannot be written. A reader that has read enough and is gone is none.
pub(crate) fn print(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut text = Vec::new();
    render(&mut text)?;
    unless_read_enough(print_text(&shown(text)))
}

fn print_text(text: &[u8]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    if matches!(out.current_choice(), ColorChoice::Never) {
        // The stream would remove the colours as well, with a write for each line.
        let plain = anstream::adapter::strip_bytes(text).into_vec();
        let mut out = out.into_inner();
        out.write_all(&plain)?;
        return out.flush();
    }
    out.write_all(text)?;
    out.flush()
}

fn unless_read_enough(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns an output as it may be seen, whatever the names in it are.
fn shown(output: Vec<u8>) -> Vec<u8> {
    match visible_output(&String::from_utf8_lossy(&output)) {
        Cow::Borrowed(same) if same.len() == output.len() => output,
        seen => seen.into_owned().into_bytes(),
    }
}

fn finished(name: Option<&Path>, written: io::Result<()>) -> Result<(), Failure> {
    unless_read_enough(written)
        .with_context(|| match name {
            Some(name) => format!("cannot write {}", name.display()),
            None => "cannot write to standard output".to_owned(),
        })
        .map_err(Failure::Usage)
}

impl Place {
    fn of(file: &Path) -> io::Result<Place> {
        // Asked first, and by the name as it stands: the system follows no link of another user in
        // a folder that everybody may write to.
        let kind = match fs::metadata(file) {
            Ok(metadata) => Some(metadata.file_type()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if kind.is_some_and(|kind| kind.is_dir()) || file.as_os_str().as_bytes().ends_with(b"/") {
            return Err(ErrorKind::IsADirectory.into());
        }
        let path = match follow(file)? {
            Followed::Descriptor(1) => return Ok(Place::Stdout),
            Followed::Descriptor(2) => return Ok(Place::Stderr),
            Followed::Descriptor(_) if kind.is_some_and(|kind| kind.is_fifo()) => file.to_owned(),
            // Others write there as well, perhaps to a regular file.
            Followed::Descriptor(_) => {
                return OpenOptions::new()
                    .append(true)
                    .open(file)
                    .map(Place::Stream);
            }
            Followed::Path(path) => path,
        };
        match kind {
            Some(kind) if kind.is_fifo() => open_pipe(path),
            Some(kind) if !kind.is_file() => {
                // A terminal does not become ours.
                let flags = OFlag::O_NOCTTY.bits();
                let open = OpenOptions::new()
                    .write(true)
                    .custom_flags(flags)
                    .open(path);
                open.map(Place::Stream)
            }
            Some(_) => {
                OpenOptions::new().write(true).open(&path)?;
                Ok(Place::File(path))
            }
            None => {
                let folder = folder_of(&path);
                if !folder.is_dir() {
                    let why = format!("there is no folder {}", folder.display());
                    return Err(io::Error::new(ErrorKind::NotFound, why));
                }
                uninterrupted(|| neighbour(&path).map(drop))?;
                Ok(Place::File(path))
            }
        }
    }

    fn write(self, content: &[u8]) -> io::Result<()> {
        match self {
            Place::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(content)?;
                out.flush()
            }
            Place::Stderr => io::stderr().lock().write_all(content),
            Place::File(path) => uninterrupted(|| replace(&path, content)),
            Place::Stream(mut file) => file.write_all(content),
            Place::Unread(path) => OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(content),
        }
    }
}

enum Followed {
    /// The path that all links lead to; nothing needs to exist there.
    Path(PathBuf),
    /// One of our own descriptors, which lead to files that may have no path.
    Descriptor(u32),
}

fn follow(file: &Path) -> io::Result<Followed> {
    let mut path = file.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(Followed::Path(path));
        };
        let folder = folder_of(&path).canonicalize()?;
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        if let Some(number) = number
            && folder.starts_with("/proc")
            && folder.ends_with("fd")
        {
            return Ok(Followed::Descriptor(number));
        }
        path = folder.join(target);
    }
    Err(Errno::ELOOP.into())
}

/// Opens a named pipe without waiting for a reader. A reader that waits already keeps waiting, and
/// gets an end of file if nothing comes.
fn open_pipe(path: PathBuf) -> io::Result<Place> {
    let open = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&path);
    match open {
        Ok(pipe) => {
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::empty()))?;
            Ok(Place::Stream(pipe))
        }
        Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(Place::Unread(path)),
        Err(error) => Err(error),
    }
}

/// The file appears whole or not at all; one that was there is kept until then, and what it may be used
/// for is kept too. One that cannot be replaced, for instance since something is mounted there, is
/// written over.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let known = fs::metadata(path).ok();
    let replaced = neighbour(path).and_then(|mut file| {
        file.write_all(content)?;
        if let Some(known) = &known {
            // Only root may give it to somebody else.
            let _ours = fchown(file.as_file(), Some(known.uid()), Some(known.gid()));
            file.as_file().set_permissions(known.permissions())?;
        }
        Ok(file.persist(path)?)
    });
    match replaced {
        Ok(_) => Ok(()),
        Err(error) if known.is_some() && is_refused(&error) => fs::write(path, content),
        Err(error) => Err(error),
    }
}

/// Returns whether a name may not be made or not be replaced, whatever may be written into the file.
fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::ResourceBusy
    )
}
