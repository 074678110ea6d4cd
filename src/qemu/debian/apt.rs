//! apt, with one suite in its source list and nothing installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::model::joined;
use crate::qemu::FetchError;
use crate::qemu::FetchWatcher;
use crate::qemu::debian::Extent;
use crate::qemu::debian::files::{bytes_in, tame};
use crate::qemu::debian::sources;
use crate::qemu::debian::sources::Archive;
use crate::qemu::process::{Output, output};
use crate::qemu::progress::{FetchStep, Step};

/// Time limit for a question to apt about what it has on disk.
const ASK: Duration = Duration::from_secs(60);
/// Time limit for the lists of a suite, about 10 MB.
const UPDATE: Duration = Duration::from_secs(5 * 60);
/// Time limit for the packages, about 35 MB.
const DOWNLOAD: Duration = Duration::from_secs(15 * 60);
/// Time limit for unpacking one package.
const UNPACK: Duration = Duration::from_secs(3 * 60);

/// A package file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageFile {
    /// The file name with the version in it.
    pub(crate) name: String,
    pub(crate) size: u64,
    /// The place where it lies already, if the archive is a folder of this machine.
    pub(crate) local: Option<PathBuf>,
}

/// apt with a state of its own.
pub(crate) struct Apt<'a> {
    suite: &'a str,
    dir: &'a Path,
    get: PathBuf,
    cache: PathBuf,
    deb: PathBuf,
    archive: Archive,
    /// The architecture of the packages, as Debian names it.
    architecture: String,
    trusted_parts: PathBuf,
}

