//! Answers of a fetched build, kept beside it.
//!
//! Its files never change, so neither does what they say of themselves before a guest runs: the dump of a machine type,
//! the devices that a machine has. A question that names something on this host is asked each time.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use xxhash_rust::xxh3::Xxh3;

use crate::qemu::Build;
use crate::qemu::cache::{keep, ours};

/// Changes whenever what is kept has another form, or other questions behind it.
const FORM: &str = "3";

/// No answer is longer when it is unpacked, in bytes: the longest, a dump, has less than two megabytes.
const MAX_ANSWER: u64 = 64 << 20;

/// The subject of a question to a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The vmstate dump of a machine type.
    Dump,
    /// The device types that it can create.
    Devices,
    /// The devices of a machine, as `info qtree` prints them.
    Tree,
    /// The properties of a machine's devices.
    Properties,
    /// The CPU models that a machine could have.
    CpuModels,
    /// The sections in which a machine sends addresses of its process, whatever was in memory before.
    OwnAddresses,
    /// The switches of its migrations.
    Switches,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Dump => "dump",
            Subject::Devices => "devices",
            Subject::Tree => "tree",
            Subject::Properties => "properties",
            Subject::CpuModels => "cpu-models",
            Subject::OwnAddresses => "own-addresses",
            Subject::Switches => "switches",
        }
    }
}

/// A question to a build that is started with some arguments.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub subject: Subject,
    /// The arguments, and all else that decides the answer.
    pub words: Vec<OsString>,
}

impl Question {
    /// Tells whether a word of it names a file of this host, which may have other contents the next time.
    fn is_about_host(&self) -> bool {
        let words = self.words.iter().flat_map(|word| {
            let parts = word.as_bytes().split(|byte| b",=:".contains(byte));
            parts.map(|part| Path::new(std::ffi::OsStr::from_bytes(part)))
        });
        let mut words = words.filter(|word| *word != Path::new(""));
        words.any(|word| word.is_absolute() || word.exists())
    }
}

/// An answer that can be kept.
pub(crate) trait Answer: Sized {
    /// Returns it as it is kept; nothing of one that may be another one the next time.
    fn to_bytes(&self) -> Option<Vec<u8>>;

    /// Reads what was kept; nothing where it cannot be read.
    fn from_bytes(bytes: Vec<u8>) -> Option<Self>;
}

impl Answer for Vec<u8> {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.clone())
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Vec<u8>> {
        Some(bytes)
    }
}

impl Answer for String {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.clone().into_bytes())
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<String> {
        String::from_utf8(bytes).ok()
    }
}

/// The file of an answer.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    name: String,
}

impl Kept {
    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Returns the answer, if it is there and whole.
    fn read(&self) -> Option<Vec<u8>> {
        let mut options = File::options();
        options.read(true).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(self.path()).ok()?;
        let data = file.metadata().ok().filter(|data| data.is_file())?;
        ours(&self.path(), &data).ok()?;
        // It has a checksum: one that was written in part is none.
        let unpacked = zstd::Decoder::new(file).ok()?;
        let mut answer = Vec::new();
        let read = unpacked.take(MAX_ANSWER).read_to_end(&mut answer).ok()?;
        Some(answer).filter(|_| (read as u64) < MAX_ANSWER)
    }

    /// # Errors
    /// It cannot be written.
    fn write(&self, answer: &[u8]) -> io::Result<()> {
        let mut packing = zstd::Encoder::new(Vec::new(), 0)?;
        packing.include_checksum(true)?;
        io::copy(&mut &*answer, &mut packing)?;
        std::fs::create_dir_all(&self.folder)?;
        keep(&self.folder, &self.name, &packing.finish()?)
    }
}

impl Build {
    /// Returns the answer that was kept for a question, or asks it and keeps what is answered. A cache that is only
    /// readable keeps nothing.
    ///
    /// # Errors
    /// As of what asks.
    pub(crate) async fn answer<T: Answer, E>(
        &self,
        question: &Question,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(kept) = self.kept(question) else {
            return ask.await;
        };
        if let Some(answer) = kept.read().and_then(T::from_bytes) {
            tracing::debug!(build = self.label(), subject = ?question.subject, "the answer was kept");
            return Ok(answer);
        }
        let answer = ask.await?;
        if let Some(Err(error)) = answer.to_bytes().map(|bytes| kept.write(&bytes)) {
            tracing::debug!(%error, subject = ?question.subject, "the answer is not kept");
        }
        Ok(answer)
    }

