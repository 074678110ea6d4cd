//! A BUILD argument: a dump, a Debian suite, a program, or a folder of programs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::model::nearest;
use crate::qemu::machine;

/// The name of the newest fetched build that is of no later release than the last one before the other build.
pub(crate) const LAST_RELEASE: &str = "last-release";

/// The build that a user named, known to exist as far as that shows without fetching or running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildArg {
    /// A vmstate dump, compressed or not.
    Dump(PathBuf),
    /// A suite of the Debian archive: `debian:bookworm-backports`.
    Debian { suite: String },
    /// A folder of QEMU binaries under their usual names, such as one that QEMU was built in.
    Folder {
        /// The text that the user wrote.
        label: String,
        /// An absolute path.
        path: PathBuf,
    },
    /// A QEMU binary or a script that starts one.
    Binary {
        /// The text that the user wrote.
        label: String,
        /// An absolute path, so that it holds whatever folder the program is started from.
        path: PathBuf,
    },
}

/// An argument that names no build.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error(
        "a BUILD is missing: a vmstate dump (.json, .json.gz, .json.zst), a QEMU binary, or debian:SUITE"
    )]
    Empty,
    #[error("{}: no such file", .0.display())]
    NoFile(PathBuf),
    #[error(
        "{}: this is a folder without a qemu-system-ARCH or qemu-kvm, in build, bin, libexec or qemu-bundle below it \
         either; a QEMU binary or a vmstate dump is needed", .0.display()
    )]
    Folder(PathBuf),
    #[error("{}: this folder has no {PROGRAM}{wanted}; it has {}", folder.display(), .has.join(", "))]
    NotInFolder {
        folder: PathBuf,
        wanted: String,
        has: Vec<String>,
    },
    #[error(
        "{}: not executable; a vmstate dump must be named .json, .json.gz or .json.zst, \
         and a QEMU binary needs permission to run", .0.display()
    )]
    NotExecutable(PathBuf),
    #[error(
        "{0}: no such program on the PATH, and no such file; a suite of Debian is named debian:SUITE"
    )]
    NotOnPath(String),
    #[error("{0}: there is such a file here, but it is not on the PATH: did you mean ./{0}?")]
    NotOnPathButHere(String),
    #[error("{arg:?}: builds cannot come from {scheme:?}; only debian:SUITE is known")]
    UnknownScheme { arg: String, scheme: String },
    #[error(
        "{0:?} is not the name of a Debian suite: small letters, digits, dots and dashes, \
         as in debian:bookworm-backports"
    )]
    BadSuite(String),
    #[error("{name:?} is not an architecture QEMU has{}", meant(.known_as, .near))]
    UnknownArchitecture {
        name: String,
        /// QEMU's own name, where another project calls it so.
        known_as: Option<&'static str>,
        /// Similar names of QEMU's.
        near: Vec<String>,
    },
    #[error("{}: a vmstate dump cannot be run; a QEMU binary or debian:SUITE is needed here", .0.display())]
    DumpCannotRun(PathBuf),
    #[error(
        "last-release is the release before another build: it goes with one, as in `check last-release ./build`; \
         a program of that name is ./last-release"
    )]
    LastReleaseAlone,
    #[error(
        "last-release: no build of QEMU {release}, the release before {label}, or of an older one is fetched; \
         `migcompat builds fetch debian:stable` fetches one, or name a build instead"
    )]
    NoLastRelease { release: String, label: String },
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Says what a name that QEMU does not have may mean.
fn meant(known_as: &Option<&str>, near: &[String]) -> String {
    match (known_as, near) {
        (Some(own), _) => format!(", which calls it {own}"),
        (None, []) => ", such as x86_64, aarch64, ppc64 or s390x".to_owned(),
        (None, near) => format!("; did you mean {}?", near.join(" or ")),
    }
}

impl SpecError {
    /// Refuses the name of an architecture, with what it may mean.
    pub(super) fn unknown_architecture(name: &str) -> SpecError {
        SpecError::UnknownArchitecture {
            name: name.to_owned(),
            known_as: machine::target_called(name),
            near: nearest(name, machine::targets()),
        }
    }

