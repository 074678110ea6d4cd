//! A build that can be started.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;
use nix::sys::signal::Signal;

use crate::cleanup::{guarding, uninterrupted};
use crate::model::{BuildKind, ConfinedBuild, joined};
use crate::qemu::confinement::{Barriers, ConfinePolicy, Lacking};
use crate::qemu::identity::content_hash;
use crate::qemu::namespace::NetworkNamespace;
use crate::qemu::options::quote;
use crate::qemu::process::{ToStart, first_to_go, tie_to_us, write_executable};
use crate::qemu::spec::paths_in;

/// The time limits after which a build counts as hanging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The time from starting the program to its first message on the monitor. Typically some
    /// tenths of a second.
    pub start: Duration,
    /// One command on the monitor.
    pub command: Duration,
    /// Writing a dump. Half a second here.
    pub dump: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            start: Duration::from_secs(30),
            command: Duration::from_secs(10),
            dump: Duration::from_secs(60),
        }
    }
}

/// The contents of memory that a build allocates and does not initialise, as far as it is glibc that allocates
/// it. Such memory often happens to be zero, and is something else on another day; QEMU's own tests fill it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MallocFill(u8);

impl MallocFill {
    /// Two of them: what depends on such memory is different with the one and the other.
    pub(crate) const BOTH: [MallocFill; 2] = [MallocFill(0x55), MallocFill(0x33)];

    const VARIABLE: &str = "GLIBC_TUNABLES";

    /// Returns the value of the variable. Memory that a thread keeps for itself would be handed out as it is,
    /// without the filling.
    fn tunables(self) -> String {
        format!(
            "glibc.malloc.perturb={}:glibc.malloc.tcache_count=0",
            self.0
        )
    }
}

/// The folders of an installed QEMU. A distribution has firmware that is not built from QEMU in some of its own.
pub(super) const INSTALLED: [&str; 3] = ["share/qemu", "share/seabios", "lib/ipxe/qemu"];

/// A QEMU that can be started: a binary or script of the user's, or one from a package.
#[derive(Debug, Clone)]
pub struct Build {
    label: String,
    kind: BuildKind,
    arch: Option<String>,
    program: PathBuf,
    /// It starts the program, or something else that does.
    is_script: bool,
    /// The arguments that go before the caller's.
    args: Vec<OsString>,
    env: Vec<(&'static str, Option<OsString>)>,
    /// Does all of that.
    script: Option<PathBuf>,
    malloc_fill: Option<MallocFill>,
    network: NetworkNamespace,
    barriers: Barriers,
    /// The reason why there are no more barriers.
    lacking: Option<Lacking>,
    /// Folders that its processes write into, besides their own.
    folders: Vec<PathBuf>,
    deadlines: Deadlines,
    /// The folder for answers of a fetched build.
    answers: Option<PathBuf>,
    /// Keeps a fetched build from being removed.
    _in_use: Option<Arc<Flock<File>>>,
}

impl Build {
    pub(crate) fn binary(label: &str, path: &Path) -> Build {
        let arch = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("qemu-system-"))
            .filter(|arch| crate::qemu::machine::packages(arch).is_some())
            .map(str::to_owned);
        Build {
            arch,
            is_script: !is_elf(path),
            ..Build::new(label, BuildKind::Binary, path.to_owned())
        }
    }

    fn new(label: &str, kind: BuildKind, program: PathBuf) -> Build {
        Build {
            label: label.to_owned(),
            kind,
            arch: None,
            program,
            is_script: false,
            args: Vec::new(),
            env: Vec::new(),
            script: None,
            malloc_fill: None,
            network: NetworkNamespace::Shared,
            barriers: Barriers::default(),
            lacking: None,
            folders: Vec::new(),
            deadlines: Deadlines::default(),
            answers: None,
            _in_use: None,
        }
    }