impl<'a> Apt<'a> {
    /// Finds apt, its settings and the Debian archive among its sources.
    ///
    /// # Errors
    /// A tool of apt is missing, apt names no Debian archive, or its folders cannot be made.
    pub(crate) async fn new(
        suite: &'a str,
        architecture: Option<&str>,
        dir: &'a Path,
    ) -> Result<Apt<'a>, FetchError> {
        let tool = |tool: &'static str| {
            which::which(tool).map_err(|_| FetchError::NoTool {
                suite: suite.to_owned(),
                tool,
            })
        };
        let (get, cache, deb) = (tool("apt-get")?, tool("apt-cache")?, tool("dpkg-deb")?);
        let mut apt = Apt {
            suite,
            dir,
            get,
            cache,
            deb,
            archive: Archive::default(),
            architecture: String::new(),
            trusted_parts: PathBuf::new(),
        };
        let mut config = Command::new(tool("apt-config")?);
        config.args([
            "shell",
            "ARCH",
            "APT::Architecture",
            "PARTS",
            "Dir::Etc::trustedparts/d",
        ]);
        let config = apt.ask(config, "apt-config").await?;
        for line in config.lines() {
            let value = |name: &str| {
                line.strip_prefix(name)?
                    .strip_prefix("='")?
                    .strip_suffix('\'')
            };
            if let Some(arch) = value("ARCH") {
                apt.architecture = architecture.unwrap_or(arch).to_owned();
            } else if let Some(parts) = value("PARTS") {
                apt.trusted_parts = parts.into();
            }
        }
        apt.archive = apt.find_archive().await?;
        apt.prepare()?;
        Ok(apt)
    }

    /// The Debian archive among the machine's own sources.
    async fn find_archive(&self) -> Result<Archive, FetchError> {
        // Where no list was ever downloaded, apt prints the targets only without what the lists
        // say.
        for more in [None, Some("--no-release-info")] {
            let mut command = Command::new(&self.get);
            command
                .arg("indextargets")
                .args(["--format", sources::TARGET_FORMAT]);
            command.args(more).arg("Created-By: Packages");
            let targets = self.ask(command, "apt-get indextargets").await?;
            if let Some(archive) = sources::debian_archive(&targets) {
                return Ok(archive);
            }
        }
        Err(FetchError::NoArchive {
            suite: self.suite.to_owned(),
        })
    }

    fn prepare(&self) -> Result<(), FetchError> {
        for dir in [
            "state/lists/partial",
            "cache/archives/partial",
            "sources",
            "none",
        ] {
            let dir = self.dir.join(dir);
            fs::create_dir_all(&dir).map_err(self.io(&dir))?;
        }
        self.write("status", "")?;
        // The hooks of packages in the machine's apt concern only the machine.
        self.write(
            "apt.conf",
            "#clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             #clear DPkg::Pre-Invoke;\n\
             #clear DPkg::Post-Invoke;\n\
             #clear DPkg::Pre-Install-Pkgs;\n\
             #clear AptCli::Hooks;\n",
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), FetchError> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(self.io(&path))
    }

    /// A program of apt, separated from the machine's state.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.dir.join(name).into_os_string();
        command.arg("-q").arg("-c").arg(at("apt.conf"));
        for (option, value) in [
            ("Dir::State", at("state")),
            // These are absolute where the machine's configuration says so.
            ("Dir::State::status", at("status")),
            ("Dir::State::lists", at("state/lists")),
            ("Dir::Cache", at("cache")),
            ("Dir::Cache::archives", at("cache/archives")),
            ("Dir::Cache::pkgcache", at("cache/pkgcache.bin")),
            ("Dir::Cache::srcpkgcache", at("cache/srcpkgcache.bin")),
            ("Dir::Etc::sourcelist", "/dev/null".into()),
            ("Dir::Etc::sourceparts", at("sources")),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", at("none")),
            // The suite asked for wins over the one it builds upon.
            ("APT::Default-Release", self.suite.into()),
            ("APT::Architecture", (&self.architecture).into()),
            ("APT::Install-Recommends", "0".into()),
            ("APT::Install-Suggests", "0".into()),
            ("Acquire::Languages", "none".into()),
            ("APT::Update::Error-Mode", "any".into()),
            // Regardless of what the machine's own apt is configured to accept.
            ("Acquire::AllowInsecureRepositories", "0".into()),
            ("Acquire::AllowWeakRepositories", "0".into()),
            ("Acquire::AllowDowngradeToInsecureRepositories", "0".into()),
            ("APT::Get::AllowUnauthenticated", "0".into()),
        ] {
            let mut setting = std::ffi::OsString::from(format!("{option}="));
            setting.push(value);
            command.arg("-o").arg(setting);
        }
        command
    }

    /// Fetches the lists of the suite, and of the one it builds upon.
    ///
    /// # Errors
    /// The suite is unknown, unverifiable or out of reach.
    pub(crate) async fn update(&self) -> Result<(), FetchError> {
        let suites = with_base(self.suite);
        let own = self.archive.signed_by.as_deref();
        self.write_sources(&suites, own)?;
        match self.try_update().await {
            // The keyring may be that of a release older than the suite.
            Err(unverified @ FetchError::Unverified { .. }) => {
                let more = self.keyrings();
                if more.is_empty() {
                    return Err(unverified);
                }
                self.write_sources(&suites, Some(&more))?;
                self.try_update().await
            }
            result => result,
        }
    }

    async fn try_update(&self) -> Result<(), FetchError> {
        let mut command = self.command(&self.get);
        command.arg("update");
        let run = self.run(command, UPDATE).await?;
        if run.status.success() {
            Ok(())
        } else {
            Err(why_no_update(self.suite, &run.stdout, &run.stderr))
        }
    }

    fn write_sources(&self, suites: &[String], signed_by: Option<&str>) -> Result<(), FetchError> {
        let text = sources::source(&self.archive.uri, suites, &self.architecture, signed_by);
        self.write("sources/debian.sources", &text)
    }

    /// The keyrings of this machine that are for the Debian archive or for any archive.
    fn keyrings(&self) -> String {
        let mut found = Vec::new();
        let keyrings = Path::new("/usr/share/keyrings");
        for dir in [&self.trusted_parts, keyrings] {
            for item in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = item.path();
                let name = item.file_name().to_string_lossy().into_owned();
                let key = name.ends_with(".gpg") || (name.ends_with(".asc") && dir != keyrings);
                let ours = dir != keyrings || name.starts_with("debian-archive-");
                // Keys of releases long gone, which Debian itself no longer trusts.
                let gone = name.contains("removed");
                // The list is separated by spaces and commas.
                let plain = !path.to_string_lossy().contains([' ', ',']);
                if key && ours && !gone && plain {
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found.join(" ")
    }

    /// Returns the first of the packages that the suite itself has, and its version there.
    ///
    /// # Errors
    /// apt cannot be asked.
    pub(crate) async fn choose(
        &self,
        packages: &[String],
    ) -> Result<Option<(String, String)>, FetchError> {
        for package in packages {
            let mut command = self.command(&self.cache);
            // The table has no architectures: there is one.
            let (name, _) = package.split_once(':').unwrap_or((package, ""));
            command.args(["madison", name]);
            let table = self.ask(command, "apt-cache").await?;
            if let Some(version) = version_in(&table, name, self.suite) {
                return Ok(Some((package.clone(), version)));
            }
        }
        Ok(None)
    }

    /// Fetches a package, as much of what it stands for as is asked for.
    ///
    /// # Errors
    /// A package cannot be fetched or verified, or it does not depend on what it stands for.
    pub(crate) async fn download(
        &self,
        package: &str,
        version: &str,
        extent: Extent,
        watcher: FetchWatcher<'_>,
    ) -> Result<Vec<PackageFile>, FetchError> {
        let (verb, name) = match extent {
            Extent::WithDependencies => ("install", format!("{package}={version}")),
            Extent::Alone => ("download", format!("{package}={version}")),
            Extent::Dependency(beginning) => {
                let name = self.dependency(package, version, beginning).await?;
                ("download", name)
            }
        };
        let archives = self.dir.join("cache/archives");
        let install = |more: &[&str]| {
            let mut command = self.command(&self.get);
            command.args(["--yes", "--download-only"]).args(more);
            // A package alone goes where one is.
            command.arg(verb).arg(&name).current_dir(&archives);
            command
        };
        let list = self
            .ask(install(&["--print-uris"]), "apt-get --print-uris")
            .await?;
        let files: Vec<PackageFile> = list.lines().filter_map(package_file).collect();
        let total = files.iter().map(|file| file.size).sum();
        let suite = self.suite;
        let download = FetchStep::Download {
            package,
            version,
            bytes: total,
        };
        let step = Step::begin(watcher, suite, download);
        let download = self.run(install(&[]), DOWNLOAD);
        tokio::pin!(download);
        let run = loop {
            tokio::select! {
                run = &mut download => break run?,
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    let partial = archives.join("partial");
                    step.advance(bytes_in(&archives) + bytes_in(&partial));
                }
            }
        };
        drop(step);
        if !run.status.success() {
            let offline = run.stderr.contains("Failed to fetch");
            return Err(match offline {
                true => FetchError::Unreachable {
                    suite: suite.to_owned(),
                    detail: run.stderr,
                },
                false => self.failed(format!("apt-get {verb} --download-only"), run.stderr),
            });
        }
        Ok(files)
    }

    /// Returns the one package whose name begins so among those that a package depends on.
    async fn dependency(
        &self,
        package: &str,
        version: &str,
        beginning: &str,
    ) -> Result<String, FetchError> {
        let mut command = self.command(&self.cache);
        command.arg("depends").arg(format!("{package}={version}"));
        let list = self.ask(command, "apt-cache depends").await?;
        let found = dependencies(&list).find(|name| name.starts_with(beginning));
        found.map(str::to_owned).ok_or_else(|| {
            let what = format!("finding the {beginning}* that {package} {version} depends on");
            self.failed(what, list.clone())
        })
    }

    /// Unpacks everything into the root and returns the number of bytes.
    ///
    /// # Errors
    /// A package cannot be unpacked.
    pub(crate) async fn unpack(
        &self,
        files: &[PackageFile],
        watcher: FetchWatcher<'_>,
    ) -> Result<u64, FetchError> {
        let root = self.dir.join("root");
        fs::create_dir(&root).map_err(self.io(&root))?;
        let packages = files.len() as u64;
        let step = Step::begin(watcher, self.suite, FetchStep::Unpack { packages });
        for (done, file) in files.iter().enumerate() {
            step.advance(done as u64);
            let fetched = self.dir.join("cache/archives").join(&file.name);
            let path = file.local.as_ref().unwrap_or(&fetched);
            let mut command = Command::new(&self.deb);
            command.arg("--extract").arg(path).arg(&root);
            let run = self.run(command, UNPACK).await?;
            if !run.status.success() {
                return Err(self.failed(format!("unpacking {}", file.name), run.stderr));
            }
        }
        tame(&root).map_err(self.io(&root))
    }

    /// Runs a command that must succeed and returns its output.
    async fn ask(&self, command: Command, what: &str) -> Result<String, FetchError> {
        let run = self.run(command, ASK).await?;
        if run.status.success() {
            Ok(run.stdout)
        } else {
            Err(self.failed(what, run.stderr))
        }
    }

    async fn run(&self, mut command: Command, deadline: Duration) -> Result<Output, FetchError> {
        // Its messages are read.
        command.env("LC_ALL", "C");
        output(command, deadline)
            .await
            .map_err(|source| FetchError::Run {
                suite: self.suite.to_owned(),
                source,
            })
    }

    fn failed(&self, what: impl Into<String>, detail: String) -> FetchError {
        FetchError::Failed {
            suite: self.suite.to_owned(),
            what: what.into(),
            detail,
        }
    }

    fn io(&self, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
        let (suite, path) = (self.suite.to_owned(), path.to_owned());
        move |source| FetchError::Io {
            suite,
            path,
            source,
        }
    }
}