    fn kept(&self, question: &Question) -> Option<Kept> {
        let folder = self.answers()?;
        if question.is_about_host() {
            return None;
        }
        let mut hash = Xxh3::new();
        let form = [env!("CARGO_PKG_VERSION"), FORM].map(OsString::from);
        for word in form.iter().chain(self.own_args()).chain(&question.words) {
            hash.update(word.as_bytes());
            hash.update(&[0]);
        }
        Some(Kept {
            folder,
            name: format!("{}-{:032x}.zst", question.subject.name(), hash.digest128()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::qemu::block_on;

    fn question(words: &[&str]) -> Question {
        Question {
            subject: Subject::Tree,
            words: words.iter().map(OsString::from).collect(),
        }
    }

    /// Asks a build, and returns the answer and whether the build was asked.
    fn ask(build: &Build, question: &Question, answer: &str) -> (String, bool) {
        let was_asked = Cell::new(false);
        let asking = async {
            was_asked.set(true);
            Ok::<_, ()>(answer.to_owned())
        };
        let answer = block_on(build.answer(question, asking)).expect("a runtime");
        (answer.expect("an answer"), was_asked.get())
    }

    /// A fetched build with nothing in it that could be started.
    fn fetched(folder: &Path) -> Build {
        let root = folder.join("root");
        let libraries = root.join("lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).expect("a folder");
        fs::create_dir_all(root.join("usr/bin")).expect("a folder");
        let program = std::env::current_exe().expect("this one");
        for path in [
            libraries.join("ld-linux-x86-64.so.2"),
            root.join("usr/bin/qemu-system-x86_64"),
        ] {
            fs::copy(&program, path).expect("a program");
        }
        Build::package("debian:test", "x86_64", &root, None).expect("it looks like one")
    }

    fn only_file(folder: &Path) -> PathBuf {
        let mut files = fs::read_dir(folder.join("answers")).expect("a folder");
        let file = files.next().expect("an answer").expect("readable").path();
        assert!(files.next().is_none(), "one answer alone");
        file
    }

    #[test]
    fn a_fetched_build_is_asked_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = fetched(folder.path());
        let bare = question(&["-M", "q35"]);
        assert_eq!(ask(&build, &bare, "one"), ("one".to_owned(), true));
        assert_eq!(ask(&build, &bare, "two"), ("one".to_owned(), false));
        assert_eq!(
            ask(&build, &question(&["-M", "pc"]), "two"),
            ("two".to_owned(), true)
        );
        let dump = Question {
            subject: Subject::Dump,
            ..bare.clone()
        };
        assert_eq!(ask(&build, &dump, "three"), ("three".to_owned(), true));
        let firmware = build.with_firmware(&[folder.path().join("other")], None);
        assert_eq!(ask(&firmware, &bare, "four"), ("four".to_owned(), true));
    }

    #[test]
    fn what_may_be_another_thing_next_time_is_asked_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = fetched(folder.path());
        let file = folder.path().join("disk");
        for words in [
            vec![
                "-drive".to_owned(),
                format!("file={},if=none", file.display()),
            ],
            // There, as seen from where tests run.
            vec!["-bios".to_owned(), "Cargo.toml".to_owned()],
        ] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            for answer in ["one", "two"] {
                let asked = ask(&build, &question(&words), answer);
                assert_eq!(asked, (answer.to_owned(), true), "{words:?}");
            }
        }
        let binary = Build::binary("./qemu-system-x86_64", Path::new("qemu-system-x86_64"));
        let filled = build.with_malloc_fill(crate::qemu::MallocFill::BOTH[0]);
        for build in [binary, filled] {
            for answer in ["one", "two"] {
                let asked = ask(&build, &question(&["-S"]), answer);
                assert_eq!(asked, (answer.to_owned(), true), "{}", build.label());
            }
        }
        assert!(!folder.path().join("answers").exists());
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let build = fetched(folder.path());
        let bare = question(&["-M", "q35"]);
        ask(&build, &bare, "a long answer, a long answer, a long answer");
        let file = only_file(folder.path());
        let whole = fs::read(&file).expect("readable");
        let mut changed = whole.clone();
        *changed.last_mut().expect("a checksum") ^= 1;
        for damaged in [&whole[..whole.len() - 5], &changed, b"", b"text"] {
            fs::write(&file, damaged).expect("written");
            assert_eq!(ask(&build, &bare, "again"), ("again".to_owned(), true));
            assert_eq!(ask(&build, &bare, "no"), ("again".to_owned(), false));
        }
        // Nor is one behind a link.
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&file, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &file).expect("a link");
        assert_eq!(ask(&build, &bare, "anew"), ("anew".to_owned(), true));
    }
}