    /// A build in an unpacked root, which brings every library and the loader along. `None` if
    /// the root has no program for this target, or no loader.
    pub(crate) fn package(
        label: &str,
        arch: &str,
        root: &Path,
        in_use: Option<Arc<Flock<File>>>,
    ) -> Option<Build> {
        let program = program(root, arch)?;
        let (loader, libraries) = loader(root)?;
        let mut args: Vec<OsString> = vec![
            // Only the root: the host's own libraries belong to another build.
            "--inhibit-cache".into(),
            "--library-path".into(),
            join(&libraries),
            program.into(),
        ];
        for data in INSTALLED {
            let data = root.join("usr").join(data);
            if data.is_dir() {
                args.push("-L".into());
                args.push(data.into());
            }
        }
        let modules = libraries
            .iter()
            .map(|dir| dir.join("qemu"))
            .find(|dir| dir.is_dir());
        let mut env = vec![("LD_PRELOAD", None)];
        // Set even if there are none, or QEMU looks at the place it was built for.
        let modules = modules.unwrap_or_else(|| root.join("usr/lib/qemu/no-modules"));
        env.push(("QEMU_MODULE_DIR", Some(modules.into())));
        Some(Build {
            arch: Some(arch.to_owned()),
            args,
            env,
            answers: root.parent().map(|entry| entry.join("answers")),
            _in_use: in_use,
            ..Build::new(label, BuildKind::Package, loader)
        })
    }

    /// Returns the text that the user wrote.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns a hash of the files that start the build; `None` if one cannot be read.
    pub(crate) fn hash_of_files(&self) -> Option<String> {
        let words = std::iter::once(self.program.as_os_str());
        let words = words.chain(self.args.iter().map(OsString::as_os_str));
        content_hash(words.map(Path::new).filter(|word| word.is_file()), [])
    }

    pub fn kind(&self) -> BuildKind {
        self.kind
    }

    /// The target, as far as it is known without starting the build: the requested one for a
    /// package, the one in the name of a binary.
    pub fn arch(&self) -> Option<&str> {
        self.arch.as_deref()
    }

    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    pub fn with_deadlines(self, deadlines: Deadlines) -> Build {
        Build { deadlines, ..self }
    }

    /// Returns the folder for answers that hold whenever the build is asked; nothing of a build that may be another one
    /// the next time.
    pub(super) fn answers(&self) -> Option<PathBuf> {
        let is_as_fetched = self.malloc_fill.is_none();
        self.answers.clone().filter(|_| is_as_fetched)
    }

    /// Returns the arguments that go before the caller's.
    pub(super) fn own_args(&self) -> &[OsString] {
        &self.args
    }

    /// Returns the folders of firmware that the build is started with.
    pub(super) fn given_firmware(&self) -> Vec<PathBuf> {
        let given = self.args.windows(2).filter(|pair| pair[0] == *"-L");
        given.map(|pair| PathBuf::from(&pair[1])).collect()
    }

    /// Gives the build folders of firmware. What they belong to is kept for as long as the build.
    pub(super) fn with_firmware(mut self, folders: &[PathBuf], owner: Option<&Build>) -> Build {
        for folder in folders {
            self.args.extend(["-L".into(), folder.into()]);
        }
        if let Some(owner) = owner {
            self._in_use = self._in_use.or_else(|| owner._in_use.clone());
        }
        self
    }

    /// Returns the build with its uninitialised memory filled.
    pub(crate) fn with_malloc_fill(&self, fill: MallocFill) -> Build {
        Build {
            malloc_fill: Some(fill),
            ..self.clone()
        }
    }

    /// Gives each process of the build a network namespace of its own, in which it may make interfaces.
    pub(crate) fn with_own_network(self) -> Build {
        Build {
            network: NetworkNamespace::of_own(),
            ..self
        }
    }

    /// Puts barriers around the build's processes. Where it is a script and not the program itself, it is the user's own.
    ///
    /// # Errors
    /// All are required, and the host has not all.
    pub(super) fn confined(self, policy: &ConfinePolicy) -> Result<Build, Lacking> {
        let (barriers, lacking) = Barriers::of(policy, self.is_script)?;
        Ok(Build {
            barriers,
            lacking,
            ..self
        })
    }

    /// Returns the same without a sandbox of its own, if it has one.
    pub(super) fn without_sandbox(&self) -> Option<Build> {
        let barriers = self.barriers.without_sandbox()?;
        Some(Build {
            barriers,
            ..self.clone()
        })
    }

