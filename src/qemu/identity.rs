//! The identity of a build: the program that runs, whatever starts it, and the options that are added on the way.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use crate::qemu::spec::PROGRAM;

/// A program that runs as a build, told by its process: a script that starts it may do so in many ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningProgram {
    file: PathBuf,
    /// Options that were not ours and name no file: two checkouts of one build differ in paths.
    options: Vec<OsString>,
}

impl RunningProgram {
    /// Returns the program of a process that was given these arguments, among others. `None` of one that the
    /// system does not show, as in another container.
    pub(crate) fn of(pid: i32, ours: &[OsString]) -> Option<RunningProgram> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let line = fs::read(process.join("cmdline")).ok()?;
        let words: Vec<OsString> = line
            .split(|byte| *byte == 0)
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        let maps = fs::read(process.join("maps")).ok()?;
        let mapped: Vec<PathBuf> = maps.split(|byte| *byte == b'\n').filter_map(code).collect();
        // A program that is started by a loader of its own is named behind it.
        let named = words.iter().enumerate().rev().find_map(|(at, word)| {
            let file = fs::canonicalize(word).ok()?;
            mapped.contains(&file).then_some((at, file))
        });
        let (at, file) = match named {
            Some(named) => named,
            None => (0, fs::read_link(process.join("exe")).ok()?),
        };
        let options = words.get(at + 1..).unwrap_or_default().iter();
        let options = options
            .filter(|word| !word.is_empty() && !ours.contains(word) && !Path::new(word).exists());
        Some(RunningProgram {
            file,
            options: options.cloned().collect(),
        })
    }

    /// Returns the program's file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the target that the program's name has.
    pub(crate) fn target(&self) -> Option<&str> {
        let name = self.file.file_name()?.to_str()?;
        name.strip_prefix(PROGRAM)
    }

    /// Tells whether the program has a text, as its code names what it registers; `None` if it cannot be read.
    pub(crate) fn names(&self, text: &str) -> Option<bool> {
        let content = fs::read(&self.file).ok()?;
        // The linker lays a text into the end of another one.
        let literal = [text.as_bytes(), &[0]].concat();
        Some(memmem::find(&content, &literal).is_some())
    }

    /// Returns a hash of the program's content and of the options; `None` if it cannot be read.
    pub(crate) fn hash(&self) -> Option<String> {
        let options = self.options.iter().map(OsString::as_os_str);
        content_hash([&*self.file], options)
    }
}

/// Returns the file that a line of `maps` has code of.
fn code(line: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(line);
    let (_, rest) = text.split_once(' ')?;
    let (permissions, _) = rest.split_once(' ')?;
    let path = line.iter().position(|byte| *byte == b'/')?;
    let path = OsStr::from_bytes(line.get(path..)?);
    permissions.contains('x').then(|| PathBuf::from(path))
}

/// Returns a hash of the content of files and of some words; `None` if a file cannot be read.
pub(super) fn content_hash<'f>(
    files: impl IntoIterator<Item = &'f Path>,
    words: impl IntoIterator<Item = &'f OsStr>,
) -> Option<String> {
    let mut hash = Xxh3::new();
    let mut part = vec![0; 1 << 20];
    for file in files {
        let mut file = File::open(file).ok()?;
        while let read @ 1.. = file.read(&mut part).ok()? {
            hash.update(&part[..read]);
        }
    }
    for word in words {
        hash.update(&[0]);
        hash.update(word.as_bytes());
    }
    Some(format!("{:016x}", hash.digest()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// The program that a script has become which was given `-`.
    fn program(script: &str) -> RunningProgram {
        // `tee` takes the word for a file.
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", "-"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.as_mut().expect("piped");
        input.write_all(b"x").expect("written");
        let output = child.stdout.as_mut().expect("piped");
        output.read_exact(&mut [0]).expect("it passes it on");
        let program = RunningProgram::of(child.id().try_into().expect("a pid"), &["-".into()]);
        drop(child.stdin.take());
        child.wait().expect("it ends");
        program.expect("it is ours")
    }

    #[test]
    fn a_program_is_what_runs_and_the_options_that_were_added() {
        let plain = program("exec cat \"$@\"");
        assert!(plain.options.is_empty(), "{plain:?}");
        let otherwise = program(": another script; exec cat \"$@\"");
        assert_eq!(otherwise.hash(), plain.hash());
        assert!(plain.hash().is_some());
        for script in ["exec cat -u \"$@\"", "exec cat \"$@\" -u"] {
            let changed = program(script);
            assert_eq!(
                (&changed.file, &*changed.options),
                (&plain.file, &["-u".into()][..])
            );
            assert_ne!(changed.hash(), plain.hash());
        }
        assert_eq!(plain.names("coreutils"), Some(true));
        assert_eq!(plain.names("what no program of theirs has"), Some(false));
        assert_ne!(program("exec tee \"$@\"").hash(), plain.hash());
    }
}