    /// Tells whether there is no program where the argument says, although it may be there another time.
    pub(crate) fn is_missing_file(&self) -> bool {
        match self {
            SpecError::NoFile(_)
            | SpecError::Folder(_)
            | SpecError::NotInFolder { .. }
            | SpecError::NotExecutable(_)
            | SpecError::NotOnPath(_)
            | SpecError::Unreadable { .. } => true,
            SpecError::Empty
            | SpecError::NotOnPathButHere(_)
            | SpecError::UnknownScheme { .. }
            | SpecError::BadSuite(_)
            | SpecError::LastReleaseAlone
            | SpecError::NoLastRelease { .. }
            | SpecError::UnknownArchitecture { .. }
            | SpecError::DumpCannotRun(_) => false,
        }
    }
}

impl BuildArg {
    /// Returns its name in a report: the text that the user wrote.
    pub fn label(&self) -> String {
        match self {
            BuildArg::Dump(path) => path.display().to_string(),
            BuildArg::Debian { suite } => format!("debian:{suite}"),
            BuildArg::Binary { label, .. } | BuildArg::Folder { label, .. } => label.clone(),
        }
    }
}

/// The beginning of the name of a program that emulates a whole system; the target follows.
pub(super) const PROGRAM: &str = "qemu-system-";

/// Returns the program in a folder for a target, or the only one that there is.
///
/// # Errors
/// There is none, or there are several for other targets.
pub(crate) fn program_in(folder: &Path, arch: &str) -> Result<PathBuf, SpecError> {
    let programs = programs(folder);
    let named = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|n| *n == *format!("{PROGRAM}{arch}"))
    };
    match (programs.iter().find(named), programs.as_slice()) {
        (Some(program), _) | (None, [program]) => Ok(program.clone()),
        (None, []) => Err(SpecError::Folder(folder.to_owned())),
        (None, programs) => {
            let names = programs.iter().filter_map(|path| path.file_name());
            Err(SpecError::NotInFolder {
                folder: folder.to_owned(),
                wanted: arch.to_owned(),
                has: names
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect(),
            })
        }
    }
}

/// Names that distributions give to the program of the host's own target, most of them in a folder for programs that
/// others start.
const HOSTS_PROGRAMS: [&str; 3] = ["qemu-kvm", "kvm", "qemu"];

/// Tells whether a program of this name emulates a whole system.
pub(crate) fn is_program(name: &str) -> bool {
    name.starts_with(PROGRAM) || HOSTS_PROGRAMS.contains(&name)
}

/// The folders in which the programs of a tree, of a build or of an unpacked package are, from the one that is named.
const BELOW: [&str; 5] = ["build", "bin", "libexec", "usr/bin", "usr/libexec"];
/// An installed tree that a build imitates, in whose folder `bin` the programs are.
const BUNDLES: [&str; 2] = ["qemu-bundle", "build/qemu-bundle"];

/// Tells whether a folder is a build.
pub(super) fn has_program(folder: &Path) -> bool {
    !programs(folder).is_empty()
}

/// Returns the programs that emulate a whole system, sorted by name: those in a folder, or else those in the first folder
/// below it that a build puts them in.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let below = BELOW.iter().map(|name| folder.join(name));
    let bundles = BUNDLES.iter().map(|name| folder.join(name));
    let bundled = bundles.filter_map(|bundle| in_bundle(&bundle, "bin", BUNDLE_LEVELS));
    let folders = [folder.to_owned()].into_iter().chain(below).chain(bundled);
    let mut found = folders.map(|folder| programs_of(&folder));
    found
        .find(|programs| !programs.is_empty())
        .unwrap_or_default()
}

/// Folders through which a bundle is searched: it has those of an installation's prefix.
pub(super) const BUNDLE_LEVELS: usize = 4;

/// Returns the folder of a tree that imitates an installed one: `qemu-bundle/usr/local/share/qemu` for `share/qemu`.
pub(super) fn in_bundle(folder: &Path, wanted: &str, levels: usize) -> Option<PathBuf> {
    let found = folder.join(wanted);
    if found.is_dir() {
        return Some(found);
    }
    let levels = levels.checked_sub(1)?;
    let mut folders = paths_in(folder).into_iter();
    folders.find_map(|folder| in_bundle(&folder, wanted, levels))
}

/// Returns what is in a folder, sorted by name; nothing where it cannot be read.
pub(super) fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn programs_of(folder: &Path) -> Vec<PathBuf> {
    let is_of_target = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let target = name.and_then(|name| name.strip_prefix(PROGRAM));
        target.is_some_and(|target| machine::packages(target).is_some()) && may_run(path)
    };
    let found: Vec<PathBuf> = paths_in(folder).into_iter().filter(is_of_target).collect();
    if !found.is_empty() {
        return found;
    }
    // A link or a script to one of the others, where there are those.
    let mut others = HOSTS_PROGRAMS.iter().map(|name| folder.join(name));
    others.find(|path| may_run(path)).into_iter().collect()
}

