//! What a test needs that not every machine has, and how to tell that it is absent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landlock::{AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::common::root;

/// Set to 1 where no real build can be had.
pub const OFFLINE: &str = "MIGCOMPAT_OFFLINE";

/// Needed by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Real builds, from the network or the cache. They are absent only where that is announced:
    /// elsewhere a test that cannot have them fails.
    Builds,
    /// A program in the path.
    Program(&'static str),
    /// The lists of Debian's packages, which `apt-get update` fetches.
    PackageLists,
    /// The assembler of a guest's architecture.
    Assembler(&'static str),
    /// A file system of one's own.
    Mount,
    /// What root alone may: to make a device and to give a file away.
    Root,
    /// Permissions that hold: root has to be able to give up the right to pass them by.
    Permissions,
    /// KVM, in which a machine can be started.
    Kvm,
    /// KVM of the processor's own making, in which guests run at its speed.
    FastKvm,
    /// Landlock, without which nothing keeps a process from writing where it likes.
    Landlock,
    /// Landlock that forbids TCP, too.
    LandlockTcp,
    /// A network namespace of one's own.
    NetworkNamespace,
    /// Page faults of a process reported to it, without which nothing is copied after the switch.
    PageFaults,
}

impl Need {
    /// Returns why it cannot be had here, or `None` if it can.
    pub fn absent(self) -> Option<String> {
        match self {
            Need::Builds => std::env::var_os(OFFLINE)
                .is_some_and(|value| value == "1")
                .then(|| format!("{OFFLINE}=1 is set: no real build is fetched or run")),
            Need::Program(name) => which::which(name)
                .is_err()
                .then(|| format!("there is no {name}")),
            Need::PackageLists => no_package_lists(),
            Need::Assembler(arch) => no_assembler(arch),
            Need::Mount => no_mount(),
            Need::Root => not_root(),
            Need::Permissions => no_permissions(),
            Need::Kvm => no_kvm(),
            Need::FastKvm => no_kvm().or_else(no_virtualisation),
            Need::Landlock => no_landlock(),
            Need::LandlockTcp => no_landlock_tcp(),
            Need::NetworkNamespace => no_network_namespace(),
            Need::PageFaults => no_page_faults(),
        }
    }
}

fn no_package_lists() -> Option<String> {
    let mut simulated = Command::new("apt-get");
    // Nobody has it installed, and every Debian has it.
    simulated.args(["install", "--simulate", "-qq", "hello"]);
    let known = simulated.output().is_ok_and(|tried| tried.status.success());
    (!known).then(|| "apt knows no packages (`apt-get update` may help)".to_owned())
}

/// Starts `guests/build.sh`.
pub fn assemble(arch: &str, image: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg(root().join("guests/build.sh"))
        .arg(arch)
        .arg(image);
    command
}

fn no_assembler(arch: &str) -> Option<String> {
    /// `guests/build.sh` exits with it where the assembler is missing.
    const NO_ASSEMBLER: i32 = 3;
    // CI has to rebuild every guest.
    if std::env::var("CI").as_deref() == Ok("true") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder for the image");
    let build = assemble(arch, &folder.path().join("guest.bin"))
        .output()
        .expect("a shell");
    (build.status.code() == Some(NO_ASSEMBLER)).then(|| {
        let printed = String::from_utf8_lossy(&build.stderr);
        format!("there is no assembler for {arch} ({})", printed.trim())
    })
}

/// A command that runs a shell script in `folder`, on a file system mounted there with `options`.
pub fn mounted(folder: &Path, options: &str, script: &str) -> Command {
    let script = format!("mount -t tmpfs -o {options} none \"$0\" && cd \"$0\" && {script}");
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(folder)
        .stdin(Stdio::null());
    command
}

fn no_mount() -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder to mount at");
    let tried = match mounted(folder.path(), "size=64k", "true").output() {
        Ok(tried) if tried.status.success() => return None,
        Ok(tried) => String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    Some(format!("nothing can be mounted ({tried})"))
}

/// Makes a device with this number among those of memory.
pub fn device(folder: &Path, name: &str, number: u64) -> std::io::Result<PathBuf> {
    let path = folder.join(name);
    let everybody = Mode::from_bits_truncate(0o666);
    mknod(&path, SFlag::S_IFCHR, everybody, makedev(1, number))?;
    Ok(path)
}

/// Returns a command that no permission of a file lets through, whoever runs it.
pub fn under_permissions(program: &OsStr) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search");
    command.arg(program);
    command
}

fn no_permissions() -> Option<String> {
    let tried = under_permissions(OsStr::new("true")).output();
    let works = tried.is_ok_and(|tried| tried.status.success());
    (!works).then(|| "root cannot give up what lets it pass permissions by (setpriv)".to_owned())
}

fn not_root() -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder for a device");
    let tried = device(folder.path(), "null", 3).and_then(|path| {
        // Where devices are not taken for such, it cannot be opened.
        fs::File::open(&path)?;
        chown(&path, Some(1234), Some(4321))
    });
    let error = tried.err()?;
    Some(format!("no device can be made, or given away ({error})"))
}

fn no_kvm() -> Option<String> {
    let kvm = Path::new("/dev/kvm");
    let opened = fs::OpenOptions::new().read(true).write(true).open(kvm);
    let error = opened.err()?;
    Some(format!("{} cannot be used ({error})", kvm.display()))
}

fn no_virtualisation() -> Option<String> {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut words = known.split_ascii_whitespace();
    let has = words.any(|word| matches!(word, "vmx" | "svm"));
    (!has).then(|| "the processor does not virtualise by itself (neither vmx nor svm): guests run too slowly".to_owned())
}

fn no_landlock() -> Option<String> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let made = rules
        .handle_access(AccessFs::WriteFile)
        .and_then(Ruleset::create);
    let error = made.err()?;
    Some(format!("Landlock cannot be used ({error})"))
}

fn no_landlock_tcp() -> Option<String> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let made = rules
        .handle_access(AccessNet::ConnectTcp)
        .and_then(Ruleset::create);
    let error = made.err()?;
    Some(format!("Landlock cannot forbid TCP ({error})"))
}

fn no_network_namespace() -> Option<String> {
    // Whoever is root needs no user namespace, and may have none.
    let user: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &[],
        false => &["--map-root-user"],
    };
    let mut command = Command::new("unshare");
    let tried = command.args(user).args(["--net", "true"]).output();
    let made = tried.is_ok_and(|tried| tried.status.success());
    (!made).then(|| "no network namespace can be made".to_owned())
}

fn no_page_faults() -> Option<String> {
    /// Its number in the kernel's lists.
    const CAP_SYS_PTRACE: u64 = 19;
    let switch = "/proc/sys/vm/unprivileged_userfaultfd";
    let Ok(open) = fs::read_to_string(switch) else {
        return Some("the kernel has no userfaultfd".to_owned());
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let privileged = held.is_some_and(|held| held >> CAP_SYS_PTRACE & 1 == 1);
    (open.trim() != "1" && !privileged)
        .then(|| format!("userfaultfd is kept to the privileged ({switch})"))
}