/// The packages that one depends on, as `apt-cache depends` lists them.
fn dependencies(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
}

/// A suite, and the one it adds to and cannot do without.
fn with_base(suite: &str) -> Vec<String> {
    let mut suites = vec![suite.to_owned()];
    let add = |name: &str| name.to_owned();
    if let Some(base) = suite.strip_suffix("-backports-sloppy") {
        suites.push(format!("{base}-backports"));
        suites.push(add(base));
    } else if suite == "experimental" || suite == "rc-buggy" {
        suites.push(add("sid"));
    } else {
        let base = ["-backports", "-proposed-updates", "-updates"]
            .iter()
            .find_map(|end| suite.strip_suffix(end));
        suites.extend(base.filter(|base| !base.is_empty()).map(add));
    }
    suites
}

/// Explains apt's refusal to read a suite.
fn why_no_update(suite: &str, stdout: &str, stderr: &str) -> FetchError {
    let has = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    let suite = suite.to_owned();
    // The reason why a file was not fetched is on standard output, indented below its name.
    let why: Vec<&str> = stdout
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(str::trim)
        .collect();
    // That root's folders are not those of apt's own user is how it is set up here, and no reason.
    let said = stderr.lines();
    let said = said.filter(|line| !line.contains("Download is performed unsandboxed"));
    let detail = joined(why.iter().copied().chain(said), "\n");
    let detail = detail.trim().to_owned();
    if has(&["does not have a Release file"]) {
        // apt also prints that where no server could be reached.
        let answers = ["404", "File not found", "No such file"];
        if why
            .iter()
            .any(|line| answers.iter().any(|no| line.contains(no)))
        {
            FetchError::NoSuchSuite { suite, detail }
        } else {
            FetchError::Unreachable { suite, detail }
        }
    } else if has(&[
        "NO_PUBKEY",
        "is not signed",
        "GPG error",
        "signature verification failed",
        "signatures couldn't be verified",
        "signatures were invalid",
    ]) {
        FetchError::Unverified { suite, detail }
    } else if has(&["Failed to fetch", "Some index files failed to download"]) {
        FetchError::Unreachable { suite, detail }
    } else {
        FetchError::Failed {
            suite,
            what: "apt-get update".to_owned(),
            detail,
        }
    }
}