    /// Returns the same with a reason why it has not more barriers, unless there is one.
    pub(super) fn lacking(self, why: Lacking) -> Build {
        Build {
            lacking: self.lacking.or(Some(why)),
            ..self
        }
    }

    /// Returns the same without barriers.
    pub(super) fn unconfined(&self, why: Lacking) -> Build {
        Build {
            barriers: Barriers::default(),
            lacking: Some(why),
            ..self.clone()
        }
    }

    /// Tells whether there are barriers around its processes.
    pub(super) fn is_confined(&self) -> bool {
        self.barriers != Barriers::default()
    }

    /// Returns the barriers as a report has them.
    pub(crate) fn confinement(&self) -> ConfinedBuild {
        ConfinedBuild {
            build: self.label.clone(),
            by: self.barriers.names(),
            lacking: self.lacking.as_ref().map(ToString::to_string),
        }
    }

    /// Lets the build's processes write into a folder, besides their own.
    pub(crate) fn writing_into(mut self, folder: &Path) -> Build {
        self.folders.push(folder.to_owned());
        self
    }

    /// Returns the options of the build's own by which it is confined.
    pub(crate) fn confining_options(&self) -> &'static [&'static str] {
        let has_own_network = self.network != NetworkNamespace::Shared;
        self.barriers.options(has_own_network)
    }

    /// A command that starts this build, to which QEMU's arguments are added. Its process leads a
    /// group of its own and is killed when the thread that started it ends. It is not confined.
    pub fn command(&self) -> Command {
        let mut command = self.open_command(Command::new(&self.program));
        tie_to_us(&mut command, Signal::SIGKILL);
        command
    }

    /// The same command, not tied to this process, for [`crate::qemu::Running`], which ties it
    /// itself, and behind the build's barriers. It may write into this folder, and has its temporary files there.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub(crate) fn plain_command(&self, folder: Option<&Path>) -> io::Result<ToStart> {
        // A script may start what outlives it.
        let mut command = match self.is_script {
            true => self.open_command(guarding(&self.program)),
            false => self.open_command(Command::new(&self.program)),
        };
        first_to_go(&mut command);
        command.args(self.confining_options());
        if self.is_confined() {
            let folders = self.folders.iter().map(PathBuf::as_path).chain(folder);
            let folders: Vec<PathBuf> = folders.map(Path::to_owned).collect();
            let has_own_network = self.network != NetworkNamespace::Shared;
            self.barriers
                .around(&mut command, &folders, has_own_network)?;
            if let Some(folder) = folder {
                command.env("TMPDIR", folder);
            }
        }
        Ok(ToStart {
            command,
            guards: self.is_script.then(|| self.program.clone()),
        })
    }

    fn open_command(&self, mut command: Command) -> Command {
        command.args(&self.args);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(fill) = self.malloc_fill {
            command.env(MallocFill::VARIABLE, fill.tunables());
        }
        self.network.enter(&mut command);
        command
    }

    /// Has a script in this folder start the build by hand, so that its command line is short. Where the
    /// script cannot be written, the line is long.
    pub(crate) fn with_script(self, folder: &Path) -> Build {
        let Some(arch) = &self.arch else {
            return self;
        };
        let path = folder.join(format!("qemu-system-{arch}"));
        let set = |(name, value): &(&str, Option<OsString>)| match value {
            Some(value) => format!("export {name}={}\n", quote(&value.to_string_lossy())),
            None => format!("unset {name}\n"),
        };
        let set: String = self.env.iter().map(set).collect();
        let text = format!("#!/bin/sh\n{set}exec {} \"$@\"\n", self.words().join(" "));
        let is_there = fs::read_to_string(&path).is_ok_and(|known| known == text);
        let written = is_there || write_script(folder, &path, &text).is_ok();
        Build {
            script: written.then_some(path),
            ..self
        }
    }

    /// Returns what to type into a shell before QEMU's arguments to start this build by hand.
    pub fn shell_prefix(&self) -> String {
        let fill = self.malloc_fill.map_or_else(String::new, |fill| {
            format!("{}={} ", MallocFill::VARIABLE, fill.tunables())
        });
        let program = self.program_prefix();
        match self.network.shell_prefix() {
            // What comes behind another program is no assignment of the shell's.
            Some(namespace) if self.script.is_none() && !self.env.is_empty() => {
                format!("{fill}{namespace} env {program}")
            }
            Some(namespace) => format!("{fill}{namespace} {program}"),
            None => fill + &program,
        }
    }

    fn program_prefix(&self) -> String {
        match &self.script {
            Some(script) => quote(&script.to_string_lossy()),
            None => {
                let set = self.env.iter().filter_map(|(name, value)| {
                    let value = value.as_ref()?.to_string_lossy();
                    Some(format!("{name}={}", quote(&value)))
                });
                joined(set.chain(self.words()), " ")
            }
        }
    }

    /// The program and what goes before the caller's arguments, for a shell.
    fn words(&self) -> Vec<String> {
        let program = quote(&self.program.to_string_lossy());
        let args = self.args.iter().map(|arg| quote(&arg.to_string_lossy()));
        std::iter::once(program).chain(args).collect()
    }
}