fn may_run(path: &Path) -> bool {
    path.is_file() && is_executable(path)
}

fn is_executable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

impl FromStr for BuildArg {
    type Err = SpecError;

    fn from_str(arg: &str) -> Result<Self, SpecError> {
        if arg.is_empty() {
            return Err(SpecError::Empty);
        }
        if arg == LAST_RELEASE {
            return Err(SpecError::LastReleaseAlone);
        }
        if let Some(suite) = arg.strip_prefix("debian:") {
            return if is_suite(suite) {
                Ok(BuildArg::Debian {
                    suite: suite.to_owned(),
                })
            } else {
                Err(SpecError::BadSuite(suite.to_owned()))
            };
        }
        let path = PathBuf::from(arg);
        if is_dump(arg) {
            not_a_folder(&path)?;
            return Ok(BuildArg::Dump(path));
        }
        if let Some(scheme) = scheme(arg)
            && !path.exists()
        {
            return Err(SpecError::UnknownScheme {
                arg: arg.to_owned(),
                scheme: scheme.to_owned(),
            });
        }
        let path = if arg.contains('/') {
            if path.is_dir() {
                return folder(arg, path);
            }
            not_a_folder(&path)?;
            if !is_executable(&path) {
                return Err(SpecError::NotExecutable(path));
            }
            path
        } else {
            match which::which(arg) {
                Ok(found) => found,
                Err(_) if path.is_dir() => return folder(arg, path),
                Err(_) if path.exists() => {
                    return Err(SpecError::NotOnPathButHere(arg.to_owned()));
                }
                Err(_) => return Err(SpecError::NotOnPath(arg.to_owned())),
            }
        };
        Ok(BuildArg::Binary {
            label: arg.to_owned(),
            path: absolute(path)?,
        })
    }
}

fn folder(arg: &str, path: PathBuf) -> Result<BuildArg, SpecError> {
    if programs(&path).is_empty() {
        return Err(SpecError::Folder(path));
    }
    Ok(BuildArg::Folder {
        label: arg.to_owned(),
        path: absolute(path)?,
    })
}

/// Not canonicalized: QEMU finds its firmware relative to the name it was started by.
fn absolute(path: PathBuf) -> Result<PathBuf, SpecError> {
    std::path::absolute(&path).map_err(|source| SpecError::Unreadable { path, source })
}

fn is_dump(arg: &str) -> bool {
    [".json", ".json.gz", ".json.zst"]
        .iter()
        .any(|end| arg.ends_with(end))
}

/// Returns the part before a colon, if it reads like `fedora:40` rather than like a path.
fn scheme(arg: &str) -> Option<&str> {
    let (scheme, _) = arg.split_once(':')?;
    let word = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    word.then_some(scheme)
}

/// A suite becomes a folder's name and a word in apt's source list, so only such names are
/// accepted.
fn is_suite(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.chars().all(|c| plain(c) || c == '.' || c == '-')
}