/// The version of a package in a suite, out of `apt-cache madison`:
/// `package | version | URI SUITE/main amd64 Packages`, the newest first.
fn version_in(table: &str, package: &str, suite: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let (name, version, from) = (columns.next()?, columns.next()?, columns.next()?);
        let mut words = from.split_whitespace();
        let component = words.nth(1)?.strip_prefix(suite)?;
        let binary = words.next_back() == Some("Packages");
        (name == package && component.starts_with('/') && binary).then(|| version.to_owned())
    })
}

/// A line of `apt-get --print-uris`: `'URI' NAME SIZE HASH`.
fn package_file(line: &str) -> Option<PackageFile> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split(' ');
    let name = words.next()?.to_owned();
    let size = words.next()?.parse().ok()?;
    let local = uri.strip_prefix("file:").map(PathBuf::from);
    // It becomes a path below our folder.
    (!name.contains('/')).then_some(PackageFile { name, size, local })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_is_understood() {
        let kind = |stdout: &str, stderr: &str| match why_no_update("x", stdout, stderr) {
            FetchError::NoSuchSuite { .. } => "no suite",
            FetchError::Unverified { .. } => "unverified",
            FetchError::Unreachable { .. } => "unreachable",
            _ => "failed",
        };
        let no_release =
            "E: The repository 'http://mirror/debian x Release' does not have a Release file.";
        for (stdout, stderr, meaning) in [
            (
                "Err:2 http://mirror/debian x Release\n  404  Not Found [IP: ::1 80]",
                no_release,
                "no suite",
            ),
            (
                "Err:2 file:/debian x Release\n  File not found - /debian (2: No such file)",
                no_release,
                "no suite",
            ),
            (
                "Err:2 http://mirror/debian x Release\n  Could not connect to mirror",
                no_release,
                "unreachable",
            ),
            (
                "",
                "W: GPG error: http://mirror/debian trixie InRelease: The following signatures couldn't be \
                 verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n\
                 E: The repository 'http://mirror/debian trixie InRelease' is not signed.",
                "unverified",
            ),
            (
                "",
                "Warning: OpenPGP signature verification failed: http://mirror/debian sid InRelease: \
                 Sub-process /usr/bin/sqv returned an error code (1)\n\
                 Error: The repository 'http://mirror/debian sid InRelease' is not signed.",
                "unverified",
            ),
            (
                "",
                "E: Failed to fetch http://mirror/debian/dists/trixie/InRelease  Could not connect to \
                 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)\n\
                 E: Some index files failed to download. They have been ignored, or old ones used instead.",
                "unreachable",
            ),
            ("", "E: Could not get lock", "failed"),
        ] {
            assert_eq!(kind(stdout, stderr), meaning, "{stderr}");
            let ours =
                "W: Download is performed unsandboxed as root as file '/x' couldn't be accessed";
            let error = |stderr: &str| why_no_update("x", stdout, stderr).to_string();
            for among in [format!("{ours}\n{stderr}"), format!("{stderr}\n{ours}")] {
                assert_eq!(error(&among), error(stderr));
            }
        }
    }

    #[test]
    fn a_version_counts_only_in_the_suite_itself() {
        let table = "
            q | 1:10.0.2~bpo12+1 | http://mirror/debian b-backports/main amd64 Packages
            q | 1:7.2+dfsg-7 | http://mirror/debian b/main amd64 Packages
            q | 1:7.2+dfsg-7 | http://mirror/debian b/main Sources";
        assert_eq!(
            version_in(table, "q", "b-backports").as_deref(),
            Some("1:10.0.2~bpo12+1")
        );
        assert_eq!(version_in(table, "q", "b").as_deref(), Some("1:7.2+dfsg-7"));
        assert_eq!(version_in(table, "q", "c"), None);
        assert_eq!(version_in(table, "r", "b"), None);
        assert_eq!(version_in("", "q", "b"), None);
    }

    #[test]
    fn what_a_package_stands_for_is_read_as_apt_lists_it() {
        let list = "linux-image-cloud-amd64\n  Depends: linux-image-6.12.1+deb13-cloud-amd64\n  Recommends: \
                    apparmor\n |Depends: kmod\n";
        let found: Vec<&str> = dependencies(list).collect();
        assert_eq!(found, ["linux-image-6.12.1+deb13-cloud-amd64"]);
    }

    #[test]
    fn uris_are_read_as_apt_prints_them() {
        let line = "'http://mirror/pool/q_1%3a7.2_amd64.deb' q_1%3a7.2_amd64.deb 1234 SHA256:ab";
        let name = "q_1%3a7.2_amd64.deb".to_owned();
        let file = PackageFile {
            name,
            size: 1234,
            local: None,
        };
        assert_eq!(package_file(line), Some(file));
        let local = package_file("'file:/srv/debian/q.deb' q.deb 1 SHA256:ab")
            .unwrap()
            .local;
        assert_eq!(local, Some("/srv/debian/q.deb".into()));
        for line in [
            "",
            "Reading package lists...",
            "'x' ../q.deb 1 SHA256:ab",
            "'x' q.deb many",
        ] {
            assert_eq!(package_file(line), None, "{line}");
        }
    }

    #[test]
    fn an_addition_comes_with_what_it_adds_to() {
        for (suite, suites) in [
            ("bookworm", &["bookworm"][..]),
            ("bookworm-backports", &["bookworm-backports", "bookworm"]),
            (
                "b-backports-sloppy",
                &["b-backports-sloppy", "b-backports", "b"],
            ),
            (
                "bookworm-proposed-updates",
                &["bookworm-proposed-updates", "bookworm"],
            ),
            ("experimental", &["experimental", "sid"]),
        ] {
            assert_eq!(with_base(suite), suites);
        }
    }
}