/// Writes a script where another run may be reading the previous one.
fn write_script(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(file.path(), mode)?;
        file.persist(path)?;
        Ok(())
    };
    uninterrupted(|| write_executable(write))
}

/// The program itself: in some releases `usr/bin` has a shell script where `usr/libexec` has it.
fn program(root: &Path, arch: &str) -> Option<PathBuf> {
    ["usr/bin", "usr/libexec"]
        .iter()
        .filter_map(|dir| inside(root, &root.join(dir).join(format!("qemu-system-{arch}"))))
        .find(|path| is_elf(path))
}

/// The loader of the root, and the folders that its libraries are in.
fn loader(root: &Path) -> Option<(PathBuf, Vec<PathBuf>)> {
    let mut libraries = Vec::new();
    let mut loader = None;
    for lib in ["lib", "usr/lib"] {
        for dir in paths_in(&root.join(lib)) {
            // A folder of one architecture: x86_64-linux-gnu.
            if !(dir.is_dir() && dir.to_string_lossy().ends_with("-linux-gnu")) {
                continue;
            }
            loader = loader.or_else(|| loader_in(root, &dir));
            // Libraries that others find by a path baked in, which leads out of the root.
            let private = dir.join("pulseaudio");
            libraries.push(dir);
            if private.is_dir() {
                libraries.push(private);
            }
        }
    }
    Some((loader?, libraries))
}

/// `ld-linux-x86-64.so.2`, `ld-linux-aarch64.so.1`, `ld64.so.2`.
fn loader_in(root: &Path, dir: &Path) -> Option<PathBuf> {
    let is_named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(".so.") && (name.starts_with("ld-linux") || name.starts_with("ld64."))
    };
    let named = paths_in(dir).into_iter().filter(is_named);
    let found = named.filter_map(|path| inside(root, &path));
    found.filter(|path| is_elf(path)).min()
}

/// Follows links as they would lead if `root` were `/`.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    // As many links as Linux itself follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else {
            return path.is_file().then_some(path);
        };
        path = if target.is_absolute() {
            root.join(
                target
                    .components()
                    .filter(|part| *part != Component::RootDir)
                    .collect::<PathBuf>(),
            )
        } else {
            path.parent()?.join(target)
        };
    }
    None
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| &magic == b"\x7fELF")
}