fn not_a_folder(path: &Path) -> Result<(), SpecError> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(SpecError::Folder(path.to_owned())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(SpecError::NoFile(path.to_owned()))
        }
        Err(source) => Err(SpecError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_build_is_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("old.json"), "{}").unwrap();
        std::fs::write(at("plain"), "").unwrap();
        std::fs::create_dir(at("folder.json")).unwrap();

        let parse = |arg: &str| arg.parse::<BuildArg>();
        assert_eq!(
            parse(&at("old.json")).unwrap(),
            BuildArg::Dump(at("old.json").into())
        );
        assert_eq!(
            parse("debian:bookworm-backports").unwrap(),
            BuildArg::Debian {
                suite: "bookworm-backports".into()
            }
        );
        match parse("sh").unwrap() {
            BuildArg::Binary { label, path } => {
                assert_eq!(label, "sh");
                assert!(path.is_absolute(), "{path:?}");
            }
            other => panic!("{other:?}"),
        }

        let named = |folder: &str, name: &str| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::create_dir_all(at(folder)).unwrap();
            let path = at(&format!("{folder}/{name}"));
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let program = |folder: &str, target: &str| named(folder, &format!("qemu-system-{target}"));
        program("one", "aarch64");
        program("two", "aarch64");
        program("two", "s390x");
        program("none", "klingon");
        program("tree/build", "aarch64");
        program("artefact/qemu-bundle/usr/local/bin", "aarch64");
        program("installed/bin", "s390x");
        named("unpacked/usr/libexec", "qemu-kvm");
        named("unpacked/usr/bin", "qemu-img");
        named("both", "kvm");
        program("both", "x86_64");
        for (folder, arch, found) in [
            ("one", "aarch64", Ok("qemu-system-aarch64")),
            ("one", "x86_64", Ok("qemu-system-aarch64")),
            ("two", "s390x", Ok("qemu-system-s390x")),
            ("tree", "aarch64", Ok("build/qemu-system-aarch64")),
            ("artefact", "x86_64", Ok("local/bin/qemu-system-aarch64")),
            ("installed", "s390x", Ok("bin/qemu-system-s390x")),
            ("unpacked", "s390x", Ok("usr/libexec/qemu-kvm")),
            ("unpacked/usr", "x86_64", Ok("libexec/qemu-kvm")),
            ("unpacked/usr/libexec", "x86_64", Ok("qemu-kvm")),
            ("both", "x86_64", Ok("qemu-system-x86_64")),
            (
                "two",
                "x86_64",
                Err("has no qemu-system-x86_64; it has qemu-system-aarch64, qemu-system-s390x"),
            ),
        ] {
            let BuildArg::Folder { label, path } = parse(&at(folder)).unwrap() else {
                panic!("{folder} is a folder");
            };
            assert_eq!(label, at(folder));
            match (program_in(&path, arch), found) {
                (Ok(program), Ok(target)) => {
                    assert!(program.starts_with(&path), "{program:?}");
                    assert!(program.ends_with(target), "{program:?}");
                }
                (Err(error), Err(wanted)) => {
                    assert!(error.to_string().contains(wanted), "{error}");
                }
                (found, wanted) => panic!("{found:?}, wanted {wanted:?}"),
            }
        }

        for (arg, message) in [
            (&*at("none"), "this is a folder without a qemu-system-ARCH"),
            (
                "last-release",
                "last-release is the release before another build",
            ),
            ("", "a BUILD is missing"),
            ("debian:", "is not the name of a Debian suite"),
            ("debian:../etc", "is not the name of a Debian suite"),
            ("debian:Bookworm", "is not the name of a Debian suite"),
            ("debian:-x", "is not the name of a Debian suite"),
            ("debian:a b", "is not the name of a Debian suite"),
            ("fedora:40", "builds cannot come from \"fedora\""),
            ("http://host/qemu", "builds cannot come from \"http\""),
            ("gone.json", "gone.json: no such file"),
            ("gone.json.zst", "no such file"),
            ("./gone", "./gone: no such file"),
            ("/dev/null/x", "Not a directory"),
            ("no-such-program-anywhere", "no such program on the PATH"),
            ("/", "this is a folder"),
            (&at("folder.json"), "this is a folder"),
            (&at("plain"), "not executable"),
        ] {
            let error = parse(arg).expect_err(arg).to_string();
            assert!(error.contains(message), "{arg}: {error}");
        }
    }
    #[test]
    fn an_architecture_by_another_name_is_called_as_qemu_calls_it() {
        // Debian's own that QEMU has not, by dpkg's table, the kernel's, and slips.
        for (name, says) in [
            ("amd64", ", which calls it x86_64"),
            ("arm64", ", which calls it aarch64"),
            ("armel", ", which calls it arm"),
            ("armhf", ", which calls it arm"),
            ("loong64", ", which calls it loongarch64"),
            ("mips64r6el", ", which calls it mips64el"),
            ("powerpc", ", which calls it ppc"),
            ("ppc64el", ", which calls it ppc64"),
            ("i686", ", which calls it i386"),
            ("armv7l", ", which calls it arm"),
            ("ppc64le", ", which calls it ppc64"),
            ("x86-64", "; did you mean x86_64?"),
            ("aarch46", "; did you mean aarch64?"),
            ("vax", ", such as x86_64, aarch64, ppc64 or s390x"),
        ] {
            let error = SpecError::unknown_architecture(name).to_string();
            let wanted = format!("{name:?} is not an architecture QEMU has{says}");
            assert_eq!(error, wanted);
        }
    }
}