/// A list for `--library-path`. A colon in a path cannot be written there; the loader would then
/// say which library it misses.
fn join(paths: &[PathBuf]) -> OsString {
    let mut list = OsString::new();
    for path in paths {
        if !list.is_empty() {
            list.push(":");
        }
        list.push(path);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::testing::file;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_package_runs_through_its_own_loader() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let lib = "lib/x86_64-linux-gnu";
        file(root, &format!("{lib}/ld-2.31.so"), "\x7fELF");
        file(root, "usr/lib/x86_64-linux-gnu/qemu/module.so", "");
        file(root, "usr/share/qemu/bios.bin", "");
        file(root, "usr/bin/qemu-system-i386", "#!/bin/sh\n");
        let bare = Build::package("x", "i386", root, None);
        assert!(bare.is_none(), "no loader, no program");
        // As in Debian 11: one link that leads out of the root if followed as it stands.
        fs::create_dir(root.join("lib64")).unwrap();
        let (name, in_lib) = ("lib64/ld-linux-x86-64.so.2", root.join(lib));
        symlink(format!("/{lib}/ld-2.31.so"), root.join(name)).unwrap();
        symlink(format!("/{name}"), in_lib.join("ld-linux-x86-64.so.2")).unwrap();
        let script = Build::package("x", "i386", root, None);
        assert!(script.is_none(), "a script is no program");
        file(root, "usr/libexec/qemu-system-i386", "\x7fELF");

        let build = Build::package("x", "i386", root, None).unwrap();
        let at = |path: &str| root.join(path).display().to_string();
        assert_eq!(
            build.shell_prefix(),
            format!(
                "QEMU_MODULE_DIR={} {} --inhibit-cache --library-path {}:{} {} -L {}",
                at("usr/lib/x86_64-linux-gnu/qemu"),
                at("lib/x86_64-linux-gnu/ld-2.31.so"),
                at("lib/x86_64-linux-gnu"),
                at("usr/lib/x86_64-linux-gnu"),
                at("usr/libexec/qemu-system-i386"),
                at("usr/share/qemu"),
            )
        );
        let alone = Build {
            network: NetworkNamespace::Own,
            ..build
        };
        let prefix = alone.shell_prefix();
        assert!(
            prefix.starts_with("unshare --net env QEMU_MODULE_DIR="),
            "{prefix}"
        );
    }

    #[test]
    fn a_script_starts_what_the_long_line_does_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let build = Build {
            arch: Some("i386".to_owned()),
            args: ["-c", "echo \"$PRELOAD, $MODULES, $*\"", "sh"]
                .map(Into::into)
                .into(),
            env: vec![("PRELOAD", None), ("MODULES", Some("a b".into()))],
            ..Build::binary("x", Path::new("/bin/sh"))
        };
        let long = build.shell_prefix();
        let build = build.with_script(dir.path());
        let script = dir.path().join("qemu-system-i386");
        assert_eq!(build.shell_prefix(), script.display().to_string());
        for prefix in [long, build.shell_prefix()] {
            let line = format!("unset PRELOAD; {prefix} 'c d' e");
            let run = Command::new("sh").args(["-c", &line]).output().unwrap();
            let printed = String::from_utf8_lossy(&run.stdout);
            assert_eq!(printed, ", a b, c d e\n", "{line}");
        }
        let mut command = Command::new(&script);
        let run = command.env("PRELOAD", "p").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&run.stdout), ", a b, \n");
        // Where it cannot be written, the line is long, but complete.
        let none = dir.path().join("none");
        let build = build.with_script(&none);
        assert!(build.shell_prefix().contains("MODULES='a b' /bin/sh -c "));
    }

    #[test]
    fn a_build_that_fills_its_memory_does_so_by_hand_too() {
        let sh = Build {
            args: vec!["-c".into(), "echo $GLIBC_TUNABLES".into()],
            ..Build::binary("x", Path::new("/bin/sh"))
        };
        let fills = MallocFill::BOTH.map(|fill| {
            let filled = sh.with_malloc_fill(fill);
            let started = filled.command().output().unwrap();
            let mut by_hand = Command::new("sh");
            by_hand.args(["-c", &filled.shell_prefix()]);
            assert_eq!(by_hand.output().unwrap().stdout, started.stdout);
            started.stdout
        });
        assert_ne!(fills[0], fills[1]);
        assert_eq!(sh.shell_prefix(), "/bin/sh -c 'echo $GLIBC_TUNABLES'");
    }

    #[test]
    fn a_binary_runs_as_it_is_and_is_quoted_for_a_shell() {
        let build = Build::binary("q", Path::new("/opt/my builds/qemu-system-aarch64"));
        assert_eq!(build.shell_prefix(), "'/opt/my builds/qemu-system-aarch64'");
        assert_eq!(build.arch(), Some("aarch64"));
        assert_eq!(Build::binary("q", Path::new("/opt/qemu.sh")).arch(), None);
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(inside(dir.path(), &dir.path().join("a")), None);
    }
}
